"""Checkpoints as what `browser.js` shows: plain JSON values.

A *node* is what the graph shows of a checkpoint without its matrix, a *section* is a titled table or heat map
beside it. Matrices travel as one byte per value, an index into a palette of 256 colours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["THUMBNAIL_CELLS", "detail_of", "heat_map_of", "palette", "thumbnail_of"]

THUMBNAIL_CELLS = (40, 24)
"""Rows and columns of a thumbnail at most; larger maps are shown by the mean of neighbouring cells."""
_Z_LIMIT = 3.0
"""z-scores from here on have the last colour."""


def palette() -> list[list[int]]:
    """(256, 3) red, green and blue of z-scores from low to high."""
    from matplotlib import colormaps

    return [[round(255 * part) for part in colour[:3]] for colour in colormaps["RdBu_r"](np.arange(256)).tolist()]


def heat_map_of(state: HeatmapState) -> dict[str, Any]:
    """The matrix in the order and orientation that a person sees, with names and colours of metaclusters."""
    from cytopipe.heatmap.state import CLUSTERS_BY_MARKERS

    rows, columns = state.row_order, state.col_order
    shown = _bytes_of(state.matrix[np.ix_(rows, columns)])
    label = state.label[rows]
    clusters = [f"{state.cluster_ids[row]} ({state.name_of(of)})" for row, of in zip(rows, label, strict=True)]
    markers = [state.labels[column] for column in columns]
    if state.orientation == CLUSTERS_BY_MARKERS:
        colours = [state.colour_of(of) for of in label]
        return {**_map(shown), "row_names": clusters, "column_names": markers, "row_colours": colours}
    return {**_map(shown.T), "row_names": markers, "column_names": clusters}


def thumbnail_of(state: HeatmapState) -> dict[str, Any]:
    """The matrix as it is shown, made small: at most `THUMBNAIL_CELLS`."""
    from cytopipe.heatmap.state import CLUSTERS_BY_MARKERS

    shown = state.matrix[np.ix_(state.row_order, state.col_order)]
    if state.orientation != CLUSTERS_BY_MARKERS:
        shown = shown.T
    for axis, limit in enumerate(THUMBNAIL_CELLS):
        if shown.shape[axis] > limit:
            starts = np.arange(limit) * shown.shape[axis] // limit
            counts = np.diff(np.append(starts, shown.shape[axis]))
            sums = np.add.reduceat(shown, starts, axis=axis)
            shown = sums / (counts[:, None] if axis == 0 else counts[None, :])
    return _map(_bytes_of(shown))


def detail_of(state: HeatmapState) -> list[dict[str, Any]]:
    """Sections about one checkpoint: its heat map, metaclusters, what it holds, how it was made."""
    labels, counts = np.unique(state.label, return_counts=True)
    metaclusters = []
    for of, count in zip(labels.tolist(), counts.tolist(), strict=True):
        cells = "" if state.n_cells is None else f"{int(state.n_cells[state.label == of].sum()):,}"
        metaclusters.append([{"text": state.name_of(of), "colour": state.colour_of(of)}, str(count), cells])
    facts = [
        ("description", state.description),
        ("identifier", state.id),
        ("parents", ", ".join(state.parents) or "none"),
        ("saved", state.created_at or "by a run"),
        ("clusters x markers", f"{state.n_clusters} x {state.n_markers}"),
        ("cells", "" if state.n_cells is None else f"{int(state.n_cells.sum()):,}"),
        ("cut", "" if state.dendrogram_cut is None else f"{state.dendrogram_cut:.4g}"),
        ("channels", ", ".join(state.selected_channels)),
        ("filters", state.subset_filters_expr),
        ("embeddings", ", ".join(state.embeddings)),
    ]
    return [
        {"title": "Heat map", "map": heat_map_of(state)},
        {"title": "Metaclusters", "columns": ["name", "clusters", "cells"], "rows": metaclusters},
        {"title": "Checkpoint", "rows": [list(fact) for fact in facts if fact[1]]},
        {"title": "Parameters", "rows": [list(one) for one in flat(state.parameters)]},
        {"title": "FlowSOM", "rows": [list(one) for one in flat(state.flowsom)]},
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Names with dots and values in words of a nested mapping."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", in_words(value)


def in_words(value: object) -> str:
    """A JSON value as people write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {in_words(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(in_words(one) for one in value)
    return {None: "", True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def _bytes_of(z: np.ndarray) -> np.ndarray:
    return np.rint((np.clip(z, -_Z_LIMIT, _Z_LIMIT) + _Z_LIMIT) * (255 / (2 * _Z_LIMIT))).astype(np.uint8)


def _map(shown: np.ndarray) -> dict[str, Any]:
    rows, columns = shown.shape
    return {"rows": rows, "columns": columns, "z": base64.b64encode(shown.tobytes()).decode()}
