"""From a pseudobulk file to an activity file.

In come the path of a pseudobulk h5ad (main or resampled) and a signature; out comes an h5ad with X = z and
the layers beta, se, pvalue and fdr, rows as in the pseudobulk, columns the targets. What must hold: of a
wide file only the signature's genes reach memory; resamples are scored one resample at a time with all its
groups, exactly as the main profiles are; the file says in ``uns`` how it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.atlas.activity import Activity, Overlap, find_overlap, fit
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.atlas.settings import ActivitySettings
from cytopipe.atlas.signatures import Signature, load_signature
from cytopipe.errors import DamagedError
from cytopipe.provenance import Input, Provenance, library_versions, sha256_bytes, sha256_file

if TYPE_CHECKING:
    import anndata

    from cytopipe.storage import Published, Store

__all__ = ["InferredActivity", "infer_activities", "infer_activity", "read_activity", "write_activity"]

# Share of a signature's genes below which a person is told that activities may mean little.
LOW_COVERAGE = 0.2

CODE_VERSION = "1"
LIBRARIES = ("numpy", "scipy", "anndata", "h5py")
LAYERS = ("beta", "se", "pvalue", "fdr")


@dataclass(frozen=True, eq=False, kw_only=True)
class InferredActivity:
    """The activity of one pseudobulk file.

    Parameters
    ----------
    atlas, level : str
        As the file names them.
    activity : Activity
        Rows in the order of the file.
    obs : DataFrame
        Of the file, unchanged.
    resampled : bool
        Whether rows are groups x resamples.
    signature : Signature
    input : Input
        The file that was read.
    """

    atlas: str
    level: str
    activity: Activity
    obs: pd.DataFrame
    resampled: bool
    signature: Signature
    input: Input

    def as_anndata(self) -> anndata.AnnData:
        """X = z; layers beta, se, pvalue, fdr; of resamples z alone, as float32 (they are many)."""
        import anndata

        found = self.activity
        layers = {} if self.resampled else {name: getattr(found, name) for name in LAYERS}
        overlap = found.overlap
        settings = {key: "" if value is None else value for key, value in found.parameters().items()}
        return anndata.AnnData(
            X=found.z.astype(np.float32) if self.resampled else found.z,
            obs=self.obs.copy(),
            var=pd.DataFrame(index=pd.Index(found.targets, name="target")),
            layers=layers,
            uns={
                "atlas": self.atlas,
                "level": self.level,
                "signature": {
                    "name": self.signature.name,
                    "sha256": self.signature.sha256,
                    "n_genes": overlap.n_signature_genes,
                },
                "settings": settings,
                "overlap": {
                    "n_common": len(overlap.common),
                    "n_profile_genes": overlap.n_profile_genes,
                    "coverage": overlap.coverage,
                    "genes": np.array(overlap.common, dtype=object),
                    "ambiguous": np.array(overlap.ambiguous, dtype=object),
                },
            },
        )

    def provenance(self, **of_run: str) -> Provenance:
        """What decided the file; `of_run` are fields such as asset, partition, run_id."""
        return Provenance(
            what=f"activity of {self.signature.name} in {self.atlas} {self.level}"
            + (" (resampled)" if self.resampled else ""),
            parameters=_parameters(self.activity.settings, self.signature),
            inputs=(self.input, _signature_input(self.signature)),
            code_version=CODE_VERSION,
            libraries=library_versions(LIBRARIES),
            **of_run,
        )


def infer_activity(
    pseudobulk_path: str | Path,
    signature: Signature | str,
    settings: ActivitySettings | None = None,
    *,
    source: str | Path | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> InferredActivity:
    """Infer the activity of a signature in every row of a pseudobulk file.

    Parameters
    ----------
    pseudobulk_path : path
        h5ad with X = log1p(CPM), obs ``cell_type`` and, if resampled, ``bootstrap_idx``.
    signature : Signature or str
        A name is looked for as :func:`load_signature` does, in `source`.
    settings : ActivitySettings, optional
        Of resamples only z is kept, so no permutations are drawn for them.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(done, total)`` after each resample.

    Raises
    ------
    InputError
        Fewer than 100 common genes, values that are no numbers, or a file that is no pseudobulk.
    RefusedError, BudgetError
        A file that leads outside itself or declares more than fits.
    """
    path = Path(pseudobulk_path)
    if isinstance(signature, str):
        signature = load_signature(signature, source)
    with open_matrix(path) as file:
        overlap = find_overlap(file.columns, signature, where=str(path))
        wanted = set(overlap.common)
        places = np.array([place for place, gene in enumerate(file.columns) if gene in wanted])
        genes = [file.columns[place] for place in places]
        resampled = "bootstrap_idx" in file.obs
        chosen = settings or ActivitySettings()
        if resampled:
            chosen = chosen.replace(n_permutations=0, moments="exact")
        fitted = fit(genes, signature, chosen, where=str(path))
        values = file.read("X", places)
        file.cell_types  # noqa: B018 - every row must name its group
        if resampled:
            activity = _score_resamples(fitted, values, file.obs, progress)
        else:
            activity = fitted.score(values, groups=list(map(str, file.obs.index)), workers=workers)
        return InferredActivity(
            atlas=str(file.uns.get("atlas", "")),
            level=str(file.uns.get("level", "")),
            activity=replace(activity, overlap=replace(overlap, common=activity.overlap.common)),
            obs=file.obs,
            resampled=resampled,
            signature=signature,
            input=Input(path=path.name, sha256=sha256_file(path)),
        )


def write_activity(
    store: Store, path: str | Path, inferred: InferredActivity, *, provenance: Provenance | None = None
) -> Published:
    """Publish an activity as h5ad: reopened and checked before it appears."""
    from cytopipe.storage.formats.h5ad import write_h5ad

    made = inferred.as_anndata()

    def validate(draft: Path) -> None:
        with open_matrix(draft) as file:
            if file.shape != made.shape or not np.array_equal(file.read("X"), made.X):
                raise DamagedError("the activity was not written as meant", where=str(path))

    return store.publish_file(
        path, write_h5ad(made), validate=validate, provenance=provenance or inferred.provenance()
    )


def read_activity(path: str | Path, layer: str = "X") -> pd.DataFrame:
    """One layer of an activity file as groups x targets; X is z."""
    with open_matrix(path) as file:
        return pd.DataFrame(file.read(layer), index=file.cell_types, columns=list(file.columns), dtype=float)


def infer_activities(
    store: Store,
    atlas: str,
    levels: list[str] | None = None,
    signatures: tuple[str, ...] = ("cytosig",),
    settings: ActivitySettings | None = None,
    *,
    source: str | Path | None = None,
    workers: int = 1,
    skip_existing: bool = True,
    report: Callable[[str], None] | None = None,
    of_run: Mapping[str, str] | None = None,
) -> list[Path]:
    """Infer and publish the activity of every pseudobulk file of an atlas, resampled ones too.

    Parameters
    ----------
    store : Store
        Opened at the results root.
    atlas : str
    levels : list of str, optional
        All, if left out.
    signatures : tuple of str
    skip_existing : bool
        Leave a file that was made from the same inputs, settings and code, as its manifest proves.
    report : callable, optional
        Told one line per file.
    of_run : mapping of str to str, optional
        Fields of the provenance that an orchestrator knows: asset, partition, run_id, command.

    Returns
    -------
    list of Path
        Every activity file that stands now, in order.
    """
    catalogue = Catalogue(store.root)
    wanted = [catalogue.require_level(atlas, level) for level in levels or catalogue.require_atlas(atlas)]
    settings = settings or ActivitySettings()
    done = []
    for name in signatures:
        signature = load_signature(name, source)
        for level in wanted:
            for kind in ("", "resampled"):
                profiles = catalogue.pseudobulk(atlas, level, kind)
                if not profiles.is_file():
                    continue
                path = catalogue.activity(atlas, level, name, kind)
                if skip_existing and _stands(store, path, profiles, signature, settings, kind):
                    outcome = "unchanged"
                else:
                    inferred = infer_activity(profiles, signature, settings, workers=workers)
                    write_activity(store, path, inferred, provenance=inferred.provenance(**(of_run or {})))
                    outcome = f"written, {_overlap_words(inferred.activity.overlap)}"
                done.append(path)
                if report is not None:
                    report(f"{path.relative_to(store.root)}: {outcome}")
    return done


def _overlap_words(overlap: Overlap) -> str:
    """How many of the signature's genes the profiles have, and whether that is too few to mean much."""
    text = (
        f"{len(overlap.common):,} of {overlap.n_signature_genes:,} signature genes ({overlap.coverage:.0%})"
    )
    return text if overlap.coverage >= LOW_COVERAGE else f"{text}: few, so activities may mean little"


