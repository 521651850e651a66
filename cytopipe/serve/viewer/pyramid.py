"""One image with its levels, opened for viewing: an OME-Zarr image, one field of a plate, or a TIFF.

A TIFF has one level; coarser ones are taken from it by leaving out pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytopipe.errors import InputError
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_metadata import PALETTE
from cytopipe.storage.formats.ome_zarr import omero_windows, read_ome_zarr, read_plate_fields
from cytopipe.storage.formats.tiff import read_tiff

__all__ = ["TILE_PX", "Channel", "Pyramid", "fields_of", "open_pyramid"]

TILE_PX = 512
_MOST_LEVELS = 12
_WINDOW_PX = 512  # rows and columns of the sample from which a window is made, where the file has none


@dataclass(frozen=True)
class Channel:
    """How a channel is shown at first: name, colour (six hexadecimal digits), darkest and brightest value."""

    name: str
    color: str
    start: float
    end: float


@dataclass(frozen=True)
class Pyramid:
    """Levels of one image, the finest first.

    Parameters
    ----------
    name : str
    levels : tuple of Image
        OME-Zarr: the arrays of the store. TIFF: the same image again and again.
    steps : tuple of (int, int)
        For each level, every how many rows and columns of its array a pixel is taken; 1 but for TIFFs.
    channels : tuple of Channel
    """

    name: str
    levels: tuple[Image, ...]
    steps: tuple[int, ...]
    channels: tuple[Channel, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the finest level, pixels."""
        return self.levels[0].shape[-2:]

    def shape_of(self, level: int) -> tuple[int, int]:
        """Height and width of a level, pixels."""
        step = self.steps[level]
        return tuple(math.ceil(n / step) for n in self.levels[level].shape[-2:])

    def plane(self, level: int, where: Mapping[str, int], top: int, left: int) -> np.ndarray:
        """At most `TILE_PX` rows and columns of one plane, from row `top` and column `left` of a level."""
        return _piece(self.levels[level], where, top, left, self.steps[level])

    def labels(self, name: str, level: int, where: Mapping[str, int], top: int, left: int) -> np.ndarray:
        """The same piece of a label image."""
        return _piece(self.levels[level].labels[name], where, top, left, self.steps[level])


def _piece(image: Image, where: Mapping[str, int], top: int, left: int, step: int) -> np.ndarray:
    index = tuple(
        min(where.get(axis, 0), n - 1) for axis, n in zip(image.axes[:-2], image.shape, strict=False)
    )
    rows = slice(top * step, (top + TILE_PX) * step)
    columns = slice(left * step, (left + TILE_PX) * step)
    return np.asarray(image.pixels[(*index, rows, columns)])[::step, ::step]


def fields_of(path: Path) -> list[str]:
    """``row/column/field`` of each field, where `path` is a plate; empty where it is an image."""
    if not path.is_dir():
        return []
    try:
        return read_plate_fields(path)
    except InputError:
        return []


def open_pyramid(path: Path) -> Pyramid:
    """Open an image.

    Raises
    ------
    CytopipeError
        It cannot be read.
    """
    if path.is_dir():
        finest = read_ome_zarr(path, complete=False)
        levels = [finest]
        while len(levels) < _MOST_LEVELS and min(levels[-1].shape[-2:]) > 1:
            try:
                levels.append(read_ome_zarr(path, level=len(levels), complete=False))
            except InputError:  # there is no further level
                break
        steps = (1,) * len(levels)
        windows = omero_windows(path)
    else:
        finest = read_tiff(path)
        halvings = max(0, math.ceil(math.log2(max(finest.shape[-2:]) / TILE_PX)))
        levels, steps = [finest] * (halvings + 1), tuple(2**k for k in range(halvings + 1))
        windows = []
    return Pyramid(path.name, tuple(levels), steps, _channels(levels[-1], steps[-1], windows))


def _channels(image: Image, step: int, windows: list[tuple[float, float]]) -> tuple[Channel, ...]:
    names = image.channel_names or tuple(f"Channel {k}" for k in range(image.n_channels))
    only = ("FFFFFF",) if image.n_channels == 1 else PALETTE
    colors = image.channel_colors or tuple(only[k % len(only)] for k in range(image.n_channels))
    if len(windows) != image.n_channels:
        windows = [_window(image, k, step) for k in range(image.n_channels)]
    return tuple(
        Channel(name, color, *window) for name, color, window in zip(names, colors, windows, strict=True)
    )


def _window(image: Image, channel: int, step: int) -> tuple[float, float]:
    values = _piece(image, {"C": channel}, 0, 0, step)[:_WINDOW_PX, :_WINDOW_PX]
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    start, end = map(float, np.percentile(values, image.window_percentiles))
    return start, end if end > start else start + 1.0
