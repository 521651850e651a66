"""Slow plain twins of the clustering kernels: every list written out, every quantile taken by numpy.

What the fast versions must equal to the bit: the two-phase gap core with its triangle filter, target growth,
and clustering by weighted median linkage.
"""

from __future__ import annotations

import itertools

import numpy as np

__all__ = ["gap_core_plain", "grow_in_plain", "median_linkage_plain", "triangle_filter_plain"]

LEVELS = (90, 95, 100)


def triangle_filter_plain(D, slack=0.05):
    """NaN where a distance exceeds a path over any third point by more than the slack."""
    filtered = np.array(D, float)
    for i, j in itertools.combinations(range(len(D)), 2):
        if any(D[i, j] > D[i, k] + D[j, k] + slack for k in range(len(D)) if k not in (i, j)):
            filtered[i, j] = filtered[j, i] = np.nan
    return filtered


def gap_core_plain(
    D, *, min_split, max_lump, percentile, method, triangle_filter, alpha=0.0, first_competes=False
):
    """Clusters (in list order) and gap of the partition with the widest gap."""
    if triangle_filter:
        D = triangle_filter_plain(D)
    p_pooled = percentile if method == "global" else 90

    def between(a, b):
        values = np.array([D[x, y] for x in a for y in b])
        return values[~np.isnan(values)]

    def within(a):
        values = np.array([D[x, y] for x, y in itertools.combinations(a, 2)])
        return values[~np.isnan(values)]

    def linkage(a, b):
        values = between(a, b)
        return np.percentile(values, percentile) if len(values) else np.inf

    def pooled(a, b):
        values = np.sort(np.concatenate([within(a), within(b), between(a, b)]))
        return values[min(int(len(values) * (p_pooled / 100)), len(values) - 1)] if len(values) else np.inf

    def global_gap(clusters):
        inter = [between(a, b) for a, b in itertools.combinations(clusters, 2)]
        inter = np.concatenate(inter) if inter else np.empty(0)
        intra = np.concatenate([within(a) for a in clusters])
        if not len(inter) or not len(intra):
            return 0.0
        return np.percentile(inter, 100 - percentile) - np.percentile(intra, percentile)

    def local_gap(clusters):
        if len(clusters) < 2:
            return 0.0
        total = 0.0
        for a in clusters:
            for level in LEVELS:
                blocks = [between(a, b) for b in clusters if b is not a]
                nearest = min(np.percentile(v, 100 - level) if len(v) else np.inf for v in blocks)
                inside = within(a)
                total += nearest - (np.percentile(inside, level) if len(inside) else 0.0)
        return total / len(clusters) ** alpha

    gap_of = global_gap if method == "global" else local_gap
    clusters = [(k,) for k in range(len(D))]

    def merged(i, j):
        return [c for k, c in enumerate(clusters) if k not in (i, j)] + [clusters[i] + clusters[j]]

    def pairs():
        return itertools.combinations(range(len(clusters)), 2)

    while len(clusters) > 1:
        height, i, j = min((linkage(clusters[i], clusters[j]), i, j) for i, j in pairs())
        if not height < min_split:
            break
        clusters = merged(i, j)
    seen = [(gap_of(clusters), clusters)]
    while len(clusters) > 1:
        best = None
        for i, j in pairs():
            if pooled(clusters[i], clusters[j]) <= max_lump:
                candidate = (gap_of(merged(i, j)), merged(i, j))
                if best is None or candidate[0] > best[0]:
                    best = candidate
        if best is None:
            break
        clusters = best[1]
        seen.append(best)
    if len(seen) > 1 and not first_competes:
        seen = seen[1:]
    gap, clusters = max(seen, key=lambda one: one[0])
    return clusters, gap


def grow_in_plain(D, max_lump, percentile, slack=0.05):
    """Members and gap of the cluster that grows from row 0."""

    def plausible(i, j, cluster):
        return not any(D[i, j] > D[i, k] + D[j, k] + slack for k in cluster if k not in (i, j))

    def linkage(row):
        kept = [D[row, k] for k in cluster if len(cluster) < 3 or plausible(row, k, cluster)]
        return np.percentile(kept or [D[row, k] for k in cluster], percentile)

    def gap():
        within = [
            D[i, j]
            for i, j in itertools.combinations(cluster, 2)
            if len(cluster) < 4 or plausible(i, j, cluster)
        ]
        between = [D[i, j] for i in cluster for j in rest]
        if not within or not between:
            return 0.0
        return np.percentile(between, 100 - percentile) - np.percentile(within, percentile)

    cluster, rest = [0], list(range(1, len(D)))
    best, best_gap = [0], 0.0
    while rest:
        links = [linkage(row) for row in rest]
        nearest = min(range(len(rest)), key=links.__getitem__)
        if links[nearest] > max_lump:
            break
        cluster.append(rest.pop(nearest))
        if gap() >= best_gap:
            best, best_gap = list(cluster), gap()
    return best, best_gap


def median_linkage_plain(D, weights, limit, groups=None, cut=np.inf):
    """Clusters as sets of rows."""
    groups = range(len(D)) if groups is None else groups
    clusters = [[k for k in range(len(D)) if groups[k] == first] for first in sorted(set(groups))]
    apart = set()  # pairs of rows that are in clusters with a gap between them

    def quantile(values, share):
        return sorted(values)[int(len(values) * share)] if values else np.inf

    def between(a, b):
        return [
            D[x, y] for x in a for y in b for _ in range(weights[x] * weights[y]) if not np.isnan(D[x, y])
        ]

    def within(a):
        each = [x for x in a for _ in range(weights[x])]
        values = [D[x, y] if x != y else 0.0 for x, y in itertools.combinations(each, 2)]
        return [value for value in values if not np.isnan(value)]

    def gap(a, b):
        several = all(sum(weights[x] for x in c) > 1 for c in (a, b))
        least = quantile(between(a, b), 0.25)
        return several and not any(within(c) and least <= quantile(within(c), 0.75) for c in (a, b))

    def median(a, b):
        return (
            np.inf
            if any((x, y) in apart or (y, x) in apart for x in a for y in b)
            else quantile(between(a, b), 0.5)
        )

    while len(clusters) > 1:
        height, i, j = min(
            (median(clusters[i], clusters[j]), i, j)
            for i, j in itertools.combinations(range(len(clusters)), 2)
        )
        if height > limit or height == np.inf:
            break
        if height > cut and gap(clusters[i], clusters[j]):
            apart.update((x, y) for x in clusters[i] for y in clusters[j])
            continue
        clusters[i] = clusters[i] + clusters.pop(j)
        clusters.sort(key=min)
    return {frozenset(cluster) for cluster in clusters}
