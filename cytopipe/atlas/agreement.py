"""Do atlases that were made independently agree about a cytokine?

A harmonisation table gives the cell types of all atlases one vocabulary, and their activities are compared
on it. Each pair of atlases is compared overall and target by target. Over all atlases, each target is
classed by whether it is conserved and how consistent it is. Only harmonised types that both atlases have
are compared, labels outside the vocabulary are reported, and a statistic that too few types determine is
missing rather than zero.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cytopipe.atlas.harmonise import Granularity, Harmonisation, default_harmonisation
from cytopipe.atlas.statistics import kendall_w, pearson, spearman
from cytopipe.errors import Finding, InputError

__all__ = [
    "CLASSES",
    "CrossAtlas",
    "TypeActivity",
    "classify",
    "compare_atlases",
    "consistency_score",
    "type_activity",
]

HIGH, MODERATE, MIN_AGREEING_PAIRS = 0.7, 0.5, 2
CLASSES = ("highly_conserved", "moderately_conserved", "atlas_specific", "insufficient_data")


@dataclass(frozen=True, eq=False, kw_only=True)
class TypeActivity:
    """Mean activity of every harmonised type of one atlas.

    Parameters
    ----------
    atlas : str
    values : DataFrame, types x targets
        Mean z of the atlas's groups that belong to a type.
    members : mapping of str to tuple of str
        The groups behind each type.
    unmapped : tuple of str
        Groups that the vocabulary has no place for.
    """

    atlas: str
    values: pd.DataFrame
    members: Mapping[str, tuple[str, ...]]
    unmapped: tuple[str, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class CrossAtlas:
    """What several atlases agree on.

    Parameters
    ----------
    pairs : DataFrame
        Per pair of atlases: n_types, n_targets, pearson_r and spearman_rho over all types x targets.
    targets : DataFrame
        Per target and pair: n_types, rho, pvalue (Spearman over at least three shared types).
    conserved : DataFrame
        Per target: n_pairs with a rho, n_high, n_moderate, mean_rho, conservation (one of `CLASSES`).
    consistency : DataFrame
        Per target: n_atlases, n_types, mean_r, cv, kendall_w, consistency.
    """

    pairs: pd.DataFrame
    targets: pd.DataFrame
    conserved: pd.DataFrame
    consistency: pd.DataFrame


def type_activity(
    atlas: str,
    z: pd.DataFrame,
    harmonisation: Harmonisation | None = None,
    granularity: Granularity = "coarse",
) -> TypeActivity:
    """Average the activity of groups that are the same harmonised type.

    Parameters
    ----------
    atlas : str
    z : DataFrame, groups x targets
        Indexed by the atlas's own labels.
    harmonisation : Harmonisation, optional
        The table that comes with cytopipe, if left out.
    granularity : {'coarse', 'fine'}
    """
    harmonisation = harmonisation or default_harmonisation()
    members: dict[str, list[str]] = defaultdict(list)
    unmapped = []
    for label in z.index:
        harmonised = harmonisation.of(atlas, str(label), granularity)
        if harmonised is None:
            unmapped.append(str(label))
        else:
            members[harmonised].append(label)
    types = sorted(members)
    means = [z.loc[members[name]].mean(axis=0) for name in types]
    return TypeActivity(
        atlas=atlas,
        values=pd.DataFrame(means, index=pd.Index(types, name="cell_type"), columns=z.columns, dtype=float),
        members={name: tuple(map(str, members[name])) for name in types},
        unmapped=tuple(unmapped),
    )


def compare_atlases(atlases: Sequence[TypeActivity]) -> CrossAtlas:
    """Compare atlases pair by pair and target by target.

    Raises
    ------
    InputError
        With fewer than two atlases, an atlas named twice, or no target in common.
    """
    ordered = sorted(atlases, key=lambda one: one.atlas)
    _check(ordered)
    pairs, targets = [], []
    for a, b in itertools.combinations(ordered, 2):
        types, names = _shared(a, b)
        x, y = a.values.loc[types, names], b.values.loc[types, names]
        rho = spearman(x.to_numpy().ravel(), y.to_numpy().ravel())[0]
        r = pearson(x.to_numpy().ravel(), y.to_numpy().ravel())
        pairs.append((a.atlas, b.atlas, len(types), len(names), r, rho))
        for name in names:
            rho, pvalue, n = spearman(x[name].to_numpy(), y[name].to_numpy())
            targets.append((name, a.atlas, b.atlas, n, rho, pvalue))
    by_pair = pd.DataFrame(
        pairs, columns=["atlas_a", "atlas_b", "n_types", "n_targets", "pearson_r", "spearman_rho"]
    )
    by_target = pd.DataFrame(
        targets, columns=["target", "atlas_a", "atlas_b", "n_types", "rho", "pvalue"]
    ).sort_values(["target", "atlas_a", "atlas_b"], ignore_index=True)
    return CrossAtlas(
        pairs=by_pair,
        targets=by_target,
        conserved=_conserved(by_target),
        consistency=_consistency(ordered, by_target),
    )


def classify(correlations: Sequence[float]) -> str:
    """The conservation class of a target from its correlation in each pair of atlases.

    Two pairs above 0.7 are highly conserved, two above 0.5 moderately; one pair (or none) is no evidence
    either way; anything else is specific to atlases.

    Examples
    --------
    >>> classify([0.9, 0.8, -0.1]), classify([0.9]), classify([0.9, 0.2])
    ('highly_conserved', 'insufficient_data', 'atlas_specific')
    """
    defined = [r for r in correlations if not np.isnan(r)]
    if len(defined) < MIN_AGREEING_PAIRS:
        return "insufficient_data"
    if sum(r > HIGH for r in defined) >= MIN_AGREEING_PAIRS:
        return "highly_conserved"
    if sum(r > MODERATE for r in defined) >= MIN_AGREEING_PAIRS:
        return "moderately_conserved"
    return "atlas_specific"


def consistency_score(mean_r: float, cv: float, concordance: float) -> float:
    """0.4 max(0, mean r) + 0.3 (1 - min(CV, 1)) + 0.3 W, from 0 to 1; NaN without a mean r.

    A CV or W that is not defined adds nothing.
    """
    if np.isnan(mean_r):
        return float("nan")
    steadiness = 0.0 if np.isnan(cv) else 1 - min(cv, 1.0)
    return 0.4 * max(0.0, mean_r) + 0.3 * steadiness + 0.3 * (0.0 if np.isnan(concordance) else concordance)


def _check(atlases: Sequence[TypeActivity]) -> None:
    names = [one.atlas for one in atlases]
    findings = []
    if len(set(names)) < 2:
        findings.append(
            Finding(
                what="a comparison needs two atlases",
                expected="at least two, each once",
                found=", ".join(names) or "none",
            )
        )
    elif len(set(names)) < len(names):
        findings.append(Finding(what="an atlas is named twice", found=", ".join(names)))
    for one in atlases:
        if one.values.empty:
            findings.append(
                Finding(
                    what="no cell type of this atlas has a place in the vocabulary",
                    where=f"atlas {one.atlas}",
                    found=", ".join(one.unmapped[:5]) or "no group",
                    next="Add its labels to a copy of the table of cell types.",
                )
            )
    if findings:
        raise InputError(findings)


def _shared(a: TypeActivity, b: TypeActivity) -> tuple[list[str], list[str]]:
    types = [name for name in a.values.index if name in b.values.index]
    return types, [name for name in a.values.columns if name in b.values.columns]


def _conserved(by_target: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for target, part in by_target.groupby("target", sort=True):
        rho = part["rho"].to_numpy()
        defined = rho[~np.isnan(rho)]
        mean = float(defined.mean()) if defined.size else float("nan")
        high, moderate = int((defined > HIGH).sum()), int((defined > MODERATE).sum())
        rows.append((target, defined.size, high, moderate, mean, classify(rho)))
    return pd.DataFrame(
        rows, columns=["target", "n_pairs", "n_high", "n_moderate", "mean_rho", "conservation"]
    )


def _consistency(atlases: Sequence[TypeActivity], by_target: pd.DataFrame) -> pd.DataFrame:
    mean_r = by_target.groupby("target")["rho"].mean()  # NaN left out
    rows = []
    for target in sorted({name for one in atlases for name in one.values.columns}):
        having = [one for one in atlases if target in one.values.columns]
        types = sorted(set.intersection(*(set(one.values.index) for one in having)))
        ratings = np.array([one.values.loc[types, target] for one in having]).reshape(len(having), len(types))
        r = float(mean_r.get(target, np.nan))
        cv = _variation_between(having, target)
        w = kendall_w(ratings)
        rows.append((target, len(having), len(types), r, cv, w, consistency_score(r, cv, w)))
    return pd.DataFrame(
        rows, columns=["target", "n_atlases", "n_types", "mean_r", "cv", "kendall_w", "consistency"]
    )


def _variation_between(atlases: Sequence[TypeActivity], target: str) -> float:
    """Coefficient of variation over atlases of the mean activity: sd (ddof 0) / |mean|."""
    if len(atlases) < 2:
        return float("nan")
    means = np.array([one.values[target].mean() for one in atlases])
    centre = abs(means.mean())
    return float(means.std() / centre) if centre > 0 else float("inf")
