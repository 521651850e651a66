"""Compiled loops of the image stages: linear shift, Laplacian of Gaussian, deviation, median of a disk.

Each does the same operations in the same order as the function of SciPy, scikit-image or NumPy that it stands
for, so that results are equal bit for bit; without fastmath, no operation is contracted or reordered.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["deviation", "divided", "laplace_of_gaussian", "median_of_disk", "rows_of_spectrum", "shift_frame"]


@njit(cache=True)
def rows_of_spectrum(product, weights, mirrored, out, mirrored_out):
    """Sums over the rows of a (Y, X) spectrum, each with `weights` (N, Y) and with `mirrored`: two (N, X).

    A product of matrices so flat is faster here than in a BLAS, whose threads wait for each other.
    """
    out[:] = 0
    mirrored_out[:] = 0
    for row in range(product.shape[0]):
        line = product[row]
        for at in range(weights.shape[0]):
            weight, other, sums, others = weights[at, row], mirrored[at, row], out[at], mirrored_out[at]
            for column in range(line.size):
                sums[column] += weight * line[column]
                others[column] += other * line[column]


@njit(cache=True, error_model="numpy")
def divided(image, field, out):
    """image / field as uint16, truncated, at most 65535; False where the field cannot divide."""
    usable = True
    for row in range(image.shape[0]):
        pixels, light, target = image[row], field[row], out[row]
        for at in range(pixels.size):
            usable &= 0 < light[at] < np.inf
            target[at] = np.int32(min(pixels[at] / light[at], 65535.0))
    return usable


@njit(cache=True)
def shift_frame(
    frame, low_rows, high_rows, row_parts, low_columns, high_columns, column_parts, first, last, out
):
    """Linear interpolation at (row, column) of two axes; a place outside of the frame counts as 0.

    `low` and `high` are the neighbours of each place, `parts` its distance from the low one. Columns from
    `first` to `last` have all neighbours inside, at one and the same distance along the row.
    """
    n_rows, n_columns = frame.shape
    step = low_columns[first] - first if last > first else 0
    apart = high_columns[first] - low_columns[first] if last > first else 0
    empty = np.zeros(n_columns, frame.dtype)
    for row in range(out.shape[0]):
        low, high, down = low_rows[row], high_rows[row], row_parts[row]
        up = 1 - down
        upper = frame[low] if 0 <= low < n_rows else empty
        lower = frame[high] if 0 <= high < n_rows else empty
        for column in range(first):
            right = column_parts[column]
            top = (1 - right) * _inside(upper, low_columns[column]) + right * _inside(
                upper, high_columns[column]
            )
            foot = (1 - right) * _inside(lower, low_columns[column]) + right * _inside(
                lower, high_columns[column]
            )
            out[row, column] = up * top + down * foot
        a, b = upper[first + step : last + step], upper[first + step + apart : last + step + apart]
        c, d = lower[first + step : last + step], lower[first + step + apart : last + step + apart]
        parts, target = column_parts[first:last], out[row, first:last]
        for at in range(last - first):
            right = parts[at]
            top = (1 - right) * np.float64(a[at]) + right * np.float64(b[at])
            foot = (1 - right) * np.float64(c[at]) + right * np.float64(d[at])
            target[at] = np.int32(up * top + down * foot)
        for column in range(last, out.shape[1]):
            right = column_parts[column]
            top = (1 - right) * _inside(upper, low_columns[column]) + right * _inside(
                upper, high_columns[column]
            )
            foot = (1 - right) * _inside(lower, low_columns[column]) + right * _inside(
                lower, high_columns[column]
            )
            out[row, column] = up * top + down * foot


@njit(cache=True, inline="always")
def _inside(line, column):
    return np.float64(line[column]) if 0 <= column < line.size else 0.0


@njit(cache=True)
def laplace_of_gaussian(frame, smooth, second, rows, columns, out):
    """Minus the Laplacian of a Gaussian, as uint16: clipped to 0..65535 and rounded half to even.

    `smooth` and `second` are one half of the symmetric kernels of the Gaussian and of its second derivative,
    centre first. `rows` and `columns` say, for each place of the padded axes, which pixel stands there.
    """
    radius = smooth.size - 1
    height, width = frame.shape
    along = np.empty((2, width + 2 * radius))
    lines = np.empty((2, width))
    pair = np.empty(width)
    for row in range(height):
        centre = frame[rows[row + radius]]
        for at in range(width):
            value = np.float64(centre[at])
            lines[0, at] = value * second[0]
            lines[1, at] = value * smooth[0]
        for far in range(radius, 0, -1):
            above, below = frame[rows[row + radius - far]], frame[rows[row + radius + far]]
            weight_second, weight_smooth = second[far], smooth[far]
            for at in range(width):
                pair[at] = np.float64(above[at]) + np.float64(below[at])
                lines[0, at] += pair[at] * weight_second
                lines[1, at] += pair[at] * weight_smooth
        for line in range(2):
            for at in range(radius):
                along[line, at] = lines[line, columns[at]]
                along[line, width + radius + at] = lines[line, columns[width + radius + at]]
            along[line, radius : radius + width] = lines[line]
        a, b = along[0], along[1]
        first, other = lines[0], lines[1]
        for at in range(width):
            first[at] = a[at + radius] * smooth[0]
            other[at] = b[at + radius] * second[0]
        for far in range(radius, 0, -1):
            left_a, right_a = a[radius - far :], a[radius + far :]
            left_b, right_b = b[radius - far :], b[radius + far :]
            weight_second, weight_smooth = second[far], smooth[far]
            for at in range(width):
                first[at] += (left_a[at] + right_a[at]) * weight_smooth
                other[at] += (left_b[at] + right_b[at]) * weight_second
        target = out[row]
        for at in range(width):
            value = -(first[at] + other[at])
            value = min(max(value, 0.0), 65535.0) / 65535.0 * 65535.0
            target[at] = np.int32(np.rint(value))


@njit(cache=True)
def deviation(frames, out):
    """Standard deviation (ddof 0) over the first axis of TCYX, then the mean over the second."""
    n_times, n_channels, height, width = frames.shape
    total, spread = np.empty(width), np.empty(width)
    for row in range(height):
        line = out[row]
        for channel in range(n_channels):
            total[:] = 0
            for time in range(n_times):
                values = frames[time, channel, row]
                for at in range(width):
                    total[at] += values[at]
            for at in range(width):
                total[at] /= n_times
                spread[at] = 0
            for time in range(n_times):
                values = frames[time, channel, row]
                for at in range(width):
                    off = values[at] - total[at]
                    spread[at] += off * off
            for at in range(width):
                deviates = np.sqrt(spread[at] / n_times)
                line[at] = deviates if channel == 0 else line[at] + deviates
        for at in range(width):
            line[at] /= n_channels


@njit(cache=True)
def median_of_disk(levels, reach, n_levels, out):
    """Rank of the upper median in a disk around each pixel; only pixels of the image count.

    Parameters
    ----------
    levels : (Y + 2 r, X + 2 r + 1 or more) uint16 or uint32
        Ranks of the values. Around them r pixels, one more behind, have the rank `n_levels`: no image.
    reach : (2 r + 1,) int
        Half the width of the disk in each of its rows.
    out : (Y, X) of the same type

    Notes
    -----
    A window slides along each row, its counts by rank follow (Huang, Yang & Tang 1979): 2 (2 r + 1) updates
    for a pixel, and the median moves from the last one by the few ranks between them. What comes and what
    goes is counted apart, in even and odd rows, so that no count waits for the one before.
    """
    size = reach.size
    radius = size // 2
    height, width = out.shape
    start = np.zeros(n_levels + 1, np.int32)
    area = 0
    for at in range(size):
        area += 2 * reach[at] + 1
        for column in range(radius - reach[at], radius + reach[at] + 1):
            start[levels[at, column]] += 1
    counts = np.empty((4, n_levels + 1), np.int32)
    come_even, come_odd, gone_even, gone_odd = counts[0], counts[1], counts[2], counts[3]
    stride = levels.shape[1]
    flat = levels.ravel()
    lefts, rights = np.empty(size, np.int64), np.empty(size, np.int64)
    for row in range(height):
        if row:  # the first window of this row, from the first one of the row before
            for at in range(size):
                start[levels[row - 1 + radius - reach[at], at]] -= 1
                start[levels[row + radius + reach[at], at]] += 1
        counts[:] = 0
        come_even[:] = start
        for at in range(size):
            lefts[at] = (row + at) * stride + radius - reach[at]
            rights[at] = (row + at) * stride + radius + reach[at] + 1
        rank, below = 0, 0
        for column in range(width):
            inside = area - (
                come_even[n_levels] + come_odd[n_levels] - gone_even[n_levels] - gone_odd[n_levels]
            )
            while True:
                here = come_even[rank] + come_odd[rank] - gone_even[rank] - gone_odd[rank]
                if 2 * (below + here) > inside:
                    break
                below += here
                rank += 1
            while 2 * below > inside:
                rank -= 1
                below -= come_even[rank] + come_odd[rank] - gone_even[rank] - gone_odd[rank]
            out[row, column] = rank
            for at in range(0, size - 1, 2):
                gone, come = flat[lefts[at] + column], flat[rights[at] + column]
                gone_even[gone] += 1
                come_even[come] += 1
                below += np.int64(come < rank) - np.int64(gone < rank)
                gone, come = flat[lefts[at + 1] + column], flat[rights[at + 1] + column]
                gone_odd[gone] += 1
                come_odd[come] += 1
                below += np.int64(come < rank) - np.int64(gone < rank)
            gone, come = flat[lefts[size - 1] + column], flat[rights[size - 1] + column]
            gone_even[gone] += 1
            come_even[come] += 1
            below += np.int64(come < rank) - np.int64(gone < rank)
