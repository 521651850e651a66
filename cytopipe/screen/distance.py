"""Nearest barcodes by Hamming or Levenshtein distance, without a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numba
import numpy as np

__all__ = ["encoded", "nearest", "pairs_within"]


def encoded(barcodes: Sequence[str], width: int = 0) -> np.ndarray:
    """Barcodes as letters, padded with 0.

    Parameters
    ----------
    barcodes : sequence of str
        ASCII.
    width : int
        At least so many letters per row.

    Returns
    -------
    numpy.ndarray
        uint8, barcodes x letters.
    """
    width = max(width, max(map(len, barcodes), default=0), 1)
    letters = np.array([one.encode("ascii", "replace") for one in barcodes], dtype=f"S{width}")
    return letters.view(np.uint8).reshape(len(letters), width)


def nearest(
    reads: Sequence[str],
    reference: Sequence[str],
    max_distance: int,
    distance_metric: Literal["hamming", "levenshtein"] = "hamming",
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest entry of `reference` for each read, where one is within `max_distance`.

    Hamming distance counts letters beyond the end of the shorter sequence as differences.

    Returns
    -------
    entry : numpy.ndarray
        int64: the first of the nearest entries, -1 where all are farther than `max_distance`.
    distance : numpy.ndarray
        int64: its distance; ``max_distance + 1`` where all are farther.
    unique : numpy.ndarray
        bool: whether no second entry (an equal one counts) is as near.
    """
    width = max(map(len, [*reads, *reference]), default=1)
    left, right = encoded(reads, width), encoded(reference, width)
    if distance_metric == "hamming":
        return _nearest_hamming(left, right, max_distance)
    return _nearest_levenshtein(left, right, _lengths(reads), _lengths(reference), max_distance)


def pairs_within(barcodes: Sequence[str], max_distance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs at a Hamming distance of at most `max_distance`: first, second, distance; first < second."""
    return _pairs(encoded(barcodes), max_distance)


def _lengths(sequences: Sequence[str]) -> np.ndarray:
    return np.array([len(one) for one in sequences], dtype=np.int64)


@numba.njit(cache=True)
def _hamming(left, right, limit):  # pragma: no cover - compiled
    """Letters that differ; counting stops above `limit`."""
    differ = 0
    for k in range(left.shape[0]):
        if left[k] != right[k]:
            differ += 1
            if differ > limit:
                break
    return differ


@numba.njit(cache=True)
def _levenshtein(left, right, limit, row):  # pragma: no cover - compiled
    """Edits between two sequences; `limit` + 1 where there are more. `row` is room for len(right) + 1."""
    n, m = left.shape[0], right.shape[0]
    if abs(n - m) > limit:
        return limit + 1
    for k in range(m + 1):
        row[k] = k
    for i in range(1, n + 1):
        diagonal, row[0] = row[0], i
        lowest = i
        for k in range(1, m + 1):
            above = row[k]
            step = diagonal if left[i - 1] == right[k - 1] else diagonal + 1
            row[k] = min(step, min(above, row[k - 1]) + 1)
            diagonal = above
            lowest = min(lowest, row[k])
        if lowest > limit:
            return limit + 1
    return min(row[m], limit + 1)


@numba.njit(cache=True)
def _nearest_hamming(reads, reference, limit):  # pragma: no cover - compiled
    entry = np.full(reads.shape[0], -1, dtype=np.int64)
    distance = np.full(reads.shape[0], limit + 1, dtype=np.int64)
    unique = np.zeros(reads.shape[0], dtype=np.bool_)
    for r in range(reads.shape[0]):
        best = limit + 1
        for e in range(reference.shape[0]):
            differ = _hamming(reads[r], reference[e], min(best, limit))
            if differ < best:
                best, entry[r], unique[r] = differ, e, True
            elif differ == best and best <= limit:
                unique[r] = False
        distance[r] = best
    return entry, distance, unique


@numba.njit(cache=True)
def _nearest_levenshtein(reads, reference, of_reads, of_reference, limit):  # pragma: no cover - compiled
    entry = np.full(reads.shape[0], -1, dtype=np.int64)
    distance = np.full(reads.shape[0], limit + 1, dtype=np.int64)
    unique = np.zeros(reads.shape[0], dtype=np.bool_)
    row = np.empty(reference.shape[1] + 1, dtype=np.int64)
    for r in range(reads.shape[0]):
        best = limit + 1
        read = reads[r, : of_reads[r]]
        for e in range(reference.shape[0]):
            edits = _levenshtein(read, reference[e, : of_reference[e]], min(best, limit), row)
            if edits < best:
                best, entry[r], unique[r] = edits, e, True
            elif edits == best and best <= limit:
                unique[r] = False
        distance[r] = best
    return entry, distance, unique


@numba.njit(cache=True)
def _pairs(barcodes, limit):  # pragma: no cover - compiled
    count = 0
    for a in range(barcodes.shape[0]):
        for b in range(a + 1, barcodes.shape[0]):
            if _hamming(barcodes[a], barcodes[b], limit) <= limit:
                count += 1
    first = np.empty(count, dtype=np.int64)
    second = np.empty(count, dtype=np.int64)
    distance = np.empty(count, dtype=np.int64)
    count = 0
    for a in range(barcodes.shape[0]):
        for b in range(a + 1, barcodes.shape[0]):
            differ = _hamming(barcodes[a], barcodes[b], limit)
            if differ <= limit:
                first[count], second[count], distance[count] = a, b, differ
                count += 1
    return first, second, distance
