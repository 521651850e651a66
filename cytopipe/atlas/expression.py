"""Does the activity of a cytokine follow the expression of its own gene?

For each target, Spearman's rho correlates the expression in the profiles with the activity inferred from
them, over groups. The result has rho, its false discovery rate and the points behind it. Bootstrap
resamples, where there are any, give percentile intervals: those of the points and that of rho come from
the same resamples. A target whose gene was not measured is missing, not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cytopipe.atlas.gene_names import genes_of_target
from cytopipe.atlas.statistics import benjamini_hochberg, percentile_interval, spearman, spearman_rows
from cytopipe.errors import InputError

__all__ = ["ExpressionActivity", "Resamples", "compare_expression", "expression_of_targets"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Resamples:
    """Expression and activity of every resample.

    Parameters
    ----------
    groups : tuple of str
    expression, z : ndarray, (resamples, groups, targets) float64
        NaN in `expression` where a target's gene was not measured.
    """

    groups: tuple[str, ...]
    expression: np.ndarray
    z: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class ExpressionActivity:
    """Expression against activity.

    Parameters
    ----------
    targets : DataFrame
        Per target: genes, n_groups, rho, pvalue, fdr, ci_low, ci_high, n_resamples.
    points : DataFrame
        Per target and group: expression and activity, each with _low and _high (2.5 and 97.5 % over
        resamples; missing without).
    """

    targets: pd.DataFrame
    points: pd.DataFrame


def expression_of_targets(values: np.ndarray, genes: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Mean log1p CPM of the gene or genes of each target.

    Parameters
    ----------
    values : ndarray, (groups, genes)
    genes : sequence of str
    targets : sequence of str

    Returns
    -------
    ndarray, (groups, targets) float64
        NaN columns where no gene of a target was measured.
    """
    column = {gene: place for place, gene in enumerate(genes)}
    found = np.full((values.shape[0], len(targets)), np.nan)
    for place, target in enumerate(targets):
        columns = [column[gene] for gene in genes_of_target(target) if gene in column]
        if columns:
            found[:, place] = values[:, columns].mean(axis=1, dtype=np.float64)
    return found


def compare_expression(
    groups: Sequence[str],
    targets: Sequence[str],
    expression: np.ndarray,
    z: np.ndarray,
    resamples: Resamples | None = None,
    *,
    measured: Sequence[str] | None = None,
) -> ExpressionActivity:
    """Correlate expression and activity of each target over groups.

    Parameters
    ----------
    groups, targets : sequence of str
    expression, z : ndarray, (groups, targets) float64
    resamples : Resamples, optional
        Of the same targets; of the same groups or some of them.
    measured : sequence of str, optional
        Genes of the profiles; only those are named beside a target.

    Returns
    -------
    ExpressionActivity

    Raises
    ------
    InputError
        If the resamples know a group that the profiles do not.
    """
    if resamples is not None and (strange := set(resamples.groups) - set(groups)):
        raise InputError(
            "the resamples have groups that the profiles have not",
            expected=f"some of {len(groups)} groups",
            found=", ".join(sorted(strange)[:5]),
            next="Make both from the same atlas and level.",
        )
    rows, points = [], []
    rho_of_resamples = _rho_of_resamples(resamples)
    known = set(measured) if measured is not None else None
    for place, target in enumerate(targets):
        rho, pvalue, n = spearman(expression[:, place], z[:, place])
        resampled = rho_of_resamples[:, place] if rho_of_resamples is not None else np.array([])
        low, high = percentile_interval(resampled)
        genes = [gene for gene in genes_of_target(target) if known is None or gene in known]
        used = int(np.isfinite(resampled).sum())
        rows.append((target, ";".join(genes), n, rho, pvalue, low, high, used))
    table = pd.DataFrame(
        rows, columns=["target", "genes", "n_groups", "rho", "pvalue", "ci_low", "ci_high", "n_resamples"]
    )
    table.insert(5, "fdr", benjamini_hochberg(table["pvalue"].to_numpy()))
    points = _points(groups, targets, expression, z, resamples)
    return ExpressionActivity(targets=table, points=points)


def _rho_of_resamples(resamples: Resamples | None) -> np.ndarray | None:
    """Spearman's rho of every (resample, target); NaN where the gene was not measured."""
    if resamples is None:
        return None
    count, _, targets = resamples.z.shape
    x = np.moveaxis(resamples.expression, 1, 2).reshape(count * targets, -1)
    y = np.moveaxis(resamples.z, 1, 2).reshape(count * targets, -1)
    complete = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    rho = np.full(count * targets, np.nan)
    rho[complete] = spearman_rows(x[complete], y[complete])
    return rho.reshape(count, targets)


def _points(
    groups: Sequence[str],
    targets: Sequence[str],
    expression: np.ndarray,
    z: np.ndarray,
    resamples: Resamples | None,
) -> pd.DataFrame:
    spread = np.full((4, len(groups), len(targets)), np.nan)
    if resamples is not None:
        place = {group: row for row, group in enumerate(groups)}
        at = [place[group] for group in resamples.groups]
        spread[0:2, at] = np.percentile(resamples.expression, [2.5, 97.5], axis=0)
        spread[2:4, at] = np.percentile(resamples.z, [2.5, 97.5], axis=0)
    return pd.DataFrame(
        {
            "target": np.repeat(np.asarray(targets, dtype=object), len(groups)),
            "group": np.tile(np.asarray(groups, dtype=object), len(targets)),
            "expression": expression.T.ravel(),
            "expression_low": spread[0].T.ravel(),
            "expression_high": spread[1].T.ravel(),
            "activity": z.T.ravel(),
            "activity_low": spread[2].T.ravel(),
            "activity_high": spread[3].T.ravel(),
        }
    )
