"""The inner loops: cells of one block added to integer accumulators.

A block of a sparse matrix comes in (compressed along cells or along genes); counts, numbers of expressing
cells and fixed-point log1p(CPM) sums of it are added to accumulators. Everything that is added is a whole
number, so no order of cells, blocks, batches or threads can change a bit of the result; logs enter rounded
to 2^-k with k chosen from the number of cells alone (``fixed_point_bits``), an error below 10^-9.
All functions release the interpreter lock, and different threads never share a row of an accumulator.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from cytopipe.atlas.bootstrap import stream_weight, unit_stream
from cytopipe.atlas.logarithm import log1p

__all__ = [
    "BAD_COLUMN",
    "BAD_TOTAL",
    "BAD_VALUE",
    "GOOD",
    "TOO_LARGE",
    "accumulate_columns",
    "accumulate_rows",
    "accumulate_weighted_columns",
    "accumulate_weighted_rows",
    "column_totals",
    "dense_to_rows",
    "fixed_point_bits",
    "keep_rows",
    "merge",
]

GOOD, BAD_VALUE, BAD_COLUMN, BAD_TOTAL, TOO_LARGE = 0, 1, 2, 3, 4
LARGEST_COUNT = 1 << 31  # of one gene in one cell, and of one cell: far above any assay
_RUN = 6  # cells of a unit in a row from which on they are added up first
_LOW = np.int64(0xFFFFFFFF)
_TABLE = 64  # log1p(CPM) of counts below it is tabulated per cell: they are 99.9% of all non-zeros


def fixed_point_bits(n_cells: int) -> int:
    """Bits after the binary point such that squares of log1p(CPM) of `n_cells` cells fit 63 bits.

    log1p(10^6)^2 < 191 < 2^8, so 2^8 * n_cells * 2^bits must stay below 2^62; never more than 40.
    """
    return min(40, 62 - 8 - max(1, n_cells - 1).bit_length())


@njit(nogil=True, cache=True, error_model="numpy")
def accumulate_rows(
    rows, indptr, indices, data, gene_of_column, unit_of_cell, row_of_unit, leaf_of_unit, bits, unit_totals,
    sums, expressing, logs, squares, cross, total_squares, with_squares,
):  # fmt: skip
    """Add cells of a block to the accumulators.

    Neighbouring cells of one unit are added up in one row first, counts in the lower half of each of its
    numbers and cells in the upper one.

    Parameters
    ----------
    rows : ndarray, (n,) int64
        Rows of the block to add, sorted by unit for locality.
    indptr, indices, data : ndarray
        The block in CSR form; `data` of any numeric type.
    gene_of_column : ndarray, (n_columns,) int32
        Genes that share a name share a number; their counts in a cell are added before the log.
    unit_of_cell : ndarray, (n_rows,) int32
    row_of_unit, leaf_of_unit : ndarray, (n_units,) int32
        Row of `sums`, and of the accumulators per leaf.
    bits : int
        As from :func:`fixed_point_bits`.
    unit_totals : ndarray, (n_units,) int64
        All counts of each unit.
    sums : ndarray, (n_sums, n_genes) int32 or int64
        Counts; int32 where each row is one unit.
    expressing : ndarray, (n_leaves, n_genes) int32
        Cells with at least one count.
    logs : ndarray, (n_genes, 2) int64
        Fixed-point sums of y and y^2 where y = log1p(CPM); rows are genes.
    squares, cross : ndarray, (n_leaves, n_genes) int64
    total_squares : ndarray, (n_leaves,) int64
        Sums over cells of x^2, x * t and t^2 (t the cell's total); used where `with_squares`.
    with_squares : bool

    Returns
    -------
    status, position : int
        ``GOOD``, or why the row at this position of `rows` is not added: a fraction or a negative value, a
        gene index out of range, a total too large for any cell; ``TOO_LARGE`` where the sums of a unit would
        leave the range of their type, after which the same rows can be continued with a wider one.
    """
    n_genes = len(logs)
    most = np.int64(np.iinfo(sums.dtype).max)
    one_to_one = n_genes == len(gene_of_column)
    stamp = np.full(n_genes, -1, np.int64)
    place = np.empty(n_genes, np.int64)
    genes = np.empty(n_genes, np.int32)
    counts = np.empty(n_genes, np.int64)
    y, table = np.empty(_TABLE), np.empty((_TABLE, 2), np.int64)
    held = np.zeros(n_genes, np.int64)
    since, end = np.int64(0), 0
    scale = 2.0**bits
    for position in range(len(rows)):
        row = rows[position]
        unit = unit_of_cell[row]
        leaf = leaf_of_unit[unit]
        if position >= end:
            end = position + 1
            while end < len(rows) and unit_of_cell[rows[end]] == unit:
                end += 1
            holds = end - position >= _RUN
        columns, values = indices[indptr[row] : indptr[row + 1]], data[indptr[row] : indptr[row + 1]]
        status, total, rising, _ = _look(columns, values, len(gene_of_column))
        if status == GOOD and unit_totals[unit] + total > most:
            status = TOO_LARGE
        if status != GOOD:
            _let_go(held, sums[row_of_unit[unit]], expressing[leaf])
            return status, position
        unit_totals[unit] += total
        factor = _tabulate(total, scale, y, table)
        if not (rising and one_to_one):  # unsorted or repeated entries, or genes of several columns
            n = 0
            for k in range(len(columns)):  # bring each gene together first
                gene = gene_of_column[columns[k]]
                if stamp[gene] != position:
                    stamp[gene] = position
                    place[gene] = n
                    genes[n] = gene
                    counts[n] = 0
                    n += 1
                counts[place[gene]] += np.int64(values[k])
            _add(genes[:n], counts[:n], table, factor, scale, holds, held, sums[row_of_unit[unit]],
                 expressing[leaf], logs)  # fmt: skip
        else:
            _add(columns, values, table, factor, scale, holds, held, sums[row_of_unit[unit]],
                 expressing[leaf], logs)  # fmt: skip
        since += total
        if holds and (position + 1 == end or since >= LARGEST_COUNT):
            _let_go(held, sums[row_of_unit[unit]], expressing[leaf])
            since = 0
        if with_squares:  # of sums per gene: entries of one gene were brought together above, or are alone
            total_squares[leaf] += total * total
            if rising and one_to_one:
                _add_squares(columns, values, total, squares[leaf], cross[leaf])
            else:
                _add_squares(genes[:n], counts[:n], total, squares[leaf], cross[leaf])
    return GOOD, np.int64(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def keep_rows(
    first, last, indptr, indices, data, gene_of_column, bits, n_genes, begin, logs, totals, start, stop,
    genes, counts,
):  # fmt: skip
    """Keep the entries of cells ``first:last`` of a block, and add their logs.

    Parameters
    ----------
    indptr, indices, data, gene_of_column, bits
        As in :func:`accumulate_rows`.
    begin : int
        Where the entries of the block begin among all.
    logs : ndarray, (n_genes or 0, 2) int64
        As in :func:`accumulate_rows`; none are added where it is empty.
    totals : ndarray, (n_rows,) int64
        Filled with the counts of each cell.
    start, stop : ndarray, (n_rows,) int64
    genes, counts : ndarray, (n_entries,)
        As of :class:`cytopipe.atlas.entries.Entries`.

    Returns
    -------
    status, row : int
        As of :func:`accumulate_rows`; ``TOO_LARGE`` where a count does not fit the type of `counts`.
    """
    most = np.int64(np.iinfo(counts.dtype).max)
    one_to_one = n_genes == len(gene_of_column)
    buffer = np.zeros(1 if one_to_one else n_genes, np.int64)
    y, table = np.empty(_TABLE), np.empty((_TABLE, 2), np.int64)
    scale = 2.0**bits
    for row in range(first, last):
        columns, values = indices[indptr[row] : indptr[row + 1]], data[indptr[row] : indptr[row + 1]]
        status, total, rising, largest = _look(columns, values, len(gene_of_column))
        if status == GOOD and largest > most:
            status = TOO_LARGE
        if status != GOOD:
            return status, row
        low, high = begin + indptr[row], begin + indptr[row + 1]
        _copy(values, counts[low:high])
        if one_to_one:
            _copy(columns, genes[low:high])
        else:
            for k in range(len(columns)):
                genes[low + k] = gene_of_column[columns[k]]
        if not (one_to_one and rising):
            if len(buffer) < n_genes:
                buffer = np.zeros(n_genes, np.int64)
            high = merge(low, high, buffer, most, genes, counts)
            if high < 0:
                return TOO_LARGE, row
        start[row], stop[row], totals[row] = low, high, total
        if len(logs):
            factor = _tabulate(total, scale, y, table)
            _add_logs(genes[low:high], counts[low:high], table, factor, scale, logs)
    return GOOD, last


@njit(nogil=True)
def merge(first, last, buffer, most, genes, counts):
    """Bring entries of one cell into ascending order, each gene once; returns their end.

    -1, with nothing changed, where a sum is above `most`. `buffer` is (n_genes,) zeros.
    """
    fits = True
    for n in range(first, last):
        buffer[genes[n]] += np.int64(counts[n])
        fits = fits and buffer[genes[n]] <= most
    if not fits:
        for n in range(first, last):
            buffer[genes[n]] = 0
        return np.int64(-1)
    order = np.sort(genes[first:last])
    n = first
    for gene in order:
        if buffer[gene]:
            genes[n], counts[n] = gene, buffer[gene]
            buffer[gene] = 0
            n += 1
    return np.int64(n)


@njit(nogil=True)
def _copy(values, out):
    for k in range(len(values)):
        out[k] = np.int32(values[k])


@njit(nogil=True, error_model="numpy")
def _tabulate(total, scale, y, table):
    """Logs of the small counts of a cell, and what makes a count of it a CPM.

    The logs come first, into `y`, (_TABLE,) float64: only a loop that does nothing else compiles to vectors.
    """
    factor = 1e6 / max(total, 1)
    for count in range(_TABLE):
        y[count] = log1p(count * factor)
    for count in range(_TABLE):
        table[count, 0] = np.int64(np.rint(y[count] * scale))
        table[count, 1] = np.int64(np.rint(y[count] * y[count] * scale))
    return factor


@njit(nogil=True, error_model="numpy")
def _look(columns, values, n_columns):
    """Whether a cell's entries can be used, their total, whether columns rise, and the largest count.

    Compiles to vectors.
    """
    total = np.int64(0)
    largest = np.int32(0)
    bad_values = np.int64(0)
    bad_columns = np.int64(0)
    falls = np.int64(0)
    for k in range(len(values)):
        value = values[k]
        inside = value >= 0 and value < LARGEST_COUNT
        count = np.int32(value if inside else 0)
        bad_values += not inside or count != value
        total += count
        largest = max(largest, count)
    for k in range(len(columns)):
        bad_columns += columns[k] < 0 or columns[k] >= n_columns
    for k in range(len(columns) - 1):
        falls += columns[k + 1] <= columns[k]
    status = GOOD
    if total >= LARGEST_COUNT:
        status = BAD_TOTAL
    if bad_columns:
        status = BAD_COLUMN
    if bad_values:
        status = BAD_VALUE
    return status, total, falls == 0, largest


@njit(nogil=True, error_model="numpy")
def _add(genes, counts, table, factor, scale, holds, held, sums, expressing, logs):
    """Add one cell's entries, each gene once, to `held` or to the rows of its unit and leaf."""
    if not holds:
        for k in range(len(genes)):
            gene, count = np.uint32(genes[k]), np.int64(counts[k])
            sums[gene] += count
            expressing[gene] += count != 0  # stored zeros express nothing
        _add_logs(genes, counts, table, factor, scale, logs)
        return
    for k in range(len(genes)):
        gene, count = np.uint32(genes[k]), np.int64(counts[k])
        held[gene] += count + (np.int64(count != 0) << 32)
        _add_log(gene, count, table, factor, scale, logs)


@njit(nogil=True)
def _let_go(held, sums, expressing):
    """Bring what is held into the rows of its unit and leaf."""
    for gene in range(len(held)):
        sums[gene] += held[gene] & _LOW
        expressing[gene] += held[gene] >> 32
        held[gene] = 0


@njit(nogil=True, error_model="numpy")
def _add_logs(genes, counts, table, factor, scale, logs):
    for k in range(len(genes)):
        _add_log(np.uint32(genes[k]), np.int64(counts[k]), table, factor, scale, logs)


@njit(inline="always", error_model="numpy")
def _add_log(gene, count, table, factor, scale, logs):
    if count < _TABLE:  # the log of a stored zero is 0
        logs[gene, 0] += table[count, 0]
        logs[gene, 1] += table[count, 1]
    else:
        y = log1p(count * factor)
        logs[gene, 0] += np.int64(np.rint(y * scale))
        logs[gene, 1] += np.int64(np.rint(y * y * scale))


@njit(nogil=True, error_model="numpy")
def _add_squares(genes, counts, total, squares, cross):
    for k in range(len(genes)):
        count = np.int64(counts[k])
        squares[genes[k]] += count * count
        cross[genes[k]] += count * total


@njit(nogil=True, cache=True, error_model="numpy")
def accumulate_weighted_rows(
    rows, indptr, indices, data, gene_of_column, leaf_of_row, weights, by_run, run_of_row, boot
):  # fmt: skip
    """Add cells to one accumulator per resample.

    Parameters
    ----------
    rows, indptr, indices, data, gene_of_column
        As in :func:`accumulate_rows`; rows are known to be good.
    leaf_of_row : ndarray, (n_rows,) int32
    weights : ndarray, (n_runs or n_rows, n_slots) int64
        Weight of every sample (`by_run`) or of every row, per resample.
    by_run : bool
        Whether neighbouring rows of one run (one sample of one leaf) share their weights: their counts are
        then added up first and weighted once, a rank-1 update.
    run_of_row : ndarray, (n_rows,) int32
        Row of `weights`; -1 takes no part.
    boot : ndarray, (n_leaves, n_genes, n_slots) int64
    """
    n_genes, n_slots = boot.shape[1], boot.shape[2]
    buffer = np.zeros(n_genes, np.int64)
    touched = np.empty(n_genes, np.int64)
    n_touched = 0
    for position in range(len(rows)):
        row = rows[position]
        run = run_of_row[row]
        if run >= 0:
            for k in range(indptr[row], indptr[row + 1]):
                gene = np.int64(gene_of_column[indices[k]])
                count = np.int64(data[k])
                if buffer[gene] == 0 and count != 0:
                    touched[n_touched] = gene
                    n_touched += 1
                buffer[gene] += count
        last = position + 1 == len(rows)
        goes_on = False
        if by_run and not last:
            after = rows[position + 1]
            goes_on = run_of_row[after] == run and leaf_of_row[after] == leaf_of_row[row]
        if goes_on:
            continue
        leaf = leaf_of_row[row]
        for j in range(n_touched):
            gene = touched[j]
            count = buffer[gene]
            buffer[gene] = 0
            for slot in range(n_slots):
                boot[leaf, gene, slot] += count * weights[run, slot]
        n_touched = 0


@njit(nogil=True, cache=True, error_model="numpy")
def column_totals(first, last, indptr, indices, data, n_cells, totals, lengths):
    """Add columns of a CSC block to the totals of the cells (the first of two passes).

    `lengths`, (n_cells,) int64, counts the stored values of each cell; it may be empty.

    Returns
    -------
    status, column : int
        As in :func:`accumulate_rows`.
    """
    for column in range(first, last):
        for k in range(indptr[column], indptr[column + 1]):
            value = data[k]
            if not (value >= 0 and value < LARGEST_COUNT) or np.int64(value) != value:
                return BAD_VALUE, column
            cell = np.int64(indices[k])
            if cell < 0 or cell >= n_cells:
                return BAD_COLUMN, column
            totals[cell] += np.int64(value)
            if len(lengths):
                lengths[cell] += 1
    return GOOD, np.int64(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def accumulate_columns(
    genes, columns_of_gene, starts, indptr, indices, data, totals, unit_of_cell, row_of_unit, leaf_of_unit,
    bits, sums, expressing, logs, squares, cross, with_sums, with_squares,
):  # fmt: skip
    """Add genes of a CSC block to the accumulators (the second of two passes).

    Parameters
    ----------
    genes : ndarray, (n,) int64
        Genes whose columns all lie in the block.
    columns_of_gene, starts : ndarray
        Columns of gene ``genes[i]`` in the block: ``columns_of_gene[starts[i]:starts[i + 1]]``.
    totals : ndarray, (n_cells,) int64
    others
        As in :func:`accumulate_rows`.
    """
    n_cells = len(totals)
    scale = 2.0**bits
    merged = np.zeros(n_cells, np.int64)
    for i in range(len(genes)):
        gene = genes[i]
        for j in range(starts[i], starts[i + 1]):
            column = columns_of_gene[j]
            for k in range(indptr[column], indptr[column + 1]):
                merged[indices[k]] += np.int64(data[k])
        y_sum = np.int64(0)
        y2_sum = np.int64(0)
        for j in range(starts[i], starts[i + 1]):
            column = columns_of_gene[j]
            for k in range(indptr[column], indptr[column + 1]):
                cell = indices[k]
                count = merged[cell]
                if count == 0:
                    continue
                merged[cell] = 0
                unit = unit_of_cell[cell]
                leaf = leaf_of_unit[unit]
                if with_sums:
                    sums[row_of_unit[unit], gene] += count
                    expressing[leaf, gene] += 1
                y = log1p(count * (1e6 / totals[cell]))
                y_sum += np.int64(np.rint(y * scale))
                y2_sum += np.int64(np.rint(y * y * scale))
                if with_squares:
                    squares[leaf, gene] += count * count
                    cross[leaf, gene] += count * totals[cell]
        logs[gene, 0] += y_sum
        logs[gene, 1] += y2_sum
    return GOOD, np.int64(-1)


@njit(nogil=True, cache=True, error_model="numpy")
def accumulate_weighted_columns(
    genes, columns_of_gene, starts, indptr, indices, data, leaf_of_cell,
    weights, run_of_cell, keys, seed, resample, attempt, thresholds, boot,
):  # fmt: skip
    """Add genes of a CSC block to one accumulator per resample.

    Parameters
    ----------
    genes, columns_of_gene, starts, indptr, indices, data
        As in :func:`accumulate_columns`.
    leaf_of_cell : ndarray, (n_cells,) int32
    weights : ndarray, (n_runs, n_slots) int64
        Weight of every sample per resample; with no rows, cells are weighted one by one from `keys`.
    run_of_cell : ndarray, (n_cells,) int32
        Row of `weights`; -1 takes no part.
    keys, seed, resample, attempt, thresholds
        As in :func:`cytopipe.atlas.bootstrap.poisson_weights`.
    boot : ndarray, (n_leaves, n_genes, n_slots) int64
    """
    n_slots = boot.shape[2]
    for i in range(len(genes)):
        for j in range(starts[i], starts[i + 1]):
            column = columns_of_gene[j]
            for k in range(indptr[column], indptr[column + 1]):
                cell = indices[k]
                count = np.int64(data[k])
                if count == 0 or run_of_cell[cell] < 0:
                    continue
                leaf = leaf_of_cell[cell]
                if len(weights):
                    for slot in range(n_slots):
                        boot[leaf, genes[i], slot] += count * weights[run_of_cell[cell], slot]
                else:
                    stream = unit_stream(keys[cell], seed)
                    for slot in range(n_slots):
                        weight = stream_weight(stream, resample[slot], attempt[slot], thresholds)
                        boot[leaf, genes[i], slot] += count * weight


@njit(nogil=True, cache=True, error_model="numpy")
def dense_to_rows(values, indptr, indices, data):
    """The non-zeros of a dense block in CSR form; the outputs are long enough for all values."""
    n = 0
    indptr[0] = 0
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            if value != 0:
                indices[n] = column
                data[n] = value
                n += 1
        indptr[row + 1] = n
    return n
