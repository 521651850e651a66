"""Shared k-mers as finder of neighbours: sequences in, an inverted index in memory, ranked hits out.

Two barcodes of one species share most of their words of eleven letters whatever their ends, so the share of
the shorter one's words ranks candidates (containment, not Jaccard: partial sequences are first-class). The
index is two flat arrays; a query walks the lists of its own words and counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from cytopipe.decompose.kmers import kmers
from cytopipe.decompose.neighbours import Hits
from cytopipe.decompose.parameters import Parameters

__all__ = ["Kmers"]

K = 11


class Kmers:
    """Inverted k-mer index of a set.

    Parameters
    ----------
    sequences : sequence of str
    parameters : Parameters
        ``blast_max_hits`` and ``min_identity`` limit what is reported.
    """

    name = "kmer"

    def __init__(self, sequences: Sequence[str], parameters: Parameters) -> None:
        self._max_hits = parameters.blast_max_hits
        self._min_share = _share((parameters.min_identity or 90.0) / 100.0)
        words = [kmers(sequence, K) for sequence in sequences]
        self._bounds = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(w) for w in words], out=self._bounds[1:])
        flat = np.concatenate(words) if words else np.empty(0, np.int64)
        owners = np.repeat(np.arange(len(words), dtype=np.int32), np.diff(self._bounds))
        _, ranks = np.unique(flat, return_inverse=True)
        order = np.argsort(ranks, kind="stable")
        self._ranks = ranks.astype(np.int64)
        self._owners = owners[order]
        self._lists = np.searchsorted(ranks[order], np.arange(len(np.unique(flat)) + 1)).astype(np.int64)
        self._sizes = np.diff(self._bounds)

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        """Sequences sharing enough k-mers with each query, by share of the shorter one's, best first."""
        rows = []
        for query in query_indices:
            words = self._ranks[self._bounds[query] : self._bounds[query + 1]]
            counts = np.zeros(len(self._sizes), np.int32)
            _count(words, self._lists, self._owners, counts)
            shorter = np.maximum(np.minimum(self._sizes, self._sizes[query]), 1)
            share = counts / shorter
            share[query] = -1.0
            hits = np.flatnonzero(share >= self._min_share)
            hits = hits[np.lexsort((hits, -share[hits]))][: self._max_hits]
            rows.append((hits, _identity(share[hits])))
        return Hits.from_rows(rows)


def _share(identity: float) -> float:
    """Share of k-mers expected to survive at an identity, with half of it as allowance for chance."""
    return 0.5 * identity**K


def _identity(share: np.ndarray) -> np.ndarray:
    return (share ** (1.0 / K)).astype(np.float32)


@numba.njit(cache=True)
def _count(words, lists, owners, counts):
    for word in words:
        for at in range(lists[word], lists[word + 1]):
            counts[owners[at]] += 1
