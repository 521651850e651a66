"""The checkpoint: a heat map as one AnnData that says everything about itself.

`uns["cytopipe"]` holds one canonical JSON document, the truth; arrays and tables stand where AnnData has
them, and the other keys of `uns` repeat the document for people who read the file by anndata alone. Nothing
of it depends on where the file lies. :mod:`cytopipe.heatmap.schema` describes it, docs/heatmap.md in words.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe import __version__
from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.heatmap.schema import ARTIFACT_VERSION, document_faults, schema_hash
from cytopipe.heatmap.state import NOT_REVISED, Ancestor, HeatmapState, new_id, step_slug

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "KEY",
    "canonical_json",
    "document_of",
    "file_name",
    "load_heatmap_state",
    "parse_document",
    "save_heatmap_state",
    "serialize_heatmap_state",
    "state_of",
    "validate_artifact",
    "validate_file",
]

KEY = "cytopipe"
"""The key of `uns` under which the document stands."""
MAX_DOCUMENT_BYTES = 32 << 20
THUMBNAIL_ROWS, THUMBNAIL_COLUMNS, THUMBNAIL_Z = 40, 32, 3.0

_SUBSETS = ("lineage", "mixed", "cohort")
_OBS = (
    "metacluster_id",
    "metacluster_revision_id",
    "n_cells",
    *(f"subset_{kind}" for kind in _SUBSETS),
)
_VAR = ("display_label", "channel", "pct_positive", "flowsom_level", "linkage")
_IDENTITY = ("id", "parents", "step_id", "description", "created_at")
_METADATA = (*_IDENTITY, "parent_id", "params")


# ---------------------------------------------------------------------- a state as an AnnData


def serialize_heatmap_state(
    display_state: HeatmapState,
    metadata: Mapping[str, Any] | None = None,
    extra_obs_cols: Sequence[str] | Mapping[str, Sequence] | pd.DataFrame | None = None,
    include_embeddings: bool = True,
    include_raw_medians: bool = True,
) -> AnnData:
    """A heat map as the AnnData of a checkpoint; any writer of anndata can write it.

    Parameters
    ----------
    display_state : HeatmapState
    metadata : mapping, optional
        What differs from the state's own: ``step_id``, ``description``, ``parent_id`` (or ``parents``),
        ``id``, ``created_at``, and ``params``, which are added to its parameters. A state that is given as
        its own parent becomes a child with a new identifier.
    extra_obs_cols : sequence of str, mapping or DataFrame, optional
        Which of the state's own columns about clusters are kept (by default all), or columns to add.
    include_embeddings, include_raw_medians : bool
        Whether `obsm` and ``layers["median"]`` are written. What is left out cannot be loaded again.

    Returns
    -------
    AnnData
        (n_clusters, n_markers), in canonical orientation.

    Raises
    ------
    InputError
        Unknown metadata or columns, or names that AnnData cannot keep.
    """
    state = _with_metadata(display_state, dict(metadata or {}))
    state = _with_columns(state, extra_obs_cols)
    if not include_embeddings:
        state = state.replace(embeddings={})
    if not include_raw_medians:
        state = state.replace(median=None)
    return _anndata_of(state)


def _with_metadata(state: HeatmapState, metadata: dict[str, Any]) -> HeatmapState:
    if unknown := sorted(set(metadata) - set(_METADATA)):
        raise InputError(
            f"metadata {', '.join(map(repr, unknown))} is unknown", expected=", ".join(_METADATA)
        )
    metadata = {key: value for key, value in metadata.items() if value is not None}
    params = metadata.pop("params", {})
    parent = metadata.pop("parent_id", None)
    parents = metadata.pop("parents", None) or ((parent,) if parent else state.parents)
    changes: dict[str, Any] = {**metadata, "parents": tuple(parents)}
    if params:
        changes["parameters"] = {**state.parameters, **params}
    if state.id in changes["parents"] and changes.get("id", state.id) == state.id:
        changes = {"id": new_id(), "ancestors": state.history_below()} | changes
    return state.replace(**changes)


def _with_columns(state: HeatmapState, columns: Any) -> HeatmapState:
    if columns is None:
        return state
    if isinstance(columns, Mapping) or hasattr(columns, "columns"):
        return state.replace(obs={**state.obs, **{str(name): np.asarray(columns[name]) for name in columns}})
    if unknown := [name for name in columns if name not in state.obs]:
        raise InputError(
            f"there is no column {unknown[0]!r} about clusters", found=", ".join(state.obs) or "no column"
        )
    return state.replace(obs={name: state.obs[name] for name in columns})


def _anndata_of(state: HeatmapState) -> AnnData:
    from anndata import AnnData

    if findings := list(_unwritable(state)):
        raise InputError(findings)
    return AnnData(
        X=state.matrix.copy(),
        obs=_obs_of(state),
        var=_var_of(state),
        layers={} if state.median is None else {"median": state.median.copy()},
        obsm={name: values.copy() for name, values in state.embeddings.items()},
        uns=_uns_of(state),
    )


def _unwritable(state: HeatmapState) -> Iterator[Finding]:
    for name in state.obs:
        if name in _OBS or name == "cluster_id":
            yield Finding(what=f"a column may not be called {name!r}", next="The artifact has one itself.")
        elif not name or "/" in name or name in (".", ".."):
            yield Finding(what=f"no file can keep a column called {name!r}", next="Rename it: without a /.")
    for name in state.embeddings:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            yield Finding(
                what=f"no file can keep an embedding called {name!r}",
                expected="umap, tsne, or scatter_ with letters, digits, _ . -",
            )


def _obs_of(state: HeatmapState) -> pd.DataFrame:
    import pandas as pd

    revised = state.revision != NOT_REVISED
    columns: dict[str, Any] = {
        "metacluster_id": state.metacluster.copy(),
        "metacluster_revision_id": pd.arrays.IntegerArray(
            np.where(revised, state.revision, 0).astype(np.int32), ~revised
        ),
    }
    if state.n_cells is not None:
        columns["n_cells"] = state.n_cells.copy()
    for kind in _SUBSETS:
        labels = getattr(state, f"subset_{kind}")
        if labels is not None:
            columns[f"subset_{kind}"] = _categorical(labels)
    for name, values in state.obs.items():
        columns[name] = _categorical(values) if values.dtype == object else values.copy()
    return pd.DataFrame(columns, index=pd.Index(state.cluster_ids, name="cluster_id", dtype=object))


def _var_of(state: HeatmapState) -> pd.DataFrame:
    import pandas as pd

    trained, linked = set(state.training_markers), set(state.linkage_markers)
    levels = ["training" if marker in trained else "display_extra" for marker in state.markers]
    columns: dict[str, Any] = {
        "display_label": np.array(state.labels, object),
        "channel": np.array(state.channels, object),
    }
    if state.pct_positive is not None:
        columns["pct_positive"] = state.pct_positive.copy()
    columns["flowsom_level"] = pd.Categorical(levels, categories=["display_extra", "training"])
    columns["linkage"] = np.array([marker in linked for marker in state.markers])
    return pd.DataFrame(columns, index=pd.Index(state.markers, name="marker_id", dtype=object))


def _categorical(labels: Sequence[str | None]) -> pd.Categorical:
    import pandas as pd

    return pd.Categorical(list(labels), categories=sorted({one for one in labels if one is not None}))


# ---------------------------------------------------------------------- the document and its mirrors


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and without spaces: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def document_of(state: HeatmapState) -> dict[str, Any]:
    """Everything a checkpoint says but its arrays and tables, as JSON values."""
    return {
        "artifact_version": ARTIFACT_VERSION,
        "schema_hash": schema_hash(),
        "producer": {"package": "cytopipe", "version": __version__},
        "checkpoint": _identity(state),
        "ancestors": [_identity(one) for one in state.ancestors],
        "counts": {
            "n_clusters": state.n_clusters,
            "n_markers": state.n_markers,
            "n_metaclusters": state.n_metaclusters,
            "n_cells": state.n_cells_total,
        },
        "view": {
            "row_order": state.row_order.tolist(),
            "col_order": state.col_order.tolist(),
            "orientation": state.orientation,
            "selected_channels": list(state.selected_channels),
        },
        "markers": {"training": list(state.training_markers), "linkage": list(state.linkage_markers)},
        "metaclusters": {
            "names": {str(key): value for key, value in state.names.items()},
            "colours": {str(key): value for key, value in state.colours.items()},
        },
        "dendrogram_cut": state.dendrogram_cut,
        "subset": {
            "filters": list(state.subset_filters),
            "filters_expr": state.subset_filters_expr,
            "kinds": [kind for kind in _SUBSETS if getattr(state, f"subset_{kind}") is not None],
        },
        "parameters": state.parameters,
        "flowsom": state.flowsom,
        "cells": {
            "digest": state.cells_digest,
            "n": None if state.cell_cluster is None else len(state.cell_cluster),
        },
        "checksums": {name: _checksum(array) for name, array in _summed(state).items()},
        "thumbnail": _thumbnail(state),
    }


def _identity(one: HeatmapState | Ancestor) -> dict[str, Any]:
    return {name: list(one.parents) if name == "parents" else getattr(one, name) for name in _IDENTITY}


def _summed(state: HeatmapState) -> dict[str, np.ndarray]:
    """The arrays that have a checksum."""
    arrays = {
        "X": state.matrix,
        "median": state.median,
        "linkage": state.linkage,
        "col_linkage": state.col_linkage,
        "cell_cluster": state.cell_cluster,
        **{f"obsm/{name}": values for name, values in state.embeddings.items()},
    }
    return {name: array for name, array in arrays.items() if array is not None}


def _checksum(array: np.ndarray) -> str:
    kind = array.dtype.newbyteorder("<")
    head = f"{kind.str} {array.shape}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array, kind).tobytes()).hexdigest()


def _thumbnail(state: HeatmapState) -> dict[str, Any]:
    """The matrix in display order, means of at most 40 x 32 blocks, one byte for each."""
    shown = state.matrix[state.row_order][:, state.col_order].astype(np.float64)
    for axis, most in enumerate((THUMBNAIL_ROWS, THUMBNAIL_COLUMNS)):
        size = shown.shape[axis]
        if size > most:
            starts = np.arange(most) * size // most
            counts = np.diff(np.append(starts, size))
            shown = np.add.reduceat(shown, starts, axis=axis) / np.expand_dims(counts, 1 - axis)
    return {"shape": list(shown.shape), "z": base64.b64encode(shades(shown).tobytes()).decode()}


def shades(z: np.ndarray) -> np.ndarray:
    """z-scores as uint8: 0 and 255 stand for `THUMBNAIL_Z` standard deviations below and above."""
    return np.round(np.clip(z / THUMBNAIL_Z, -1, 1) * 127.5 + 127.5).astype(np.uint8)


def _uns_of(state: HeatmapState) -> dict[str, Any]:
    document = document_of(state)
    uns = {KEY: canonical_json(document), **_mirrors(state, document)}
    if state.linkage is not None:
        uns["linkage"] = state.linkage.copy()
    if state.col_linkage is not None:
        uns["col_linkage"] = state.col_linkage.copy()
    if state.cell_cluster is not None:
        small = np.int16 if state.n_clusters <= np.iinfo(np.int16).max else np.int32
        uns["cell_cluster"] = state.cell_cluster.astype(small)
    return uns


def _mirrors(state: HeatmapState, document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that the source design names, as far as a file can say them."""
    identity = document["checkpoint"]
    params = {
        "channels": document["view"]["selected_channels"],
        "cut": document["dendrogram_cut"],
        **state.parameters,
    }
    uns = {
        "row_order": state.row_order.copy(),
        "col_order": state.col_order.copy(),
        "meta_cluster_colors": document["metaclusters"]["colours"],
        "meta_cluster_names": document["metaclusters"]["names"],
        "dendrogram_cut": document["dendrogram_cut"],
        "selected_channels": document["view"]["selected_channels"],
        "subset_filters": canonical_json(document["subset"]["filters"]),
        "subset_filters_expr": document["subset"]["filters_expr"],
        "orientation": document["view"]["orientation"],
        "checkpoint": {
            **{name: identity[name] for name in ("id", "step_id", "description", "created_at")},
            "parent_id": identity["parents"][0] if identity["parents"] else "",
            "parent_ids": identity["parents"],
            "params": params,
            "producer": document["producer"],
            "artifact_version": ARTIFACT_VERSION,
            "schema_hash": document["schema_hash"],
        },
        "lineage": _lineage(state),
        "flowsom": state.flowsom,
        "artifact_version": ARTIFACT_VERSION,
        "producer": document["producer"],
        "timestamp": identity["created_at"],
    }
    return {key: mirror for key, value in uns.items() if (mirror := _mirror(value)) is not None}


