"""Counts of every sample in every group, from either store of a pass, a block of genes or a group at a time.

After a pass counts lie per unit (`plan.layout` "units": one dense row per leaf and sample) or per cell
("entries"). Both are read here through the same functions: sums of groups and their standard errors over
samples, the sample x gene counts of one group for its resamples, and rows of sample profiles. Everything
is a sum of whole numbers, so neither the store nor the number of threads shows in a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.atlas.entries import gene_dtype
from cytopipe.atlas.group_rows import (
    Groups,
    GroupSums,
    from_entry,
    over_cells,
    over_unit_sums,
    over_units,
    sums_units,
)
from cytopipe.atlas.plan import PassPlan

__all__ = ["SampleCounts", "UnitCounts"]

_INT32 = 1 << 31
_SAFE_SQUARES = 1 << 62  # sums of squares below it are exact in int64


@dataclass(frozen=True)
class SampleCounts:
    """Counts of the samples of one group, without their zeros.

    Parameters
    ----------
    samples : ndarray, (n,) int64
        Positions among the samples of the atlas, ascending.
    totals : ndarray, (n,) int64
        All counts of each sample in the group.
    indptr : ndarray, (n + 1,) int64
    genes, counts : ndarray, (n_entries,)
        Entries of sample i are ``indptr[i]:indptr[i + 1]``, genes ascending.
    """

    samples: np.ndarray
    totals: np.ndarray
    indptr: np.ndarray
    genes: np.ndarray
    counts: np.ndarray

    def weighted(self, weights: np.ndarray, first: int, last: int) -> np.ndarray:
        """Sums over samples of weight times count, genes ``first:last``.

        Parameters
        ----------
        weights : ndarray, (n_samples_of_the_group, n_resamples) float64

        Returns
        -------
        ndarray, (last - first, n_resamples) float64
            Exact for whole weights, as all sums stay below 2^53.
        """
        out = np.zeros((last - first, weights.shape[1]))
        _weigh(self.indptr, self.genes, self.counts, np.ascontiguousarray(weights), first, last, out)
        return out


class UnitCounts:
    """What can be asked of the counts of a pass that is over.

    Parameters
    ----------
    plan : PassPlan
    accumulators : Accumulators
        Settled.
    """

    def __init__(self, plan: PassPlan, accumulators: Accumulators) -> None:
        self.plan, units, entries = plan, plan.units, accumulators.entries
        self.totals = accumulators.unit_totals
        self._dense = entries is None
        self._cells = np.empty(0, np.int64) if self._dense else np.argsort(units.of_cell, kind="stable")
        self._cell_starts = np.concatenate([[0], np.cumsum(units.n_cells)]).astype(np.int64)
        if self._dense:
            none, narrow = np.empty(0, np.int64), np.empty(0, np.uint16)
            self._store = (
                self._cells,
                self._cell_starts,
                none,
                none,
                narrow,
                narrow,
                accumulators.sums,
                True,
            )
        else:
            self._store = (
                self._cells, self._cell_starts, entries.start, entries.stop, entries.genes, entries.counts,
                np.empty((0, 0), np.int32), False,
            )  # fmt: skip
        known = units.sample_of_unit >= 0
        self._sample_totals = np.zeros(len(units.samples), np.int64)
        np.add.at(self._sample_totals, units.sample_of_unit[known], self.totals[known])
        self._largest = int(self._sample_totals.max(initial=0))
        self._exact = sum(int(total) ** 2 for total in self._sample_totals) < _SAFE_SQUARES

    def group_sums(self, kept: list[np.ndarray]) -> list[Callable[[int, int], GroupSums]]:
        """What derives the sums of kept groups ``start:stop``, per level.

        Delta-method standard errors of log1p(CPM) with samples as clusters: with x_s counts of a gene and
        t_s all counts of sample s, N = sum t_s and p = sum x_s / N, Var = sum (x_s - p t_s)^2 / N^2 =
        (sum x_s^2 - 2 p sum x_s t_s + p^2 sum t_s^2) / N^2 and SE = 10^6 sqrt(Var) / (1 + 10^6 p). The three
        sums are exact, so the difference is safe.

        Where units have many cells, the sums of all groups are made at once; otherwise when they are asked
        for.
        """
        levels = [_GroupsOfLevel(self, level, groups) for level, groups in enumerate(kept)]
        if self._dense or not self._sums_units():
            return levels
        units = np.concatenate([level.units for level in levels])
        lengths = np.concatenate([np.diff(level.starts) for level in levels])
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        ends = np.cumsum([0, *(len(groups) for groups in kept)]).tolist()
        made = over_units(self._groups(units, starts), self._store[:6], self.plan.n_genes, self.plan.threads)
        return [made.rows(first, last).rows for first, last in pairwise(ends)]

    def of_group(self, level: int, group: int) -> SampleCounts:
        """Counts of the samples of one group."""
        units = self.plan.units
        in_group = units.groupings[level].group_of_unit == group
        members = np.flatnonzero(in_group & (units.sample_of_unit >= 0))
        members = members[np.argsort(units.sample_of_unit[members], kind="stable")]
        samples, first = np.unique(units.sample_of_unit[members], return_index=True)
        runs = np.append(first, len(members)).astype(np.int64)
        totals = np.add.reduceat(self.totals[members], first) if len(first) else np.zeros(0, np.int64)
        most = len(samples) * self.plan.n_genes
        if not self._dense:
            cells = [self._cells[self._cell_starts[unit] : self._cell_starts[unit + 1]] for unit in members]
            cells = np.concatenate(cells) if cells else self._cells[:0]
            most = min(most, int((self._store[3][cells] - self._store[2][cells]).sum()))
        genes = np.empty(most, gene_dtype(self.plan.n_genes))
        counts = np.empty(most, np.int32 if self._largest < _INT32 else np.int64)
        indptr = np.zeros(len(samples) + 1, np.int64)
        _merge_samples(members, runs, *self._store, self.plan.n_genes, indptr, genes, counts)
        return SampleCounts(samples.astype(np.int64), totals, indptr, genes, counts)

    def piece(self, units: np.ndarray, place: np.ndarray, n_rows: int, first: int, last: int) -> np.ndarray:
        """Counts of units added into rows `place`, genes ``first:last``, (n_rows, last - first) int64."""
        out = np.zeros((n_rows, last - first), np.int64)
        for unit, row in zip(units.tolist(), place.tolist(), strict=True):
            _add_unit(unit, first, last, *self._store, out[row])
        return out

    def _sums_units(self) -> bool:
        """Whether entries are summed per unit first, for speed or because single sums are too large."""
        n_entries = int((self._store[3] - self._store[2]).sum())
        quicker = sums_units(n_entries, self.plan.units.n_units, self.plan.n_genes)
        return quicker or not self._exact or self._largest >= _INT32

    def _groups(self, units: np.ndarray, starts: np.ndarray) -> Groups:
        of = self.plan.units
        return Groups(units, starts, of.sample_of_unit, of.leaf_of_unit, self.totals, self._exact)


class _GroupsOfLevel:
    """The kept groups of a level: called, it derives some of their sums."""

    def __init__(self, counts: UnitCounts, level: int, kept: np.ndarray) -> None:
        units = counts.plan.units
        group, sample = units.groupings[level].group_of_unit, units.sample_of_unit
        order = np.lexsort((np.where(sample < 0, len(units.samples), sample), group))
        low, high = (np.searchsorted(group[order], kept, side) for side in ("left", "right"))
        self.counts = counts
        self.units = np.concatenate([order[:0], *(order[a:b] for a, b in zip(low, high, strict=True))])
        self.starts = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)

    def __call__(self, start: int, stop: int) -> GroupSums:
        counts, starts = self.counts, self.starts[start : stop + 1]
        groups = counts._groups(self.units[starts[0] : starts[-1]], starts - starts[0])
        if counts._dense:
            return over_unit_sums(groups, counts._store[6], counts.plan.threads)
        return over_cells(groups, counts._store[:6], counts.plan.n_genes, counts.plan.threads)


@njit(nogil=True, cache=True)
def _add_unit(unit, first, last, cells, cell_starts, start, stop, genes, counts, sums, dense, out):
    """Add genes ``first:last`` of one unit to `out`."""
    if dense:
        for gene in range(first, last):
            out[gene - first] += sums[unit, gene]
        return
    for position in range(cell_starts[unit], cell_starts[unit + 1]):
        cell = cells[position]
        low = from_entry(genes, start[cell], stop[cell], first)
        for n in range(low, from_entry(genes, low, stop[cell], last)):
            out[np.int64(genes[n]) - first] += counts[n]


@njit(nogil=True, cache=True)
def _merge_samples(
    units, runs, cells, cell_starts, start, stop, genes, counts, sums, dense, n_genes,
    indptr, out_genes, out_counts,
):  # fmt: skip
    """Non-zero counts of each run of units, genes ascending."""
    held = np.zeros(n_genes, np.int64)
    end = 0
    for run in range(len(runs) - 1):
        members = units[runs[run] : runs[run + 1]]
        only = members[0]
        if not dense and len(members) == 1 and cell_starts[only + 1] - cell_starts[only] == 1:
            cell = cells[cell_starts[only]]
            for n in range(start[cell], stop[cell]):
                if counts[n]:
                    out_genes[end], out_counts[end] = genes[n], counts[n]
                    end += 1
        else:
            for unit in members:
                _add_unit(unit, 0, n_genes, cells, cell_starts, start, stop, genes, counts, sums, dense, held)
            for gene in range(n_genes):
                if held[gene]:
                    out_genes[end], out_counts[end] = gene, held[gene]
                    held[gene] = 0
                    end += 1
        indptr[run + 1] = end


@njit(nogil=True, cache=True)
def _weigh(indptr, genes, counts, weights, first, last, out):
    for sample in range(len(indptr) - 1):
        low = from_entry(genes, indptr[sample], indptr[sample + 1], first)
        for n in range(low, from_entry(genes, low, indptr[sample + 1], last)):
            count = np.float64(counts[n])
            row = out[np.int64(genes[n]) - first]
            for slot in range(len(row)):
                row[slot] += weights[sample, slot] * count
