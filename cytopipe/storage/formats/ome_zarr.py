"""OME-Zarr: images and labels as pyramids that viewers open at any zoom, NGFF 0.5 or 0.4.

    image.ome.zarr/
      zarr.json            axes, pixel size of each level, channels with colour and intensity window
      0/ 1/ 2/             levels; each half as large as the one before, chunk by chunk
      labels/
        zarr.json          names of the label images
        nuclei/ cells/     pyramids of whole numbers, never averaged

An image is read once, a strip of rows at a time, and all levels are written as it passes; compressing runs
in threads beside it. So an image larger than memory can be written, and the bytes do not depend on how it
was chunked or on the number of threads. An image without a channel axis gets one of length 1, which viewers
expect; labels do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.engine import available_cores
from cytopipe.errors import CytopipeError, InputError, RefusedError
from cytopipe.storage.formats import ome_metadata as ome
from cytopipe.storage.formats.format import DirectoryFormat
from cytopipe.storage.formats.image import AXES, Image
from cytopipe.storage.formats.ome_metadata import NGFF_VERSIONS, axis_names
from cytopipe.storage.formats.pyramid import level_shapes, local_mean, nearest, strips
from cytopipe.storage.formats.zarr_array import (
    ArrayLayout,
    Chunker,
    group_files,
    write_array_head,
    write_documents,
)
from cytopipe.storage.guard.zarr_store import check_chunks, survey_zarr
from cytopipe.storage.state import read_json

__all__ = [
    "OME_ZARR",
    "LaidOut",
    "OmeZarr",
    "OmeZarrLevels",
    "omero_windows",
    "read_files",
    "read_group",
    "read_ome_zarr",
    "read_ome_zarr_levels",
    "read_plate_fields",
]

_OURS = "cytopipe"  # attributes of our own, beside those of NGFF
_MICROMETRES = {
    "micrometer": 1.0,
    "nanometer": 1e-3,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "angstrom": 1e-4,
}
_WINDOW_SAMPLES = 1 << 18  # intensities of a channel from which its window is made


@dataclass(frozen=True)
class OmeZarr(DirectoryFormat):
    """An OME-Zarr image with the suffix ``.ome.zarr``.

    Parameters
    ----------
    version : {'0.5', '0.4'}
        Of NGFF. 0.4 is Zarr version 2, the only one that Bio-Formats, OMERO and other Java readers read.
    chunk_shape : tuple of int
        Pixels of a chunk along the last axes, for example (512, 512) or (1, 512, 512); 1 along those before.
    factor : int
        How much coarser each level is along Y and X.
    max_levels : int, optional
        Levels at most, level 0 included; by default until one chunk holds a whole plane.
    shard : int, optional
        Rows and columns that one file holds, a multiple of the chunk: 2048 means up to 16 times fewer files.
        0.5 only.
    threads : int, optional
        That compress; all cores by default. The bytes do not depend on it.
    """

    ngff: str = "0.5"
    chunk_shape: tuple[int, ...] = (512, 512)
    factor: int = 2
    max_levels: int | None = None
    shard: int | None = None
    threads: int | None = None

    name, suffix, kinds = "ome_zarr", ".ome.zarr", ("zarr", "image")

    def __post_init__(self) -> None:
        chunk = self.chunk_shape
        if self.ngff not in NGFF_VERSIONS:
            raise InputError(
                f"NGFF version {self.ngff!r} is not written", expected=" or ".join(NGFF_VERSIONS)
            )
        if not 2 <= len(chunk) <= len(AXES) or not all(isinstance(n, int) and n > 0 for n in chunk):
            raise InputError(f"a chunk shape of {chunk}", expected="2 to 5 whole numbers above 0")
        if self.factor < 2:
            raise InputError(f"a coarsening factor of {self.factor}", expected="2 or more")
        if self.max_levels is not None and self.max_levels < 1:
            raise InputError(f"{self.max_levels} levels", expected="1 or more")
        if self.shard is not None and (self.ngff != "0.5" or any(self.shard % n for n in chunk[-2:])):
            raise InputError(
                f"shards of {self.shard} pixels", expected=f"a multiple of {chunk[-2:]}, and NGFF 0.5"
            )

    @property
    def version(self) -> str:
        """1, and the options that are not the usual ones and change the bytes."""
        changed = [
            f"{one.name}={getattr(self, one.name)}"
            for one in fields(self)
            if one.name != "threads" and getattr(self, one.name) != one.default
        ]
        return " ".join(["1", *changed])

    # ----------------------------------------------------------------- write

    def write(self, draft: Path, value: Image | LaidOut) -> None:
        """Write an image and its labels, or a label image alone."""
        if isinstance(value, LaidOut):
            value.layout._write(draft, value.image, value.files)
            return
        if not isinstance(value, Image):
            raise InputError(f"an OME-Zarr holds an Image, not a {type(value).__name__}")
        self._write(draft, value, {})

    def _write(self, draft: Path, value: Image, files: Mapping[str, Sequence[str]]) -> None:
        title = draft.name.removesuffix(self.suffix)
        with Chunker(self.threads or available_cores()) as chunks:
            if value.is_labels:
                self._write_labels(draft, title, value, chunks, source=False)
                return
            self._write_image(draft, title, value, chunks, files)
            if not value.labels:
                return
            labels = ome.labels_attributes(self.ngff, list(value.labels))
            write_documents(draft / "labels", group_files(labels, self._zarr_format))
            for name, image in value.labels.items():
                self._write_labels(draft / "labels" / name, name, image, chunks, source=True)

    def _write_image(
        self, folder: Path, title: str, image: Image, chunks: Chunker, files: Mapping[str, Sequence[str]]
    ) -> None:
        axes = "".join(axis for axis in AXES if axis in image.axes or axis == "C")
        window = _Window(image, axes)
        levels = self._write_levels(folder, image, axes, chunks, window)
        attributes = ome.image_attributes(
            self.ngff,
            name=title,
            axes=axes,
            pixel_size_um=image.pixel_size_um,
            factor=self.factor,
            levels=levels,
            channel_names=image.channel_names,
            channel_colors=image.channel_colors,
            windows=window.of_channels(),
        )
        if files:
            attributes = {**attributes, _OURS: {"files": {name: list(own) for name, own in files.items()}}}
        write_documents(folder, group_files(attributes, self._zarr_format))

    def _write_labels(self, folder: Path, title: str, image: Image, chunks: Chunker, *, source: bool) -> None:
        levels = self._write_levels(folder, image, image.axes, chunks, None)
        attributes = ome.label_attributes(
            self.ngff,
            name=title,
            axes=image.axes,
            pixel_size_um=image.pixel_size_um,
            factor=self.factor,
            levels=levels,
            source=source,
        )
        write_documents(folder, group_files(attributes, self._zarr_format))

    def _write_levels(
        self, folder: Path, image: Image, axes: str, chunks: Chunker, window: _Window | None
    ) -> int:
        """Write every level in one pass over the image; how many there are."""
        shape = tuple(image.size(axis) for axis in axes)
        layouts = [
            self._layout(one, image.dtype, axes)
            for one in level_shapes(shape, self.factor, self.chunk_shape[-2:], self.max_levels)
        ]
        for level, layout in enumerate(layouts):
            write_array_head(folder / str(level), layout)
        for corner in product(
            *(range(0, n, step) for n, step in zip(shape[:-2], layouts[0].file_shape, strict=False))
        ):
            rows = _rows(image, axes, corner, layouts[0], self.factor)
            if window is not None:
                rows = window.watch(corner, rows)
            for level, layout in enumerate(layouts):
                coarsen = None if level + 1 == len(layouts) else nearest if image.is_labels else local_mean
                rows = _written(rows, folder / str(level), layout, corner, chunks, coarsen, self.factor)
            for _ in rows:
                pass
        return len(layouts)

    def _layout(self, shape: tuple[int, ...], dtype: np.dtype, axes: str) -> ArrayLayout:
        n_more = len(shape) - len(self.chunk_shape)
        asked = (1,) * n_more + self.chunk_shape if n_more >= 0 else self.chunk_shape[-len(shape) :]
        chunk = tuple(min(one, n) for one, n in zip(asked, shape, strict=True))
        shard = None
        if self.shard is not None:
            whole = (
                -(-min(self.shard, n) // one) * one for n, one in zip(shape[-2:], chunk[-2:], strict=True)
            )
            shard = (*chunk[:-2], *whole)
        return ArrayLayout(shape, chunk, dtype, axis_names(axes), self._zarr_format, shard)

    @property
    def _zarr_format(self) -> int:
        return NGFF_VERSIONS[self.ngff]

    # ----------------------------------------------------------------- read

    def validate(self, draft: Path) -> None:
        """Decode every chunk of every level, prove that none is absent or short, and read the metadata."""
        survey_zarr(draft, inflate_chunks=True, complete=True)
        read_ome_zarr(draft)

    def read(self, path: Path) -> Image:
        """The image with lazy pixels and its labels; an absent chunk is an error, not zeros."""
        return read_ome_zarr(path)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Shape, axes, dtype, channels, levels and names of the labels."""
        from cytopipe.storage.formats.tiff import describe_image

        version, attributes = _attributes(path)
        image = read_ome_zarr(path, complete=False)
        told = describe_image(image)
        told |= {"levels": len(attributes["multiscales"][0]["datasets"]), "ngff": version}
        return told | ({"labels": ", ".join(image.labels)} if image.labels else {})


