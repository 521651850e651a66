"""Distances between weighted representatives in, clusters by their typical distance out.

Two clusters are joined while the median of the distances between their members is within the limit, closest
first. Why the median: an average is dragged away by the few alignments that went astray, a nearest neighbour
(single linkage) lets one chimera or one short, conserved fragment chain two species together, a farthest one
(or a 95th percentile) splits every species that holds a partial sequence. On the labelled barcode sets all
quantiles up to the median agree and all beyond it fall behind; the median is the one that resists from both
sides. An even split counts as far: more than half of the pairs must be close.

Two clusters within the limit stay apart, whatever joins them later, if their median is beyond a cut and there
is a barcode gap between them: three quarters of the distances between them exceed three quarters of those
within either. Each must hold several sequences, since one odd read makes no species.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["median_linkage"]

#: Sequences that each side of a barcode gap must hold.
LEAST_EACH = 2


def median_linkage(
    D: np.ndarray,
    weights: np.ndarray,
    limit: float,
    groups: np.ndarray | None = None,
    *,
    cut: float = np.inf,
    unit: int = 1,
) -> tuple[tuple[int, ...], ...]:
    """Agglomerate by weighted median distance up to a limit.

    Parameters
    ----------
    D : ndarray, (n, n) float64
        Symmetric distances; NaN where one is to be ignored.
    weights : ndarray, (n,) int64
        Sequences that each row stands for; a pair of rows counts as their product.
    limit : float
        Largest median at which two clusters are still joined.
    groups : ndarray, (n,) int64, optional
        First row of the group that each row is in from the start; by default each is alone.
    cut : float
        Median beyond which two clusters with a barcode gap between them stay apart.
    unit : int
        Weight of one sequence. The sequences that a row stands for are as good as identical.

    Returns
    -------
    tuple of tuple of int
        Disjoint and exhaustive; each ascending, in the order of their first members.

    Notes
    -----
    Equal medians: the clusters with the smaller first members go first. Time is
    ``O(n**2)`` per merge at worst, memory ``2 n**2`` float64.
    """
    labels = _agglomerate(
        np.ascontiguousarray(D, np.float64),
        np.ascontiguousarray(weights, np.int64),
        float(limit),
        np.arange(len(D)) if groups is None else np.ascontiguousarray(groups, np.int64),
        float(cut),
        int(unit),
    )
    joined: dict[int, list[int]] = {}
    for at, label in enumerate(labels.tolist()):
        joined.setdefault(label, []).append(at)
    return tuple(map(tuple, joined.values()))


@numba.njit(cache=True, nogil=True)
def _agglomerate(D, weights, limit, groups, cut, unit):
    """Label of each row: the first member of its cluster."""
    n = len(weights)
    labels = groups.copy()
    members = np.full((n, n), -1, np.int64)
    sizes = np.zeros(n, np.int64)
    for i in range(n):
        members[groups[i], sizes[groups[i]]] = i
        sizes[groups[i]] += 1
    values = np.empty(n * n + n)
    loads = np.empty(n * n + n, np.int64)
    link = np.full((n, n), np.inf)
    for a in range(n):
        for b in range(a):
            if sizes[a] and sizes[b]:
                link[a, b] = link[b, a] = _median(D, weights, members, sizes, a, b, values, loads)
    apart = np.zeros((n, n), np.bool_)
    nearest = np.empty(n, np.int64)
    for i in range(n):
        nearest[i] = _smallest(link[i])
    while True:
        # The first row with the smallest link is the smaller first member of the pair, and so is its column.
        a = -1
        for i in range(n):
            height = link[i, nearest[i]] if sizes[i] else np.inf
            if height <= limit and (a < 0 or height < link[a, nearest[a]]):
                a = i
        if a < 0:
            return labels
        b = nearest[a]
        if link[a, b] > cut and _gap_between(D, weights, members, sizes, a, b, unit, values, loads):
            apart[a, b] = apart[b, a] = True
            link[a, b] = link[b, a] = np.inf
            nearest[a], nearest[b] = _smallest(link[a]), _smallest(link[b])
            continue
        for k in range(sizes[b]):
            members[a, sizes[a] + k] = members[b, k]
            labels[members[b, k]] = a
        sizes[a] += sizes[b]
        sizes[b] = 0
        link[b, :] = np.inf
        link[:, b] = np.inf
        for c in range(n):
            if c == a or not sizes[c]:
                continue
            if apart[a, c] or apart[b, c]:
                apart[a, c] = apart[c, a] = True
                link[a, c] = link[c, a] = np.inf
            else:
                link[a, c] = link[c, a] = _median(D, weights, members, sizes, a, c, values, loads)
        for i in range(n):
            if not sizes[i]:
                continue
            old = nearest[i]
            if i == a or old in (a, b):
                nearest[i] = _smallest(link[i])
            elif link[i, a] < link[i, old] or (link[i, a] == link[i, old] and a < old):
                nearest[i] = a


@numba.njit
def _gap_between(D, weights, members, sizes, a, b, unit, values, loads):
    """Whether a barcode gap lies between two clusters of several sequences each."""
    for c in (a, b):
        load = 0
        for x in range(sizes[c]):
            load += weights[members[c, x]]
        if load < LEAST_EACH * unit:
            return False
    m = _fill_between(D, weights, members, sizes, a, b, values, loads)
    least = _quantile(values[:m], loads[:m], 1, 4)
    for c in (a, b):
        m = _fill_within(D, weights, members, sizes, c, unit, values, loads)
        if m and not least > _quantile(values[:m], loads[:m], 3, 4):
            return False
    return True


@numba.njit
def _smallest(row):
    best = 0
    for k in range(len(row)):
        if row[k] < row[best]:
            best = k
    return best


@numba.njit
def _median(D, weights, members, sizes, a, b, values, loads):
    """Weighted upper median of the distances between two clusters."""
    m = _fill_between(D, weights, members, sizes, a, b, values, loads)
    return _quantile(values[:m], loads[:m], 1, 2)


@numba.njit
def _fill_between(D, weights, members, sizes, a, b, values, loads):
    """Write the distances between two clusters and their loads; how many."""
    m = 0
    for x in range(sizes[a]):
        for y in range(sizes[b]):
            value = D[members[a, x], members[b, y]]
            if not np.isnan(value):
                values[m] = value
                loads[m] = weights[members[a, x]] * weights[members[b, y]]
                m += 1
    return m


@numba.njit
def _fill_within(D, weights, members, sizes, a, unit, values, loads):
    """Write the distances within a cluster and their loads; how many."""
    m = 0
    for x in range(sizes[a]):
        weight = weights[members[a, x]]
        if weight > unit:
            values[m] = 0.0
            loads[m] = weight * (weight - unit) // 2
            m += 1
        for y in range(x):
            value = D[members[a, x], members[a, y]]
            if not np.isnan(value):
                values[m] = value
                loads[m] = weight * weights[members[a, y]]
                m += 1
    return m


@numba.njit
def _quantile(values, loads, part, whole):
    """Smallest value that more than ``part / whole`` of the load does not exceed; infinite without values.

    A selection, not a sort: it compiles in a tenth of the time, and all but a few elements stay where
    they are.
    """
    share = 0
    for load in loads:
        share += load
    share = share * part // whole
    low, high, below = 0, len(values) - 1, 0
    while low <= high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] < pivot:
                left += 1
            while values[right] > pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                loads[left], loads[right] = loads[right], loads[left]
                left += 1
                right -= 1
        # Now values[low..right] <= pivot, values[left..high] >= pivot, and what lies between equals it.
        passed = below
        for k in range(low, right + 1):
            passed += loads[k]
        if passed > share:
            if right == low:
                return values[low]
            high = right
            continue
        for k in range(right + 1, left):
            passed += loads[k]
        if passed > share:
            return pivot
        below = passed
        if left == high:
            return values[high]
        low = left
    return np.inf