def _lineage(state: HeatmapState) -> dict[str, Any]:
    """Children of every checkpoint on the way here, and the roots."""
    known = {one.id: tuple(one.parents) for one in (*state.ancestors, state)}
    children: dict[str, list[str]] = {one: [] for one in known}
    for one, parents in known.items():
        for parent in parents:
            children.setdefault(parent, []).append(one)
    roots = [one for one in children if not known.get(one)]
    return {
        **{one: {"children": sorted(children[one])} for one in children},
        "root_id": roots[0],
        "root_ids": roots,
    }


def _mirror(value: Any) -> Any:
    """A JSON value as any anndata can keep it: never None, no list of several types, no unsafe key."""
    if value is None or isinstance(value, (str, bool, float, np.ndarray)):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else str(value)
    if isinstance(value, Mapping):
        if any(not key or "/" in key or key in (".", "..") for key in value):
            return canonical_json(value)
        kept = {key: _mirror(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None}
    kinds = {type(item) for item in value}
    if kinds <= {str}:
        return np.array(value, object)
    if kinds in ({int}, {float}, {int, float}, {bool}) and all(abs(item) < 1 << 63 for item in value):
        return np.array(value)
    return canonical_json(value)


# ---------------------------------------------------------------------- an AnnData as a state


def validate_artifact(adata: AnnData) -> tuple[Finding, ...]:
    """Everything that is wrong with an AnnData as a checkpoint; nothing where it is whole.

    Shapes of X, layers and obsm, required fields and their types, orders as permutations, the schema and its
    hash, checksums of arrays, and mirrors in `uns` that say something else than the document.
    """
    document, findings = _document(adata)
    if document is None:
        return tuple(findings)
    if not findings:
        findings += _structure(adata, document)
    if not findings:
        try:
            state = _state(adata, document)
        except InputError as error:
            return error.findings
        findings += _sums(state, document)
        findings += _differing_mirrors(adata, state, document)
    return tuple(findings)


def state_of(adata: AnnData, *, where: str = "") -> HeatmapState:
    """The state in the AnnData of a checkpoint.

    Mirrors are not looked at: the document is the truth, saved colours and orders included.

    Raises
    ------
    InputError
        With everything that is wrong, as far as it matters for the state.
    """
    document, findings = _document(adata)
    if document is not None and not findings:
        findings += _structure(adata, document)
    if not findings:
        try:
            state = _state(adata, document)
            findings += _sums(state, document)
        except InputError as error:
            findings += error.findings
    if findings:
        raise InputError(_placed(findings, where))
    return state


def _placed(findings: Sequence[Finding], where: str) -> list[Finding]:
    if not where:
        return list(findings)
    return [
        Finding(
            what=one.what,
            where=f"{where}: {one.where}" if one.where else where,
            expected=one.expected,
            found=one.found,
            next=one.next,
        )
        for one in findings
    ]


def parse_document(text: object, where: str = "") -> Any:
    """The JSON document of a checkpoint from its text, strictly; InputError where it is none."""
    from cytopipe.storage.state import parse_json

    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not isinstance(text, str):
        raise InputError("is no JSON text", where=where, found=type(text).__name__)
    return parse_json(text.encode("utf-8", "replace"), where=where, max_bytes=MAX_DOCUMENT_BYTES)


def _document(adata: AnnData) -> tuple[dict[str, Any] | None, list[Finding]]:
    text = adata.uns.get(KEY)
    if text is None:
        found = ", ".join(sorted(map(str, adata.uns))[:10]) or "nothing"
        hint = "It is a checkpoint of UELer: import its folder." if "row_linkage" in adata.uns else ""
        return None, [Finding(what=f'there is no uns["{KEY}"]: no checkpoint', found=found, next=hint)]
    try:
        document = parse_document(text, f'uns["{KEY}"]')
    except CytopipeError as error:
        return None, list(error.findings)
    return document, list(document_faults(document))


def _structure(adata: AnnData, document: Mapping[str, Any]) -> list[Finding]:
    """What has to be there, in shapes and types from which a state can be made."""
    findings: list[Finding] = []
    if document["schema_hash"] != schema_hash():
        findings.append(
            Finding(
                what="was written by another schema",
                where="schema_hash",
                expected=schema_hash(),
                found=document["schema_hash"],
                next="Read it with the version of cytopipe that wrote it.",
            )
        )
    counts = (document["counts"]["n_clusters"], document["counts"]["n_markers"])
    if adata.shape != counts:
        findings.append(
            Finding(what="has another shape", where="X", expected=str(counts), found=str(adata.shape))
        )
    floats = {"X": adata.X, **{f'layers["{name}"]': adata.layers[name] for name in adata.layers}}
    floats |= {f'obsm["{name}"]': adata.obsm[name] for name in adata.obsm}
    floats |= {f'uns["{name}"]': adata.uns[name] for name in ("linkage", "col_linkage") if name in adata.uns}
    for name, array in floats.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != 2:
            found = f"{type(array).__name__} {getattr(array, 'dtype', '')} {getattr(array, 'shape', '')}"
            findings.append(Finding(what="is no table of decimals", where=name, found=found))
    cells = adata.uns.get("cell_cluster")
    if cells is not None and not (isinstance(cells, np.ndarray) and cells.dtype.kind in "iu"):
        findings.append(Finding(what="is no array of whole numbers", where='uns["cell_cluster"]'))
    n = None if cells is None else np.size(cells)
    if n != document["cells"]["n"]:
        expected = str(document["cells"]["n"])
        findings.append(
            Finding(what="has another length", where='uns["cell_cluster"]', expected=expected, found=str(n))
        )
    findings += _columns(adata.obs, "obs", _OBS[:2], _OBS[:3])
    findings += _columns(adata.var, "var", ("display_label", "channel", "flowsom_level"), ("pct_positive",))
    for kind in document["subset"]["kinds"]:
        if f"subset_{kind}" not in adata.obs:
            findings.append(Finding(what=f"column 'subset_{kind}' is absent", where="obs"))
    return findings


def _columns(
    table: pd.DataFrame, name: str, required: Sequence[str], numbers: Sequence[str]
) -> Iterator[Finding]:
    for column in required:
        if column not in table:
            yield Finding(what=f"column {column!r} is absent", where=name)
    for column in numbers:
        if column in table and table[column].dtype.kind not in "iuf":
            yield Finding(
                what=f"column {column!r} holds no numbers", where=name, found=str(table[column].dtype)
            )
    if not all(isinstance(one, str) for one in table.index):
        yield Finding(what="has an index that is no text", where=name)


def _state(adata: AnnData, document: Mapping[str, Any]) -> HeatmapState:
    obs, var, view = adata.obs, adata.var, document["view"]
    revision = obs["metacluster_revision_id"]
    cells = adata.uns.get("cell_cluster")
    subsets = {f"subset_{kind}": _plain(obs[f"subset_{kind}"]) for kind in document["subset"]["kinds"]}
    return HeatmapState(
        cluster_ids=tuple(obs.index),
        markers=tuple(var.index),
        matrix=adata.X,
        median=adata.layers.get("median"),
        n_cells=_whole(obs["n_cells"], "n_cells") if "n_cells" in obs else None,
        metacluster=_whole(obs["metacluster_id"], "metacluster_id"),
        revision=_whole(revision, "metacluster_revision_id", missing=NOT_REVISED),
        names={int(key): value for key, value in document["metaclusters"]["names"].items()},
        colours={int(key): value for key, value in document["metaclusters"]["colours"].items()},
        row_order=np.array(view["row_order"], np.int64),
        col_order=np.array(view["col_order"], np.int64),
        linkage=adata.uns.get("linkage"),
        col_linkage=adata.uns.get("col_linkage"),
        dendrogram_cut=document["dendrogram_cut"],
        orientation=view["orientation"],
        labels=_plain(var["display_label"]),
        channels=_plain(var["channel"]),
        pct_positive=var["pct_positive"].to_numpy(np.float64) if "pct_positive" in var else None,
        training_markers=document["markers"]["training"],
        linkage_markers=document["markers"]["linkage"],
        selected_channels=view["selected_channels"],
        subset_filters=document["subset"]["filters"],
        subset_filters_expr=document["subset"]["filters_expr"],
        **subsets,
        obs={name: _plain(obs[name]) for name in obs if name not in _OBS},
        embeddings={name: adata.obsm[name] for name in adata.obsm},
        parameters=document["parameters"],
        flowsom=document["flowsom"],
        **document["checkpoint"],
        ancestors=tuple(_ancestor(one) for one in document["ancestors"]),
        cell_cluster=cells,
        cells_digest=document["cells"]["digest"],
    )


def _ancestor(one: Mapping[str, Any]) -> Ancestor:
    return Ancestor(**{**one, "parents": tuple(one["parents"])})


def _whole(column: pd.Series, name: str, missing: int | None = None) -> np.ndarray:
    """Whole numbers of a column that may be nullable, or floats where a tool made them so."""
    absent = column.isna().to_numpy()
    if absent.any() and missing is None:
        raise InputError("has missing values", where=f'obs["{name}"]')
    values = column.fillna(0).to_numpy(np.float64) if absent.any() else column.to_numpy()
    if values.dtype.kind == "f" and (values % 1).any():
        raise InputError("has numbers with decimals", where=f'obs["{name}"]')
    return np.where(absent, missing or 0, values.astype(np.int64))


def _plain(column: pd.Series) -> np.ndarray:
    """A column as NumPy has it; labels and text as text, None where missing."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iufb" and isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    if kind in "iufb":  # nullable
        absent = column.isna()
        return (
            column.to_numpy(np.float64, na_value=np.nan)
            if absent.any()
            else column.to_numpy(kind + "8" if kind in "iuf" else bool)
        )
    return np.array([None if one is None or one != one else str(one) for one in column.tolist()], object)


def _sums(state: HeatmapState, document: Mapping[str, Any]) -> list[Finding]:
    """Arrays that are not those that were saved."""
    have, findings = _summed(state), []
    for name in sorted(set(have) | set(document["checksums"])):
        found = _checksum(have[name]) if name in have else "none"
        expected = document["checksums"].get(name, "none")
        if found != expected:
            findings.append(
                Finding(
                    what="is not what was saved",
                    where=name,
                    expected=f"SHA-256 {expected[:12]}",
                    found=found[:12],
                    next="Take the file from where it was copied, or make the checkpoint again.",
                )
            )
    return findings


def _differing_mirrors(adata: AnnData, state: HeatmapState, document: Mapping[str, Any]) -> Iterator[Finding]:
    for key, expected in _mirrors(state, document).items():
        if key not in adata.uns:
            yield Finding(what="is absent", where=f'uns["{key}"]')
        elif not _same(adata.uns[key], expected):
            yield Finding(
                what=f'says something else than uns["{KEY}"], which is the truth',
                where=f'uns["{key}"]',
                next="Change the state, and save it again.",
            )
    derived = document_of(state)
    for key in ("counts", "thumbnail"):
        if document[key] != derived[key]:
            yield Finding(what="does not fit the arrays", where=f'uns["{KEY}"]/{key}')


def _same(one: Any, other: Any) -> bool:
    if isinstance(other, Mapping):
        return (
            isinstance(one, Mapping)
            and set(one) == set(other)
            and all(_same(one[key], other[key]) for key in other)
        )
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and one.tolist() == other.tolist()


# ---------------------------------------------------------------------- files


def file_name(step_id: int | str, created_at: str = "") -> str:
    """``flowsom_<step>_<time>.h5ad``, safe on every file system."""
    from cytopipe.storage.names import slug

    stamp = re.sub(r"[^0-9TZ]", "", created_at)
    return f"flowsom_{slug(step_slug(step_id))}{f'_{stamp}' if stamp else ''}.h5ad"


def save_heatmap_state(state: HeatmapState, path: Path | str) -> Path:
    """Save a checkpoint whole or not at all: h5ad, or Zarr where the name ends with ``.zarr``.

    Raises
    ------
    InputError, StorageError
        The state cannot be kept, or the disk refuses; what stood there still stands.
    """
    from cytopipe.storage.archive import Archive, Place
    from cytopipe.storage.formats import FORMATS

    path = Path(path).absolute()
    format = FORMATS["checkpoint_zarr" if path.suffix == ".zarr" else "checkpoint"]
    if path.suffix != format.suffix:
        raise InputError(
            "the name of a checkpoint ends otherwise", where=str(path), expected=".h5ad or .zarr"
        )
    Archive(path.parent).put(Place(path.name), format, state)
    return path


def load_heatmap_state(path: Path | str) -> HeatmapState:
    """The state in a checkpoint: matrix, colours, order, channels, filters, cut, embeddings and history.

    Parameters
    ----------
    path : Path or str
        An ``.h5ad`` file, or a Zarr directory.

    Raises
    ------
    InputError, RefusedError, BudgetError
        It is no checkpoint, or one with faults: all of them.
    """
    return state_of(_read(Path(path)), where=str(path))


def validate_file(path: Path | str) -> tuple[Finding, ...]:
    """As `validate_artifact`, for a file; one that cannot be read is a finding too."""
    try:
        adata = _read(Path(path))
    except CytopipeError as error:
        return error.findings
    return tuple(_placed(validate_artifact(adata), str(path)))


def _read(path: Path) -> AnnData:
    from cytopipe.storage.formats.h5ad import read_h5ad

    if not path.is_dir():
        return read_h5ad(path)
    import anndata

    from cytopipe.storage.guard.budget import budget_bytes
    from cytopipe.storage.guard.zarr_store import survey_zarr

    survey_zarr(path, budget=budget_bytes(), inflate_chunks=True)
    try:
        return anndata.read_zarr(path)
    except CytopipeError:
        raise
    except Exception as error:  # whatever zarr and anndata raise for content that is damaged
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot be read: {first}", where=str(path)) from error
