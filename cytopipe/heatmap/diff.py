"""What differs between two heat maps: how they were made, which cells changed their label, which medians
moved.

Metaclusters and clusters of a revision are those of its parent, by their names. Where cells were clustered
again, names say nothing: each is compared with the one that shares most cells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cytopipe.heatmap.artifact import canonical_json
from cytopipe.heatmap.one_line import one_line
from cytopipe.heatmap.state import HeatmapState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Change", "Labels", "MatrixStatistics", "Names", "Shift", "StateDiff", "diff_states", "draw_diff"]

Relation = Literal["same", "subset", "superset", "overlap", "disjoint", "other", "unknown"]
_RELATIONS = {
    "same": "both are about the same cells",
    "subset": "the cells of B are a part of those of A",
    "superset": "the cells of A are a part of those of B",
    "overlap": "they share some cells",
    "disjoint": "they share no cell",
    "other": "they are about other cell tables: clusters are compared by their names",
    "unknown": "a checkpoint does not say which cells it is about: clusters are compared by their names",
}
_SHOWN = 20
_EXACT = 4_000_000  # pairs of clusters: two maps of 2,000


@dataclass(frozen=True)
class Names:
    """A set of names in both: what came, what went, how many stayed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: int = 0

    @classmethod
    def of(cls, before: Sequence[str], after: Sequence[str]) -> Names:
        old, new = set(before), set(after)
        return cls(tuple(sorted(new - old)), tuple(sorted(old - new)), len(old & new))

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


@dataclass(frozen=True)
class Change:
    """A value that differs; None stands for one that is not there."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class MatrixStatistics:
    """z-scores of clusters and markers that both have, B less A."""

    n_clusters: int
    n_markers: int
    n_changed: int
    mean: float
    mean_absolute: float
    root_mean_square: float
    largest: float
    correlation: float | None


@dataclass(frozen=True, eq=False)
class Labels:
    """Metaclusters of the cells that both have.

    Parameters
    ----------
    before, after : tuple of int
        Numbers of the metaclusters of A and of B.
    before_names, after_names : tuple of str
    counts : ndarray of int64
        (len(before), len(after)) cells.
    matched : dict of int to int
        Which metacluster of B each of A is taken for.
    by : {'name', 'cells'}
        Whether metaclusters were matched by number, or by the cells they share.
    moved : int
        Cells that are not in the match of their metacluster.
    n_cells : int
        Cells that both have; of clusters that both have, where cells are not known.
    only_before, only_after : int
        Cells of one alone.
    agreement : float or None
        Adjusted Rand index of the labels.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    before_names: tuple[str, ...]
    after_names: tuple[str, ...]
    counts: np.ndarray
    matched: Mapping[int, int]
    by: Literal["name", "cells"]
    moved: int
    n_cells: int
    only_before: int
    only_after: int
    agreement: float | None

    def flows(self) -> list[tuple[str, str, int]]:
        """Cells that moved, by metacluster of A and of B, most first."""
        found = [
            (self.before_names[row], self.after_names[column], int(self.counts[row, column]))
            for row, column in np.argwhere(self.counts)
            if self.matched.get(self.before[row]) != self.after[column]
        ]
        return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


@dataclass(frozen=True)
class Shift:
    """How far a median moved, of a cluster that is matched."""

    cluster: str
    now: str
    marker: str
    before: float
    after: float

    @property
    def by(self) -> float:
        return self.after - self.before


