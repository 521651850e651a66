"""A score of how far the activities of an atlas can be trusted: the mean of five parts, each from 0 to 1.

The parts are: how much of the expression of a target's gene its activity explains over samples (R^2) and
over cell types (r), how much of the signature was measured, how stable activities are when genes are left
out, and how often the most active type is one that biology expects. A part that could not be computed
counts 0 and is named, so missing evidence never raises the score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.atlas.activity import MIN_COMMON_GENES, ActivitySettings, fit
from cytopipe.atlas.gene_names import cytokine_of_target
from cytopipe.atlas.signatures import Signature
from cytopipe.atlas.statistics import pearson
from cytopipe.errors import Finding, InputError

__all__ = [
    "PARTS",
    "Quality",
    "biological_concordance",
    "cell_type_correlation",
    "gene_fold_stability",
    "known_biology",
    "quality_score",
    "sample_r_squared",
]

PARTS = ("sample_r2", "cell_type_r", "gene_coverage", "cv_stability", "biological_concordance")
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The score and its parts; a part is None where its data are absent."""

    score: float
    sample_r2: float | None
    cell_type_r: float | None
    gene_coverage: float | None
    cv_stability: float | None
    biological_concordance: float | None
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values for a report."""
        return {**asdict(self), "missing": list(self.missing)}


def quality_score(
    *,
    sample_r2: float | None = None,
    cell_type_r: float | None = None,
    gene_coverage: float | None = None,
    cv_stability: float | None = None,
    biological_concordance: float | None = None,
) -> Quality:
    """The mean of five equal parts, each clipped to 0..1; a missing part (None or NaN) counts 0.

    Examples
    --------
    >>> quality_score(sample_r2=0.5, cell_type_r=0.5, gene_coverage=1, cv_stability=1,
    ...               biological_concordance=0.5).score
    0.7
    """
    given = dict(
        zip(PARTS, (sample_r2, cell_type_r, gene_coverage, cv_stability, biological_concordance), strict=True)
    )
    parts = {
        name: None if value is None or np.isnan(value) else float(np.clip(value, 0.0, 1.0))
        for name, value in given.items()
    }
    return Quality(
        score=sum(value or 0.0 for value in parts.values()) / len(PARTS),
        **parts,
        missing=tuple(name for name, value in parts.items() if value is None),
    )


def sample_r_squared(expression: np.ndarray, z: np.ndarray) -> float:
    """Mean over targets of the squared Pearson correlation of expression and activity over samples.

    Parameters
    ----------
    expression, z : ndarray, (samples, targets) float64

    Returns
    -------
    float
        NaN if no target has three samples that differ.
    """
    return _mean([pearson(x, y) ** 2 for x, y in zip(expression.T, z.T, strict=True)])


def cell_type_correlation(rho: Sequence[float]) -> float:
    """Mean over targets of the correlation of expression and activity over cell types."""
    return _mean(rho)


def gene_fold_stability(
    values: np.ndarray, genes: Sequence[str], signature: Signature, settings: ActivitySettings | None = None
) -> float:
    """How far activities stay when a fifth of the genes is left out.

    Genes fall into five folds by a hash of their name. Activity is inferred without each fold in turn;
    the result is the mean, over folds and targets, of the correlation over groups with the full one.
    Leaving groups out instead would change nothing: each is inferred by itself.

    Returns
    -------
    float
        NaN if too few genes remain without a fold, or fewer than three groups.
    """
    settings = (settings or ActivitySettings()).replace(n_permutations=0, moments="exact")
    full = fit(genes, signature, settings)
    fold = {gene: hashlib.sha256(gene.encode()).digest()[0] % FOLDS for gene in full.overlap.common}
    z = full.score(values).z
    kept = []
    for left_out in range(FOLDS):
        names = [gene for gene in full.overlap.common if fold[gene] != left_out]
        if len(names) < MIN_COMMON_GENES:
            return float("nan")
        place = {gene: column for column, gene in enumerate(genes)}
        part = fit(names, signature, settings).score(values[:, [place[gene] for gene in names]]).z
        kept += [pearson(x, y) for x, y in zip(z.T, part.T, strict=True)]
    return _mean(kept)


def biological_concordance(
    types: Mapping[str, pd.DataFrame], expected: Mapping[str, Sequence[str]]
) -> tuple[float, pd.DataFrame]:
    """How often the most active type is one that biology expects.

    Parameters
    ----------
    types : mapping of str to DataFrame
        Mean activity, types x targets, per granularity (``coarse``, ``fine``).
    expected : mapping of str to sequence of str
        Types expected to respond to (or make) a cytokine, of either granularity.

    Returns
    -------
    share : float
        Of the targets that can be judged: with an expected type among at least three. NaN if none can.
    table : DataFrame
        Per judged target: granularity, expected, top_type, concordant.
    """
    rows = []
    targets = sorted({target for frame in types.values() for target in frame.columns})
    for target in targets:
        wanted = expected.get(cytokine_of_target(target))
        if not wanted:
            continue
        for granularity, frame in types.items():
            present = [name for name in wanted if name in frame.index]
            if target not in frame or not present or len(frame) < 3:
                continue
            top = str(frame[target].idxmax())
            rows.append((target, granularity, ";".join(present), top, top in present))
    table = pd.DataFrame(rows, columns=["target", "granularity", "expected", "top_type", "concordant"])
    if table.empty:
        return float("nan"), table
    return float(table.groupby("target")["concordant"].any().mean()), table


def known_biology(path: str | Path | None = None) -> dict[str, tuple[str, ...]]:
    """The table of expected types: TSV of target, types (``;`` between them) and basis.

    Raises
    ------
    InputError
        With every row that cannot be used.
    """
    where = str(path) if path is not None else "known_biology.tsv"
    try:
        source = Path(path) if path is not None else files("cytopipe.atlas") / "known_biology.tsv"
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table of known biology cannot be read: {error}", where=where) from error
    found: dict[str, tuple[str, ...]] = {}
    findings = []
    rows = [(n, line.split("\t")) for n, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    for number, fields in rows[1:] if rows and rows[0][1][0] == "target" else rows:
        types = (
            tuple(name.strip() for name in fields[1].split(";") if name.strip()) if len(fields) > 1 else ()
        )
        if not fields[0].strip() or not types or fields[0].strip() in found:
            findings.append(
                Finding(
                    what="this row names no target or no type, or repeats a target",
                    where=f"{where}:{number}",
                    expected="target, types separated by ';', basis",
                    found=repr("\t".join(fields)[:80]),
                )
            )
            continue
        found[fields[0].strip()] = types
    if findings:
        raise InputError(findings)
    return found


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
