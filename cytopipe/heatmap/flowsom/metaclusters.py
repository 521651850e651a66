"""Metaclusters: nodes of a map that belong together.

`average` is average linkage of the codes, what the Python package `flowsom` 0.2.2 computes: its class is
called a consensus, but its prediction never uses one. `consensus` is that of Monti et al. 2003,
doi:10.1023/A:1023949509487, with which FlowSOM was published: nodes are clustered many times without some of
them, and nodes that stay together over the resamples become one metacluster.

Average linkage gives far nodes metaclusters of their own, and the far ones are often nodes with hardly a
cell: doublets, debris, the empty space between populations. Nodes with few cells therefore take no part in
the consensus; each follows the nearest node that does.
"""

from __future__ import annotations

import numpy as np

from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["co_clustering", "metaclusters"]


def metaclusters(codes: np.ndarray, cells_of_node: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """The metacluster of every node.

    Parameters
    ----------
    codes : ndarray, (n_nodes, n_markers) float64
    cells_of_node : ndarray, (n_nodes,) int
    settings : FlowSOMSettings

    Returns
    -------
    ndarray, (n_nodes,) int32
        From 0, in the order of scikit-learn's agglomerative clustering, as the reference has them.
    """
    k = settings.n_metaclusters
    if k == 1:
        return np.zeros(len(codes), np.int32)
    if settings.metaclustering == "average":
        return _agglomerate(codes, k)
    part = _taking_part(cells_of_node, settings)
    labels = _agglomerate(1 - co_clustering(codes[part], settings), k, metric="precomputed")
    result = labels[_nearest(codes, codes[part])]
    result[part] = labels
    return result


def co_clustering(codes: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """How often two nodes came into one metacluster, of the resamples that had both; (n_nodes, n_nodes)."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist, squareform

    n_nodes, k = len(codes), settings.n_metaclusters
    size = max(int(n_nodes * settings.resample_fraction), min(k, n_nodes))
    generator = np.random.default_rng(settings.seed)
    distances = squareform(pdist(codes))
    together, both = np.zeros((n_nodes, n_nodes)), np.zeros((n_nodes, n_nodes))
    for _ in range(settings.n_resamples):
        chosen = np.sort(generator.choice(n_nodes, size, replace=False))
        some = np.ix_(chosen, chosen)
        if k < size:
            labels = _cut(linkage(squareform(distances[some], checks=False), "average"), k)
        else:
            labels = np.arange(size)
        together[some] += labels[:, None] == labels
        both[some] += 1
    # Two nodes that no resample had together are told nothing about, and count as apart.
    shares = np.divide(together, both, out=np.zeros_like(together), where=both > 0)
    np.fill_diagonal(shares, 1)
    return shares


def _taking_part(cells_of_node: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """Nodes with enough cells; at least as many as there are metaclusters, then the largest ones."""
    enough = cells_of_node >= max(cells_of_node.mean() * settings.min_node_share, 1)
    if np.count_nonzero(enough) >= settings.n_metaclusters:
        return np.flatnonzero(enough)
    return np.sort(np.argsort(-cells_of_node, kind="stable")[: settings.n_metaclusters])


def _nearest(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import cdist

    return cdist(codes, others).argmin(axis=1)


def _cut(tree: np.ndarray, k: int) -> np.ndarray:
    """Groups of the leaves before the last k - 1 merges of a tree of SciPy, numbered in any order."""
    n_leaves = len(tree) + 1
    group = np.arange(2 * n_leaves - k)
    for node in range(len(group) - 1, n_leaves - 1, -1):
        group[tree[node - n_leaves, :2].astype(int)] = group[node]
    return group[:n_leaves]


def _agglomerate(points: np.ndarray, k: int, *, metric: str = "euclidean") -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    model = AgglomerativeClustering(n_clusters=k, linkage="average", metric=metric)
    return model.fit_predict(points).astype(np.int32)
