"""The inside of each object: its rim, how deep a pixel lies, the rings and wedges around its centre."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from cytopipe.screen.features.objects import Objects

__all__ = ["RINGS", "WEDGES", "Interior", "interior_of"]

RINGS = 4
WEDGES = 8


@dataclass(frozen=True, eq=False)
class Interior:
    """Where the pixels of objects lie within them; holes count as inside.

    Parameters
    ----------
    edge : ndarray of bool, shape (N,)
        Whether one of the eight neighbours lies outside the object.
    ring : ndarray of uint8, shape (N,)
        0 around the centre to 3 at the rim.
    wedge : ndarray of uint8, shape (N,)
        Which eighth of the circle around the centre.
    radii : ndarray of float64, shape (K, 3)
        Largest, median and mean distance of a pixel to the outside, in pixels.
    """

    edge: np.ndarray
    ring: np.ndarray
    wedge: np.ndarray
    radii: np.ndarray


def interior_of(objects: Objects) -> Interior:
    """Rims, rings, wedges and radii of all objects."""
    n = len(objects.rows)
    edge, ring, wedge = np.zeros(n, np.bool_), np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    radii = np.empty((len(objects), 3))
    _interior(*objects.places, edge, ring, wedge, radii)
    return Interior(edge, ring, wedge, radii)


@numba.njit(cache=True, error_model="numpy")
def _interior(rows, cols, start, bounds, edge, ring, wedge, radii):
    for k in range(len(bounds)):
        top, left = bounds[k, 0] - 1, bounds[k, 1] - 1
        height, width = bounds[k, 2] - top + 1, bounds[k, 3] - left + 1
        state = np.zeros((height, width), np.uint8)  # 1 object, 2 outside, 0 hole
        for i in range(start[k], start[k + 1]):
            state[rows[i] - top, cols[i] - left] = 1
        _flood(state)
        depth = _squared_depth(state)
        centre_row, centre_col = _centre(state, depth, radii[k])
        for i in range(start[k], start[k + 1]):
            r, c = rows[i] - top, cols[i] - left
            for dr in range(-1, 2):
                for dc in range(-1, 2):
                    if state[r + dr, c + dc] == 2:
                        edge[i] = True
            dr, dc = r - centre_row, c - centre_col
            out = np.sqrt(float(dr * dr + dc * dc))
            ring[i] = max(np.ceil(out / (out + np.sqrt(float(depth[r, c]))) * RINGS), 1.0) - 1
            wedge[i] = (dr > 0) + 2 * (dc > 0) + 4 * (abs(dr) > abs(dc))


@numba.njit(cache=True, error_model="numpy")
def _flood(state):
    """Mark what is joined to the frame, also over corners, as outside: 2."""
    height, width = state.shape
    waiting = np.empty(height * width, np.int64)
    waiting[0], n = 0, 1
    state[0, 0] = 2
    while n:
        n -= 1
        r, c = waiting[n] // width, waiting[n] % width
        for y in range(max(r - 1, 0), min(r + 2, height)):
            for x in range(max(c - 1, 0), min(c + 2, width)):
                if state[y, x] == 0:
                    state[y, x] = 2
                    waiting[n] = y * width + x
                    n += 1


@numba.njit(cache=True, error_model="numpy")
def _squared_depth(state):
    """Exact squared distance to the nearest outside pixel: along columns, then over columns near by."""
    height, width = state.shape
    near = np.zeros((height, width), np.int64)
    for r in range(1, height):
        for c in range(width):
            near[r, c] = 0 if state[r, c] == 2 else near[r - 1, c] + 1
    for r in range(height - 2, -1, -1):
        for c in range(width):
            near[r, c] = min(near[r, c], near[r + 1, c] + 1)
    depth = np.zeros((height, width), np.int64)
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            best = near[r, c] * near[r, c]
            d = 1
            while d * d < best:  # the frame is outside, so that c - d and c + d stay within it
                one = min(near[r, c - d], near[r, c + d])
                best = min(best, d * d + one * one)
                d += 1
            depth[r, c] = best
    return depth


@numba.njit(cache=True, error_model="numpy")
def _centre(state, depth, radii):
    """Median row and column of the deepest pixels, rounded down; the radii on the way."""
    height, width = state.shape
    deepest = depth.max()
    count = np.zeros(deepest + 1, np.int64)
    n_pixels = n_deepest = 0
    for r in range(height):
        for c in range(width):
            if state[r, c] != 2:
                count[depth[r, c]] += 1
                n_pixels += 1
                n_deepest += depth[r, c] == deepest
    at_rows, at_cols = np.empty(n_deepest, np.int64), np.empty(n_deepest, np.int64)
    n = 0
    for r in range(height):
        for c in range(width):
            if state[r, c] != 2 and depth[r, c] == deepest:
                at_rows[n], at_cols[n] = r, c
                n += 1
    total, seen = 0.0, 0
    low = high = -1
    for d in range(deepest + 1):
        total += count[d] * np.sqrt(float(d))
        seen += count[d]
        if low < 0 and 2 * seen >= n_pixels:
            low = d
        if high < 0 and 2 * seen > n_pixels:
            high = d
    radii[0] = np.sqrt(float(deepest))
    radii[1] = (np.sqrt(float(low)) + np.sqrt(float(high))) / 2
    radii[2] = total / n_pixels
    at_cols.sort()
    middle, other = n // 2, (n - 1) // 2
    return (at_rows[middle] + at_rows[other]) // 2, (at_cols[middle] + at_cols[other]) // 2
