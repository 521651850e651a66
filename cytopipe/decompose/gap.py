"""The barcode gap as a partition: a distance matrix in, the clusters that leave the widest gap out.

Phase 1 joins what is certainly one (inter-cluster percentile below `min_split`). Phase 2 joins, of all pairs
whose pooled distances stay within `max_lump`, the one after which the gap between distances *within* and
*between* clusters is widest, until no pair is left; the best partition seen on the way is the result. Two
gaps are offered: `global` pools all pairs of the set, `local` asks each cluster about its nearest other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cytopipe.decompose.gap_kernels import merge_certain, merge_for_gap, violates_triangle

__all__ = ["CurvePoint", "GapResult", "gap_core", "without_triangle_violations"]

#: Excess over a two-step path that makes a distance implausible (an alignment that went astray).
TRIANGLE_SLACK = 0.05

#: Length, as a share of the longer of two sequences, from which a third can bear witness against them.
WITNESS_LENGTH = 0.8

#: Percentile of the pooled distances up to which two clusters may merge, method "local".
LOCAL_PERCENTILE = 90.0


@dataclass(frozen=True)
class CurvePoint:
    """One partition on the way.

    Attributes
    ----------
    n_clusters : int
    gap : float
        Gap of the partition; of phase 2 only.
    linkage : float
        Pooled order statistic of the merge that led to it; 0 for the partition after phase 1.
    """

    n_clusters: int
    gap: float
    linkage: float


@dataclass(frozen=True)
class GapResult:
    """A partition of ``0 .. n - 1`` and how wide its gap is.

    Attributes
    ----------
    clusters : tuple of tuple of int
        Disjoint and exhaustive; each ascending, ordered by size (largest first), then by first member.
    gap : float
    curve : tuple of CurvePoint
        From the partition after phase 1 to the last merge.
    """

    clusters: tuple[tuple[int, ...], ...]
    gap: float
    curve: tuple[CurvePoint, ...]


def gap_core(
    D: np.ndarray,
    *,
    min_split: float = 0.005,
    max_lump: float = 0.02,
    percentile: float = 95.0,
    method: str = "global",
    triangle_filter: bool = False,
    alpha: float = 0.0,
    first_competes: bool = False,
) -> GapResult:
    """Partition a distance matrix by its barcode gap.

    Parameters
    ----------
    D : ndarray, (n, n) float
        Symmetric distances; NaN where one is to be ignored.
    min_split, max_lump : float
        Always joined below, never joined beyond.
    percentile : float
        Percentile, in percent, of phase 1; with method "global" also of the candidates and of the gap.
    method : {"global", "local"}
        Global: ``Q_{1-p}(all between) - Q_p(all within)``, 0 if either is empty. Local: sum over
        clusters and p in (90, 95, 100) of the smallest ``Q_{1-p}(to another) - Q_p(within)``.
    triangle_filter : bool
        Ignore distances that exceed some two-step path by more than 0.05.
    alpha : float
        The local gap is divided by the number of clusters to this power.
    first_competes : bool
        Whether the partition after phase 1 may be the result although phase 2 can merge something. In the
        reference it may not, even where its gap is the widest.

    Returns
    -------
    GapResult

    Notes
    -----
    Memory is ``4 n**2`` float64; time ``O(n**3)`` at worst. Reproduces the clustering core of gaphack
    (0.4.0 with `triangle_filter`, 0.7.0 without).
    """
    D = np.ascontiguousarray(D, np.float64)
    n = len(D)
    if n == 0:
        return GapResult((), 0.0, ())
    if triangle_filter:
        D = without_triangle_violations(D)
    merges, heights = np.empty((n, 2), np.int64), np.empty(n)
    n_certain = merge_certain(D, float(percentile), float(min_split), merges, heights)
    clusters = _after(n, merges[:n_certain])
    labels = np.empty(n, np.int64)
    for label, cluster in enumerate(clusters):
        labels[list(cluster)] = label
    c = len(clusters)
    merges, gaps, heights = np.empty((c + 1, 2), np.int64), np.empty(c + 1), np.empty(c + 1)
    n_merges = merge_for_gap(
        D,
        labels,
        c,
        float(percentile),
        LOCAL_PERCENTILE if method == "local" else float(percentile),
        float(max_lump),
        int(method == "local"),
        float(alpha),
        merges,
        gaps,
        heights,
    )
    seen = gaps[: n_merges + 1]
    start = 1 if n_merges and not first_competes else 0
    best = start + int(np.argmax(seen[start:]))
    chosen = _merged(clusters, merges[1 : best + 1])
    return GapResult(
        clusters=tuple(sorted((tuple(sorted(m)) for m in chosen), key=lambda m: (-len(m), m))),
        gap=float(seen[best]),
        curve=tuple(CurvePoint(c - s, float(seen[s]), float(heights[s])) for s in range(n_merges + 1)),
    )


def without_triangle_violations(D: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """Copy of `D` with NaN where a distance exceeds a two-step path by more than 0.05.

    Parameters
    ----------
    D : ndarray, (n, n) float64
    lengths : ndarray, (n,) int, optional
        Sequence lengths, bp. With them a path counts only over a sequence at least 0.8 times as long as
        the longer of the two: a fragment of the conserved gene is close to every species, and would make
        all that is between species look implausible.
    """
    D = np.array(D, np.float64, order="C")
    known = np.zeros(len(D), np.int64) if lengths is None else np.asarray(lengths, np.int64)
    D[violates_triangle(D, TRIANGLE_SLACK, known, WITNESS_LENGTH)] = np.nan
    return D


def _after(n: int, merges: np.ndarray) -> list[tuple[int, ...]]:
    return _merged([(k,) for k in range(n)], merges)


def _merged(clusters: list[tuple[int, ...]], merges: np.ndarray) -> list[tuple[int, ...]]:
    """Clusters in list order after merges that number each result next after the last cluster."""
    numbered: dict[int, tuple[int, ...]] = dict(enumerate(clusters))
    for step, (a, b) in enumerate(merges.tolist()):
        numbered[len(clusters) + step] = numbered.pop(a) + numbered.pop(b)
    return list(numbered.values())
