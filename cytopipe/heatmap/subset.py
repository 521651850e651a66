"""Which cells of a checkpoint meet the conditions of a lineage."""

from __future__ import annotations

import numpy as np

from cytopipe.errors import InputError
from cytopipe.heatmap.choices import SubsetChoice
from cytopipe.heatmap.expression import evaluate_expression
from cytopipe.heatmap.mixed import is_mixed
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.revision import Naming
from cytopipe.heatmap.state import HeatmapState

__all__ = ["cells_of_subset"]


def cells_of_subset(state: HeatmapState, cells: PreparedCells, choice: SubsetChoice) -> np.ndarray:
    """(n_cells,) bool: the cells of a state that meet every condition of a choice.

    Conditions on clusters and metaclusters count together; gates and the expression narrow them. Cells of
    mixed clusters are left out, unless the choice takes them or names their cluster.

    Raises
    ------
    InputError
        With every name that means nothing; or no cell meets the conditions.
    """
    row = cells.check_of(state)
    inside = row >= 0
    naming = Naming(state)
    chosen = np.zeros(state.n_clusters, bool)
    named = naming.rows("subset.clusters", choice.clusters)
    chosen[np.isin(state.label, naming.numbers("subset.metaclusters", choice.metaclusters))] = True
    if not (choice.metaclusters or choice.clusters):
        chosen[:] = True
    if not choice.with_mixed:
        chosen &= ~is_mixed(state)
    chosen[named] = True
    for marker in choice.gates:
        if marker not in cells.markers:
            naming.no_marker("subset.gates", marker, cells.markers)
    naming.raise_faults()
    keep = inside & np.append(chosen, False)[row]
    steps = [("clusters", int(keep.sum()))]
    for marker, gate in choice.gates.items():
        values = cells.column(marker)
        if gate.above is not None:
            keep &= values > gate.above
        if gate.below is not None:
            keep &= values < gate.below
        steps.append((marker, int(keep.sum())))
    if choice.where.strip():
        keep &= _where(state, cells, choice.where)
        steps.append(("where", int(keep.sum())))
    if not keep.any():
        raise InputError(
            "no cell belongs to the subset",
            where="subset",
            expected="at least one cell",
            found=", ".join(f"{count:,} after {name}" for name, count in steps),
            next="Widen the condition after which none is left.",
        )
    return keep


def _where(state: HeatmapState, cells: PreparedCells, text: str) -> np.ndarray:
    row = cells.check_of(state)
    known = {*cells.table.cells.columns.astype(str), *cells.markers, "cluster", "metacluster", "mixed"}

    def column(name: str):
        if name in cells.markers:
            return cells.column(name)
        if name in cells.table.cells.columns:
            return cells.table.cells[name]
        if name == "cluster":
            return np.array([*state.cluster_ids, ""], object)[row]
        if name == "mixed":
            return np.append(is_mixed(state), False)[row]
        return np.array([*(state.name_of(int(one)) for one in state.label), ""], object)[row]

    return evaluate_expression(text, column, sorted(known), size=len(cells))
