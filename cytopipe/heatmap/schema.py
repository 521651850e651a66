"""What a checkpoint file holds, as a published JSON Schema.

`uns["cytopipe"]` of the file is one JSON document; the schema describes it, and under ``anndata`` the arrays
and tables beside it. Every file carries the SHA-1 of the schema it was written by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from cytopipe.errors import Finding

__all__ = ["ARTIFACT_VERSION", "SCHEMA", "document_faults", "schema_hash"]

ARTIFACT_VERSION = "1.0.0"

_UUID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_UUIDS = {"type": "array", "items": _UUID, "uniqueItems": True}
_COUNT = {"type": "integer", "minimum": 0}
_ORDER = {"type": "array", "items": _COUNT, "uniqueItems": True}
_DIGEST = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_NUMBER = "^(-1|0|[1-9][0-9]*)$"


def _object(told: str, /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": told,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_IDENTITY = {
    "id": _UUID,
    "parents": {**_UUIDS, "description": "None of a root, one, or several of a merge."},
    "step_id": {"type": "string", "minLength": 1, "description": "Name of the step, or a person's own."},
    "description": _TEXT,
    "created_at": {
        "type": "string",
        "description": "ISO 8601, UTC; empty where a run computed it, whose manifest holds the time.",
    },
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "cytopipe heat map checkpoint",
    **_object(
        'The JSON document in uns["cytopipe"]: the truth, of which the other keys of uns are mirrors.',
        artifact_version={"const": ARTIFACT_VERSION},
        schema_hash={
            "type": "string",
            "pattern": "^[0-9a-f]{40}$",
            "description": "SHA-1 of this schema as JSON with sorted keys and without spaces.",
        },
        producer=_object("What wrote the file.", package=_TEXT, version=_TEXT),
        checkpoint=_object("Its place in the history.", **_IDENTITY),
        ancestors={
            "type": "array",
            "items": _object("A checkpoint before it.", **_IDENTITY),
            "description": "As far as they are known, oldest first: history survives deleted files.",
        },
        counts=_object(
            "Sizes, for a list of checkpoints.",
            n_clusters={"type": "integer", "minimum": 1},
            n_markers={"type": "integer", "minimum": 1},
            n_metaclusters={**_COUNT, "description": "Distinct labels, Unassigned not counted."},
            n_cells={"anyOf": [_COUNT, {"type": "null"}], "description": "Cells in these clusters."},
        ),
        view=_object(
            "How it is shown.",
            row_order={**_ORDER, "description": "Row of the cluster at each place."},
            col_order={**_ORDER, "description": "Column of the marker at each place."},
            orientation={"enum": ["clusters_by_markers", "markers_by_clusters"]},
            selected_channels=_TEXTS,
        ),
        markers=_object(
            "Roles of markers; those in neither list are displayed only.", training=_TEXTS, linkage=_TEXTS
        ),
        metaclusters=_object(
            "Names and colours by number; -1 is Unassigned.",
            names={"type": "object", "additionalProperties": _TEXT, "propertyNames": {"pattern": _NUMBER}},
            colours={
                "type": "object",
                "additionalProperties": {"type": "string", "pattern": "^#[0-9a-f]{6}$"},
                "propertyNames": {"pattern": _NUMBER},
            },
        ),
        dendrogram_cut={"anyOf": [{"type": "number"}, {"type": "null"}], "description": "Height."},
        subset=_object(
            "Which cells it is about.",
            filters={"type": "array", "items": {"type": "object"}},
            filters_expr=_TEXT,
            kinds={"type": "array", "items": {"enum": ["lineage", "mixed", "cohort"]}},
        ),
        parameters={"type": "object", "description": "How it was made: heatmap, gates, choices ..."},
        flowsom={
            "type": "object",
            "description": "seed, grid, n_metaclusters, algorithm_ver, weights_hash, params.",
        },
        cells=_object(
            "The cell table it is about.",
            digest={"type": "string", "pattern": "^([0-9a-f]{64})?$"},
            n={"anyOf": [_COUNT, {"type": "null"}], "description": "Length of cell_cluster."},
        ),
        checksums={
            "type": "object",
            "additionalProperties": _DIGEST,
            "required": ["X"],
            "description": "SHA-256 of dtype, shape and bytes (C order, little endian) of arrays.",
        },
        thumbnail=_object(
            "X in display order, made small.",
            shape={"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2, "maxItems": 2},
            z={"type": "string", "description": "Base64 of bytes: 0 is -3 or less, 255 is 3 or more."},
        ),
    ),
    "anndata": {
        "X": "(n_clusters, n_markers) float: z-scored medians, as shown",
        "layers": {"median": "(n_clusters, n_markers) float, optional: medians"},
        "obs": {
            "cluster_id": "index: text, unique and stable",
            "metacluster_id": "integer from 0",
            "metacluster_revision_id": "nullable integer: a person's label, -1 is Unassigned",
            "n_cells": "integer, optional",
            "subset_lineage": "categorical, optional",
            "subset_mixed": "categorical, optional",
            "subset_cohort": "categorical, optional",
            "*": "chosen provenance columns; text is categorical",
        },
        "var": {
            "marker_id": "index: text, unique",
            "display_label": "text",
            "channel": "text",
            "pct_positive": "float, optional: percent",
            "flowsom_level": "categorical: training or display_extra",
            "linkage": "truth value: whether the tree was built from it",
        },
        "uns": {
            "cytopipe": "the JSON document that this schema describes",
            "linkage": "(n_clusters - 1, 4) float64, optional",
            "col_linkage": "(n_markers - 1, 4) float64, optional",
            "cell_cluster": "(n_cells,) integer, optional: row of each cell's cluster, -1 without one",
            "row_order, col_order, meta_cluster_colors, meta_cluster_names, dendrogram_cut": "mirrors",
            "selected_channels, subset_filters, subset_filters_expr, orientation": "mirrors",
            "checkpoint, lineage, flowsom, artifact_version, producer, timestamp": "mirrors",
        },
        "obsm": {"umap, tsne, scatter_*": "(n_clusters, 2) float64, optional"},
    },
}


@cache
def schema_hash() -> str:
    """SHA-1 of the schema as JSON with sorted keys and without spaces, in hexadecimal."""
    text = json.dumps(SCHEMA, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@cache
def _validator():
    from jsonschema import Draft202012Validator

    return Draft202012Validator(SCHEMA)


def document_faults(document: Any) -> Iterator[Finding]:
    """Everything in which the JSON document of a checkpoint breaks the schema."""
    for error in sorted(
        _validator().iter_errors(document), key=lambda one: list(map(str, one.absolute_path))
    ):
        place = "/".join(map(str, error.absolute_path))
        yield Finding(what=error.message[:300], where=f'uns["cytopipe"]/{place}'.rstrip("/"))
