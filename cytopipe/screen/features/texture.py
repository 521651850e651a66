"""Texture of objects: Haralick's features of co-occurring grey levels, and threshold adjacency statistics."""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.screen.features.objects import Objects

__all__ = ["N_HARALICK", "N_PFTAS", "haralick", "otsu_thresholds", "pftas"]

N_HARALICK = 13
N_PFTAS = 54
_LEVELS = 256


def haralick(
    objects: Objects, values: np.ndarray, *, distance: int, ceiling: int, parity: bool = False
) -> np.ndarray:
    """Haralick's 13 features, mean over four directions; float64, shape (K, 13, C).

    Parameters
    ----------
    objects : Objects
    values : ndarray of uint16, shape (C, N)
    distance : int
        Pixels between the two of a pair, along a row, a column, or in each of them.
    ceiling : int
        Value that becomes grey level 255; 0 becomes 0. Pairs with grey level 0 are left out.
    parity : bool
        Take values as grey levels where no pixel of the object reaches 256, as the reference does.

    Notes
    -----
    NaN where one of the directions has no pair. The mathematics is that of mahotas: logarithms to base 2,
    difference variance as the variance of the frequencies of all differences from 0 to the brightest level.
    """
    found = np.empty((len(objects), N_HARALICK, len(values)))
    steps = np.arange(1 << 16, dtype=np.float64)
    steps[1:] *= np.log2(steps[1:])
    _haralick(*objects.places, values, distance, ceiling, parity, steps, found)
    return found


def otsu_thresholds(objects: Objects, ordered: np.ndarray, *, ignore_zeros: bool) -> np.ndarray:
    """Otsu's threshold per object and channel, int64, shape (K, C); the bright class lies above it.

    A value at which the variance between the classes is largest; 0 where all values are the same.
    """
    found = np.empty((len(objects), len(ordered)), np.int64)
    _otsu(objects.start, ordered, ignore_zeros, found)
    return found