def _stands(
    store: Store, path: Path, profiles: Path, signature: Signature, settings: ActivitySettings, kind: str
) -> bool:
    """Whether `path` is whole and was made by the same recipe."""
    if not path.is_file() or store.verify(path):
        return False
    made = store.manifest(path).provenance
    if not made:
        return False
    if kind:
        settings = settings.replace(n_permutations=0, moments="exact")
    expected = Provenance(
        what=str(made.get("what", "")),
        parameters=_parameters(settings.for_signature(signature), signature),
        inputs=(Input(path="", sha256=sha256_file(profiles)), _signature_input(signature)),
        code_version=CODE_VERSION,
    )
    return Provenance.from_json(made).recipe() == expected.recipe()


def _parameters(settings: ActivitySettings, signature: Signature) -> dict[str, object]:
    return {"signature": signature.name, **settings.as_json()}


def _signature_input(signature: Signature) -> Input:
    digest = signature.sha256 or sha256_bytes(signature.weights.tobytes())
    return Input(path=signature.source or signature.name, sha256=digest)


def _score_resamples(fitted, values: np.ndarray, obs: pd.DataFrame, progress) -> Activity:
    """Score each resample with all its groups, and put the rows back where they were."""
    numbers = obs["bootstrap_idx"].to_numpy()
    resamples = np.unique(numbers)
    shape = (len(obs), len(fitted.signature.targets))
    parts = {name: np.empty(shape) for name in ("z", *LAYERS)}
    for done, number in enumerate(resamples, 1):
        rows = np.flatnonzero(numbers == number)
        found = fitted.score(values[rows])
        for name, array in parts.items():
            array[rows] = getattr(found, name)
        if progress is not None:
            progress(done, len(resamples))
    return Activity(
        groups=tuple(map(str, obs.index)),
        targets=fitted.signature.targets,
        overlap=fitted.overlap,
        settings=fitted.settings,
        signature=fitted.signature.name,
        **parts,
    )
