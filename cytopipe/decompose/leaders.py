"""Many similar sequences in, few that stand for them out.

The most typical sequences go first, so that a fragment or a read full of errors never leads what it is a poor
copy of. Each sequence is compared with the leaders of its most similar predecessors; within the radius of one
it is absorbed, otherwise it leads. With `min_split` as radius nothing is absorbed that could be another
species, and thousands of near-identical barcodes cost about one distance each instead of all pairs.
"""

from __future__ import annotations

import math

import numpy as np

from cytopipe.decompose.candidates import Candidates
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.gap import TRIANGLE_SLACK, WITNESS_LENGTH

__all__ = ["absorb", "pairs_between_groups", "representatives"]

#: Leaders a sequence is compared with before it becomes one.
TRIES = 4

#: Similar sequences in other groups that a leader is compared with besides their leaders.
WITNESSES = 8


def absorb(members: np.ndarray, candidates: Candidates, distances: Distances, radius: float) -> np.ndarray:
    """Leader of every sequence.

    Parameters
    ----------
    members : ndarray, (n,) int64
        Ascending positions.
    candidates : Candidates
        Those outside `members` are ignored.
    distances : Distances
    radius : float
        A sequence at most this far from a leader is absorbed by it.

    Returns
    -------
    ndarray, (n,) int64
        Positions; a leader leads itself.
    """
    leader_of: dict[int, int] = {}
    for index in candidates.by_typicality(members).tolist():
        leader_of[index] = index
        tried = [index]
        for other in candidates.of(index).tolist():
            leader = leader_of.get(other)
            if leader is None or leader in tried:
                continue
            if _is_absorbed(index, leader, other, distances, radius):
                leader_of[index] = leader
                break
            tried.append(leader)
            if len(tried) > TRIES:
                break
    return np.array([leader_of[index] for index in members.tolist()], np.int64)


def pairs_between_groups(
    members: np.ndarray, leader_of: np.ndarray, candidates: Candidates, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of sequences worth comparing, to see which groups belong together; each once.

    A leader is compared with the leaders of all its candidates, and with its most similar candidates of
    some length in other groups: one leader may be the one sequence that it does not align with.

    Parameters
    ----------
    members, leader_of : ndarray, (n,) int64
        Ascending positions and the leader of each.
    candidates : Candidates
    lengths : ndarray, int64
        Of all sequences, bp.
    """
    low, high = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for leader in np.unique(leader_of).tolist():
        others = candidates.of(leader)
        at = np.searchsorted(members, others)
        at[at == len(members)] = 0
        at = at[members[at] == others]
        at = at[leader_of[at] != leader]
        whole = at[lengths[members[at]] >= WITNESS_LENGTH * lengths[leader]]
        partners = np.union1d(leader_of[at], members[whole[:WITNESSES]])
        low.append(np.minimum(partners, leader))
        high.append(np.maximum(partners, leader))
    pairs = np.unique(np.stack([np.concatenate(low), np.concatenate(high)]), axis=1)
    return pairs[0], pairs[1]


def representatives(
    members: np.ndarray, leader_of: np.ndarray, candidates: Candidates, per_group: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """A few of the most typical sequences of each group, to measure the group by.

    Returns
    -------
    positions : ndarray, (r,) int64
        Ascending.
    groups : ndarray, (r,) int64
        First row, among the representatives, of the group of each.
    weights : ndarray, (r,) int64
        Of each, such that the weights of a group are as its size.
    unit : int
        Weight of one sequence.
    """
    order = candidates.by_typicality(members)
    leaders = leader_of[np.searchsorted(members, order)]
    order, leaders = order[np.argsort(leaders, kind="stable")], np.sort(leaders)
    _, starts, sizes = np.unique(leaders, return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    chosen = rank < per_group
    taken = np.minimum(sizes, per_group)
    unit = math.lcm(*range(1, per_group + 1))
    weights = np.repeat(sizes * unit // taken, sizes)[chosen]
    positions, leaders = order[chosen], leaders[chosen]
    order = np.argsort(positions)
    positions, leaders, weights = positions[order], leaders[order], weights[order]
    _, first, inverse = np.unique(leaders, return_index=True, return_inverse=True)
    return positions, first[inverse], weights, unit


def _is_absorbed(index: int, leader: int, other: int, distances: Distances, radius: float) -> bool:
    """Whether a sequence is within the radius of a leader, or of one it leads where that alignment failed."""
    far = distances.pairs([index], [leader])[0]
    if far <= radius or other == leader or far <= TRIANGLE_SLACK:
        return bool(far <= radius)
    # Two reads may fail to align where both align with a third one. A short one bears no witness: a fragment
    # of the conserved gene is close to every species.
    if distances.lengths[other] < WITNESS_LENGTH * max(distances.lengths[index], distances.lengths[leader]):
        return False
    near, step = distances.pairs([index, other], [other, leader])
    return bool(near <= radius and far > near + step + TRIANGLE_SLACK)