@dataclass(frozen=True)
class LaidOut:
    """An image with how it is to be written, where that is chosen for each image.

    Parameters
    ----------
    image : Image
    layout : OmeZarr
    files : mapping of str to sequence of str
        Of an image that was put together from several files: their names, with the channels of each, in the
        order in which they lie along the first axis. See :func:`read_files`.
    """

    image: Image
    layout: OmeZarr
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)


OME_ZARR = OmeZarr()
"""NGFF 0.5, chunks of 512 x 512 pixels, each level half as large."""


# --------------------------------------------------------------------------- one pass


def _rows(
    image: Image, axes: str, corner: tuple[int, ...], layout: ArrayLayout, factor: int
) -> Iterator[np.ndarray]:
    """Strips of full rows of one block of the leading axes, in the dimensions of `axes`."""
    block = dict(zip(axes, zip(corner, layout.file_shape, strict=False), strict=False))
    leading = [slice(block[axis][0], sum(block[axis])) for axis in image.axes[:-2]]
    height = math.lcm(layout.file_shape[-2], factor)
    insert = tuple(at for at, axis in enumerate(axes) if axis not in image.axes)
    for row in range(0, layout.shape[-2], height):
        strip = np.asarray(image.pixels[(*leading, slice(row, row + height), slice(None))])
        yield np.expand_dims(strip, insert).astype(layout.dtype, copy=False)


