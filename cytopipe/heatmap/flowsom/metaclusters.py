"""Metaclusters: nodes of a map that belong together.

`average` is average linkage of the codes, what the Python package `flowsom` 0.2.2 computes: its class is
called a consensus, but its prediction never uses one. `consensus` is the consensus of Monti et al. 2003,
doi:10.1023/A:1023949509487, which FlowSOM was published with: nodes are clustered many times without some of
them, and nodes that stay together over the resamples become one metacluster.
"""

from __future__ import annotations

import numpy as np

from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["co_clustering", "metaclusters"]


def metaclusters(codes: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """The metacluster of every node, (n_nodes,) int32 from 0."""
    k = settings.n_metaclusters
    if k == 1:
        return np.zeros(len(codes), np.int32)
    if settings.metaclustering == "average":
        return _average_linkage(codes, k)
    apart = 1 - co_clustering(codes, settings)
    return _average_linkage(apart, k, metric="precomputed")


def co_clustering(codes: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """How often two nodes came into one metacluster, of the resamples that had both; (n_nodes, n_nodes)."""
    n_nodes, k = len(codes), settings.n_metaclusters
    size = max(int(n_nodes * settings.resample_fraction), min(k, n_nodes))
    generator = np.random.default_rng(settings.seed)
    together, both = np.zeros((n_nodes, n_nodes)), np.zeros((n_nodes, n_nodes))
    for _ in range(settings.n_resamples):
        chosen = np.sort(generator.choice(n_nodes, size, replace=False))
        labels = _average_linkage(codes[chosen], k) if k < size else np.arange(size)
        together[np.ix_(chosen, chosen)] += labels[:, None] == labels
        both[np.ix_(chosen, chosen)] += 1
    # Two nodes that no resample had together are told nothing about, and count as apart.
    shares = np.divide(together, both, out=np.zeros_like(together), where=both > 0)
    np.fill_diagonal(shares, 1)
    return shares


def _average_linkage(points: np.ndarray, k: int, *, metric: str = "euclidean") -> np.ndarray:
    from sklearn.cluster import AgglomerativeClustering

    model = AgglomerativeClustering(n_clusters=k, linkage="average", metric=metric)
    return model.fit_predict(points).astype(np.int32)
