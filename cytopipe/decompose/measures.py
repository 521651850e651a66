"""What can be measured on a partition: medoids, spread within, the gap to the nearest other cluster.

What comes in are the clusters as positions of unique sequences, with how many records carry each; what
leaves is one `ClusterMeasures` per cluster, and per sequence its distance to the medoid and to the nearest
sequence outside. All of it is a function of the partition alone. Clusters of more than `SAMPLE` sequences
are measured on an even sample of them, and the table says on how many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.neighbours import Neighbours

__all__ = ["ClusterMeasures", "Measures", "measure"]

SAMPLE = 300
NEAREST_OUTSIDE = 5
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
        The cluster with the nearest sequence outside; -1 if no other is near enough to be found.
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
        Distance of every sequence to the nearest one in another cluster; NaN where none was found.
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
    between = _nearest_outside(label, distances, neighbours)
    outside, other = _closest(n, label, between)
    to_medoid = np.full(n, np.nan)
    found, within = [], []
    for number, members in enumerate(clusters):
        ordered = np.sort(np.asarray(members, np.int64))
        sample = ordered[_even(len(ordered), SAMPLE)]
        matrix = distances.matrix(sample)
        medoid = int(sample[np.argmin(matrix @ weights[sample])])
        to_medoid[ordered] = distances.pairs(np.full(len(ordered), medoid), ordered)
        rows, columns = np.triu_indices(len(sample), 1)
        values = matrix[rows, columns]
        within.append((sample[rows], sample[columns], values))
        found.append(
            _one(
                medoid,
                values,
                matrix.max(axis=1),
                outside[ordered],
                outside[sample],
                other[ordered],
                percentile,
            )
        )
        if progress is not None:
            progress(number + 1, len(clusters))
    return Measures(tuple(found), to_medoid, outside, _joined(within), between)


def _one(
    medoid: int,
    values: np.ndarray,
    farthest: np.ndarray,
    outside: np.ndarray,
    outside_of_sample: np.ndarray,
    other: np.ndarray,
    percentile: float,
) -> ClusterMeasures:
    known = outside[~np.isnan(outside)]
    spread = float(np.percentile(values, percentile)) if len(values) else 0.0
    gap = float(np.percentile(known, 100 - percentile)) - spread if len(known) else float("nan")
    nearest = int(np.nanargmin(outside)) if len(known) else -1
    alone = np.isnan(outside_of_sample) | (outside_of_sample > farthest)
    return ClusterMeasures(
        medoid=medoid,
        measured=len(farthest),
        mean_within=float(values.mean()) if len(values) else 0.0,
        percentile_within=spread,
        max_within=float(values.max()) if len(values) else 0.0,
        nearest=int(other[nearest]) if nearest >= 0 else -1,
        min_between=float(outside[nearest]) if nearest >= 0 else float("nan"),
        gap=gap,
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
        for place, query in enumerate(step):
            near = hits.of(place)
            near = near[(label[near] >= 0) & (label[near] != label[query])][:NEAREST_OUTSIDE]
            pairs.append((np.full(len(near), query), near))
    first = np.concatenate([one for one, _ in pairs]) if pairs else np.empty(0, np.int64)
    second = np.concatenate([two for _, two in pairs]) if pairs else np.empty(0, np.int64)
    edges = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second)]), axis=1)
    low, high = edges.astype(np.int64)
    return low, high, distances.pairs(low, high)


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
