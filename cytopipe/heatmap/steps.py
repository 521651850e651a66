"""The steps of the workflow, as functions from a checkpoint and the cells to the next checkpoint.

Nothing is changed in place, and no clock is asked: the same parents, cells and choices give an equal state,
its identifier included. Every child has cells of its parent alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.heatmap.choices import Finalization, MixedChoice, Revision, SubsetChoice
from cytopipe.heatmap.colours import with_colours
from cytopipe.heatmap.linkage import cut, leaves, link
from cytopipe.heatmap.matrix import cluster_medians, z_scores
from cytopipe.heatmap.mixed import MIXED, is_mixed, mixed_clusters
from cytopipe.heatmap.parameters import FlowSOMSettings, HeatmapSettings
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.revision import revised
from cytopipe.heatmap.routes import CODE
from cytopipe.heatmap.state import (
    NOT_REVISED,
    STEPS,
    UNASSIGNED,
    HeatmapState,
    cluster_ids,
    id_of_recipe,
)
from cytopipe.heatmap.subset import cells_of_subset

__all__ = [
    "NOBODY",
    "RESOLVED",
    "About",
    "ancestry",
    "finalize",
    "heat_map",
    "identify_mixed",
    "initial_clustering",
    "recluster",
    "recluster_mixed",
    "require_cells",
    "revise",
    "subset_lineage",
]

RESOLVED = "resolved"
"""What `HeatmapState.subset_mixed` says of clusters that were made of the cells of mixed ones."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class About:
    """Whose checkpoint it is.

    Parameters
    ----------
    data_set, branch, description : str
    """

    data_set: str = ""
    branch: str = ""
    description: str = ""


NOBODY = About()
"""Where nothing is said."""


# ---------------------------------------------------------------------- clusters become a heat map


def ancestry(
    step: str, about: About, cells: PreparedCells, parents: Sequence[HeatmapState], choices: Mapping[str, Any]
) -> dict[str, Any]:
    """The identity of a new checkpoint: who made it from what, and nothing of when."""
    recipe = {
        "code": CODE,
        "step": step,
        "data_set": about.data_set,
        "branch": about.branch,
        "parents": [one.id for one in parents],
        "cells": cells.digest,
        "transform": cells.transform.as_json(),
        "choices": choices,
    }
    return {
        "id": id_of_recipe(json.dumps(recipe, sort_keys=True)),
        "parents": tuple(one.id for one in parents),
        "ancestors": parents[0].history_below(*parents[1:]) if parents else (),
        "step_id": step,
        "description": about.description,
        "created_at": "",
        "cells_digest": cells.digest,
    }


def heat_map(
    cells: PreparedCells,
    row: np.ndarray,
    ids: Sequence[str],
    metacluster: np.ndarray | None,
    settings: HeatmapSettings,
    *,
    training: Sequence[str],
    of_cluster: Mapping[str, Sequence | np.ndarray | None] | None = None,
    **fields: Any,
) -> HeatmapState:
    """The state of clusters: medians, z-scores, tree and orders, for those that have cells.

    Parameters
    ----------
    cells : PreparedCells
    row : ndarray of int
        (n_cells,) number of the cluster of each cell, from 0; -1 for none.
    ids : sequence of str
        (n,) identifier of each cluster.
    metacluster : ndarray of int, optional
        (n,); none: the tree is cut where the settings say.
    settings : HeatmapSettings
    training : sequence of str
        The markers by which the clusters were found; the tree is built from them, too, where the settings
        name no others.
    of_cluster : mapping of str to sequence
        More fields of the state that have (n,) values; a cluster without cells takes its own away.
    **fields
        All other fields of the state.
    """
    found = cluster_medians(cells.values, row)
    kept = found.clusters.astype(np.int64)
    matrix = z_scores(found.median, across=settings.across)
    linked = cells.table.require_markers(settings.linkage_markers or training)
    tree = link(matrix[:, linked], settings.method, settings.metric)
    by_tree = settings.marker_order == "tree"
    col_tree = link(matrix.T, settings.method, settings.metric) if by_tree else None
    label = np.asarray(metacluster)[kept] if metacluster is not None else cut(tree, settings.cut)
    own = {
        name: [values[one] for one in kept] if isinstance(values, tuple | list) else np.asarray(values)[kept]
        for name, values in (of_cluster or {}).items()
        if values is not None
    }
    fields.setdefault("colours", {})
    shown = own.get("revision")
    seen = label if shown is None else np.where(shown == NOT_REVISED, label, shown)
    return HeatmapState(
        cluster_ids=[ids[one] for one in kept],
        markers=cells.markers,
        channels=cells.table.channels,
        training_markers=training,
        linkage_markers=[cells.markers[one] for one in linked],
        matrix=matrix,
        median=found.median,
        n_cells=found.n_cells,
        metacluster=label,
        row_order=leaves(tree),
        col_order=leaves(col_tree) if col_tree is not None else None,
        linkage=tree,
        col_linkage=col_tree,
        dendrogram_cut=settings.cut if metacluster is None else None,
        cell_cluster=found.row,
        **own,
        **{**fields, "colours": with_colours(fields["colours"], seen)},
    )


