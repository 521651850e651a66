"""Accumulators of one pass, and blocks of cells added to them in threads or on a GPU.

A `PassPlan` says what is summed. Within a block cells are sorted by unit and handed to threads so that no two
threads add to one row. Every sum is of whole numbers, so neither the threads nor the device change a bit of
the result. A bad value anywhere in the file is an error that names the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from cytopipe.atlas import kernels
from cytopipe.atlas.bootstrap import THRESHOLDS, poisson_weights
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.entries import Entries, room
from cytopipe.atlas.plan import PassPlan
from cytopipe.atlas.stream import Block
from cytopipe.errors import InputError

__all__ = ["Accumulators", "Adder"]


@dataclass
class Accumulators:
    """Everything a pass adds up; plain arrays, so that a checkpoint is the arrays.

    Parameters
    ----------
    unit_totals : ndarray, (n_units,) int64
        All counts of each unit.
    sums : ndarray, (n_rows, n_genes) int32 or int64
        Counts per unit or leaf; no rows where groups are summed from the entries afterwards.
    expressing : ndarray, (n_leaves, n_genes) int32
        Cells with at least one count; no rows as of `sums`.
    logs : ndarray, (n_genes, 2) int64
        Fixed-point sums of log1p(CPM) and of its square over all cells.
    boot : ndarray, (n_leaves, n_genes, n_slots) int64
        Resampled counts, where they are accumulated while streaming.
    squares, cross : ndarray, (n_leaves, n_genes) int64
    total_squares : ndarray, (n_leaves,) int64
        Sums over cells of x^2, x t, t^2, for standard errors over cells.
    totals : ndarray, (n_cells,) int64
        Counts per cell; for matrices stored by gene, filled by the first of two passes.
    lengths : ndarray, (n_cells,) int64
        Stored values per cell, where entries of a matrix stored by gene are kept.
    entries : Entries or None
        The counts of all cells, where `plan.layout` says so.
    """

    unit_totals: np.ndarray
    sums: np.ndarray
    expressing: np.ndarray
    logs: np.ndarray
    boot: np.ndarray
    squares: np.ndarray
    cross: np.ndarray
    total_squares: np.ndarray
    totals: np.ndarray
    lengths: np.ndarray
    entries: Entries | None

    @classmethod
    def zeros(cls, plan: PassPlan, *, n_totals: int = 0) -> Accumulators:
        """Accumulators before the first cell; `n_totals` cells of a matrix stored by gene."""
        n_leaves, n_genes = plan.units.n_leaves, plan.n_genes
        with_squares = n_leaves if plan.by_cells else 0
        entries = None
        if plan.keeps_entries:
            n_entries = 0 if n_totals else plan.n_entries
            entries = Entries.empty(len(plan.units.of_cell), n_entries, n_genes)
        return cls(
            unit_totals=np.zeros(plan.units.n_units, np.int64),
            sums=room(plan.n_rows * n_genes, plan.sum_dtype).reshape(plan.n_rows, n_genes),
            expressing=np.zeros((n_leaves if plan.n_rows else 0, n_genes), np.int32),
            logs=np.zeros((n_genes, 2), np.int64),
            boot=np.zeros((n_leaves if plan.n_boot_slots else 0, n_genes, plan.n_boot_slots), np.int64),
            squares=np.zeros((with_squares, n_genes), np.int64),
            cross=np.zeros((with_squares, n_genes), np.int64),
            total_squares=np.zeros(with_squares, np.int64),
            totals=np.zeros(n_totals, np.int64),
            lengths=np.zeros(n_totals if plan.keeps_entries else 0, np.int64),
            entries=entries,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, in the order of the fields."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "entries"}
        return own | (self.entries.arrays() if self.entries else {})

    def fit(self, shapes: Mapping[str, list]) -> None:
        """Take those types and lengths of a checkpoint's arrays that counts may have changed."""
        if shapes.get("sums", [""])[0] == np.dtype(np.int64).str:
            self.sums = self.sums.astype(np.int64)
        if self.entries:
            self.entries.fit(shapes)

    def widen_sums(self) -> None:
        """Go on with sums that hold any number of counts."""
        self.sums = self.sums.astype(np.int64)


