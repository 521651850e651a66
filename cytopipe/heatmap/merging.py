"""Several checkpoints put together: the union of their cells, where the finer one wins.

A checkpoint is finer than another if it was made from a subset of clusters that the other one still has: a
lineage is finer than the final of the branch at which it began. Where two share cells and neither is finer,
nobody can say whose label is right, and the merge is refused with the counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.heatmap.branches import KEEPS_CLUSTERS, MERGED
from cytopipe.heatmap.choices import MergeChoice
from cytopipe.heatmap.parameters import HeatmapSettings
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.state import NOT_REVISED, UNASSIGNED, HeatmapState
from cytopipe.heatmap.steps import NOBODY, About, ancestry, heat_map

__all__ = ["is_finer", "merge", "owners"]


def is_finer(one: HeatmapState, other: HeatmapState) -> bool:
    """Whether `one` was made from a subset of clusters that `other` still has."""
    same = _same_clusters(other)
    return (
        other.id != one.id and bool(same & {a.id for a in one.ancestors}) and not same & _same_clusters(one)
    )


def _same_clusters(state: HeatmapState) -> set[str]:
    """The state and those before it that have the same cells in the same clusters."""
    known = {one.id: one for one in (*state.ancestors, state.as_ancestor())}
    found, at = {state.id}, known[state.id]
    while at.step_id in KEEPS_CLUSTERS and len(at.parents) == 1 and at.parents[0] in known:
        at = known[at.parents[0]]
        found.add(at.id)
    return found


def owners(parents: Sequence[HeatmapState], cells: PreparedCells) -> np.ndarray:
    """Which parent has the say about each cell.

    Returns
    -------
    ndarray of int32
        (n_cells,) place of the parent; -1 for cells of none.

    Raises
    ------
    InputError
        Parents of which neither is finer share cells; all pairs, with their counts.
    """
    rows = [cells.check_of(one) for one in parents]
    finer = {
        (k, j)
        for k, one in enumerate(parents)
        for j, other in enumerate(parents)
        if k != j and is_finer(one, other)
    }
    owner = np.full(len(cells), -1, np.int32)
    clashes: dict[tuple[int, int], int] = {}
    # Coarser ones first: each finer one then takes its cells from them.
    for k in sorted(range(len(parents)), key=lambda k: (sum(pair[0] == k for pair in finer), k)):
        mine = rows[k] >= 0
        for j in np.unique(owner[mine]).tolist():
            if j >= 0 and (k, j) not in finer:
                clashes[min(j, k), max(j, k)] = int((mine & (owner == j)).sum())
        owner[mine] = k
    if clashes:
        raise InputError(
            [
                Finding(
                    what=f"{_called(parents[j])} and {_called(parents[k])} share {count:,} cells, "
                    "and neither was made from a subset of the other",
                    where="merge",
                    expected="finals of different cells",
                    found=f"{int((rows[j] >= 0).sum()):,} and {int((rows[k] >= 0).sum()):,} cells",
                    next="Leave one of them out, or narrow the subset of one.",
                )
                for (j, k), count in sorted(clashes.items())
            ]
        )
    return owner


def merge(
    parents: Sequence[HeatmapState],
    cells: PreparedCells,
    choice: MergeChoice,
    heatmap: HeatmapSettings,
    *,
    about: About = NOBODY,
) -> HeatmapState:
    """Put several checkpoints of the same cells together.

    Clusters are called ``branch.cluster_001`` after the branch they come from. A metacluster keeps its
    name; its colour, too, unless another one has it. Metaclusters of one name become one, unless the choice
    says otherwise.

    Raises
    ------
    InputError
        No parent, one of them twice, other cells, or cells that two of them share.
    """
    if not parents or len({one.id for one in parents}) < len(parents):
        found = ", ".join(one.id[:8] for one in parents) or "none"
        raise InputError("a merge needs different checkpoints", where="merge", found=found)
    owner = owners(parents, cells)
    branches = _branches(parents)
    row = np.full(len(cells), -1, np.int64)
    ids: list[str] = []
    of: list[tuple[int, int]] = []
    for k, parent in enumerate(parents):
        mine = owner == k
        row[mine] = len(ids) + cells.check_of(parent)[mine]
        ids += [f"{branches[k]}.{name}" for name in parent.cluster_ids]
        of += [(k, own) for own in range(parent.n_clusters)]
    with_cells = set(np.unique(row[row >= 0]).tolist())
    numbers, names, colours = _metaclusters(
        parents, branches, choice, [of[one] for one in sorted(with_cells)]
    )
    label = np.array([numbers.get((k, int(parents[k].label[own])), 0) for k, own in of])
    choices = {"merge": choice.as_json()}
    training = [one for one in cells.markers if any(one in parent.training_markers for parent in parents)]
    return heat_map(
        cells,
        row,
        ids,
        np.maximum(label, 0),
        heatmap,
        training=training,
        of_cluster={
            "revision": np.where(label == UNASSIGNED, UNASSIGNED, NOT_REVISED),
            **{
                name: _column(parents, of, name)
                for name in ("subset_lineage", "subset_mixed", "subset_cohort")
            },
        },
        names=names,
        colours=colours,
        obs={},
        parameters={
            "heatmap": heatmap.as_json(),
            "transform": cells.transform.as_json(),
            "choices": choices,
            "merged": [
                {"id": one.id, "branch": branch, "n_cells": int((owner == k).sum())}
                for k, (one, branch) in enumerate(zip(parents, branches, strict=True))
            ],
            "data_set": about.data_set,
            "branch": about.branch,
        },
        **ancestry(MERGED, about, cells, parents, {**choices, "heatmap": heatmap.as_json()}),
    )


def _called(state: HeatmapState) -> str:
    branch = str(state.parameters.get("branch") or "")
    return f"{branch} ({state.step_id})" if branch else f"{state.step_id} {state.id[:8]}"


def _branches(parents: Sequence[HeatmapState]) -> list[str]:
    """A name for each parent: its branch's, or, where that is not its own, with its identifier."""
    names = [str(one.parameters.get("branch") or one.id[:8]) for one in parents]
    return [
        name if names.count(name) == 1 else f"{name}-{one.id[:8]}"
        for name, one in zip(names, parents, strict=True)
    ]