# ---------------------------------------------------------------------- the steps


def initial_clustering(
    cells: PreparedCells,
    flowsom: FlowSOMSettings,
    heatmap: HeatmapSettings,
    *,
    markers: Sequence[str] | None = None,
    about: About = NOBODY,
    progress: Progress | None = None,
) -> HeatmapState:
    """Step 1: all cells clustered.

    Parameters
    ----------
    cells : PreparedCells
    flowsom : FlowSOMSettings
    heatmap : HeatmapSettings
    markers : sequence of str, optional
        By which they are clustered; all by default. The others are shown alone.
    about : About
    progress : callable, optional
        ``progress(what, done, total)``

    Raises
    ------
    InputError
        Unknown markers, too few cells, values that cannot be clustered.
    """
    everyone = np.ones(len(cells), bool)
    return _clustered(STEPS[1], cells, everyone, (), flowsom, heatmap, markers, about, progress, {})


def revise(
    parent: HeatmapState,
    cells: PreparedCells,
    revision: Revision,
    *,
    step: int = 2,
    about: About = NOBODY,
) -> HeatmapState:
    """Step 2, and 8 in a lineage: metaclusters renamed, merged, joined by clusters."""
    cells.check_of(parent)
    choices = {"revise": revision.as_json()}
    return _said(parent, cells, STEPS[step], choices, about, revised(parent, revision))


def identify_mixed(
    parent: HeatmapState, cells: PreparedCells, choice: MixedChoice, *, about: About = NOBODY
) -> HeatmapState:
    """Step 3: which clusters hold cells of several kinds; the reasons stand in `parameters["mixed"]`."""
    cells.check_of(parent)
    why = mixed_clusters(parent, choice)
    marks = [MIXED if one in why else None for one in parent.cluster_ids]
    choices = {"mixed": choice.as_json()}
    changes = {"subset_mixed": marks, "parameters": {**parent.parameters, "mixed": why}}
    return _said(parent, cells, STEPS[3], choices, about, changes)


def finalize(
    parent: HeatmapState,
    cells: PreparedCells,
    choice: Finalization,
    *,
    step: int = 5,
    revision: Revision | None = None,
    about: About = NOBODY,
) -> HeatmapState:
    """Steps 5, 9 and 11: the result of a branch.

    Parameters
    ----------
    parent : HeatmapState
    cells : PreparedCells
    choice : Finalization
    step : {5, 9, 11}
    revision : Revision, optional
        Of metaclusters, before; for a mixed branch, which has no step of its own for that.
    about : About

    Raises
    ------
    InputError
        Metaclusters without names, or clusters without a metacluster, where the choice refuses them.
    """
    cells.check_of(parent)
    changes = dict(revised(parent, revision)) if revision is not None else {}
    state = parent.replace(**changes)
    findings = []
    unnamed = [one for one in state.metaclusters if one != UNASSIGNED and not state.names.get(one)]
    if choice.require_names and unnamed:
        findings.append(
            Finding(
                what=f"metaclusters without a name: {', '.join(map(str, unnamed))}",
                where="finalize.require_names",
                next="Name them in the step that revises metaclusters.",
            )
        )
    lost = [name for name, one in zip(state.cluster_ids, state.label, strict=True) if one == UNASSIGNED]
    if not choice.allow_unassigned and lost:
        findings.append(
            Finding(
                what=f"clusters without a metacluster: {', '.join(lost[:20])}",
                where="finalize.allow_unassigned",
                next="Move them to a metacluster in the step that revises metaclusters.",
            )
        )
    if findings:
        raise InputError(findings)
    choices = {"finalize": choice.as_json()}
    if revision is not None:
        choices["revise"] = revision.as_json()
    return _said(parent, cells, STEPS[step], choices, about, changes)


