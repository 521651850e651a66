"""How objects lie to each other: who touches whom, how much of the rim, and the two nearest centres."""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.screen.features.objects import Objects
from cytopipe.screen.features.shape import centroids

__all__ = ["nearest", "touching"]


def touching(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Objects that share a side, and the share of the rim with another object among its eight neighbours.

    Returns
    -------
    number : ndarray of int64, shape (K,)
    share : ndarray of float64, shape (K,)
        Of the rim's pixels: those with background, another object or the image's end beside them.
    """
    n = len(objects)
    rim, touched = np.zeros(n, np.int64), np.zeros(n, np.int64)
    pairs = np.empty(4 * len(objects.rows), np.int64)
    n_pairs = _touching(objects.index, n, rim, touched, pairs)
    owners = np.unique(pairs[:n_pairs]) // max(n, 1)
    return np.bincount(owners, minlength=n)[:n], touched / rim


def nearest(objects: Objects) -> np.ndarray:
    """Distance of the two nearest centres in pixels, and the angle between them in degrees; (K, 3) float64.

    NaN where there is no such object, or where two centres are the same point and have no angle.
    """
    from scipy.spatial import KDTree

    at, n = centroids(objects), len(objects)
    found = np.full((n, 3), np.nan)
    if n < 2:
        return found
    distances, others = KDTree(at).query(at, min(3, n))
    is_other = others != np.arange(n)[:, None]
    # the object itself is one of the three, if centres do not coincide; it goes last, the order stays
    order = np.argsort(~is_other, axis=1, kind="stable")[:, : min(2, n - 1)]
    found[:, : order.shape[1]] = np.take_along_axis(distances, order, axis=1)
    if n > 2:
        first, second = (at[one] - at for one in np.take_along_axis(others, order, axis=1).T)
        with np.errstate(invalid="ignore"):
            cosine = (first * second).sum(axis=1) / (found[:, 0] * found[:, 1])
        found[:, 2] = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return found


@numba.njit(cache=True, error_model="numpy")
def _touching(index, n, rim, touched, pairs):
    height, width = index.shape
    n_pairs = 0
    for r in range(height):
        for c in range(width):
            own = index[r, c]
            if own == 0:
                continue
            at_rim = touches = False
            for dr in range(-1, 2):
                for dc in range(-1, 2):
                    if not (0 <= r + dr < height and 0 <= c + dc < width):
                        at_rim = True
                        continue
                    other = index[r + dr, c + dc]
                    if other == own:
                        continue
                    at_rim = True
                    if other:
                        touches = True
                        if dr == 0 or dc == 0:
                            pairs[n_pairs] = (own - 1) * np.int64(n) + other - 1
                            n_pairs += 1
            rim[own - 1] += at_rim
            touched[own - 1] += touches
    return n_pairs