def _metaclusters(
    parents: Sequence[HeatmapState],
    branches: Sequence[str],
    choice: MergeChoice,
    clusters: Sequence[tuple[int, int]],
) -> tuple[dict[tuple[int, int], int], dict[int, str], dict[int, str]]:
    """Numbers of the metaclusters of the union, by (parent, number there); their names and colours."""
    wanted = list(dict.fromkeys((k, int(parents[k].label[own])) for k, own in clusters))
    numbers: dict[tuple[int, int], int] = {}
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    by_name: dict[str, int] = {}
    for k, label in sorted(wanted):
        if label == UNASSIGNED:
            numbers[k, label] = UNASSIGNED
            continue
        own = parents[k].names.get(label, "")
        name = own or f"{branches[k]} {label}"
        if name in by_name and choice.same_names == "join" and own:
            numbers[k, label] = by_name[name]
            continue
        if name in by_name:
            name = _free(f"{branches[k]} {name}", by_name)
        number = len(by_name)
        numbers[k, label], by_name[name], names[number] = number, number, name
        colour = parents[k].colours.get(label)
        if colour and colour not in colours.values():
            colours[number] = colour
    return numbers, names, colours


def _free(name: str, taken: Mapping[str, int]) -> str:
    number = 2
    while name in taken:
        name, number = f"{re.sub(r' [(][0-9]+[)]$', '', name)} ({number})", number + 1
    return name


def _column(
    parents: Sequence[HeatmapState], of: Sequence[tuple[int, int]], name: str
) -> list[str | None] | None:
    values = [getattr(parent, name) for parent in parents]
    if all(one is None for one in values):
        return None
    return [None if values[k] is None else values[k][own] for k, own in of]
