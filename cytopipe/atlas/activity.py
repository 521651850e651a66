"""Infer the activity of cytokines and secreted proteins from expression profiles.

The profiles (log1p CPM, groups x genes) are fitted on a signature. The result, an `Activity`, has z, beta,
standard error, p and false discovery rate of every target in every group. The genes used are those common
to both sides, in ascending order, and at least 100. The result states how both sides were prepared. The
same profiles give the same bytes, on any number of threads.

A method is a pure function of prepared matrices, with a value that describes it; `METHODS` lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from cytopipe.atlas import regression, ridge
from cytopipe.atlas.ridge import Estimate
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature
from cytopipe.atlas.statistics import benjamini_hochberg
from cytopipe.errors import InputError

__all__ = [
    "EXPRESSION_PREPARATIONS",
    "METHODS",
    "MIN_COMMON_GENES",
    "Activity",
    "ActivitySettings",
    "Fitted",
    "Method",
    "Overlap",
    "find_overlap",
    "fit",
    "score",
]

MIN_COMMON_GENES = 100
LITTLE_COVERAGE = 0.25  # of a signature's genes: with fewer an inference is refused or warned about


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Which genes an inference stands on.

    Parameters
    ----------
    common : tuple of str
        Genes of both, in ascending order.
    n_signature_genes, n_profile_genes : int
        Genes of each side.
    ambiguous : tuple of str
        Genes of the signature that the profiles name more than once; they are left out.
    """

    common: tuple[str, ...]
    n_signature_genes: int
    n_profile_genes: int
    ambiguous: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the signature's genes that the profiles have."""
        return len(self.common) / self.n_signature_genes if self.n_signature_genes else 0.0

    def __str__(self) -> str:
        share = f"{self.coverage:.0%}"
        return f"{len(self.common):,} of {self.n_signature_genes:,} genes of the signature ({share})"

    @property
    def warning(self) -> str:
        """What to know where so few genes are common that activities mean little; else empty."""
        if self.coverage >= LITTLE_COVERAGE:
            return ""
        return f"the profiles have only {self}: activities of so few genes are hardly comparable"


@dataclass(frozen=True, eq=False, kw_only=True)
class Activity:
    """Activity of every target in every group.

    Parameters
    ----------
    groups : tuple of str
        Row names of the profiles.
    targets : tuple of str
        Targets of the signature.
    z, beta, se, pvalue, fdr : ndarray, (groups, targets) float64
        fdr is Benjamini-Hochberg over the targets of a group. Of resamples there is z alone.
    overlap : Overlap
    settings : ActivitySettings
        With the penalty that was used.
    signature : str
        Name of the signature.
    """

    groups: tuple[str, ...]
    targets: tuple[str, ...]
    z: np.ndarray
    beta: np.ndarray | None
    se: np.ndarray | None
    pvalue: np.ndarray | None
    fdr: np.ndarray | None
    overlap: Overlap
    settings: ActivitySettings
    signature: str

    def parameters(self) -> dict[str, object]:
        """What decided the numbers, as plain values."""
        return {
            "signature": self.signature,
            "n_common_genes": len(self.overlap.common),
            **self.settings.as_json(),
        }


@dataclass(frozen=True)
class Method:
    """A way to score targets: a pure function on prepared matrices, and what to know about it.

    Parameters
    ----------
    name : str
    fit : callable
        ``fit(signature, settings)`` with signature (genes, targets) float64, done once, returns
        ``score(profiles, workers) -> Estimate`` with profiles (genes, groups) float64.
    describe : str
        One sentence.
    reference : str
    """

    name: str
    fit: Callable[[np.ndarray, ActivitySettings], Callable[[np.ndarray, int], Estimate]]
    describe: str
    reference: str


