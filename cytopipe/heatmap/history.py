"""The checkpoints of a data set as a graph: a table, lines for a terminal, a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.heatmap.state import STEPS, HeatmapState

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["draw_history", "history_table"]

COLUMNS = (
    "branch",
    "step",
    "step_name",
    "checkpoint",
    "parents",
    "n_cells",
    "n_clusters",
    "n_metaclusters",
    "subset",
    "description",
)


def history_table(states: Mapping[str, HeatmapState]) -> pd.DataFrame:
    """One row per checkpoint, each after its parents; `parents` holds identifiers joined by spaces."""
    import pandas as pd

    numbers = {name: number for number, name in STEPS.items()}
    rows = [
        {
            "branch": str(one.parameters.get("branch", "")),
            "step": numbers.get(one.step_id, 0),
            "step_name": one.step_id,
            "checkpoint": one.id,
            "parents": " ".join(one.parents),
            "n_cells": -1 if one.n_cells is None else int(one.n_cells.sum()),
            "n_clusters": one.n_clusters,
            "n_metaclusters": int((np.unique(one.label) >= 0).sum()),
            "subset": one.subset_filters_expr,
            "description": " ".join(one.description.split()),
        }
        for one in states.values()
    ]
    depth: dict[str, int] = {}
    parents = {row["checkpoint"]: row["parents"].split() for row in rows}

    def deep(one: str, seen: frozenset[str] = frozenset()) -> int:
        if one not in depth:
            known = [parent for parent in parents.get(one, ()) if parent in parents and parent not in seen]
            depth[one] = 1 + max((deep(parent, seen | {one}) for parent in known), default=-1)
        return depth[one]

    rows.sort(key=lambda row: (deep(row["checkpoint"]), row["branch"], row["step"], row["checkpoint"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def draw_history(table: pd.DataFrame) -> bytes:
    """The graph as a PNG: a column per generation, a row per branch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parents = {row.checkpoint: row.parents.split() for row in table.itertuples()}
    column: dict[str, int] = {}
    for one, before in parents.items():
        column[one] = 1 + max((column[parent] for parent in before if parent in column), default=-1)
    lanes = {branch: lane for lane, branch in enumerate(dict.fromkeys(table["branch"]))}
    figure = Figure(figsize=(2.3 + 1.7 * (1 + max(column.values(), default=0)), 0.8 + 0.8 * max(len(lanes), 1)))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    place = {row.checkpoint: (column[row.checkpoint], -lanes[row.branch]) for row in table.itertuples()}
    for one, before in parents.items():
        for parent in before:
            if parent in place:
                (x0, y0), (x1, y1) = place[parent], place[one]
                axes.plot([x0 + 0.36, x1 - 0.36], [y0, y1], color="#8a8f98", linewidth=1.2, zorder=1)
    for row in table.itertuples():
        x, y = place[row.checkpoint]
        cells = f"\n{row.n_cells:,} cells" if row.n_cells >= 0 else ""
        text = f"{row.step or ''} {row.step_name.replace('_', ' ')}".strip()
        axes.text(
            x, y, f"{text}\n{row.n_clusters} / {row.n_metaclusters}{cells}", ha="center", va="center",
            fontsize=6.5, zorder=2,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "#eef3fb", "edgecolor": "#4a6fa5"},
        )  # fmt: skip
    for branch, lane in lanes.items():
        axes.text(-1.25, -lane, branch[:24].replace("$", r"\$"), ha="left", va="center", fontsize=8, weight="bold")
    axes.set_xlim(-1.3, 0.6 + max(column.values(), default=0))
    axes.set_ylim(-len(lanes) + 0.4, 0.6)
    axes.axis("off")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()
