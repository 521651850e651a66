"""Two sequences in, the path of edits between them out: the one that edlib chooses, compiled.

Many paths are equally good, and which one is chosen decides the adjusted distance. edlib's choice (its mode
HW, where gaps at the ends of the target are free) is reproduced here, at a fifth of its price for sequences
as close as barcodes are: the first end where the distance is smallest, the longest stretch that ends there,
and from the end back through the matrix an insertion before a deletion before a pair of letters. The end is
found by bit-parallel columns, of which only the rows are computed that an alignment within `k` edits can
reach; start and path by furthest-reaching diagonals, whose price grows with the edits and not the length.

References
----------
Myers 1999, doi:10.1145/316542.316550; Hyyrö 2003, Nordic J. Comput. 10:29-39; Ukkonen 1985,
doi:10.1016/S0019-9958(85)80046-2; Šošić and Šikić 2017, doi:10.1093/bioinformatics/btw753 (edlib).
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["DELETED", "INSERTED", "MATCHED", "MAX_EDITS", "MISMATCHED", "align_block"]

#: Edits beyond which no path is sought here: edlib is as quick there.
MAX_EDITS = 96

#: Steps of a path; what is inserted stands in the query alone, what is deleted in the target alone.
MATCHED, MISMATCHED, INSERTED, DELETED = 0, 1, 2, 3

_FIRST_GUESS = 24
_LETTERS = 32
_EDLIB_TRACES_BELOW_BYTES = 1 << 20  # with more, it halves the problem, and chooses otherwise
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@numba.njit
def _workspace(longest):
    """Arrays to work in, for sequences of up to `longest` letters."""
    n_blocks = (longest + 63) // 64 + 1
    return (
        np.empty((_LETTERS, n_blocks), np.uint64),
        np.empty((2, n_blocks), np.uint64),
        np.empty(n_blocks, np.int64),
        np.empty((MAX_EDITS + 1, 2 * MAX_EDITS + 3), np.int32),
    )


@numba.njit
def _best_end(query, target, k, masks, vertical, score):
    """Smallest distance of the query to any stretch of the target, its first end, and the number of its ends;
    -1 beyond `k`.
    """
    m, n = len(query), len(target)
    n_blocks = (m + 63) // 64
    masks[:, :n_blocks] = _NONE
    for i in range(m):
        masks[query[i] & 31, i >> 6] |= _ONE << np.uint64(i & 63)
    best, end, n_ends = -1, -1, 0
    first, last = 0, min(n_blocks, (k + 64) // 64) - 1
    for b in range(last + 1):
        vertical[0, b], vertical[1, b] = _ALL, _NONE
        score[b] = min(64 * (b + 1), m)
    for c in range(n):
        # Rows above this one could not reach the end of the query within k edits, one column before.
        while 64 * (first + 1) < m - n + c - k:
            first += 1
        if first > last:
            break
        step = 0 if first == 0 else 1
        row = target[c] & 31
        b = first
        while True:
            plus, minus, equal = vertical[0, b], vertical[1, b], masks[row, b]
            bottom = np.uint64(63 if b < n_blocks - 1 else (m - 1) & 63)
            cross = equal | minus
            if step < 0:
                equal |= _ONE
            along = (((equal & plus) + plus) ^ plus) | equal
            up = minus | ~(along | plus)
            down = plus & along
            before = score[b]
            into = step
            step = np.int64((up >> bottom) & _ONE) - np.int64((down >> bottom) & _ONE)
            up <<= _ONE
            down <<= _ONE
            if into < 0:
                down |= _ONE
            elif into > 0:
                up |= _ONE
            vertical[0, b], vertical[1, b] = down | ~(cross | up), up & cross
            score[b] = before + step
            if b == last:
                if before > k or last == n_blocks - 1:
                    break
                last += 1
                vertical[0, last], vertical[1, last] = _ALL, _NONE
                score[last] = before + min(64, m - 64 * last)
            b += 1
        if last == n_blocks - 1 and score[last] <= k:
            if score[last] != best:
                best, end, n_ends = score[last], c, 0
                k = best
            n_ends += 1
            if best == 0:
                break
        while last > first and score[last] >= k + (64 if last < n_blocks - 1 else m - 64 * last):
            last -= 1
    return best, end, n_ends


@numba.njit
def _reach(query, target, edits, backwards, table):
    """How far along each diagonal so many edits lead from a corner of the matrix.

    ``table[e, MAX_EDITS + 1 + d]`` is the last row of diagonal `d` (column minus row) within `e` edits; with
    `backwards`, the corner is that of the ends, and only the last row of the table is meant to be read.
    """
    m, n = len(query), len(target)
    middle = MAX_EDITS + 1
    for e in range(edits + 1):
        for d in range(max(-e, -m), min(e, n) + 1):
            if e == 0:
                i = 0
            else:
                i = -1
                if -e < d < e:
                    i = table[e - 1, middle + d] + 1
                if d - 1 >= max(1 - e, -m):
                    i = max(i, table[e - 1, middle + d - 1])
                if d + 1 <= min(e - 1, n):
                    i = max(i, table[e - 1, middle + d + 1] + 1)
            stop = min(m, n - d)
            i = min(i, stop)
            if backwards:
                while i < stop and query[m - 1 - i] == target[n - 1 - i - d]:
                    i += 1
            else:
                while i < stop and query[i] == target[i + d]:
                    i += 1
            table[e, middle + d] = i


@numba.njit
def _starts(query, target, edits, table):
    """Lengths of the longest and the shortest end of the target that is so many edits from the query.

    The table then holds the reach from that end.
    """
    _reach(query, target, edits, True, table)
    longest, shortest = 0, 0
    for d in range(max(-edits, -len(query)), min(edits, len(target)) + 1):
        if table[edits, MAX_EDITS + 1 + d] == len(query):
            shortest = shortest if shortest else len(query) + d
            longest = len(query) + d
    return longest, shortest


@numba.njit
def _path(query, target, edits, table, steps, overhang_only):
    """Steps from the end of a path back to its beginning, and their number.

    With `overhang_only`, up to the first that is no insertion.
    """
    _reach(query, target, edits, False, table)
    middle = MAX_EDITS + 1
    i, j, left, n = len(query), len(target), edits, 0
    while i > 0 or j > 0:
        d = j - i
        # The cell above is of diagonal d + 1, the one to the left of d - 1; each is one edit better or worse.
        if i > 0 and (j == 0 or (-left < d + 1 < left and table[left - 1, middle + d + 1] >= i - 1)):
            steps[n] = INSERTED
            i, left = i - 1, left - 1
        elif j > 0 and (i == 0 or (-left < d - 1 < left and table[left - 1, middle + d - 1] >= i)):
            steps[n] = DELETED
            j, left = j - 1, left - 1
        else:
            i, j = i - 1, j - 1
            steps[n] = MATCHED
            if query[i] != target[j]:
                steps[n] = MISMATCHED
                left -= 1
        n += 1
        if overhang_only and steps[n - 1] != INSERTED:
            break
    return n


@numba.njit
def _found(query, target, k, work):
    """Distance, first end and number of ends; -1 where the path is not sought here."""
    masks, vertical, score, _ = work
    edits, end, n_ends = -1, -1, 0
    blocks = (len(query) + 63) // 64
    if 20 * blocks * len(target) + 8 * len(target) < _EDLIB_TRACES_BELOW_BYTES:
        while edits < 0 and k < 3 * MAX_EDITS:
            edits, end, n_ends = _best_end(query, target, min(k, MAX_EDITS), masks, vertical, score)
            k *= 3
    if 2 * edits > len(query):  # the query may begin before the target then
        edits = -1
    return edits, end, n_ends


@numba.njit
def _overhang(query, target, edits, work, steps):
    """Letters of the query before the target begins: the insertions that end the path of both reversed."""
    table = work[3]
    query, target = query[::-1], target[::-1]
    _, end, _ = _found(query, target, edits, work)
    longest, _ = _starts(query, target[: end + 1], edits, table)
    n = _path(query, target[end + 1 - longest : end + 1], edits, table, steps, True)
    if steps[n - 1] == INSERTED:
        return n
    return 0 if steps[n - 1] == DELETED else n - 1


@numba.njit
def _aligned(query, target, work, steps):
    """Number of steps, overhang of the query, start in the target; see `align_block`."""
    table = work[3]
    edits, end, n_ends = _found(query, target, _FIRST_GUESS, work)
    if edits < 0:
        return -1, 0, 0
    longest, shortest = _starts(query, target[: end + 1], edits, table)
    if edits > 0:
        # Seen from the other side, the path begins at this end, if it is the only one, and ends at the last
        # start: with an insertion where leaving out the letter there saves the edit.
        d = shortest + 1 - len(query)
        none = n_ends == 1 and not (
            -edits < d < edits and table[edits - 1, MAX_EDITS + 1 + d] >= len(query) - 1
        )
        overhang = 0 if none else _overhang(query, target, edits, work, steps)
        if overhang:
            query = query[overhang:]
            edits, end, _ = _found(query, target, edits, work)
            if edits < 0:
                return -1, 0, 0
            longest, _ = _starts(query, target[: end + 1], edits, table)
    else:
        overhang = 0
    start = end + 1 - longest
    return _path(query, target[start : end + 1], edits, table, steps, False), overhang, start


@numba.njit(cache=True, nogil=True)
def align_block(letters, bounds, first, second):
    """The paths by which edlib aligns queries to targets, without the overhang at their beginning.

    Parameters
    ----------
    letters : ndarray, (L,) uint8
        All sequences, end to end, upper case ASCII.
    bounds : ndarray, (n + 1,) int64
        Sequence ``i`` is ``letters[bounds[i]:bounds[i + 1]]``.
    first, second : ndarray, (m,) int64
        The pairs; `first` is the query.

    Returns
    -------
    steps : ndarray, (S,) uint8
        Paths, each from its end to its beginning.
    step_bounds : ndarray, (m + 1,) int64
    overhang : ndarray, (m,) int32
        Letters of the query that were cut off; -1 where a sequence is empty or the path is not sought here.
    start : ndarray, (m,) int32
        Where the path begins in the target.
    """
    longest, total = 0, 0
    for pair in range(len(first)):
        one = bounds[first[pair] + 1] - bounds[first[pair]]
        other = bounds[second[pair] + 1] - bounds[second[pair]]
        longest, total = max(longest, one, other), total + one + other
    work = _workspace(longest)
    steps, step_bounds = np.empty(total, np.uint8), np.zeros(len(first) + 1, np.int64)
    overhang, start = np.full(len(first), -1, np.int32), np.zeros(len(first), np.int32)
    n = 0
    for pair in range(len(first)):
        query = letters[bounds[first[pair]] : bounds[first[pair] + 1]]
        target = letters[bounds[second[pair]] : bounds[second[pair] + 1]]
        if len(query) and len(target):
            found, cut, begin = _aligned(query, target, work, steps[n:])
            if found >= 0:
                overhang[pair], start[pair] = cut, begin
                n += found
        step_bounds[pair + 1] = n
    return steps[:n], step_bounds, overhang, start
