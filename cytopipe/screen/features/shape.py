"""Size and shape of objects: moments, perimeter, convex area, holes and Hu's invariants."""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.screen.features.intensity import hu_invariants
from cytopipe.screen.features.objects import Objects

__all__ = ["N_SHAPE", "centroids", "hu_moments", "shape"]

N_SHAPE = 14


def shape(objects: Objects) -> np.ndarray:
    """Area to compactness in the catalogue's order; float64, shape (K, 14)."""
    found = np.empty((len(objects), N_SHAPE))
    _shape(*objects.places, found)
    return found


def hu_moments(objects: Objects) -> np.ndarray:
    """Hu's seven invariants of the shape; float64, shape (K, 7)."""
    found = np.empty((len(objects), 7))
    _hu(*objects.places, found)
    return found


def centroids(objects: Objects) -> np.ndarray:
    """Mean row and column of each object in the image; float64, shape (K, 2)."""
    if not len(objects):
        return np.empty((0, 2))
    sums = [
        np.add.reduceat(axis, objects.start[:-1], dtype=np.int64) for axis in (objects.rows, objects.cols)
    ]
    return np.stack(sums, axis=1) / objects.area[:, None]


@numba.njit(cache=True, error_model="numpy")
def _shape(rows, cols, start, bounds, found):
    for k in range(len(bounds)):
        top, left = bounds[k, 0], bounds[k, 1]
        height, width = bounds[k, 2] - top, bounds[k, 3] - left
        inside = np.zeros((height + 4, width + 4), np.uint8)  # a frame of two, for neighbours of neighbours
        n = start[k + 1] - start[k]
        middle_row, middle_col = height // 2, width // 2
        s_r = s_c = s_rr = s_cc = s_rc = 0
        for i in range(start[k], start[k + 1]):
            r, c = np.int64(rows[i]) - top, np.int64(cols[i]) - left
            inside[r + 2, c + 2] = 1
            r, c = r - middle_row, c - middle_col
            s_r += r
            s_c += c
            s_rr += r * r
            s_cc += c * c
            s_rc += r * c
        # whole numbers until here, so that a symmetric object of usual size is symmetric to the last bit
        size = float(n)
        by_row, by_col = (size * s_rr - float(s_r) * s_r) / n, (size * s_cc - float(s_c) * s_c) / n
        across = (size * s_rc - float(s_r) * s_c) / n
        middle, half = (by_row + by_col) / (2 * n), (by_row - by_col) / (2 * n)
        swing = np.sqrt(half * half + (across / n) ** 2)
        large, small = max(middle + swing, 0.0), max(middle - swing, 0.0)
        convex = _convex_area(rows, cols, start[k], start[k + 1], top, bounds[k, 2])
        perimeter = _perimeter(inside)
        out = found[k]
        out[0], out[1], out[2] = n, perimeter, convex
        out[3] = 4 * np.pi * n / perimeter**2 if perimeter > 0 else np.nan
        out[4], out[5] = n / convex, n / (height * width)
        out[6] = _euler_number(inside)
        out[7], out[8] = s_r / n + middle_row, s_c / n + middle_col
        out[9] = np.sqrt(1 - small / large) if large > 0 else 0.0
        out[10], out[11] = 4 * np.sqrt(large), 4 * np.sqrt(small)
        if by_row == by_col:
            out[12] = np.pi / 4 if across > 0 else -np.pi / 4
        else:
            out[12] = 0.5 * np.arctan2(2 * across, by_row - by_col)
        out[13] = 2 * np.pi * (by_row + by_col) / n**2


@numba.njit(cache=True, error_model="numpy")
def _perimeter(inside):
    """Length of the line through the centres of the rim, by the kinds of corners at its pixels."""
    height, width = inside.shape
    rim = np.zeros((height, width), np.uint8)
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            cross = inside[r - 1, c] & inside[r + 1, c] & inside[r, c - 1] & inside[r, c + 1]
            rim[r, c] = inside[r, c] & (1 - cross)
    straight = diagonal = corner = 0
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if not rim[r, c]:
                continue
            sides = rim[r - 1, c] + rim[r + 1, c] + rim[r, c - 1] + rim[r, c + 1]
            corners = rim[r - 1, c - 1] + rim[r - 1, c + 1] + rim[r + 1, c - 1] + rim[r + 1, c + 1]
            if sides in (2, 3) and corners <= 2:
                straight += 1
            elif (sides == 0 and corners == 2) or (sides == 1 and corners == 3):
                diagonal += 1
            elif sides == 1 and corners in (1, 2):
                corner += 1
    return straight + diagonal * np.sqrt(2.0) + corner * (1 + np.sqrt(2.0)) / 2


