"""Cells to heat maps that people revise: the steps of the workflow as a graph of checkpoints.

    cell_files -> cells -> step_01 -> step_02 -> step_03 -> step_05 ----------------> merged
                              \\          \\         \\-> step_10 -> step_11 ---------/
                               \\---------\\--------> step_06 -> step_07 -> step_08 -> step_09

A partition of a step is a branch that has it (``patients.t_cells``). A step is made from the branch's step
before, or from the checkpoint at which the branch begins; always one with a smaller number. What a person
has to choose and has not chosen holds the step, and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import (
    Artifact,
    Check,
    Described,
    Graph,
    Nothing,
    Source,
    Work,
    artifact,
    asking_for,
)
from cytopipe.defs.heatmap_checks import (
    CELLS_USABLE,
    LABELS_COVER,
    ONE_ROW_PER_CELL,
    PARENTS_FIRST,
    cells_as_the_parents,
)
from cytopipe.defs.heatmap_sources import (
    CLUSTERING,
    DATA_SETS,
    DISPLAY,
    FINALIZATION,
    FINALS,
    MERGES,
    MERGING,
    MIXED,
    REVISION,
    SOURCES,
    STEPS,
    SUBSET,
    TRANSFORM,
)
from cytopipe.defs.heatmap_values import cells_in, state_in
from cytopipe.defs.overview import overview_of
from cytopipe.heatmap.routes import CODE as _CODE
from cytopipe.heatmap.routes import FINALS as _FINAL_STEPS
from cytopipe.heatmap.routes import PARENTS_OF_STEP
from cytopipe.heatmap.state import STEPS as NAMES
from cytopipe.heatmap.state import step_file
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from cytopipe.heatmap.state import HeatmapState
    from cytopipe.project.heatmap.entry import BranchPart, CellData

__all__ = ["HEATMAP", "asset_of_step"]

_PARENTS: Mapping[int, tuple[int, ...]] = {**PARENTS_OF_STEP, 0: _FINAL_STEPS}
"""From which steps a step is made; 0 is the merge."""

_CHOSEN_IN = (2, 3, 6, 8)
"""Steps that wait until a person has chosen."""


def asset_of_step(step: int) -> str:
    """``heatmap/step_06_subset_lineage``; of step 0, the merge."""
    return f"heatmap/{step_file(step)}"


# ---------------------------------------------------------------------- cells


@artifact(
    "heatmap/cells",
    FORMATS["h5ad"],
    by=DATA_SETS,
    version="1",
    place="heatmap/{key}/cells.h5ad",
    checks=(CELLS_USABLE,),
    minutes="0.1 per million cells",
)
def cells(data: DataSet, cell_files: list[Path], reading: CellData, work: Work) -> Described:
    """The cells of all files of a data set in one table, as measured.

    X has one row per cell and one column per marker, after compensation where the files have one, before any
    transform. `obs` has what else the files know of a cell: sample, field of view, position.
    """
    from cytopipe.heatmap.stored_cells import as_anndata

    work.progress("files read", 0, len(cell_files))
    table = reading.read(cell_files)
    counts = {"n_cells": len(table), "n_dropped": table.n_dropped, "n_markers": len(table.markers)}
    return Described(as_anndata(table), counts=counts, notes={"markers": ", ".join(table.markers)})


# ---------------------------------------------------------------------- steps


def _step(step: int, told: str, *chosen: Source) -> Artifact:
    """The artifact of one step.

    Its inputs are the cells, the transform, what a person chose, and the possible parents: mappings of which
    one holds the one parent.
    """
    parents = {f"step_{number:02d}": number for number in _PARENTS[step]}
    inputs = {
        "cells": "heatmap/cells",
        "transform": TRANSFORM.asset,
        "display": DISPLAY.asset,
        **{one.asset.split("/")[1]: one.asset for one in chosen},
        **{name: asset_of_step(number) for name, number in parents.items()},
    }

    def made(data: DataSet, *, cells: Handle, work: Work, **given: Any) -> Described:
        return _made(step, data, cells, [given[name] for name in parents], work)

    made.__doc__ = told
    hints = {name: "Mapping[str, Handle]" if name in parents else "Any" for name in inputs}
    checks = [LABELS_COVER, *([cells_as_the_parents(step, tuple(parents))] if parents else [])]
    return artifact(
        asset_of_step(step),
        FORMATS["checkpoint"],
        by=STEPS[step] if step else MERGES,
        version=_CODE,
        place=f"heatmap/{{data_set}}/{{branch}}/{step_file(step)}.h5ad",
        inputs=inputs,
        chosen={name: _parents_of(step, number) for name, number in parents.items()},
        checks=checks,
        held=(lambda data: data.entry.to_choose(step)) if step in _CHOSEN_IN else None,
        minutes="0.2 per million cells" if step in (1, 7, 10) else "",
    )(asking_for(made, hints))


def _parents_of(step: int, number: int) -> Callable[[DataSet], Sequence[str]]:
    return lambda data: data.entry.parents_of_step(step, number)


def _made(
    step: int, data: DataSet, cells: Handle, parents: Sequence[Mapping[str, Handle]], work: Work
) -> Described:
    from cytopipe.heatmap.making import has_nothing, make_checkpoint
    from cytopipe.heatmap.steps import About

    part: BranchPart = data.entry
    states = _in_order(part, step, parents)
    if parents and not states:
        return Described(Nothing("what it is made from is empty"))
    if nothing := has_nothing(step, states):
        return Described(Nothing(nothing))
    state = make_checkpoint(
        step,
        part.branch,
        part.settings,
        states,
        cells_in(cells, part.settings.transform),
        about=About(part.data_set, part.name, part.branch.description),
        progress=work.progress,
    )
    return _described(state)


def _in_order(part: BranchPart, step: int, parents: Sequence[Mapping[str, Handle]]) -> list[HeatmapState]:
    """The parents as states, in the order in which the branch names them."""
    found = {
        (number, key): handle
        for number, some in zip(_PARENTS[step], parents, strict=True)
        for key, handle in some.items()
    }
    wanted = [(one.step, f"{part.data_set}.{one.branch}") for one in part.parents(step)] if found else []
    return [state_in(found[one]) for one in wanted if one in found]


def _described(state: HeatmapState) -> Described:
    from cytopipe.heatmap.render import render_heatmap

    names: Counter[str] = Counter()  # two metaclusters of one name are told as one population
    for one in state.metaclusters:
        names[state.name_of(one)] += int(state.n_cells[state.label == one].sum())
    notes: dict[str, object] = {
        "checkpoint": state.id,
        "parents": list(state.parents),
        "metaclusters": dict(names),
    }
    if state.subset_filters_expr:
        notes["subset"] = state.subset_filters_expr
    if state.flowsom and state.step_id in (NAMES[1], NAMES[7], NAMES[10]):
        notes["quality"] = state.flowsom.get("quality", {})
    if mixed := state.parameters.get("mixed"):
        notes["mixed"] = mixed
    counts = {
        "n_cells": state.n_cells_total,
        "n_clusters": state.n_clusters,
        "n_metaclusters": state.n_metaclusters,
    }
    return Described(state, counts=counts, notes=notes, picture=render_heatmap(state))


step_01 = _step(
    1,
    """Step 1: all cells of a data set clustered by FlowSOM, and the heat map of the clusters.

    A self-organising map gives every cell a cluster, a consensus over its nodes gives every cluster a
    metacluster. X holds z-scores of the medians of each cluster, layers["median"] the medians.
    """,
    CLUSTERING,
)
step_02 = _step(
    2,
    """Step 2: metaclusters as a person revised them: merged, renamed, joined by other clusters, coloured.

    Held until the branch says `revise:` in the project file (`{}` keeps them as they are), or until
    somebody saves a checkpoint in its place or materializes it alone.
    """,
    REVISION,
)
step_03 = _step(
    3,
    """Step 3: which clusters hold cells of several kinds, by a list or by rules.

    Held until the branch says `mixed:` (`{}` for none).
    """,
    MIXED,
)
step_05 = _step(
    5,
    """Step 5: the result of a main branch; the metaclusters with their names.""",
    FINALIZATION,
)
step_06 = _step(
    6,
    """Step 6: the cells of a lineage: of some metaclusters or clusters, within gates, by an expression.

    Z-scores and tree are those of the subset. Held until the branch says `subset:`.
    """,
    SUBSET,
)
step_07 = _step(
    7,
    """Step 7: the cells of a lineage clustered anew, with settings and markers of their own.""",
    CLUSTERING,
)
step_08 = _step(
    8,
    """Step 8: metaclusters of a lineage as a person revised them.

    Held until the branch says `revise:` (`{}` keeps them as they are).
    """,
    REVISION,
)
step_09 = _step(
    9,
    """Step 9: the result of a lineage.""",
    FINALIZATION,
)
step_10 = _step(
    10,
    """Step 10: the cells of the mixed clusters clustered anew. Where no cluster is mixed, there is nothing
    to make.""",
    CLUSTERING,
)
step_11 = _step(
    11,
    """Step 11: the result of a mixed branch, after the revision that the branch says, if any.""",
    REVISION,
    FINALIZATION,
)
merged = _step(
    0,
    """Finals put together: the union of their cells, where the finer one wins.

    A lineage is finer than the final of the branch at which it began. Finals that share cells, none of
    which is finer, are refused with the counts. Clusters are called after their branch:
    `t_cells.cluster_004`.
    """,
    MERGING,
)

_STEPS = (step_01, step_02, step_03, step_05, step_06, step_07, step_08, step_09, step_10, step_11)

# ---------------------------------------------------------------------- tables


def _final_of(number: int) -> Callable[[DataSet], Sequence[str]]:
    return lambda data: [data.key] if data.entry.final.step == number else []


@artifact(
    "heatmap/cells_labelled",
    FORMATS["parquet"],
    by=FINALS,
    version="1",
    place="heatmap/{data_set}/{branch}/cells.parquet",
    chosen={f"step_{number:02d}": _final_of(number) for number in _FINAL_STEPS} | {"merged": _final_of(0)},
    inputs={f"step_{number:02d}": asset_of_step(number) for number in _FINAL_STEPS},
    checks=(ONE_ROW_PER_CELL,),
)
def cells_labelled(
    data: DataSet,
    cells: Handle,
    step_05: Mapping[str, Handle],
    step_09: Mapping[str, Handle],
    step_11: Mapping[str, Handle],
    merged: Mapping[str, Handle],
) -> Described:
    """One row per cell of a final: where it was measured, its cluster, metacluster and name.

    Columns: cell (its row in heatmap/cells), everything that is known of it, cluster, metacluster (number),
    name, lineage, mixed.
    """
    from cytopipe.heatmap.labelled import label_cells

    final = next((one for some in (step_05, step_09, step_11, merged) for one in some.values()), None)
    if final is None:
        return Described(Nothing("the branch is empty"))
    table = label_cells(state_in(final), cells_in(cells, data.entry.settings.transform).table)
    counts = {"n_cells": len(table), "n_names": int(table["name"].nunique())}
    shown = {str(name): int(count) for name, count in table["name"].value_counts().head(50).items()}
    return Described(table, counts=counts, notes={"cells_per_name": shown})


def _of_all_checkpoints(asset: str, format: str, place: str, *checks: Check) -> Callable[..., Artifact]:
    """Declares an artifact of a data set that is made from all of its checkpoints."""
    inputs = {f"step_{number:02d}": asset_of_step(number) for number in NAMES if number != 4}
    inputs["merged"] = asset_of_step(0)

    def declared(make: Callable[..., Described]) -> Artifact:
        return artifact(
            asset,
            FORMATS[format],
            by=DATA_SETS,
            version="1",
            place=place,
            checks=checks,
            inputs=inputs,
            optional=tuple(inputs),
        )(asking_for(make, dict.fromkeys(inputs, "Mapping[str, Handle]")))

    return declared


@_of_all_checkpoints("heatmap/history", "tsv", "heatmap/{key}/history.tsv", PARENTS_FIRST)
def history(data: DataSet, **made: Mapping[str, Handle]) -> Described:
    """All checkpoints of a data set: from what each was made, and what it holds.

    One row per checkpoint: branch, step, identifier, parents, cells, clusters, metaclusters, description; the
    picture shows them as a graph.
    """
    from cytopipe.heatmap.format import read_document
    from cytopipe.heatmap.history import draw_history, history_table, of_document

    known = [of_document(read_document(one.path)) for some in made.values() for one in some.values()]
    table = history_table(known)
    return Described(table, counts={"n_checkpoints": len(table)}, picture=draw_history(known))


@_of_all_checkpoints("heatmap/browser", "html", "heatmap/{key}/history.html")
def browser(data: DataSet, **made: Mapping[str, Handle]) -> Described:
    """The checkpoints of a data set as a page to look through: graph, heat maps, details, comparisons.

    One file that needs no server and no network; press `open` below.
    """
    from cytopipe.heatmap.artifact import document_of
    from cytopipe.heatmap.history import in_order, of_document
    from cytopipe.views import history_page

    states = {one.id: one for some in made.values() for handle in some.values() for one in [state_in(handle)]}
    ordered = in_order(of_document(document_of(one)) for one in states.values())
    page = history_page([states[one.checkpoint] for one in ordered], title=data.key)
    return Described(page, counts={"n_checkpoints": len(states)})


HEATMAP = Graph(
    *SOURCES, cells, *_STEPS, merged, cells_labelled, history, browser, overview_of("heatmap/cells_labelled")
)
