"""The cells of a data set as all steps see them: measured values, transformed once, known by their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    from cytopipe.heatmap.cells import CellTable
    from cytopipe.heatmap.parameters import TransformSettings
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["PreparedCells"]


@dataclass(frozen=True, eq=False)
class PreparedCells:
    """Cells with the transform that is used for all of them.

    Parameters
    ----------
    table : CellTable
        As measured.
    transform : TransformSettings
    """

    table: CellTable
    transform: TransformSettings

    def __len__(self) -> int:
        return len(self.table)

    @property
    def markers(self) -> tuple[str, ...]:
        return self.table.markers

    @cached_property
    def values(self) -> np.ndarray:
        """(n_cells, n_markers) transformed values."""
        return self.table.transformed(self.transform).values

    def column(self, marker: str) -> np.ndarray:
        """(n_cells,) transformed values of one marker."""
        return self.values[:, self.markers.index(marker)]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the measured values, their type, and the names of markers: which cell table it is."""
        total = hashlib.sha256(f"{self.table.values.dtype} {self.table.values.shape}\n".encode())
        total.update("\n".join(self.markers).encode())
        total.update(np.ascontiguousarray(self.table.values))
        return total.hexdigest()

    def check_of(self, state: HeatmapState) -> np.ndarray:
        """The row of the cluster of every cell in a state of these cells; -1 outside of its subset.

        Raises
        ------
        InputError
            The state knows nothing of cells, or is about other ones.
        """
        if state.cell_cluster is None:
            raise InputError(
                f"checkpoint {state.id[:8]} does not say which cells its clusters have",
                next="It was imported without cells; begin with step 1 from the cell table.",
            )
        if len(state.cell_cluster) != len(self) or (state.cells_digest and state.cells_digest != self.digest):
            raise InputError(
                f"checkpoint {state.id[:8]} is about other cells than these",
                expected=f"{len(state.cell_cluster):,} cells, table {state.cells_digest[:8]}",
                found=f"{len(self):,} cells, table {self.digest[:8]}",
                next="Name the cell table that it was made from.",
            )
        return state.cell_cluster
