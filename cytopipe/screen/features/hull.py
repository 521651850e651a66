"""Convex hulls of objects, their narrowest and widest extent, and the smallest circle around them."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from cytopipe.screen.features.objects import Objects

__all__ = ["Hulls", "enclosing_circles", "feret_diameters", "hulls_of", "qhull_order"]


@dataclass(frozen=True, eq=False)
class Hulls:
    """Corners of the convex hulls of pixel centres, counter-clockwise in (row, column).

    Parameters
    ----------
    rows, cols : ndarray of int64, shape (M,)
        Corners of all objects, object after object, in pixels of the image.
    start : ndarray of int64, shape (K + 1,)
        Corners of object k are ``start[k]:start[k + 1]``; none where all its pixels lie on one line.
    """

    rows: np.ndarray
    cols: np.ndarray
    start: np.ndarray


def hulls_of(objects: Objects) -> Hulls:
    """Convex hulls; exact, each starts at its topmost, then leftmost corner."""
    room = 2 * (objects.bounds[:, 2] - objects.bounds[:, 0]).sum() + 2 * len(objects)
    rows, cols = np.empty(room, np.int64), np.empty(room, np.int64)
    start = np.zeros(len(objects) + 1, np.int64)
    n = _hulls(objects.rows, objects.cols, objects.start, objects.bounds, rows, cols, start)
    return Hulls(rows[:n].copy(), cols[:n].copy(), start)


def qhull_order(objects: Objects) -> Hulls:
    """The same hulls, each with the corner first that Qhull names first: parity alone.

    Where several pairs of corners are equally far apart, the reference reports the first in Qhull's order,
    which depends on how Qhull works.
    """
    from scipy.spatial import ConvexHull, QhullError

    parts, counts = [np.empty((0, 2), np.int64)], [0]
    for k in range(len(objects)):
        pixels = slice(objects.start[k], objects.start[k + 1])
        coordinates = np.stack([objects.rows[pixels], objects.cols[pixels]], axis=1).astype(np.int64)
        try:
            corners = coordinates[ConvexHull(coordinates).vertices]
        except (QhullError, ValueError):
            corners = parts[0][:0]
        parts.append(corners)
        counts.append(len(corners))
    rows, cols = np.concatenate(parts).T
    return Hulls(rows.copy(), cols.copy(), np.cumsum(counts))


def feret_diameters(hulls: Hulls, *, parity: bool = False) -> np.ndarray:
    """Narrowest width and widest extent between pixel centres, and where; float64, shape (K, 10).

    Parameters
    ----------
    hulls : Hulls
    parity : bool
        Leave out edges whose farthest corner is the last one asked, as the reference does.

    Returns
    -------
    ndarray
        Smallest width; largest distance; row and column of the middle of the edge at the width, and of the
        corner across; rows and columns of the two corners at the largest distance. NaN without a hull.
    """
    found = np.full((len(hulls.start) - 1, 10), np.nan)
    _feret(hulls.rows, hulls.cols, hulls.start, parity, found)
    return found


def enclosing_circles(hulls: Hulls) -> np.ndarray:
    """Smallest circle around pixel centres: row, column, diameter; (K, 3) float64, NaN without a hull."""
    found = np.full((len(hulls.start) - 1, 3), np.nan)
    _circles(hulls.rows, hulls.cols, hulls.start, found)
    return found


@numba.njit(cache=True, error_model="numpy")
def _cross(rows, cols, a, b, c):
    return (rows[b] - rows[a]) * (cols[c] - cols[a]) - (cols[b] - cols[a]) * (rows[c] - rows[a])


@numba.njit(cache=True, error_model="numpy")
def _hulls(all_rows, all_cols, start, bounds, out_rows, out_cols, out_start):
    place = 0
    for k in range(len(bounds)):
        rows = np.empty(2 * (bounds[k, 2] - bounds[k, 0]), np.int64)
        cols = np.empty(len(rows), np.int64)
        n = 0
        for i in range(
            start[k], start[k + 1]
        ):  # the first and last pixel of each row, which raster order gives
            opens = i == start[k] or all_rows[i] != all_rows[i - 1]
            closes = i + 1 == start[k + 1] or all_rows[i] != all_rows[i + 1]
            if opens or closes:
                rows[n], cols[n] = all_rows[i], all_cols[i]
                n += 1
        chain = np.empty(2 * n + 1, np.int64)
        m = 0
        for i in range(n):
            while m > 1 and _cross(rows, cols, chain[m - 2], chain[m - 1], i) <= 0:
                m -= 1
            chain[m] = i
            m += 1
        turn = m + 1
        for i in range(n - 2, -1, -1):
            while m >= turn and _cross(rows, cols, chain[m - 2], chain[m - 1], i) <= 0:
                m -= 1
            chain[m] = i
            m += 1
        m -= 1  # the first corner came again
        if m > 2:
            for i in range(m):
                out_rows[place], out_cols[place] = rows[chain[i]], cols[chain[i]]
                place += 1
        out_start[k + 1] = place
    return place


@numba.njit(cache=True, error_model="numpy")
def _feret(all_rows, all_cols, start, parity, found):
    for k in range(len(start) - 1):
        rows, cols = all_rows[start[k] : start[k + 1]], all_cols[start[k] : start[k + 1]]
        n = len(rows)
        if n < 3:
            continue
        narrowest, edge, across = np.inf, -1, -1
        for v in range(n):
            before = (v - 1) % n
            length = np.sqrt(float((rows[v] - rows[before]) ** 2 + (cols[v] - cols[before]) ** 2))
            farthest, at = np.int64(0), -1
            for i in range(1, n - 1):
                area = abs(_cross(rows, cols, before, v, (v + i) % n))
                if area > farthest:
                    farthest, at = area, (v + i) % n
                elif area < farthest:
                    break
            if parity and at == (v + n - 2) % n:
                continue
            if farthest / length < narrowest:
                narrowest, edge, across = farthest / length, v, at
        if edge < 0:
            continue
        widest, one, two = np.int64(-1), 0, 0
        for a in range(n):
            for b in range(a + 1, n):
                apart = (rows[a] - rows[b]) ** 2 + (cols[a] - cols[b]) ** 2
                if apart > widest:
                    widest, one, two = apart, a, b
        out = found[k]
        before = (edge - 1) % n
        out[0], out[1] = narrowest, np.sqrt(float(widest))
        out[2], out[3] = (rows[edge] + rows[before]) / 2, (cols[edge] + cols[before]) / 2
        out[4], out[5] = rows[across], cols[across]
        out[6], out[7], out[8], out[9] = rows[one], cols[one], rows[two], cols[two]


@numba.njit(cache=True, error_model="numpy")
def _circles(all_rows, all_cols, start, found):
    """From a side of the hull to the corner that sees it under the smallest angle, until that angle is right
    or the triangle acute. Angles are compared in whole numbers."""
    for k in range(len(start) - 1):
        rows, cols = all_rows[start[k] : start[k + 1]], all_cols[start[k] : start[k + 1]]
        n = len(rows)
        if n < 3:
            continue
        a, b = 0, 1
        while True:
            apex, apex_dot, apex_area = -1, np.int64(0), np.int64(1)
            for i in range(n):
                if i in (a, b):
                    continue
                dot, area = _dot(rows, cols, i, a, b), abs(_cross(rows, cols, i, a, b))
                if apex < 0 or dot * apex_area > apex_dot * area:
                    apex, apex_dot, apex_area = i, dot, area
            if apex_dot <= 0:
                found[k, 0], found[k, 1] = (rows[a] + rows[b]) / 2, (cols[a] + cols[b]) / 2
                found[k, 2] = np.sqrt(float((rows[a] - rows[b]) ** 2 + (cols[a] - cols[b]) ** 2))
                break
            if _dot(rows, cols, a, b, apex) < 0:
                a = apex
            elif _dot(rows, cols, b, a, apex) < 0:
                b = apex
            else:
                _circumscribed(rows, cols, a, b, apex, found[k])
                break


@numba.njit(cache=True, error_model="numpy")
def _dot(rows, cols, at, a, b):
    return (rows[a] - rows[at]) * (rows[b] - rows[at]) + (cols[a] - cols[at]) * (cols[b] - cols[at])


@numba.njit(cache=True, error_model="numpy")
def _circumscribed(rows, cols, a, b, c, out):
    by, bx = rows[b] - rows[a], cols[b] - cols[a]
    cy, cx = rows[c] - rows[a], cols[c] - cols[a]
    twice = 2.0 * (by * cx - bx * cy)
    b2, c2 = by * by + bx * bx, cy * cy + cx * cx
    dy, dx = (cx * b2 - bx * c2) / twice, (by * c2 - cy * b2) / twice
    out[0], out[1] = rows[a] + dy, cols[a] + dx
    out[2] = 2 * np.sqrt(dy * dy + dx * dx)
