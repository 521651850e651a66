"""Intensity of objects: of all their pixels, of their rim, by ring and wedge, and moments weighted by it."""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.screen.features.interior import RINGS, WEDGES, Interior
from cytopipe.screen.features.objects import Objects

__all__ = ["N_INTENSITY", "N_RADIAL", "intensity", "radial_distribution", "weighted_hu_moments"]

N_INTENSITY = 19
N_RADIAL = 3 * RINGS


def intensity(
    objects: Objects, values: np.ndarray, ordered: np.ndarray, edge: np.ndarray, *, parity: bool = False
) -> np.ndarray:
    """Sums, spread, quartiles, rim, centre of mass; float64, shape (K, 19, C), in the catalogue's order."""
    found = np.empty((len(objects), N_INTENSITY, len(values)))
    _intensity(*objects.places, values, ordered, edge, parity, found)
    return found


def radial_distribution(objects: Objects, values: np.ndarray, interior: Interior) -> np.ndarray:
    """Share of intensity, relative mean and variation over wedges, per ring; float64, shape (K, 12, C)."""
    found = np.empty((len(objects), N_RADIAL, len(values)))
    _radial(objects.start, values, interior.ring, interior.wedge, found)
    return found


def weighted_hu_moments(objects: Objects, values: np.ndarray) -> np.ndarray:
    """Hu's seven invariants of the intensity; float64, shape (K, 7, C)."""
    found = np.empty((len(objects), 7, len(values)))
    _weighted_hu(*objects.places, values, found)
    return found


@numba.njit(cache=True, error_model="numpy")
def _at(ordered, share):
    """The quantile of sorted values, linear between two of them."""
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    below, above = float(ordered[low]), float(ordered[high])
    return below + (above - below) * (place - low)


