"""A tree of a barcode in; from which distance its species are divided, out.

Two processes make such a tree. Within a species, lineages coalesce: any two of them at the rate ``1 /
theta``, where theta is the mean distance between two sequences of the species. Between species, the tree
branches as species arise, at one rate per lineage (Yule). Which joins of the tree are of which kind is what
the mixed models of species delimitation ask (GMYC: Pons et al. 2006, Fujisawa & Barraclough 2013). Here it is
answered with probabilities, summed over all ways to divide the tree: every species has its own theta, around
a median that is estimated on the set, as is the rate of the species.

Of all thresholds the one is taken whose partition is expected to agree best with the species, by the adjusted
Rand index under these probabilities (Fritsch & Ickstadt 2009). That weighs what is lost by joining young
species against what is lost by tearing variable ones, and so follows the marker and the taxon.

Errors of reading make short branches at the tips, which no coalescent explains. What lies below a height that
the set's own nearest neighbours tell is therefore not looked at in detail: only the number of lineages left
at that height counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

__all__ = ["Tree", "average_tree", "best_threshold"]

#: Standard deviation of the logarithm of theta over the species of a set: most lie within a factor of three.
THETA_SPREAD = 0.5

#: Power of the likelihood. Joins of one tree are less independent than the model says (species that share
#: ancestors share their chance events), so that it is surer than it may be.
POWER = 0.5

#: Distance, above that of nearest neighbours, which errors of reading explain.
READING = 0.001

#: Distance, above that of nearest neighbours, from which joins of the tree are looked at one by one.
RESOLVED = 0.005

#: Thresholds that are compared.
THRESHOLDS = np.round(np.arange(0.006, 0.0401, 0.001), 6)

#: Loss of agreement that is none: of the thresholds within it the middle one is taken.
AS_GOOD = 0.005

_THETAS = np.exp(np.linspace(np.log(4e-4), np.log(0.08), 32))
_FIRST_THETA = 0.0045
_FIRST_RATE = 8.0
_ROUNDS = 20


@dataclass(frozen=True)
class Tree:
    """Joins of sequences, or of groups of near-identical ones.

    Attributes
    ----------
    n : int
        Leaves; nodes from `n` on are joins, children before parents, the last one the root.
    children : ndarray, (2 n - 1, 2) int64
    heights : ndarray, (2 n - 1,) float64
        Mean distance between the two sides of a join; infinite where they are not related.
    sizes : ndarray, (2 n - 1,) int64
        Sequences below each node.
    """

    n: int
    children: np.ndarray
    heights: np.ndarray
    sizes: np.ndarray


def average_tree(D: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average linkage of weighted rows.

    Parameters
    ----------
    D : ndarray, (n, n) float64
        Symmetric distances.
    sizes : ndarray, (n,) int64
        Sequences that each row stands for.

    Returns
    -------
    joins : ndarray, (n - 1, 2) int64
        Nodes that are joined, in ascending order of height: rows, then joins from `n` on.
    heights : ndarray, (n - 1,) float64
    """
    return _average(np.array(D, np.float64), np.asarray(sizes, np.float64).copy())


def best_threshold(tree: Tree, nearest: float, *, farthest: float) -> float:
    """The threshold whose partition is expected to agree best with the species.

    Parameters
    ----------
    tree : Tree
    nearest : float
        Usual distance of a sequence to its nearest other one.
    farthest : float
        Height from which joins are never within a species.

    Returns
    -------
    float
        One of the range of `THRESHOLDS`.
    """
    together = _together(tree, nearest, farthest)
    n, sizes = tree.n, tree.sizes.astype(np.float64)
    pairs = sizes * (sizes - 1.0) / 2.0
    pairs[n:] = sizes[tree.children[n:, 0]] * sizes[tree.children[n:, 1]]
    heights = tree.heights.copy()
    heights[:n] = 0.0
    order = np.argsort(heights, kind="stable")
    last = np.searchsorted(heights[order], THRESHOLDS, side="right") - 1
    joined = np.cumsum(pairs[order])[last]
    right = np.cumsum((pairs * together)[order])[last]
    true = float((pairs * together).sum())
    by_chance = true * joined / max(pairs.sum(), 1.0)
    room = (true + joined) / 2.0 - by_chance
    agreement = np.divide(right - by_chance, room, out=np.zeros_like(room), where=room > 0)
    return float(np.mean(THRESHOLDS[agreement >= agreement.max() - AS_GOOD]))


