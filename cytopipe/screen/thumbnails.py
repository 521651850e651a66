"""Small pictures of images, labels and tables of a screen, as PNG: to see whether a stage worked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytopipe.errors import InputError

__all__ = ["composite", "crop_of_spots", "density", "outlined", "png"]

_SIDE_PX = 320
_LARGEST_BYTES = 100_000
_COLOURS = np.array(
    [(90, 120, 255), (80, 255, 90), (255, 70, 70), (255, 230, 60), (80, 240, 255), (255, 90, 255)], np.float32
)


def png(rgb: np.ndarray, most_bytes: int | None = _LARGEST_BYTES) -> bytes:
    """An RGB picture as PNG of at most 100 kB: made smaller until it fits.

    Parameters
    ----------
    rgb : (Y, X, 3) uint8
    most_bytes : int, optional
        None: it is written as it is.
    """
    import cv2

    while True:
        done, data = cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
        if not done:
            raise InputError("a picture cannot be written", found=str(rgb.shape))
        if most_bytes is None or data.nbytes <= most_bytes or min(rgb.shape[:2]) < 16:
            return data.tobytes()
        scale = 0.95 * np.sqrt(most_bytes / data.nbytes)
        rgb = _resized(rgb, max(8, int(max(rgb.shape[:2]) * scale)))


def composite(image: np.ndarray) -> np.ndarray:
    """Channels over each other, each in a colour, from its 1st to its 99.8th percentile.

    Parameters
    ----------
    image : (C, Y, X) or (Y, X) numbers
        The first channel is blue; a single one is grey.

    Returns
    -------
    (Y, X, 3) uint8, at most 320 px on a side.
    """
    planes = image[None] if image.ndim == 2 else image
    grey = [_stretched(_resized(np.asarray(plane, np.float32), _SIDE_PX)) for plane in planes]
    colours = _COLOURS if len(grey) > 1 else np.full((1, 3), 255, np.float32)
    mixed = sum(plane[..., None] * colours[k % len(colours)] for k, plane in enumerate(grey))
    return np.clip(mixed, 0, 255).astype(np.uint8)


def crop_of_spots(image: np.ndarray) -> np.ndarray:
    """The middle of an image at full size, where single spots can be seen; as :func:`composite`."""
    height, width = image.shape[-2:]
    side = min(height, width, _SIDE_PX // 2)
    top, left = (height - side) // 2, (width - side) // 2
    rgb = composite(image[..., top : top + side, left : left + side])
    return rgb.repeat(2, axis=0).repeat(2, axis=1)


def outlined(
    image: np.ndarray, labels: Sequence[np.ndarray], most_px: int | None = 2 * _SIDE_PX
) -> np.ndarray:
    """A plane in grey with the outlines of labels on it: the first in yellow, the second in magenta.

    Parameters
    ----------
    image : (Y, X) numbers
    labels : sequence of (Y, X) integers
    most_px : int, optional
        Of the longer side; a larger image is made smaller. None: it keeps its size.

    Returns
    -------
    (Y, X, 3) uint8
    """
    scale = 1.0 if most_px is None else min(1.0, most_px / max(image.shape))
    shape = tuple(max(1, round(n * scale)) for n in image.shape)
    rows, columns = (
        np.minimum((np.arange(n) / scale).astype(int), of - 1)
        for n, of in zip(shape, image.shape, strict=True)
    )
    rgb = np.repeat((255 * _stretched(np.asarray(image, np.float32)))[rows][:, columns, None], 3, axis=2)
    for one, colour in zip(labels, ((255, 220, 0), (255, 0, 200)), strict=False):
        small = np.asarray(one)[rows][:, columns]
        edge = np.zeros(shape, bool)
        edge[1:] |= small[1:] != small[:-1]
        edge[:, 1:] |= small[:, 1:] != small[:, :-1]
        rgb[edge] = colour
    return rgb.astype(np.uint8)


def density(i: np.ndarray, j: np.ndarray, weights: np.ndarray | None = None, bins: int = 64) -> np.ndarray:
    """How many things lie where in a tile or a well: bright where there are many.

    Parameters
    ----------
    i, j : (N,) float
        Rows and columns.
    weights : (N,) float, optional
        Mean of these instead of a number.

    Returns
    -------
    (Y, X, 3) uint8
    """
    if not len(i):
        return np.zeros((bins, bins, 3), np.uint8)
    ends = [(float(np.min(one)), float(np.max(one)) + 1) for one in (i, j)]
    counts = np.histogram2d(i, j, bins, ends)[0]
    if weights is not None:
        counts = np.histogram2d(i, j, bins, ends, weights=weights)[0] / np.maximum(counts, 1)
    grey = counts / max(counts.max(), 1e-12)
    rgb = np.stack([grey**0.5, grey, grey**3], axis=-1) * 255
    return rgb.astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    import cv2

    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _stretched(plane: np.ndarray) -> np.ndarray:
    low, high = np.percentile(plane, (1, 99.8))
    return np.clip((plane - low) / max(high - low, 1e-12), 0, 1)
