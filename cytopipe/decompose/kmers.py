"""A sequence in, its distinct words of k letters as integers out."""

from __future__ import annotations

import numpy as np

__all__ = ["kmers"]

_CODES = np.full(256, -1, np.int64)
_CODES[np.frombuffer(b"ACGT", np.uint8)] = np.arange(4)


def kmers(sequence: str, k: int) -> np.ndarray:
    """Distinct k-mers, ascending, (m,) int64 below ``4 ** k``; words with an ambiguous letter are left out.

    Parameters
    ----------
    sequence : str
        Upper case.
    k : int
        Word length, at most 31.
    """
    letters = _CODES[np.frombuffer(sequence.encode("ascii"), np.uint8)]
    n = len(letters) - k + 1
    if n <= 0:
        return np.empty(0, np.int64)
    words = np.zeros(n, np.int64)
    unambiguous = np.ones(n, bool)
    for at in range(k):
        column = letters[at : at + n]
        words = words * 4 + column
        unambiguous &= column >= 0
    return np.unique(words[unambiguous])
