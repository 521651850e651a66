"""Clusters that may overlap in, disjoint clusters out.

Clusters that share sequences, directly or through others, form a component; its union is partitioned anew by
the gap core. Clusters in no conflict pass through as they are. Components of any size are resolved. What
leaves holds exactly the sequences that came in, each once; that is checked before it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.gap import GapResult, gap_core
from cytopipe.decompose.parameters import Parameters

__all__ = ["Clusters", "conflicted", "in_order", "overlapping_components", "partition", "resolve_conflicts"]

Clusters = tuple[tuple[int, ...], ...]


def resolve_conflicts(
    clusters: Sequence[Collection[int]],
    distances: Distances,
    parameters: Parameters,
    progress: Callable[[int, int], None] | None = None,
) -> Clusters:
    """Make clusters disjoint.

    Parameters
    ----------
    clusters : sequence of collection of int
    distances : Distances
    parameters : Parameters
    progress : callable, optional
        ``progress(done, total)`` after each component.

    Returns
    -------
    tuple of tuple of int
        Disjoint and exhaustive; each ascending; largest first, then by first member.
    """
    components = overlapping_components(clusters)
    settled: list[tuple[int, ...]] = []
    for done, component in enumerate(components, start=1):
        if len(component) == 1:
            settled.append(tuple(sorted(set(clusters[component[0]]))))
        else:
            union = sorted({index for at in component for index in clusters[at]})
            settled += partition(union, distances, parameters).clusters
        if progress is not None:
            progress(done, len(components))
    return in_order(settled, {index for cluster in clusters for index in cluster})


def conflicted(clusters: Iterable[Collection[int]]) -> set[int]:
    """Sequences that are in more than one cluster."""
    seen: set[int] = set()
    twice: set[int] = set()
    for cluster in clusters:
        twice.update(seen.intersection(cluster))
        seen.update(cluster)
    return twice


def overlapping_components(clusters: Sequence[Collection[int]]) -> list[list[int]]:
    """Groups of positions in `clusters` whose clusters are connected by shared sequences."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not clusters:
        return []
    members = np.concatenate([np.fromiter(set(c), np.int64) for c in clusters] + [np.empty(0, np.int64)])
    owners = np.repeat(np.arange(len(clusters)), [len(set(c)) for c in clusters])
    _, members = np.unique(members, return_inverse=True)
    size = len(clusters) + len(members)
    graph = coo_array((np.ones(len(owners), np.int8), (owners, len(clusters) + members)), (size, size))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for at, label in enumerate(labels[: len(clusters)].tolist()):
        groups.setdefault(label, []).append(at)
    return list(groups.values())


def partition(indices: Sequence[int], distances: Distances, parameters: Parameters) -> GapResult:
    """Partition the sequences at `indices` by the gap core; the clusters hold members of `indices`."""
    result = gap_core(
        distances.matrix(indices),
        min_split=parameters.min_split,
        max_lump=parameters.max_lump,
        percentile=parameters.target_percentile,
        method="global" if parameters.parity else parameters.gap_method,
        triangle_filter=parameters.parity,
        alpha=parameters.gap_alpha,
    )
    clusters = tuple(tuple(sorted(int(indices[k]) for k in cluster)) for cluster in result.clusters)
    return replace(result, clusters=clusters)


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
