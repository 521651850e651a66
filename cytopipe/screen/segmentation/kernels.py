"""Passes over the pixels of images and labels: the mean over a disk, which labels there are, cytoplasm."""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["disk_mean", "mark_present", "write_cytoplasm"]


@numba.njit(cache=True)
def _sums(image, half, out):  # pragma: no cover - compiled
    """Sum over the disk, whose row at distance d reaches `half[d]` px to each side, and its size."""
    height, width = image.shape
    radius = half.shape[0] - 1
    # prefix[y, x + radius + 1] = sum of the first x + 1 pixels of a row, constant beyond its ends
    prefix = np.zeros((height, width + 2 * radius + 1), dtype=np.int32)
    for y in range(height):
        total = np.int32(0)
        for x in range(width):
            total += np.int32(image[y, x])
            prefix[y, x + radius + 1] = total
        for x in range(width, width + radius):
            prefix[y, x + radius + 1] = total
    reach = np.empty((radius + 1, width), dtype=np.int32)
    for d in range(radius + 1):
        for x in range(width):
            reach[d, x] = min(x + half[d], width - 1) - max(x - half[d], 0) + 1
    sums = np.empty(width, dtype=np.int32)
    sizes = np.empty(width, dtype=np.int32)
    for y in range(height):
        sums[:] = 0
        sizes[:] = 0
        for dy in range(max(-radius, -y), min(radius, height - 1 - y) + 1):
            d = abs(dy)
            h = half[d]
            row = prefix[y + dy]
            for x in range(width):
                sums[x] += row[x + radius + h + 1] - row[x + radius - h]
            for x in range(width):
                sizes[x] += reach[d, x]
        for x in range(width):
            out[y, x] = sums[x] // sizes[x]


@numba.njit(cache=True)
def mark_present(labels, found):  # pragma: no cover - compiled
    """Set `found[label]` for every label of a YX image."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            found[labels[y, x]] = True


@numba.njit(cache=True)
def write_cytoplasm(nuclei, cells, of_cells, out):  # pragma: no cover - compiled
    """Write a cell's label where no nucleus hides it: one with a label of a cell, not below the cell's."""
    for y in range(cells.shape[0]):
        for x in range(cells.shape[1]):
            nucleus, cell = np.int64(nuclei[y, x]), np.int64(cells[y, x])
            hidden = nucleus > 0 and nucleus >= cell and nucleus < of_cells.shape[0] and of_cells[nucleus]
            out[y, x] = 0 if hidden else cell


def disk_mean(image: np.ndarray, radius: int) -> np.ndarray:
    """Mean over a disk around every pixel, rounded down, over what of the disk lies in the image.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 YX.
    radius : int
        In px; the disk holds pixels at most this far away.

    Returns
    -------
    numpy.ndarray
        uint8 YX; equals ``skimage.filters.rank.mean(image, disk(radius))``.
    """
    distance = np.arange(radius + 1)
    half = np.sqrt((radius**2 - distance**2).astype(float)).astype(np.int64)
    out = np.empty(image.shape, dtype=np.uint8)
    _sums(np.ascontiguousarray(image), half, out)
    return out