class Adder:
    """Adds blocks with compiled kernels in threads; a context manager.

    Parameters
    ----------
    cells : Cells
    plan : PassPlan
    accumulators : Accumulators
        Changed in place.
    """

    device = "cpu"

    def __init__(self, cells: Cells, plan: PassPlan, accumulators: Accumulators) -> None:
        self.cells, self.plan, self.into = cells, plan, accumulators
        self.bits = kernels.fixed_point_bits(cells.n_cells)
        self.leaf_of_unit = plan.units.leaf_of_unit
        n_units = plan.units.n_units
        self.row_of_unit = np.arange(n_units, dtype=np.int32) if plan.rows_are_units else self.leaf_of_unit
        self.with_sums = plan.n_rows > 0
        self._threads = plan.threads
        self._pool = ThreadPoolExecutor(plan.threads, thread_name_prefix="add")
        self._logs = [np.zeros_like(accumulators.logs) for _ in range(plan.threads)]
        self._weights = np.zeros((0, plan.n_boot_slots), np.int64)
        if plan.n_boot_slots and not plan.by_cells:
            slots = plan.slots
            self._weights = poisson_weights(plan.keys, plan.settings.seed, slots.resample, slots.attempt)

    def __enter__(self) -> Adder:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add_rows(self, block: Block) -> None:
        """Add a block of cells (CSR or dense)."""
        if self.into.entries:
            self._keep_rows(block, self._logs)
            return
        unit = self.plan.units.of_cell[block.start : block.stop]
        order = np.argsort(unit, kind="stable")
        shares = _shares(order, self.leaf_of_unit[unit[order]], np.diff(block.indptr), self._threads)
        done = [0] * len(shares)

        def add(share: int) -> None:
            into, rows = self.into, shares[share][done[share] :]
            status, position = kernels.accumulate_rows(
                rows, block.indptr, block.indices, block.data, self.cells.gene_of_column, unit,
                self.row_of_unit, self.leaf_of_unit, self.bits, into.unit_totals, into.sums, into.expressing,
                self._logs[share], into.squares, into.cross, into.total_squares, self.plan.by_cells,
            )  # fmt: skip
            if status not in (kernels.GOOD, kernels.TOO_LARGE):
                raise self.bad_cell(int(status), block.start + int(rows[position]))
            done[share] += len(rows) if status == kernels.GOOD else int(position)

        self._run(add, len(shares))
        while any(n < len(rows) for n, rows in zip(done, shares, strict=True)):
            self.into.widen_sums()
            self._run(add, len(shares))
        if self.plan.n_boot_slots:
            self._run(lambda share: self._add_weighted(block, unit, shares[share]), len(shares))

    def add_columns(self, block: Block, genes: np.ndarray, columns: np.ndarray, starts: np.ndarray) -> None:
        """Add genes of a block of a matrix stored by gene, whose totals are known."""
        units = self.plan.units
        n_shares = max(1, min(self._threads, len(genes)))
        cuts = np.linspace(0, len(genes), n_shares + 1).astype(np.int64)

        def add(share: int) -> None:
            low, high = cuts[share], cuts[share + 1]
            into = self.into
            part = (genes[low:high], columns, starts[low : high + 1], block.indptr, block.indices, block.data)
            kernels.accumulate_columns(
                *part, into.totals, units.of_cell, self.row_of_unit, self.leaf_of_unit, self.bits, into.sums,
                into.expressing, self._logs[share], into.squares, into.cross, self.with_sums,
                self.plan.by_cells,
            )  # fmt: skip
            if self.plan.n_boot_slots:
                slots = self.plan.slots
                kernels.accumulate_weighted_columns(
                    *part, self.leaf_of_unit[units.of_cell], self._weights, self._runs(units.of_cell),
                    self.plan.keys, np.uint64(self.plan.settings.seed), slots.resample.astype(np.uint64),
                    slots.attempt.astype(np.uint64), THRESHOLDS, into.boot,
                )  # fmt: skip

        self._run(add, n_shares)
        if self.into.entries:
            self.into.entries.keep_columns(block, genes, columns, starts)

    def add_totals(self, block: Block) -> None:
        """First pass over a matrix stored by gene: counts per cell."""
        status, column = kernels.column_totals(
            0,
            block.stop - block.start,
            block.indptr,
            block.indices,
            block.data,
            self.cells.n_cells,
            self.into.totals,
            self.into.lengths,
        )
        if status != kernels.GOOD:
            raise self.bad_gene(int(status), block.start + int(column))

    def finish_totals(self) -> None:
        """After the first pass: check the totals, add them up, and lay out what the second one fills."""
        totals, of_cell = self.into.totals, self.plan.units.of_cell
        if totals.max(initial=0) >= kernels.LARGEST_COUNT:
            raise self.bad_cell(kernels.BAD_TOTAL, int(totals.argmax()))
        np.add.at(self.into.unit_totals, of_cell, totals)
        if self.into.unit_totals.max(initial=0) > np.iinfo(self.into.sums.dtype).max:
            self.into.widen_sums()
        if self.into.entries:
            self.into.entries.place_cells(self.into.lengths)
        if self.plan.by_cells:
            np.add.at(self.into.total_squares, self.leaf_of_unit[of_cell], totals * totals)

    def finish_columns(self) -> None:
        """After the second pass."""
        if self.into.entries:
            self.into.entries.finish_columns(self.plan.n_genes)

    def settle(self) -> None:
        """Bring what threads or a device hold into the accumulators; before they are read or saved."""
        for logs in self._logs:
            self.into.logs += logs
            logs[:] = 0

    def bad_cell(self, status: int, cell: int) -> InputError:
        """The error for a bad value of a cell."""
        name = self.cells.cell_names()[cell]
        name = name.decode() if isinstance(name, bytes) else str(name)
        return self._bad(status, f"cell {cell} ({name})")

    def bad_gene(self, status: int, column: int) -> InputError:
        """The error for a bad value of a gene."""
        return self._bad(status, f"gene {self.cells.genes[self.cells.gene_of_column[column]]}")

    def _bad(self, status: int, whose: str) -> InputError:
        what, expected = {
            kernels.BAD_VALUE: (
                "holds a value that is no count",
                f"whole numbers from 0 to {kernels.LARGEST_COUNT - 1}",
            ),
            kernels.BAD_COLUMN: ("stores an index outside the matrix", "indices below the matrix's width"),
            kernels.BAD_TOTAL: (
                "has more counts than any assay gives",
                f"a total below {kernels.LARGEST_COUNT}",
            ),
        }[status]
        return InputError(
            f"{whose} {what}",
            where=f"{self.cells.path}, {self.cells.matrix.where}",
            expected=expected,
            next="Start from the unnormalised counts.",
        )

    def _keep_rows(self, block: Block, logs: list[np.ndarray]) -> None:
        """Keep the entries of a block; each thread takes cells that lie together."""
        entries, n_cells = self.into.entries, block.stop - block.start
        begin, cells = entries.begin(block), slice(block.start, block.stop)
        targets = block.indptr[-1] * np.arange(self._threads + 1) / self._threads
        cuts = np.searchsorted(block.indptr, targets).clip(0, n_cells)
        cuts[0], cuts[-1] = 0, n_cells
        totals, done = np.zeros(n_cells, np.int64), cuts[:-1].copy()

        def keep(share: int) -> None:
            status, row = kernels.keep_rows(
                done[share], cuts[share + 1], block.indptr, block.indices, block.data,
                self.cells.gene_of_column, self.bits, self.plan.n_genes, begin, logs[share], totals,
                entries.start[cells], entries.stop[cells], entries.genes, entries.counts,
            )  # fmt: skip
            if status not in (kernels.GOOD, kernels.TOO_LARGE):
                raise self.bad_cell(int(status), block.start + int(row))
            done[share] = row

        self._run(keep, self._threads)
        while (done < cuts[1:]).any():
            entries.widen()
            self._run(keep, self._threads)
        np.add.at(self.into.unit_totals, self.plan.units.of_cell[cells], totals)

    def _add_weighted(self, block: Block, unit: np.ndarray, rows: np.ndarray) -> None:
        leaf = self.leaf_of_unit[unit]
        if self.plan.by_cells:
            slots, keys = self.plan.slots, self.plan.keys[block.start : block.stop]
            weights = poisson_weights(keys[rows], self.plan.settings.seed, slots.resample, slots.attempt)
            runs = np.full(len(unit), -1, np.int32)
            runs[rows] = np.arange(len(rows), dtype=np.int32)
        else:
            weights, runs = self._weights, self._runs(unit)
        kernels.accumulate_weighted_rows(
            rows, block.indptr, block.indices, block.data, self.cells.gene_of_column, leaf, weights,
            not self.plan.by_cells, runs, self.into.boot,
        )  # fmt: skip

    def _runs(self, unit: np.ndarray) -> np.ndarray:
        """Which weights a cell takes: those of its sample, or its own."""
        return np.zeros(len(unit), np.int32) if self.plan.by_cells else self.plan.units.sample_of_unit[unit]

    def _run(self, add: Callable[[int], None], n_shares: int) -> None:
        if n_shares == 1:
            add(0)
            return
        for future in [self._pool.submit(add, share) for share in range(n_shares)]:
            future.result()


def _shares(order: np.ndarray, leaves: np.ndarray, lengths: np.ndarray, threads: int) -> list[np.ndarray]:
    """Split cells sorted by unit into parts of about equal work that share no leaf."""
    if threads == 1 or len(order) < 2:
        return [order]
    work = np.cumsum(lengths[order])
    changes = np.flatnonzero(np.diff(leaves)) + 1
    targets = work[-1] * np.arange(1, threads) / threads
    cuts = [0]
    for target in targets:
        place = np.searchsorted(work, target)
        near = np.searchsorted(changes, place)
        if near < len(changes) and changes[near] > cuts[-1]:
            cuts.append(int(changes[near]))
    cuts.append(len(order))
    return [order[low:high] for low, high in pairwise(cuts) if high > low]
