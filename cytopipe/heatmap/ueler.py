"""UELer's checkpoint history as checkpoints of ours, with what UELer did not save named.

UELer keeps ``.UELer/dataset_<digest of the absolute path>/checkpoints/*.h5ad`` and a ``manifest.json``. Both
are read from wherever the folder lies now; identifiers and parents are those in the files, so that a history
which was moved, or whose manifest is lost, comes whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.heatmap import linkage
from cytopipe.heatmap.colours import with_colours
from cytopipe.heatmap.parameters import HeatmapSettings
from cytopipe.heatmap.state import (
    CLUSTERS_BY_MARKERS,
    MARKERS_BY_CLUSTERS,
    NOT_REVISED,
    STEPS,
    UNASSIGNED,
    UUID,
    Ancestor,
    HeatmapState,
    id_of_recipe,
)

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Imported", "import_ueler"]

_MAX_FILES = 100_000
_STEPS = {"initial": STEPS[1]}


@dataclass(frozen=True, eq=False)
class Imported:
    """One checkpoint of UELer.

    Parameters
    ----------
    state : HeatmapState
    path : Path
        Its file.
    lost : tuple of str
        What UELer did not save, and what follows from it; also in ``state.parameters["ueler"]["lost"]``.
    """

    state: HeatmapState
    path: Path
    lost: tuple[str, ...]


def import_ueler(folder: Path | str) -> tuple[Imported, ...]:
    """Every checkpoint of a project of UELer, parents before children.

    Parameters
    ----------
    folder : Path or str
        The project, its ``.UELer`` folder, or one ``dataset_...`` folder in it.

    Raises
    ------
    InputError
        There is no checkpoint of UELer, or files that cannot be read: all of them.
    """
    folder = Path(folder)
    files = list(_files(folder))
    if not files:
        raise InputError(
            "holds no checkpoint of UELer",
            where=str(folder),
            expected=".UELer/dataset_.../checkpoints/*.h5ad",
            next="Give the folder of the project.",
        )
    found: dict[str, tuple[Path, HeatmapState, tuple[str, ...]]] = {}
    findings: list[Finding] = []
    for path in files:
        try:
            state, lost = _state(path)
        except CytopipeError as error:
            findings += [
                Finding(what=one.what, where=f"{path.name}: {one.where}".rstrip(": "), expected=one.expected)
                for one in error.findings
            ]
            continue
        if state.id in found:  # a project that was moved has a second folder, often with copies
            if state.unlike(found[state.id][1]):
                what = f"has the identifier of {found[state.id][0]}, and is another checkpoint"
                findings.append(Finding(what=what, where=str(path)))
            continue
        found[state.id] = (path, state, lost)
    if findings:
        raise InputError(findings)
    listed = {one.id: one for path in {path.parents[1] for path in files} for one in _listed(path)}
    known = listed | {state.id: state.as_ancestor() for _, state, _ in found.values()}
    return tuple(
        Imported(state.replace(ancestors=_ancestors(state, known)), path, lost)
        for path, state, lost in sorted(
            found.values(), key=lambda one: (_depth(one[1].id, known), one[1].created_at, one[1].id)
        )
    )


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InputError("is not a folder", where=str(folder))
    patterns = ("checkpoints/*.h5ad", "dataset_*/checkpoints/*.h5ad", ".UELer/dataset_*/checkpoints/*.h5ad")
    count = 0
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            count += 1
            if count > _MAX_FILES:
                raise InputError(f"holds more than {_MAX_FILES:,} files", where=str(folder))
            if path.is_file() and not path.is_symlink():
                yield path


def _listed(data_set: Path) -> Iterator[Ancestor]:
    """The nodes of a manifest: those whose file was deleted stand nowhere else. It may be missing."""
    from cytopipe.storage.state import read_json

    path = data_set / "manifest.json"
    if not path.is_file():
        return
    try:
        manifest = read_json(path)
    except CytopipeError:
        return  # the files say the same
    nodes = manifest.get("checkpoints") if isinstance(manifest, dict) else None
    for node in nodes if isinstance(nodes, list) else ():
        if isinstance(node, dict):
            yield _identity(node)


def _identity(about: Mapping[str, Any]) -> Ancestor:
    several = _texts(about.get("parents"))
    parents = several or [one for one in [_text(about.get("parent_id"))] if one]
    operation = _text(about.get("op"))
    step = _STEPS.get(operation, operation) or _text(about.get("step_id")) or "ueler"
    return Ancestor(
        id=_uuid(_text(about.get("id"))),
        parents=tuple(dict.fromkeys(map(_uuid, parents))),
        step_id=f"ueler {step}" if step.lstrip("+-").isdigit() else step,
        description=_text(about.get("description")),
        created_at=_text(about.get("created_at")),
    )


def _uuid(text: str) -> str:
    return text.lower() if UUID.fullmatch(text.lower()) else id_of_recipe(f"ueler {text}")


def _ancestors(state: HeatmapState, known: Mapping[str, Ancestor]) -> tuple[Ancestor, ...]:
    """Those before it, oldest first; circles are cut."""
    found: dict[str, Ancestor] = {}
    waiting = list(state.parents)
    while waiting:
        one = waiting.pop(0)
        if one not in found and one != state.id:
            found[one] = known.get(one, Ancestor(one))
            waiting += found[one].parents
    return tuple(sorted(found.values(), key=lambda one: (_depth(one.id, known), one.created_at, one.id)))


def _depth(one: str, known: Mapping[str, Ancestor]) -> int:
    """How many generations are before it."""
    generation, seen = {one}, {one}
    for depth in range(len(known) + 1):
        before = {parent for child in generation if child in known for parent in known[child].parents}
        generation = before - seen
        if not generation:
            return depth
        seen |= generation
    return len(known)


# ---------------------------------------------------------------------- one file


def _state(path: Path) -> tuple[HeatmapState, tuple[str, ...]]:
    from cytopipe.storage.formats.h5ad import read_h5ad

    adata = read_h5ad(path)
    about = _mapping(adata.uns.get("checkpoint"))
    if not about.get("id") or "meta_cluster" not in adata.obs:
        raise InputError("is no checkpoint of UELer", expected='uns["checkpoint"] and obs["meta_cluster"]')
    if not isinstance(adata.X, np.ndarray) or adata.X.dtype.kind != "f":
        raise InputError("has no table of decimals", where="X")
    identity = _identity(about)
    view, flowsom = _mapping(adata.uns.get("ui")), _mapping(adata.uns.get("flowsom"))
    labels, revision, own = _labels(adata)
    names, colours = _palette(_mapping(adata.uns.get("palette")))
    names = {**names, **{number: name for name, number in own.items()}}
    tree, cut = _tree(adata)
    markers = tuple(map(str, adata.var_names))
    median = adata.layers.get("median")
    selected = _texts(view.get("selected_channels"))
    column, values = _text(view.get("subset_on")), _texts(view.get("subset_values"))
    lost = tuple(_lost(adata, view, column, values))
    shown = np.where(revision == NOT_REVISED, labels, revision)
    state = HeatmapState(
        cluster_ids=_cluster_ids(adata),
        markers=markers,
        matrix=adata.X,
        median=median if isinstance(median, np.ndarray) and median.dtype.kind == "f" else None,
        metacluster=labels,
        revision=revision,
        names={number: name for number, name in names.items() if name != f"Meta-cluster {number}"},
        colours=with_colours(colours, shown),
        row_order=None if tree is None else linkage.leaves(tree),
        linkage=tree,
        dendrogram_cut=cut,
        orientation=MARKERS_BY_CLUSTERS if view.get("horizontal_layout") else CLUSTERS_BY_MARKERS,
        training_markers=[one for one in _texts(flowsom.get("channels")) if one in markers] or None,
        selected_channels=selected or None,
        subset_filters=[{"column": column, "op": "in", "values": values}] if column and values else (),
        subset_filters_expr=f"{column} in {values!r}" if column and values else "",
        obs={"ueler_cluster": _original(adata)},
        parameters={
            **_heatmap(view, cut),
            "ueler": {
                "step_id": _text(about.get("step_id")),
                "op": _text(about.get("op")),
                "id": _text(about.get("id")),
                "version": _text(_mapping(about.get("producer")).get("version")),
                "class_column": _text(view.get("high_level_cluster_column")),
                "lost": list(lost),
            },
        },
        flowsom=_flowsom(flowsom),
        id=identity.id,
        parents=identity.parents,
        step_id=identity.step_id,
        description=identity.description,
        created_at=identity.created_at,
    )
    return state, lost


def _lost(adata: AnnData, view: Mapping[str, Any], column: str, values: Sequence[str]) -> Iterator[str]:
    """What is not in the file, in words."""
    if "median" not in adata.layers:
        yield "raw medians: shifts of medians cannot be told, only those of z-scores"
    yield "which cells are in each cluster: labels that moved are told by cluster"
    yield "numbers of cells in clusters"
    yield "detector or image channels of markers: their names stand in for them"
    yield "the order in which markers were shown"
    if "horizontal_layout" not in view:
        yield "whether the view was flipped"
    if not _text(view.get("high_level_cluster_column")):
        yield "class column: the column of cells that holds the clusters"
    else:
        yield "type of the class column: its numbers were saved as text; they are whole numbers again"
    if column and not values:
        yield f"nothing of the subset, if there was one: {column} has no values"
    if not column:
        yield "the subset, if there was one"
    if not _texts(view.get("selected_channels")):
        yield "selected channels"
    if "row_linkage" not in adata.uns:
        yield "the tree over clusters"


def _cluster_ids(adata: AnnData) -> list[str]:
    names = list(map(str, adata.obs_names))
    if all(re.fullmatch(r"\d{1,9}", one) for one in names):
        return [f"cluster_{int(one):03d}" for one in names]
    return names


def _original(adata: AnnData) -> np.ndarray:
    """Clusters as they stand in the column of cells: whole numbers, where they are."""
    names = list(map(str, adata.obs_names))
    whole = all(re.fullmatch(r"-?(0|[1-9]\d{0,17})", one) for one in names)
    return np.array(names, np.int64) if whole else np.array(names, object)


def _labels(adata: AnnData) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Metaclusters, revisions where they differ, and numbers of those that have names instead."""
    first = adata.obs["meta_cluster"].astype(object).tolist()
    second = first
    if "meta_cluster_revised" in adata.obs:
        second = adata.obs["meta_cluster_revised"].astype(object).tolist()
    texts = sorted({str(one) for one in (*first, *second) if _whole(one) is None and not _absent(one)})
    numbers = [one for one in map(_whole, (*first, *second)) if one is not None]
    start = max(numbers, default=-1) + 1
    own = {name: start + place for place, name in enumerate(texts)}

    def number(one: object, missing: int) -> int:
        if _absent(one):
            return missing
        whole = _whole(one)
        return own[str(one)] if whole is None else whole

    labels = np.array([number(one, UNASSIGNED) for one in first], np.int64)
    revised = np.array([number(one, NOT_REVISED) for one in second], np.int64)
    revised[revised == labels] = NOT_REVISED
    # A cluster whose first label is missing, or negative, was unassigned from the beginning.
    unassigned = labels < 0
    revised[unassigned & (revised == NOT_REVISED)] = UNASSIGNED
    labels[unassigned] = 0
    return labels, np.where(revised < NOT_REVISED, UNASSIGNED, revised), own


