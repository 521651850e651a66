"""A heat map of clusters as a value: everything that a checkpoint holds.

Rows are clusters and columns are markers, always; a flipped view is a word in `orientation`. A state is never
changed: `replace` gives another one. The constructor checks that all parts fit together.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import Finding, InputError

if TYPE_CHECKING:
    from cytopipe.heatmap.parameters import HeatmapSettings

__all__ = [
    "CLUSTERS_BY_MARKERS",
    "MARKERS_BY_CLUSTERS",
    "NOT_REVISED",
    "STEPS",
    "STEP_NUMBERS",
    "UNASSIGNED",
    "UNASSIGNED_COLOUR",
    "UNASSIGNED_NAME",
    "UUID",
    "Ancestor",
    "HeatmapState",
    "cluster_ids",
    "id_of_recipe",
    "new_id",
    "now",
    "step_file",
    "step_slug",
]

UNASSIGNED = -1
"""Metacluster of clusters that a person took out of every other."""
UNASSIGNED_NAME, UNASSIGNED_COLOUR = "Unassigned", "#9e9e9e"
NOT_REVISED = -2
"""In `HeatmapState.revision`: nobody gave this cluster another label than the cut did."""

CLUSTERS_BY_MARKERS, MARKERS_BY_CLUSTERS = "clusters_by_markers", "markers_by_clusters"
"""Orientations of the view: what stands in rows, by what stands in columns."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How identifiers of checkpoints are written."""

STEPS = {
    1: "initial_clustering",
    2: "revise_metaclusters",
    3: "identify_mixed",
    4: "choose_branch",
    5: "finalize",
    6: "subset_lineage",
    7: "lineage_recluster",
    8: "lineage_revise",
    9: "lineage_finalize",
    10: "mixed_recluster",
    11: "mixed_finalize",
}
"""The steps of the workflow by number; 4 is a decision and leaves no checkpoint."""


STEP_NUMBERS = {name: number for number, name in STEPS.items()}
"""The number of a step by its name."""


def step_file(step: int) -> str:
    """What an artifact of a step is called: ``step_06_subset_lineage``; of step 0, ``merged``."""
    return f"step_{step:02d}_{STEPS[step]}" if step else "merged"


def step_slug(step: int | str) -> str:
    """The name of a step, given by its number or name; any other text is a step of a person's own.

    Raises
    ------
    InputError
        The text is empty, or the number is none of 1 to 11.
    """
    text = str(step).strip()
    if not text:
        raise InputError("a step has no name", expected=f"1 to {len(STEPS)}, or a name")
    if re.fullmatch(r"[+-]?\d+", text):
        if int(text) not in STEPS:
            raise InputError("there is no such step", expected=f"1 to {len(STEPS)}, or a name", found=text)
        return STEPS[int(text)]
    return text


def cluster_ids(count: int) -> tuple[str, ...]:
    """``cluster_001`` and so on: the stable names of `count` clusters in the order of their numbers."""
    return tuple(f"cluster_{number:03d}" for number in range(1, count + 1))


def new_id() -> str:
    """A random identifier (UUID, version 4), for a checkpoint that a person saves."""
    return str(uuid.uuid4())


def id_of_recipe(recipe: str) -> str:
    """The identifier of a checkpoint that a run computes: the same for the same recipe.

    Parameters
    ----------
    recipe : str
        Says everything the checkpoint is made from, such as canonical JSON or a digest.

    Returns
    -------
    str
        A UUID whose version bits say 4, as the schema asks, made from the SHA-256 of the recipe.
    """
    digest = bytearray(hashlib.sha256(b"cytopipe heatmap checkpoint\0" + recipe.encode()).digest()[:16])
    return str(uuid.UUID(bytes=bytes(digest), version=4))


