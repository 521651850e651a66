"""Shared k-mers as finder of neighbours: sequences in, an inverted index in memory, ranked hits out.

Two barcodes of one species share most of their words of eleven letters whatever their ends, so the share of
the shorter one's words ranks candidates (containment, not Jaccard: partial sequences are first-class). The
index is two flat arrays; a query walks the lists of its own words and counts. In a large set most of the walk
would be over words that nearly everything holds (the 5.8S gene), so of the words held by more than 2,000
sequences only every eighth is indexed, and counts eightfold.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

from cytopipe.decompose.hits import Hits
from cytopipe.decompose.kmers import distinct_kmers
from cytopipe.decompose.parameters import Parameters
from cytopipe.engine import available_cores

__all__ = ["Kmers", "estimated_identity", "expected_share"]

K = 11
COMMON = 2_000
THINNED = 8

_WORTH_A_THREAD = 50  # queries; fewer are answered before a thread has started


def expected_share(identity):
    """Share of k-mers that survive at an identity (or an array of them), if differences are independent."""
    return identity**K


def estimated_identity(share: np.ndarray) -> np.ndarray:
    """Identity at which that share of k-mers would survive, (m,) float32."""
    return (np.minimum(share, 1.0) ** (1.0 / K)).astype(np.float32)


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
        self._least_share = expected_share(parameters.search_identity_percent / 100.0)
        self._words, self._bounds, n_words = _numbered(*distinct_kmers(sequences, K))
        holders = np.bincount(self._words, minlength=n_words)
        self._weights = np.ones(n_words, np.int32)
        common = np.flatnonzero(holders > COMMON)
        # A multiplicative hash decides, so that the words kept are spread over the gene.
        kept = ((common * 2654435761) >> 13) % THINNED == 0
        self._weights[common] = np.where(kept, THINNED, 0)
        self._starts, self._owners, self._sizes = _index(self._words, self._bounds, self._weights)

    def search(self, query_indices: Sequence[int] | np.ndarray) -> Hits:
        """Sequences sharing enough k-mers with each query, by share of the shorter one's, best first.

        The queries are split over as many threads as there are cores; each answer depends on its query alone.
        """
        queries = np.asarray(query_indices, np.int64)
        parts = np.array_split(queries, max(1, min(available_cores(), len(queries) // _WORTH_A_THREAD)))
        if len(parts) == 1:
            return Hits.from_rows(self._rows(queries))
        with ThreadPoolExecutor(len(parts)) as pool:
            return Hits.from_rows([row for rows in pool.map(self._rows, parts) for row in rows])

    def _rows(self, queries: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Hits and identities of each query."""
        rows = []
        counts = np.zeros(len(self._sizes), np.int32)
        for query in queries.tolist():
            words = self._words[self._bounds[query] : self._bounds[query + 1]]
            hits, share = _similar(
                query,
                words,
                self._weights,
                self._starts,
                self._owners,
                self._sizes,
                self._least_share,
                counts,
            )
            if len(hits) > self._max_hits:  # a selection first: sorting thousands to keep hundreds costs most
                least = np.partition(share, -self._max_hits)[-self._max_hits]
                hits, share = hits[share >= least], share[share >= least]
            best = np.lexsort((hits, -share))[: self._max_hits]
            rows.append((hits[best], estimated_identity(share[best])))
        return rows


def _numbered(words: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Words numbered without gaps where there are few: a table of all possible ones takes 50 MB."""
    if len(words) > 4**K // 4:
        return words, bounds, 4**K
    found, numbers = np.unique(words, return_inverse=True)
    return numbers.astype(np.int32), bounds, len(found)


@numba.njit(cache=True, nogil=True)
def _index(words, bounds, weights):
    """Lists of the sequences that hold each indexed word, and every sequence's weighted number of words."""
    starts = np.zeros(len(weights) + 1, np.int64)
    for word in words:
        if weights[word]:
            starts[word + 1] += 1
    for word in range(len(weights)):
        starts[word + 1] += starts[word]
    owners = np.empty(starts[-1], np.int32)
    filled = starts[:-1].copy()
    sizes = np.zeros(len(bounds) - 1, np.int32)
    for sequence in range(len(bounds) - 1):
        for at in range(bounds[sequence], bounds[sequence + 1]):
            word = words[at]
            if weights[word]:
                owners[filled[word]] = sequence
                filled[word] += 1
                sizes[sequence] += weights[word]
    return starts, owners, sizes


@numba.njit(cache=True, nogil=True)
def _similar(query, words, weights, starts, owners, sizes, least_share, counts):
    """Sequences that share at least `least_share` of the shorter one's words; `counts` is left at zero."""
    for word in words:
        weight = weights[word]
        if weight:
            for at in range(starts[word], starts[word + 1]):
                counts[owners[at]] += weight
    hits = np.empty(len(sizes), np.int64)
    share = np.empty(len(sizes))
    n = 0
    for other in range(len(sizes)):
        if counts[other] and other != query:
            of_shorter = counts[other] / min(sizes[other], sizes[query])
            if of_shorter >= least_share:
                hits[n] = other
                share[n] = of_shorter
                n += 1
        counts[other] = 0
    return hits[:n].copy(), share[:n].copy()
