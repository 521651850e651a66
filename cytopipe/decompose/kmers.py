"""Sequences in, the distinct words of k letters of each out, as integers, compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

__all__ = ["distinct_kmers"]

_CODES = np.full(256, -1, np.int64)
_CODES[np.frombuffer(b"ACGT", np.uint8)] = np.arange(4)


def distinct_kmers(sequences: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct k-mers of every sequence; words with an ambiguous letter are left out.

    Parameters
    ----------
    sequences : sequence of str
        Upper case.
    k : int
        Word length, at most 12.

    Returns
    -------
    words : ndarray, (w,) int32
        Below ``4 ** k``, in the order of their first occurrence, sequence after sequence.
    bounds : ndarray, (n + 1,) int64
        Sequence ``i`` has ``words[bounds[i]:bounds[i + 1]]``.
    """
    letters = np.frombuffer("".join(sequences).encode("ascii"), np.uint8).copy()
    starts = np.zeros(len(sequences) + 1, np.int64)
    np.cumsum([len(sequence) for sequence in sequences], out=starts[1:])
    words, bounds = np.empty(len(letters), np.int32), np.zeros(len(sequences) + 1, np.int64)
    n_words = _extract(letters, starts, k, words, bounds)
    return words[:n_words].copy(), bounds


@numba.njit(cache=True, nogil=True)
def _extract(letters, starts, k, words, bounds):
    seen_by = np.full(4**k, -1, np.int32)
    n_words = 0
    for sequence in range(len(starts) - 1):
        word, length = 0, 0
        for at in range(starts[sequence], starts[sequence + 1]):
            code = _CODES[letters[at]]
            if code < 0:
                length = 0
                continue
            word = (word * 4 + code) % 4**k
            length += 1
            if length >= k and seen_by[word] != sequence:
                seen_by[word] = sequence
                words[n_words] = word
                n_words += 1
        bounds[sequence + 1] = n_words
    return n_words
