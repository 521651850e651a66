"""The one interface of image sources, and the reading that all layouts share.

A layout says where the planes of a field of view are (`ImageSource._planes`); everything else stands here:
names are checked, regions are cut out of the pyramid level that suffices, masks become int32.

A downsampling of n shows the pixels 0, n, 2n, ... of a region. A coarser level of a pyramid replaces them
where its factor divides n and the corner of the region, so that pictures and masks never shift.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from cytopipe.errors import CytopipeError, Finding, InputError, ParameterError
from cytopipe.export.sources.planes import Plane, Pyramid, stamp_of
from cytopipe.storage.guard.budget import declared_bytes, require_budget

__all__ = ["Box", "FovInfo", "ImageSource", "Planes", "SourceField"]

Box = tuple[int, int, int, int]
"""Rows from, to, columns from, to (px of the full image); the ends are not included."""

_OPEN_FIELDS = 16


@dataclass(frozen=True)
class FovInfo:
    """What is known about a field of view without reading its pixels.

    Parameters
    ----------
    name : str
    height, width : int
        Pixels.
    channels : tuple of str
        In the order of the files; sorted where each channel is a file of its own.
    pixel_size_um : float or None
        Micrometres; None where neither the files nor the user say it.
    masks : tuple of str
        Label images, such as ``whole_cell``.
    dtype : numpy.dtype
        Of the first channel.
    """

    name: str
    height: int
    width: int
    channels: tuple[str, ...]
    pixel_size_um: float | None
    masks: tuple[str, ...]
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width


@dataclass(frozen=True)
class Planes:
    """Where the channels and masks of one field of view are.

    Parameters
    ----------
    channels, masks : mapping of str to Plane
    pixel_size_um : float, optional
        As a table beside the images says it, before what the images say.
    """

    channels: Mapping[str, Plane]
    masks: Mapping[str, Plane] = field(default_factory=dict)
    pixel_size_um: float | None = None


class ImageSource(ABC):
    """Fields of view of one folder or file. It can be sent to other processes and used by many threads.

    Parameters
    ----------
    path : Path
    pixel_size_um : float, optional
        Declared by the user; it goes before what the files say.

    Attributes
    ----------
    kind : str
        Name of the layout.
    """

    kind: str

    def __init__(self, path: Path | str, *, pixel_size_um: float | None = None) -> None:
        if pixel_size_um is not None and not 0 < pixel_size_um < 1e6:
            raise ParameterError(
                "the pixel size is not possible",
                expected="micrometres, more than 0",
                found=f"{pixel_size_um:g}",
            )
        self.path, self.pixel_size_um = Path(path), pixel_size_um
        self._forget()

    # ------------------------------------------------------------------ what a layout says

    @abstractmethod
    def fov_names(self) -> tuple[str, ...]:
        """Names of all fields of view, in their order."""

    @abstractmethod
    def _planes(self, fov: str) -> Planes:
        """Where the planes of a field of view are; `fov` is one of `fov_names`."""

    # ------------------------------------------------------------------ what everybody asks

    def describe(self, fov: str) -> FovInfo:
        """Size, channels, masks and pixel size of a field of view; its pixels are not read.

        Raises
        ------
        InputError
            There is no such field of view (the message names those that exist), or it cannot be read.
        """
        planes = self._of(fov)
        first = next(iter(planes.channels))
        image = self._open(fov, planes, first)
        size = self.pixel_size_um or planes.pixel_size_um or image.pixel_size_um
        return FovInfo(fov, *image.shape, tuple(planes.channels), size, tuple(planes.masks), image.dtype)

    def read(
        self, fov: str, channels: Sequence[str], box: Box | None = None, downsample: int = 1
    ) -> np.ndarray:
        """Pixels of some channels.

        Parameters
        ----------
        fov : str
        channels : sequence of str
        box : Box, optional
            The whole field by default.
        downsample : int
            Every so many-th pixel, or what a pyramid level has in its place.

        Returns
        -------
        ndarray
            (channels, ceil(rows / downsample), ceil(columns / downsample)) in the dtype of the files; where
            they differ, in the smallest that holds all of them.

        Raises
        ------
        InputError
            A field of view or channel does not exist, or cannot be read; the message names those that do.
        ParameterError
            The box does not lie in the field, or the downsampling is less than 1.
        """
        planes = self._of(fov)
        _all_there(fov, "channel", channels, planes.channels, str(self.path))
        if not channels:
            raise InputError(
                "no channel was asked for", where=fov, expected=f"one of {', '.join(planes.channels)}"
            )
        images = [self._open(fov, planes, name) for name in channels]
        shape = images[0].shape
        for name, image in zip(channels, images, strict=True):
            if image.shape != shape:
                raise InputError(
                    f"channel {name!r} has another size than {channels[0]!r}",
                    where=f"{self.path}: {fov}",
                    expected=f"{shape[0]} x {shape[1]} px",
                    found=f"{image.shape[0]} x {image.shape[1]} px",
                )
        box = _checked(box, shape, downsample, fov)
        dtype = np.result_type(*(image.dtype for image in images))
        whole = (len(images), *_size(box, downsample))
        needed = declared_bytes(whole, dtype.itemsize)
        require_budget(needed, None, what="a region", where=f"{self.path}: {fov}")
        out = np.empty(whole, dtype)
        for at, (name, image) in enumerate(zip(channels, images, strict=True)):
            try:
                image.read(box, downsample, out[at])
            except CytopipeError as error:
                raise _named(error, fov, name, planes.channels) from None
        return out

    def mask(self, fov: str, name: str, box: Box | None = None, downsample: int = 1) -> np.ndarray:
        """Labels of cells: (rows, columns) int32, 0 for background.

        Parameters and errors as in :meth:`read`; and InputError where the pixels are no whole numbers from 0
        to 2,147,483,647, or the mask has another size than the field.
        """
        planes = self._of(fov)
        _all_there(fov, "mask", [name], planes.masks, str(self.path))
        plane = planes.masks[name]
        image = plane.open()
        shape = self.describe(fov).shape
        if image.shape != shape:
            raise InputError(
                f"mask {name!r} has another size than the images of {fov!r}",
                where=str(plane.path),
                expected=f"{shape[0]} x {shape[1]} px",
                found=f"{image.shape[0]} x {image.shape[1]} px",
            )
        box = _checked(box, shape, downsample, fov)
        require_budget(declared_bytes(_size(box, downsample), 4), None, what="a mask", where=str(plane.path))
        return _labels(image.read(box, downsample), str(plane.path))

    def identity(self, fov: str, channels: Sequence[str], masks: Sequence[str] = ()) -> str:
        """A stamp of the files that these channels and masks lie in; it changes when one of them does.

        Paths, sizes and times of change are looked at, no pixel is read. The folder may be moved.
        """
        planes = self._of(fov)
        _all_there(fov, "channel", channels, planes.channels, str(self.path))
        _all_there(fov, "mask", masks, planes.masks, str(self.path))
        wanted = [(name, planes.channels[name]) for name in channels]
        wanted += [(name, planes.masks[name]) for name in masks]
        digest = hashlib.sha256(f"{self.kind}\0{fov}\0{self.describe(fov).pixel_size_um}".encode())
        stamps = {path: stamp_of(path) for path in {plane.path for _, plane in wanted}}
        for name, plane in wanted:
            at = plane.index or 0 if plane.image is None else f"{plane.image} {plane.index or 0}"
            digest.update(f"\0{name}\0{plane.path.name}\0{at}\0{stamps[plane.path]}".encode())
        return digest.hexdigest()[:32]

    def files(self, fov: str, channels: Sequence[str] | None = None) -> tuple[Path, ...]:
        """The files that the channels (all by default) and the masks of a field of view lie in, sorted; of a
        folder in OME-Zarr, all of its files. A channel that is not there has none. Looked up anew each time.
        """
        if fov not in self.fov_names():
            raise InputError(f"there is no field of view {fov!r}", where=str(self.path))
        planes = self._planes(fov)
        shown = [one for name, one in planes.channels.items() if channels is None or name in channels]
        found: set[Path] = set()
        for path in {plane.path for plane in (*shown, *planes.masks.values())}:
            found |= {path} if not path.is_dir() else {one for one in path.rglob("*") if one.is_file()}
        return tuple(sorted(found))

    def is_mapped(self, fov: str) -> bool:
        """Whether the first channel is mapped into memory, so that a part of it costs a part of the whole."""
        planes = self._of(fov)
        return self._open(fov, planes, next(iter(planes.channels))).is_mapped

    def field(self, fov: str) -> SourceField:
        """A field of view as the renderers take it."""
        return SourceField(self, self.describe(fov))

    # ------------------------------------------------------------------ what is remembered

    def _forget(self) -> None:
        """Nothing that was opened is kept any longer."""
        self._of_fov = lru_cache(_OPEN_FIELDS)(self._planes)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_of_fov"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()

    def _of(self, fov: str) -> Planes:
        if fov not in self.fov_names():
            raise InputError(
                f"there is no field of view {fov!r}",
                where=str(self.path),
                expected=f"one of {_listed(self.fov_names())}",
            )
        planes = self._of_fov(fov)
        if not planes.channels:
            raise InputError(f"field of view {fov!r} has no channel", where=str(self.path))
        return planes

    @staticmethod
    def _open(fov: str, planes: Planes, channel: str) -> Pyramid:
        try:
            return planes.channels[channel].open()
        except CytopipeError as error:
            raise _named(error, fov, channel, planes.channels) from None


@dataclass(frozen=True)
class SourceField:
    """One field of view of a source, with the names that `cytopipe.export.render` asks for.

    Every mask may be drawn as an annotation, too: its labels are then classes.
    """

    source: ImageSource
    info: FovInfo

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def shape(self) -> tuple[int, int]:
        return self.info.shape

    @property
    def channels(self) -> tuple[str, ...]:
        return self.info.channels

    @property
    def masks(self) -> tuple[str, ...]:
        return self.info.masks

    @property
    def annotations(self) -> tuple[str, ...]:
        return self.info.masks

    @property
    def reads_parts(self) -> bool:
        return self.source.is_mapped(self.name)

    def read_channels(self, names: Sequence[str], region: Box, step: int) -> np.ndarray:
        return self.source.read(self.name, names, region, step)

    def read_mask(self, name: str, region: Box, step: int) -> np.ndarray:
        return self.source.mask(self.name, name, region, step)

    def read_annotation(self, name: str, region: Box, step: int) -> np.ndarray:
        return self.source.mask(self.name, name, region, step)


# ---------------------------------------------------------------------- checks


def _all_there(fov: str, what: str, wanted: Sequence[str], there: Mapping[str, Plane], where: str) -> None:
    missing = [name for name in dict.fromkeys(wanted) if name not in there]
    if missing:
        raise InputError(
            Finding(
                what=f"field of view {fov!r} has no {what} {name!r}",
                where=where,
                expected=f"one of {_listed(there)}" if there else f"there is no {what}",
            )
            for name in missing
        )


def _named(error: CytopipeError, fov: str, channel: str, there: Mapping[str, Plane]) -> CytopipeError:
    """The same error, which says what it is about and which other channels there are."""
    others = [name for name in there if name != channel]
    tail = f"The other channels are {_listed(others)}." if others else "It is the only channel."
    about = f"channel {channel!r} of {fov!r}"
    return type(error)(
        Finding(
            what=f"{about}: {one.what}",
            where=one.where,
            expected=one.expected,
            found=one.found,
            next=f"{one.next} {tail}".strip(),
        )
        for one in error.findings
    )


def _listed(names: Sequence[str] | Mapping[str, Plane], most: int = 40) -> str:
    names = list(names)
    tail = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + tail


def _checked(box: Box | None, shape: tuple[int, int], downsample: int, fov: str) -> Box:
    if downsample < 1 or downsample != int(downsample):
        raise ParameterError(
            "the downsampling is not possible", expected="a whole number, 1 or more", found=f"{downsample}"
        )
    if box is None:
        return 0, shape[0], 0, shape[1]
    y0, y1, x0, x1 = (int(one) for one in box)
    if not (0 <= y0 < y1 <= shape[0] and 0 <= x0 < x1 <= shape[1]):
        raise ParameterError(
            f"the box does not lie in field of view {fov!r}",
            expected=f"rows within 0 to {shape[0]}, columns within 0 to {shape[1]}",
            found=f"rows {y0} to {y1}, columns {x0} to {x1}",
        )
    return y0, y1, x0, x1


def _size(box: Box, downsample: int) -> tuple[int, int]:
    return -(-(box[1] - box[0]) // downsample), -(-(box[3] - box[2]) // downsample)


def _labels(pixels: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        labels = pixels.astype(np.int32)
    wrong = (labels != pixels) | (labels < 0)  # too large, negative, a fraction, not a number
    if wrong.any():
        raise _no_labels(where, str(pixels[wrong][0]))
    return labels


def _no_labels(where: str, found: str) -> InputError:
    return InputError(
        "is no mask of cells",
        where=where,
        expected="whole numbers from 0 to 2,147,483,647",
        found=found,
        next="Give the label image, not the intensities or probabilities.",
    )
