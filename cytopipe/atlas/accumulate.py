"""Accumulators of one pass, and blocks of cells added to them in threads or on a GPU.

A `PassPlan` says what is summed; blocks of the stream go in, sums stay. Within a block cells are sorted by
unit and handed to threads so that none share a row; every sum is of whole numbers, so neither this nor the
device matters to the result. A bad value anywhere in the file is an error that names the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise

import numpy as np

from cytopipe.atlas import kernels
from cytopipe.atlas.bootstrap import THRESHOLDS, poisson_weights
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.plan import PassPlan
from cytopipe.atlas.stream import Block
from cytopipe.errors import InputError

__all__ = ["Accumulators", "Adder", "open_adder"]


@dataclass
class Accumulators:
    """Everything a pass adds up; plain arrays, so that a checkpoint is the arrays.

    Parameters
    ----------
    sums : ndarray, (n_rows, n_genes) int64
        Counts per unit or leaf.
    expressing : ndarray, (n_leaves, n_genes) int32
        Cells with at least one count.
    logs : ndarray, (n_genes, 2) int64
        Fixed-point sums of log1p(CPM) and of its square over all cells.
    boot : ndarray, (n_leaves, n_genes, n_slots) int64
        Resampled counts, where they are accumulated while streaming.
    squares, cross : ndarray, (n_leaves, n_genes) int64
    total_squares : ndarray, (n_leaves,) int64
        Sums over cells of x^2, x t, t^2, for standard errors over cells.
    totals : ndarray, (n_cells,) int64
        Counts per cell; for matrices stored by gene, filled by the first of two passes.
    """

    sums: np.ndarray
    expressing: np.ndarray
    logs: np.ndarray
    boot: np.ndarray
    squares: np.ndarray
    cross: np.ndarray
    total_squares: np.ndarray
    totals: np.ndarray

    @classmethod
    def zeros(cls, plan: PassPlan, *, n_totals: int = 0) -> Accumulators:
        """Accumulators before the first cell."""
        n_leaves, n_genes = plan.units.n_leaves, plan.n_genes
        with_squares = n_leaves if plan.by_cells else 0
        return cls(
            sums=np.zeros((plan.n_rows, n_genes), np.int64),
            expressing=np.zeros((n_leaves, n_genes), np.int32),
            logs=np.zeros((n_genes, 2), np.int64),
            boot=np.zeros((n_leaves if plan.n_boot_slots else 0, n_genes, plan.n_boot_slots), np.int64),
            squares=np.zeros((with_squares, n_genes), np.int64),
            cross=np.zeros((with_squares, n_genes), np.int64),
            total_squares=np.zeros(with_squares, np.int64),
            totals=np.zeros(n_totals, np.int64),
        )

    @cached_property
    def row_totals(self) -> np.ndarray:
        """All counts of each row of `sums`, int64; to be asked for when the pass is over."""
        return self.sums.sum(axis=1)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


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
        units = plan.units
        self.leaf_of_unit = units.leaf_of_unit
        self.row_leaf = (
            units.leaf_of_unit if plan.rows_are_units else np.arange(units.n_leaves, dtype=np.int32)
        )
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
        unit = self.plan.units.of_cell[block.start : block.stop]
        order = np.argsort(unit, kind="stable")
        shares = _shares(order, self.leaf_of_unit[unit[order]], np.diff(block.indptr), self._threads)
        row_of_cell = unit if self.plan.rows_are_units else self.leaf_of_unit[unit]

        def add(share: int) -> None:
            into, rows = self.into, shares[share]
            status, row = kernels.accumulate_rows(
                rows, block.indptr, block.indices, block.data, self.cells.gene_of_column, row_of_cell,
                self.row_leaf, self.bits, into.sums, into.expressing, self._logs[share], into.squares,
                into.cross, into.total_squares, self.plan.by_cells,
            )  # fmt: skip
            if status != kernels.GOOD:
                raise self.bad_cell(int(status), block.start + int(row))
            if self.plan.n_boot_slots:
                self._add_weighted(block, unit, rows)

        self._run(add, len(shares))

    def add_columns(self, block: Block, genes: np.ndarray, columns: np.ndarray, starts: np.ndarray) -> None:
        """Add genes of a block of a matrix stored by gene, whose totals are known."""
        units = self.plan.units
        row_of_cell = units.of_cell if self.plan.rows_are_units else self.leaf_of_unit[units.of_cell]
        n_shares = max(1, min(self._threads, len(genes)))
        cuts = np.linspace(0, len(genes), n_shares + 1).astype(np.int64)

        def add(share: int) -> None:
            low, high = cuts[share], cuts[share + 1]
            into = self.into
            part = (genes[low:high], columns, starts[low : high + 1], block.indptr, block.indices, block.data)
            kernels.accumulate_columns(
                *part, into.totals, row_of_cell, self.row_leaf, self.bits, into.sums, into.expressing,
                self._logs[share], into.squares, into.cross, self.plan.by_cells,
            )  # fmt: skip
            if self.plan.n_boot_slots:
                slots = self.plan.slots
                kernels.accumulate_weighted_columns(
                    *part, self.leaf_of_unit[units.of_cell], self._weights, self._runs(units.of_cell),
                    self.plan.keys, np.uint64(self.plan.settings.seed), slots.resample.astype(np.uint64),
                    slots.attempt.astype(np.uint64), THRESHOLDS, into.boot,
                )  # fmt: skip

        self._run(add, n_shares)

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
        )
        if status != kernels.GOOD:
            raise self.bad_gene(int(status), block.start + int(column))

    def finish_totals(self) -> None:
        """After the first pass: check the totals and take their squares."""
        totals = self.into.totals
        if totals.max(initial=0) >= kernels.LARGEST_COUNT:
            raise self.bad_cell(kernels.BAD_TOTAL, int(totals.argmax()))
        if self.plan.by_cells:
            np.add.at(self.into.total_squares, self.leaf_of_unit[self.plan.units.of_cell], totals * totals)

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


def open_adder(cells: Cells, plan: PassPlan, accumulators: Accumulators, *, use_gpu: bool) -> Adder:
    """The adder of the best device: a GPU where one is asked for, present and large enough, else threads."""
    if use_gpu and cells.matrix.form != "csc":
        from cytopipe.atlas.device import ArrayAdder, usable_gpu

        module = usable_gpu(plan.projected_bytes)
        if module is not None:
            return ArrayAdder(cells, plan, accumulators, module)
    return Adder(cells, plan, accumulators)


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