def subset_lineage(
    parent: HeatmapState,
    cells: PreparedCells,
    choice: SubsetChoice,
    heatmap: HeatmapSettings,
    *,
    about: About = NOBODY,
) -> HeatmapState:
    """Step 6: the cells of a lineage, in the clusters of the parent; z-scores and tree are those of the
    subset.
    """
    keep = cells_of_subset(parent, cells, choice)
    row = np.where(keep, cells.check_of(parent), -1)
    name = choice.name or about.branch or "lineage"
    choices = {"subset": choice.as_json()}
    gates = {marker: gate.as_json() for marker, gate in choice.gates.items()}
    return heat_map(
        cells,
        row,
        parent.cluster_ids,
        parent.metacluster,
        heatmap,
        training=parent.training_markers,
        of_cluster={
            "revision": parent.revision,
            "subset_lineage": [name] * parent.n_clusters,
            "subset_mixed": parent.subset_mixed,
            "subset_cohort": parent.subset_cohort,
        },
        names=parent.names,
        colours=parent.colours,
        flowsom=parent.flowsom,
        subset_filters=(*parent.subset_filters, *choice.filters()),
        subset_filters_expr=" and ".join(filter(None, [parent.subset_filters_expr, choice.expression()])),
        parameters=_parameters(parent, cells, heatmap, choices, about, gates=gates),
        **ancestry(STEPS[6], about, cells, [parent], {**choices, "heatmap": heatmap.as_json()}),
    )


def recluster(
    parent: HeatmapState,
    cells: PreparedCells,
    flowsom: FlowSOMSettings,
    heatmap: HeatmapSettings,
    *,
    markers: Sequence[str] | None = None,
    about: About = NOBODY,
    progress: Progress | None = None,
) -> HeatmapState:
    """Step 7: the cells of a lineage clustered anew; parameters as `initial_clustering`."""
    keep = cells.check_of(parent) >= 0
    lineage = next((one for one in parent.subset_lineage or () if one is not None), None)
    of_cluster = {"subset_lineage": lineage}
    return _clustered(STEPS[7], cells, keep, [parent], flowsom, heatmap, markers, about, progress, of_cluster)


def recluster_mixed(
    parent: HeatmapState,
    cells: PreparedCells,
    flowsom: FlowSOMSettings,
    heatmap: HeatmapSettings,
    *,
    markers: Sequence[str] | None = None,
    about: About = NOBODY,
    progress: Progress | None = None,
) -> HeatmapState:
    """Step 10: the cells of the mixed clusters clustered anew; parameters as `initial_clustering`.

    Raises
    ------
    InputError
        No cluster of the parent is mixed.
    """
    mixed = is_mixed(parent)
    if not mixed.any():
        raise InputError(
            "no cluster is marked as mixed",
            where=f"checkpoint {parent.id[:8]} of {parent.step_id}",
            next="Name clusters or rules in step 3 (mixed:), or leave this branch out.",
        )
    row = cells.check_of(parent)
    keep = (row >= 0) & np.append(mixed, False)[row]
    return _clustered(
        STEPS[10],
        cells,
        keep,
        [parent],
        flowsom,
        heatmap,
        markers,
        about,
        progress,
        {"subset_mixed": RESOLVED},
    )


# ---------------------------------------------------------------------- what they have in common