@dataclass(frozen=True, eq=False)
class StateDiff:
    """Everything that differs between A and B; see `diff_states`.

    Parameters
    ----------
    before, after : dict
        Who they are: id, step_id, description, sizes.
    relation : str
        Of their cells: same, subset, superset, overlap, disjoint, other (tables), unknown.
    parameters : tuple of Change
        Parameters, provenance of FlowSOM, cut, orientation, by dotted name.
    sets : dict of str to Names
        markers, channels, training and linkage markers, filters, clusters, metaclusters, columns,
        embeddings.
    metaclusters : tuple of Change
        Names and colours that changed.
    orders : tuple of str
        ``row_order``, ``col_order``: those whose common names stand in another order.
    matrix : MatrixStatistics or None
        None without a common cluster and marker.
    labels : Labels or None
    shifts : tuple of Shift
        Medians that moved, farthest first.
    shifted : {'median', 'z-score'}
        What `shifts` are about: z-scores where a checkpoint has lost its medians.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    relation: Relation
    parameters: tuple[Change, ...] = ()
    sets: Mapping[str, Names] = field(default_factory=dict)
    metaclusters: tuple[Change, ...] = ()
    orders: tuple[str, ...] = ()
    matrix: MatrixStatistics | None = None
    labels: Labels | None = None
    shifts: tuple[Shift, ...] = ()
    shifted: Literal["median", "z-score"] = "median"

    def __bool__(self) -> bool:
        """Whether anything differs."""
        moved = self.labels is not None and (
            self.labels.moved or self.labels.only_before or self.labels.only_after
        )
        changed = self.matrix is not None and self.matrix.n_changed
        return bool(
            self.parameters
            or any(self.sets.values())
            or self.metaclusters
            or self.orders
            or changed
            or moved
            or self.shifts
        )

    @property
    def relation_in_words(self) -> str:
        """Which cells both are about."""
        return _RELATIONS[self.relation]

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        labels = None
        if self.labels is not None:
            labels = {
                one.name: getattr(self.labels, one.name)
                for one in dataclasses.fields(self.labels)
                if one.name not in ("counts", "matched")
            }
            labels |= {
                "before": list(self.labels.before),
                "after": list(self.labels.after),
                "before_names": list(self.labels.before_names),
                "after_names": list(self.labels.after_names),
                "counts": self.labels.counts.tolist(),
                "matched": {str(key): value for key, value in self.labels.matched.items()},
                "flows": [list(one) for one in self.labels.flows()],
            }
        return {
            "before": dict(self.before),
            "after": dict(self.after),
            "relation": self.relation,
            "parameters": [dataclasses.asdict(one) for one in self.parameters],
            "sets": {
                name: {"added": list(one.added), "removed": list(one.removed), "kept": one.kept}
                for name, one in self.sets.items()
            },
            "metaclusters": [dataclasses.asdict(one) for one in self.metaclusters],
            "orders": list(self.orders),
            "matrix": None if self.matrix is None else dataclasses.asdict(self.matrix),
            "labels": labels,
            "shifted": self.shifted,
            "shifts": [{**dataclasses.asdict(one), "by": one.by} for one in self.shifts],
            "shifts_by_marker": self.shifts_by_marker(),
        }

    def shifts_by_marker(self) -> list[dict[str, Any]]:
        """For every marker that moved: in how many clusters, mean and largest distance; largest first."""
        grouped: dict[str, list[float]] = {}
        for one in self.shifts:
            grouped.setdefault(one.marker, []).append(abs(one.by))
        found = [
            {"marker": name, "clusters": len(some), "mean": float(np.mean(some)), "largest": max(some)}
            for name, some in grouped.items()
        ]
        return sorted(found, key=lambda one: (-one["largest"], one["marker"]))

    def as_text(self, shown: int = _SHOWN) -> str:
        """For people: what differs, the first `shown` lines of every kind."""
        return "\n".join(self._lines(shown)) + "\n"

    def _lines(self, shown: int) -> Iterator[str]:
        for name, one in (("A", self.before), ("B", self.after)):
            about = f" {_quoted(one['description'])}" if one["description"] else ""
            sizes = f"{one['n_clusters']:,} clusters, {one['n_markers']} markers"
            yield f"{name}  {one['id']}  {one_line(one['step_id'])}{about}, {sizes}"
        yield self.relation_in_words
        if not self:
            yield "nothing differs"
            return
        yield from _section("parameters", map(_told, self.parameters), shown)
        for name, names in self.sets.items():
            lines = [f"+ {one_line(one)}" for one in names.added] + [
                f"- {one_line(one)}" for one in names.removed
            ]
            yield from _section(f"{name} ({names.kept:,} in both)", lines, shown)
        yield from _section("names and colours of metaclusters", map(_told, self.metaclusters), shown)
        yield from _section("shown in another order", self.orders, shown)
        if self.matrix is not None and self.matrix.n_changed:
            yield "z-scores of common clusters and markers"
            one = self.matrix
            total = one.n_clusters * one.n_markers
            close = "" if one.correlation is None else f", correlation {one.correlation:.4f}"
            far = f"by {one.mean_absolute:.3g} on average, {one.largest:.3g} at most"
            yield f"  {one.n_changed:,} of {total:,} differ, {far}{close}"
        yield from self._lines_of_labels(shown)
        lines = [
            f"{one['marker']}: {one['clusters']} clusters, by {one['mean']:.3g} on average, "
            f"{one['largest']:.3g} at most"
            for one in self.shifts_by_marker()
        ]
        yield from _section(f"{self.shifted}s that moved, by marker", map(one_line, lines), shown)
        lines = [
            f"{one.cluster if one.cluster == one.now else f'{one.cluster} -> {one.now}'}  {one.marker}: "
            f"{one.before:.4g} -> {one.after:.4g} ({one.by:+.3g})"
            for one in self.shifts[: shown + 1]
        ]
        yield from _section(
            f"{self.shifted}s that moved farthest", map(one_line, lines), shown, len(self.shifts)
        )

    def _lines_of_labels(self, shown: int) -> Iterator[str]:
        labels = self.labels
        if labels is None or not (labels.moved or labels.only_before or labels.only_after):
            return
        yield "labels of cells"
        if labels.only_before or labels.only_after:
            yield f"  {labels.only_before:,} cells only in A, {labels.only_after:,} only in B"
        if not labels.n_cells:
            return
        share = 100 * labels.moved / labels.n_cells
        how = "" if labels.by == "name" else ", metaclusters matched by the cells they share"
        rand = "" if labels.agreement is None else f"; adjusted Rand index {labels.agreement:.4f}"
        yield f"  {labels.moved:,} of {labels.n_cells:,} cells moved ({share:.1f} %{how}){rand}"
        flows = labels.flows()
        for one, other, count in flows[:shown]:
            yield f"  {count:>9,}  {one_line(one)} -> {one_line(other)}"
        if len(flows) > shown:
            yield f"  and {len(flows) - shown} more"


def _section(title: str, lines: Iterator[str] | Sequence[str], shown: int, count: int = 0) -> Iterator[str]:
    found = list(lines)
    if not found:
        return
    yield title
    yield from (f"  {line}" for line in found[:shown])
    if (more := max(count, len(found)) - shown) > 0:
        yield f"  and {more:,} more"


def _told(change: Change) -> str:
    sides = (
        "none" if one is None else one_line(canonical_json(one)) for one in (change.before, change.after)
    )
    return f"{one_line(change.name)}: {' -> '.join(sides)}"


def _quoted(text: str) -> str:
    return f"“{one_line(text)}”"


# ---------------------------------------------------------------------- comparing


def diff_states(before: HeatmapState, after: HeatmapState) -> StateDiff:
    """Compare two heat maps, A (`before`) and B (`after`).

    Parameters
    ----------
    before, after : HeatmapState
        Of any two checkpoints: parent and child, two branches, or two data sets.
    """
    relation = _relation(before, after)
    sets = {
        "markers": Names.of(before.markers, after.markers),
        "channels": Names.of(before.channels, after.channels),
        "selected channels": Names.of(before.selected_channels, after.selected_channels),
        "training markers": Names.of(before.training_markers, after.training_markers),
        "linkage markers": Names.of(before.linkage_markers, after.linkage_markers),
        "filters": Names.of(
            *([canonical_json(one) for one in state.subset_filters] for state in (before, after))
        ),
        "clusters": Names.of(before.cluster_ids, after.cluster_ids),
        "metaclusters": Names.of(
            *([state.name_of(one) for one in state.metaclusters] for state in (before, after))
        ),
        "columns": Names.of(_columns(before), _columns(after)),
        "embeddings": Names.of(tuple(before.embeddings), tuple(after.embeddings)),
    }
    pairs, by_name = _matched_clusters(before, after, relation)
    shifted, shifts = _shifts(before, after, pairs)
    return StateDiff(
        before=_who(before),
        after=_who(after),
        relation=relation,
        parameters=tuple(_changes(_settings(before), _settings(after))),
        sets=sets,
        metaclusters=tuple(_renamed(before, after)),
        orders=tuple(
            name
            for name, ids in (("row_order", "cluster_ids"), ("col_order", "markers"))
            if _order(before, after, name, ids) != _order(after, before, name, ids)
        ),
        matrix=_statistics(before, after),
        labels=_labels(before, after, relation, by_name),
        shifts=shifts,
        shifted=shifted,
    )


def _who(state: HeatmapState) -> dict[str, Any]:
    return {
        "id": state.id,
        "parents": list(state.parents),
        "step_id": state.step_id,
        "description": state.description,
        "created_at": state.created_at,
        "n_clusters": state.n_clusters,
        "n_markers": state.n_markers,
        "n_cells": state.n_cells_total,
    }


def _columns(state: HeatmapState) -> list[str]:
    subsets = ("subset_lineage", "subset_mixed", "subset_cohort")
    return [*state.obs, *(name for name in subsets if getattr(state, name) is not None)]


def _relation(before: HeatmapState, after: HeatmapState) -> Relation:
    one, other = before.cell_cluster, after.cell_cluster
    if one is None or other is None:
        return "unknown"
    if len(one) != len(other) or before.cells_digest != after.cells_digest:
        return "other"
    first, second = one >= 0, other >= 0
    if not (first & second).any():
        return "disjoint"
    if (first == second).all():
        return "same"
    if not (second & ~first).any():
        return "subset"
    return "superset" if not (first & ~second).any() else "overlap"


def _settings(state: HeatmapState) -> dict[str, Any]:
    return {
        "parameters": state.parameters,
        "flowsom": state.flowsom,
        "dendrogram_cut": state.dendrogram_cut,
        "orientation": state.orientation,
        "subset_filters_expr": state.subset_filters_expr,
        "cells_digest": state.cells_digest,
    }


def _changes(before: Any, after: Any, name: str = "") -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from _changes(before.get(key), after.get(key), f"{name}.{key}" if name else key)
    elif type(before) is not type(after) or before != after:
        yield Change(name, before, after)


def _renamed(before: HeatmapState, after: HeatmapState) -> Iterator[Change]:
    for number in sorted({*before.metaclusters} & {*after.metaclusters}):
        for what in ("name_of", "colour_of"):
            one, other = getattr(before, what)(number), getattr(after, what)(number)
            if one != other:
                yield Change(f"{what.removesuffix('_of')} of {number}", one, other)


def _order(state: HeatmapState, other: HeatmapState, order: str, ids: str) -> list[str]:
    names, common = getattr(state, ids), set(getattr(other, ids))
    return [names[place] for place in getattr(state, order) if names[place] in common]


def _statistics(before: HeatmapState, after: HeatmapState) -> MatrixStatistics | None:
    rows = _common(before.cluster_ids, after.cluster_ids)
    columns = _common(before.markers, after.markers)
    if not rows or not columns:
        return None
    one, other = (
        state.matrix[np.ix_([pair[k] for pair in rows], [pair[k] for pair in columns])].astype(np.float64)
        for k, state in enumerate((before, after))
    )
    change = other - one
    varied = one.std() > 0 and other.std() > 0
    return MatrixStatistics(
        n_clusters=len(rows),
        n_markers=len(columns),
        n_changed=int((change != 0).sum()),
        mean=float(change.mean()),
        mean_absolute=float(np.abs(change).mean()),
        root_mean_square=float(np.sqrt((change**2).mean())),
        largest=float(np.abs(change).max()),
        correlation=float(np.corrcoef(one.ravel(), other.ravel())[0, 1]) if varied else None,
    )


def _common(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Places of the names that both have, in the order of the first."""
    place = {name: number for number, name in enumerate(after)}
    return [(number, place[name]) for number, name in enumerate(before) if name in place]


