"""From accumulated counts to profiles: CPM, z-scores, standard errors, resamples.

For each level the groups' counts, log1p(CPM), z-scores against the whole atlas and standard errors are
derived from the sums of a pass, and, group by group, the resampled profiles. Values are derived a block of
rows or of genes at a time, when the file is written. Groups are named in sorted order; those too small are
left out and listed. Sums of counts times whole weights are exact in float64 below 2^53: the same bits in any
order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.atlas.bootstrap import parity_indices, poisson_weights
from cytopipe.atlas.group_rows import GroupSums
from cytopipe.atlas.kernels import fixed_point_bits
from cytopipe.atlas.labels import Grouping
from cytopipe.atlas.logarithm import log1p_cpm, log1p_cpm_and_zscore
from cytopipe.atlas.plan import ROWS_PER_CHUNK, PassPlan
from cytopipe.atlas.unit_counts import SampleCounts, UnitCounts
from cytopipe.errors import InputError

__all__ = [
    "ProfileRows",
    "Profiles",
    "Resampler",
    "SampleProfiles",
    "Statistics",
    "all_profiles",
    "atlas_statistics",
    "resampled_groups",
    "zscore",
]

_EXACT = 1 << 53  # whole numbers a float64 holds


@dataclass(frozen=True)
class Statistics:
    """Per gene, over all cells of the atlas, labelled or not.

    Parameters
    ----------
    mean, std : ndarray, (n_genes,) float64
        Of y = log1p(CPM) of single cells; ddof 1; a std of 0 is given as 1.
    n_cells : int
    """

    mean: np.ndarray
    std: np.ndarray
    n_cells: int


@dataclass(frozen=True)
class ProfileRows:
    """Some groups of a level.

    Parameters
    ----------
    start : int
        Position of the first among the kept groups.
    counts : ndarray, (n, n_genes) int64
    totals : ndarray, (n,) int64
        All counts of each group.
    se : ndarray, (n, n_genes) float32, or None
        Standard error of log1p(CPM), NaN where there are fewer than two clusters.
    expressing : ndarray, (n, n_genes) int32
        Cells with at least one count.
    """

    start: int
    counts: np.ndarray
    totals: np.ndarray
    se: np.ndarray | None
    expressing: np.ndarray

    def log1p_cpm(self, statistics: Statistics) -> tuple[np.ndarray, np.ndarray]:
        """log1p(CPM) and its z-scores against the atlas, both (n, n_genes) float32."""
        X, z = (np.empty(self.counts.shape, np.float32) for _ in range(2))
        totals = self.totals.astype(np.float64)
        log1p_cpm_and_zscore(self.counts, totals, statistics.mean, statistics.std, X, z)
        return X, z


@dataclass(frozen=True)
class Profiles:
    """The groups of one level; their values are derived when they are asked for.

    Parameters
    ----------
    grouping : Grouping
        All groups of the level.
    kept : ndarray, (n,) int64
        Groups that are large enough; the rows of the level's file.
    n_samples : ndarray, (n_groups,) int64
    total_counts : ndarray, (n_groups,) int64
    has_errors : bool
        Whether there are standard errors.
    rows : callable
        ``rows(start, stop)`` derives the kept groups ``start:stop``, as :class:`ProfileRows`.
    """

    grouping: Grouping
    kept: np.ndarray
    n_samples: np.ndarray
    total_counts: np.ndarray
    has_errors: bool
    rows: Callable[[int, int], ProfileRows]

    @property
    def names(self) -> list[str]:
        """Labels of the kept groups."""
        return [self.grouping.names[group] for group in self.kept]

    def blocks(self) -> Iterator[ProfileRows]:
        """All kept groups, as many at a time as a chunk of the file holds."""
        for start in range(0, len(self.kept), ROWS_PER_CHUNK):
            yield self.rows(start, min(start + ROWS_PER_CHUNK, len(self.kept)))


def zscore(X: np.ndarray, gene_mean: np.ndarray, gene_std: np.ndarray) -> np.ndarray:
    """Profiles in units of the atlas's single-cell standard deviation.

    Parameters
    ----------
    X : ndarray, (n, n_genes)
        log1p(CPM), of profiles or of resamples.
    gene_mean, gene_std : ndarray, (n_genes,)
        ``uns["atlas_stats"]`` of a pseudobulk file.

    Returns
    -------
    ndarray, (n, n_genes) float32
    """
    return ((np.asarray(X, np.float64) - gene_mean) / gene_std).astype(np.float32)


def atlas_statistics(logs: np.ndarray, n_cells: int) -> Statistics:
    """Mean and standard deviation from fixed-point sums.

    Parameters
    ----------
    logs : ndarray, (n_genes, 2) int64
        Sums of y and y^2, times 2^k (:func:`cytopipe.atlas.kernels.fixed_point_bits`).
    n_cells : int
    """
    unit = 2.0 ** -fixed_point_bits(n_cells)
    mean = logs[:, 0] * unit / n_cells
    spread = logs[:, 1] * unit - n_cells * mean * mean
    # a gene with the same y in every cell has no spread but for the rounding to fixed point
    spread[spread < n_cells * 16 * unit] = 0
    std = np.sqrt(spread / max(n_cells - 1, 1))
    return Statistics(mean, np.where(std == 0, 1.0, std), n_cells)


def all_profiles(plan: PassPlan, accumulators: Accumulators, counts: UnitCounts) -> list[Profiles]:
    """The groups of every level of a pass that is over.

    Parameters
    ----------
    plan : PassPlan
    accumulators : Accumulators
        Settled.
    counts : UnitCounts
        Of the same pass.
    """
    if int(accumulators.unit_totals.sum()) >= _EXACT // 64:
        found = f"{int(accumulators.unit_totals.sum()):,}"
        raise InputError("more counts than can be weighted exactly", expected="fewer than 2^47", found=found)
    settings, groupings = plan.settings, plan.units.groupings
    totals = [_totals(grouping, accumulators.unit_totals) for grouping in groupings]
    kept = [
        np.flatnonzero((grouping.n_cells >= settings.min_cells) & (total >= settings.min_counts))
        for grouping, total in zip(groupings, totals, strict=True)
    ]
    with_counts = plan.keeps_entries or (plan.rows_are_units and bool(plan.units.samples))
    sums = counts.group_sums(kept) if with_counts else [None] * len(kept)
    return [
        _level(plan, accumulators, level, kept[level], totals[level], sums[level])
        for level in range(len(groupings))
    ]


def _level(
    plan: PassPlan,
    accumulators: Accumulators,
    level: int,
    kept: np.ndarray,
    totals: np.ndarray,
    group_sums: Callable[[int, int], GroupSums] | None,
) -> Profiles:
    units = plan.units
    grouping = units.groupings[level]
    group_of_leaf = np.full(units.n_leaves, -1, np.int32)
    group_of_leaf[units.leaf_of_unit] = grouping.group_of_unit
    group_of_row = grouping.group_of_unit if plan.rows_are_units else group_of_leaf

    over_samples = group_sums is not None and bool(units.samples)

    def rows(start: int, stop: int) -> ProfileRows:
        some, errors = kept[start:stop], None
        if group_sums:
            sums = group_sums(start, stop)
            counts, expressing, errors = sums.counts, sums.expressing, sums.errors if over_samples else None
        else:
            counts = _roll_up(accumulators.sums, group_of_row, some, np.int64)
        if not plan.keeps_entries:
            expressing = _roll_up(accumulators.expressing, group_of_leaf, some, np.int32)
        if plan.by_cells:
            errors = _se_over_cells(accumulators, group_of_leaf, some, counts, totals[some])
        return ProfileRows(start, counts, totals[some], errors, expressing)

    has_errors = over_samples or plan.by_cells
    return Profiles(grouping, kept, _n_samples(plan, level), totals, has_errors, rows)


def _totals(grouping: Grouping, unit_totals: np.ndarray) -> np.ndarray:
    """All counts of each group, int64."""
    totals = np.zeros(len(grouping.names), np.int64)
    known = grouping.group_of_unit >= 0
    np.add.at(totals, grouping.group_of_unit[known], unit_totals[known])
    return totals


def _n_samples(plan: PassPlan, level: int) -> np.ndarray:
    """Samples of each group, int64."""
    grouping, sample = plan.units.groupings[level], plan.units.sample_of_unit
    known = (grouping.group_of_unit >= 0) & (sample >= 0)
    width = max(1, len(plan.units.samples))
    pairs = np.unique(grouping.group_of_unit[known].astype(np.int64) * width + sample[known])
    return np.bincount(pairs // width, minlength=len(grouping.names))


class SampleProfiles:
    """One profile per sample and group of a level, a piece at a time.

    Attributes
    ----------
    groups, samples : ndarray, (n,) int64
        Of each profile; sorted by group, then sample.
    n_cells, total_counts : ndarray, (n,) int64
    """

    def __init__(self, plan: PassPlan, counts: UnitCounts, level: int) -> None:
        units, self._counts = plan.units, counts
        group = units.groupings[level].group_of_unit.astype(np.int64)
        known = np.flatnonzero((group >= 0) & (units.sample_of_unit >= 0))
        pair = group[known] * len(units.samples) + units.sample_of_unit[known]
        pairs, place = np.unique(pair, return_inverse=True)
        n_cells = np.bincount(place, units.n_cells[known], len(pairs)).astype(np.int64)
        large = n_cells >= plan.settings.min_cells
        row = np.where(large, np.cumsum(large) - 1, -1)[place]
        order = np.argsort(row, kind="stable")[np.count_nonzero(row < 0) :]
        self._rows, self._units = row[order], known[order]
        self.groups, self.samples = pairs[large] // len(units.samples), pairs[large] % len(units.samples)
        self.n_cells = n_cells[large]
        self.total_counts = np.zeros(len(self.groups), np.int64)
        np.add.at(self.total_counts, self._rows, counts.totals[self._units])

    def piece(self, row: int, stop: int, first: int, last: int) -> np.ndarray:
        """Counts of profiles ``row:stop`` and genes ``first:last``, int64."""
        low, high = np.searchsorted(self._rows, [row, stop])
        rows = self._rows[low:high] - row
        return self._counts.piece(self._units[low:high], rows, stop - row, first, last)


class Resampler:
    """Resampled profiles of one level, a piece of genes at a time.

    Parameters
    ----------
    plan : PassPlan
    accumulators : Accumulators
    counts : UnitCounts
    profiles : Profiles
        Of the same level.
    level : int

    Attributes
    ----------
    groups : list of int
        Groups that are resampled, sorted by name: kept, and with enough samples.
    names : list of str
    level : int
    """

    def __init__(
        self, plan: PassPlan, accumulators: Accumulators, counts: UnitCounts, profiles: Profiles, level: int
    ) -> None:
        self.plan, self._counts, self._boot, self.level = plan, counts, accumulators.boot, level
        settings = plan.settings
        self.groups = resampled_groups(plan, profiles)
        self.names = [profiles.grouping.names[group] for group in self.groups]
        self._draws = None
        if settings.bootstrap == "parity":
            sizes = [int(profiles.n_samples[group]) for group in self.groups]
            self._draws = parity_indices(sizes, settings.n_bootstrap, settings.seed)
        elif not plan.n_boot_slots:
            slots = plan.slots
            self._weights = poisson_weights(plan.keys, settings.seed, slots.resample, slots.attempt)
        else:
            self._boot_totals = self._boot.sum(axis=1)

    def redrawn(self, position: int) -> np.ndarray:
        """Whether each resample of a group needed another draw, (n_bootstrap,) bool."""
        if self._draws is not None:
            return np.zeros(self.plan.settings.n_bootstrap, bool)
        slots = self.plan.slots.of_group[self.level][self.groups[position]]
        return slots >= self.plan.settings.n_bootstrap

    def prepare(self, position: int) -> _Weighing:
        """What a group's resamples need besides genes."""
        plan, group = self.plan, self.groups[position]
        if plan.n_boot_slots:
            members = np.flatnonzero(plan.units.groupings[self.level].group_of_unit == group)
            leaves = np.unique(plan.units.leaf_of_unit[members])
            slots = plan.slots.of_group[self.level][group]
            totals = self._boot_totals[leaves][:, slots].sum(axis=0)
            return _Weighing(totals.astype(np.float64), leaves=leaves, slots=slots)
        of_samples = self._counts.of_group(self.level, group)
        sample_totals = of_samples.totals.astype(np.float64)
        if self._draws is not None:
            times = np.zeros((plan.settings.n_bootstrap, len(sample_totals)))
            np.add.at(times, (np.arange(len(times))[:, None], self._draws[position]), 1.0)
            weights = times * (1e6 / np.maximum(sample_totals, 1))  # the reference averages CPM, not counts
        else:
            slots = plan.slots.of_group[self.level][group]
            weights = self._weights[of_samples.samples][:, slots].T.astype(np.float64)
        return _Weighing(weights @ sample_totals, of_samples=of_samples, weights=weights.T)

    def piece(self, weighing: _Weighing, first: int, last: int) -> np.ndarray:
        """Resampled log1p(CPM) of genes ``first:last`` of a group, (n_bootstrap, last - first) float32."""
        if weighing.of_samples is None:
            boot = self._boot[weighing.leaves, first:last].sum(axis=0)
            counts = boot[:, weighing.slots].T.astype(np.float64)
        else:
            counts = weighing.of_samples.weighted(weighing.weights, first, last).T
        out = np.empty(counts.shape, np.float32)
        log1p_cpm(np.ascontiguousarray(counts), weighing.totals, out)
        return out