def _absent(value: object) -> bool:
    return value is None or value != value or type(value).__name__ == "NAType"


def _whole(value: object) -> int | None:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value):
        return int(value)
    return None


def _palette(saved: Mapping[str, Any]) -> tuple[dict[int, str], dict[int, str]]:
    names, colours = _mapping(saved.get("names")), _mapping(saved.get("colors"))
    numbered = {int(key): _text(name) for key, name in names.items() if re.fullmatch(r"-1|\d{1,9}", str(key))}
    painted = {
        int(key): _text(colour).lower()
        for key, colour in colours.items()
        if re.fullmatch(r"-1|\d{1,9}", str(key)) and re.fullmatch("#[0-9a-fA-F]{6}", _text(colour))
    }
    numbered.pop(UNASSIGNED, None)
    return {number: name for number, name in numbered.items() if name}, painted


def _tree(adata: AnnData) -> tuple[np.ndarray | None, float | None]:
    from scipy.cluster.hierarchy import is_valid_linkage

    tree, cut = adata.uns.get("row_linkage"), adata.uns.get("dendrogram_cut")
    if not isinstance(tree, np.ndarray) or tree.shape != (adata.n_obs - 1, 4):
        tree = None
    elif len(tree) and not is_valid_linkage(tree.astype(np.float64)):
        raise InputError("is no tree", where='uns["row_linkage"]')
    height = float(cut) if isinstance(cut, (int, float, np.number)) and np.isfinite(float(cut)) else None
    return tree, height


def _heatmap(view: Mapping[str, Any], cut: float | None) -> dict[str, Any]:
    """Settings of the heat map, where they are some that we have."""
    try:
        settings = HeatmapSettings(
            across="markers" if bool(view.get("zscore_across_markers", False)) else "clusters",
            method=_text(view.get("cluster_method")),
            metric=_text(view.get("distance_metric")),
            cut=cut,
            marker_order="given",
        )
    except CytopipeError:
        return {}
    return {"heatmap": settings.as_json()}


def _flowsom(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance of the clustering in our words; what has no word of ours stands under ``params``."""
    if not saved:
        return {}
    plain = {key: _plain(value) for key, value in saved.items()}
    told: dict[str, Any] = {"params": plain}
    if isinstance(plain.get("seed"), int):
        told["seed"] = plain["seed"]
    if isinstance(plain.get("xdim"), int) and isinstance(plain.get("ydim"), int):
        told["grid"] = [plain["xdim"], plain["ydim"]]
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ("" if _absent(value) else str(value))


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return (
        [str(one) for one in np.asarray(value).ravel().tolist()]
        if isinstance(value, (np.ndarray, list))
        else []
    )
