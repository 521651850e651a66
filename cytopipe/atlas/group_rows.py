"""Counts, expressing cells and standard errors of groups, from the counts of cells or of units.

The errors need, per group and gene, the sums over samples of x^2, x t and x (x the counts of the gene in a
sample, t all its counts there). Where units have few cells a group is walked sample by sample, cell by cell:
with every entry c the square of x grows from h^2 to (h + c)^2, that is by c (2 h + c), so nothing is looked
at but the entries. Where units have many cells, entries are first summed per unit, some genes at a time. All
sums are of whole numbers: neither the way nor the number of threads shows in a bit of the result.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

__all__ = [
    "SUMS_BYTES",
    "GroupSums",
    "Groups",
    "from_entry",
    "over_cells",
    "over_unit_sums",
    "over_units",
    "sums_units",
]

SUMS_BYTES = 256_000_000  # of units that are summed before their groups: of some genes at a time
_GENES_AT_ONCE = 8192
_MANY = 0.5  # entries of a unit per gene, where four levels take equally long both ways
_LOW = np.int64(0xFFFFFFFF)


Store = tuple[np.ndarray, ...]
"""Counts of cells: cells of unit u are ``cells[cell_starts[u]:cell_starts[u + 1]]``; then start, stop, genes
and counts as of :class:`cytopipe.atlas.entries.Entries`."""


@dataclass(frozen=True)
class GroupSums:
    """Sums of some groups of a level.

    Parameters
    ----------
    counts : ndarray, (n, n_genes) int64
    expressing : ndarray, (n, n_genes) int32
        Cells with at least one count; zeros where counts come from sums of units, which do not know it.
    errors : ndarray, (n, n_genes) float32
        Standard errors over samples; NaN for groups of fewer than two samples.
    """

    counts: np.ndarray
    expressing: np.ndarray
    errors: np.ndarray

    @classmethod
    def zeros(cls, n_groups: int, n_genes: int) -> GroupSums:
        return cls(*(np.zeros((n_groups, n_genes), dtype) for dtype in (np.int64, np.int32, np.float32)))

    def rows(self, start: int, stop: int) -> GroupSums:
        """Groups ``start:stop``."""
        return GroupSums(self.counts[start:stop], self.expressing[start:stop], self.errors[start:stop])

    def part(self, group: int, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Genes ``first:last`` of one group, of each array."""
        return tuple(values[group, first:last] for values in (self.counts, self.expressing, self.errors))


@dataclass(frozen=True)
class Groups:
    """Some groups, as units.

    Parameters
    ----------
    units : ndarray, (n,) int64
        Of group i: ``units[starts[i]:starts[i + 1]]``, sorted by sample; those of unknown samples last.
    starts : ndarray, (n_groups + 1,) int64
    sample_of_unit : ndarray, (n_units,) int32
        -1 where it is not known: such cells count, but have no part in the errors.
    leaf_of_unit : ndarray, (n_units,) int32
        Units are numbered leaf by leaf.
    totals : ndarray, (n_units,) int64
    exact : bool
        Whether the sum of squares of all samples' totals fits int64; else sums of squares are float64, added
        in the order of the samples.
    """

    units: np.ndarray
    starts: np.ndarray
    sample_of_unit: np.ndarray
    leaf_of_unit: np.ndarray
    totals: np.ndarray
    exact: bool

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, group: int) -> tuple:
        """What the kernels take of a group."""
        return self.units[self.starts[group] : self.starts[group + 1]], self.sample_of_unit, self.totals


def sums_units(n_entries: int, n_units: int, n_genes: int) -> bool:
    """Whether it is quicker to sum entries per unit before they are summed per group."""
    return n_entries > _MANY * n_units * n_genes


def over_cells(groups: Groups, store: Store, n_genes: int, threads: int) -> GroupSums:
    """Counts, expressing cells and errors, entry by entry; sums must be exact and totals below 2^31."""
    out = GroupSums.zeros(len(groups), n_genes)
    pieces = 1 if len(groups) >= 2 * threads else threads  # of genes, where groups are too few for threads
    cuts = np.linspace(0, n_genes, pieces + 1).astype(np.int64).tolist()

    def add(task: tuple[int, int, int]) -> None:
        group, first, last = task
        _add_cells(first, last, *groups.of(group), *store, *out.part(group, first, last))

    tasks = [(group, *cut) for group in range(len(groups)) for cut in pairwise(cuts)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, tasks))
    return out


