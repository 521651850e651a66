"""The two phases of the gap core, compiled: a distance matrix in, a sequence of merges with gaps out.

Clusters are listed as the reference lists them: singletons by position, a merged cluster goes to the end, and
the first pair in that order wins a tie. What makes it fast: phase 1 recomputes the linkage of the new cluster
only; phase 2 keeps the distances of every pair of clusters as a sorted block, so the quantiles of a merge
that has not happened yet are order statistics of unions and differences of sorted arrays, found by binary
search. Nothing is approximated: the twin in the tests enumerates every list and must agree to the bit.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["merge_certain", "merge_for_gap", "violates_triangle"]


@numba.njit(cache=True, nogil=True)
def violates_triangle(distances, slack, lengths, least_share):
    """Which distances exceed some two-step path by more than `slack`, (n, n) bool.

    A path counts if the sequence it goes over is at least `least_share` as long as the longer of the two.
    """
    n = len(distances)
    violates = np.zeros((n, n), np.bool_)
    for i in range(n):
        for j in range(i + 1, n):
            limit = distances[i, j]
            if not limit > slack:
                continue
            least = least_share * max(lengths[i], lengths[j])
            for k in range(n):
                if lengths[k] >= least and limit > distances[i, k] + distances[j, k] + slack:
                    violates[i, j] = True
                    violates[j, i] = True
                    break
    return violates


@numba.njit
def _sort(values):
    """Sort in place. (Shell's method: numba compiles its own quicksort anew for every kernel, in seconds.)"""
    step = 1
    while step < len(values) // 3:
        step = 3 * step + 1
    while step > 0:
        for k in range(step, len(values)):
            value = values[k]
            at = k
            while at >= step and values[at - step] > value:
                values[at] = values[at - step]
                at -= step
            values[at] = value
        step //= 3


@numba.njit
def _interpolate(low, high, fraction):
    # numpy.percentile's own rounding, so that a gap here is the gap a reader computes with numpy.
    if fraction >= 0.5:
        return high - (high - low) * (1.0 - fraction)
    return low + (high - low) * fraction


@numba.njit
def _percentile(ordered, n, percentile):
    """Linear-interpolated percentile of ``ordered[:n]``."""
    at = percentile / 100.0 * (n - 1)
    k = int(np.floor(at))
    if k + 1 >= n:
        return ordered[n - 1]
    return _interpolate(ordered[k], ordered[k + 1], at - k)


@numba.njit
def _at_most(ordered, value):
    low, high = 0, len(ordered)
    while low < high:
        mid = (low + high) // 2
        if ordered[mid] <= value:
            low = mid + 1
        else:
            high = mid
    return low


@numba.njit
def _kth_of_union(a, b, k):
    """k-th smallest (from 0) of two sorted arrays taken together."""
    best = np.inf
    for one, other in ((a, b), (b, a)):
        low, high = 0, len(one)
        while low < high:
            mid = (low + high) // 2
            if _at_most(one, one[mid]) + _at_most(other, one[mid]) > k:
                high = mid
            else:
                low = mid + 1
        if low < len(one):
            best = min(best, one[low])
    return best


@numba.njit
def _kth_without(a, b, k):
    """k-th smallest (from 0) of sorted `a` after the elements of `b`, all of them in `a`, are taken out."""
    low, high = 0, len(a) - 1
    while low < high:
        mid = (low + high) // 2
        if _at_most(a, a[mid]) - _at_most(b, a[mid]) > k:
            high = mid
        else:
            low = mid + 1
    return a[low]


@numba.njit
def _percentile_of_union(a, b, percentile):
    n = len(a) + len(b)
    at = percentile / 100.0 * (n - 1)
    k = int(np.floor(at))
    if k + 1 >= n:
        return _kth_of_union(a, b, n - 1)
    return _interpolate(_kth_of_union(a, b, k), _kth_of_union(a, b, k + 1), at - k)


@numba.njit
def _percentile_without(a, b, percentile):
    n = len(a) - len(b)
    at = percentile / 100.0 * (n - 1)
    k = int(np.floor(at))
    if k + 1 >= n:
        return _kth_without(a, b, n - 1)
    return _interpolate(_kth_without(a, b, k), _kth_without(a, b, k + 1), at - k)


@numba.njit(cache=True, nogil=True)
def merge_certain(distances, percentile, min_split, merges, heights):
    """Phase 1: merge while the smallest inter-cluster percentile is below `min_split`.

    Parameters
    ----------
    distances : ndarray, (n, n) float64
        NaN where a distance is to be ignored.
    percentile, min_split : float
    merges : ndarray, (n, 2) int64
        Written: the two clusters of each merge; cluster ``n + s`` is the result of merge ``s``.
    heights : ndarray, (n,) float64
        Written: linkage of each merge.

    Returns
    -------
    int
        Number of merges.
    """
    n = len(distances)
    linkage = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            value = distances[i, j]
            linkage[i, j] = np.inf if i == j or np.isnan(value) else value
    members = np.full((n, n), -1, np.int64)  # slot -> positions
    sizes = np.ones(n, np.int64)
    birth = np.arange(n)  # slot -> cluster number; -1 once merged away
    for i in range(n):
        members[i, 0] = i
    nearest = np.empty(n, np.int64)
    for i in range(n):
        nearest[i] = _nearest(linkage, birth, i)
    scratch = np.empty(n * n)
    done = 0
    while done < n - 1:
        a, b = -1, -1
        for i in range(n):
            if birth[i] < 0 or nearest[i] < 0:
                continue
            j = nearest[i]
            if a < 0 or linkage[i, j] < linkage[a, b]:
                a, b = i, j
            elif linkage[i, j] == linkage[a, b]:
                low, high = min(birth[i], birth[j]), max(birth[i], birth[j])
                best_low, best_high = min(birth[a], birth[b]), max(birth[a], birth[b])
                if low < best_low or (low == best_low and high < best_high):
                    a, b = i, j
        if a < 0 or not linkage[a, b] < min_split:
            break
        if birth[a] > birth[b]:
            a, b = b, a
        merges[done, 0], merges[done, 1] = birth[a], birth[b]
        heights[done] = linkage[a, b]
        for k in range(sizes[b]):
            members[a, sizes[a] + k] = members[b, k]
        sizes[a] += sizes[b]
        birth[b] = -1
        birth[a] = n + done
        done += 1
        for i in range(n):
            if i == a or birth[i] < 0:
                continue
            m = 0
            for x in range(sizes[a]):
                for y in range(sizes[i]):
                    value = distances[members[a, x], members[i, y]]
                    if not np.isnan(value):
                        scratch[m] = value
                        m += 1
            if m == 0:
                linkage[a, i] = np.inf
            else:
                _sort(scratch[:m])
                linkage[a, i] = _percentile(scratch, m, percentile)
            linkage[i, a] = linkage[a, i]
        for i in range(n):
            if birth[i] >= 0:
                old = nearest[i]
                if i == a or old in (a, b):
                    nearest[i] = _nearest(linkage, birth, i)
                elif i != a and linkage[i, a] < linkage[i, old]:
                    nearest[i] = a
    return done


@numba.njit
def _nearest(linkage, birth, i):
    """Slot of the closest cluster, the oldest of equals; -1 if there is none."""
    best = -1
    for j in range(len(birth)):
        if j == i or birth[j] < 0 or linkage[i, j] == np.inf:
            continue
        closer = best < 0 or linkage[i, j] < linkage[i, best]
        if closer or (linkage[i, j] == linkage[i, best] and birth[j] < birth[best]):
            best = j
    return best


@numba.njit(cache=True, nogil=True)
def merge_for_gap(
    distances,
    labels,
    n_clusters,
    percentile,
    pooled_percentile,
    max_lump,
    local,
    alpha,
    merges,
    gaps,
    heights,
):
    """Phase 2: of all pairs that may be merged, merge the one that leaves the largest gap; repeat.

    Parameters
    ----------
    distances : ndarray, (n, n) float64
    labels : ndarray, (n,) int64
        Cluster of each position, ``0 .. n_clusters - 1`` in list order.
    n_clusters : int
    percentile : float
        Of the global gap.
    pooled_percentile : float
        Two clusters may merge while the order statistic ``int(N p)`` of all their distances together
        is at most `max_lump`.
    max_lump : float
    local : int
        1: sum over clusters and p in (90, 95, 100) of the smallest gap to another cluster; 0: pooled.
    alpha : float
        The local gap is divided by ``n_clusters ** alpha``.
    merges, gaps, heights : ndarray, (n_clusters + 1, 2) int64, (n_clusters + 1,) float64 twice
        Written: row 0 holds the gap before any merge; row ``s`` the s-th merge (cluster
        ``n_clusters + s - 1`` is its result), the gap after it and its pooled order statistic.

    Returns
    -------
    int
        Number of merges.
    """
    c = n_clusters
    n = len(labels)
    sizes = np.zeros(c, np.int64)
    for label in labels:
        sizes[label] += 1
    members = np.empty((c, n), np.int64)
    filled = np.zeros(c, np.int64)
    for i in range(n):
        members[labels[i], filled[labels[i]]] = i
        filled[labels[i]] += 1

    # Sorted blocks of all pairs of clusters (the diagonal: within one), end to end in an arena.
    values = np.empty(n * (n - 1) // 2)
    spare = np.empty(n * (n - 1) // 2)
    start = np.zeros((c, c), np.int64)
    stop = np.zeros((c, c), np.int64)
    at = 0
    for a in range(c):
        for b in range(a, c):
            begun = at
            for x in range(sizes[a]):
                for y in range(x + 1 if a == b else 0, sizes[b]):
                    value = distances[members[a, x], members[b, y]]
                    if not np.isnan(value):
                        values[at] = value
                        at += 1
            _sort(values[begun:at])
            start[a, b] = start[b, a] = begun
            stop[a, b] = stop[b, a] = at
    total = at
    inter = np.empty(total)
    intra = np.empty(total)
    n_inter, n_intra = 0, 0
    for a in range(c):
        for b in range(a, c):
            for k in range(start[a, b], stop[a, b]):
                if a == b:
                    intra[n_intra] = values[k]
                    n_intra += 1
                else:
                    inter[n_inter] = values[k]
                    n_inter += 1
    _sort(inter[:n_inter])
    _sort(intra[:n_intra])

    pooled = np.full((c, c), np.inf)
    scratch = np.empty(total)
    for a in range(c):
        for b in range(a + 1, c):
            pooled[a, b] = _pooled(values, start, stop, a, b, pooled_percentile, scratch)
            pooled[b, a] = pooled[a, b]

    levels = np.array([90.0, 95.0, 100.0])
    between = np.full((3, c, c), np.inf)
    within = np.zeros((3, c))
    if local:
        for a in range(c):
            for p in range(3):
                within[p, a] = _within(values, start, stop, a, levels[p])
                for b in range(a + 1, c):
                    between[p, a, b] = _between(values, start, stop, a, b, levels[p])
                    between[p, b, a] = between[p, a, b]

    alive = np.ones(c, np.bool_)
    birth = np.arange(c)
    order = np.empty(c, np.int64)
    closest = np.empty((3, c, 3), np.int64)
    if local:
        gaps[0] = _local_gap(between, within, alive, birth, order, alpha)
    else:
        gaps[0] = 0.0
        if n_inter and n_intra:
            gaps[0] = _percentile(inter, n_inter, 100.0 - percentile) - _percentile(
                intra, n_intra, percentile
            )
    heights[0] = 0.0
    merges[0, 0] = merges[0, 1] = -1
    done = 0
    left = c
    while left > 1:
        n_order = _listed(alive, birth, order)
        if local:
            _three_closest(between, order, n_order, closest)
        best_a, best_b, best_gap = -1, -1, -np.inf
        for x in range(n_order):
            a = order[x]
            for y in range(x + 1, n_order):
                b = order[y]
                if not pooled[a, b] <= max_lump:
                    continue
                if local:
                    gap = _local_gap_after(
                        values,
                        start,
                        stop,
                        between,
                        within,
                        order,
                        n_order,
                        closest,
                        a,
                        b,
                        levels,
                        alpha,
                        scratch,
                    )
                else:
                    block = values[start[a, b] : stop[a, b]]
                    gap = 0.0
                    if n_inter - len(block) > 0 and n_intra + len(block) > 0:
                        gap = _percentile_without(
                            inter[:n_inter], block, 100.0 - percentile
                        ) - _percentile_of_union(intra[:n_intra], block, percentile)
                if best_a < 0 or gap > best_gap:
                    best_a, best_b, best_gap = a, b, gap
        if best_a < 0:
            break
        a, b = best_a, best_b
        merges[done + 1, 0], merges[done + 1, 1] = birth[a], birth[b]
        gaps[done + 1] = best_gap
        heights[done + 1] = pooled[a, b]
        if not local:
            n_inter, n_intra = _move_block(values[start[a, b] : stop[a, b]], inter, n_inter, intra, n_intra)
        values, spare = _merge_blocks(values, spare, start, stop, alive, a, b)
        alive[b] = False
        birth[a] = c + done
        done += 1
        left -= 1
        for p in range(3 if local else 0):
            within[p, a] = _within(values, start, stop, a, levels[p])
        for d in range(c):
            if d == a or not alive[d]:
                continue
            pooled[a, d] = _pooled(values, start, stop, a, d, pooled_percentile, scratch)
            pooled[d, a] = pooled[a, d]
            for p in range(3 if local else 0):
                between[p, a, d] = _between(values, start, stop, a, d, levels[p])
                between[p, d, a] = between[p, a, d]
    return done


@numba.njit
def _listed(alive, birth, order):
    """Slots of living clusters in list order (by cluster number) into `order`; how many."""
    m = 0
    for a in range(len(alive)):
        if alive[a]:
            k = m
            while k > 0 and birth[order[k - 1]] > birth[a]:
                order[k] = order[k - 1]
                k -= 1
            order[k] = a
            m += 1
    return m


@numba.njit
def _pooled(values, start, stop, a, b, percentile, scratch):
    """Order statistic ``int(N p)`` of all distances among the members of two clusters."""
    m = 0
    for x, y in ((a, a), (b, b), (a, b)):
        for k in range(start[x, y], stop[x, y]):
            scratch[m] = values[k]
            m += 1
    if m == 0:
        return np.inf
    k = min(int(m * (percentile / 100.0)), m - 1)
    _sort(scratch[:m])
    return scratch[k]


@numba.njit
def _within(values, start, stop, a, level):
    m = stop[a, a] - start[a, a]
    return _percentile(values[start[a, a] : stop[a, a]], m, level) if m else 0.0


@numba.njit
def _between(values, start, stop, a, b, level):
    m = stop[a, b] - start[a, b]
    return _percentile(values[start[a, b] : stop[a, b]], m, 100.0 - level) if m else np.inf


@numba.njit
def _local_gap(between, within, alive, birth, order, alpha):
    m = _listed(alive, birth, order)
    if m < 2:
        return 0.0
    total = 0.0
    for x in range(m):
        for p in range(3):
            nearest = np.inf
            for y in range(m):
                if x != y:
                    nearest = min(nearest, between[p, order[x], order[y]])
            total += nearest - within[p, order[x]]
    return total / m**alpha


@numba.njit
def _three_closest(between, order, m, closest):
    """For each living cluster and level the three closest others: any two of them may be merging."""
    for p in range(3):
        for x in range(m):
            a = order[x]
            closest[p, a, :] = -1
            for y in range(m):
                b = order[y]
                if b == a:
                    continue
                value = between[p, a, b]
                for k in range(3):
                    other = closest[p, a, k]
                    if other < 0 or value < between[p, a, other]:
                        for shift in range(2, k, -1):
                            closest[p, a, shift] = closest[p, a, shift - 1]
                        closest[p, a, k] = b
                        break


@numba.njit
def _local_gap_after(values, start, stop, between, within, order, m, closest, a, b, levels, alpha, scratch):
    """Local gap if clusters `a` and `b` were one."""
    if m <= 2:
        return 0.0
    total = 0.0
    merged_nearest = np.full(3, np.inf)
    for x in range(m):
        d = order[x]
        if d in (a, b):
            continue
        to_a = values[start[d, a] : stop[d, a]]
        to_b = values[start[d, b] : stop[d, b]]
        floor = min(to_a[0] if len(to_a) else np.inf, to_b[0] if len(to_b) else np.inf)
        for p in range(3):
            nearest = np.inf
            for k in range(3):
                other = closest[p, d, k]
                if other >= 0 and other != a and other != b:
                    nearest = between[p, d, other]
                    break
            # A quantile is never below the smallest element: most unions need not be searched.
            if floor < nearest or floor < merged_nearest[p]:
                merged = _percentile_of_union(to_a, to_b, 100.0 - levels[p])
                nearest = min(nearest, merged)
                merged_nearest[p] = min(merged_nearest[p], merged)
            total += nearest - within[p, d]
    pool = 0
    for x, y in ((a, a), (b, b), (a, b)):
        for k in range(start[x, y], stop[x, y]):
            scratch[pool] = values[k]
            pool += 1
    _sort(scratch[:pool])
    for p in range(3):
        inside = _percentile(scratch, pool, levels[p]) if pool else 0.0
        total += merged_nearest[p] - inside
    return total / (m - 1) ** alpha


@numba.njit
def _move_block(block, inter, n_inter, intra, n_intra):
    """Take a block's distances out of `inter` and into `intra`, both kept sorted; their new lengths."""
    taken = 0
    kept = 0
    for k in range(n_inter):
        if taken < len(block) and inter[k] == block[taken]:
            taken += 1
        else:
            inter[kept] = inter[k]
            kept += 1
    k, x, at = n_intra - 1, len(block) - 1, n_intra + len(block) - 1
    while x >= 0:
        if k >= 0 and intra[k] > block[x]:
            intra[at] = intra[k]
            k -= 1
        else:
            intra[at] = block[x]
            x -= 1
        at -= 1
    return kept, n_intra + len(block)


@numba.njit
def _merge_blocks(values, spare, start, stop, alive, a, b):
    """Rewrite the arena with cluster `b` absorbed by `a`; the arena now in use and the spare one."""
    at = 0
    c = len(alive)
    for x in range(c):
        if not alive[x] or x == b:
            continue
        for y in range(x, c):
            if not alive[y] or y == b:
                continue
            begun = at
            if x != a and y != a:
                for k in range(start[x, y], stop[x, y]):
                    spare[at] = values[k]
                    at += 1
            elif x == a and y == a:
                for k in range(start[a, a], stop[a, a]):
                    spare[at] = values[k]
                    at += 1
                for k in range(start[b, b], stop[b, b]):
                    spare[at] = values[k]
                    at += 1
                for k in range(start[a, b], stop[a, b]):
                    spare[at] = values[k]
                    at += 1
                _sort(spare[begun:at])
            else:
                d = y if x == a else x
                k, stop_k = start[d, a], stop[d, a]
                m, stop_m = start[d, b], stop[d, b]
                while k < stop_k or m < stop_m:
                    if m >= stop_m or (k < stop_k and values[k] <= values[m]):
                        spare[at] = values[k]
                        k += 1
                    else:
                        spare[at] = values[m]
                        m += 1
                    at += 1
            start[x, y] = start[y, x] = begun
            stop[x, y] = stop[y, x] = at
    return spare, values
