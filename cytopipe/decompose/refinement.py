"""Disjoint clusters and a distance in; clusters that lie closer than it partitioned anew, out.

Each cluster is represented by its medoid. Clusters whose medoids are within the threshold (looked for among
each medoid's nearest clusters) form components, and the union of each is partitioned anew. Where a gap
decides and hardly any is found, the nearest cluster further away joins as context, so that "between" means
something; the sequences of the context stay where they are. (The median of distances needs none: on all
labelled sets it gave the same clusters with it.) Every record that came in leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from cytopipe.decompose.clusters import Clusters, connected, in_order
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.diversity import species_cut
from cytopipe.decompose.neighbours import Neighbours
from cytopipe.decompose.parameters import BarcodeGap, Parameters
from cytopipe.decompose.split import split

__all__ = ["medoid", "refine_close"]

#: Clusters looked at around each medoid.
NEAREST_CLUSTERS = 20
#: A gap below this says the core had nothing to measure itself against.
HARDLY_A_GAP = 0.001
CONTEXT_ROUNDS = 5
MEDOID_CANDIDATES = 8
MEDOID_SAMPLE = 16


def refine_close(
    clusters: Sequence[Collection[int]],
    distances: Distances,
    neighbours: Neighbours,
    threshold: float,
    parameters: Parameters,
    *,
    progress: Callable[[int, int], None] | None = None,
    gap: BarcodeGap | None = None,
) -> Clusters:
    """Partition close clusters anew.

    Parameters
    ----------
    clusters : sequence of collection of int
        Disjoint.
    distances : Distances
    neighbours : Neighbours
    threshold : float
        Medoids at most this far apart make their clusters close.
    parameters : Parameters
    progress : callable, optional
        ``progress(done, total)`` in sets of close clusters.
    gap : BarcodeGap, optional
        Where the set is cut (default rule only); by default at `max_lump`.

    Returns
    -------
    tuple of tuple of int
        Disjoint and exhaustive, largest first.
    """
    ordered = in_order(clusters, {index for cluster in clusters for index in cluster})
    cut = None if parameters.gap_decides else species_cut(ordered, distances, parameters, gap)
    medoids = np.array([medoid(cluster, distances) for cluster in ordered], np.int64)
    near = _nearest_clusters(medoids, distances, neighbours)
    refined: list[tuple[int, ...]] = []
    close = np.array([(a, b) for a, b, value in near if value <= threshold] or [(0, 0)]).T
    components = connected(len(ordered), close)
    together = [component for component in components if len(component) > 1]
    refined += [ordered[component[0]] for component in components if len(component) == 1]
    for done, component in enumerate(together, start=1):
        refined += _refine(component, ordered, near, distances, parameters, cut, gap)
        if progress is not None:
            progress(done, len(together))
    return in_order(refined, {index for cluster in ordered for index in cluster})


def medoid(cluster: Sequence[int], distances: Distances) -> int:
    """The member closest to the others, by the sum of distances; of equals, the first.

    Notes
    -----
    Exact up to 16 members. In a larger cluster 8 candidates are measured against 16 members, both spread
    evenly over the canonical order, so that its cost does not grow with the square of its size.
    """
    members = np.array(sorted(cluster), np.int64)
    if len(members) < 3:
        return int(members[0])
    candidates, sample = _spread(members, MEDOID_CANDIDATES, MEDOID_SAMPLE), _spread(members, MEDOID_SAMPLE)
    return int(candidates[np.argmin(distances.block(candidates, sample).sum(axis=1))])


def _spread(members: np.ndarray, n: int, exact_up_to: int | None = None) -> np.ndarray:
    """At most `n` of the members, evenly spread over their order; all of them up to `exact_up_to`."""
    if len(members) <= (exact_up_to or n):
        return members
    return members[np.linspace(0, len(members) - 1, n).round().astype(np.int64)]


def _nearest_clusters(
    medoids: np.ndarray, distances: Distances, neighbours: Neighbours
) -> list[tuple[int, int, float]]:
    """Pairs of clusters with the distance of their medoids, among each one's nearest, ascending."""
    cluster_of = {int(index): at for at, index in enumerate(medoids)}
    hits = neighbours.search(medoids)
    pairs = set()
    for at in range(len(medoids)):
        others = [cluster_of[index] for index in hits.of(at).tolist() if index in cluster_of]
        pairs.update((min(at, other), max(at, other)) for other in others[:NEAREST_CLUSTERS])
    if not pairs:
        return []
    a, b = np.array(sorted(pairs)).T
    values = distances.pairs(medoids[a], medoids[b])
    return sorted(zip(a.tolist(), b.tolist(), values.tolist(), strict=True), key=lambda pair: (pair[2], pair))


def _refine(
    component: Sequence[int],
    ordered: Clusters,
    near: Sequence[tuple[int, int, float]],
    distances: Distances,
    parameters: Parameters,
    cut: float | None,
    gap: BarcodeGap | None,
) -> list[tuple[int, ...]]:
    """New clusters of a component's sequences, measured against context while there is hardly a gap."""
    inside, context = set(component), set()
    own = {index for at in inside for index in ordered[at]}
    rounds = CONTEXT_ROUNDS if parameters.gap_decides else 0
    for round_ in range(rounds + 1):
        union = sorted(own.union(*(ordered[at] for at in context)))
        result = split(union, distances, parameters, cut=cut, gap=gap)
        beyond = parameters.lump * (1.5 + 0.5 * round_)
        extra = _context_cluster(inside, context, near, beyond)
        if result.gap >= HARDLY_A_GAP or round_ == rounds or extra is None:
            break
        context.add(extra)
    # Context is only measured against: its own sequences stay where they are.
    return [kept for cluster in result.clusters if (kept := tuple(k for k in cluster if k in own))]


def _context_cluster(
    inside: set[int], context: set[int], near: Sequence[tuple[int, int, float]], beyond: float
) -> int | None:
    """The nearest cluster whose medoid lies beyond a distance from one inside."""
    for a, b, value in near:
        if value > beyond and (a in inside) != (b in inside):
            outside = b if a in inside else a
            if outside not in context:
                return outside
    return None
