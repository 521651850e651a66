"""What a search for similar sequences returns, whichever finder made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Hits"]


@dataclass(frozen=True)
class Hits:
    """Neighbours of a list of queries, in compressed rows.

    Attributes
    ----------
    indptr : ndarray, (q + 1,) int64
        Query ``k`` has the hits ``indptr[k]:indptr[k + 1]``.
    indices : ndarray, (h,) int64
        Positions of the neighbours, nearest first.
    identity : ndarray, (h,) float32
        The finder's own estimate of identity in [0, 1]; NaN where it makes none.
    """

    indptr: np.ndarray
    indices: np.ndarray
    identity: np.ndarray

    def of(self, query: int) -> np.ndarray:
        """Neighbours of the `query`-th query, nearest first."""
        return self.indices[self.indptr[query] : self.indptr[query + 1]]

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Hits:
        """Hits from one (indices, identity) pair of arrays per query."""
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(indices) for indices, _ in rows], out=indptr[1:])
        return cls(
            indptr,
            np.concatenate([np.asarray(i, np.int64) for i, _ in rows] or [np.empty(0, np.int64)]),
            np.concatenate([np.asarray(s, np.float32) for _, s in rows] or [np.empty(0, np.float32)]),
        )