def _written(
    rows: Iterator[np.ndarray],
    folder: Path,
    layout: ArrayLayout,
    corner: tuple[int, ...],
    chunks: Chunker,
    coarsen,
    factor,
) -> Iterator[np.ndarray]:
    """Write the rows of one level as they come; yield those of the next level, where there is one."""
    row = 0
    for strip in strips(rows, math.lcm(layout.file_shape[-2], factor)):
        chunks.put(folder, layout, (*corner, row, 0), strip)
        row += strip.shape[-2]
        if coarsen is not None:
            yield coarsen(strip, factor)


class _Window:
    """Intensity windows of the channels, from a regular sample of pixels taken while they pass."""

    def __init__(self, image: Image, axes: str) -> None:
        self._image, self._axes = image, axes
        per_channel = math.prod(image.shape) // image.n_channels
        self._step = max(1, math.ceil(math.sqrt(per_channel / _WINDOW_SAMPLES)))
        self._seen: list[list[np.ndarray]] = [[] for _ in range(image.n_channels)]

    def watch(self, corner: tuple[int, ...], rows: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        at, row = self._axes.index("C"), 0
        for strip in rows:
            sample = strip[..., -row % self._step :: self._step, :: self._step]
            for k in range(strip.shape[at]):
                self._seen[corner[at] + k].append(np.take(sample, k, at).ravel())
            row += strip.shape[-2]
            yield strip

    def of_channels(self) -> list[tuple[float, float, float, float]]:
        """(min, start, end, max) of each channel; NaN and infinities are left out."""
        return [self._of_channel(np.concatenate(seen)) for seen in self._seen]

    def _of_channel(self, values: np.ndarray) -> tuple[float, float, float, float]:
        dtype = self._image.dtype
        if dtype.kind == "f":
            values = values[np.isfinite(values)].astype(np.float64)
            low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        else:
            low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
        if values.size:
            start, end = map(float, np.percentile(values, self._image.window_percentiles))
        else:
            start, end = low, high
        if end <= start:  # one intensity everywhere
            end = start + 1.0
        return min(low, start), start, end, max(high, end)


# --------------------------------------------------------------------------- reading


def read_ome_zarr(path: Path | str, *, level: int = 0, complete: bool = True) -> Image:
    """Open an OME-Zarr image of ours or of others, NGFF 0.4 or 0.5, with lazy pixels.

    Parameters
    ----------
    path : Path or str
        Directory of the image.
    level : int
        Of the pyramid; 0 has all pixels.
    complete : bool, default True
        Whether an absent chunk is an error. Other writers leave out chunks that hold nothing but the fill
        value.

    Returns
    -------
    Image
        Its pixels, and those of its labels, are zarr arrays.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.guard.zarr_store.survey_zarr`; and InputError where this is no OME-Zarr
        image.
    DamagedError
        With `complete`: chunks are absent.
    """
    path = Path(path)
    survey_zarr(path, complete=complete)
    image = _read_image(path, level)
    listed = path / "labels"
    if image.is_labels or not listed.is_dir():
        return image
    names = _attributes(listed)[1].get("labels", [])
    labels = {name: _read_image(_below(listed, name), level) for name in names}
    return Image(**{**vars(image), "labels": labels})


@dataclass(frozen=True)
class OmeZarrLevels:
    """An OME-Zarr image or label image with its pyramid.

    Parameters
    ----------
    levels : tuple of CheckedArray
        From the finest to the coarsest.
    axes : str
        A part of TCZYX.
    channel_names : tuple of str
        Empty where they are not told.
    pixel_size_um : (float, float) or None
        Of the finest level.
    labels : tuple of str
        Names of the label images below it, in ``labels/<name>``.
    """

    levels: tuple[Any, ...]
    axes: str
    channel_names: tuple[str, ...]
    pixel_size_um: tuple[float, float] | None
    labels: tuple[str, ...]


def read_ome_zarr_levels(path: Path | str) -> OmeZarrLevels:
    """Open an OME-Zarr image or label image with all levels, for reading parts of it.

    Absent chunks hold the fill value, and labels may have 64 bits.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`read_ome_zarr`.
    """
    path = Path(path)
    survey_zarr(path)
    attributes = _attributes(path)[1]
    try:
        n_levels = len(attributes["multiscales"][0]["datasets"])
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"is no OME-Zarr image that can be read: {error!r}", where=str(path)) from None
    heads = [_head(path, attributes, level) for level in range(n_levels)]
    labels = path / "labels"
    names = _attributes(labels)[1].get("labels", []) if labels.is_dir() else []
    for name in names:
        _below(labels, name)
    _, axes, channels, size = heads[0]
    levels = tuple(CheckedArray(head[0], _folder_of(path, attributes, k)) for k, head in enumerate(heads))
    return OmeZarrLevels(levels, axes, channels, size, tuple(names))


