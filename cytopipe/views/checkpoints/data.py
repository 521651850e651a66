"""Checkpoints as what `browser.js` shows: plain JSON values.

A *node* is what the graph shows of a checkpoint, made from its document alone. A *section* is a titled table
or heat map beside the graph. Matrices travel as one byte per value, an index into a palette of 256 colours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cytopipe.heatmap.branches import Branches, Reference
    from cytopipe.heatmap.diff import StateDiff
    from cytopipe.heatmap.index import History
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["comparison_of", "detail_of", "node_of", "nodes_of", "palette"]

_SHOWN = 60
"""Rows of a long table, such as medians that moved."""
_MOST_CHARACTERS = 160
"""Of a value in a table; the file has all of it."""
_MOST_WORDS = 4000
"""Characters of a node that the search looks at."""


def palette() -> list[list[int]]:
    """(256, 3) red, green and blue of z-scores from low to high."""
    from cytopipe.heatmap.render import shade_colours

    return shade_colours().tolist()


def nodes_of(history: History, branches: Branches | None = None) -> list[dict[str, Any]]:
    """Every checkpoint of a folder, parents before children; those whose file was deleted, too.

    `branches`, what they are made by, tells those that were made again from those that were deleted.
    """
    from cytopipe.heatmap.history import replaced_in

    replaced = {} if branches is None else replaced_in(history, branches)
    nodes = []
    for one in history.ids:
        entry = history.by_id.get(one)
        nodes.append(node_of(entry.document, entry.path) if entry else _gone(history, one, replaced.get(one)))
    return nodes


def _gone(history: History, one: str, now: Reference | None) -> dict[str, Any]:
    """A checkpoint without a file: deleted, or made again, where `now` stands in its place."""
    word = "made again" if now else "deleted"
    title = f"{now} was made again since; what was made from this one is stale"
    title = title if now else "its file is gone; what was made from it remembers it"
    ghost = history.deleted[one]
    step = ghost.step_id.replace("_", " ") or "unknown step"
    return {
        "id": one,
        "parents": list(ghost.parents),
        "step": step,
        "branch": now.branch if now else "",
        "title": f"{step} ({word})",
        "said": ghost.description or one[:8],
        "file": "",
        "badges": [{"text": word, "title": title}],
        "words": f"{step} {ghost.description} {one} {word}".lower()[:_MOST_WORDS],
    }


def node_of(document: Mapping[str, Any], file: str = "") -> dict[str, Any]:
    """What the graph shows of a checkpoint.

    Parameters
    ----------
    document : mapping
        As `cytopipe.heatmap.artifact.document_of` gives it.
    file : str
        What a person calls it: its file, or branch and step.
    """
    from cytopipe.heatmap.render import thumbnail_of
    from cytopipe.heatmap.state import STEP_NUMBERS

    own, counts, view = document["checkpoint"], document["counts"], document["view"]
    number = STEP_NUMBERS.get(own["step_id"])
    # A manifest keeps the branch alone of the parameters.
    branch = str(document.get("branch") or document.get("parameters", {}).get("branch") or "")
    step = own["step_id"].replace("_", " ")
    said = own["description"] or own["created_at"] or own["id"][:8]
    cut, channels, subset = document["dendrogram_cut"], view["selected_channels"], document["subset"]
    size = f"{counts['n_clusters']} x {counts['n_markers']}"
    badges = [{"text": size, "title": f"{counts['n_clusters']} clusters x {counts['n_markers']} markers"}]
    if cut is not None:
        badges.append({"text": f"cut {cut:.3g}", "title": "height at which the tree is cut"})
    badges.append({"text": f"{len(channels)} ch", "title": f"channels: {', '.join(channels)[:500]}"})
    badges += [{"text": one, "title": f"subset: {one}", "mark": "added"} for one in subset["kinds"]]
    told = [branch, str(number or ""), step, file, own["description"], own["id"], own["created_at"]]
    told += [*channels, *subset["kinds"], subset["filters_expr"], *document["metaclusters"]["names"].values()]
    return {
        "id": own["id"],
        "parents": list(own["parents"]),
        "step": f"{number} {step}" if number else step,
        "branch": branch or file,
        "title": " ".join(filter(None, [branch, str(number) if number else "", step])),
        "said": said,
        "file": file,
        "badges": badges,
        "thumbnail": _map(thumbnail_of(document)),
        "words": " ".join(told).lower()[:_MOST_WORDS],
    }


def detail_of(state: HeatmapState) -> list[dict[str, Any]]:
    """Sections about one checkpoint: its heat map, its metaclusters, what it holds, how it was made."""
    rows = []
    for of in state.metaclusters:
        its = state.label == of
        cells = "" if state.n_cells is None else f"{int(state.n_cells[its].sum()):,}"
        rows.append([{"text": state.name_of(of), "colour": state.colour_of(of)}, f"{its.sum():,}", cells])
    facts = {
        "description": state.description,
        "identifier": state.id,
        "parents": ", ".join(state.parents) or "none",
        "saved": state.created_at or "by a run",
        "clusters x markers": f"{state.n_clusters} x {state.n_markers}",
        "cells": "" if state.n_cells_total is None else f"{state.n_cells_total:,}",
        "cut": "" if state.dendrogram_cut is None else f"{state.dendrogram_cut:.4g}",
        "channels": ", ".join(state.selected_channels),
        "filters": state.subset_filters_expr,
        "embeddings": ", ".join(state.embeddings),
    }
    sections = [
        {"title": "Heat map", "map": _heat_map(state)},
        {"title": "Metaclusters", "columns": ["name", "clusters", "cells"], "rows": rows},
        {"title": "Checkpoint", "rows": [[name, value] for name, value in facts.items() if value]},
        {"title": "Parameters", "rows": [list(one) for one in _flat(state.parameters)]},
        {"title": "FlowSOM", "rows": [list(one) for one in _flat(state.flowsom)]},
    ]
    return [one for one in sections if one.get("map") or one.get("rows")]


def comparison_of(before: HeatmapState, after: HeatmapState) -> list[dict[str, Any]]:
    """Sections about what differs between two checkpoints."""
    from cytopipe.heatmap.diff import diff_states

    found = diff_states(before, after)
    if not found:
        return [{"title": "Nothing differs", "note": found.relation_in_words}]
    return [{"title": "Cells", "note": found.relation_in_words}, *_differences(found)]


def _differences(found: StateDiff) -> Iterable[dict[str, Any]]:
    labels = found.labels
    if labels is not None and labels.n_cells:
        share = 100 * labels.moved / labels.n_cells
        note = f"{labels.moved:,} of {labels.n_cells:,} cells moved ({share:.1f} %)"
        if labels.agreement is not None:
            note += f"; adjusted Rand index {labels.agreement:.4f}"
        if labels.only_before or labels.only_after:
            note += f"; {labels.only_before:,} cells only before, {labels.only_after:,} only after"
        flows = [[one, other, f"{count:,}"] for one, other, count in labels.flows()]
        yield _table("Labels of cells", ["from", "to", "cells"], flows, note)
    changes = [[one.name, _short(one.before), _short(one.after)] for one in found.parameters]
    if changes:
        yield _table("Parameters", ["", "before", "after"], changes)
    marks = [
        [name, {"text": f"+ {one}", "mark": "added"}] for name, of in found.sets.items() for one in of.added
    ]
    marks += [
        [name, {"text": f"- {one}", "mark": "removed"}]
        for name, of in found.sets.items()
        for one in of.removed
    ]
    if marks:
        yield _table("Added and removed", None, sorted(marks, key=lambda one: one[0]))
    renamed = [[one.name, _short(one.before), _short(one.after)] for one in found.metaclusters]
    if renamed:
        yield _table("Names and colours", ["", "before", "after"], renamed)
    if found.orders:
        yield {"title": "Order", "note": f"{', '.join(found.orders)}: shown in another order"}
    if found.matrix is not None and found.matrix.n_changed:
        one = found.matrix
        rows = [
            ["values that differ", f"{one.n_changed:,} of {one.n_clusters * one.n_markers:,}"],
            ["mean difference", f"{one.mean:.4g}"],
            ["mean absolute difference", f"{one.mean_absolute:.4g}"],
            ["largest difference", f"{one.largest:.4g}"],
        ]
        if one.correlation is not None:
            rows.append(["correlation", f"{one.correlation:.4f}"])
        yield _table("z-scores of common clusters and markers", None, rows)
    shifts = [
        [
            one.cluster if one.cluster == one.now else f"{one.cluster} -> {one.now}",
            one.marker,
            f"{one.before:.4g}",
            f"{one.after:.4g}",
            f"{one.by:+.3g}",
        ]
        for one in found.shifts
    ]
    if shifts:
        title = f"{found.shifted.capitalize()}s that moved"
        yield _table(title, ["cluster", "marker", "before", "after", "by"], shifts)


def _table(
    title: str, columns: list[str] | None, rows: Sequence[list[Any]], note: str = ""
) -> dict[str, Any]:
    more = len(rows) - _SHOWN
    words = [note, f"the first {_SHOWN} of {len(rows):,} rows" if more > 0 else ""]
    return {
        "title": title,
        "columns": columns,
        "rows": list(rows[:_SHOWN]),
        "note": "; ".join(filter(None, words)),
    }


def _heat_map(state: HeatmapState) -> dict[str, Any]:
    """The matrix in the order and orientation that a person sees, with names, and colours of metaclusters."""
    from cytopipe.heatmap.artifact import shades
    from cytopipe.heatmap.state import CLUSTERS_BY_MARKERS

    shown = state.matrix[np.ix_(state.row_order, state.col_order)]
    z = shades(shown)
    label = state.label[state.row_order]
    clusters = [
        f"{state.cluster_ids[row]} ({state.name_of(of)})"
        for row, of in zip(state.row_order, label, strict=True)
    ]
    markers = [state.labels[column] for column in state.col_order]
    if state.orientation == CLUSTERS_BY_MARKERS:
        colours = [state.colour_of(of) for of in label]
        return {**_map(z), "row_names": clusters, "column_names": markers, "row_colours": colours}
    return {**_map(z.T), "row_names": markers, "column_names": clusters}


def _map(z: np.ndarray) -> dict[str, Any]:
    return {"rows": z.shape[0], "columns": z.shape[1], "z": base64.b64encode(z.tobytes()).decode()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted names and values in words of a nested mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _short(value)


def _short(value: object) -> str:
    """A value in words, cut where it is longer than a table can show."""
    words = _in_words(value)
    return words if len(words) <= _MOST_CHARACTERS else f"{words[:_MOST_CHARACTERS]} …"


def _in_words(value: object) -> str:
    """A JSON value as people write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_in_words(one)}" for name, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "none"
    return str(value)