def score(
    values: np.ndarray,
    genes: Sequence[str],
    signature: Signature,
    settings: ActivitySettings | None = None,
    *,
    groups: Sequence[str] | None = None,
    workers: int = 1,
    where: str = "",
) -> Activity:
    """Infer the activity of a signature's targets in every profile.

    Parameters
    ----------
    values : ndarray, (groups, genes) float
        Profiles, log1p CPM unless `settings` say otherwise; finite.
    genes : sequence of str
        Their gene symbols, in any order.
    signature : Signature
    settings : ActivitySettings, optional
    groups : sequence of str, optional
        Names of the profiles.
    workers : int
        Threads for the permutations; the result does not depend on it.
    where : str, optional
        Named in errors.

    Returns
    -------
    Activity

    Raises
    ------
    InputError
        If fewer than `MIN_COMMON_GENES` genes are common, or values are not finite.
    """
    return fit(genes, signature, settings, where=where).score(values, groups=groups, workers=workers)


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """A signature fitted to one set of genes, ready for any number of profiles of them."""

    signature: Signature
    settings: ActivitySettings
    overlap: Overlap
    columns: np.ndarray
    where: str
    _score: Callable[[np.ndarray, int], Estimate]
    _project: np.ndarray | None = None

    def score(self, values: np.ndarray, *, groups: Sequence[str] | None = None, workers: int = 1) -> Activity:
        """Activity of `values`, (groups, genes) as fitted; see :func:`score`."""
        from threadpoolctl import threadpool_limits

        prepared = self._prepared(values)
        with threadpool_limits(limits=1, user_api="blas"):  # sums in one order, whatever the cores
            estimate = self._score(prepared, workers)
        return Activity(
            groups=tuple(groups) if groups is not None else tuple(map(str, range(prepared.shape[1]))),
            targets=self.signature.targets,
            z=estimate.z.T.copy(),
            beta=estimate.beta.T.copy(),
            se=estimate.se.T.copy(),
            pvalue=estimate.pvalue.T.copy(),
            fdr=benjamini_hochberg(estimate.pvalue, axis=0).T.copy(),
            overlap=self.overlap,
            settings=self.settings,
            signature=self.signature.name,
        )

    def z_scores(self, values: np.ndarray) -> np.ndarray:
        """z alone, (groups, targets) float64: of many resamples the rest would not fit into memory."""
        from threadpoolctl import threadpool_limits

        settings = self.settings
        if self._project is None or (settings.null, settings.moments) != ("permutation", "exact"):
            return self.score(values).z
        with threadpool_limits(limits=1, user_api="blas"):
            return ridge.exact_z(self._project, self._prepared(values)).T

    @property
    def by_row(self) -> bool:
        """Whether a profile is prepared by itself, so that profiles can be scored in any parts."""
        return self.settings.expression in ("scaled", "raw")

    def _prepared(self, values: np.ndarray) -> np.ndarray:
        """Profiles as the method takes them, (genes, groups) float64."""
        profiles = np.asarray(values)[:, self.columns].T.astype(np.float64)
        if not np.isfinite(profiles).all():
            gene, group = np.argwhere(~np.isfinite(profiles))[0].tolist()
            raise InputError(
                f"profile {group} has no finite value for gene {self.overlap.common[gene]}",
                where=self.where,
                found=str(profiles[gene, group]),
            )
        return EXPRESSION_PREPARATIONS[self.settings.expression](profiles)


def fit(
    genes: Sequence[str], signature: Signature, settings: ActivitySettings | None = None, *, where: str = ""
) -> Fitted:
    """Do once what depends on genes and signature alone; parameters as in :func:`score`."""
    from threadpoolctl import threadpool_limits

    settings = (settings or ActivitySettings()).for_signature(signature)
    overlap = find_overlap(genes, signature, where=where)
    column = {gene: place for place, gene in enumerate(genes)}
    row = {gene: place for place, gene in enumerate(signature.genes)}
    weights = signature.weights[[row[gene] for gene in overlap.common]]
    if settings.scale_signature:
        weights = _scale(weights)
    with threadpool_limits(limits=1, user_api="blas"):
        project = None
        if settings.method == "ridge":
            project = ridge.projection(weights, settings.regularization or 0.0)
            scorer = _ridge(weights, settings, project)
        else:
            scorer = METHODS[settings.method].fit(weights, settings)
    return Fitted(
        signature=signature,
        settings=settings,
        overlap=overlap,
        columns=np.array([column[gene] for gene in overlap.common]),
        where=where,
        _score=scorer,
        _project=project,
    )


