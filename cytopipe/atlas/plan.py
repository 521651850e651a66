"""What one pass will do and how much memory it will hold, stated before it starts.

Opened cells, levels and settings come in; labels are read, units numbered, redraws found, and a `PassPlan`
leaves: the accumulators' layout, the bytes of each part and their sum. If the sum is above what the pass
may hold it is refused with both numbers. Two layouts give the same resamples: sums per unit (leaf x sample),
which also give standard errors and sample profiles, or sums per leaf x resample, which need fewer bytes where
an atlas has many more samples than resamples, or where cells are resampled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.atlas.bootstrap import Slots, assign_slots, name_keys
from cytopipe.atlas.cells import Cells
from cytopipe.atlas.labels import Units, joint_units
from cytopipe.atlas.registry import Level, check_levels
from cytopipe.atlas.settings import Settings
from cytopipe.atlas.stream import block_bytes
from cytopipe.errors import BudgetError, Finding, InputError

__all__ = ["GENES_PER_CHUNK", "PassPlan", "plan_pass", "units_digest"]

GENES_PER_CHUNK = 1024
_NAMES_AT_ONCE = 100_000


@dataclass(frozen=True)
class PassPlan:
    """One pass over one atlas.

    Parameters
    ----------
    settings : Settings
    levels : tuple of Level
    units : Units
    layout : {"units", "resamples"}
    slots : Slots or None
        Weight vectors, None without resamples or in parity mode.
    keys : ndarray, (n_samples or n_cells,) uint64
        Hash keys of what is resampled.
    n_genes : int
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
    def rows_are_units(self) -> bool:
        """Whether counts are kept per unit (leaf x sample) or per leaf only."""
        return self.layout == "units" or self.settings.sample_profiles

    @property
    def n_rows(self) -> int:
        """Rows of the count accumulator."""
        return self.units.n_units if self.rows_are_units else self.units.n_leaves

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
    keys, slots = _weights(cells, labels, units, settings)
    resident = _resident_bytes()
    allowed = memory_bytes if memory_bytes is not None else resident + int(0.8 * _available_bytes())
    needed = {}
    for layout in _layouts(settings, slots):
        parts = {"interpreter and libraries": resident} | _parts(
            cells, units, settings, slots, layout, threads
        )
        needed[layout] = sum(parts.values())
        if needed[layout] <= allowed:
            return PassPlan(
                settings, tuple(levels), units, layout, slots, keys, cells.n_genes, threads, parts
            )
    least = min(needed.values())
    raise BudgetError(
        "the pass needs more memory than it may hold",
        where=str(cells.path),
        expected=f"at most {allowed:,} bytes",
        found=f"{least:,} bytes projected ({units.n_units:,} label tuples x {cells.n_genes:,} genes)",
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


def _layouts(settings: Settings, slots: Slots | None) -> list[str]:
    if settings.n_bootstrap and settings.bootstrap == "cells":
        return ["resamples"]
    needs_units = settings.bootstrap == "parity" or settings.sample_profiles or slots is None
    return ["units"] if needs_units else ["units", "resamples"]


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


def _parts(cells, units: Units, settings: Settings, slots, layout: str, threads: int) -> dict[str, int]:
    n_genes, n_leaves = cells.n_genes, units.n_leaves
    n_rows = units.n_units if layout == "units" or settings.sample_profiles else n_leaves
    groups = sum(len(grouping.names) for grouping in units.groupings)
    largest = max(len(grouping.names) for grouping in units.groupings)
    task = (
        max(settings.n_bootstrap, 1) * GENES_PER_CHUNK * (8 + 4 + 4 + 4)
        + len(units.samples) * GENES_PER_CHUNK * 8
    )
    parts = {
        "labels of the cells": cells.n_cells * (4 + 4 * (len(units.groupings) + 1) + 16),
        "counts": n_rows * n_genes * 8,
        "expressing cells": n_leaves * n_genes * 4,
        "log sums": (threads + 1) * n_genes * 16,
        "blocks of the matrix": block_bytes(cells.matrix) + 3_000_000 * 16,
        "profiles": groups * n_genes * (8 + 8 + 4 + 4) + largest * n_genes * (8 + 4 + 4),
        "resamples being written": 4 * threads * task,
    }
    if layout == "resamples":
        parts["resampled counts"] = n_leaves * n_genes * slots.n_slots * 8
    if settings.n_bootstrap and settings.bootstrap == "cells":
        parts["squares"] = 2 * n_leaves * n_genes * 8
        parts["labels of the cells"] += cells.n_cells * 8
    if cells.matrix.form == "csc":
        parts["totals of the cells"] = cells.n_cells * 8 * (threads + 2)
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
