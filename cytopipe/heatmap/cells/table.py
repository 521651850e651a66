"""The value that every reader gives and every step takes: cells by markers, and what else is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.errors import Finding, InputError

if TYPE_CHECKING:
    from cytopipe.heatmap.parameters import TransformSettings

__all__ = ["CellTable"]


@dataclass(frozen=True, eq=False)
class CellTable:
    """Cells of one data set.

    Parameters
    ----------
    values : ndarray, (n_cells, n_markers) float32 or float64
        As measured: after compensation, before any transform.
    markers : tuple of str
        Unique names that people know: ``CD3``.
    channels : tuple of str
        Detector or image channel of each marker: ``Er170Di``.
    cells : DataFrame
        One row per cell, RangeIndex: sample, fov, label, x, y, gates, whatever is known.
    n_dropped : int
        Cells that the files have besides, which were left out because a marker has no value.

    Raises
    ------
    InputError
        Shapes that do not fit together, names that are not unique; all findings at once.
    """

    values: np.ndarray
    markers: tuple[str, ...]
    channels: tuple[str, ...]
    cells: pd.DataFrame
    n_dropped: int = 0

    def __post_init__(self) -> None:
        findings = []
        if self.values.ndim != 2 or self.values.dtype not in (np.float32, np.float64):
            findings.append(
                Finding(
                    what="values are no matrix of numbers",
                    expected="a float32 or float64 array of cells x markers",
                    found=f"{self.values.dtype} {self.values.shape}",
                )
            )
        else:
            n_cells, n_markers = self.values.shape
            for name, length, expected in (
                ("markers", len(self.markers), n_markers),
                ("channels", len(self.channels), n_markers),
                ("cells", len(self.cells), n_cells),
            ):
                if length != expected:
                    findings.append(
                        Finding(
                            what=f"{name} and values do not fit together",
                            expected=f"{expected} {name}",
                            found=str(length),
                        )
                    )
        if twice := [name for name, count in Counter(self.markers).items() if count > 1]:
            findings.append(
                Finding(what=f"several markers have one name: {', '.join(twice)}", next="Rename them.")
            )
        if not isinstance(self.cells.index, pd.RangeIndex) or self.cells.index.start != 0:
            findings.append(
                Finding(
                    what="cells are not numbered from 0", next="Call reset_index(drop=True) on the table."
                )
            )
        if findings:
            raise InputError(findings)

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, rows: np.ndarray) -> CellTable:
        """The cells at `rows`: positions, in the order wanted, or one bool per cell."""
        rows = np.asarray(rows)
        cells = self.cells.iloc[np.flatnonzero(rows) if rows.dtype == bool else rows]
        return replace(self, values=self.values[rows], cells=cells.reset_index(drop=True))

    def select(self, markers: Sequence[str]) -> CellTable:
        """The markers of these names, in this order; a channel's name is accepted, too.

        Raises
        ------
        InputError
            Names that no marker and no channel has, and names given twice; all at once.
        """
        columns = self.require_markers(markers)
        return replace(
            self,
            values=np.ascontiguousarray(self.values[:, columns]),
            markers=tuple(self.markers[i] for i in columns),
            channels=tuple(self.channels[i] for i in columns),
        )

    def require_markers(self, markers: Sequence[str]) -> list[int]:
        """The places of the markers of these names; errors as :meth:`select`."""
        place = {name: i for i, name in reversed(list(enumerate(self.channels)))}
        place |= {name: i for i, name in enumerate(self.markers)}
        findings = [
            Finding(
                what=f"there is no marker {name!r}",
                expected=f"one of {', '.join(self.markers)}",
                next="Correct the name.",
            )
            for name in markers
            if name not in place
        ]
        columns = [place[name] for name in markers if name in place]
        findings += [
            Finding(what=f"marker {self.markers[column]!r} is named {count} times", next="Name it once.")
            for column, count in Counter(columns).items()
            if count > 1
        ]
        if findings:
            raise InputError(findings)
        return columns

    def transformed(self, settings: TransformSettings) -> CellTable:
        """The same cells with transformed values, in the type that they have."""
        from cytopipe.heatmap.cells.transform import transform

        return replace(self, values=transform(self.values, settings))