def find_overlap(genes: Sequence[str], signature: Signature, *, where: str = "") -> Overlap:
    """The genes common to profiles and signature, or a refusal that reports what was common.

    Raises
    ------
    InputError
        With fewer than `MIN_COMMON_GENES` common genes.
    """
    seen: set[str] = set()
    repeated: set[str] = set()
    for gene in genes:
        (repeated if gene in seen else seen).add(gene)
    known = set(signature.genes)
    common = tuple(sorted((seen - repeated) & known))
    if len(common) < MIN_COMMON_GENES:
        raise InputError(
            f"too few genes of {signature.name} are among the profiles' genes",
            where=where,
            expected=f"at least {MIN_COMMON_GENES} of {len(known)}",
            found=f"{len(common)} of {len(seen)}" + (f", such as {', '.join(common[:3])}" if common else ""),
            next=_advice(seen, known, len(common)),
        )
    return Overlap(
        common=common,
        n_signature_genes=len(known),
        n_profile_genes=len(seen),
        ambiguous=tuple(sorted(repeated & known)),
    )


def _advice(seen: set[str], known: set[str], common: int) -> str:
    if sum(gene.startswith(("ENSG", "ENSMUSG")) for gene in seen) > len(seen) / 2:
        return "The profiles are named by Ensembl identifiers: name them by gene symbol."
    folded = {gene.upper() for gene in known}
    if sum(gene.upper() in folded for gene in seen) > 2 * common + 10:
        return "Most names differ in case only (mouse symbols?): map them to human symbols."
    return "Check that the profiles are named by HGNC symbols."


def _scale(values: np.ndarray) -> np.ndarray:
    """Columns to mean 0 and standard deviation 1 (ddof 1); a constant column to 0."""
    centred = values - values.mean(axis=0)
    spread = values.std(axis=0, ddof=1)
    constant = np.ptp(values, axis=0) == 0
    return np.where(constant, 0.0, centred / np.where(constant | (spread == 0), 1.0, spread))


def _centre_rows(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=1, keepdims=True)


EXPRESSION_PREPARATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {
        "scaled": _scale,
        "raw": lambda values: values,
        "row_centred": _centre_rows,
        "row_centred_scaled": lambda values: _scale(_centre_rows(values)),
    }
)


def _ridge(
    signature: np.ndarray, settings: ActivitySettings, project: np.ndarray | None = None
) -> Callable[[np.ndarray, int], Estimate]:
    regularization = settings.regularization or 0.0
    project = ridge.projection(signature, regularization) if project is None else project

    def score_profiles(profiles: np.ndarray, workers: int) -> Estimate:
        if settings.null == "student":
            return ridge.student_null(project, profiles, signature, regularization)
        drawn = {
            "count": settings.n_permutations,
            "seed": settings.seed,
            "stream": settings.stream,
            "workers": workers,
        }
        if settings.moments == "sampled":
            return ridge.sampled_null(project, profiles, **drawn)
        estimate = ridge.exact_null(project, profiles)
        if settings.n_permutations == 0:
            return estimate
        return replace(estimate, pvalue=ridge.permutation_pvalues(project, profiles, **drawn))

    return score_profiles


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(
                name="ridge",
                fit=_ridge,
                describe="Ridge regression on all targets at once, against permuted gene labels.",
                reference="Jiang et al., Nature Methods 2021, doi:10.1038/s41592-021-01274-5",
            ),
            Method(
                name="ulm",
                fit=lambda signature, _: lambda profiles, _: regression.univariate(signature, profiles),
                describe="One linear model per target; z is the t of its slope.",
                reference="Badia-i-Mompel et al., Bioinformatics Advances 2022, doi:10.1093/bioadv/vbac016",
            ),
            Method(
                name="mlm",
                fit=lambda signature, _: lambda profiles, _: regression.multivariate(signature, profiles),
                describe="One linear model on all targets with an intercept; z is the t of each slope.",
                reference="Badia-i-Mompel et al., Bioinformatics Advances 2022, doi:10.1093/bioadv/vbac016",
            ),
        )
    }
)