def _said(
    parent: HeatmapState,
    cells: PreparedCells,
    step: str,
    choices: Mapping[str, Any],
    about: About,
    changes: Mapping[str, Any],
) -> HeatmapState:
    """A child with the cells and clusters of its parent, of which other things are said."""
    parameters = {**changes.get("parameters", parent.parameters), "choices": choices, **_of_branch(about)}
    return parent.replace(
        **{**changes, "parameters": parameters, **ancestry(step, about, cells, [parent], choices)}
    )


def _clustered(
    step: str,
    cells: PreparedCells,
    keep: np.ndarray,
    parents: Sequence[HeatmapState],
    flowsom: FlowSOMSettings,
    heatmap: HeatmapSettings,
    markers: Sequence[str] | None,
    about: About,
    progress: Progress | None,
    said: Mapping[str, str | None],
) -> HeatmapState:
    """Some cells clustered by FlowSOM."""
    from cytopipe.heatmap.flowsom import cluster_cells

    training = cells.table.select(list(markers)).markers if markers is not None else cells.markers
    columns = [cells.markers.index(one) for one in training]
    everything = keep.all() and len(columns) == len(cells.markers)
    values = cells.values if everything else np.ascontiguousarray(cells.values[keep][:, columns])
    require_cells(len(values), flowsom, of_subset=bool(parents))

    def tell(done: int, total: int) -> None:
        progress("cells clustered", done, total)

    found = cluster_cells(values, flowsom, progress=tell if progress else None)
    row = np.full(len(cells), -1, np.int32)
    row[keep] = found.node
    n_nodes = len(found.codes)
    kept = {name: value for name, value in said.items() if value is not None}
    filters = [(one.subset_filters, one.subset_filters_expr) for one in parents]
    choices = {"flowsom": flowsom.as_json(), "markers": list(training)}
    return heat_map(
        cells,
        row,
        cluster_ids(n_nodes),
        found.metacluster if heatmap.cut is None else None,
        heatmap,
        training=training,
        of_cluster={name: [value] * n_nodes for name, value in kept.items()},
        subset_filters=filters[0][0] if filters else (),
        subset_filters_expr=filters[0][1] if filters else "",
        flowsom={
            "seed": flowsom.seed,
            "grid": [flowsom.x_dim, flowsom.y_dim],
            "n_metaclusters": flowsom.n_metaclusters,
            "algorithm_ver": CODE,
            "weights_hash": hashlib.sha256(np.ascontiguousarray(found.codes)).hexdigest(),
            "params": flowsom.as_json(),
            "quality": {name: float(value) for name, value in found.quality.items()},
            "mst": found.mst.tolist(),
        },
        parameters=_parameters(parents[0] if parents else None, cells, heatmap, choices, about),
        **ancestry(step, about, cells, parents, {**choices, "heatmap": heatmap.as_json(), **kept}),
    )


def require_cells(n_cells: int, flowsom: FlowSOMSettings, *, of_subset: bool = False) -> None:
    """Refuse fewer cells than the map has nodes, with an InputError."""
    n_nodes = flowsom.x_dim * flowsom.y_dim
    if n_cells < n_nodes:
        whole = "the subset has" if of_subset else "the data set has"
        side = max(int(np.sqrt(n_cells / 10)), 1)
        raise InputError(
            f"{whole} fewer cells than the map has nodes",
            where="flowsom",
            expected=f"at least {flowsom.x_dim} x {flowsom.y_dim} = {n_nodes} cells",
            found=f"{n_cells:,}",
            next=f"Choose a smaller map: x_dim: {side}, y_dim: {side}, n_metaclusters: {min(side, 5)}.",
        )


def _parameters(
    parent: HeatmapState | None,
    cells: PreparedCells,
    heatmap: HeatmapSettings,
    choices: Mapping[str, Any],
    about: About,
    **more: Any,
) -> dict[str, Any]:
    gates = dict(parent.parameters.get("gates", {})) if parent is not None else {}
    return {
        "heatmap": heatmap.as_json(),
        "transform": cells.transform.as_json(),
        "choices": dict(choices),
        "gates": {**gates, **more.pop("gates", {})},
        **more,
        **_of_branch(about),
    }


def _of_branch(about: About) -> dict[str, str]:
    return {"data_set": about.data_set, "branch": about.branch}
