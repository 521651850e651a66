"""Figures of quality: bases per cycle, mapping against thresholds, maps of wells and plates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytopipe.screen.quality.layout import plate_grid, tile_grid
from cytopipe.storage.formats.figure import literal, new_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "bases_figure",
    "distances_figure",
    "mapping_figure",
    "mismatches_figure",
    "plate_figure",
    "stacked",
    "well_figure",
]

_MAP_INCHES = 4.6  # of a map, so that it is legible at the width of a page
_WRITTEN_INCHES = 0.32  # of a square of a map that has room for its value

#: Of the bases, as sequencing software has them.
_COLORS = {"A": "#2a9d3f", "C": "#2b6cb0", "G": "#333333", "T": "#c53030"}


def bases_figure(bases: pd.DataFrame, title: str) -> Figure:
    """Bases of the reads in each cycle (points) against the library (lines).

    Parameters
    ----------
    bases : DataFrame
        Of `cytopipe.screen.quality.reads.base_frequencies`.
    title : str
    """
    figure, axes = _figure(5.4, 3.4)
    for base, rows in bases.groupby("base", sort=True):
        axes.plot(rows["cycle"], rows["expected"], color=_COLORS[base], lw=1, alpha=0.6)
        axes.plot(rows["cycle"], rows["observed"], "o", ms=5, color=_COLORS[base], label=base)
    axes.set(xlabel="cycle", ylabel="fraction of reads", ylim=(0, None), title=literal(title))
    axes.set_xticks(sorted(set(bases["cycle"])))
    axes.legend(ncols=4, fontsize=8, frameon=False, title="points: reads, lines: library", title_fontsize=8)
    return figure


def mapping_figure(table: pd.DataFrame, title: str) -> Figure:
    """Share of the reads in the library, and their number, against the least peak or quality.

    Parameters
    ----------
    table : DataFrame
        Of `mapping_by_threshold` or `mapping_by_quality`.
    title : str
    """
    limit = table.columns[0]
    figure, axes = _figure(5.4, 3.4)
    axes.plot(table[limit], table["mapped"], "o-", ms=4, color="#2557c7")
    axes.set(xlabel=limit.replace("_", " "), ylabel="fraction of reads in the library", ylim=(0, 1.05))
    axes.set_title(literal(title))
    beside = axes.twinx()
    beside.plot(table[limit], table["n_mapped"], "s--", ms=3, color="#a15c00", lw=1)
    beside.set_ylabel("reads in the library", color="#a15c00")
    beside.set_ylim(0, None)
    return figure


def mismatches_figure(mismatches: pd.DataFrame, n_cycles: int, n_reads: int, title: str) -> Figure:
    """Wrong bases in each cycle, by the base that was read; `mismatches` of `mismatches_by_cycle`."""
    figure, axes = _figure(5.4, 3.4)
    cycles = list(range(1, n_cycles + 1))
    below = np.zeros(len(cycles))
    for base, color in _COLORS.items():
        counts = mismatches[mismatches["read"] == base].groupby("cycle")["count"].sum()
        height = counts.reindex(cycles, fill_value=0).to_numpy() / max(n_reads, 1)
        axes.bar(cycles, height, bottom=below, color=color, label=f"read as {base}")
        below += height
    axes.set(xlabel="cycle", ylabel="fraction of reads", title=literal(title))
    axes.set_xticks(cycles)
    axes.set_ylim(0, max(0.02, 1.25 * below.max(initial=0)))
    axes.legend(ncols=4, fontsize=8, frameon=False, loc="upper center")
    return figure


def distances_figure(distances: pd.DataFrame, title: str) -> Figure:
    """Reads by the distance to their nearest and second nearest barcode; of `distances`."""
    figure, axes = _figure(5.4, 3.4)
    most = int(max(distances["second"].max(), 1)) if len(distances) else 1
    grid = np.zeros((most + 1, most + 1))
    grid[distances["best"], distances["second"]] = distances["n_reads"]
    share = grid / max(grid.sum(), 1)
    axes.imshow(np.sqrt(share), cmap="viridis", aspect="auto", vmin=0, vmax=1)
    for (best, second), value in np.ndenumerate(share):
        if value >= 0.001:
            color = "black" if value > 0.3 else "white"
            axes.text(second, best, f"{value:.1%}", ha="center", va="center", fontsize=7, color=color)
    axes.set_ylim(min(most, 4) + 0.5, -0.5)
    axes.set_xticks(range(most + 1))
    axes.set_yticks(range(min(most, 4) + 1))
    axes.set(xlabel="bases off the second nearest barcode", ylabel="bases off the nearest")
    axes.set_title(literal(title))
    return figure


def stacked(pictures: Sequence[bytes]) -> np.ndarray:
    """PNGs one below the other, (Y, X, 3) uint8; narrower ones are filled up with white."""
    import cv2

    opened = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for one in pictures]
    width = max(one.shape[1] for one in opened)
    sides = [((0, 0), (0, width - one.shape[1]), (0, 0)) for one in opened]
    return np.concatenate(
        [np.pad(one, side, constant_values=255) for one, side in zip(opened, sides, strict=True)]
    )


def well_figure(
    values: Mapping[int, float],
    title: str,
    label: str,
    positions: pd.DataFrame | None = None,
    most: float | None = None,
) -> Figure:
    """A value of every tile, where the tile lies in its well.

    Parameters
    ----------
    values : mapping of int to float
    title, label : str
        `label` names the value, with its unit.
    positions : DataFrame, optional
        ``tile, y, x``.
    most : float, optional
        End of the scale, which begins at 0; the largest value by default.
    """
    return _heat_map(tile_grid(values, positions), title, label, [], [], most)


def plate_figure(values: Mapping[str, float], title: str, label: str, most: float | None = None) -> Figure:
    """A value of every well, as the plate is laid out; `most` as of :func:`well_figure`."""
    grid, rows, columns = plate_grid(values)
    return _heat_map(grid, title, label, rows, columns, most)


def _heat_map(
    grid: np.ndarray, title: str, label: str, rows: list[str], columns: list[str], most: float | None
) -> Figure:
    height, width = grid.shape
    cell = min(0.6, _MAP_INCHES / max(height, width))
    most = most or np.nanmax(grid, initial=0.0, where=np.isfinite(grid)) or 1.0
    figure, axes = _figure(max(5.0, width * cell + 1.8), max(2.6, height * cell + 1.1))
    shown = axes.imshow(grid, cmap="viridis", aspect="equal", interpolation="nearest", vmin=0, vmax=most)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    if cell >= _WRITTEN_INCHES:
        bright = 0.6 * most
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                text = f"{value:.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2f}"
                color = "black" if value > bright else "white"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axes.set_title(literal(title), fontsize=10)
    figure.colorbar(shown, ax=axes, label=label, fraction=0.046)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = new_figure(width, height)
    return figure, figure.subplots()
