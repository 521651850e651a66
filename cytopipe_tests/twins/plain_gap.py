"""The gap core as its definition reads: lists of distances, enumerated anew for every question.

No caching, no compilation, no ordering tricks; NumPy's own percentile. Cubic and worse: for a dozen
sequences. What the compiled core in `cytopipe.decompose.gap_kernels` gives must equal what this gives.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

LOCAL_LEVELS = (90.0, 95.0, 100.0)


def plain_triangle_filter(D: np.ndarray) -> np.ndarray:
    """NaN where the largest distance of some triple exceeds the sum of the other two by more than 0.05."""
    filtered = D.copy()
    for triple in combinations(range(len(D)), 3):
        for i, j in combinations(triple, 2):
            (k,) = set(triple) - {i, j}
            if D[i, j] > D[i, k] + D[j, k] + 0.05:
                filtered[i, j] = filtered[j, i] = np.nan
    return filtered


def plain_gap_core(
    D: np.ndarray,
    *,
    min_split: float,
    max_lump: float,
    percentile: float,
    method: str,
    triangle_filter: bool,
    alpha: float = 0.0,
) -> tuple[set[frozenset[int]], float]:
    """Partition and gap: certain merges first, then always the merge that leaves the widest gap."""
    if triangle_filter:
        D = plain_triangle_filter(D)
    linkage_percentile = 90.0 if method == "local" else percentile
    clusters = [[i] for i in range(len(D))]
    while len(clusters) > 1:
        links = [
            (quantile(between(D, a, b), linkage_percentile, np.inf), i, j)
            for (i, a), (j, b) in combinations(enumerate(clusters), 2)
        ]
        closest, i, j = min(links)
        if not closest < min_split:
            break
        clusters = merged(clusters, i, j)

    def gap_of(clusters) -> float:
        if method == "local":
            return local_gap(D, clusters, alpha)
        return global_gap(D, clusters, percentile)

    seen = [(gap_of(clusters), clusters)]
    while len(clusters) > 1:
        candidates = []
        for (i, a), (j, b) in combinations(enumerate(clusters), 2):
            pooled = sorted(within(D, a) + within(D, b) + between(D, a, b))
            if not pooled:
                continue
            at = min(len(pooled) - 1, int(len(pooled) * linkage_percentile / 100.0))
            if pooled[at] <= max_lump:
                candidates.append((-gap_of(merged(clusters, i, j)), i, j))
        if not candidates:
            break
        gap, i, j = min(candidates)
        clusters = merged(clusters, i, j)
        seen.append((-gap, clusters))
    # The first version forgets the partition after the certain merges as soon as it makes another one.
    start = 1 if triangle_filter and len(seen) > 1 else 0
    best_gap, best = max(seen[start:], key=lambda one: one[0])
    return {frozenset(cluster) for cluster in best}, best_gap


def global_gap(D: np.ndarray, clusters: list[list[int]], percentile: float) -> float:
    """``Q_{1-p}(all between) - Q_p(all within)``; 0 if either is empty."""
    inside = [d for cluster in clusters for d in within(D, cluster)]
    outside = [d for a, b in combinations(clusters, 2) for d in between(D, a, b)]
    if not inside or not outside:
        return 0.0
    return quantile(outside, 100.0 - percentile, 0.0) - quantile(inside, percentile, 0.0)


def local_gap(D: np.ndarray, clusters: list[list[int]], alpha: float) -> float:
    """Sum over clusters and levels of the smallest gap to another cluster."""
    total = 0.0
    for number, cluster in enumerate(clusters):
        others = [other for k, other in enumerate(clusters) if k != number]
        for level in LOCAL_LEVELS:
            inside = quantile(within(D, cluster), level, 0.0)
            gaps = [
                quantile(found, 100.0 - level, 0.0) - inside
                for o in others
                if (found := between(D, cluster, o))
            ]
            total += min(gaps, default=0.0)
    return total / len(clusters) ** alpha


def within(D: np.ndarray, cluster: list[int]) -> list[float]:
    """Distances among the members of a cluster, those to be ignored left out."""
    return [D[i, j] for i, j in combinations(cluster, 2) if not np.isnan(D[i, j])]


def between(D: np.ndarray, a: list[int], b: list[int]) -> list[float]:
    """Distances from one cluster to another, those to be ignored left out."""
    return [D[i, j] for i in a for j in b if not np.isnan(D[i, j])]


def quantile(values: list[float], percentile: float, otherwise: float) -> float:
    """NumPy's linear percentile, or `otherwise` of nothing."""
    return float(np.percentile(values, percentile)) if values else otherwise


def merged(clusters: list[list[int]], i: int, j: int) -> list[list[int]]:
    """The list without two clusters, their union last."""
    rest = [cluster for k, cluster in enumerate(clusters) if k not in (i, j)]
    return [*rest, clusters[i] + clusters[j]]
