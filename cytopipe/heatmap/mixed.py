"""Clusters that hold cells of several kinds: named by a person, or found by a rule."""

from __future__ import annotations

import itertools

import numpy as np

from cytopipe.heatmap.choices import MixedChoice
from cytopipe.heatmap.revision import Naming
from cytopipe.heatmap.state import HeatmapState

__all__ = ["MIXED", "is_mixed", "mixed_clusters", "silhouettes"]

MIXED = "mixed"
"""What `HeatmapState.subset_mixed` says of a mixed cluster."""


def is_mixed(state: HeatmapState) -> np.ndarray:
    """(n_clusters,) bool: the clusters that are marked as mixed."""
    if state.subset_mixed is None:
        return np.zeros(state.n_clusters, bool)
    return np.array([one == MIXED for one in state.subset_mixed], bool)


def mixed_clusters(state: HeatmapState, choice: MixedChoice) -> dict[str, list[str]]:
    """Which clusters are mixed, and why.

    Returns
    -------
    mapping of str to list of str
        By the identifier of the cluster, in the order of the clusters: ``a person``,
        ``CD3 2.1 and CD19 1.4``, ``silhouette -0.12``.

    Raises
    ------
    InputError
        With every name that means nothing in this state.
    """
    naming = Naming(state)
    why: dict[int, list[str]] = {}
    for row in naming.rows("mixed.clusters", choice.clusters):
        why.setdefault(row, []).append("a person")
    for row in np.flatnonzero(
        np.isin(state.label, naming.numbers("mixed.metaclusters", choice.metaclusters))
    ):
        why.setdefault(int(row), []).append("a person")
    for group in choice.exclusive:
        for one, other in itertools.combinations(_columns(naming, state, group), 2):
            both = (state.matrix[:, one] >= choice.high) & (state.matrix[:, other] >= choice.high)
            for row in np.flatnonzero(both):
                words = " and ".join(f"{state.markers[k]} {state.matrix[row, k]:.2f}" for k in (one, other))
                why.setdefault(int(row), []).append(words)
    if choice.silhouette_below is not None:
        widths = silhouettes(state)
        for row in np.flatnonzero(widths < choice.silhouette_below):
            why.setdefault(int(row), []).append(f"silhouette {widths[row]:.3f}")
    never = set(naming.rows("mixed.never", choice.never))
    naming.raise_faults()
    return {state.cluster_ids[row]: list(dict.fromkeys(why[row])) for row in sorted(why) if row not in never}


def silhouettes(state: HeatmapState) -> np.ndarray:
    """How well each cluster fits its metacluster, by the z-scores of the training markers.

    (b - a) / max(a, b), where a is the mean Euclidean distance to the other clusters of its metacluster,
    and b the smallest mean distance to the clusters of another one (Rousseeuw 1987). 0 for a cluster alone,
    and where there is one metacluster.

    Returns
    -------
    ndarray of float64
        (n_clusters,) from -1 to 1.
    """
    from scipy.spatial.distance import cdist

    columns = [state.markers.index(one) for one in state.training_markers]
    points = state.matrix[:, columns].astype(np.float64)
    distances = cdist(points, points)
    numbers, own = np.unique(state.label, return_inverse=True)
    if len(numbers) < 2:
        return np.zeros(state.n_clusters)
    member = np.eye(len(numbers))[own]
    counts, sums = member.sum(axis=0), distances @ member
    rows = np.arange(state.n_clusters)
    alone = counts[own] == 1
    within = sums[rows, own] / np.maximum(counts[own] - 1, 1)
    means = sums / counts
    means[rows, own] = np.inf
    nearest = means.min(axis=1)
    largest = np.maximum(within, nearest)
    widths = np.divide(nearest - within, largest, out=np.zeros_like(largest), where=largest > 0)
    return np.where(alone, 0.0, widths)


def _columns(naming: Naming, state: HeatmapState, markers: list[str]) -> list[int]:
    found = []
    for name in markers:
        if name in state.markers:
            found.append(state.markers.index(name))
            continue
        naming.no_marker("mixed.exclusive", name, state.markers)
    return found