class CheckedArray:
    """A zarr array of others whose chunks are counted before they are decoded."""

    def __init__(self, array: Any, folder: Path) -> None:
        self.shape, self.dtype, self._array, self._folder = array.shape, array.dtype, array, folder

    def __getitem__(self, key: tuple[int | slice, ...]) -> np.ndarray:
        """Pixels of integers and slices with a step of 1, one for each axis."""
        ranges = [range(n)[one] for n, one in zip(self.shape, key, strict=True)]
        spans = [(one.start, one.stop) if isinstance(one, range) else (one, one + 1) for one in ranges]
        check_chunks(self._folder, [slice(*span) for span in spans])
        try:
            return np.asarray(self._array[key])
        except (ValueError, TypeError, LookupError, OSError, RuntimeError, AttributeError) as error:
            if isinstance(error, (CytopipeError, MemoryError)):
                raise
            what = f"has a chunk that cannot be decoded: {error}"
            raise InputError(what, where=str(self._folder)) from None


def _folder_of(path: Path, attributes: dict[str, Any], level: int) -> Path:
    return _below(path, attributes["multiscales"][0]["datasets"][level]["path"])


def read_group(path: Path | str) -> dict[str, Any]:
    """Attributes of a zarr group of version 2 or 3, whatever they mean; empty where it has none.

    Raises
    ------
    InputError
        It is no zarr group.
    """
    path = Path(path)
    if (path / "zarr.json").is_file():
        attributes = read_json(path / "zarr.json").get("attributes", {})
    elif (path / ".zattrs").is_file():
        attributes = read_json(path / ".zattrs")
    elif (path / ".zgroup").is_file():
        attributes = {}
    else:
        attributes = None
    if not isinstance(attributes, dict):
        raise InputError("is not a zarr group", where=str(path))
    return attributes


def read_files(path: Path) -> dict[str, list[str]]:
    """The files that an image was put together from, with the channels of each; empty where it was one."""
    name = "zarr.json" if (path / "zarr.json").is_file() else ".zattrs"
    document = read_json(path / name)
    attributes = document.get("attributes", {}) if name == "zarr.json" else document
    files = (attributes.get(_OURS) or {}).get("files", {})
    if not isinstance(files, dict) or not all(isinstance(one, list) for one in files.values()):
        raise InputError("does not say from which files it was put together", where=str(path))
    return {str(one): [str(channel) for channel in own] for one, own in files.items()}


