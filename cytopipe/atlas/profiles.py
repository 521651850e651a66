"""From accumulated counts to profiles: CPM, z-scores, standard errors, resamples.

Sums per unit come in; for each level leave its groups' counts, log1p(CPM), z-scores against the whole atlas
and standard errors, and, group by group, the resampled profiles. Groups are named in sorted order, those too
small are left out and listed. Sums of counts times integer weights are exact in float64 below 2^53, so even
a matrix product gives the same bits whatever library or threads compute it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import njit

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.atlas.bootstrap import parity_indices, poisson_weights
from cytopipe.atlas.kernels import fixed_point_bits
from cytopipe.atlas.labels import Grouping
from cytopipe.atlas.logarithm import log1p_cpm
from cytopipe.atlas.plan import GENES_PER_CHUNK, PassPlan
from cytopipe.errors import InputError

__all__ = [
    "Profiles",
    "Resampler",
    "SampleProfiles",
    "Statistics",
    "atlas_statistics",
    "level_profiles",
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
class Profiles:
    """The groups of one level.

    Parameters
    ----------
    grouping : Grouping
        All groups of the level.
    kept : ndarray, (n,) int64
        Groups that are large enough; the rows of what follows.
    counts : ndarray, (n, n_genes) int64
    X : ndarray, (n, n_genes) float64
        log1p(CPM).
    se : ndarray, (n, n_genes) float32, or None
        Standard error of X, NaN where there are fewer than two clusters.
    expressing : ndarray, (n, n_genes) int32
        Cells with at least one count.
    n_samples : ndarray, (n_groups,) int64
    total_counts : ndarray, (n_groups,) int64
    """

    grouping: Grouping
    kept: np.ndarray
    counts: np.ndarray
    X: np.ndarray
    se: np.ndarray | None
    expressing: np.ndarray
    n_samples: np.ndarray
    total_counts: np.ndarray

    @property
    def names(self) -> list[str]:
        """Labels of the kept groups."""
        return [self.grouping.names[group] for group in self.kept]


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


def level_profiles(plan: PassPlan, accumulators: Accumulators, level: int) -> Profiles:
    """Roll units up to the groups of one level.

    Parameters
    ----------
    plan : PassPlan
    accumulators : Accumulators
        Settled.
    level : int
        Position in ``plan.units.groupings``.
    """
    units, settings = plan.units, plan.settings
    grouping = units.groupings[level]
    n_groups = len(grouping.names)
    group_of_leaf = np.full(units.n_leaves, -1, np.int32)
    group_of_leaf[units.leaf_of_unit] = grouping.group_of_unit
    group_of_row = grouping.group_of_unit if plan.rows_are_units else group_of_leaf
    row_totals = accumulators.row_totals
    known = group_of_row >= 0
    totals = np.zeros(n_groups, np.int64)
    np.add.at(totals, group_of_row[known], row_totals[known])
    if int(row_totals.sum()) >= _EXACT // 64:
        raise InputError(
            "more counts than can be weighted exactly", expected="fewer than 2^47", found=str(totals.sum())
        )
    kept = np.flatnonzero((grouping.n_cells >= settings.min_cells) & (totals >= settings.min_counts))
    counts = _roll_up(accumulators.sums, group_of_row, kept, n_groups)
    expressing = _roll_up(accumulators.expressing, group_of_leaf, kept, n_groups)
    X = np.empty(counts.shape, np.float64)
    log1p_cpm(counts, totals[kept].astype(np.float64), X)
    n_samples = np.array([len(_samples(plan, level, group)) for group in range(n_groups)], np.int64)
    if plan.layout == "units" and units.samples:
        se = _se_over_samples(plan, accumulators, level, kept)
    elif plan.by_cells:
        se = _se_over_cells(accumulators, group_of_leaf, grouping, kept, counts, totals)
    else:
        se = None
    return Profiles(grouping, kept, counts, X, se, expressing, n_samples, totals)


class SampleProfiles:
    """One profile per sample and group of a level, a piece at a time.

    Attributes
    ----------
    groups, samples : ndarray, (n,) int64
        Of each profile; sorted by group, then sample.
    n_cells, total_counts : ndarray, (n,) int64
    """

    def __init__(self, plan: PassPlan, accumulators: Accumulators, level: int) -> None:
        units, self._sums = plan.units, accumulators.sums
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
        np.add.at(self.total_counts, self._rows, accumulators.row_totals[self._units])

    def piece(self, row: int, stop: int, first: int, last: int) -> np.ndarray:
        """Counts of profiles ``row:stop`` and genes ``first:last``, int64."""
        low, high = np.searchsorted(self._rows, [row, stop])
        out = np.zeros((stop - row, last - first), np.int64)
        _gather(self._sums, self._units[low:high], self._rows[low:high] - row, first, out)
        return out


class Resampler:
    """Resampled profiles of one level, a piece of genes at a time.

    Parameters
    ----------
    plan : PassPlan
    accumulators : Accumulators
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

    def __init__(self, plan: PassPlan, accumulators: Accumulators, profiles: Profiles, level: int) -> None:
        self.plan, self._sums, self._boot, self.level = plan, accumulators.sums, accumulators.boot, level
        settings = plan.settings
        needed = 1 if plan.by_cells else settings.min_samples
        enough = profiles.n_samples >= needed if not plan.by_cells else np.ones(len(profiles.n_samples), bool)
        self.groups = [int(group) for group in profiles.kept if enough[group]]
        self.names = [profiles.grouping.names[group] for group in self.groups]
        self._row_totals = accumulators.row_totals
        self._draws = None
        if settings.bootstrap == "parity":
            sizes = [int(profiles.n_samples[group]) for group in self.groups]
            self._draws = parity_indices(sizes, settings.n_bootstrap)
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
        """What a group's resamples need besides the counts."""
        plan, group = self.plan, self.groups[position]
        members = np.flatnonzero(plan.units.groupings[self.level].group_of_unit == group)
        if plan.n_boot_slots:
            leaves = np.unique(plan.units.leaf_of_unit[members])
            slots = plan.slots.of_group[self.level][group]
            totals = self._boot_totals[leaves][:, slots].sum(axis=0)
            return _Weighing(leaves, slots, None, None, totals.astype(np.float64))
        members = members[plan.units.sample_of_unit[members] >= 0]
        samples, place = np.unique(plan.units.sample_of_unit[members], return_inverse=True)
        sample_totals = np.zeros(len(samples))
        np.add.at(sample_totals, place, self._row_totals[members])
        if self._draws is not None:
            times = np.zeros((plan.settings.n_bootstrap, len(samples)))
            np.add.at(times, (np.arange(len(times))[:, None], self._draws[position]), 1.0)
            weights = times * (1e6 / np.maximum(sample_totals, 1))  # the reference averages CPM, not counts
        else:
            slots = plan.slots.of_group[self.level][group]
            weights = self._weights[samples][:, slots].T.astype(np.float64)
        return _Weighing(members, place, weights, sample_totals, weights @ sample_totals)

    def piece(self, weighing: _Weighing, first: int, last: int) -> np.ndarray:
        """Resampled log1p(CPM) of genes ``first:last`` of a group, (n_bootstrap, last - first) float32."""
        if weighing.weights is None:
            counts = self._boot[weighing.rows, first:last].sum(axis=0)[:, weighing.place].T.astype(np.float64)
        else:
            per_sample = np.zeros((len(weighing.sample_totals), last - first))
            _gather(self._sums, weighing.rows, weighing.place, first, per_sample)
            counts = weighing.weights @ per_sample
        out = np.empty(counts.shape, np.float32)
        log1p_cpm(counts, weighing.totals, out)
        return out


