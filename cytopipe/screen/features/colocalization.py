"""How two channels go together within objects: correlation, slope, overlap, Manders and rank weighting."""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.screen.features.objects import Objects
from cytopipe.screen.features.texture import otsu_thresholds

__all__ = ["N_COLOCALIZATION", "colocalization", "correlation", "least_norm_slopes"]

N_COLOCALIZATION = 7


def correlation(objects: Objects, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson's correlation and least-squares slopes of all pairs of channels.

    Returns
    -------
    correlations : ndarray of float64, shape (K, P)
        P pairs in the order of `itertools.combinations`; NaN where a channel is constant.
    slopes : ndarray of float64, shape (K, C (C - 1))
        Pairs in the order of `itertools.permutations`: change of the second channel per unit of the first;
        NaN where the first is constant.
    """
    n_channels = len(values)
    pairs = n_channels * (n_channels - 1) // 2
    correlations = np.empty((len(objects), pairs))
    found = np.empty((len(objects), 2 * pairs))
    _correlation(objects.start, values, correlations, found)
    return correlations, found


def least_norm_slopes(objects: Objects, values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Slopes with those over a constant channel as the least-norm solution gives them: parity alone.

    A line through one abscissa has any slope; of all of them the reference's solver takes that with the
    smallest slope and intercept, c m / (c^2 + 1) for the constant c and the mean m of the other channel.
    """
    found = found.copy()
    if not len(objects):
        return found
    n_channels = len(values)
    mean = np.add.reduceat(values, objects.start[:-1], axis=1, dtype=np.float64) / objects.area
    place = 0
    for first in range(n_channels):
        for second in range(n_channels):
            if first != second:
                least = mean[first] * mean[second] / (mean[first] ** 2 + 1)
                found[:, place] = np.where(np.isnan(found[:, place]), least, found[:, place])
                place += 1
    return found


def colocalization(objects: Objects, values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Overlap, K, Manders and rank-weighted coefficients; float64, shape (K, 7, P).

    Both thresholds are Otsu's of the object's own pixels. NaN where one of the channels is zero.
    """
    n_channels = len(values)
    ranks = np.empty(values.shape, np.int32)
    n_ranks = np.empty((len(objects), n_channels), np.int32)
    _dense_ranks(objects.start, values, ordered, ranks, n_ranks)
    thresholds = otsu_thresholds(objects, ordered, ignore_zeros=False)
    found = np.empty((len(objects), N_COLOCALIZATION, n_channels * (n_channels - 1) // 2))
    _colocalization(objects.start, values, ranks, n_ranks, thresholds, found)
    return found


@numba.njit(cache=True, error_model="numpy")
def _correlation(start, values, correlations, found):
    n_channels = len(values)
    for k in range(len(start) - 1):
        first, last = start[k], start[k + 1]
        n = last - first
        mean = np.zeros(n_channels)
        for ch in range(n_channels):
            for i in range(first, last):
                mean[ch] += values[ch, i]
            mean[ch] /= n
        shared = np.zeros((n_channels, n_channels))
        for a in range(n_channels):
            for b in range(a, n_channels):
                total = 0.0
                for i in range(first, last):
                    total += (values[a, i] - mean[a]) * (values[b, i] - mean[b])
                shared[a, b] = shared[b, a] = total
        pair = place = 0
        for a in range(n_channels):
            for b in range(n_channels):
                if a == b:
                    continue
                if a < b:
                    scale = np.sqrt(shared[a, a]) * np.sqrt(shared[b, b])
                    value = shared[a, b] / scale if scale > 0 else np.nan
                    correlations[k, pair] = min(max(value, -1.0), 1.0) if scale > 0 else value
                    pair += 1
                found[k, place] = shared[a, b] / shared[a, a] if shared[a, a] > 0 else np.nan
                place += 1


@numba.njit(cache=True, error_model="numpy")
def _dense_ranks(start, values, ordered, ranks, n_ranks):
    rank_of = np.zeros(65536, np.int32)
    for k in range(len(start) - 1):
        for ch in range(len(values)):
            rank, before = 0, -1
            for i in range(start[k], start[k + 1]):
                value = np.int64(ordered[ch, i])
                if value != before:
                    rank += 1
                    rank_of[value] = rank
                    before = value
            n_ranks[k, ch] = rank
            for i in range(start[k], start[k + 1]):
                ranks[ch, i] = rank_of[values[ch, i]]


@numba.njit(cache=True, error_model="numpy")
def _colocalization(start, values, ranks, n_ranks, thresholds, found):
    n_channels = len(values)
    for k in range(len(start) - 1):
        pair = 0
        for a in range(n_channels):
            for b in range(a + 1, n_channels):
                highest = max(n_ranks[k, a], n_ranks[k, b])
                sum_a = sum_b = squares_a = squares_b = product = 0.0
                within_a = within_b = ranked_a = ranked_b = 0.0
                for i in range(start[k], start[k + 1]):
                    one, two = float(values[a, i]), float(values[b, i])
                    weight = (highest - abs(ranks[a, i] - ranks[b, i])) / highest
                    sum_a += one
                    sum_b += two
                    squares_a += one * one
                    squares_b += two * two
                    product += one * two
                    if two > thresholds[k, b]:
                        within_a += one
                        ranked_a += one * weight
                    if one > thresholds[k, a]:
                        within_b += two
                        ranked_b += two * weight
                out = found[k, :, pair]
                pair += 1
                if sum_a == 0 or sum_b == 0:
                    out[:] = np.nan
                    continue
                out[0] = product / np.sqrt(squares_a * squares_b)
                out[1], out[2] = product / squares_a, product / squares_b
                out[3], out[4] = within_a / sum_a, within_b / sum_b
                out[5], out[6] = ranked_a / sum_a, ranked_b / sum_b
