"""The objects of a label image: their numbers, boxes and pixels, found once for all measurements."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from cytopipe.errors import InputError

__all__ = ["Objects", "objects_in", "values_of"]


@dataclass(frozen=True, eq=False)
class Objects:
    """The labels of an image and where they lie.

    Parameters
    ----------
    labels : ndarray of int64, shape (K,)
        Labels that occur, ascending; gaps are allowed.
    rows, cols : ndarray of int32, shape (N,)
        Pixels of all objects, object after object, each in raster order.
    start : ndarray of int64, shape (K + 1,)
        Pixels of object k are ``start[k]:start[k + 1]``.
    bounds : ndarray of int64, shape (K, 4)
        First row and column, last row and column plus one.
    index : ndarray of int32, YX
        k + 1 where object k lies, 0 elsewhere.
    """

    labels: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    start: np.ndarray
    bounds: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def area(self) -> np.ndarray:
        """Pixels per object, int64."""
        return np.diff(self.start)

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """What kernels take: rows, cols, start, bounds."""
        return self.rows, self.cols, self.start, self.bounds


def objects_in(labels: np.ndarray, name: str = "labels") -> Objects:
    """The objects of a label image.

    Parameters
    ----------
    labels : ndarray of integers, YX
        0 is background.
    name : str
        What the image is called in an error.

    Raises
    ------
    InputError
        The image is not two-dimensional, not of integers, or has a negative label.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name} is not a label image",
            expected="integers, YX, 0 for background",
            found=f"{labels.dtype} of shape {labels.shape}",
        )
    largest = int(labels.max(initial=0))
    if int(labels.min(initial=0)) < 0:
        raise InputError(f"{name} has a negative label", expected="0 for background", found=str(labels.min()))
    if largest <= 4 * labels.size:
        present = np.bincount(labels.ravel().astype(np.intp, copy=False), minlength=1) > 0
        present[0] = False
        found = np.flatnonzero(present)
        number = np.zeros(len(present), np.int32)
        number[found] = np.arange(1, len(found) + 1)
        index = number[labels]
    else:  # a table by label would not fit
        found, index = np.unique(labels, return_inverse=True)
        has_background = found[0] == 0
        index = (index.reshape(labels.shape) + (0 if has_background else 1)).astype(np.int32)
        found = found[1:] if has_background else found
    counts = np.bincount(index.ravel(), minlength=len(found) + 1)[1:]
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows, cols = np.empty(start[-1], np.int32), np.empty(start[-1], np.int32)
    bounds = np.empty((len(found), 4), np.int64)
    _collect(index, start, rows, cols, bounds)
    return Objects(found.astype(np.int64), rows, cols, start, bounds, index)


def values_of(objects: Objects, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of all pixels of all objects, in the order of `Objects.rows`, and sorted within each object.

    Parameters
    ----------
    objects : Objects
    image : ndarray of uint8 or uint16, CYX

    Returns
    -------
    values, ordered : ndarray of uint16, shape (C, N)
    """
    flat = objects.rows.astype(np.int64) * image.shape[2] + objects.cols
    values = np.stack([plane.ravel().take(flat) for plane in image]).astype(np.uint16, copy=False)
    ordered = values.copy()
    for plane in ordered:
        for first, last in pairwise(objects.start):  # NumPy's sort of 16 bits is faster than one in a kernel
            plane[first:last].sort()
    return values, ordered


@numba.njit(cache=True, error_model="numpy")
def _collect(index, start, rows, cols, bounds):
    height, width = index.shape
    place = start[:-1].copy()
    for k in range(len(bounds)):
        bounds[k, 0], bounds[k, 1], bounds[k, 2], bounds[k, 3] = height, width, 0, 0
    for r in range(height):
        for c in range(width):
            k = index[r, c] - 1
            if k < 0:
                continue
            rows[place[k]], cols[place[k]] = r, c
            place[k] += 1
            bounds[k, 0], bounds[k, 2] = min(bounds[k, 0], r), max(bounds[k, 2], r + 1)
            bounds[k, 1], bounds[k, 3] = min(bounds[k, 1], c), max(bounds[k, 3], c + 1)
