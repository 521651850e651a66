"""One channel or mask: which file it lies in, and its pyramid of lazy levels.

Files are read by the formats of `cytopipe.storage`, which survey what they declare before they are opened.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.storage.manifest import walk_files

__all__ = ["OpenImage", "Plane", "Pyramid", "apart", "open_image", "planes_of", "stamp_of"]

_OPEN_IMAGES = 48
_HEADS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")


@dataclass(frozen=True)
class Plane:
    """A (Y, X) plane of an image.

    Parameters
    ----------
    path : Path
        A TIFF, or the folder of an OME-Zarr image.
    index : int, optional
        Along the channels; by default the image has one.
    image : int, optional
        Of the images in a TIFF; by default it holds one.
    """

    path: Path
    index: int | None = None
    image: int | None = None

    def open(self) -> Pyramid:
        """Its levels; the file is surveyed, its pixels are not read."""
        image = open_image(self.path, self.image)
        if self.index is None and image.n_channels != 1:
            raise InputError(
                "holds more than one channel", where=str(self.path), expected="1", found=str(image.n_channels)
            )
        return Pyramid(image.levels, self.index or 0, square(image.pixel_size_um, self.path))


@dataclass(frozen=True)
class OpenImage:
    """An image file that was surveyed, with lazy pixels.

    Parameters
    ----------
    levels : tuple of array-like
        (C, Y, X) each, from the finest to the coarsest.
    channel_names : tuple of str
        Empty where the file does not say them.
    pixel_size_um : (float, float) or None
        Height and width.
    labels : tuple of str
        Label images below an OME-Zarr image.
    """

    levels: tuple[Any, ...]
    channel_names: tuple[str, ...]
    pixel_size_um: tuple[float, float] | None
    labels: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        return int(self.levels[0].shape[0])


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
        """In the byte order of the machine; half floats and bits are widened, which no renderer takes."""
        kept = np.dtype(self.levels[0].dtype).newbyteorder("=")
        return {"f2": np.dtype("f4"), "b1": np.dtype("u1")}.get(kept.str[1:], kept)

    @property
    def is_mapped(self) -> bool:
        """Whether the pixels lie in the file as they are, so that a part is read without the rest."""
        return _pages_of(self.levels[0]) is not None

    def read(self, box: tuple[int, int, int, int], step: int, out: np.ndarray | None = None) -> np.ndarray:
        """(Y, X) every `step`-th pixel of a box, from the coarsest level that has pixels at these places;
        written to `out`, where it is given.
        """
        y0, y1, x0, x1 = box
        level, factor = self._sufficient(step, y0, x0)
        top, left = y0 // factor, x0 // factor
        part = np.asarray(level[self.index, top : -(-y1 // factor), left : -(-x1 // factor)])
        part = _repeated(part[:: step // factor, :: step // factor], box, step)
        if out is None:
            out = np.array(part)  # no view of what is let go
        else:
            out[...] = part
        _let_go(level)
        return out

    def _sufficient(self, step: int, y0: int, x0: int) -> tuple[Any, int]:
        best = self.levels[0], 1
        for level in self.levels[1:]:
            factor = _factor(self.shape, level.shape[-2:])
            if factor and step % factor == y0 % factor == x0 % factor == 0 and factor > best[1]:
                best = level, factor
        return best


def _let_go(level: Any) -> None:
    """What was decoded, or mapped into memory, is given back."""
    if hasattr(level, "release"):
        level.release()
    pages = _pages_of(level)
    if pages is not None and hasattr(pages, "madvise"):
        pages.madvise(mmap.MADV_DONTNEED)  # of a file that is only read: it is read again where it is needed


def _pages_of(level: Any) -> mmap.mmap | None:
    """The mapped file behind a level; None where its pixels have to be decoded."""
    return getattr(level.pixels if isinstance(level, _Stack) else level, "_mmap", None)


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


# ---------------------------------------------------------------------- files


def planes_of(
    path: Path, names: Sequence[str] = (), *, table: str = "", number: int | None = None
) -> dict[str, Plane]:
    """Every channel of an image, by name.

    Parameters
    ----------
    path : Path
    names : sequence of str, optional
        As a table beside the images has them; by default those in the file.
    table : str
        Of these names, for messages.
    number : int, optional
        Of the image, in a TIFF that holds several.

    Raises
    ------
    InputError
        The table has another number of names than the image has channels.
    """
    image = open_image(path, number)
    if names and len(names) != image.n_channels:
        raise InputError(
            "has another number of channels than its table has names",
            where=str(path),
            expected=f"{len(names)}, as in {table}",
            found=str(image.n_channels),
            next="Give the table that belongs to the image.",
        )
    given = names or image.channel_names or [""] * image.n_channels
    return {name: Plane(path, at, number) for at, name in enumerate(apart(given, "channel"))}


def apart(names: Sequence[str], what: str) -> list[str]:
    """Names that differ: the second ``DNA`` is ``DNA (2)``, one without a name is ``channel 3``."""
    found: list[str] = []
    for at, name in enumerate(names, 1):
        kept = one = name.strip() or f"{what} {at}"
        times = 1
        while one in found:
            times += 1
            one = f"{kept} ({times})"
        found.append(one)
    return found


def open_image(path: Path, number: int | None = None) -> OpenImage:
    """Open a TIFF or an OME-Zarr image; it is not surveyed again while it is the same file.

    Parameters
    ----------
    path : Path
    number : int, optional
        Of the image, in a TIFF that holds several.

    Raises
    ------
    InputError, RefusedError, BudgetError
        It cannot be read, or is a series of depths.
    """
    return _opened(path, number, _stamp_of_head(path))


@lru_cache(_OPEN_IMAGES)
def _opened(path: Path, number: int | None, stamp: str) -> OpenImage:
    if path.is_dir():
        from cytopipe.storage.formats.ome_zarr import read_ome_zarr_levels

        found = read_ome_zarr_levels(path)
        names, size, labels = found.channel_names, found.pixel_size_um, found.labels
    else:
        from cytopipe.storage.formats.tiff import SeveralImagesError, read_tiff_levels

        try:
            found = read_tiff_levels(path, image=number)
        except SeveralImagesError as error:
            raise InputError(
                replace(
                    one, next="Of an OME-TIFF, give the file by itself: its images are fields of view then."
                )
                for one in error.findings
            ) from None
        names, size, labels = found.told.get("channel_names", ()), found.told.get("pixel_size_um"), ()
    levels = tuple(_stacked(level, found.axes, path) for level in found.levels)
    if np.dtype(levels[0].dtype).kind not in "buif":
        raise InputError(
            "has pixels of a type that is not read here",
            where=str(path),
            expected="integers or real numbers",
            found=str(levels[0].dtype),
        )
    if 0 in levels[0].shape:
        raise InputError("has no pixels", where=str(path), found=f"shape {tuple(levels[0].shape)}")
    if isinstance(levels[0], _Stack):
        names = levels[0].names(names)
    return OpenImage(levels, names, size, labels)


def _stacked(pixels: Any, axes: str, path: Path) -> Any:
    """Pixels as (C, Y, X)."""
    if len(axes) != len(pixels.shape) or not axes.endswith("YX") or not set(axes) <= set("TCZYX"):
        raise InputError(
            "has axes that are not read here",
            where=str(path),
            expected="a part of TCZYX that ends with YX",
            found=f"{axes} of shape {tuple(pixels.shape)}",
        )
    return pixels if axes == "CYX" else _Stack(pixels, axes, path)


class _Stack:
    """Lazy pixels of other axes as (C, Y, X); of several times or cycles, the channels of each one behind the
    other.
    """

    def __init__(self, pixels: Any, axes: str, path: Path) -> None:
        sizes = dict(zip(axes, pixels.shape, strict=True))
        if sizes.get("Z", 1) > 1:
            raise InputError(
                "is a series of depths, which is not exported",
                where=str(path),
                expected="channels, rows and columns",
                found=f"{axes} of shape {tuple(pixels.shape)}",
                next="Project it onto one plane first.",
            )
        self.pixels, self.axes, self.dtype = pixels, axes, pixels.dtype
        self.n_channels, self.n_times = sizes.get("C", 1), sizes.get("T", 1)
        self.shape = (self.n_times * self.n_channels, *pixels.shape[-2:])

    def __getitem__(self, key: tuple) -> np.ndarray:
        plane, *rest = key
        time, channel = divmod(plane, self.n_channels)
        inside = tuple({"T": time, "C": channel}.get(axis, 0) for axis in self.axes[:-2])
        return self.pixels[(*inside, *rest)]

    def names(self, given: tuple[str, ...]) -> tuple[str, ...]:
        """Of the channels; behind the number of the time or cycle, where there are several."""
        if self.n_times == 1:
            return given
        names = given or tuple(f"channel {k}" for k in range(1, self.n_channels + 1))
        return tuple(f"T{time} {name}" for time in range(1, self.n_times + 1) for name in names)

    def release(self) -> None:
        if hasattr(self.pixels, "release"):
            self.pixels.release()


def square(size_um: tuple[float, float] | None, path: Path) -> float | None:
    """One pixel size of height and width, which have to agree to one part in a thousand."""
    if size_um is None:
        return None
    height, width = size_um
    if not (0 < height < 1e9 and 0 < width < 1e9):
        raise InputError(
            "has a pixel size that is not possible", where=str(path), found=f"{height} x {width}"
        )
    if abs(height - width) > 1e-3 * max(height, width):
        raise InputError(
            "has pixels that are not square",
            where=str(path),
            expected="one size in micrometres",
            found=f"{height:g} x {width:g} um",
            next="Resample the image.",
        )
    return width


# ---------------------------------------------------------------------- stamps


def stamp_of(path: Path) -> str:
    """Size and time of change of a file; of a folder, a digest of those of all its files."""
    if not path.is_dir():
        return _stamp_of_head(path)
    digest = hashlib.sha256()
    try:
        for relative, entry in sorted(walk_files(path), key=lambda pair: pair[0]):
            facts = entry.stat(follow_symlinks=False)
            digest.update(f"{relative}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return digest.hexdigest()


def _stamp_of_head(path: Path) -> str:
    """The same, of a folder's metadata alone: whether it is still the image that was opened."""
    try:
        facts = path.stat()
        if not path.is_dir():
            return f"{facts.st_size} {facts.st_mtime_ns}"
        heads = [(path / name).stat() for name in _HEADS if (path / name).is_file()]
        return " ".join(f"{one.st_ino} {one.st_mtime_ns}" for one in (facts, *heads))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
