"""A set of sequences in, its clusters out: the one place that knows how they are split.

The default rule joins by median distance (`linkage`) in five steps: what is within `min_split` is represented
by a leader; leaders that a search calls similar are compared; those linked within the distance of joining
form components; in each, with all its distances, clusters are joined by their median; those that a barcode
gap divides stay apart beyond a cut, which the set itself tells (`diversity`, `barcode_gap`). The two
barcode-gap cores (`gap`) can be asked for instead, and `parity` follows the reference. Common to all but
parity: distances that contradict the others, exceeding a path over a third sequence by more than 0.05, are
alignments that went astray (two partial sequences that hardly overlap are aligned all the same) and are left
out. And no size is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.barcode_gap import KNOWN
from cytopipe.decompose.candidates import Candidates, candidates_among
from cytopipe.decompose.clusters import Clusters, connected, in_order
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.diversity import narrowest_cut, species_cut
from cytopipe.decompose.gap import gap_core, without_triangle_violations
from cytopipe.decompose.leaders import absorb, pairs_between_groups, representatives
from cytopipe.decompose.linkage import median_linkage
from cytopipe.decompose.parameters import BarcodeGap, Parameters

__all__ = ["DENSE", "Split", "split"]

#: Sequences up to which all their distances are computed: 1,500 are 1.1 million pairs.
DENSE = 1_500


#: Groups with no known pair within this many times the distance of joining are not measured any closer.
MEASURED = 2.0

#: Sequences that a group of near-identical ones is measured by. One would do, were there no bad reads.
REPRESENTATIVES = 9

#: Cuts tried until the clusters tell the cut that made them.
CUTS_TRIED = 8


@dataclass(frozen=True)
class Split:
    """Clusters and their gaps.

    Attributes
    ----------
    clusters : tuple of tuple of int
        Disjoint and exhaustive, largest first.
    gap : float
        What the gap core maximised; for the median rule the smallest of `gaps`.
    gaps : tuple of float
        For each cluster, ``Q_{1-p}(to the nearest other) - Q_p(within)`` over the distances that were
        computed; 0 where there is no other to compare with.
    """

    clusters: Clusters
    gap: float
    gaps: tuple[float, ...]


def split(
    indices: Iterable[int],
    distances: Distances,
    parameters: Parameters,
    among: Candidates | None = None,
    cut: float | None = None,
    gap: BarcodeGap | None = None,
) -> Split:
    """Split the sequences at `indices`.

    Parameters
    ----------
    indices : iterable of int
        Distinct positions, in any order.
    distances : Distances
    parameters : Parameters
    among : Candidates, optional
        What is worth comparing; by default what a k-mer search among the sequences finds.
    cut : float, optional
        Distance beyond which a barcode gap divides (default rule only); by default found on the sequences.
    gap : BarcodeGap, optional
        Where the set that they are of is cut (default rule only); by default at `max_lump`.

    Returns
    -------
    Split
    """
    members = np.array(sorted(map(int, indices)), np.int64)
    joins, measured_to = parameters.lump, MEASURED * parameters.lump
    if gap is not None:
        joins, measured_to = gap.joins, max(gap.joins, min(MEASURED * gap.joins, KNOWN))
    if parameters.gap_decides and len(members) <= DENSE:
        return _by_gap(members, np.arange(len(members)), distances, parameters)
    if among is None:
        among = candidates_among(members, distances.sequences, parameters)
    leader_of = absorb(members, among, distances, parameters.min_split)
    leaders = np.unique(leader_of)
    low, high = pairs_between_groups(members, leader_of, among, distances.lengths)
    values = distances.pairs(low, high)
    ends = leader_of[np.searchsorted(members, np.stack([low, high]))]
    linked = np.searchsorted(leaders, ends[:, values <= joins])
    worth_measuring = ends[:, values <= measured_to]
    joined: list[tuple[int, ...]] = []
    measured: list[_Component] = []
    for component in connected(len(leaders), linked):
        group = leaders[component]
        own = np.flatnonzero(np.isin(leader_of, group))
        if len(group) == 1:
            joined.append(tuple(members[own].tolist()))
        elif parameters.gap_decides:
            joined += _by_gap(members[own], leader_of[own], distances, parameters).clusters
        else:
            measured.append(
                _component(members[own], leader_of[own], worth_measuring, among, distances, parameters, joins)
            )
    if not parameters.gap_decides:
        joined = _by_median(joined, measured, distances, parameters, cut, joins, gap)
    clusters = in_order(joined, members.tolist())
    gaps = _gaps(clusters, low, high, distances, parameters.target_percentile)
    return Split(clusters, min(gaps, default=0.0), gaps)


@dataclass(frozen=True)
class _Component:
    """Sequences that may be one cluster, with the distances between some that represent them."""

    members: np.ndarray
    leader_of: np.ndarray
    positions: np.ndarray
    groups: np.ndarray
    weights: np.ndarray
    unit: int
    D: np.ndarray

    def clusters(self, joins: float, cut: float) -> list[tuple[int, ...]]:
        """Clusters by median linkage; those of the leaders where there are too many of them to measure."""
        if not len(self.D):
            return [tuple(self.members[self.leader_of == one].tolist()) for one in np.unique(self.leader_of)]
        joined = []
        for rows in median_linkage(self.D, self.weights, joins, self.groups, cut=cut, unit=self.unit):
            leaders = self.leader_of[np.searchsorted(self.members, self.positions[list(rows)])]
            joined.append(tuple(self.members[np.isin(self.leader_of, leaders)].tolist()))
        return joined


def _by_median(
    lone: list[tuple[int, ...]],
    components: Sequence[_Component],
    distances: Distances,
    parameters: Parameters,
    cut: float | None,
    joins: float,
    gap: BarcodeGap | None,
) -> list[tuple[int, ...]]:
    """Clusters by median linkage; without a cut, with the smallest one that its own clusters tell."""

    def at(cut: float) -> list[tuple[int, ...]]:
        return lone + [one for some in components for one in some.clusters(joins, cut)]

    if cut is not None:
        return at(cut)
    clusters = at(narrowest_cut(parameters, gap))
    for _ in range(CUTS_TRIED):
        wider = at(species_cut(clusters, distances, parameters, gap))
        if wider == clusters:
            break
        clusters = wider
    return clusters


def _component(
    members: np.ndarray,
    leader_of: np.ndarray,
    worth_measuring: np.ndarray,
    among: Candidates,
    distances: Distances,
    parameters: Parameters,
    joins: float,
) -> _Component:
    """One component with all that median linkage needs of it."""
    radius = parameters.min_split
    while len(leaders := np.unique(leader_of)) > DENSE and radius < joins:
        # More diverse than can be held at once: let each leader stand for more.
        radius = min(2.0 * max(radius, 1e-6), joins)
        above = absorb(leaders, among, distances, radius)
        inside = np.isin(worth_measuring, leaders).all(axis=0)
        worth_measuring = above[np.searchsorted(leaders, worth_measuring[:, inside])]
        leader_of = above[np.searchsorted(leaders, leader_of)]
    if len(leaders) > DENSE:  # nothing more can be joined
        rows = np.arange(0)
        return _Component(members, leader_of, rows, rows, rows, 1, np.empty((0, 0)))
    per_group = max(1, min(REPRESENTATIVES, DENSE // len(leaders)))
    positions, groups, weights, unit = representatives(members, leader_of, among, per_group)
    D = _measured(positions, leader_of[np.searchsorted(members, positions)], worth_measuring, distances)
    return _Component(members, leader_of, positions, groups, weights, unit, D)


def _measured(
    positions: np.ndarray, leader_of: np.ndarray, worth_measuring: np.ndarray, distances: Distances
) -> np.ndarray:
    """Distances among representatives, infinite between groups that are far from each other anyway."""
    leaders, at = np.unique(leader_of, return_inverse=True)
    close = np.eye(len(leaders), dtype=bool)
    inside = np.isin(worth_measuring, leaders).all(axis=0)
    a, b = np.searchsorted(leaders, worth_measuring[:, inside])
    close[a, b] = close[b, a] = True
    measured = close[np.ix_(at, at)]
    D = np.full(measured.shape, np.nan)
    rows, columns = np.nonzero(np.triu(measured))
    D[rows, columns] = D[columns, rows] = distances.pairs(positions[rows], positions[columns])
    D = without_triangle_violations(D, distances.lengths[positions])
    D[~measured] = np.inf
    return D


def _by_gap(
    members: np.ndarray, leader_of: np.ndarray, distances: Distances, parameters: Parameters
) -> Split:
    """Clusters by the gap core, over representatives where there are more sequences than fit."""
    if len(members) <= DENSE:
        leader_of = members
    leaders, at = np.unique(leader_of, return_inverse=True)
    if len(leaders) > DENSE:
        clusters: Sequence[Sequence[int]] = [(k,) for k in range(len(leaders))]
        gap = 0.0
    else:
        D = distances.matrix(leaders)
        result = gap_core(
            D if parameters.parity else without_triangle_violations(D, distances.lengths[leaders]),
            min_split=parameters.min_split,
            max_lump=parameters.lump,
            percentile=parameters.target_percentile,
            method="global" if parameters.parity else parameters.gap_method,
            triangle_filter=parameters.parity,
            alpha=parameters.gap_alpha,
            first_competes=not parameters.parity,
        )
        clusters, gap = result.clusters, result.gap
    grouped = [members[np.isin(at, cluster)].tolist() for cluster in clusters]
    ordered = in_order(grouped, members.tolist())
    if len(members) > DENSE:
        return Split(ordered, gap, (gap,) * len(ordered))
    low, high = np.triu_indices(len(members), 1)
    gaps = _gaps(ordered, members[low], members[high], distances, parameters.target_percentile)
    return Split(ordered, gap, gaps)


def _gaps(
    clusters: Clusters, low: np.ndarray, high: np.ndarray, distances: Distances, percentile: float
) -> tuple[float, ...]:
    """Gap of each cluster to its nearest other one, over the given pairs."""
    home = {index: number for number, cluster in enumerate(clusters) for index in cluster}
    a = np.array([home[index] for index in low.tolist()], np.int64)
    b = np.array([home[index] for index in high.tolist()], np.int64)
    values = distances.pairs(low, high)
    within = np.zeros(len(clusters))
    nearest = np.full(len(clusters), np.inf)
    keys = np.minimum(a, b) * len(clusters) + np.maximum(a, b)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for group in np.split(order, starts[1:]) if len(order) else []:
        one, other = int(a[group[0]]), int(b[group[0]])
        if one == other:
            within[one] = np.percentile(values[group], percentile)
        else:
            between = np.percentile(values[group], 100.0 - percentile)
            nearest[[one, other]] = np.minimum(nearest[[one, other]], between)
    return tuple(np.where(np.isfinite(nearest), nearest - within, 0.0).tolist())
