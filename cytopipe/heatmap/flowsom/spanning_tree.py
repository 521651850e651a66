"""The minimum spanning tree of the nodes, by which FlowSOM draws its map."""

from __future__ import annotations

import numpy as np

__all__ = ["spanning_tree"]


def spanning_tree(codes: np.ndarray) -> np.ndarray:
    """Edges of the minimum spanning tree of the Euclidean distances between codes.

    Grown from node 0 (Prim); of edges of equal length the one to the lower node is taken, so that the tree of
    given codes is always the same one.

    Parameters
    ----------
    codes : ndarray, (n_nodes, n_markers)

    Returns
    -------
    ndarray, (n_nodes - 1, 2) int32
        Two nodes each, the lower one first; sorted.
    """
    codes = np.asarray(codes, np.float64)
    n_nodes = len(codes)
    outside = np.ones(n_nodes, bool)
    nearest, distance = np.zeros(n_nodes, np.int64), np.full(n_nodes, np.inf)
    edges = np.empty((n_nodes - 1, 2), np.int32)
    node = 0
    for place in range(n_nodes - 1):
        outside[node] = False
        to_node = np.sqrt(((codes - codes[node]) ** 2).sum(axis=1))
        closer = outside & (to_node < distance)
        nearest[closer], distance[closer] = node, to_node[closer]
        node = int(np.argmin(np.where(outside, distance, np.inf)))
        edges[place] = sorted((nearest[node], node))
    return edges[np.lexsort(edges.T[::-1])]