def _together(tree: Tree, nearest: float, farthest: float) -> np.ndarray:
    """Probability that the two sides of every join are one species, (2 n - 1,) float64."""
    n, heights, sizes = tree.n, tree.heights, tree.sizes
    resolved = nearest + RESOLVED
    likelihood = POWER * _one_species(tree, resolved, resolved - nearest - READING)
    total, related = float(sizes[:n].sum()), heights <= farthest
    logs = np.log(_THETAS)
    centre, rate, species = np.log(_FIRST_THETA), _FIRST_RATE, total / 10.0
    for _ in range(_ROUNDS):
        prior = -0.5 * ((logs - centre) / THETA_SPREAD) ** 2
        weighted = likelihood + prior - _log_sum(prior[None, :])
        one = _log_sum(weighted)
        posterior = np.exp(weighted - one[:, None])
        # A species more: a rate of branching, and a smaller share of the records for each.
        more = np.log(2.0 * rate * species / (species + total))
        two = np.where(heights > resolved, POWER * (more - rate * np.where(related, heights, 0.0)), -np.inf)
        two[~related] = 0.0
        reached, is_one = _reached(n, tree.children, np.where(related, one, -np.inf), two)
        divided = (reached - is_one)[n:]
        inside = divided * related[n:]
        length = float((inside * np.where(related, heights, 0.0)[n:]).sum())
        length += (float((divided * ~related[n:]).sum()) + 1.0) * farthest
        rate = (float(inside.sum()) + 1.0) / (length + 1.0 / _FIRST_RATE)
        told = ((is_one * (sizes > 1))[:, None] * posterior).sum(axis=0)
        before = centre, species
        centre = float(told @ logs / told.sum()) if told.sum() > 0 else centre
        species = float(is_one.sum())
        if abs(centre - before[0]) < 1e-3 and abs(species - before[1]) < 0.05:
            break
    return _from_above(n, tree.children, is_one)


def _one_species(tree: Tree, resolved: float, elapsed: float) -> np.ndarray:
    """Logarithm of the likelihood that all below a node is one species, for every theta, (nodes, thetas).

    Notes
    -----
    Of ``n`` sequences about ``1 / (1 - (n - 1) / n exp(-elapsed / 2 theta))`` lineages are left at the height
    from which joins are resolved (their number less one is taken as Poisson). Which sequences descend from
    which lineage is as in Kingman's coalescent, with species of any size equally likely. From there on every
    join has its density.
    """
    from scipy.special import gammaln

    sizes = tree.sizes.astype(np.float64)
    lineages, exposure = _lineages(tree.n, tree.children, tree.heights, resolved)
    left = ((sizes - 1.0) / sizes)[:, None] * np.exp(-elapsed / (2.0 * _THETAS[None, :]))
    expected = np.maximum(1.0 / (1.0 - left) - 1.0, 1e-12)
    joins = (lineages - 1.0)[:, None]
    count = joins * np.log(expected) - expected - gammaln(joins + 1.0)
    count[sizes == 1] = 0.0
    descent = gammaln(sizes - lineages + 1) + gammaln(lineages + 1) + gammaln(lineages) - gammaln(sizes)
    return count + descent[:, None] - joins * np.log(_THETAS) - exposure[:, None] / _THETAS


def _log_sum(rows: np.ndarray) -> np.ndarray:
    largest = rows.max(axis=1)
    return largest + np.log(np.exp(rows - largest[:, None]).sum(axis=1))


