"""Compiled loops of the renderers: channels to RGB, layers over them, outlines of labels.

Operations are those of the reference, in its order and in float32, so that pictures are equal to the last
bit; without fastmath, nothing is contracted or reordered. A row stays in the processor's first cache from the
first channel to the last layer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["boundary_labels", "composite", "grown", "grown_inside"]


@njit(cache=True, nogil=True, error_model="numpy")
def composite(image, low, scale, rgb, indices, first, palette, factor, top, out):
    """Channels added up in their colours, then layers blended over them.

    image : (C, Y, X) pixels of any type; low, scale : (C,) float32; rgb : (C, 3) float32
    indices : (L, Y, X) whole numbers, row of a layer's palette of each pixel
    first : (L,) row of the palette where that of a layer begins
    palette : (P, 5) float32, red, green, blue, opacity, and what is left to one: at opacity 0 the pixel stays
    as it is, at 1 it is replaced
    factor, out : the value in 0 to 1 times the factor is written to (3, rows, X), from row `top` on: 255 and
    uint8 (truncated, as the reference does), or 1 and float32; plane by plane, which the compiler does for
    many pixels at once
    """
    n_channels, _, n_columns = image.shape
    value = np.empty(n_columns, np.float32)
    sums = np.empty((3, n_columns), np.float32)
    zero, one = np.float32(0), np.float32(1)
    for row in range(top, top + out.shape[1]):
        sums[:] = zero
        for channel in range(n_channels):
            pixels, below, divisor = image[channel, row], low[channel], scale[channel]
            for at in range(n_columns):
                level = (np.float32(pixels[at]) - below) / divisor
                value[at] = min(max(level, zero), one)
            for part in range(3):
                weight = rgb[channel, part]
                if weight != zero:
                    line = sums[part]
                    for at in range(n_columns):
                        line[at] += value[at] * weight
        for part in range(3):
            line = sums[part]
            for at in range(n_columns):
                line[at] = min(line[at], one)
        for layer in range(indices.shape[0]):
            places, start = indices[layer, row], first[layer]
            is_clear = palette[start, 3] == zero  # the first row: most pixels of most layers
            for at in range(n_columns):
                place = places[at]
                if place == 0 and is_clear:
                    continue
                of = start + place
                opacity = palette[of, 3]
                if opacity >= one:
                    for part in range(3):
                        sums[part, at] = palette[of, part]
                elif opacity > zero:
                    rest = palette[of, 4]
                    for part in range(3):
                        sums[part, at] = rest * sums[part, at] + opacity * palette[of, part]
        for part in range(3):
            target, line = out[part, row - top], sums[part]
            for at in range(n_columns):
                target[at] = line[at] * factor


@njit(cache=True, nogil=True)
def boundary_labels(labels, out):
    """The label of each pixel that has a neighbour (of four) with another label; 0 elsewhere.

    Beyond the edge of the picture there is nothing to differ from: the edge alone makes no outline.
    """
    n_rows, n_columns = labels.shape
    for row in range(n_rows):
        here, above, below = labels[row], labels[max(row - 1, 0)], labels[min(row + 1, n_rows - 1)]
        target = out[row]
        for at in range(1, n_columns - 1):  # without the ends: the compiler does many pixels at once
            label = here[at]
            differs = (label != above[at]) | (label != below[at])
            differs |= (label != here[at - 1]) | (label != here[at + 1])
            target[at] = label if differs else 0
        for at in (0, n_columns - 1):
            label = here[at]
            differs = (label != above[at]) | (label != below[at])
            differs |= (label != here[max(at - 1, 0)]) | (label != here[min(at + 1, n_columns - 1)])
            target[at] = label if differs else 0


@njit(cache=True, nogil=True)
def grown(labels, out):
    """Labels spread to their four neighbours; the highest wins. A pixel of the edge is reached only from
    inside the picture, not along the edge, as in the reference."""
    for row in range(labels.shape[0]):
        for at in range(labels.shape[1]):
            out[row, at] = max(labels[row, at], _highest_around(labels, row, at, np.int32(0)))


@njit(cache=True, nogil=True)
def grown_inside(labels, cells, out):
    """The same, but no label leaves its cell: `cells` (Y, X) says whose a pixel is."""
    for row in range(labels.shape[0]):
        for at in range(labels.shape[1]):
            of = cells[row, at]
            reached = labels[row, at] == of or (of > 0 and _highest_around(labels, row, at, of) == of)
            out[row, at] = of if reached else 0


@njit(cache=True, nogil=True)
def _highest_around(labels, row, at, of):
    """The highest label that spreads to a pixel; with `of`, whether that one does."""
    n_rows, n_columns = labels.shape
    edge, side = row == 0 or row == n_rows - 1, at == 0 or at == n_columns - 1
    found = np.int32(0)
    if edge:
        if n_rows > 1:
            found = _higher(found, labels[1 if row == 0 else n_rows - 2, at], of)
    elif not side:
        found = _higher(_higher(found, labels[row - 1, at], of), labels[row + 1, at], of)
    if side:
        if n_columns > 1:
            found = _higher(found, labels[row, 1 if at == 0 else n_columns - 2], of)
    elif not edge:
        found = _higher(_higher(found, labels[row, at - 1], of), labels[row, at + 1], of)
    return found


@njit(cache=True, nogil=True)
def _higher(found, label, of):
    return max(found, label) if of == 0 or label == of else found
