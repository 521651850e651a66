"""Checks of heat maps before publication: no cell is lost, none is invented, and every cluster has a
label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.defs.artifact import Check, CheckResult, asking_for
from cytopipe.defs.heatmap_values import state_in

if TYPE_CHECKING:
    from cytopipe.heatmap.state import HeatmapState
    from cytopipe.storage.archive import Handle

__all__ = ["CELLS_USABLE", "LABELS_COVER", "ONE_ROW_PER_CELL", "PARENTS_FIRST", "cells_as_the_parents"]

_ALL_OF_PARENT = (2, 3, 5, 7, 8, 9, 11, 0)


def cells_as_the_parents(step: int, names: tuple[str, ...]) -> Check:
    """The check that a checkpoint has cells of its parents alone, and, where the step narrows nothing,
    all.
    """

    def evaluate(state: HeatmapState, **inputs: Mapping[str, Handle]) -> CheckResult:
        parents = [state_in(one) for name in names for one in inputs[name].values()]
        if any(one.cell_cluster is None for one in (state, *parents)):
            return CheckResult(("says nothing of cells",))
        had = np.zeros(len(state.cell_cluster), bool)
        for one in parents:
            if len(one.cell_cluster) != len(had):
                return CheckResult((f"{len(had):,} cells in all, a parent has {len(one.cell_cluster):,}",))
            had |= one.cell_cluster >= 0
        has = state.cell_cluster >= 0
        found = []
        if more := int((has & ~had).sum()):
            found.append(f"{more:,} cells are of no parent")
        if step in _ALL_OF_PARENT and (lost := int((had & ~has).sum())):
            found.append(f"{lost:,} cells of its parents are lost")
        return CheckResult(tuple(found), {"n_cells": int(has.sum()), "n_cells_of_parents": int(had.sum())})

    asking_for(evaluate, dict.fromkeys(names, "Mapping[str, Handle]"))
    if step in _ALL_OF_PARENT:
        words = "It has every cell of its parents, and no other."
        return Check(name="cells_conserved", description=words, evaluate=evaluate)
    words = "Every cell of it is a cell of its parent."
    return Check(name="subset_of_parent", description=words, evaluate=evaluate)


def _labels_cover(state: HeatmapState) -> CheckResult:
    """The constructor of a state has checked shapes, orders and counts of cells already."""
    found = []
    uncoloured = sorted({int(one) for one in state.label if int(one) not in state.colours})
    if uncoloured:
        found.append(f"metaclusters without a colour: {', '.join(map(str, uncoloured[:10]))}")
    if state.n_cells is not None and (state.n_cells == 0).any():
        empty = [state.cluster_ids[row] for row in np.flatnonzero(state.n_cells == 0)]
        found.append(f"clusters without cells: {', '.join(empty[:10])}")
    shown = [state.name_of(one) for one in state.metaclusters]
    if len(set(shown)) < len(shown):
        found.append("two metaclusters have one name")
    for name, order, count in (
        ("rows", state.row_order, state.n_clusters),
        ("columns", state.col_order, state.n_markers),
    ):
        if sorted(order.tolist()) != list(range(count)):
            found.append(f"the order of {name} is no permutation")
    return CheckResult(tuple(found), {"n_metaclusters": len(shown)})


def _cells_usable(adata: Any) -> CheckResult:
    found, values = [], adata.X
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        found.append(f"{bad:,} cells have a value that is missing or not finite")
    if twice := len(adata.var_names) - len(set(adata.var_names)):
        found.append(f"{twice} markers share a name")
    constant = [
        name for name, spread in zip(adata.var_names, np.ptp(values, axis=0), strict=True) if not spread
    ]
    return CheckResult(tuple(found), {"n_cells": len(values), "markers_without_signal": ", ".join(constant)})


def _one_row_per_cell(table: Any) -> CheckResult:
    twice = int(table["cell"].duplicated().sum())
    return CheckResult((f"{twice} cells stand twice",) if twice else (), {"rows": len(table)})


def _parents_first(table: Any) -> CheckResult:
    found, above = [], set()
    known = set(table["checkpoint"])
    for one, parents in zip(table["checkpoint"], table["parents"], strict=True):
        if one in above:
            found.append(f"checkpoint {one[:8]} stands twice")
        # Read back from a table, a checkpoint without parents has a missing value.
        late = [p for p in (parents.split() if isinstance(parents, str) else ()) if p in known - above]
        found += [f"checkpoint {one[:8]} stands above its parent {p[:8]}" for p in late]
        above.add(one)
    return CheckResult(tuple(found), {"rows": len(table)})


PARENTS_FIRST = Check(
    name="parents_first",
    description="Every checkpoint has one row, below those it was made from.",
    evaluate=_parents_first,
)
LABELS_COVER = Check(
    name="labels_cover",
    description="Every cluster has cells, and a metacluster with name and colour; orders are permutations.",
    evaluate=_labels_cover,
)
CELLS_USABLE = Check(
    name="cells_usable",
    description="Every value of every marker is finite, and markers have names of their own.",
    evaluate=_cells_usable,
    blocking=False,
)
ONE_ROW_PER_CELL = Check(
    name="one_row_per_cell", description="Every cell has one row.", evaluate=_one_row_per_cell
)