def over_units(groups: Groups, store: Store, n_genes: int, threads: int) -> GroupSums:
    """Counts, expressing cells and errors, by way of sums per unit."""
    out = GroupSums.zeros(len(groups), n_genes)
    n_units, n_leaves = len(groups.totals), int(groups.leaf_of_unit.max(initial=-1)) + 1
    dtype = np.dtype(np.int32 if groups.totals.max(initial=0) < 1 << 31 else np.int64)
    width = min(-(-n_genes // threads), max(64, SUMS_BYTES // (threads * n_units * dtype.itemsize)))
    blocks = -(-n_genes // width)
    cuts = np.linspace(0, blocks, threads + 1).astype(np.int64) * width

    def add(first: int, stop: int) -> None:
        sums, expressing = np.empty((n_units, width), dtype), np.empty((n_leaves, width), np.int32)
        cursor = np.full(len(store[0]), -1, np.int64)
        for low in range(first, min(stop, n_genes), width):
            high = min(low + width, n_genes)
            _sum_units(low, high, groups.leaf_of_unit, *store, cursor, sums, expressing)
            for group in range(len(groups)):
                counts, cells_with, errors = out.part(group, low, high)
                _add_units(*groups.of(group), sums[:, : high - low], groups.exact, counts, errors)
                _add_leaves(groups.of(group)[0], groups.leaf_of_unit, expressing, cells_with)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, cuts[:-1].tolist(), cuts[1:].tolist()))
    return out


def over_unit_sums(groups: Groups, sums: np.ndarray, threads: int) -> GroupSums:
    """Counts and errors from sums per unit, (n_units, n_genes); expressing cells are not known: zeros."""
    out = GroupSums.zeros(len(groups), sums.shape[1])

    def add(task: tuple[int, int]) -> None:
        group, first = task
        last = first + _GENES_AT_ONCE
        counts, _, errors = out.part(group, first, last)
        _add_units(*groups.of(group), sums[:, first:last], groups.exact, counts, errors)

    starts = range(0, sums.shape[1], _GENES_AT_ONCE)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(add, [(group, first) for group in range(len(groups)) for first in starts]))
    return out


@njit(inline="always")
def from_entry(genes, low, high, gene):
    """First entry of ``low:high`` whose gene is not below `gene`."""
    while low < high:
        middle = (low + high) >> 1
        if genes[middle] < gene:
            low = middle + 1
        else:
            high = middle
    return low


@njit(nogil=True, cache=True, error_model="numpy")
def _add_cells(
    first, last, units, sample_of_unit, totals, cells, cell_starts, start, stop, genes, counts,
    out, expressing, errors,
):  # fmt: skip
    """Genes ``first:last`` of one group."""
    # sums of x^2 and x t; counts in the lower half of a number and cells in its upper one; x of which sample,
    # so far: one row of 32 bytes per gene, since to fetch it takes longer than to add
    of_gene = np.zeros((last - first, 4), np.int64)
    n_samples, all_totals, total_squares, since = np.int64(0), 0.0, 0.0, np.int64(0)
    at = 0
    while at < len(units) and sample_of_unit[units[at]] >= 0:
        end, total, n_cells = at, np.int64(0), np.int64(0)
        while end < len(units) and sample_of_unit[units[end]] == sample_of_unit[units[at]]:
            total += totals[units[end]]
            n_cells += cell_starts[units[end] + 1] - cell_starts[units[end]]
            end += 1
        n_samples += 1
        all_totals += total
        total_squares += np.float64(total) * total
        since += total
        if since > _LOW:
            _spill(of_gene, out, expressing)
            since = total
        for unit in units[at:end]:
            for cell in cells[cell_starts[unit] : cell_starts[unit + 1]]:
                low, high = _within(genes, start[cell], stop[cell], first, last)
                if n_cells == 1:
                    _add_only_cell(genes[low:high], counts[low:high], first, total, of_gene)
                else:
                    _add_entries(genes[low:high], counts[low:high], first, n_samples, total, of_gene)
        at = end
    _spill(of_gene, out, expressing)
    squares, cross = np.empty(last - first), np.empty(last - first)
    for gene in range(last - first):
        squares[gene], cross[gene] = of_gene[gene, 0], of_gene[gene, 1]
    _fill_errors(squares, cross, out, n_samples, all_totals, total_squares, errors)
    for unit in units[at:]:  # their sample is not known
        for cell in cells[cell_starts[unit] : cell_starts[unit + 1]]:
            low, high = _within(genes, start[cell], stop[cell], first, last)
            for n in range(low, high):
                out[np.int64(genes[n]) - first] += counts[n]
                expressing[np.int64(genes[n]) - first] += counts[n] != 0


@njit(inline="always")
def _within(genes, low, high, first, last):
    """Entries of a cell whose genes are ``first:last``."""
    low = from_entry(genes, low, high, first) if first > 0 else low
    return low, from_entry(genes, low, high, last)


@njit(nogil=True, error_model="numpy")
def _add_entries(genes, counts, first, n_samples, total, of_gene):
    """One of the cells of a sample."""
    mark = np.int64(n_samples) << 32
    for n in range(len(genes)):
        gene, c = np.uint32(genes[n]) - np.uint32(first), np.int64(counts[n])
        held = max(of_gene[gene, 3] - mark, 0)  # negative where it is of an earlier sample
        square, cross = of_gene[gene, 0] + c * (2 * held + c), of_gene[gene, 1] + c * total
        packed = of_gene[gene, 2] + c + (np.int64(c != 0) << 32)
        of_gene[gene, 0], of_gene[gene, 1] = square, cross
        of_gene[gene, 2], of_gene[gene, 3] = packed, mark + held + c


