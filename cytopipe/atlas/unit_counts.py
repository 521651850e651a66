"""Counts of every sample in every group, from either store of a pass, a block of genes or a group at a time.

After a pass counts lie per unit (`plan.layout` "units": one dense row per leaf and sample) or per cell
("entries"). Both are read here through the same functions: sums of the groups of all levels, standard errors
over samples, the sample x gene counts of one group for its resamples, and rows of sample profiles. Everything
is a sum of whole numbers, so neither the store nor the number of threads shows in a bit of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.atlas.entries import gene_dtype
from cytopipe.atlas.plan import GENES_PER_CHUNK, PassPlan

__all__ = ["SampleCounts", "UnitCounts"]

_INT32 = 1 << 31
_SPARSE = 4  # adding at a place known by its gene costs as much as adding in order at so many
_BLOCK_BYTES = 1 << 24
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

    def group_sums(self, kept: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Counts (int64) and expressing cells (int32) of the kept groups, both (n_kept, n_genes), per level.

        From the entries of cells alone: sums per unit do not know how many cells expressed a gene.
        """
        row_of_unit, ends = self._rows(kept)
        shape = (int(ends[-1]), self.plan.n_genes)
        counts, expressing = np.zeros(shape, np.int64), np.zeros(shape, np.int32)
        self._for_gene_blocks(
            lambda first, last: _add_cells(first, last, row_of_unit, *self._store[:6], counts, expressing)
        )
        return [(counts[a:b], expressing[a:b]) for a, b in pairwise(ends)]

    def standard_errors(self, kept: list[np.ndarray]) -> list[np.ndarray]:
        """Delta-method standard errors of log1p(CPM) of the kept groups, samples as clusters, per level.

        With x_s counts of a gene and t_s all counts of sample s, N = sum t_s and p = sum x_s / N:
        Var = sum (x_s - p t_s)^2 / N^2 = (sum x_s^2 - 2 p sum x_s t_s + p^2 sum t_s^2) / N^2 and
        SE = 10^6 sqrt(Var) / (1 + 10^6 p). The three sums are exact, so the difference is safe.

        Returns
        -------
        list of ndarray, (n_kept, n_genes) float32
            NaN for groups of fewer than two samples.
        """
        row_of_unit, ends = self._rows(kept)
        sample = self.plan.units.sample_of_unit
        order = np.argsort(sample, kind="stable")
        starts = np.searchsorted(sample[order], np.arange(len(self.plan.units.samples) + 1))
        out = np.empty((int(ends[-1]), self.plan.n_genes), np.float32)
        squares = sum(int(total) ** 2 for total in self._sample_totals)
        exact = np.int64 if squares < _SAFE_SQUARES else np.float64
        narrow = np.int32 if self._largest < _INT32 else np.int64

        def fill(first: int, last: int) -> None:
            shape = (len(out), last - first)
            sums = tuple(np.zeros(shape, exact) for _ in range(3))
            _errors(
                first, last, starts, order, row_of_unit, self.totals, *self._store,
                np.zeros(shape, narrow), np.zeros(last - first, narrow), exact(1), *sums, out,
            )  # fmt: skip

        # wide blocks look less often for where they begin in a cell, narrow ones stay in the cache: units of
        # few cells are added gene by gene and gain from the cache
        wide = 4 if len(self.plan.units.of_cell) >= 4 * self.plan.units.n_units else 1
        fitting = _BLOCK_BYTES // (28 * GENES_PER_CHUNK * max(1, len(out)))
        width = GENES_PER_CHUNK * max(1, min(wide, fitting))
        self._for_gene_blocks(fill, width)
        return [out[a:b] for a, b in pairwise(ends)]

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

    def _rows(self, kept: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Rows of kept groups, numbered through all levels, of every unit (-1: none); where levels begin."""
        groupings = self.plan.units.groupings
        ends = np.concatenate([[0], np.cumsum([len(groups) for groups in kept])]).astype(np.int64)
        rows = np.full((self.plan.units.n_units, len(kept)), -1, np.int32)
        for level, groups in enumerate(kept):
            place = np.full(len(groupings[level].names) + 1, -1, np.int32)
            place[groups] = np.arange(ends[level], ends[level + 1])
            rows[:, level] = place[groupings[level].group_of_unit]
        return rows, ends

    def _for_gene_blocks(self, work: Callable[[int, int], None], width: int = GENES_PER_CHUNK) -> None:
        n_genes = self.plan.n_genes
        with ThreadPoolExecutor(self.plan.threads) as pool:
            blocks = range(0, n_genes, width)
            list(pool.map(lambda first: work(first, min(first + width, n_genes)), blocks))


@njit(inline="always")
def _from(genes, low, high, gene):
    """First entry of ``low:high`` whose gene is not below `gene`."""
    while low < high:
        middle = (low + high) >> 1
        if genes[middle] < gene:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def _add_cells(first, last, row_of_unit, cells, cell_starts, start, stop, genes, counts, sums, expressing):
    """Add genes ``first:last`` of all cells to the rows of their unit, one of each level."""
    for unit in range(len(row_of_unit)):
        for position in range(cell_starts[unit], cell_starts[unit + 1]):
            cell = cells[position]
            low = _from(genes, start[cell], stop[cell], first)
            high = _from(genes, low, stop[cell], last)
            for level in range(row_of_unit.shape[1]):
                row = row_of_unit[unit, level]
                if row < 0:
                    continue
                for n in range(low, high):
                    count = np.int64(counts[n])
                    sums[row, genes[n]] += count
                    expressing[row, genes[n]] += count > 0


@njit(nogil=True, cache=True)
def _add_unit(unit, first, last, cells, cell_starts, start, stop, genes, counts, sums, dense, out):
    """Add genes ``first:last`` of one unit to `out`."""
    if dense:
        for gene in range(first, last):
            out[gene - first] += sums[unit, gene]
        return
    for position in range(cell_starts[unit], cell_starts[unit + 1]):
        cell = cells[position]
        low = _from(genes, start[cell], stop[cell], first)
        for n in range(low, _from(genes, low, stop[cell], last)):
            out[np.int64(genes[n]) - first] += counts[n]


@njit(nogil=True, cache=True, error_model="numpy")
def _errors(
    first, last, starts, order, row_of_unit, totals, cells, cell_starts, start, stop, genes, counts, sums,
    dense, held, unit_sum, one, squares, cross, linear, out,
):  # fmt: skip
    """Standard errors of genes ``first:last``; `held`, `unit_sum` and the three sums are zeros.

    `one` is 1 in the type of the sums: int64 where they fit, else float64.
    """
    n_rows = len(out)
    width = last - first
    n_cells, n_entries = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    total = np.zeros(n_rows, np.int64)
    most = 0
    for sample in range(len(starts) - 1):
        here = 0
        for unit in order[starts[sample] : starts[sample + 1]]:
            here += cell_starts[unit + 1] - cell_starts[unit]
        most = max(most, here)
    lows, highs = np.empty(0 if dense else most, np.int64), np.empty(0 if dense else most, np.int64)
    n_samples, all_totals, total_squares = np.zeros(n_rows), np.zeros(n_rows), np.zeros(n_rows)
    touched = np.empty(n_rows, np.int64)
    for sample in range(len(starts) - 1):
        n_touched = 0
        units = order[starts[sample] : starts[sample + 1]]
        for unit in units:
            for row in row_of_unit[unit]:
                if row >= 0:
                    if n_cells[row] == 0:
                        touched[n_touched] = row
                        n_touched += 1
                    n_cells[row] += cell_starts[unit + 1] - cell_starts[unit]
                    total[row] += totals[unit]
        at = 0
        for unit in units:
            members = cells[cell_starts[unit] : cell_starts[unit + 1]]
            n_here = 0
            for place, cell in enumerate(members):
                lows[at + place] = _from(genes, start[cell], stop[cell], first)
                highs[at + place] = _from(genes, lows[at + place], stop[cell], last)
                n_here += highs[at + place] - lows[at + place]
            rows = row_of_unit[unit]
            for row in rows:
                if row >= 0:
                    n_entries[row] += n_here
            if not dense and (len(members) == 1 or n_here * _SPARSE < width):
                for place in range(at, at + len(members)):
                    for row in rows:
                        if row < 0:
                            continue
                        if n_cells[row] > 1:
                            for n in range(lows[place], highs[place]):
                                held[row, np.int64(genes[n]) - first] += counts[n]
                            continue
                        for n in range(lows[place], highs[place]):  # the only cell of its sample in the group
                            gene, count = np.int64(genes[n]) - first, counts[n] * one
                            squares[row, gene] += count * count
                            cross[row, gene] += count * total[row]
                            linear[row, gene] += count
                at += len(members)
                continue
            if dense:
                for gene in range(first, last):
                    unit_sum[gene - first] = sums[unit, gene]
            for place in range(at, at + len(members)):
                for n in range(lows[place], highs[place]):
                    unit_sum[np.int64(genes[n]) - first] += counts[n]
            at += len(members)
            for row in rows:
                if row >= 0:
                    for gene in range(width):
                        held[row, gene] += unit_sum[gene]
            unit_sum[:] = 0
        at = 0
        for unit in units if not dense else units[:0]:  # groups of few entries: look at those genes alone
            end = at + cell_starts[unit + 1] - cell_starts[unit]
            for row in row_of_unit[unit]:
                if row < 0 or n_cells[row] == 1 or n_entries[row] * _SPARSE >= width:
                    continue
                for place in range(at, end):
                    for n in range(lows[place], highs[place]):
                        gene = np.int64(genes[n]) - first
                        count = held[row, gene] * one
                        if count != 0:
                            squares[row, gene] += count * count
                            cross[row, gene] += count * total[row]
                            linear[row, gene] += count
                            held[row, gene] = 0
            at = end
        for row in touched[:n_touched]:
            if dense or (n_cells[row] > 1 and n_entries[row] * _SPARSE >= width):
                _add_sample(held[row], total[row], one, squares[row], cross[row], linear[row])
            n_samples[row] += 1
            all_totals[row] += total[row]
            total_squares[row] += np.float64(total[row]) * total[row]
            n_cells[row], n_entries[row], total[row] = 0, 0, 0
    for row in range(n_rows):
        n = all_totals[row]
        if n_samples[row] < 2 or n == 0:
            out[row, first:last] = np.nan
            continue
        for gene in range(last - first):
            p = linear[row, gene] / n
            variance = squares[row, gene] - 2 * p * cross[row, gene] + p * p * total_squares[row]
            out[row, first + gene] = 1e6 * np.sqrt(max(variance, 0.0)) / n / (1 + 1e6 * p)


@njit(nogil=True, error_model="numpy")
def _add_sample(held, total, one, squares, cross, linear):
    for gene in range(len(held)):
        count = held[gene] * one
        squares[gene] += count * count
        cross[gene] += count * total
        linear[gene] += count
        held[gene] = 0


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
        low = _from(genes, indptr[sample], indptr[sample + 1], first)
        for n in range(low, _from(genes, low, indptr[sample + 1], last)):
            count = np.float64(counts[n])
            row = out[np.int64(genes[n]) - first]
            for slot in range(len(row)):
                row[slot] += weights[sample, slot] * count
