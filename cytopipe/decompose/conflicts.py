"""Clusters that may overlap in, disjoint clusters out.

Clusters that share sequences, directly or through others, form a component; its union is partitioned anew.
Clusters in no conflict pass through as they are. Components of any size are resolved. What
leaves holds exactly the sequences that came in, each once; that is checked before it is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from cytopipe.decompose.clusters import Clusters, connected, in_order
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.diversity import species_cut
from cytopipe.decompose.parameters import BarcodeGap, Parameters
from cytopipe.decompose.split import split

__all__ = ["conflicted", "overlapping_components", "resolve_conflicts"]


def resolve_conflicts(
    clusters: Sequence[Collection[int]],
    distances: Distances,
    parameters: Parameters,
    progress: Callable[[int, int], None] | None = None,
    gap: BarcodeGap | None = None,
) -> Clusters:
    """Make clusters disjoint.

    Parameters
    ----------
    clusters : sequence of collection of int
    distances : Distances
    parameters : Parameters
    progress : callable, optional
        ``progress(done, total)`` after each component.
    gap : BarcodeGap, optional
        Where the set is cut (default rule only); by default at `max_lump`.

    Returns
    -------
    tuple of tuple of int
        Disjoint and exhaustive; each ascending; largest first, then by first member.
    """
    components = overlapping_components(clusters)
    cut = None if parameters.gap_decides else species_cut(clusters, distances, parameters, gap)
    settled: list[tuple[int, ...]] = []
    for done, component in enumerate(components, start=1):
        if len(component) == 1:
            settled.append(tuple(sorted(set(clusters[component[0]]))))
        else:
            union = sorted({index for at in component for index in clusters[at]})
            settled += split(union, distances, parameters, cut=cut, gap=gap).clusters
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
    first: dict[int, int] = {}
    edges = []
    for at, cluster in enumerate(clusters):
        edges += [(first.setdefault(int(index), at), at) for index in cluster]
    return [group.tolist() for group in connected(len(clusters), np.array(edges or [(0, 0)]).T)]
