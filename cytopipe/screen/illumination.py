"""Uneven light: the field is measured on many tiles and divided out of each; a rolling ball takes the rest.

Cells are anywhere, light is not: the mean of many tiles, smoothed by a median, is the light that each pixel
gets. Source: Singh et al. (2014), J Microscopy 256:231, as CellProfiler's CorrectIllumination modules.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np

from cytopipe.errors import Finding, InputError, ParameterError

__all__ = [
    "apply_ic_field",
    "calculate_ic_field",
    "combine_ic_images",
    "n_sampled",
    "rank_median",
    "subtract_background",
]

#: Larger balls roll over a coarser image, with their outer part cut off: (radius up to, coarser by, cut off).
_BALLS = ((10, 1, 0.12), (30, 2, 0.12), (100, 4, 0.16), (math.inf, 8, 0.20))


def calculate_ic_field(
    tiles: Sequence[np.ndarray | Callable[[], np.ndarray]],
    smooth: int | None = None,
    rescale: bool = True,
    sample_fraction: float = 1.0,
    seed: int = 0,
    fewest_tiles: int = 1,
) -> np.ndarray:
    """The light that each pixel gets, relative to the darkest part of the image.

    Parameters
    ----------
    tiles : sequence of (..., Y, X) uint8 or uint16, or of functions that read one
        Tiles of one cycle of a well. Functions are called one after the other, so that one tile is in memory.
    smooth : int, optional
        Radius in px of the disk of the median filter; by default that of a disk of a twentieth of the image.
    rescale : bool
        Divide by the 2nd percentile and raise what is below 1 to 1; else the smoothed mean is returned.
    sample_fraction : float
        Share of the tiles that is used, at least one.
    seed : int
        Decides which: the same seed, the same tiles.
    fewest_tiles : int
        The mean of fewer tiles shows where their cells are: the field is 1 everywhere, then.

    Returns
    -------
    (..., Y, X) float64 (uint16 without `rescale`)

    Raises
    ------
    InputError
        No tile, or tiles of different shape or type.
    """
    if not 0 < sample_fraction <= 1:
        raise ParameterError("sample_fraction", expected="above 0, to 1", found=repr(sample_fraction))
    chosen = list(tiles)
    if not chosen:
        raise InputError("an illumination field without tiles", expected="at least one tile")
    if sample_fraction < 1:
        chosen = random.Random(seed).sample(chosen, n_sampled(len(chosen), sample_fraction))
    mean, facts = None, ()
    for number, tile in enumerate(chosen):
        pixels = np.asarray(tile() if callable(tile) else tile)
        if mean is None:
            facts = pixels.shape, pixels.dtype
            if pixels.ndim < 2 or not pixels.size or pixels.dtype not in (np.uint8, np.uint16):
                raise InputError("no tile", expected="(..., Y, X) uint8 or uint16", found=_told(facts))
            mean = pixels / len(chosen)
        elif (pixels.shape, pixels.dtype) != facts:
            raise InputError(
                "tiles of an illumination field differ",
                where=f"tile {number + 1} of {len(chosen)}",
                expected=_told(facts),
                found=_told((pixels.shape, pixels.dtype)),
            )
        else:
            mean += pixels / len(chosen)
    assert mean is not None
    if rescale and len(chosen) < fewest_tiles:
        return np.ones(mean.shape)
    smoothed = mean.astype(np.uint16)
    height, width = smoothed.shape[-2:]
    radius = smooth or int(np.sqrt(height * width / (np.pi * 20)))
    for index in np.ndindex(smoothed.shape[:-2]):
        smoothed[index] = rank_median(smoothed[index], radius)
    if not rescale:
        return smoothed
    field = np.empty(smoothed.shape)
    for index in np.ndindex(smoothed.shape[:-2]):
        dark = np.quantile(smoothed[index], 0.02)
        field[index] = np.maximum(smoothed[index] / (dark or 1), 1)
    return field


def n_sampled(n_tiles: int, sample_fraction: float) -> int:
    """How many of some tiles a field is measured on."""
    return max(1, int(n_tiles * sample_fraction))


def rank_median(image: np.ndarray, radius: int) -> np.ndarray:
    """Median in a disk around each pixel; near an edge, of the pixels that are in the image.

    Parameters
    ----------
    image : (Y, X) uint8 or uint16
    radius : int
        In px; the disk holds what is at most so far away.

    Returns
    -------
    (Y, X) of the same dtype
        The upper one of two medians, as ``skimage.filters.rank.median``.
    """
    from cytopipe.screen.kernels import median_of_disk

    values, ranks = np.unique(image, return_inverse=True)
    if radius < 1 or len(values) == 1:
        return image.copy()
    n = len(values)
    wide = np.uint16 if n < 1 << 16 else np.uint32
    length = image.shape[1] + 2 * radius + 1
    line = 64 // np.dtype(wide).itemsize
    length += (line - length % line) % line + (line if -(-length // line) % 2 == 0 else 0)
    # An odd number of cache lines: rows of the window do not compete for the same places of the cache.
    levels = np.full((image.shape[0] + 2 * radius, length), n, wide)
    levels[radius : radius + image.shape[0], radius : radius + image.shape[1]] = ranks.reshape(image.shape)
    aside = np.arange(-radius, radius + 1)
    reach = np.array([math.isqrt(radius**2 - int(one) ** 2) for one in aside])
    found = np.empty(image.shape, wide)
    median_of_disk(levels, reach, n, found)
    return values[found]


def apply_ic_field(
    data: np.ndarray,
    correction: np.ndarray | None = None,
    rolling_ball: bool = False,
    rolling_ball_radius: int = 100,
) -> np.ndarray:
    """Divide the light out of an image.

    Parameters
    ----------
    data : (..., Y, X) uint16
    correction : (..., Y, X) float64, optional
        As :func:`calculate_ic_field` returns it.
    rolling_ball : bool
        Subtract the background afterwards.
    rolling_ball_radius : int
        In px.

    Returns
    -------
    (..., Y, X) uint16
        Truncated.
    """
    from cytopipe.screen.kernels import divided

    if data.ndim < 2 or not data.size or data.dtype not in (np.uint8, np.uint16):
        raise InputError(
            "no image", expected="(..., Y, X) uint8 or uint16", found=_told((data.shape, data.dtype))
        )
    if correction is not None:
        if correction.shape != data.shape:
            raise InputError(
                "the illumination field has another shape than the image",
                expected=str(data.shape),
                found=str(correction.shape),
            )
        corrected = np.empty(data.shape, np.uint16)
        for index in np.ndindex(data.shape[:-2]):
            if not divided(data[index], correction[index], corrected[index]):
                raise InputError("the illumination field has values that nothing can be divided by")
        data = corrected
    return subtract_background(data, rolling_ball_radius) if rolling_ball else data


def subtract_background(
    image: np.ndarray, radius: int = 100, shrink_factor: int | None = None, smooth: float | None = None
) -> np.ndarray:
    """Subtract what a ball touches that rolls under the image (Sternberg 1983, Computer 16:22).

    Parameters
    ----------
    image : (..., Y, X) of an unsigned integer type
    radius : int
        Of the ball in px.
    shrink_factor : int, optional
        How much coarser the image is over which it rolls; by default 1 up to a radius of 10 px, 2 up to 30, 4
        up to 100, else 8, with the steep outer part of the ball cut off, as ImageJ does.
    smooth : float, optional
        Sigma in px of a Gaussian that smooths the background.

    Returns
    -------
    (..., Y, X) of the same dtype
    """
    from skimage import filters, restoration, transform

    ball = restoration.ball_kernel(radius, ndim=2)
    if shrink_factor is None:
        shrink_factor, cut = next((by, part) for most, by, part in _BALLS if radius <= most)
        edge = int(len(ball) * cut)
        ball = ball[edge : len(ball) - edge, edge : len(ball) - edge]
    coarse_ball = transform.rescale(ball, 1 / shrink_factor, preserve_range=True).astype(ball.dtype)
    out = np.empty_like(image)
    for index in np.ndindex(image.shape[:-2]):
        plane = image[index]
        coarse = transform.rescale(plane, 1 / shrink_factor, preserve_range=True).astype(plane.dtype)
        background = restoration.rolling_ball(coarse, kernel=coarse_ball)
        if smooth is not None:
            background = filters.gaussian(background, sigma=smooth / shrink_factor, preserve_range=True)
        whole = transform.resize(background, plane.shape, preserve_range=True).astype(plane.dtype)
        out[index] = plane - np.minimum(whole, plane)
    return out


def combine_ic_images(
    images: Sequence[np.ndarray], indices: Sequence[Sequence[int] | int | None]
) -> np.ndarray:
    """Further channels of one image, bases of another one: DAPI and bases from different cycles.

    Parameters
    ----------
    images : two (C, Y, X)
        The one with the further channels, the one with the bases; images or illumination fields.
    indices : two of sequence of int, int or None
        Channels of each, counted from 0. None for the first: all of them. None for the second: every channel
        that the first does not name; where the second image has fewer channels, its first ones.

    Returns
    -------
    (C, Y, X)
    """
    further, bases = images
    if further.shape[-2:] != bases.shape[-2:] or further.dtype != bases.dtype:
        raise InputError(
            "two images that are combined differ",
            expected=_told((further.shape[-2:], further.dtype)),
            found=_told((bases.shape[-2:], bases.dtype)),
        )
    first = list(range(len(further))) if indices[0] is None else np.atleast_1d(indices[0]).tolist()
    if indices[1] is None:
        second = [one for one in range(max(len(further), len(bases))) if one not in first]
        if second and max(second) >= len(bases):
            second = list(range(len(second)))
    else:
        second = np.atleast_1d(indices[1]).tolist()
    findings = [
        Finding(
            what=f"the {which} image has no such channel",
            expected=f"0 to {len(image) - 1}",
            found=", ".join(map(str, wrong)),
        )
        for which, image, wanted in (("first", further, first), ("second", bases, second))
        if (wrong := [one for one in wanted if not -len(image) <= one < len(image)])
    ]
    if findings:
        raise InputError(findings)
    return np.concatenate([further[first], bases[second]])


def _told(facts: tuple) -> str:
    return f"{facts[0]} {facts[1]}"