@dataclass(frozen=True)
class _Weighing:
    rows: np.ndarray
    place: np.ndarray
    weights: np.ndarray | None
    sample_totals: np.ndarray | None
    totals: np.ndarray


def _samples(plan: PassPlan, level: int, group: int) -> np.ndarray:
    units = plan.units
    members = units.groupings[level].group_of_unit == group
    return np.unique(units.sample_of_unit[members & (units.sample_of_unit >= 0)])


def _roll_up(values: np.ndarray, group_of_row: np.ndarray, kept: np.ndarray, n_groups: int) -> np.ndarray:
    place = np.full(n_groups + 1, -1, np.int64)
    place[kept] = np.arange(len(kept))
    out = np.zeros((len(kept), values.shape[1]), values.dtype)
    for row, target in enumerate(place[group_of_row]):
        if target >= 0:
            out[target] += values[row]
    return out


def _se_over_samples(plan: PassPlan, accumulators: Accumulators, level: int, kept: np.ndarray) -> np.ndarray:
    """Delta-method standard errors of log1p(CPM), samples as clusters, (n_kept, n_genes) float32.

    With x_s counts of a gene and t_s all counts of sample s, N = sum t_s and p = sum x_s / N:
    Var = sum (x_s - p t_s)^2 / N^2 and SE = 10^6 sqrt(Var) / (1 + 10^6 p).
    """
    units = plan.units
    out = np.full((len(kept), plan.n_genes), np.nan, np.float32)

    def fill(row: int) -> None:
        in_group = units.groupings[level].group_of_unit == kept[row]
        members = np.flatnonzero(in_group & (units.sample_of_unit >= 0))
        samples, place = np.unique(units.sample_of_unit[members], return_inverse=True)
        t = np.bincount(place, accumulators.row_totals[members], len(samples))
        if len(samples) < 2 or t.sum() == 0:
            return
        for first in range(0, plan.n_genes, GENES_PER_CHUNK):
            x = np.zeros((len(samples), min(GENES_PER_CHUNK, plan.n_genes - first)))
            _gather(accumulators.sums, members, place, first, x)
            _delta_se(x, t, out[row, first : first + x.shape[1]])

    with ThreadPoolExecutor(plan.threads) as pool:
        list(pool.map(fill, range(len(kept))))
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _delta_se(x, t, out):
    """Standard errors of one group's genes from counts x (samples, genes) and totals t."""
    n = t.sum()
    for gene in range(x.shape[1]):
        p = 0.0
        for sample in range(len(t)):
            p += x[sample, gene]
        p /= n
        variance = 0.0
        for sample in range(len(t)):
            variance += (x[sample, gene] - p * t[sample]) ** 2
        out[gene] = 1e6 * np.sqrt(variance) / n / (1 + 1e6 * p)


def _se_over_cells(accumulators, group_of_leaf, grouping: Grouping, kept, counts, totals) -> np.ndarray:
    """The same with cells as clusters, from sums of x^2, x t and t^2."""
    n_groups = len(grouping.names)
    squares = _roll_up(accumulators.squares, group_of_leaf, kept, n_groups).astype(np.float64)
    cross = _roll_up(accumulators.cross, group_of_leaf, kept, n_groups).astype(np.float64)
    totals2 = _roll_up(accumulators.total_squares[:, None], group_of_leaf, kept, n_groups).astype(np.float64)
    n = np.maximum(totals[kept], 1).astype(np.float64)[:, None]
    p = counts / n
    variance = np.maximum(squares - 2 * p * cross + p**2 * totals2, 0) / n**2
    return (1e6 * np.sqrt(variance) / (1 + 1e6 * p)).astype(np.float32)


@njit(nogil=True, cache=True)
def _gather(sums, rows, place, first, out):
    """Add columns ``first:first + width`` of some rows of `sums` into rows `place` of `out`."""
    for i in range(len(rows)):
        for column in range(out.shape[1]):
            out[place[i], column] += sums[rows[i], first + column]
