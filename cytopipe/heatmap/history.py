"""The checkpoints of a data set as a graph: rows of a table, lines for a terminal, a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.heatmap.branches import Branches, Reference
from cytopipe.heatmap.index import History, open_history, parents_first
from cytopipe.heatmap.state import STEP_NUMBERS, step_file
from cytopipe.storage.names import slug

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CELLS",
    "Known",
    "draw_history",
    "graph_lines",
    "history_table",
    "in_order",
    "known_in",
    "of_document",
    "replaced_in",
]

CELLS = "cells.h5ad"
"""The file of cells beside the checkpoints of a data set."""


@dataclass(frozen=True)
class Known:
    """What the history says of one checkpoint.

    Parameters
    ----------
    checkpoint : str
        Its identifier.
    parents : tuple of str
    branch, step_name, subset, description, created_at : str
    step : int
        0 for a merge, and for a step that a person named.
    n_cells : int or None
    n_clusters, n_metaclusters : int
    path : str
        Of its file, relative to where it was looked for; empty where it is no file.
    is_deleted : bool
        Its file is gone; its children remember it.
    is_replaced : bool
        It was made again since: in its place stands another one, and what was made from it is stale.
    """

    checkpoint: str
    parents: tuple[str, ...]
    branch: str
    step: int
    step_name: str
    n_cells: int | None = None
    n_clusters: int = 0
    n_metaclusters: int = 0
    subset: str = ""
    description: str = ""
    created_at: str = ""
    path: str = ""
    is_deleted: bool = False
    is_replaced: bool = False

    @property
    def name(self) -> str:
        """``main.3``; of a merge its branch; of others their file. ``main.3 before`` was made again since."""
        if self.is_replaced:
            return f"{Reference(self.branch, self.step)} before"
        if self.branch and self.step:
            return f"{self.branch}.{self.step}"
        return self.branch if self.branch and self.step_name == "merged" else self.path or self.checkpoint[:8]


def known_in(folder: Path, branches: Branches | None = None) -> tuple[list[Known], list[tuple[str, str]]]:
    """The checkpoints in a folder and below it, each after its parents, deleted ones included as far as their
    children remember them; and files that are none, with why.

    Parameters
    ----------
    folder : Path
    branches : Branches, optional
        What the checkpoints are made by: it tells those that were made again from those that were deleted.
    """
    history = open_history(folder)
    replaced = {} if branches is None else replaced_in(history, branches)
    found = [_of_document(entry.document, entry.branch, entry.path) for entry in history.by_id.values()]
    found += [
        Known(
            checkpoint=one.id,
            parents=tuple(one.parents),
            branch=replaced[one.id].branch if one.id in replaced else "",
            step=STEP_NUMBERS.get(one.step_id, 0),
            step_name=one.step_id,
            description=one.description,
            created_at=one.created_at,
            is_deleted=True,
            is_replaced=one.id in replaced,
        )
        for one in history.deleted.values()
    ]
    faults = [(entry.path, entry.fault) for entry in history.faults if entry.path != CELLS]
    return in_order(found), faults


def replaced_in(history: History, branches: Branches) -> dict[str, Reference]:
    """Checkpoints that were made again since, by identifier, and what stands in their place now.

    A child that was not made again remembers the identifier of its former parent; its branch says which
    checkpoint that was.
    """
    nodes = {node.at: node for node in branches.nodes()}
    standing: dict[Reference, str] = {}
    for one, entry in history.by_id.items():
        at = Reference(entry.branch, STEP_NUMBERS.get(entry.step_id, 0)) if entry.branch else None
        if at in nodes and entry.path == f"{slug(at.branch)}/{step_file(at.step)}.h5ad":
            standing[at] = one
    found: dict[str, Reference] = {}
    waiting = [(at, history.parents[one]) for at, one in standing.items()]
    while waiting:
        at, parents = waiting.pop()
        wanted = nodes[at].parents
        if len(wanted) != len(parents):  # a merge whose branch of mixed cells is empty
            continue
        for one, its in zip(parents, wanted, strict=True):
            if one in history.deleted and its in standing and one not in found:
                found[one] = its
                waiting.append((its, tuple(history.deleted[one].parents)))
    return found


def of_document(document: Mapping[str, Any]) -> Known:
    """What the history says of a checkpoint, from its document."""
    return _of_document(document, str(document["parameters"].get("branch") or ""), "")


def _of_document(document: Mapping[str, Any], branch: str, path: str) -> Known:
    own, counts = document["checkpoint"], document["counts"]
    return Known(
        checkpoint=own["id"],
        parents=tuple(own["parents"]),
        branch=branch,
        step=STEP_NUMBERS.get(own["step_id"], 0),
        step_name=own["step_id"],
        n_cells=counts["n_cells"],
        n_clusters=counts["n_clusters"],
        n_metaclusters=counts["n_metaclusters"],
        subset=document["subset"]["filters_expr"],
        description=" ".join(own["description"].split()),
        created_at=own["created_at"],
        path=path,
    )


def in_order(some: Iterable[Known]) -> list[Known]:
    """Checkpoints, each after its parents; then by branch, step and identifier."""
    known: dict[str, list[Known]] = {}
    for one in some:
        known.setdefault(one.checkpoint, []).append(one)
    parents = {one: copies[0].parents for one, copies in known.items()}
    ordered = parents_first(parents, lambda one: (known[one][0].branch, known[one][0].step))
    return [copy for one in ordered for copy in sorted(known[one], key=lambda copy: copy.path)]


def history_table(some: Iterable[Known]) -> pd.DataFrame:
    """One row per checkpoint, each after its parents; `parents` holds identifiers joined by spaces."""
    import pandas as pd

    rows = [{**asdict(one), "parents": " ".join(one.parents)} for one in in_order(some)]
    left_out = ("path", "created_at", "is_deleted", "is_replaced")
    columns = [name for name in Known.__dataclass_fields__ if name not in left_out]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"n_cells": "Int64"})


# ---------------------------------------------------------------------- in a terminal


def graph_lines(some: Sequence[Known]) -> Iterator[tuple[str, Known]]:
    """Lines of the graph: what stands before the checkpoint, and the checkpoint.

    A branch follows the checkpoint at which it begins, a bar at its left; a merge stands at the end, and
    what is made from it below it.
    """
    known = {one.checkpoint: one for one in some}
    children: dict[str, list[Known]] = {}
    roots: list[Known] = []
    for one in some:
        before = [parent for parent in one.parents if parent in known and parent != one.checkpoint]
        if len(before) == 1:
            children.setdefault(before[0], []).append(one)
        else:
            roots.append(one)
    told: set[str] = set()
    roots += [one for one in some if one not in roots]  # of circles, which no checkpoint of ours has
    for root in roots:
        pending: list[tuple[str, str, Known]] = [("", "", root)]
        while pending:
            first, rest, one = pending.pop()
            if one.checkpoint in told:
                continue
            told.add(one.checkpoint)
            yield first, one
            below = [child for child in children.get(one.checkpoint, ()) if child.checkpoint not in told]
            same = [child for child in below if child.branch == one.branch][:1]
            others = [child for child in below if child not in same]
            after = [(rest, rest, child) for child in same]
            after += [(f"{rest}├─ ", f"{rest}│  ", child) for child in reversed(others)]
            pending += after


# ---------------------------------------------------------------------- a picture


def draw_history(some: Iterable[Known]) -> bytes:
    """The graph as a PNG: a column per generation, a row per branch."""
    from cytopipe.storage.formats.figure import figure_bytes, literal, new_figure

    some = in_order(some)
    column: dict[str, int] = {}
    for one in some:
        column[one.checkpoint] = 1 + max((column[p] for p in one.parents if p in column), default=-1)
    lanes = {branch: lane for lane, branch in enumerate(dict.fromkeys(one.branch for one in some))}
    columns = 1 + max(column.values(), default=0)
    figure = new_figure(min(1.2 + 1.35 * columns, 60), min(0.3 + 0.72 * max(len(lanes), 1), 60))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    place = {one.checkpoint: (column[one.checkpoint], -lanes[one.branch]) for one in some}
    for one in some:
        x1, y1 = place[one.checkpoint]
        for parent in one.parents:
            if parent in place:
                x0, y0 = place[parent]
                axes.plot(*_line(x0, y0, x1, y1), color="#8a8f98", linewidth=1.1, zorder=1)
    for one in some:
        x, y = place[one.checkpoint]
        cells = f"\n{one.n_cells:,} cells" if one.n_cells is not None else ""
        text = literal(f"{one.step or ''} {one.step_name.replace('_', ' ')}".strip()[:40])
        axes.text(
            x, y, f"{text}\n{one.n_clusters} > {one.n_metaclusters}{cells}", ha="center", va="center",
            fontsize=6.5, zorder=2,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "#eef3fb", "edgecolor": "#4a6fa5"},
        )  # fmt: skip
    for branch, lane in lanes.items():
        axes.text(-1.15, -lane, literal(branch[:18]), ha="left", va="center", fontsize=8, weight="bold")
    axes.set_xlim(-1.2, columns - 0.4)
    axes.set_ylim(-len(lanes) + 0.45, 0.55)
    axes.axis("off")
    return figure_bytes(figure, "png")


def _line(x0: float, y0: float, x1: float, y1: float) -> tuple[list[float], list[float]]:
    """From a box to another, between the rows and columns of boxes: no line crosses one."""
    if y0 == y1 or x1 - x0 == 1:
        return [x0 + 0.3, x0 + 0.5, x0 + 0.5, x1 - 0.3], [y0, y0, y1, y1]
    between = y1 + 0.5 if y0 > y1 else y1 - 0.5
    return (
        [x0 + 0.3, x0 + 0.5, x0 + 0.5, x1 - 0.5, x1 - 0.5, x1 - 0.3],
        [y0, y0, between, between, y1, y1],
    )
