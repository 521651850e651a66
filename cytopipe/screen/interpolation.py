"""Kernels that read an image between its pixels: cubic (Keys 1981, a = -1/2) and linear.

The cubic is exact for parabolas and needs no prefilter. Taps beyond the edge repeat the last pixel; what lies
outside of the image is 0. Positions are ``matrix @ (row, column, 1)``. Every pixel is computed alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["moments", "sums_at", "warp_cubic", "warp_linear"]


@njit(cache=True, inline="always")
def _weights(f):
    g = 1.0 - f
    return (
        -0.5 * f * g * g,
        1.0 + f * f * (1.5 * f - 2.5),
        1.0 + g * g * (1.5 * g - 2.5),
        -0.5 * g * f * f,
    )


@njit(cache=True, inline="always")
def _cubic(image, y, x):
    n_rows, n_cols = image.shape
    if not (y >= -0.5 and x >= -0.5 and y <= n_rows - 0.5 and x <= n_cols - 0.5):
        return 0.0
    row, col = int(np.floor(y)), int(np.floor(x))
    a0, a1, a2, a3 = _weights(y - row)
    b0, b1, b2, b3 = _weights(x - col)
    if row >= 1 and col >= 1 and row + 2 < n_rows and col + 2 < n_cols:
        r0, r1, r2, r3 = row - 1, row, row + 1, row + 2
        c0, c1, c2, c3 = col - 1, col, col + 1, col + 2
    else:
        r0, r1 = min(max(row - 1, 0), n_rows - 1), min(max(row, 0), n_rows - 1)
        r2, r3 = min(max(row + 1, 0), n_rows - 1), min(max(row + 2, 0), n_rows - 1)
        c0, c1 = min(max(col - 1, 0), n_cols - 1), min(max(col, 0), n_cols - 1)
        c2, c3 = min(max(col + 1, 0), n_cols - 1), min(max(col + 2, 0), n_cols - 1)
    return (
        a0 * (b0 * image[r0, c0] + b1 * image[r0, c1] + b2 * image[r0, c2] + b3 * image[r0, c3])
        + a1 * (b0 * image[r1, c0] + b1 * image[r1, c1] + b2 * image[r1, c2] + b3 * image[r1, c3])
        + a2 * (b0 * image[r2, c0] + b1 * image[r2, c1] + b2 * image[r2, c2] + b3 * image[r2, c3])
        + a3 * (b0 * image[r3, c0] + b1 * image[r3, c1] + b2 * image[r3, c2] + b3 * image[r3, c3])
    )


@njit(cache=True, nogil=True)
def warp_cubic(image, matrix):
    """A float32 image at ``matrix @ (row, column, 1)`` of every pixel, float32 of the same shape."""
    out = np.empty(image.shape, np.float32)
    for row in range(image.shape[0]):
        for col in range(image.shape[1]):
            y = matrix[0, 0] * row + matrix[0, 1] * col + matrix[0, 2]
            x = matrix[1, 0] * row + matrix[1, 1] * col + matrix[1, 2]
            out[row, col] = _cubic(image, y, x)
    return out


@njit(cache=True, nogil=True)
def warp_linear(image, matrix):
    """As `warp_cubic`, with linear interpolation."""
    n_rows, n_cols = image.shape
    out = np.zeros(image.shape, np.float32)
    for row in range(n_rows):
        for col in range(n_cols):
            y = matrix[0, 0] * row + matrix[0, 1] * col + matrix[0, 2]
            x = matrix[1, 0] * row + matrix[1, 1] * col + matrix[1, 2]
            if not (y >= -0.5 and x >= -0.5 and y <= n_rows - 0.5 and x <= n_cols - 0.5):
                continue
            y, x = min(max(y, 0.0), n_rows - 1.0), min(max(x, 0.0), n_cols - 1.0)
            r, c = int(y), int(x)
            s, d = min(r + 1, n_rows - 1), min(c + 1, n_cols - 1)
            f, g = y - r, x - c
            top = (1 - g) * image[r, c] + g * image[r, d]
            bottom = (1 - g) * image[s, c] + g * image[s, d]
            out[row, col] = (1 - f) * top + f * bottom
    return out


@njit(cache=True, nogil=True)
def sums_at(image, matrix, points, columns):
    """Of v, an image at ``matrix @ (row, column, 1)`` of points (n, 2): sums of v**2 and v * columns."""
    squares, sums = 0.0, np.zeros(columns.shape[1])
    for n in range(len(points)):
        row, col = points[n, 0], points[n, 1]
        y = matrix[0, 0] * row + matrix[0, 1] * col + matrix[0, 2]
        x = matrix[1, 0] * row + matrix[1, 1] * col + matrix[1, 2]
        value = _cubic(image, y, x)
        squares += value * value
        for k in range(columns.shape[1]):
            sums[k] += value * columns[n, k]
    return squares, sums


@njit(cache=True, nogil=True)
def moments(columns):
    """``columns.T @ columns`` of (n, k), summed in one order whatever the number of threads."""
    out = np.zeros((columns.shape[1], columns.shape[1]))
    for n in range(len(columns)):
        for i in range(columns.shape[1]):
            for j in range(i + 1):
                out[i, j] += columns[n, i] * columns[n, j]
    for i in range(len(out)):
        for j in range(i):
            out[j, i] = out[i, j]
    return out
