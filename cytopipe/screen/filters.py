"""From aligned cycles to spots: Laplacian of Gaussian, deviation over cycles, peaks, maximum around a pixel.

Bit for bit what the reference makes with SciPy and NumPy, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytopipe.errors import InputError, ParameterError

__all__ = ["compute_standard_deviation", "find_peaks", "log_filter", "max_filter"]

_CV2_DTYPES = (np.uint8, np.uint16, np.int16, np.float32, np.float64)


def log_filter(
    aligned: np.ndarray, sigma: float = 1, skip_index: int | Sequence[int] | None = None
) -> np.ndarray:
    """Minus the Laplacian of a Gaussian of each frame: spots bright, background 0.

    Parameters
    ----------
    aligned : (..., Y, X) of an unsigned integer or real type
        Such as TCYX.
    sigma : float
        Width of the Gaussian in px; it is cut off at 4 sigma, and frames are reflected at their edges.
    skip_index : int or sequence of int, optional
        Channels (third axis from the end) that are kept raw.

    Returns
    -------
    (..., Y, X) uint16
        Clipped to 0..65535, rounded half to even.
    """
    from scipy import ndimage

    from cytopipe.screen.kernels import laplace_of_gaussian

    frames = _frames(aligned, 2)
    if not sigma > 0:
        raise ParameterError("sigma of the Laplacian of Gaussian", expected="above 0 px", found=repr(sigma))
    radius = int(4.0 * float(sigma) + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    # Where SciPy filters an impulse, its weights come out, exactly as it rounds them.
    kernels = [
        ndimage.gaussian_filter1d(impulse, sigma, order=order, mode="constant")[radius:] for order in (0, 2)
    ]
    height, width = frames.shape[-2:]
    rows, columns = (np.pad(np.arange(n), radius, mode="symmetric") for n in (height, width))
    out = np.empty(frames.shape, np.uint16)
    skipped = _channels(frames, skip_index)
    for index in np.ndindex(frames.shape[:-2]):
        if index and index[-1] in skipped:
            out[index] = frames[index]
        else:
            laplace_of_gaussian(np.ascontiguousarray(frames[index]), *kernels, rows, columns, out[index])
    return out


def compute_standard_deviation(
    data: np.ndarray, remove_index: int | Sequence[int] | None = None
) -> np.ndarray:
    """How much each pixel changes over cycles.

    Parameters
    ----------
    data : (T, C, Y, X), or (C, Y, X) of a single cycle
    remove_index : int or sequence of int, optional
        Channels that do not take part, such as DAPI.

    Returns
    -------
    (Y, X) float64
        Mean over channels of the standard deviation over cycles (ddof 0); of a single cycle, the standard
        deviation over channels.
    """
    from cytopipe.screen.kernels import deviation

    frames = _without(_frames(data, 3, 4), remove_index)
    if frames.ndim == 3:
        frames = frames[:, None]
    out = np.empty(frames.shape[-2:])
    deviation(frames, out)
    return out


def find_peaks(data: np.ndarray, width: int = 5) -> np.ndarray:
    """Local maxima, and by how much each stands out.

    Parameters
    ----------
    data : (..., Y, X)
    width : int
        Of the square window in px.

    Returns
    -------
    same shape and dtype
        Maximum minus minimum of the window where the pixel is the maximum of its window, elsewhere 0; 0 too
        within `width` px of an edge.
    """
    frames, width = _frames(data, 2), _width(width)
    out = np.zeros_like(frames)
    inside = np.s_[width:-width, width:-width]
    for index in np.ndindex(frames.shape[:-2]):
        frame = frames[index]
        highest = _extreme(frame, width, "dilate")
        out[index][inside] = np.where(frame == highest, highest - _extreme(frame, width, "erode"), 0)[inside]
    return out


def max_filter(
    data: np.ndarray, width: int = 3, remove_index: int | Sequence[int] | None = None
) -> np.ndarray:
    """The maximum around each pixel, so that a spot that is off by a pixel keeps its value.

    Parameters
    ----------
    data : (T, C, Y, X), (C, Y, X) or (Y, X)
    width : int
        Of the square window in px.
    remove_index : int or sequence of int, optional
        Channels that are left out, such as DAPI.

    Returns
    -------
    (T, C, Y, X) of the same dtype
    """
    frames, width = _frames(data, 2, 4), _width(width)
    frames = _without(frames.reshape((1,) * (4 - frames.ndim) + frames.shape), remove_index)
    out = np.empty(frames.shape, frames.dtype)
    for index in np.ndindex(frames.shape[:2]):
        out[index] = _extreme(frames[index], width, "dilate")
    return out


def _extreme(frame: np.ndarray, width: int, what: str) -> np.ndarray:
    """Maximum or minimum of a square window; a mirrored edge adds nothing to a window that holds it."""
    if width == 1:
        return frame
    if frame.dtype in _CV2_DTYPES:
        import cv2

        # The window of an even width begins width // 2 pixels before its pixel, as SciPy's.
        anchor = (width // 2, width // 2)
        return getattr(cv2, what)(
            np.ascontiguousarray(frame), np.ones((width, width), np.uint8), anchor=anchor
        )
    from scipy import ndimage

    return {"dilate": ndimage.maximum_filter, "erode": ndimage.minimum_filter}[what](frame, size=width)


def _frames(data: np.ndarray, least: int, most: int | None = None) -> np.ndarray:
    frames = np.asarray(data)
    usable = frames.dtype.kind in "uif" and frames.dtype.itemsize <= 8 and frames.dtype != np.float16
    if not least <= frames.ndim <= (most or frames.ndim) or not frames.size or not usable:
        raise InputError(
            "the frames cannot be filtered",
            expected=f"numbers with at least {least} axes" + (f", at most {most}" if most else ""),
            found=f"{frames.dtype} of shape {frames.shape}",
        )
    return frames.astype(frames.dtype.newbyteorder("="), copy=False)  # kernels take the machine's order


def _width(width: int) -> int:
    if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
        raise ParameterError("width of a window", expected="a whole number of px from 1", found=repr(width))
    return int(width)


def _channels(frames: np.ndarray, index: int | Sequence[int] | None) -> set[int]:
    """Channels named by number, also from the end, as numbers from 0."""
    if index is None:
        return set()
    n = frames.shape[-3] if frames.ndim > 2 else 0
    given = [index] if isinstance(index, int | np.integer) else list(index)
    if wrong := [one for one in given if not -n <= one < n]:
        raise ParameterError(
            "a channel that is to be left out does not exist",
            expected=f"a number from 0 to {n - 1}" if n else "none: the image has no channels",
            found=", ".join(map(str, wrong)),
        )
    return {one % n for one in given}


def _without(frames: np.ndarray, index: int | Sequence[int] | None) -> np.ndarray:
    left_out = _channels(frames, index)
    if not left_out:
        return frames
    kept = [one for one in range(frames.shape[-3]) if one not in left_out]
    if not kept:
        raise ParameterError("every channel is left out", expected="at least one that is kept")
    if kept == list(range(kept[0], kept[-1] + 1)):
        return frames[..., kept[0] : kept[-1] + 1, :, :]  # a view
    return frames[..., kept, :, :]
