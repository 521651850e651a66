"""Nearest barcodes by Hamming or Levenshtein distance, without a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numba
import numpy as np

__all__ = ["encoded", "nearest", "pairs_within", "two_smallest"]


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
        (left, right), shift, mask = _packed(left, right)
        return _nearest_hamming(left, right, shift, mask, max_distance)
    return _nearest_levenshtein(left, right, _lengths(reads), _lengths(reference), max_distance)


def two_smallest(
    reads: Sequence[str],
    reference: Sequence[str],
    distance_metric: Literal["hamming", "levenshtein"] = "hamming",
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of each read to its nearest and to its second nearest entry of `reference`.

    Returns
    -------
    first, second : numpy.ndarray
        int64; -1 where `reference` has no such entry.
    """
    width = max(map(len, [*reads, *reference]), default=1)
    left, right = encoded(reads, width), encoded(reference, width)
    words, shift, mask = _packed(left, right)
    edits = distance_metric == "levenshtein"
    return _two_smallest(
        left, right, _lengths(reads), _lengths(reference), words[0], words[1], shift, mask, edits
    )


def pairs_within(barcodes: Sequence[str], max_distance: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs at a Hamming distance of at most `max_distance`: first, second, distance; first < second."""
    (words,), shift, mask = _packed(encoded(barcodes))
    return _pairs(words, shift, mask, max_distance)


def _lengths(sequences: Sequence[str]) -> np.ndarray:
    return np.array([len(one) for one in sequences], dtype=np.int64)


#: Bits per letter, letters per word, where a word's sum of differences stands, and one bit for each letter.
_NIBBLES = (4, 15, np.uint64(60), np.uint64(0x1111111111111111))
_BYTES = (8, 8, np.uint64(56), np.uint64(0x0101010101010101))


def _packed(*letters: np.ndarray) -> tuple[list[np.ndarray], np.uint64, np.uint64]:
    """Sequences as words of few bits per letter; the shift and the mask by which differences are summed."""
    known = np.unique(np.concatenate([one.ravel() for one in letters]))
    bits, per_word, shift, mask = _NIBBLES if len(known) <= 16 else _BYTES
    words = []
    for one in letters:
        codes = np.searchsorted(known, one).astype(np.uint64)
        word = np.zeros((len(one), -(-one.shape[1] // per_word)), dtype=np.uint64)
        for place in range(one.shape[1]):
            word[:, place // per_word] |= codes[:, place] << np.uint64(bits * (place % per_word))
        words.append(word)
    return words, shift, mask


@numba.njit(cache=True)
def _hamming(left, a, right, b, shift, mask):  # pragma: no cover - compiled
    """Letters that differ between the packed sequences `a` of left and `b` of right."""
    differ = np.int64(0)
    for k in range(left.shape[1]):
        bits = left[a, k] ^ right[b, k]
        if shift == 56:
            bits |= bits >> np.uint64(4)
        bits |= bits >> np.uint64(2)
        bits |= bits >> np.uint64(1)
        differ += np.int64(((bits & mask) * mask) >> shift)
    return differ


@numba.njit(cache=True)
def _levenshtein(left, a, n, right, b, m, limit, row):  # pragma: no cover - compiled
    """Edits between n letters of left[a] and m of right[b]; `limit` + 1 where there are more."""
    if abs(n - m) > limit:
        return limit + 1
    far = limit + 1
    for k in range(m + 1):
        row[k] = min(k, far)
    for i in range(1, n + 1):
        # Cells off the diagonal by more than `limit` cost more than that.
        low, high = max(1, i - limit), min(m, i + limit)
        diagonal = row[low - 1]
        row[low - 1] = min(i, far) if low == 1 else far
        lowest = row[low - 1]
        for k in range(low, high + 1):
            above = row[k] if k < i + limit else far
            step = diagonal if left[a, i - 1] == right[b, k - 1] else diagonal + 1
            diagonal = row[k]
            row[k] = min(step, min(above, row[k - 1]) + 1)
            lowest = min(lowest, row[k])
        if lowest > limit:
            return far
    return min(row[m], limit + 1)


@numba.njit(cache=True)
def _nearest_hamming(reads, reference, shift, mask, limit):  # pragma: no cover - compiled
    entry = np.full(reads.shape[0], -1, dtype=np.int64)
    distance = np.full(reads.shape[0], limit + 1, dtype=np.int64)
    unique = np.zeros(reads.shape[0], dtype=np.bool_)
    for r in range(reads.shape[0]):
        best = limit + 1
        for e in range(reference.shape[0]):
            differ = _hamming(reads, r, reference, e, shift, mask)
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
        for e in range(reference.shape[0]):
            edits = _levenshtein(reads, r, of_reads[r], reference, e, of_reference[e], min(best, limit), row)
            if edits < best:
                best, entry[r], unique[r] = edits, e, True
            elif edits == best and best <= limit:
                unique[r] = False
        distance[r] = best
    return entry, distance, unique


@numba.njit(cache=True)
def _two_smallest(  # pragma: no cover - compiled
    left, right, of_left, of_right, left_words, right_words, shift, mask, edits
):
    first = np.full(left.shape[0], -1, dtype=np.int64)
    second = np.full(left.shape[0], -1, dtype=np.int64)
    row = np.empty(right.shape[1] + 1, dtype=np.int64)
    for r in range(left.shape[0]):
        for e in range(right.shape[0]):
            if edits:
                distance = _levenshtein(left, r, of_left[r], right, e, of_right[e], right.shape[1], row)
            else:
                distance = _hamming(left_words, r, right_words, e, shift, mask)
            if first[r] < 0 or distance < first[r]:
                first[r], second[r] = distance, first[r]
            elif second[r] < 0 or distance < second[r]:
                second[r] = distance
    return first, second


@numba.njit(cache=True)
def _pairs(barcodes, shift, mask, limit):  # pragma: no cover - compiled
    count = 0
    for a in range(barcodes.shape[0]):
        for b in range(a + 1, barcodes.shape[0]):
            if _hamming(barcodes, a, barcodes, b, shift, mask) <= limit:
                count += 1
    first = np.empty(count, dtype=np.int64)
    second = np.empty(count, dtype=np.int64)
    distance = np.empty(count, dtype=np.int64)
    count = 0
    for a in range(barcodes.shape[0]):
        for b in range(a + 1, barcodes.shape[0]):
            differ = _hamming(barcodes, a, barcodes, b, shift, mask)
            if differ <= limit:
                first[count], second[count], distance[count] = a, b, differ
                count += 1
    return first, second, distance