@numba.njit(cache=True, error_model="numpy")
def _median_deviation(ordered, median):
    """Median of the distances to the median: two sorted runs, to the left and right, merged halfway."""
    n = len(ordered)
    right = np.searchsorted(ordered, median)
    left = right - 1
    before = last = 0.0
    for _ in range(n // 2 + 1):
        before = last
        if right >= n or (left >= 0 and median - ordered[left] <= ordered[right] - median):
            last = median - ordered[left]
            left -= 1
        else:
            last = ordered[right] - median
            right += 1
    return last if n % 2 else (before + last) / 2


@numba.njit(cache=True, error_model="numpy")
def _intensity(rows, cols, start, bounds, values, ordered, edge, parity, found):
    for k in range(len(bounds)):
        first, last = start[k], start[k + 1]
        top, left = bounds[k, 0], bounds[k, 1]
        n = last - first
        mean_row = mean_col = 0.0
        for i in range(first, last):
            mean_row += rows[i] - top
            mean_col += cols[i] - left
        mean_row, mean_col = mean_row / n, mean_col / n
        for ch in range(len(values)):
            total = by_row = by_col = 0.0
            rim_total, rim_n, rim_low, rim_high = 0.0, 0, 65536.0, -1.0
            brightest, place = -1, first
            for i in range(first, last):
                value = int(values[ch, i])
                total += value
                by_row += value * (rows[i] - top)
                by_col += value * (cols[i] - left)
                if value > brightest:
                    brightest, place = value, i
                if edge[i]:
                    rim_total += value
                    rim_n += 1
                    rim_low, rim_high = min(rim_low, value), max(rim_high, value)
            mean, rim_mean = total / n, rim_total / rim_n
            squares = rim_squares = 0.0
            for i in range(first, last):
                squares += (values[ch, i] - mean) ** 2
                if edge[i]:
                    rim_squares += (values[ch, i] - rim_mean) ** 2
            segment = ordered[ch, first:last]
            median = _at(segment, 0.5)
            row = by_row / total if total > 0 else np.nan
            col = by_col / total if total > 0 else np.nan
            out = found[k, :, ch]
            out[0], out[1], out[2] = total, mean, np.sqrt(squares / n)
            out[3], out[4] = segment[-1], segment[0]
            out[5], out[6], out[7] = rim_total, rim_mean, np.sqrt(rim_squares / rim_n)
            out[8], out[9] = rim_high, rim_low
            out[10] = np.sqrt((mean_row - row) ** 2 + (mean_col - col) ** 2)
            out[11], out[12], out[14] = _at(segment, 0.25), median, _at(segment, 0.75)
            out[13] = _median_deviation(segment, median)
            out[15], out[16] = row, col
            if parity and brightest == 0:  # the corner of the box, which may lie outside the object
                out[17] = out[18] = 0
            else:
                out[17], out[18] = rows[place] - top, cols[place] - left


@numba.njit(cache=True, error_model="numpy")
def _radial(start, values, ring, wedge, found):
    for k in range(len(start) - 1):
        first, last = start[k], start[k + 1]
        count = np.zeros((RINGS, WEDGES), np.int64)
        for i in range(first, last):
            count[ring[i], wedge[i]] += 1
        for ch in range(len(values)):
            total = np.zeros((RINGS, WEDGES))
            for i in range(first, last):
                total[ring[i], wedge[i]] += values[ch, i]
            whole = total.sum()
            for one in range(RINGS):
                in_ring = count[one].sum()
                share = total[one].sum() / whole if whole > 0 else np.nan
                found[k, one, ch] = share
                found[k, RINGS + one, ch] = share * (last - first) / in_ring if in_ring else np.nan
                mean, n = 0.0, 0
                for w in range(WEDGES):
                    if count[one, w]:
                        mean += total[one, w] / count[one, w]
                        n += 1
                squares = 0.0
                mean = mean / n if n else np.nan
                for w in range(WEDGES):
                    if count[one, w]:
                        squares += (total[one, w] / count[one, w] - mean) ** 2
                # 0 / 0 where the ring is dark, as where it is empty
                found[k, 2 * RINGS + one, ch] = np.sqrt(squares / n) / mean if n and mean > 0 else np.nan


@numba.njit(cache=True, error_model="numpy")
def _weighted_hu(rows, cols, start, bounds, values, found):
    moments = np.empty((4, 4))
    for k in range(len(bounds)):
        top, left = bounds[k, 0], bounds[k, 1]
        for ch in range(len(values)):
            total = by_row = by_col = 0.0
            for i in range(start[k], start[k + 1]):
                value = float(values[ch, i])
                total += value
                by_row += value * (rows[i] - top)
                by_col += value * (cols[i] - left)
            if total == 0:
                found[k, :, ch] = np.nan
                continue
            row, col = by_row / total, by_col / total
            moments[:] = 0.0
            for i in range(start[k], start[k + 1]):
                value, y, x = float(values[ch, i]), rows[i] - top - row, cols[i] - left - col
                moments[2, 0] += value * y * y
                moments[1, 1] += value * y * x
                moments[0, 2] += value * x * x
                moments[3, 0] += value * y * y * y
                moments[2, 1] += value * y * y * x
                moments[1, 2] += value * y * x * x
                moments[0, 3] += value * x * x * x
            moments[0, 0] = total
            hu_invariants(moments, found[k, :, ch])


@numba.njit(cache=True, error_model="numpy")
def hu_invariants(moments, out):
    """Hu's invariants of central moments `moments[p, q]`, p along rows."""
    scale2, scale3 = moments[0, 0] ** 2, moments[0, 0] ** 2.5
    n20, n02, n11 = moments[2, 0] / scale2, moments[0, 2] / scale2, moments[1, 1] / scale2
    n30, n03 = moments[3, 0] / scale3, moments[0, 3] / scale3
    n21, n12 = moments[2, 1] / scale3, moments[1, 2] / scale3
    a, b = n30 + n12, n21 + n03
    c, d = n30 - 3 * n12, 3 * n21 - n03
    out[0] = n20 + n02
    out[1] = (n20 - n02) ** 2 + 4 * n11 * n11
    out[2] = c * c + d * d
    out[3] = a * a + b * b
    out[4] = c * a * (a * a - 3 * b * b) + d * b * (3 * a * a - b * b)
    out[5] = (n20 - n02) * (a * a - b * b) + 4 * n11 * a * b
    out[6] = d * a * (a * a - 3 * b * b) - c * b * (3 * a * a - b * b)
