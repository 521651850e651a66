"""Targets in, clusters out, one at a time: the initial clustering.

A target's neighbourhood is pruned to the N sequences within `max_lump` of it and the N nearest beyond. The
cluster grows from the target by the sequence whose 95th percentile distance to it is smallest, while that is
at most `max_lump`; the configuration with the widest gap to the rest of the neighbourhood wins. The next
target is the first sequence, in canonical order, that no cluster covers: a function of what is covered and of
nothing else, so that a run resumed from its files continues exactly as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.distance import Distances
from cytopipe.decompose.gap import without_triangle_violations
from cytopipe.decompose.neighbours import Neighbours
from cytopipe.decompose.parameters import Parameters

__all__ = ["Growth", "grow", "grow_all", "grow_in"]


@dataclass(frozen=True)
class Growth:
    """The cluster a target made.

    Attributes
    ----------
    target : int
    members : tuple of int
        Positions, ascending, the target among them.
    gap : float
        Gap between the cluster and the rest of its neighbourhood; 0 for a lone target.
    """

    target: int
    members: tuple[int, ...]
    gap: float


def grow_all(
    sequences: Sequence[str],
    distances: Distances,
    neighbours: Neighbours,
    parameters: Parameters,
    *,
    covered: Collection[int] = frozenset(),
    targets: Sequence[int] | None = None,
) -> Iterator[Growth]:
    """Grow clusters until every sequence is covered, or every target is used.

    Parameters
    ----------
    sequences : sequence of str
        The unique sequences, in canonical order.
    distances : Distances
    neighbours : Neighbours
    parameters : Parameters
    covered : collection of int
        Positions that earlier clusters hold.
    targets : sequence of int, optional
        Directed mode: only these become targets, in this order, each unless it is covered by then.

    Yields
    ------
    Growth
        Stop taking them at any time; pass the union of what was taken as `covered` to continue.
    """
    done = set(covered)
    for target in range(len(sequences)) if targets is None else targets:
        if target not in done:
            growth = grow(target, distances, neighbours, parameters)
            done.update(growth.members)
            yield growth


def grow(target: int, distances: Distances, neighbours: Neighbours, parameters: Parameters) -> Growth:
    """Grow the cluster of one target."""
    candidates = neighbours.search([target]).of(0)
    near = distances.pairs(np.full(len(candidates), target), candidates)
    order = np.lexsort((candidates, near))
    candidates, near = candidates[order], near[order]
    within = candidates[near <= parameters.max_lump]
    beyond = candidates[near > parameters.max_lump][: len(within) + 1]
    hood = np.concatenate([[target], within, beyond]).astype(np.int64)
    members, gap = grow_in(distances.matrix(hood), parameters.max_lump, parameters.target_percentile)
    return Growth(target, tuple(sorted(hood[members].tolist())), gap)


def grow_in(matrix: np.ndarray, max_lump: float, percentile: float) -> tuple[list[int], float]:
    """Grow from position 0 of a neighbourhood.

    Parameters
    ----------
    matrix : ndarray, (n, n) float64
        Distances of the neighbourhood, target first, then in order of distance to it.
    max_lump, percentile : float

    Returns
    -------
    members : list of int
        In order of joining.
    gap : float
        ``Q_{1-p}(cluster to rest) - Q_p(within)``; 0 if the target stayed alone.

    Notes
    -----
    Distances within the cluster that violate the triangle inequality are left out of the gap.
    """
    plausible = without_triangle_violations(matrix)
    cluster, rest = [0], list(range(1, len(matrix)))
    best, best_gap = [0], 0.0
    while rest:
        links = np.percentile(matrix[np.ix_(cluster, rest)], percentile, axis=0)
        nearest = int(np.argmin(links))
        if links[nearest] > max_lump:
            break
        cluster.append(rest.pop(nearest))
        if not rest:
            break
        within = plausible[np.ix_(cluster, cluster)][np.triu_indices(len(cluster), 1)]
        within = within[~np.isnan(within)]
        gap = float(np.percentile(matrix[np.ix_(cluster, rest)], 100.0 - percentile))
        gap -= float(np.percentile(within, percentile)) if len(within) else 0.0
        if len(best) == 1 or gap >= best_gap:
            best, best_gap = list(cluster), gap
    return best, best_gap
