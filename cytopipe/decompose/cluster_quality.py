"""What can be measured on a partition: medoids, spread within, the gap to the nearest other cluster.

`measure` gives one `ClusterMeasures` per cluster, and for each sequence its distance to the medoid and to the
nearest sequence outside. A sequence counts as often as records carry it. All of it is a function of the
partition alone. Large clusters are measured on an even sample of their sequences, smaller where there are
many such clusters, and the table says on how many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.neighbours import Neighbours

__all__ = ["ClusterMeasures", "Measures", "measure"]

SAMPLES = (300, 200, 120, 60, 40, 30, 20)
PAIRS = 60_000
NEAREST_OUTSIDE = 5
_FAR_PAIRS, _FAR_LEAST = 4_000, 3
_QUERIES_PER_STEP = 2_000


@dataclass(frozen=True)
class ClusterMeasures:
    """One cluster in numbers; distances are fractions of scored positions.

    Parameters
    ----------
    medoid : int
        Position of the sequence with the smallest summed distance to all records of the cluster.
    measured : int
        Number of sequences the distances within were taken over.
    mean_within, percentile_within, max_within : float
        Mean, target percentile and maximum of the distances within; 0 for a single sequence.
    nearest : int
        The cluster with the nearest sequence outside; -1 if there is no other.
    min_between : float
        Distance to that sequence; NaN if there is none.
    gap : float
        Barcode gap: the mirrored percentile of the members' distances to their nearest sequence outside,
        minus `percentile_within`; NaN if there is none outside.
    confidence : float
        Share of members that have a barcode gap of their own, their nearest sequence outside being farther
        than the farthest one within (Meier et al. 2008); 1 where nothing near lies outside.
    """

    medoid: int
    measured: int
    mean_within: float
    percentile_within: float
    max_within: float
    nearest: int
    min_between: float
    gap: float
    confidence: float


@dataclass(frozen=True)
class Measures:
    """All clusters and all sequences of a partition in numbers.

    Parameters
    ----------
    clusters : tuple of ClusterMeasures
        In the order of the clusters given.
    to_medoid : ndarray, (n,) float64
        Distance of every sequence to the medoid of its cluster; NaN for unclustered ones.
    outside : ndarray, (n,) float64
        Distance of every sequence to the nearest one in another cluster, among those the finder named (or
        the medoids of other clusters, where it named none); NaN where there is none.
    within : tuple of ndarray
        Lower and higher position and distance of every pair within a cluster that was measured.
    between : tuple of ndarray
        The same for the nearest pairs of different clusters.
    """

    clusters: tuple[ClusterMeasures, ...]
    to_medoid: np.ndarray
    outside: np.ndarray
    within: tuple[np.ndarray, np.ndarray, np.ndarray]
    between: tuple[np.ndarray, np.ndarray, np.ndarray]


def measure(
    clusters: Sequence[Sequence[int]],
    weights: np.ndarray,
    distances: Distances,
    neighbours: Neighbours,
    *,
    percentile: float,
    progress: Callable[[int, int], None] | None = None,
) -> Measures:
    """Measure disjoint clusters.

    Parameters
    ----------
    clusters : sequence of sequence of int
        Positions of the unique sequences of every cluster.
    weights : ndarray, (n,) int
        Number of records of every unique sequence.
    percentile : float
        The target percentile, percent.
    progress : callable, optional
        ``progress(done, total)`` in clusters.
    """
    n = len(distances)
    label = np.full(n, -1, np.int64)
    for number, members in enumerate(clusters):
        label[np.asarray(members, np.int64)] = number
    to_medoid = np.full(n, np.nan)
    sample = _sample_size([len(members) for members in clusters])
    insides = []
    for number, members in enumerate(clusters):
        members = np.sort(np.asarray(members, np.int64))
        insides.append(_inside(members, sample, weights, distances, to_medoid))
        if progress is not None:
            progress(number + 1, len(clusters))
    medoids = np.array([inside.medoid for inside in insides], np.int64)
    between = _nearest_outside(label, distances, neighbours)
    between = _with_far_clusters(between, label, clusters, medoids, distances)
    outside, other = _closest(n, label, between)
    found = tuple(_one(inside, outside, other, percentile) for inside in insides)
    within = _joined([inside.pairs for inside in insides])
    return Measures(found, to_medoid, outside, within, between)


@dataclass(frozen=True)
class _Inside:
    """A cluster from within: its medoid, the distances measured, each sampled member's farthest."""

    members: np.ndarray
    sample: np.ndarray
    medoid: int
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
    farthest: np.ndarray


def _sample_size(sizes: Sequence[int]) -> int:
    """Sequences measured of a cluster at most, so that all clusters have about `PAIRS` pairs together."""
    for size in SAMPLES:
        if sum(min(n, size) ** 2 for n in sizes) <= 2 * PAIRS:
            return size
    return SAMPLES[-1]