def pftas(objects: Objects, values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Parameter-free threshold adjacency statistics; float64, shape (K, 54, C), in the order of mahotas."""
    found = np.zeros((len(objects), N_PFTAS, len(values)))
    _pftas(*objects.places, values, otsu_thresholds(objects, ordered, ignore_zeros=True), found)
    return found


@numba.njit(cache=True, error_model="numpy")
def _haralick(rows, cols, start, bounds, values, distance, ceiling, parity, steps, found):
    pairs = np.zeros((_LEVELS, _LEVELS), np.int32)
    seen = np.empty(_LEVELS * _LEVELS, np.int32)
    marginal = np.zeros(_LEVELS, np.int64)
    sums = np.zeros(2 * _LEVELS, np.int64)
    differences = np.zeros(_LEVELS, np.int64)
    one = np.empty(N_HARALICK)
    for k in range(len(bounds)):
        first, last = start[k], start[k + 1]
        top, left = bounds[k, 0], bounds[k, 1]
        height, width = bounds[k, 2] - top, bounds[k, 3] - left
        levels = np.zeros((height, width), np.uint8)
        for ch in range(len(values)):
            highest = 0
            raw = False
            if parity:
                raw = True
                for i in range(first, last):
                    raw = raw and values[ch, i] < _LEVELS
            for i in range(first, last):
                value = np.int64(values[ch, i])
                level = value if raw else min(value * _LEVELS // (ceiling + 1), _LEVELS - 1)
                levels[rows[i] - top, cols[i] - left] = level
                highest = max(highest, level)
            out = found[k, :, ch]
            out[:] = 0.0
            for direction in range(4):
                dr = 0 if direction == 0 else distance
                dc = 0 if direction == 2 else (-distance if direction == 3 else distance)
                n_seen = total = 0
                for i in range(first, last):
                    r, c = rows[i] - top, cols[i] - left
                    a = levels[r, c]
                    if a == 0 or r + dr >= height or c + dc >= width or c + dc < 0:
                        continue
                    b = levels[r + dr, c + dc]
                    if b == 0:
                        continue
                    low, high = min(a, b), max(a, b)
                    if pairs[low, high] == 0:
                        seen[n_seen] = np.int32(low) * _LEVELS + high
                        n_seen += 1
                    pairs[low, high] += 1
                    total += 1
                if total == 0:
                    out[:] = np.nan
                    break
                _haralick_of(
                    pairs, seen[:n_seen], 2 * total, highest, marginal, sums, differences, steps, one
                )
                out += one / 4


@numba.njit(cache=True, error_model="numpy")
def _step(n, steps):
    """n log2 n."""
    return steps[n] if n < len(steps) else n * np.log2(float(n))


@numba.njit(cache=True, error_model="numpy")
def _haralick_of(pairs, seen, total, highest, marginal, sums, differences, steps, out):
    """Features of a symmetric matrix, entries with low <= high in `pairs`; leaves all counts at 0."""
    squares = product = first = second = contrast = sum_squares = 0
    inverse = entropy = 0.0
    for place in seen:
        low, high = place // _LEVELS, place % _LEVELS
        n = np.int64(pairs[low, high])
        pairs[low, high] = 0
        d = high - low
        # an entry off the diagonal stands for two, one on it counts each pair twice
        if d:
            squares += 2 * n * n
            entropy += 2 * _step(n, steps)
        else:
            squares += 4 * n * n
            entropy += _step(2 * n, steps)
        contrast += 2 * n * d * d
        product += 2 * n * low * high
        inverse += 2 * n / (1.0 + d * d)
        sum_squares += 2 * n * (low + high) ** 2
        marginal[low] += n
        marginal[high] += n
        sums[low + high] += 2 * n
        differences[d] += 2 * n
    level_entropy = sum_entropy = difference_entropy = 0.0
    difference_squares, n_levels = 0.0, 0
    for level in range(highest + 1):
        n = marginal[level]
        if n:
            first += n * level
            second += n * level * level
            level_entropy += _step(n, steps)
            marginal[level] = 0
            n_levels += 1
        n = differences[level]
        if n:
            difference_squares += float(n) * n
            difference_entropy += _step(n, steps)
            differences[level] = 0
    for level in range(2 * highest + 1):
        if sums[level]:
            sum_entropy += _step(sums[level], steps)
            sums[level] = 0
    size, bits = float(total), np.log2(float(total))
    entropy = bits - entropy / size
    level_entropy = bits - level_entropy / size
    spread = size * second - float(first) * first if n_levels > 1 else 0.0
    out[0] = squares / (size * size)
    out[1] = contrast / size
    out[2] = (size * product - float(first) * first) / spread if spread else 1.0
    out[3] = spread / (size * size)
    out[4] = inverse / size
    out[5] = 2 * first / size
    out[6] = (size * sum_squares - 4.0 * first * first) / (size * size)
    out[7] = bits - sum_entropy / size
    out[8] = entropy
    bins = highest + 1.0
    out[9] = difference_squares / (size * size) / bins - 1 / (bins * bins)
    out[10] = bits - difference_entropy / size
    # both cross entropies of Haralick equal twice the entropy of the levels, the matrix being symmetric
    shared = entropy - 2 * level_entropy
    out[11] = shared / level_entropy if spread else 0.0
    out[12] = np.sqrt(max(0.0, 1 - np.exp(2 * shared))) if spread else 0.0


@numba.njit(cache=True, error_model="numpy")
def _otsu(start, ordered, ignore_zeros, found):
    """Means are carried from value to value as mahotas does: of thresholds that are equally good but for
    rounding, both name the same."""
    for k in range(len(start) - 1):
        for ch in range(len(ordered)):
            i, last = start[k], start[k + 1]
            zeros, total = 0, 0.0
            while i < last and ordered[ch, i] == 0:
                zeros += 1
                i += 1
            for later in range(i, last):
                total += ordered[ch, later]
            below_n, above_n = 0.0 if ignore_zeros else float(zeros), float(last - i)
            below, above = 0.0, (total / above_n if above_n else 0.0)
            best, threshold = below_n * above_n * (below - above) * (below - above), 0
            at = 0
            while i < last:
                value, n = np.int64(ordered[ch, i]), 0
                while i < last and ordered[ch, i] == value:
                    i += 1
                    n += 1
                between_values = at + 1
                while between_values < value and below_n > 0:  # values that no pixel has: rounding alone
                    moved, other = below * below_n / below_n, above * above_n / above_n
                    between = below_n * above_n * (moved - other) * (moved - other)
                    if between > best:
                        best, threshold = between, between_values
                    if moved == below and other == above:
                        break
                    below, above = moved, other
                    between_values += 1
                if above_n == n:
                    break
                below = (below * below_n + float(value * n)) / (below_n + n)
                above = (above * above_n - float(value * n)) / (above_n - n)
                below_n += n
                above_n -= n
                between = below_n * above_n * (below - above) * (below - above)
                if between > best:
                    best, threshold = between, value
                at = value
            found[k, ch] = threshold


@numba.njit(cache=True, error_model="numpy")
def _pftas(rows, cols, start, bounds, values, thresholds, found):
    for k in range(len(bounds)):
        first, last = start[k], start[k + 1]
        top, left = bounds[k, 0], bounds[k, 1]
        height, width = bounds[k, 2] - top, bounds[k, 3] - left
        planes = np.empty((height + 2, width + 2), np.int32)  # three binary images in three bytes
        beside = np.empty((height + 2, width), np.int32)
        for ch in range(len(values)):
            threshold = thresholds[k, ch]
            total, n = 0.0, 0
            for i in range(first, last):
                if values[ch, i] > threshold:
                    total += values[ch, i]
                    n += 1
            mean = total / n if n else 0.0
            squares = 0.0
            for i in range(first, last):
                if values[ch, i] > threshold:
                    squares += (values[ch, i] - mean) ** 2
            margin = np.sqrt(squares / n) if n else 0.0
            centre = total / (n + 1e-8)
            low, high = centre - margin, centre + margin
            planes[:] = (low < 0 < high) + 256 * (low < 0) + 65536 * (centre < 0)
            for i in range(first, last):
                value = float(values[ch, i])
                bits = (low < value < high) + 256 * (value > low) + 65536 * (value > centre)
                planes[rows[i] - top + 1, cols[i] - left + 1] = bits
            planes[0], planes[height + 1] = planes[1], planes[height]  # the rim of the box continues
            for r in range(height + 2):
                planes[r, 0], planes[r, width + 1] = planes[r, 1], planes[r, width]
                for c in range(width):
                    beside[r, c] = planes[r, c] + planes[r, c + 1] + planes[r, c + 2]
            out = found[k, :, ch]
            for r in range(height):
                for c in range(width):
                    around = beside[r, c] + beside[r + 1, c] + beside[r + 2, c]
                    own = planes[r + 1, c + 1]
                    for plane in range(3):
                        n_set = (around >> (8 * plane)) & 255
                        if (own >> (8 * plane)) & 1:
                            out[27 + 9 * plane + 9 - n_set] += 1
                        else:
                            out[9 * plane + n_set] += 1
            for part in range(0, N_PFTAS, 9):
                n_part = out[part : part + 9].sum()
                if n_part > 0:
                    out[part : part + 9] /= n_part