@numba.njit(cache=True, error_model="numpy")
def _euler_number(inside):
    """Parts less holes, parts joined over corners: by the patterns of two by two pixels."""
    height, width = inside.shape
    ones = threes = diagonals = 0
    for r in range(height - 1):
        for c in range(width - 1):
            a, b, d, e = inside[r, c], inside[r, c + 1], inside[r + 1, c], inside[r + 1, c + 1]
            n = a + b + d + e
            ones += n == 1
            threes += n == 3
            diagonals += n == 2 and a == e
    return (ones - threes - 2 * diagonals) // 4


@numba.njit(cache=True, error_model="numpy")
def _convex_area(rows, cols, first, last, top, bottom):
    """Pixels whose centre lies in or on the hull of the middles of all pixels' sides; in half pixels."""
    n = 2 * (bottom - top) + 1
    left, right = np.full(n, 1 << 40, np.int64), np.full(n, -(1 << 40), np.int64)
    for i in range(first, last):
        y, x = 2 * (np.int64(rows[i]) - top) + 1, 2 * np.int64(cols[i])
        left[y], right[y] = min(left[y], x - 1), max(right[y], x + 1)
        for beside in (y - 1, y + 1):
            left[beside], right[beside] = min(left[beside], x), max(right[beside], x)
    at_left, n_left = _envelope(left, right, 1)
    at_right, n_right = _envelope(right, left, -1)
    area = one = other = 0
    for y in range(1, n, 2):
        while one + 1 < n_left - 1 and at_left[one + 1] < y:
            one += 1
        while other + 1 < n_right - 1 and at_right[other + 1] < y:
            other += 1
        a, b = at_left[one], at_left[one + 1]
        low = left[a] * (b - a) + (left[b] - left[a]) * (y - a)
        from_col = -((-low) // (2 * (b - a)))
        a, b = at_right[other], at_right[other + 1]
        high = right[a] * (b - a) + (right[b] - right[a]) * (y - a)
        area += high // (2 * (b - a)) - from_col + 1
    return area


@numba.njit(cache=True, error_model="numpy")
def _envelope(side, other, sign):
    """Rows at which the hull turns on one side: `side` is its outermost place per row, if the row has one."""
    chain = np.empty(len(side), np.int64)
    n = 0
    for y in range(len(side)):
        if sign * (other[y] - side[y]) < 0:
            continue
        while n > 1:
            a, b = chain[n - 2], chain[n - 1]
            if sign * ((side[b] - side[a]) * (y - a) - (side[y] - side[a]) * (b - a)) >= 0:
                n -= 1
            else:
                break
        chain[n] = y
        n += 1
    return chain, n


@numba.njit(cache=True, error_model="numpy")
def _hu(rows, cols, start, bounds, found):
    moments = np.empty((4, 4))
    for k in range(len(bounds)):
        top, left = bounds[k, 0], bounds[k, 1]
        n = start[k + 1] - start[k]
        row = col = 0.0
        for i in range(start[k], start[k + 1]):
            row += rows[i] - top
            col += cols[i] - left
        row, col = row / n, col / n
        moments[:] = 0.0
        moments[0, 0] = n
        for i in range(start[k], start[k + 1]):
            y, x = rows[i] - top - row, cols[i] - left - col
            moments[2, 0] += y * y
            moments[1, 1] += y * x
            moments[0, 2] += x * x
            moments[3, 0] += y * y * y
            moments[2, 1] += y * y * x
            moments[1, 2] += y * x * x
            moments[0, 3] += x * x * x
        hu_invariants(moments, found[k])
