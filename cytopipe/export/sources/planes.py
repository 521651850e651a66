"""One channel or mask: which file it lies in, and its pyramid of lazy levels.

Files are read by the formats of `cytopipe.storage`, which survey what they declare before they are opened.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.storage.manifest import walk_files

__all__ = ["Plane", "Pyramid", "stamp_of"]

_OPEN_IMAGES = 256


@dataclass(frozen=True)
class Plane:
    """A (Y, X) plane of an image file.

    Parameters
    ----------
    path : Path
        A TIFF.
    index : int
        Along the channels.
    """

    path: Path
    index: int = 0

    def open(self) -> Pyramid:
        """Its levels; the file is surveyed, its pixels are not read."""
        levels, size = _levels(self.path, stamp_of(self.path))
        n_channels = levels[0].shape[0]
        if self.index >= n_channels:
            raise InputError(
                "has fewer channels than its table names",
                where=str(self.path),
                expected=f"at least {self.index + 1}",
                found=str(n_channels),
            )
        return Pyramid(levels, self.index, size)


@dataclass(frozen=True)
class Pyramid:
    """Lazy levels (C, Y, X) of an image, one channel of which is read.

    Parameters
    ----------
    levels : tuple of array-like
        From the finest to the coarsest.
    index : int
        Channel.
    pixel_size_um : float or None
        Of the finest level.
    """

    levels: tuple[Any, ...]
    index: int
    pixel_size_um: float | None

    @property
    def shape(self) -> tuple[int, int]:
        return tuple(int(n) for n in self.levels[0].shape[-2:])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.levels[0].dtype).newbyteorder("=")

    def read(self, box: tuple[int, int, int, int], step: int) -> np.ndarray:
        """(Y, X) every `step`-th pixel of a box, from the coarsest level that has pixels at these places."""
        y0, y1, x0, x1 = box
        level, factor = self._sufficient(step, y0, x0)
        top, left = y0 // factor, x0 // factor
        part = np.asarray(level[self.index, top : -(-y1 // factor), left : -(-x1 // factor)])
        return _repeated(part[:: step // factor, :: step // factor], box, step)

    def _sufficient(self, step: int, y0: int, x0: int) -> tuple[Any, int]:
        best = self.levels[0], 1
        for level in self.levels[1:]:
            factor = _factor(self.shape, level.shape[-2:])
            if factor and step % factor == y0 % factor == x0 % factor == 0 and factor > best[1]:
                best = level, factor
        return best


def _factor(whole: tuple[int, int], level: tuple[int, int]) -> int:
    """How many pixels of the image a pixel of a level covers; 0 where that is no whole number."""
    factor = round(whole[0] / max(level[0], 1))
    if factor and all(n // factor <= m <= -(-n // factor) for n, m in zip(whole, level, strict=True)):
        return factor
    return 0


def _repeated(part: np.ndarray, box: tuple[int, int, int, int], step: int) -> np.ndarray:
    """`part` with its last row and column again, where a writer left out an incomplete block at the edge."""
    height, width = -(-(box[1] - box[0]) // step), -(-(box[3] - box[2]) // step)
    short = height - part.shape[0], width - part.shape[1]
    return np.pad(part, [(0, n) for n in short], mode="edge") if any(short) else part


@lru_cache(_OPEN_IMAGES)
def _levels(path: Path, stamp: str) -> tuple[tuple[Any, ...], float | None]:
    """Levels and pixel size of an image file of this stamp."""
    from cytopipe.storage.formats.tiff import read_tiff

    image = read_tiff(path)
    return (_stack(image.pixels, image.axes, path),), square(image.pixel_size_um, path)


def _stack(pixels: Any, axes: str, path: Path) -> Any:
    """Pixels as (C, Y, X); further axes have to have length 1."""
    if axes == "CYX":
        return pixels
    return Stacked(pixels, axes, path)


class Stacked:
    """Lazy pixels of other axes as (C, Y, X): times and depths count as channels only where there is one."""

    def __init__(self, pixels: Any, axes: str, path: Path) -> None:
        further = [n for axis, n in zip(axes, pixels.shape, strict=True) if axis in "TZ"]
        if any(n > 1 for n in further):
            raise InputError(
                "is a series of times or depths, which is not exported",
                where=str(path),
                expected="channels, rows and columns",
                found=f"{axes} of shape {tuple(pixels.shape)}",
            )
        self.pixels, self.axes, self.dtype = pixels, axes, pixels.dtype
        channels = pixels.shape[axes.index("C")] if "C" in axes else 1
        self.shape = (channels, *pixels.shape[-2:])

    def __getitem__(self, key: tuple) -> np.ndarray:
        channel, *rest = key
        inside = tuple(channel if axis == "C" else 0 for axis in self.axes[:-2])
        return self.pixels[(*inside, *rest)]


def square(size_um: tuple[float, float] | None, path: Path) -> float | None:
    """One pixel size of height and width, which have to agree to one part in a thousand."""
    if size_um is None:
        return None
    height, width = size_um
    if abs(height - width) > 1e-3 * max(height, width):
        raise InputError(
            "has pixels that are not square",
            where=str(path),
            expected="one size in micrometres",
            found=f"{height:g} x {width:g} um",
            next="Resample the image.",
        )
    return width


def stamp_of(path: Path) -> str:
    """Size and time of change of a file; of a folder, a digest of those of all its files."""
    try:
        facts = path.stat()
        if not path.is_dir():
            return f"{facts.st_size} {facts.st_mtime_ns}"
        digest = hashlib.sha256()
        for relative, entry in sorted(walk_files(path), key=lambda pair: pair[0]):
            facts = entry.stat(follow_symlinks=False)
            digest.update(f"{relative}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
        return digest.hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
