"""Clusters as values: their one order, what connects them, and the proof that nothing was lost or doubled."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numba
import numpy as np

__all__ = ["Clusters", "connected", "in_order"]

#: Disjoint clusters of positions: each ascending, largest first, then by first member.
Clusters = tuple[tuple[int, ...], ...]


def in_order(clusters: Iterable[Collection[int]], expected: Collection[int]) -> Clusters:
    """Clusters in their one order, proved disjoint and to hold exactly `expected`.

    Raises
    ------
    AssertionError
        If a sequence is lost, doubled or came from nowhere: a fault of ours, never of the user's.
    """
    ordered = tuple(sorted((tuple(sorted(map(int, c))) for c in clusters if c), key=lambda c: (-len(c), c)))
    members = [index for cluster in ordered for index in cluster]
    if len(members) != len(set(members)) or set(members) != set(expected):
        raise AssertionError("clusters do not hold every sequence exactly once")
    return ordered


def connected(n: int, edges: np.ndarray) -> list[np.ndarray]:
    """Connected components of ``0 .. n - 1``, each ascending, in the order of their first members.

    Parameters
    ----------
    n : int
    edges : ndarray, (2, m) int
    """
    if n == 0:
        return []
    labels = _first_members(n, np.ascontiguousarray(edges, np.int64))
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


@numba.njit(cache=True, nogil=True)
def _first_members(n, edges):
    """Smallest member of the component of each."""
    parent = np.arange(n)
    for k in range(edges.shape[1]):
        a, b = edges[0, k], edges[1, k]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        parent[max(a, b)] = min(a, b)
    for k in range(n):
        parent[k] = parent[parent[k]]
    return parent
