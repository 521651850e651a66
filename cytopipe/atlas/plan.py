"""What one pass will do and how much memory it will hold, stated before it starts.

`plan_pass` reads the labels, numbers the units and finds the redraws. The `PassPlan` says how the
accumulators are laid out, how many bytes each part takes, and their sum. A sum above what the pass may hold
is refused with both numbers. Two layouts give everything, to the same bits, and the smaller of them is taken:
"units", sums per unit (leaf x sample), and "entries", the counts of all cells as they are, which is less
where units have few cells. A third, "resamples", sums per leaf x resample, gives no standard errors over
samples; it is taken where neither fits, and where cells are resampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.atlas.bootstrap import Slots, assign_slots, name_keys
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.entries import gene_dtype
from cytopipe.atlas.group_rows import SUMS_BYTES, sums_units
from cytopipe.atlas.labels import Units, joint_units
from cytopipe.atlas.registry import Level, check_levels
from cytopipe.atlas.settings import Settings
from cytopipe.atlas.stream import block_bytes
from cytopipe.errors import BudgetError, Finding, InputError

__all__ = ["GENES_PER_CHUNK", "ROWS_PER_CHUNK", "PassPlan", "plan_pass", "units_digest"]

GENES_PER_CHUNK, ROWS_PER_CHUNK = 1024, 64
_MOST_COUNTS_PER_CELL = 100_000  # ten times what a cell of today's assays has
_DRAW_BYTES = 64 * 8 * 2 + 100  # weights of a small group and its redraws, per resample
_RESAMPLE_ROW_BYTES = 300  # a name, a number and a mark per row, as pandas and HDF5 hold them while writing
_NAMES_AT_ONCE = 100_000


@dataclass(frozen=True)
class PassPlan:
    """One pass over one atlas.

    Parameters
    ----------
    settings : Settings
    levels : tuple of Level
    units : Units
    layout : {"units", "entries", "resamples"}
    slots : Slots or None
        Weight vectors, None without resamples or in parity mode.
    keys : ndarray, (n_samples or n_cells,) uint64
        Hash keys of what is resampled.
    n_genes : int
    n_entries : int
        Values that the matrix stores; of a dense one, an estimate of those that are not zero.
    threads : int
    parts : mapping of str to int
        Bytes each part of the work holds at its peak.
    """

    settings: Settings
    levels: tuple[Level, ...]
    units: Units
    layout: str
    slots: Slots | None
    keys: np.ndarray
    n_genes: int
    n_entries: int
    threads: int
    parts: Mapping[str, int]

    @property
    def projected_bytes(self) -> int:
        """Memory the pass holds at its peak, interpreter and libraries included."""
        return sum(self.parts.values())

    @property
    def by_cells(self) -> bool:
        """Whether single cells are resampled."""
        return self.settings.bootstrap == "cells" and self.settings.n_bootstrap > 0

    @property
    def keeps_entries(self) -> bool:
        """Whether the counts of all cells are kept."""
        return self.layout == "entries"

    @property
    def rows_are_units(self) -> bool:
        """Whether counts are summed per unit (leaf x sample); else per leaf."""
        return self.layout == "units"

    @property
    def n_rows(self) -> int:
        """Rows of the count accumulator; 0 where groups are summed from the entries afterwards."""
        return _n_rows(self.units, self.layout)

    @property
    def sum_dtype(self) -> np.dtype:
        """Type of the count accumulator, to begin with."""
        return _sum_dtype(self.units, self.layout)

    @property
    def n_boot_slots(self) -> int:
        """Resamples accumulated while streaming; 0 where they are derived from the units afterwards."""
        return self.slots.n_slots if self.layout == "resamples" and self.slots else 0

    def __str__(self) -> str:
        lines = [f"{name:>24} {size / 1e6:10,.1f} MB" for name, size in self.parts.items()]
        lines.append(f"{'projected':>24} {self.projected_bytes / 1e6:10,.1f} MB")
        return "\n".join(lines)


def plan_pass(
    cells: Cells,
    levels: Sequence[Level],
    sample: str | None,
    settings: Settings,
    *,
    threads: int = 1,
    memory_bytes: int | None = None,
) -> PassPlan:
    """Read the labels and settle how the pass is done.

    Parameters
    ----------
    cells : Cells
    levels : sequence of Level
    sample : str or None
        obs column of the samples.
    settings : Settings
    threads : int
    memory_bytes : int, optional
        What the process may hold. Default: 80% of what is available now, plus what it already holds.

    Raises
    ------
    InputError
        With every column that is absent and every level without labels.
    BudgetError
        If neither layout fits; both numbers are in the message.
    """
    _check(cells, levels, sample, settings)
    samples = cells.labels(sample) if sample else None
    labels = [(level, cells.level_labels(level)) for level in levels]
    empty = [
        Finding(what="no cell has a label", where=f"{cells.path}, level {level.name}", found=str(level))
        for level, one in labels
        if not one.names
    ]
    if empty:
        raise InputError(empty)
    units = joint_units(labels, samples)
    n_entries = _n_entries(cells)
    resident = _resident_bytes()
    allowed = memory_bytes if memory_bytes is not None else resident + int(0.8 * _available_bytes())

    def projected(layout: str, n_slots: int) -> dict[str, int]:
        parts = _parts(cells, units, settings, n_slots, layout, threads, n_entries)
        return {"interpreter and libraries": resident} | parts

    layouts = _layouts(settings)
    # before a weight is drawn: what redraws add is known only afterwards, and is little
    least = min(sum(projected(layout, settings.n_bootstrap).values()) for layout in layouts)
    if least <= allowed:
        keys, slots = _weights(cells, labels, units, settings)
        plans = [
            PassPlan(settings, tuple(levels), units, layout, slots, keys, cells.n_genes, n_entries, threads,
                     projected(layout, slots.n_slots if slots else 0))
            for layout in layouts
        ]  # fmt: skip
        plans.sort(key=lambda plan: (plan.layout == "resamples", plan.projected_bytes))
        if fitting := [plan for plan in plans if plan.projected_bytes <= allowed]:
            return fitting[0]
        least = min(plan.projected_bytes for plan in plans)
    resamples = f", {settings.n_bootstrap:,} resamples" if settings.n_bootstrap else ""
    size = f"{units.n_units:,} label tuples x {cells.n_genes:,} genes"
    raise BudgetError(
        "the pass needs more memory than it may hold",
        where=str(cells.path),
        expected=f"at most {allowed:,} bytes",
        found=f"{least:,} bytes projected ({size}{resamples})",
        next="Ask for fewer levels or resamples at a time, or raise --memory-gb on a larger machine.",
    )


def _check(cells: Cells, levels: Sequence[Level], sample: str | None, settings: Settings) -> None:
    findings = check_levels(levels, str(cells.path)) + cells.check_columns(levels, sample)
    if not levels:
        findings.append(
            Finding(what="no level is asked for", where=str(cells.path), next="Pass --level NAME=column.")
        )
    needs_samples = settings.sample_profiles or (
        settings.n_bootstrap and settings.bootstrap in ("samples", "parity")
    )
    if needs_samples and not sample:
        findings.append(
            Finding(
                what="no sample column is given",
                where=str(cells.path),
                found=", ".join(cells.columns),
                next="Pass --sample COLUMN, or --bootstrap cells to resample single cells.",
            )
        )
    if settings.carry != "auto":
        findings += [
            Finding(what=f"column '{name}' to carry is absent from obs", where=str(cells.path))
            for name in settings.carry
            if name not in cells.columns
        ]
    if findings:
        raise InputError(findings)


def _layouts(settings: Settings) -> list[str]:
    if settings.n_bootstrap and settings.bootstrap == "cells":
        return ["resamples"]
    whole = ["units", "entries"]
    needs_units = settings.bootstrap == "parity" or settings.sample_profiles or not settings.n_bootstrap
    return whole if needs_units else [*whole, "resamples"]


def _n_rows(units: Units, layout: str) -> int:
    """Rows of counts: one per unit or leaf; none where groups are summed from the entries afterwards."""
    return {"units": units.n_units, "entries": 0, "resamples": units.n_leaves}[layout]


def _sum_dtype(units: Units, layout: str) -> np.dtype:
    """int32 for units of few cells; should they hold more counts than it can, the sums are widened."""
    small = layout == "units" and units.n_cells.max(initial=0) * _MOST_COUNTS_PER_CELL < 1 << 31
    return np.dtype(np.int32 if small else np.int64)


def _n_entries(cells: Cells) -> int:
    """Stored values; of a dense matrix the non-zero ones, estimated from a sample, and a quarter more."""
    if cells.matrix.form != "dense":
        return cells.matrix.n_stored
    return int(cells.matrix.n_stored * min(1.0, 1.25 * cells.nonzero_fraction()))


def _weights(cells: Cells, labels, units: Units, settings: Settings) -> tuple[np.ndarray, Slots | None]:
    """Hash keys of what is resampled, and the slots of all levels."""
    none = np.empty(0, np.uint64)
    if not settings.n_bootstrap or settings.bootstrap == "parity":
        return none, None
    if settings.bootstrap == "samples":
        keys = name_keys(units.samples)
        groups = [_samples_of_groups(units, level) for level in range(len(units.groupings))]
    else:
        keys = _cell_keys(cells)
        groups = [_cells_of_small_groups(one.codes, len(one.names)) for _, one in labels]
    return keys, assign_slots(groups, keys, settings.n_bootstrap, settings.seed)


def _samples_of_groups(units: Units, level: int) -> list[np.ndarray]:
    grouping = units.groupings[level]
    known = units.sample_of_unit >= 0
    return [
        np.unique(units.sample_of_unit[(grouping.group_of_unit == group) & known])
        for group in range(len(grouping.names))
    ]


def _cells_of_small_groups(codes: np.ndarray, n_groups: int) -> list[np.ndarray]:
    """Cells of each group, empty for groups too large for all weights to be zero."""
    sizes = np.bincount(codes[codes >= 0], minlength=n_groups)
    small = np.flatnonzero(sizes < 64)
    rows = np.flatnonzero(np.isin(codes, small))
    return [rows[codes[rows] == group] if sizes[group] < 64 else rows[:0] for group in range(n_groups)]


def _cell_keys(cells: Cells) -> np.ndarray:
    names = cells.cell_names()
    keys = np.concatenate(
        [
            name_keys([_text(value) for value in names[start : start + _NAMES_AT_ONCE]])
            for start in range(0, cells.n_cells, _NAMES_AT_ONCE)
        ]
    )
    if len(np.unique(keys)) != len(keys):
        raise InputError(
            f"{len(keys) - len(np.unique(keys)):,} cells share a name with another",
            where=f"{cells.path}, obs index",
            expected="one name per cell, since weights of cells are drawn from their names",
            next="Make the names unique, or resample samples.",
        )
    return keys


def _parts(
    cells: Cells, units: Units, settings: Settings, n_slots: int, layout: str, threads: int, n_entries: int
) -> dict[str, int]:
    n_genes, n_leaves, n_rows = cells.n_genes, units.n_leaves, _n_rows(units, layout)
    groups = sum(len(grouping.names) for grouping in units.groupings)
    over_samples = bool(units.samples) and layout != "resamples"
    width = min(GENES_PER_CHUNK, n_genes)
    parts = {
        "labels of the cells": cells.n_cells * (4 + 4 * (len(units.groupings) + 1) + 16),
        "label tuples": units.n_units * (8 + 8 * len(units.groupings) + 24),
        "counts": n_rows * n_genes * _sum_dtype(units, layout).itemsize,
        "expressing cells": n_leaves * n_genes * 4 if n_rows else 0,
        "log sums": (threads + 1) * n_genes * 16,
        "blocks of the matrix": block_bytes(cells.matrix) + 3_000_000 * 16,
        "standard errors": threads * n_genes * 48 if over_samples else 0,
        # rows of groups being derived: counts, X, z, standard error and expressing cells, for two files
        "profiles being written": 2 * min(ROWS_PER_CHUNK, groups) * n_genes * (8 + 8 + 8 + 4 + 4 + 4),
        "compressing": 4 * threads * ROWS_PER_CHUNK * width * 16,
    }
    if layout == "entries":
        n_entries = max(n_entries, 1)
        if sums_units(n_entries, units.n_units, n_genes):
            parts["sums of units"] = min(SUMS_BYTES, units.n_units * n_genes * 4)
            parts["groups"] = groups * n_genes * 16
        parts["counts of all cells"] = n_entries * (gene_dtype(n_genes).itemsize + 2) + cells.n_cells * 24
    if settings.n_bootstrap:
        piece = settings.n_bootstrap * width * (8 + 4 + 4 + 4)
        parts["resamples being written"] = 4 * threads * piece
        parts["rows of the resamples"] = groups * settings.n_bootstrap * _RESAMPLE_ROW_BYTES
        weights = 3 * len(units.samples) * 8 if layout != "resamples" else 8 * len(units.samples)
        parts["draws"] = settings.n_bootstrap * (4 * groups + weights + _DRAW_BYTES)
        if layout != "resamples":
            most = len(units.samples) * n_genes
            if layout == "entries":
                most = min(most, n_entries)
            parts["counts of the samples of a group"] = 2 * most * (gene_dtype(n_genes).itemsize + 4)
    if layout == "resamples":
        parts["resampled counts"] = n_leaves * n_genes * n_slots * 8
    if settings.n_bootstrap and settings.bootstrap == "cells":
        parts["squares"] = 2 * n_leaves * n_genes * 8
        parts["labels of the cells"] += cells.n_cells * 8
    if cells.matrix.form == "csc":
        parts["totals of the cells"] = cells.n_cells * 8 * (threads + 3)
    return parts


def units_digest(units: Units) -> str:
    """SHA-256 of which cell is in which unit: part of what a checkpoint belongs to."""
    digest = hashlib.sha256(np.ascontiguousarray(units.of_cell, "<i4"))
    for grouping in units.groupings:
        digest.update("\x00".join([str(grouping.level), *grouping.names]).encode())
    digest.update("\x00".join(units.samples).encode())
    return digest.hexdigest()


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as stream:  # noqa: PTH123 - a kernel file, not a path of ours
            return int(stream.read().split()[1]) * 4096
    except OSError:
        return 300_000_000


def _available_bytes() -> int:
    from cytopipe.storage.guard.budget import budget_bytes

    return budget_bytes(1.0)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