def resampled_groups(plan: PassPlan, profiles: Profiles) -> list[int]:
    """Groups of a level that are resampled: kept ones with enough samples, or, of cells, all kept ones."""
    if plan.by_cells:
        return profiles.kept.tolist()
    return [int(group) for group in profiles.kept if profiles.n_samples[group] >= plan.settings.min_samples]


@dataclass(frozen=True)
class _Weighing:
    """One group ready to be resampled: from the counts of its samples, or from resampled leaves."""

    totals: np.ndarray
    of_samples: SampleCounts | None = None
    weights: np.ndarray | None = None
    leaves: np.ndarray | None = None
    slots: np.ndarray | None = None


def _roll_up(values: np.ndarray, group_of_row: np.ndarray, groups: np.ndarray, dtype) -> np.ndarray:
    """Rows of `values` added up per group, (len(groups), n_genes)."""
    place = np.full(int(max(group_of_row.max(initial=-1), groups.max(initial=-1))) + 2, -1, np.int64)
    place[groups] = np.arange(len(groups))
    out = np.zeros((len(groups), values.shape[1]), dtype)
    for row, target in enumerate(place[group_of_row].tolist()):
        if target >= 0:
            out[target] += values[row]
    return out


def _se_over_cells(
    accumulators: Accumulators, group_of_leaf: np.ndarray, groups: np.ndarray, counts: np.ndarray, totals
) -> np.ndarray:
    """Delta-method standard errors with cells as clusters, from sums of x^2, x t and t^2; float32."""
    sums = (accumulators.squares, accumulators.cross, accumulators.total_squares[:, None])
    squares, cross, total_squares = (
        _roll_up(values, group_of_leaf, groups, np.int64).astype(np.float64) for values in sums
    )
    n = np.maximum(totals, 1).astype(np.float64)[:, None]
    p = counts / n
    variance = np.maximum(squares - 2 * p * cross + p**2 * total_squares, 0) / n**2
    return (1e6 * np.sqrt(variance) / (1 + 1e6 * p)).astype(np.float32)
