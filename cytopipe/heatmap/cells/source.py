"""What a reader of one kind of file hands over: columns first, values when it is known which are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from cytopipe.errors import Finding
from cytopipe.heatmap.cells.names import Column

__all__ = ["CellSource", "Cells", "Faults"]

_MOST = 30  # findings of one file that are told


@dataclass
class Faults:
    """Findings about one file, gathered."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    missing_allowed: bool = False
    """Whether a missing value (NaN) is none; whoever reads leaves its cell out."""

    def add(self, what: str, *, line: int | None = None, **finding: str) -> None:
        where = f"{self.path}:{line}" if line else str(self.path)
        if len(self.findings) < _MOST:
            self.findings.append(Finding(what=what, where=where, **finding))

    def bad(self, values: np.ndarray) -> np.ndarray:
        """(n_cells,) whether a value cannot be used."""
        return np.isinf(values) if self.missing_allowed else ~np.isfinite(values)

    @staticmethod
    def next_step(is_missing: bool) -> str:
        """What to do about cells with a value that cannot be used."""
        if is_missing:
            return "Drop these cells (missing: drop), or choose other markers (columns)."
        return "Leave these cells out, or choose other markers (columns)."

    def check_values(self, values: np.ndarray, names: Sequence[str], *, next_step: str = "") -> None:
        """Add a finding for every column that holds something which is no finite number."""
        if not len(values):
            self.add("holds no cells", expected="at least one", next="Leave this file out.")
            return
        for column, name in enumerate(names):
            bad = self.bad(values[:, column])
            if bad.any():
                row = int(np.argmax(bad))
                self.add(
                    f"marker {name} has {int(bad.sum()):,} of {len(values):,} cells without a finite value",
                    expected="a finite number in every cell",
                    found=f"{values[row, column]} in cell {row + 1:,}",
                    next=next_step or self.next_step(bool(np.isnan(values[row, column]))),
                )


@dataclass(frozen=True, eq=False)
class Cells:
    """Values of the wanted columns, (n_cells, n) float32 or float64, and what else is known of the cells."""

    values: np.ndarray
    known: pd.DataFrame


class CellSource(Protocol):
    """One file of cells, or one image of several files."""

    path: Path
    sample: str
    columns: tuple[Column, ...]
    faults: Faults

    def read(self, wanted: Sequence[int]) -> Cells:
        """The columns at these places; what is wrong with values is added to `faults`."""
        ...
