"""What a search found for every sequence in; who is worth comparing with whom, out.

Candidates are symmetric (if one search of two found the other, both are candidates of each other) and ranked,
most similar first. They fall into closures, sets that no chain of candidates leaves, and so parts of the
input that can be partitioned one by one, in any order, with the same result. Each also gets a measure of
how typical it is, the amount of sequence it shares with its best candidates: long and ordinary ones share
most, fragments and reads full of errors least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.clusters import connected
from cytopipe.decompose.neighbours import Neighbours
from cytopipe.decompose.neighbours_kmer import Kmers, expected_share
from cytopipe.decompose.parameters import Parameters

__all__ = ["Candidates", "candidates", "candidates_among"]

#: Two sequences are compared if the search puts them within this many times `max_lump`: homopolymers and long
#: indels, which the distance forgives, lower the estimate of a search (of the labelled sets' pairs within
#: 0.02, the least similar was put at 0.027).
REACH = 3.0

#: Candidates kept of one search: enough to find a leader among thousands of near-identical sequences.
KEPT = 256

#: Candidates that tell how typical a sequence is. All of them would make a fragment of the conserved gene the
#: most typical of all: it resembles everything.
BEST = 16

_QUERIES = 1_000


@dataclass(frozen=True)
class Candidates:
    """Ranked, symmetric candidates of some sequences.

    Attributes
    ----------
    positions : ndarray, (n,) int64
        The sequences, ascending.
    indptr, indices : ndarray
        Compressed rows: the candidates of ``positions[k]``, as positions, most similar first.
    typical : ndarray, (n,) float64
        Base pairs shared with each of the best candidates, on average.
    """

    positions: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    typical: np.ndarray

    def of(self, position: int) -> np.ndarray:
        """Candidates of a sequence, most similar first."""
        at = np.searchsorted(self.positions, position)
        return self.indices[self.indptr[at] : self.indptr[at + 1]]

    def by_typicality(self, positions: np.ndarray) -> np.ndarray:
        """Positions, the most typical first."""
        at = np.searchsorted(self.positions, positions)
        return positions[np.lexsort((positions, -self.typical[at]))]

    def closures(self) -> list[np.ndarray]:
        """Sets of positions that no candidate leads out of, in the order of their first members."""
        rows = np.repeat(np.arange(len(self.positions)), np.diff(self.indptr))
        edges = np.stack([rows, np.searchsorted(self.positions, self.indices)])
        return [self.positions[closure] for closure in connected(len(self.positions), edges)]


def candidates(neighbours: Neighbours, lengths: np.ndarray, parameters: Parameters) -> Candidates:
    """Search for everything and keep what may be within the distance of joining.

    Parameters
    ----------
    neighbours : Neighbours
    lengths : ndarray, (n,) int64
        Lengths of all sequences, bp.
    parameters : Parameters
    """
    n = len(lengths)
    least = 1.0 - REACH * parameters.lump
    rows, columns, identities = [], [], []
    for start in range(0, n, _QUERIES):
        queries = np.arange(start, min(start + _QUERIES, n))
        hits = neighbours.search(queries)
        rank = np.arange(len(hits.indices)) - np.repeat(hits.indptr[:-1], np.diff(hits.indptr))
        guessed = ~np.isnan(hits.identity)  # who does not guess at identities (exhaustive) is not cut short
        keep = ~guessed | ((hits.identity >= least) & (rank < KEPT))
        rows.append(np.repeat(queries, np.diff(hits.indptr))[keep])
        columns.append(hits.indices[keep])
        identities.append(np.nan_to_num(hits.identity[keep], nan=1.0))
    return _symmetric(np.arange(n), lengths, *map(np.concatenate, (rows, columns, identities)))


def candidates_among(positions: np.ndarray, sequences: Sequence[str], parameters: Parameters) -> Candidates:
    """Candidates that some sequences have among themselves, by shared k-mers."""
    some = [sequences[position] for position in positions]
    lengths = np.array([len(sequence) for sequence in some], np.int64)
    found = candidates(Kmers(some, parameters), lengths, parameters)
    return Candidates(positions, found.indptr, positions[found.indices], found.typical)


def _symmetric(
    positions: np.ndarray, lengths: np.ndarray, rows: np.ndarray, columns: np.ndarray, identity: np.ndarray
) -> Candidates:
    n = len(positions)
    keys = np.minimum(rows, columns) * n + np.maximum(rows, columns)
    order = np.lexsort((-identity, keys))  # of two estimates for a pair the higher one stands
    keys, identity = keys[order], identity[order]
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    low, high = np.divmod(keys[first], n)
    rows = np.concatenate([low, high]).astype(np.int32)
    columns = np.concatenate([high, low]).astype(np.int32)
    identity = np.concatenate([identity[first]] * 2)
    order = np.lexsort((columns, -identity, rows))
    rows, columns, identity = rows[order], columns[order], identity[order]
    indptr = np.searchsorted(rows, np.arange(n + 1))
    best = np.flatnonzero(np.arange(len(rows)) - indptr[rows] < BEST)
    rows, others = rows[best], columns[best]
    shared = expected_share(identity[best].astype(np.float64)) * np.minimum(lengths[rows], lengths[others])
    typical = np.bincount(rows, shared, n) / np.maximum(np.bincount(rows, minlength=n), 1)
    return Candidates(positions, indptr, positions[columns], typical)
