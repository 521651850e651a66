"""The sequences of a set in, the distances at which this very set is cut out.

Where nobody says up to which distance clusters are joined (`max_lump`), the set is asked: leaders of
near-identical sequences are joined to trees by average linkage, and the tree tells from which distance it
divides into species (`coalescent`). The answer is a function of the sequences and of `min_split` alone.
"""

from __future__ import annotations

import numpy as np

from cytopipe.decompose.candidates import Candidates
from cytopipe.decompose.clusters import connected
from cytopipe.decompose.coalescent import Tree, average_tree, best_threshold
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.leaders import absorb, pairs_between_groups
from cytopipe.decompose.parameters import BarcodeGap, Parameters

__all__ = ["KNOWN", "barcode_gap"]

#: Clusters without a gap between them are joined up to this many times the distance that divides species.
JOINED = 2.0

#: Distance beyond which nothing is joined, whatever a set tells: what a search finds reliably.
WIDEST = 0.04

#: Distance up to which a tree is known, and distance that stands for what a search did not find.
KNOWN = 0.06
UNKNOWN = 0.08

#: Leaders of one tree at most; of more, as many are taken, evenly spread over their order.
LEADERS = 1_500

#: Sequences whose nearest one tells of errors of reading, and the candidates that it is looked for among.
ASKED = 400
TRIED = 2


def barcode_gap(among: Candidates, distances: Distances, parameters: Parameters) -> BarcodeGap:
    """Where the sequences of `distances` are cut.

    Parameters
    ----------
    among : Candidates
        Of all sequences.
    distances : Distances
    parameters : Parameters
    """
    members = np.arange(len(distances))
    if not len(members):
        return _cut_at(parameters.lump, parameters.min_split)
    tree = _tree(members, among, distances, parameters)
    nearest = _nearest(members, among, distances)
    return _cut_at(best_threshold(tree, nearest, farthest=KNOWN), parameters.min_split)


def _cut_at(threshold: float, min_split: float) -> BarcodeGap:
    """From the threshold that divides species best; never narrower than `min_split` allows."""
    widest = max(WIDEST, min_split)
    divides = min(max(threshold, 2.0 * min_split), widest)
    return BarcodeGap(divides=round(divides, 6), joins=round(min(JOINED * divides, widest), 6))


def _nearest(members: np.ndarray, among: Candidates, distances: Distances) -> float:
    """Median distance of sequences to their nearest one, among those that have any within `KNOWN`."""
    asked = np.unique(np.linspace(0, len(members) - 1, min(ASKED, len(members))).round().astype(np.int64))
    tried = [among.of(one)[:TRIED] for one in asked.tolist()]
    rows = np.repeat(asked, [len(some) for some in tried])
    values = distances.pairs(rows, np.concatenate([*tried, np.empty(0, np.int64)]))
    least = np.full(len(members), np.inf)
    np.minimum.at(least, rows, values)
    told = least[least <= KNOWN]
    return float(np.median(told)) if len(told) else 0.0


def _tree(members: np.ndarray, among: Candidates, distances: Distances, parameters: Parameters) -> Tree:
    leader_of = absorb(members, among, distances, parameters.min_split)
    leaders, sizes = np.unique(leader_of, return_counts=True)
    low, high = pairs_between_groups(members, leader_of, among, distances.lengths)
    ends = np.searchsorted(leaders, leader_of[np.stack([low, high])])
    pairs, values = _one_each(ends, distances.pairs(low, high), len(leaders))
    pairs, values = pairs[:, values <= KNOWN], values[values <= KNOWN]
    sampled = [_spread(component) for component in connected(len(leaders), pairs)]
    kept = np.sort(np.concatenate(sampled))
    n = len(kept)
    children = np.full((2 * n - 1, 2), -1, np.int64)
    heights = np.zeros(2 * n - 1)
    weights = np.zeros(2 * n - 1, np.int64)
    weights[:n] = sizes[kept]
    joins, roots = [], []
    for component in sampled:
        D = np.full((len(component), len(component)), UNKNOWN)
        inside = np.isin(pairs, component).all(axis=0)
        a, b = np.searchsorted(component, pairs[:, inside])
        D[a, b] = D[b, a] = values[inside]
        own, at = average_tree(D, sizes[component])
        numbers = np.concatenate([np.searchsorted(kept, component), n + len(joins) + np.arange(len(own))])
        joins += [(height, *numbers[pair]) for pair, height in zip(own, at.tolist(), strict=True)]
        roots.append(int(numbers[-1]))
    while len(roots) > 1:  # what is not related joins last, in any order
        roots.append(n + len(joins))
        joins.append((np.inf, *roots[:2]))
        del roots[:2]
    for node, (height, a, b) in enumerate(joins, start=n):
        children[node], heights[node], weights[node] = (a, b), height, weights[a] + weights[b]
    return Tree(n, children, heights, weights)


def _one_each(ends: np.ndarray, values: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of groups once, with the lower median of its distances."""
    keys = ends.min(axis=0) * n + ends.max(axis=0)
    order = np.lexsort((values, keys))
    _, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    middle = order[starts + (counts - 1) // 2]
    return np.stack([ends.min(axis=0), ends.max(axis=0)])[:, middle], values[middle]


def _spread(component: np.ndarray) -> np.ndarray:
    if len(component) <= LEADERS:
        return component
    return component[np.linspace(0, len(component) - 1, LEADERS).round().astype(np.int64)]