def _inside(
    members: np.ndarray, at_most: int, weights: np.ndarray, distances: Distances, to_medoid: np.ndarray
) -> _Inside:
    sample = members[_even(len(members), at_most)]
    matrix = distances.matrix(sample)
    medoid = int(sample[np.argmin(matrix @ weights[sample])])
    to_medoid[members] = distances.pairs(np.full(len(members), medoid), members)
    rows, columns = np.triu_indices(len(sample), 1)
    pairs = (sample[rows], sample[columns], matrix[rows, columns])
    return _Inside(members, sample, medoid, pairs, matrix.max(axis=1))


def _one(inside: _Inside, outside: np.ndarray, other: np.ndarray, percentile: float) -> ClusterMeasures:
    values, here = inside.pairs[2], outside[inside.members]
    known = here[~np.isnan(here)]
    spread = float(np.percentile(values, percentile)) if len(values) else 0.0
    nearest = int(inside.members[np.nanargmin(here)]) if len(known) else -1
    outside_of_sample = outside[inside.sample]
    alone = np.isnan(outside_of_sample) | (outside_of_sample > inside.farthest)
    return ClusterMeasures(
        medoid=inside.medoid,
        measured=len(inside.sample),
        mean_within=float(values.mean()) if len(values) else 0.0,
        percentile_within=spread,
        max_within=float(values.max()) if len(values) else 0.0,
        nearest=int(other[nearest]) if nearest >= 0 else -1,
        min_between=float(outside[nearest]) if nearest >= 0 else float("nan"),
        gap=float(np.percentile(known, 100 - percentile)) - spread if len(known) else float("nan"),
        confidence=float(alone.mean()),
    )


def _nearest_outside(
    label: np.ndarray, distances: Distances, neighbours: Neighbours
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every clustered sequence, its first few hits in other clusters, with their distances."""
    queries = np.flatnonzero(label >= 0)
    pairs = []
    for start in range(0, len(queries), _QUERIES_PER_STEP):
        step = queries[start : start + _QUERIES_PER_STEP]
        hits = neighbours.search(step)
        unranked = bool(np.isnan(hits.identity).all())  # then the nearest may be anywhere among them
        for place, query in enumerate(step):
            near = hits.of(place)
            near = near[(label[near] >= 0) & (label[near] != label[query])]
            if not unranked:
                near = near[:NEAREST_OUTSIDE]
            pairs.append((np.full(len(near), query), near))
    first = np.concatenate([one for one, _ in pairs]) if pairs else np.empty(0, np.int64)
    second = np.concatenate([two for _, two in pairs]) if pairs else np.empty(0, np.int64)
    edges = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)]), axis=1)
    low, high = edges.astype(np.int64)
    return low, high, distances.pairs(low, high)


def _with_far_clusters(
    between: tuple[np.ndarray, np.ndarray, np.ndarray],
    label: np.ndarray,
    clusters: Sequence[Sequence[int]],
    medoids: np.ndarray,
    distances: Distances,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add pairs for clusters that lie too far from all others for the finder to see any.

    Each of them is compared, by its medoid, with an even sample of the other medoids, and an even sample of
    its members with the nearest of those: what results bounds its gap from above. Distant pairs are the most
    expensive ones to align, so all such clusters share one budget of them.
    """
    seen = np.zeros(len(clusters), bool)
    seen[label[between[0]]] = seen[label[between[1]]] = True
    at_most = max(_FAR_LEAST, _FAR_PAIRS // max(1, int((~seen).sum())))
    low, high, values = [between[0]], [between[1]], [between[2]]
    for number in np.flatnonzero(~seen):
        others = np.delete(medoids, number)
        others = np.unique(others[(label[others] != number)])
        others = others[_even(len(others), at_most)]
        if not len(others):
            continue
        across = distances.pairs(np.full(len(others), medoids[number]), others)
        members = np.sort(np.asarray(clusters[number], np.int64))
        members = members[members != medoids[number]]
        members = members[_even(len(members), at_most)]
        nearest = np.full(len(members), others[np.argmin(across)])
        mine = np.concatenate([np.full(len(others), medoids[number]), members])
        theirs = np.concatenate([others, nearest])
        low.append(np.minimum(mine, theirs))
        high.append(np.maximum(mine, theirs))
        values.append(np.concatenate([across, distances.pairs(members, nearest)]))
    return np.concatenate(low), np.concatenate(high), np.concatenate(values)


def _closest(
    n: int, label: np.ndarray, between: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of every sequence to the nearest one outside, and the cluster that one is in."""
    low, high, values = between
    mine, theirs = np.concatenate([low, high]), np.concatenate([high, low])
    both = np.concatenate([values, values])
    # Farthest first: of repeated places the last assignment stays, which is the nearest.
    order = np.lexsort((theirs, both))[::-1]
    outside, other = np.full(n, np.nan), np.full(n, -1, np.int64)
    outside[mine[order]] = both[order]
    other[mine[order]] = label[theirs[order]]
    return outside, other


def _even(n: int, at_most: int) -> np.ndarray:
    """At most `at_most` places of n, evenly spaced: the same ones every time."""
    return np.arange(n) if n <= at_most else np.linspace(0, n - 1, at_most).round().astype(np.int64)


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    first, second, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return first, second, values