def now() -> str:
    """This moment in UTC, to the second, as ISO 8601: when a person saves."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Ancestor:
    """What a checkpoint remembers of one that came before it, so that history survives its deletion."""

    id: str
    parents: tuple[str, ...] = ()
    step_id: str = ""
    description: str = ""
    created_at: str = ""


@dataclass(frozen=True, eq=False)
class HeatmapState:
    """A heat map of clusters x markers with its annotations and its place in the history.

    Parameters
    ----------
    cluster_ids : sequence of str
        (n_clusters,) unique, stable names: ``cluster_001``.
    markers : sequence of str
        (n_markers,) unique names.
    matrix : ndarray of float
        (n_clusters, n_markers) z-scores of the medians: what a person sees. Finite.
    median : ndarray of float, optional
        (n_clusters, n_markers) medians of the (transformed) values; None where they are not known.
    n_cells : ndarray of int64, optional
        (n_clusters,) cells in each cluster; None where that is not known.
    metacluster : ndarray of int32
        (n_clusters,) number of the metacluster of each cluster, from 0.
    revision : ndarray of int32, optional
        (n_clusters,) number that a person gave: -1 is unassigned, -2 (`NOT_REVISED`) not revised. By default
        nothing is revised.
    names : mapping of int to str
        Names of metaclusters; one without is shown as ``Metacluster N``.
    colours : mapping of int to str
        Colours of metaclusters, ``#rrggbb``.
    row_order, col_order : ndarray of int32, optional
        Permutations: which cluster (marker) is shown at each place. By default as they stand.
    linkage, col_linkage : ndarray of float64, optional
        (n - 1, 4) trees over clusters and over markers, as SciPy has them.
    dendrogram_cut : float, optional
        Height at which the tree over clusters was cut.
    orientation : {'clusters_by_markers', 'markers_by_clusters'}
        What the view has in rows by columns; the arrays here do not turn.
    labels, channels : sequence of str, optional
        (n_markers,) name shown, and detector or image channel; the marker's name by default.
    pct_positive : ndarray of float64, optional
        (n_markers,) percent of cells that are positive.
    training_markers, linkage_markers : sequence of str, optional
        Markers that clusters were trained on, and that the tree was built from; all by default. The others
        are only displayed.
    selected_channels : sequence of str, optional
        Channels that a person selected, in their order; those of the training markers by default.
    subset_filters : sequence of mapping
        What selected the cells, as JSON values: ``{"column": "fov", "op": "in", "values": ["fov1"]}``.
    subset_filters_expr : str
        The same as one expression.
    subset_lineage, subset_mixed, subset_cohort : sequence of str or None, optional
        (n_clusters,) labels of clusters; None where a cluster has none.
    obs : mapping of str to ndarray
        More columns about clusters, (n_clusters,): numbers, truth values or text (None where missing).
    embeddings : mapping of str to ndarray
        (n_clusters, 2) by name: ``umap``, ``tsne``, ``scatter_NAME``.
    parameters : mapping
        How it was made, as JSON values: ``heatmap`` (z-scores, linkage, cut), ``gates``,
        ``flowsom_cutoffs``, ``choices`` and whatever a step adds.
    flowsom : mapping
        Provenance of the clustering, as JSON values: ``seed``, ``grid``, ``n_metaclusters``,
        ``algorithm_ver``, ``weights_hash``, ``params``. Empty where nothing was clustered by FlowSOM.
    id : str
        A UUID; by default a random one. A run gives `id_of_recipe`.
    parents : sequence of str
        Identifiers of the checkpoints it was made from: none, one, or several of a merge.
    step_id : str
        See `step_slug`.
    description : str
    created_at : str
        ISO 8601, UTC. Empty in a checkpoint that a run computes: no clock goes into its bytes, and the
        manifest beside it tells the time.
    ancestors : sequence of Ancestor
        The checkpoints before it as far as they are known, parents included.
    cell_cluster : ndarray of int32, optional
        (n_cells of the data set,) row of the cluster of each cell; -1 for cells outside of this subset.
        None where it is not known: then nothing can be said about cells.
    cells_digest : str
        SHA-256 of the cell table that `cell_cluster` is about.

    Raises
    ------
    InputError
        With everything that does not fit together.
    """

    cluster_ids: Sequence[str]
    markers: Sequence[str]
    matrix: np.ndarray
    metacluster: np.ndarray
    median: np.ndarray | None = None
    n_cells: np.ndarray | None = None
    revision: np.ndarray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colours: Mapping[int, str] = field(default_factory=dict)
    row_order: np.ndarray | None = None
    col_order: np.ndarray | None = None
    linkage: np.ndarray | None = None
    col_linkage: np.ndarray | None = None
    dendrogram_cut: float | None = None
    orientation: str = CLUSTERS_BY_MARKERS
    labels: Sequence[str] | None = None
    channels: Sequence[str] | None = None
    pct_positive: np.ndarray | None = None
    training_markers: Sequence[str] | None = None
    linkage_markers: Sequence[str] | None = None
    selected_channels: Sequence[str] | None = None
    subset_filters: Sequence[Mapping[str, Any]] = ()
    subset_filters_expr: str = ""
    subset_lineage: Sequence[str | None] | None = None
    subset_mixed: Sequence[str | None] | None = None
    subset_cohort: Sequence[str | None] | None = None
    obs: Mapping[str, np.ndarray] = field(default_factory=dict)
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    flowsom: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=new_id)
    parents: Sequence[str] = ()
    step_id: str = STEPS[1]
    description: str = ""
    created_at: str = ""
    ancestors: Sequence[Ancestor] = ()
    cell_cluster: np.ndarray | None = None
    cells_digest: str = ""

    def __post_init__(self) -> None:
        for name, value in _settled(self).items():
            object.__setattr__(self, name, value)
        if findings := list(_faults(self)):
            raise InputError(findings)

    # ------------------------------------------------------------------ what is derived

    @property
    def n_clusters(self) -> int:
        return len(self.cluster_ids)

    @property
    def n_markers(self) -> int:
        return len(self.markers)

    @property
    def label(self) -> np.ndarray:
        """(n_clusters,) int32: the metacluster of each cluster as a person sees it, revised or not."""
        return np.where(self.revision == NOT_REVISED, self.metacluster, self.revision).astype(np.int32)

    @property
    def metaclusters(self) -> list[int]:
        """Numbers of the metaclusters that are there, `UNASSIGNED` included, in rising order."""
        return np.unique(self.label).tolist()

    @property
    def n_metaclusters(self) -> int:
        """Metaclusters that are there, without `UNASSIGNED`."""
        return sum(one != UNASSIGNED for one in self.metaclusters)

    @property
    def n_cells_total(self) -> int | None:
        """Cells in all clusters; None where that is not known."""
        return None if self.n_cells is None else int(self.n_cells.sum())

    @property
    def locked(self) -> bool:
        """Whether a person revised a label: the cut stays where it is then."""
        return bool((self.revision != NOT_REVISED).any())

    @property
    def cell_label(self) -> np.ndarray | None:
        """(n_cells,) int32: metacluster of each cell; `NOT_REVISED` (-2) outside of this subset."""
        if self.cell_cluster is None:
            return None
        return np.append(self.label, np.int32(NOT_REVISED))[self.cell_cluster]

    def name_of(self, metacluster: int) -> str:
        """The name shown for a metacluster."""
        default = UNASSIGNED_NAME if metacluster == UNASSIGNED else f"Metacluster {metacluster}"
        return self.names.get(int(metacluster)) or default

    def colour_of(self, metacluster: int) -> str:
        """The colour of a metacluster; grey where it has none."""
        return self.colours.get(int(metacluster), UNASSIGNED_COLOUR)

    @property
    def settings(self) -> HeatmapSettings | None:
        """The settings the matrix and its tree were computed with, where they were recorded."""
        from cytopipe.heatmap.parameters import HeatmapSettings

        recorded = self.parameters.get("heatmap")
        return HeatmapSettings(**recorded) if isinstance(recorded, Mapping) else None

    # ------------------------------------------------------------------ other states

    def replace(self, **changes: Any) -> HeatmapState:
        """A state with other values, checked like a new one."""
        return dataclasses.replace(self, **changes)

    def flipped(self) -> HeatmapState:
        """The same heat map, seen with rows and columns changed."""
        turned = self.orientation == CLUSTERS_BY_MARKERS
        return self.replace(orientation=MARKERS_BY_CLUSTERS if turned else CLUSTERS_BY_MARKERS)

    def as_ancestor(self) -> Ancestor:
        """What its children remember of it."""
        return Ancestor(self.id, tuple(self.parents), self.step_id, self.description, self.created_at)

    def history_below(self, *others: HeatmapState) -> tuple[Ancestor, ...]:
        """The ancestors of a child of this state (and of `others`, for a merge), oldest first."""
        known: dict[str, Ancestor] = {}
        for parent in (self, *others):
            for one in (*parent.ancestors, parent.as_ancestor()):
                known.setdefault(one.id, one)
        return tuple(known.values())

    def child(self, step: int | str, *, beside: Sequence[HeatmapState] = (), **changes: Any) -> HeatmapState:
        """A state made from this one (and from `beside`, for a merge): its own identifier, step and parents.

        Parameters
        ----------
        step : int or str
            See `step_slug`.
        beside : sequence of HeatmapState
            The other parents of a merge.
        **changes
            Fields that differ; `id` is random unless given, description and time start empty.
        """
        fresh = {
            "id": new_id(),
            "parents": (self.id, *(one.id for one in beside)),
            "ancestors": self.history_below(*beside),
            "step_id": step_slug(step),
            "description": "",
            "created_at": "",
        }
        return self.replace(**fresh | changes)

    def unlike(self, other: HeatmapState) -> tuple[str, ...]:
        """Names of the fields in which another state differs: values, dtypes and order; none when equal."""
        return tuple(
            one.name
            for one in dataclasses.fields(self)
            if not _equal(getattr(self, one.name), getattr(other, one.name))
        )


# ---------------------------------------------------------------------- values as they are kept


def _settled(state: HeatmapState) -> dict[str, Any]:
    """The fields in their own types: tuples, read-only arrays, plain mappings."""
    n, m = len(state.cluster_ids), len(state.markers)
    markers = tuple(map(str, state.markers))
    channels = markers if state.channels is None else tuple(map(str, state.channels))
    training = markers if state.training_markers is None else tuple(map(str, state.training_markers))
    selected = state.selected_channels
    if selected is None:
        selected = [channel for marker, channel in zip(markers, channels, strict=False) if marker in training]
    return {
        "cluster_ids": tuple(map(str, state.cluster_ids)),
        "markers": markers,
        "labels": markers if state.labels is None else tuple(map(str, state.labels)),
        "channels": channels,
        "training_markers": training,
        "linkage_markers": markers
        if state.linkage_markers is None
        else tuple(map(str, state.linkage_markers)),
        "selected_channels": tuple(map(str, selected)),
        "matrix": _floats(state.matrix),
        "median": None if state.median is None else _floats(state.median),
        "n_cells": _array(state.n_cells, np.int64),
        "metacluster": _array(state.metacluster, np.int32),
        "revision": _array(np.full(n, NOT_REVISED) if state.revision is None else state.revision, np.int32),
        "names": {int(key): str(state.names[key]) for key in sorted(state.names, key=int)},
        "colours": {int(key): str(state.colours[key]).lower() for key in sorted(state.colours, key=int)},
        "row_order": _array(np.arange(n) if state.row_order is None else state.row_order, np.int32),
        "col_order": _array(np.arange(m) if state.col_order is None else state.col_order, np.int32),
        "linkage": _array(state.linkage, np.float64),
        "col_linkage": _array(state.col_linkage, np.float64),
        "dendrogram_cut": None if state.dendrogram_cut is None else float(state.dendrogram_cut),
        "pct_positive": _array(state.pct_positive, np.float64),
        "subset_filters": tuple(_json(dict(one)) for one in state.subset_filters),
        **{
            name: _texts(getattr(state, name)) for name in ("subset_lineage", "subset_mixed", "subset_cohort")
        },
        "obs": {str(name): _column(values) for name, values in state.obs.items()},
        "embeddings": {
            str(key): _array(value, np.float64) for key, value in sorted(state.embeddings.items())
        },
        "parameters": _json(state.parameters),
        "flowsom": _json(state.flowsom),
        "parents": tuple(map(str, state.parents)),
        "step_id": step_slug(state.step_id),
        "ancestors": tuple(state.ancestors),
        "cell_cluster": _array(state.cell_cluster, np.int32),
    }


def _array(values: Any, dtype: type) -> np.ndarray | None:
    if values is None:
        return None
    given = np.asarray(values)
    if np.issubdtype(dtype, np.integer) and given.size:
        if given.dtype.kind not in "iu":
            raise InputError("whole numbers are wanted", found=f"values of type {given.dtype}")
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise InputError("a number is too large", expected=f"{limits.min} to {limits.max}")
    array = given.astype(dtype, order="C")  # a copy: the caller's may change
    array.flags.writeable = False
    return array


def _floats(values: Any) -> np.ndarray:
    given = np.asarray(values)
    return _array(given, given.dtype.type if given.dtype in (np.float32, np.float64) else np.float64)


def _texts(values: Sequence[str | None] | None) -> tuple[str | None, ...] | None:
    return None if values is None else tuple(None if _missing(one) else str(one) for one in values)


def _column(values: Any) -> np.ndarray:
    """A column of obs: numbers and truth values as they are, anything else as text."""
    given = np.asarray(values)
    if given.dtype.kind in "iufb":
        array = given.copy()
    else:
        array = np.empty(len(given), object)
        array[:] = [None if _missing(one) else str(one) for one in given.tolist()]
    array.flags.writeable = False
    return array


def _missing(value: object) -> bool:
    return (
        value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"
    )


def _json(value: Any) -> Any:
    """A value as canonical JSON gives it back, keys sorted; InputError where JSON cannot say it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError("parameters hold a number that JSON cannot say", found=repr(value))
        return value
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise InputError("parameters have a key that is no text", found=repr(list(value))[:200])
        return {key: _json(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if hasattr(value, "tolist"):
        return _json(value.tolist())
    raise InputError("parameters hold what JSON has no word for", found=type(value).__name__)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if not (isinstance(one, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        same = one.dtype == other.dtype and one.shape == other.shape
        return same and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


# ---------------------------------------------------------------------- what must hold


def _faults(state: HeatmapState) -> Iterator[Finding]:
    """Everything that does not fit together."""
    n, m = state.n_clusters, state.n_markers
    for what, names in (("cluster", state.cluster_ids), ("marker", state.markers)):
        if not names:
            yield Finding(what=f"there is no {what}", next="A heat map has at least one row and one column.")
        if len(set(names)) < len(names):
            twice = next(one for one in names if names.count(one) > 1)
            yield Finding(what=f"two {what}s have the name {twice!r}", next="Give each its own name.")
        if "" in names:
            yield Finding(what=f"a {what} has an empty name")
    shapes: dict[str, tuple[int, ...]] = {
        "matrix": (n, m),
        "median": (n, m),
        "n_cells": (n,),
        "metacluster": (n,),
        "revision": (n,),
        "row_order": (n,),
        "col_order": (m,),
        "linkage": (n - 1, 4),
        "col_linkage": (m - 1, 4),
        "pct_positive": (m,),
    }
    for name, shape in shapes.items():
        array = getattr(state, name)
        if array is not None and array.shape != shape:
            yield _wrong(name, "has another shape than clusters and markers ask for", shape, array.shape)
    for name in ("labels", "channels", "subset_lineage", "subset_mixed", "subset_cohort"):
        values, length = getattr(state, name), m if name in ("labels", "channels") else n
        if values is not None and len(values) != length:
            yield _wrong(name, "has another length", length, len(values))
    for name, values in state.obs.items():
        if values.shape != (n,):
            yield _wrong(f"obs[{name!r}]", "has another length", n, values.shape)
    for name, values in state.embeddings.items():
        if values.shape != (n, 2):
            yield _wrong(f"embeddings[{name!r}]", "has another shape", (n, 2), values.shape)
    for name in ("row_order", "col_order"):
        order = getattr(state, name)
        if order.ndim == 1 and sorted(order.tolist()) != list(range(len(order))):
            yield Finding(what="is no permutation", where=name, expected="each place once")
    if not np.isfinite(state.matrix).all():
        yield Finding(what="holds values that are not finite", where="matrix")
    if state.n_cells is not None and (state.n_cells < 0).any():
        yield Finding(what="is negative", where="n_cells")
    if (state.metacluster < 0).any():
        yield Finding(what="is negative", where="metacluster", expected="numbers from 0")
    if (state.revision < NOT_REVISED).any():
        yield Finding(what="holds an unknown number", where="revision", expected="-2, -1, or a metacluster")
    for number, colour in state.colours.items():
        if not re.fullmatch(r"#[0-9a-f]{6}", colour):
            yield _wrong("colours", f"of metacluster {number} is no colour", "#rrggbb", colour)
    if state.orientation not in (CLUSTERS_BY_MARKERS, MARKERS_BY_CLUSTERS):
        expected = f"{CLUSTERS_BY_MARKERS} or {MARKERS_BY_CLUSTERS}"
        yield _wrong("orientation", "is unknown", expected, state.orientation)
    for name in ("training_markers", "linkage_markers"):
        if unknown := sorted(set(getattr(state, name)) - set(state.markers)):
            yield Finding(what="names markers that are not there", where=name, found=", ".join(unknown[:10]))
    for one in (state.id, *state.parents):
        if not UUID.fullmatch(one):
            yield _wrong("id" if one == state.id else "parents", "is no UUID", "a UUID", one)
    if len(set(state.parents)) < len(state.parents) or state.id in state.parents:
        yield Finding(what="names a parent twice, or itself", where="parents")
    for where, text in _texts_of(state):
        if "\0" in text or text.encode(errors="replace").decode() != text:  # NUL, half a surrogate pair
            yield Finding(
                what="holds a character that no file can keep", where=where, found=ascii(text)[:200]
            )
    rows = state.cell_cluster
    if rows is not None:
        if rows.ndim != 1:
            yield _wrong("cell_cluster", "has another shape", "one number per cell", rows.shape)
        elif rows.size and (rows.min() < -1 or rows.max() >= n):
            yield _wrong("cell_cluster", "names clusters that are not there", f"-1 to {n - 1}", rows.max())
        elif state.n_cells is not None and state.n_cells.shape == (n,):
            counted = np.bincount(rows[rows >= 0], minlength=n)
            if not np.array_equal(counted, state.n_cells):
                yield Finding(what="counts other cells than cell_cluster has", where="n_cells")


def _texts_of(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text inside of a value, with the name of the field it stands in."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, np.ndarray):
        if value.dtype == object:
            yield from _texts_of(value.tolist(), where)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield where, str(key)
            yield from _texts_of(item, where)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts_of(item, where)
    elif dataclasses.is_dataclass(value):
        for one in dataclasses.fields(value):
            yield from _texts_of(getattr(value, one.name), where or one.name)


def _wrong(where: str, what: str, expected: object, found: object) -> Finding:
    return Finding(what=what, where=where, expected=str(expected), found=str(found)[:200])
