"""Where two pictures of the same thing lie on each other: shifts of whole images and of small windows.

A shift d means ``moving[x + d]`` shows what ``target[x]`` shows; rows first, then columns, in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shift", "bandpass", "overlap", "shift_between", "window_shifts"]


@dataclass(frozen=True)
class Shift:
    """A shift in pixels, and how alike is what overlaps there.

    Parameters
    ----------
    rows, cols : float
    score : float
        Zero-mean normalised correlation, -1 to 1.
    significance : float
        The score in units of its standard deviation between images that show nothing in common. The best of
        a million shifts of such images is at about 5.
    """

    rows: float
    cols: float
    score: float
    significance: float

    @property
    def pixels(self) -> NDArray[np.float64]:
        return np.array([self.rows, self.cols])


def bandpass(plane: NDArray, fine_px: float, coarse_px: float) -> NDArray[np.float32]:
    """Difference of two Gaussians, (Y, X) float32: what is between `fine_px` and `coarse_px` large."""
    import cv2

    image = np.ascontiguousarray(plane, np.float32)
    factor = min(int(coarse_px // 2), min(plane.shape) // 8)
    if factor > 1:  # a wide Gaussian is as smooth on a coarser grid
        small = cv2.resize(image, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), coarse_px / factor, borderType=cv2.BORDER_REFLECT)
        smooth = cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    else:
        smooth = cv2.GaussianBlur(image, (0, 0), coarse_px, borderType=cv2.BORDER_REFLECT)
    if fine_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), fine_px, borderType=cv2.BORDER_REFLECT)
    return image - smooth


def overlap(shape: tuple[int, int], other: tuple[int, int], rows: int, cols: int) -> tuple[slice, ...]:
    """Slices of a target and of a moving image that show the same, at a whole shift: two of each."""
    top, left = max(0, -rows), max(0, -cols)
    bottom, right = min(shape[0], other[0] - rows), min(shape[1], other[1] - cols)
    bottom, right = max(top, bottom), max(left, right)
    return (
        slice(top, bottom),
        slice(left, right),
        slice(top + rows, bottom + rows),
        slice(left + cols, right + cols),
    )


def _scored(target: NDArray, moving: NDArray) -> tuple[float, float]:
    """Zero-mean normalised correlation of two arrays of one shape, and the pixels that it rests on.

    The pixels of an image that is dark but for a few objects are not all evidence: counted are three times
    (sum of squares)^2 / (sum of fourth powers), which is all of them for normal values.
    """
    a = target.astype(np.float64).ravel()
    b = moving.astype(np.float64).ravel()
    a -= a.mean()
    b -= b.mean()
    # einsum sums in one thread and one order; BLAS does not for long vectors.
    aa, bb = np.einsum("i,i", a, a), np.einsum("i,i", b, b)
    if not aa * bb > 0:
        return 0.0, 0.0
    n_px = min(3 * power**2 / np.einsum("i,i,i,i", one, one, one, one) for power, one in ((aa, a), (bb, b)))
    return float(np.einsum("i,i", a, b) / np.sqrt(aa * bb)), float(min(n_px, a.size))


def shift_between(
    target: NDArray[np.float32],
    moving: NDArray[np.float32],
    *,
    smooth_px: float = 1.0,
    n_peaks: int = 5,
    min_overlap: float = 0.1,
    expected: Iterable[float] | None = None,
    reach_px: float | None = None,
    min_pixels: int = 256,
) -> Shift:
    """The whole shift between two images, by phase correlation.

    The correlation of a Fourier transform wraps around, and its highest peak is not always the true one: each
    of the `n_peaks` highest, at each of its four wrap-arounds, is scored by the zero-mean normalised
    correlation of what overlaps, and the most significant is taken.

    Parameters
    ----------
    target, moving : (Y, X) float32
        Of mean 0, best after `bandpass`.
    smooth_px : float
        Sigma of a Gaussian on the correlation: rotation and scale spread its peak.
    min_overlap : float
        The least part of the smaller image that has to overlap.
    expected, reach_px : optional
        Only shifts whose rows and columns are both within `reach_px` of `expected`.
    min_pixels : int
        The least number of pixels that have to overlap.

    Returns
    -------
    Shift
        Of score 0 where nothing overlaps enough or an image is flat. Whole pixels.
    """
    from scipy import fft

    shape = tuple(
        fft.next_fast_len(max(n, m), real=True) for n, m in zip(target.shape, moving.shape, strict=True)
    )
    one, other = fft.rfft2(target, shape), fft.rfft2(moving, shape)
    cross = np.conj(one) * other
    size = np.abs(cross)
    if not size.max() > 0:
        return Shift(0.0, 0.0, 0.0, 0.0)
    # The sum of the product of both autocorrelations: pixels that count as one (Bartlett's formula).
    powers = [np.square(np.abs(image), dtype=np.float64) for image in (one, other)]
    alike_px = 2 * cross.size * float(np.einsum("ij,ij", *powers)) / float(powers[0].sum() * powers[1].sum())
    cross /= size + 1e-3 * size.mean()
    rows, cols = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    cross *= np.exp(-2 * (np.pi * smooth_px) ** 2 * (rows[:, None] ** 2 + cols**2)).astype(np.float32)
    surface = fft.irfft2(cross, shape)
    centre = None if expected is None else np.asarray(tuple(expected), float)
    if centre is not None and reach_px is not None:
        surface = np.where(_near(shape, centre, reach_px), surface, -np.inf)
    least = max(min_pixels, min_overlap * min(target.size, moving.size))
    best = Shift(0.0, 0.0, 0.0, 0.0)
    for row, col in _peaks(surface, n_peaks):
        for dy in (row, row - shape[0]):
            for dx in (col, col - shape[1]):
                far = centre is not None and reach_px is not None
                if far and max(abs(dy - centre[0]), abs(dx - centre[1])) > reach_px:
                    continue
                a, b, c, d = overlap(target.shape, moving.shape, dy, dx)
                if (a.stop - a.start) * (b.stop - b.start) < least:
                    continue
                score, n_px = _scored(target[a, b], moving[c, d])
                free = max(n_px / max(alike_px, 1.0) - 3, 0.0)
                significance = float(np.arctanh(min(score, 0.9999)) * np.sqrt(free))  # Fisher's z
                if significance > best.significance:
                    best = Shift(float(dy), float(dx), score, significance)
    return best


def _near(shape: tuple[int, int], centre: NDArray, reach_px: float) -> NDArray[np.bool_]:
    """Where of a wrapped correlation the shifts near a centre are."""
    near = []
    for n, middle in zip(shape, centre, strict=True):
        away = np.abs(np.arange(n) - middle) % n
        near.append(np.minimum(away, n - away) <= reach_px)
    return near[0][:, None] & near[1][None, :]


def _peaks(surface: NDArray, n: int, apart: int = 2) -> list[tuple[int, int]]:
    """The n highest places, no two of them within `apart` px."""
    import cv2

    highest = cv2.dilate(surface.astype(np.float32), np.ones((2 * apart + 1, 2 * apart + 1), np.uint8))
    at = np.flatnonzero((surface.astype(np.float32) == highest) & np.isfinite(surface))
    at = at[np.argsort(-surface.ravel()[at], kind="stable")[:n]]
    return [(int(k) // surface.shape[1], int(k) % surface.shape[1]) for k in at]


def window_shifts(
    target: NDArray[np.float32],
    moving: NDArray[np.float32],
    centres: NDArray,
    starts: NDArray,
    half_px: int,
    reach_px: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shifts of small windows, by the peak of their zero-mean normalised correlation, to parts of a pixel.

    Parameters
    ----------
    target, moving : (Y, X) float32
    centres : (n, 2) int
        Middles of the windows in the target.
    starts : (n, 2) float
        Where to look: the shift expected of each window.
    half_px, reach_px : int
        Half the side of a window; how far from `starts` is searched.

    Returns
    -------
    shifts : (n, 2) float64
        NaN where a window leaves an image, is flat, or is best at the edge of what was searched.
    scores : (n,) float64
        Correlation at the peak; 0 where there is none.
    """
    import cv2

    shifts = np.full((len(centres), 2), np.nan)
    scores = np.zeros(len(centres))
    for n, (centre, start) in enumerate(zip(np.asarray(centres), np.rint(starts).astype(int), strict=True)):
        top, left = centre - half_px
        window = target[max(top, 0) : top + 2 * half_px, max(left, 0) : left + 2 * half_px]
        row, col = max(top, 0) + start[0] - reach_px, max(left, 0) + start[1] - reach_px
        bottom, right = row + window.shape[0] + 2 * reach_px, col + window.shape[1] + 2 * reach_px
        if row < 0 or col < 0 or bottom > moving.shape[0] or right > moving.shape[1]:
            # The window is made smaller until all that is searched lies inside.
            cut = (
                max(-row, 0),
                max(-col, 0),
                max(bottom - moving.shape[0], 0),
                max(right - moving.shape[1], 0),
            )
            window = window[cut[0] : window.shape[0] - cut[2], cut[1] : window.shape[1] - cut[3]]
            row, col = row + cut[0], col + cut[1]
        if min(window.shape) < max(half_px, 8) or window.std() == 0:
            continue
        around = moving[
            row : row + window.shape[0] + 2 * reach_px, col : col + window.shape[1] + 2 * reach_px
        ]
        if min(around.shape) <= 2 * reach_px or around.std() == 0:
            continue
        scored = cv2.matchTemplate(
            np.ascontiguousarray(around), np.ascontiguousarray(window), cv2.TM_CCOEFF_NORMED
        )
        peak = np.unravel_index(int(np.argmax(scored)), scored.shape)
        if not all(0 < k < n - 1 for k, n in zip(peak, scored.shape, strict=True)):
            continue
        shifts[n] = start - reach_px + np.array(peak) + _summit(scored, *peak)
        scores[n] = scored[peak]
    return shifts, scores


def _summit(surface: NDArray, row: int, col: int) -> NDArray[np.float64]:
    """Where the paraboloid through the 3 x 3 values around a peak is highest, from the peak, within 1 px."""
    z = surface[row - 1 : row + 2, col - 1 : col + 2].astype(np.float64)
    gy, gx = (z[2, 1] - z[0, 1]) / 2, (z[1, 2] - z[1, 0]) / 2
    yy, xx = z[2, 1] - 2 * z[1, 1] + z[0, 1], z[1, 2] - 2 * z[1, 1] + z[1, 0]
    xy = (z[2, 2] - z[2, 0] - z[0, 2] + z[0, 0]) / 4
    determinant = yy * xx - xy * xy
    if not determinant > 1e-12:
        return np.zeros(2)
    return np.clip(-np.array([xx * gy - xy * gx, yy * gx - xy * gy]) / determinant, -1, 1)