@njit(nogil=True, error_model="numpy")
def _add_only_cell(genes, counts, first, total, of_gene):
    """The only cell of a sample: nothing of the sample came before it."""
    for n in range(len(genes)):
        gene, c = np.uint32(genes[n]) - np.uint32(first), np.int64(counts[n])
        square, cross = of_gene[gene, 0] + c * c, of_gene[gene, 1] + c * total
        packed = of_gene[gene, 2] + c + (np.int64(c != 0) << 32)
        of_gene[gene, 0], of_gene[gene, 1], of_gene[gene, 2] = square, cross, packed


@njit(nogil=True)
def _spill(of_gene, out, expressing):
    """Bring packed counts and cells to where there is room for any number of them."""
    for gene in range(len(out)):
        out[gene] += of_gene[gene, 2] & _LOW
        expressing[gene] += of_gene[gene, 2] >> 32
        of_gene[gene, 2] = 0


@njit(nogil=True, cache=True)
def _sum_units(
    first, last, leaf_of_unit, cells, cell_starts, start, stop, genes, counts, cursor, sums, expressing
):
    """Sums of all units and expressing cells of all leaves, genes ``first:last``.

    `cursor`, (n_cells,), is where each cell's entries go on; -1 before the first genes.
    """
    expressing[:] = 0
    for unit in range(len(cell_starts) - 1):
        of_unit, of_leaf = sums[unit], expressing[leaf_of_unit[unit]]
        of_unit[:] = 0
        for position in range(cell_starts[unit], cell_starts[unit + 1]):
            end, n = stop[cells[position]], cursor[position]
            if n < 0:
                n = from_entry(genes, start[cells[position]], end, first)
            while n < end:
                gene = np.int64(genes[n]) - first
                if gene >= last - first:
                    break
                of_unit[gene] += counts[n]
                of_leaf[gene] += counts[n] != 0
                n += 1
            cursor[position] = n


@njit(nogil=True, cache=True)
def _add_leaves(units, leaf_of_unit, expressing, out):
    """Expressing cells of one group."""
    seen = np.zeros(len(expressing), np.bool_)
    for unit in units:
        leaf = leaf_of_unit[unit]
        if not seen[leaf]:
            seen[leaf] = True
            for gene in range(len(out)):
                out[gene] += expressing[leaf, gene]


@njit(nogil=True, cache=True, error_model="numpy")
def _add_units(units, sample_of_unit, totals, sums, exact, out, errors):
    """Some genes of one group, from sums per unit."""
    width = len(out)
    x = np.empty(width, np.int64)
    squares, cross = np.zeros(width if exact else 0, np.int64), np.zeros(width if exact else 0, np.int64)
    wide_squares, wide_cross = np.zeros(0 if exact else width), np.zeros(0 if exact else width)
    n_samples, all_totals, total_squares = np.int64(0), 0.0, 0.0
    at = 0
    while at < len(units) and sample_of_unit[units[at]] >= 0:
        end, total = at, np.int64(0)
        while end < len(units) and sample_of_unit[units[end]] == sample_of_unit[units[at]]:
            of_unit = sums[units[end]]
            total += totals[units[end]]
            if end == at:
                for gene in range(width):
                    x[gene] = of_unit[gene]
            else:
                for gene in range(width):
                    x[gene] += of_unit[gene]
            end += 1
        n_samples += 1
        all_totals += total
        total_squares += np.float64(total) * total
        if exact:
            for gene in range(width):
                squares[gene] += x[gene] * x[gene]
                cross[gene] += x[gene] * total
                out[gene] += x[gene]
        else:
            for gene in range(width):
                wide_squares[gene] += np.float64(x[gene]) * x[gene]
                wide_cross[gene] += np.float64(x[gene]) * total
                out[gene] += x[gene]
        at = end
    if exact:
        wide_squares, wide_cross = squares.astype(np.float64), cross.astype(np.float64)
    _fill_errors(wide_squares, wide_cross, out, n_samples, all_totals, total_squares, errors)
    for unit in units[at:]:  # their sample is not known
        for gene in range(width):
            out[gene] += sums[unit, gene]


@njit(nogil=True, error_model="numpy")
def _fill_errors(squares, cross, counts, n_samples, all_totals, total_squares, errors):
    """Standard errors of one group; a loop without branches, which compiles to vectors."""
    if n_samples < 2 or all_totals == 0:
        errors[:] = np.nan
        return
    for gene in range(len(errors)):
        p = counts[gene] / all_totals
        variance = squares[gene] - 2 * p * cross[gene] + p * p * total_squares
        errors[gene] = 1e6 * np.sqrt(variance if variance > 0 else 0.0) / all_totals / (1 + 1e6 * p)