def omero_windows(path: Path) -> list[tuple[float, float]]:
    """Darkest and brightest intensity that the metadata propose for each channel; empty where they do not."""
    channels = (_attributes(path)[1].get("omero") or {}).get("channels", [])
    try:
        windows = [(float(one["window"]["start"]), float(one["window"]["end"])) for one in channels]
    except (KeyError, TypeError, ValueError):
        return []
    return windows if all(start < end for start, end in windows) else []


def _read_image(path: Path, level: int) -> Image:
    _, attributes = _attributes(path)
    pixels, axes, names, size = _head(path, attributes, level)
    try:
        colors = tuple(str(one["color"]) for one in attributes["omero"]["channels"]) if names else ()
        return Image(pixels, axes, names, colors, size, "image-label" in attributes)
    except (KeyError, TypeError) as error:
        raise InputError(f"is no OME-Zarr image that can be read: {error!r}", where=str(path)) from None


def _head(path: Path, attributes: dict[str, Any], level: int) -> tuple[Any, str, tuple, tuple | None]:
    """Lazy pixels, axes, names of the channels, and pixel size of a level."""
    import zarr

    try:
        multiscale = attributes["multiscales"][0]
        axes = "".join(axis["name"].upper() for axis in multiscale["axes"])
        dataset = multiscale["datasets"][level]
        pixels = zarr.open_array(_below(path, dataset["path"]), mode="r")
        channels = (attributes.get("omero") or {}).get("channels", [])
        named = "C" in axes and len(channels) == pixels.shape[axes.index("C")]
        names = tuple(str(channel.get("label", "")) for channel in channels) if named else ()
        return pixels, axes, names, _pixel_size(multiscale, dataset)
    except (KeyError, IndexError, TypeError, ValueError, StopIteration, AttributeError, OSError) as error:
        if isinstance(error, CytopipeError):
            raise
        raise InputError(f"is no OME-Zarr image that can be read: {error!r}", where=str(path)) from None


def _pixel_size(multiscale: Mapping, dataset: Mapping) -> tuple[float, float] | None:
    """Height and width in micrometres: the scale of the level times that of all levels."""
    units = [_MICROMETRES.get(axis.get("unit")) for axis in multiscale["axes"][-2:]]
    scale = next(one["scale"] for one in dataset["coordinateTransformations"] if one["type"] == "scale")
    if not all(units):
        return None
    sizes = [float(n) * unit for n, unit in zip(scale[-2:], units, strict=True)]
    for one in multiscale.get("coordinateTransformations") or ():
        if one.get("type") == "scale" and "output" not in one:  # spatialdata keeps other spaces here
            sizes = [size * float(n) for size, n in zip(sizes, one["scale"][-2:], strict=True)]
    return sizes[0], sizes[1]


def _below(folder: Path, relative: object) -> Path:
    """A path that the metadata of a store name, which may not lead out of its folder."""
    parts = str(relative).split("/")
    if not isinstance(relative, str) or "\0" in relative or {"", ".", ".."} & set(parts):
        raise RefusedError(f"names the path {relative!r}", where=str(folder), expected="a folder below it")
    return folder.joinpath(*parts)


def _attributes(path: Path) -> tuple[str, dict[str, Any]]:
    """NGFF version and attributes of a group."""
    if (path / "zarr.json").is_file():
        attributes = read_json(path / "zarr.json").get("attributes", {}).get("ome")
    else:
        attributes = read_json(path / ".zattrs") if (path / ".zattrs").is_file() else None
    if not isinstance(attributes, dict):
        raise InputError("is no OME-Zarr group", where=str(path), expected="attributes of NGFF 0.5 or 0.4")
    return ("0.5" if (path / "zarr.json").is_file() else "0.4"), attributes


def read_plate_fields(path: Path) -> list[str]:
    """``row/column/field`` of every field of view that a plate and its wells list, in their order."""
    try:
        wells = [well["path"] for well in _attributes(path)[1]["plate"]["wells"]]
        fields = [
            f"{well}/{image['path']}"
            for well in wells
            for image in _attributes(_below(path, well))[1]["well"]["images"]
        ]
    except (KeyError, TypeError) as error:
        raise InputError(
            "is no plate", where=str(path), expected="wells and their images", found=repr(error)
        ) from None
    for one in fields:
        _below(path, one)
    return fields