def _matched_clusters(
    before: HeatmapState, after: HeatmapState, relation: Relation
) -> tuple[list[tuple[int, int]], bool]:
    """Rows of clusters to compare, and whether their names mean the same in both."""
    named = _common(before.cluster_ids, after.cluster_ids)
    if relation in ("unknown", "other", "disjoint"):
        return named, True
    one, other = before.cell_cluster, after.cell_cluster
    both = (one >= 0) & (other >= 0)
    same = np.full(before.n_clusters, -1)
    for row, column in named:
        same[row] = column
    if (same[one[both]] == other[both]).all():
        return named, True
    n, m = before.n_clusters, after.n_clusters
    flat = one[both].astype(np.int64) * m + other[both]
    if n * m <= _EXACT:
        return _assigned(np.bincount(flat, minlength=n * m).reshape(n, m)), False
    return _assigned_greedily(*np.unique(flat, return_counts=True), m), False


def _assigned(counts: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns that share cells, each in one pair, with most cells altogether."""
    from scipy.optimize import linear_sum_assignment

    pairs = zip(*linear_sum_assignment(counts, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if counts[row, column]]


def _assigned_greedily(flat: np.ndarray, counts: np.ndarray, m: int) -> list[tuple[int, int]]:
    """The same for maps of thousands of nodes, where the best of all pairings takes minutes: pairs with most
    cells first.
    """
    rows: set[int] = set()
    columns: set[int] = set()
    found = []
    for place in np.lexsort((flat, -counts)):
        row, column = divmod(int(flat[place]), m)
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            found.append((row, column))
    return sorted(found)


def _labels(before: HeatmapState, after: HeatmapState, relation: Relation, by_name: bool) -> Labels | None:
    only = (0, 0)
    if relation in ("unknown", "other"):
        rows = _common(before.cluster_ids, after.cluster_ids)
        cells = before.n_cells if before.n_cells is not None else after.n_cells
        if not rows or cells is None:
            return None
        first, second = (np.array([pair[k] for pair in rows]) for k in range(2))
        one, other = before.label[first], after.label[second]
        weights = cells[first if before.n_cells is not None else second]
    else:
        inside = [state.cell_cluster >= 0 for state in (before, after)]
        both = inside[0] & inside[1]
        only = tuple(int((mine & ~both).sum()) for mine in inside)
        one, other, weights = before.cell_label[both], after.cell_label[both], None
    mine, theirs = tuple(map(int, np.unique(one))), tuple(map(int, np.unique(other)))
    flat = np.searchsorted(mine, one) * len(theirs) + np.searchsorted(theirs, other)
    counts = (
        np.bincount(flat, weights, len(mine) * len(theirs)).astype(np.int64).reshape(len(mine), len(theirs))
    )
    if by_name:
        matched = {number: number for number in mine if number in theirs}
    else:
        matched = {mine[row]: theirs[column] for row, column in _assigned(counts)}
    stayed = sum(int(counts[mine.index(number), theirs.index(match)]) for number, match in matched.items())
    total = int(counts.sum())
    return Labels(
        before=mine,
        after=theirs,
        before_names=tuple(map(before.name_of, mine)),
        after_names=tuple(map(after.name_of, theirs)),
        counts=counts,
        matched=matched,
        by="name" if by_name else "cells",
        moved=total - stayed,
        n_cells=total,
        only_before=only[0],
        only_after=only[1],
        agreement=_adjusted_rand(counts) if total else None,
    )


def _adjusted_rand(counts: np.ndarray) -> float:
    """Hubert and Arabie's index, from a contingency table."""
    table = counts.astype(np.float64)

    def pairs(values: np.ndarray) -> float:
        return float((values * (values - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    n = table.sum()
    chance = rows * columns / (n * (n - 1) / 2) if n > 1 else 0.0
    most = (rows + columns) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _shifts(
    before: HeatmapState, after: HeatmapState, pairs: Sequence[tuple[int, int]]
) -> tuple[Literal["median", "z-score"], tuple[Shift, ...]]:
    known = before.median is not None and after.median is not None
    one, other = (before.median, after.median) if known else (before.matrix, after.matrix)
    columns = _common(before.markers, after.markers)
    if not pairs or not columns:
        return "median" if known else "z-score", ()
    rows = np.array(pairs)
    first = one[np.ix_(rows[:, 0], [pair[0] for pair in columns])].astype(np.float64)
    second = other[np.ix_(rows[:, 1], [pair[1] for pair in columns])].astype(np.float64)
    moved = np.argwhere((first != second) & ~(np.isnan(first) | np.isnan(second)))
    found = [
        Shift(
            before.cluster_ids[rows[row, 0]],
            after.cluster_ids[rows[row, 1]],
            before.markers[columns[column][0]],
            float(first[row, column]),
            float(second[row, column]),
        )
        for row, column in moved
    ]
    found.sort(key=lambda shift: (-abs(shift.by), shift.cluster, shift.marker))
    return "median" if known else "z-score", tuple(found)


# ---------------------------------------------------------------------- the picture


def draw_diff(diff: StateDiff) -> Figure:
    """The picture of a diff: where cells went, and which medians moved.

    Left: cells by metacluster of A and of B. Right: the markers that moved farthest, in the clusters that
    moved farthest. What was left out is told below.
    """
    from matplotlib.colors import LogNorm, TwoSlopeNorm

    from cytopipe.storage.formats.figure import new_figure

    figure = new_figure(12, 6.5)
    left, right = figure.subplots(1, 2)
    who = [
        f"{name}: {one_line(one['step_id'])} {one['id'][:8]}"
        for name, one in (("A", diff.before), ("B", diff.after))
    ]
    figure.suptitle(f"{who[0]}    {who[1]}\n{_RELATIONS[diff.relation]}", fontsize=10)
    labels = diff.labels
    if labels is None or not labels.n_cells:
        left.text(0.5, 0.5, "no common cells or clusters", ha="center", va="center")
        left.set_axis_off()
    else:
        rows = _most(labels.counts.sum(axis=1), 40)
        columns = _most(labels.counts.sum(axis=0), 40)
        counts = labels.counts[np.ix_(rows, columns)]
        image = left.imshow(
            np.where(counts > 0, counts, np.nan),
            cmap="Blues",
            norm=LogNorm(1, max(2, counts.max())),
            aspect="auto",
        )
        _ticks(left, [labels.before_names[k] for k in rows], [labels.after_names[k] for k in columns])
        left.set(xlabel="metacluster in B", ylabel="metacluster in A")
        left.set_title(f"{labels.moved:,} of {labels.n_cells:,} cells moved", fontsize=10)
        figure.colorbar(image, ax=left, label="cells", shrink=0.7)
    if not diff.shifts:
        right.text(0.5, 0.5, f"no {diff.shifted} moved", ha="center", va="center")
        right.set_axis_off()
    else:
        markers = [one["marker"] for one in diff.shifts_by_marker()][:30]
        clusters = list(dict.fromkeys((one.cluster, one.now) for one in diff.shifts))[:40]
        table = np.zeros((len(clusters), len(markers)))
        for one in diff.shifts:
            if one.marker in markers and (one.cluster, one.now) in clusters:
                table[clusters.index((one.cluster, one.now)), markers.index(one.marker)] = one.by
        limit = float(np.abs(table).max()) or 1.0
        image = right.imshow(table, cmap="RdBu_r", norm=TwoSlopeNorm(0, -limit, limit), aspect="auto")
        _ticks(right, [one if one == now else f"{one} > {now}" for one, now in clusters], markers)
        total = len({(one.cluster, one.now) for one in diff.shifts})
        right.set_title(f"{diff.shifted}s of {total} clusters moved, the farthest first", fontsize=10)
        figure.colorbar(image, ax=right, label=f"{diff.shifted} in B less that in A", shrink=0.7)
    return figure


def _most(counts: np.ndarray, most: int) -> np.ndarray:
    """Places of the largest counts, in their order."""
    return np.sort(np.argsort(-counts, kind="stable")[:most])


def _ticks(axes: Any, rows: Sequence[str], columns: Sequence[str]) -> None:
    look = {"fontsize": 7, "parse_math": False}
    axes.set_yticks(range(len(rows)), [one_line(one, 24) for one in rows], **look)
    axes.set_xticks(range(len(columns)), [one_line(one, 24) for one in columns], rotation=90, **look)