@numba.njit(cache=True, nogil=True)
def _average(D, sizes):
    n = len(sizes)
    joins = np.empty((max(n - 1, 0), 2), np.int64)
    heights = np.empty(max(n - 1, 0))
    node = np.arange(n)
    alive = np.ones(n, np.bool_)
    nearest = np.zeros(n, np.int64)
    for i in range(n):
        D[i, i] = np.inf
    for i in range(n):
        nearest[i] = np.argmin(D[i])
    for at in range(n - 1):
        a = -1
        for i in range(n):
            if alive[i] and (a < 0 or D[i, nearest[i]] < D[a, nearest[a]]):
                a = i
        b = nearest[a]
        joins[at, 0], joins[at, 1] = min(node[a], node[b]), max(node[a], node[b])
        heights[at] = D[a, b]
        alive[b] = False
        for c in range(n):
            if alive[c] and c != a:
                mean = (sizes[a] * D[a, c] + sizes[b] * D[b, c]) / (sizes[a] + sizes[b])
                D[a, c] = mean
                D[c, a] = mean
            D[b, c] = np.inf
            D[c, b] = np.inf
        sizes[a] += sizes[b]
        node[a] = n + at
        for c in range(n):
            if not alive[c]:
                continue
            if c == a or nearest[c] == a or nearest[c] == b:
                nearest[c] = np.argmin(D[c])
            elif D[c, a] < D[c, nearest[c]] or (D[c, a] == D[c, nearest[c]] and a < nearest[c]):
                nearest[c] = a
    return joins, heights


@numba.njit(cache=True, nogil=True)
def _lineages(n, children, heights, resolved):
    """Lineages of every node at a height, and the sum of ``pairs of lineages x height`` from there up."""
    nodes = 2 * n - 1
    lineages = np.ones(nodes)
    exposure = np.zeros(nodes)
    found = np.empty(n)
    stack = np.empty(nodes, np.int64)
    for v in range(n, nodes):
        if not heights[v] > resolved or np.isinf(heights[v]):
            continue
        m = 0
        stack[0] = v
        top = 1
        while top:
            top -= 1
            u = stack[top]
            if u >= n and heights[u] > resolved:
                found[m] = heights[u]
                m += 1
                stack[top], stack[top + 1] = children[u, 0], children[u, 1]
                top += 2
        ordered = np.sort(found[:m])
        lineages[v] = m + 1
        before, k = resolved, m + 1.0
        for i in range(m):
            exposure[v] += k * (k - 1.0) / 2.0 * (ordered[i] - before)
            before = ordered[i]
            k -= 1.0
    return lineages, exposure


@numba.njit(cache=True, nogil=True)
def _reached(n, children, one, two):
    """Probability that a node is reached by dividing all above it, and that it then is one species."""
    nodes = 2 * n - 1
    both = one.copy()
    for v in range(n, nodes):
        split = two[v] + both[children[v, 0]] + both[children[v, 1]]
        high, low = max(one[v], split), min(one[v], split)
        both[v] = high if low == -np.inf else high + np.log1p(np.exp(low - high))
    reached = np.zeros(nodes)
    is_one = np.zeros(nodes)
    reached[nodes - 1] = 1.0
    for v in range(nodes - 1, -1, -1):
        share = np.exp(one[v] - both[v])
        is_one[v] = reached[v] * share
        if v >= n:
            reached[children[v, 0]] = reached[v] * (1.0 - share)
            reached[children[v, 1]] = reached[v] * (1.0 - share)
    return reached, is_one


@numba.njit(cache=True, nogil=True)
def _from_above(n, children, is_one):
    """Sums over each node and all above it."""
    total = is_one.copy()
    for v in range(2 * n - 2, n - 1, -1):
        total[children[v, 0]] += total[v]
        total[children[v, 1]] += total[v]
    return total
