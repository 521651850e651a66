"""All thresholds in one pass: how many clusters there are at each, and which partitions stand out.

Pairs of sequences with distances, sorted once and joined by union-find, give the single-linkage partition at
every threshold (as OptimOTU does). A partition that stays the same over a wide range of thresholds has a wide
barcode gap behind it: ranked by that range relative to where it ends, the list is the one ASAP users know
(Puillandre et al. 2021), without its coalescent test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Alternative", "Curve", "cut", "threshold_curve"]


@dataclass(frozen=True)
class Alternative:
    """One partition by a single threshold.

    Parameters
    ----------
    rank : int
        1 for the widest relative gap.
    threshold : float
        The largest distance that joins two sequences in it.
    next_threshold : float
        The smallest distance that would join two of its clusters; infinite if none is known.
    clusters : int
        Number of clusters.
    gap_width : float
        ``next_threshold - threshold``.
    relative_gap : float
        ``gap_width / next_threshold``, from 0 to 1.
    """

    rank: int
    threshold: float
    next_threshold: float
    clusters: int
    gap_width: float
    relative_gap: float


@dataclass(frozen=True)
class Curve:
    """The single-linkage hierarchy of a set.

    Parameters
    ----------
    thresholds : ndarray, (k,) float64
        Distances at which clusters join, ascending; the first is 0 (only what is identical is joined).
    clusters : ndarray, (k,) int64
        Clusters after the joins at that distance.
    joins : tuple of ndarray
        The two sequences and the distance of every join, ascending.
    n_sequences : int
    """

    thresholds: np.ndarray
    clusters: np.ndarray
    joins: tuple[np.ndarray, np.ndarray, np.ndarray]
    n_sequences: int

    def alternatives(self, *, lowest: float, highest: float, at_most: int = 10) -> list[Alternative]:
        """The partitions with the widest relative gaps whose threshold is in [lowest, highest]."""
        following = np.append(self.thresholds[1:], np.inf)
        inside = [
            at
            for at, threshold in enumerate(self.thresholds)
            if threshold <= highest and following[at] >= lowest and np.isfinite(following[at])
        ]
        width = following - self.thresholds
        relative = np.divide(width, following, out=np.zeros_like(width), where=np.isfinite(following))
        # A gap that begins below the lowest threshold of interest counts from there: identical sequences
        # are always relatively infinitely closer than different ones.
        relative = np.minimum(relative, 1 - np.minimum(lowest, following) / following)
        best = sorted(inside, key=lambda at: (-relative[at], self.thresholds[at]))[:at_most]
        return [
            Alternative(
                rank=rank,
                threshold=float(self.thresholds[at]),
                next_threshold=float(following[at]),
                clusters=int(self.clusters[at]),
                gap_width=float(width[at]),
                relative_gap=float(relative[at]),
            )
            for rank, at in enumerate(best, start=1)
        ]


def threshold_curve(n_sequences: int, edges: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Curve:
    """The single-linkage hierarchy over pairs with known distances.

    Parameters
    ----------
    n_sequences : int
        Number of unique sequences.
    edges : sequence of tuple of ndarray
        First position, second position and distance of pairs. The hierarchy is that of the whole set if
        the nearest pairs are among them.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    first, second, values = (np.concatenate(column) for column in zip(*edges, strict=True))
    # A pair may come twice, and a sparse matrix would add the two up.
    _, once = np.unique(
        np.minimum(first, second) * n_sequences + np.maximum(first, second), return_index=True
    )
    first, second, values = first[once], second[once], values[once]
    # A sparse matrix reads 0 as "no edge": lift every distance by one and take it off again.
    graph = coo_matrix((values + 1.0, (first, second)), shape=(n_sequences, n_sequences))
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    joined = tree.data - 1.0
    order = np.lexsort((tree.col, tree.row, joined))
    joins = (tree.row[order].astype(np.int64), tree.col[order].astype(np.int64), np.round(joined[order], 12))
    thresholds = np.unique(np.append(0.0, joins[2]))
    clusters = n_sequences - np.searchsorted(joins[2], thresholds, side="right")
    return Curve(thresholds, clusters, joins, n_sequences)


def cut(curve: Curve, threshold: float) -> np.ndarray:
    """The cluster number of every sequence at a threshold, (n,) int64: 1 for the largest one."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first, second, values = curve.joins
    near = values <= threshold
    shape = (curve.n_sequences, curve.n_sequences)
    graph = coo_matrix((np.ones(near.sum()), (first[near], second[near])), shape=shape)
    _, label = connected_components(graph, directed=False)
    _, start, size = np.unique(label, return_index=True, return_counts=True)
    order = np.lexsort((start, -size))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[label]
