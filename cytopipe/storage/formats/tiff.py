"""TIFF: the format that computation reads and writes, one page for each (Y, X) plane, described by OME-XML.

Writing is lossless and takes one plane at a time; the same image under the same file name gives the same
bytes with any number of threads. OME-XML names the axes, the channels, their colours and the pixel size for
every pixel type, so that tifffile, napari and Fiji (File > Import > Bio-Formats) open the file alike; an
ImageJ header could name them for uint8, uint16 and float32 only.

Reading takes plain TIFF, OME-TIFF and ImageJ hyperstacks. What a file declares is surveyed before tifffile
opens it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError, StorageError
from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.formats.image import AXES, Image
from cytopipe.storage.guard.budget import declared_bytes, require_budget
from cytopipe.storage.guard.tiff import survey_tiff

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["TIFF", "Tiff", "TiffLevels", "TiffPixels", "read_tiff", "read_tiff_levels"]

_CLASSIC_BYTES = (1 << 32) - (32 << 20)  # of pixels that a TIFF with 32-bit offsets holds for certain
_LAZY = 1 << 62  # bytes that all pages together may declare: they are never in memory together
_ROWS_PER_STRIP = 256
_COMPRESSIONS = {"zlib": {"level": 1}, "zstd": {"level": 3}, None: None}
_AXES_KEY, _LABELS_KEY = "cytopipe.axes", "cytopipe.is_labels"
_WHOLE_PAGE_BYTES = (
    64 << 20
)  # smaller pages are decoded whole, of larger ones only the tiles that are asked for
_MICROMETRES = {"µm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4, "pm": 1e-6}
_MOST_CHANNELS_LAST = 8  # a plain (Y, X, C) stack has at most so many channels


class Tiff(FileFormat):
    """A TIFF with the suffix ``.tiff``.

    Parameters
    ----------
    compression : {'zlib', 'zstd', None}
        zlib is read everywhere; zstd is several times faster and read by tifffile and GDAL; None can be
        mapped into memory. Integers are differenced along rows first. All are lossless.
    threads : int, optional
        That compress and decompress; all cores by default. The bytes do not depend on it.
    """

    name, suffix, kinds = "tiff", ".tiff", ("tiff", "image")

    def __init__(self, compression: str | None = "zlib", threads: int | None = None) -> None:
        if compression not in _COMPRESSIONS:
            raise InputError(f"TIFF compression {compression!r} is not known", expected="zlib, zstd or None")
        self.compression, self.threads = compression, threads
        self.version = "1" if compression == "zlib" else f"1 compression={compression}"

    def write(self, draft: Path, value: Image) -> None:
        """Write an image plane by plane; `value.labels` have to be written as files of their own."""
        import tifffile

        if not isinstance(value, Image):
            raise InputError(f"a TIFF holds an Image, not a {type(value).__name__}")
        if value.labels:
            raise InputError("a TIFF holds one image", next="Write each of its labels as a TIFF of its own.")
        if value.dtype.itemsize == 8 and value.dtype.kind in "iu":
            raise InputError(f"OME-TIFF has no {value.dtype} pixels", next="Convert the labels to uint32.")
        size = math.prod(value.shape) * value.dtype.itemsize
        planes = (np.ascontiguousarray(plane, value.dtype) for plane in value.planes())
        with tifffile.TiffWriter(draft, bigtiff=size > _CLASSIC_BYTES, ome=True) as file:
            file.write(
                planes,
                shape=value.shape,
                dtype=value.dtype,
                photometric="minisblack",
                compression=self.compression,
                compressionargs=_COMPRESSIONS[self.compression],
                predictor=True if self.compression and value.dtype.kind in "iu" else None,
                rowsperstrip=min(_ROWS_PER_STRIP, value.size("Y")),
                software="cytopipe",
                metadata=_ome(value, draft.name),
                maxworkers=self.threads,
            )

    def validate(self, draft: Path) -> None:
        """Decode every page as a stranger would."""
        image = self.read(draft)
        for _ in image.planes():
            pass

    def read(self, path: Path) -> Image:
        """The image with lazy pixels, :class:`TiffPixels`."""
        return read_tiff(path)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Shape, axes, dtype and channels."""
        return describe_image(self.read(path))


TIFF = Tiff()
"""TIFF compressed with zlib, in as many threads as there are cores."""


def describe_image(image: Image) -> dict[str, int | float | str]:
    """What is told about an image without reading its pixels."""
    told: dict[str, int | float | str] = {
        "shape": " x ".join(map(str, image.shape)),
        "axes": image.axes,
        "dtype": image.dtype.name,
    }
    if image.channel_names:
        told["channels"] = ", ".join(image.channel_names)
    if image.pixel_size_um:
        told["pixel_size_um"] = " x ".join(f"{size:g}" for size in image.pixel_size_um)
    return told


def read_tiff(path: Path | str, *, axes: str | None = None, budget: int | None = None) -> Image:
    """Open a TIFF of ours or of others, with lazy pixels.

    Parameters
    ----------
    path : Path or str
    axes : str, optional
        Of a file that does not name them, as they lie in the file: ``YXC``, ``ZYX``. By default a further
        axis of a plain stack is taken as C, two as TC, three as TCZ; a last axis of at most 8 after two long
        ones is C.
    budget : int, optional
        Bytes one page may declare; half of the available memory by default.

    Returns
    -------
    Image
        With axes in the order TCZYX. Samples of a pixel (RGB) become channels.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.guard.tiff.survey_tiff`; and InputError where the axes are not known, or
        the file holds several images.
    """
    found = _read_levels(Path(path), axes, largest_page=budget, finest_only=True)
    return Image(found.levels[0], found.axes, **found.told)


@dataclass(frozen=True)
class TiffLevels:
    """A TIFF with its pyramid.

    Parameters
    ----------
    levels : tuple of array-like
        Lazy pixels, from the finest to the coarsest.
    axes : str
        Of each of them: a part of TCZYX in that order.
    told : mapping
        What the file says: ``channel_names``, ``channel_colors``, ``pixel_size_um`` and ``is_labels`` as in
        :class:`Image`, each where it is known.
    """

    levels: tuple[Any, ...]
    axes: str
    told: Mapping[str, Any]


def read_tiff_levels(path: Path | str, *, axes: str | None = None, image: int | None = None) -> TiffLevels:
    """Open a TIFF with all levels of its pyramid (SubIFDs), for reading parts of it.

    Pages may be larger than memory where they are tiled: what is decoded is counted when it is read. Pixels
    may be of any type, labels of 64 bits as well.

    Parameters and errors as in :func:`read_tiff`; `image` is the number of the image, from 0, of an OME-TIFF
    that holds several (see `tiff_image_names`).
    """
    return _read_levels(Path(path), axes, largest_page=_LAZY, finest_only=False, image=image)


def tiff_image_names(path: Path | str) -> tuple[str, ...]:
    """The names of the images in an OME-TIFF, empty for one without a name; of another TIFF one empty name,
    and where OME-XML tells another number of images than there are.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.guard.tiff.survey_tiff`.
    """
    import tifffile

    list(survey_tiff(Path(path), budget=_LAZY))
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            images = _ome_images(file.ome_metadata or "") if file.is_ome else []
            if len(images) != len(file.series):
                return ("",)
            return tuple(str(one.get("Name", "")).strip() for one in images)
    except _UNREADABLE as error:
        raise InputError(f"is a TIFF that cannot be read: {error}", where=str(path)) from None


class SeveralImagesError(InputError):
    """A TIFF holds several images, where one is expected."""


_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError, SyntaxError)


def _read_levels(
    path: Path,
    axes: str | None,
    *,
    largest_page: int | None,
    finest_only: bool,
    image: int | None = None,
) -> TiffLevels:
    import tifffile

    identity = _identity(path)
    largest = max((page.declared_bytes for page in survey_tiff(path, budget=_LAZY)), default=0)
    require_budget(largest, largest_page, what="a page", where=str(path))
    try:
        with tifffile.TiffFile(path, _multifile=False) as file:
            n_images = len(file.series)
            if image is None and n_images != 1:
                raise SeveralImagesError(f"holds {n_images} images", where=str(path), expected="one")
            chosen = image or 0
            if chosen >= n_images:
                raise InputError(f"has no image {chosen + 1}", where=str(path), found=f"{n_images} images")
            told = _described(file, chosen)
            ours, levels, in_order = told.pop("axes", ""), [], ""
            for level, series in enumerate(file.series[chosen].levels[: 1 if finest_only else None]):
                file_axes = _axes_in_file(series.axes, series.shape, axes, str(path))
                sizes = dict(zip(file_axes, series.shape, strict=True))
                if ours and set(file_axes) <= set(ours):  # tifffile leaves out dimensions of length 1
                    file_axes = ours
                shape = tuple(sizes.get(axis, 1) for axis in file_axes)
                if level and _ordered(file_axes) != in_order:
                    break  # a thumbnail
                n_leading = len(file_axes) - _page_dims(shape, series)
                pixels = _mapped(path, series, shape, file_axes)
                if pixels is None:
                    pixels = TiffPixels(
                        path, shape, file_axes, series.dtype, n_leading, identity, level, chosen
                    )
                levels.append(pixels)
                in_order = _ordered(file_axes)
            _require_same(path, identity)
            n_channels = levels[0].shape[in_order.index("C")] if "C" in in_order else None
            for name in ("channel_names", "channel_colors"):
                if len(told.get(name, ())) != n_channels:
                    told.pop(name, None)
            return TiffLevels(tuple(levels), in_order, told)
    except (InputError, ReplacedError):
        raise
    except _UNREADABLE as error:
        raise InputError(f"is a TIFF that cannot be read: {error}", where=str(path)) from None


class ReplacedError(StorageError):
    """A file was replaced by another version while it was being read."""


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        facts = path.stat()
    except OSError:
        return None  # the opening tells what is wrong
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _require_same(path: Path, identity: tuple[int, ...] | None) -> None:
    if _identity(path) != identity:
        raise ReplacedError("was replaced while it was being read", where=str(path), next="Read it again.")


class TiffPixels:
    """Pixels of a TIFF that are decoded page by page when they are sliced; it can be pickled.

    Parameters
    ----------
    path : Path
    file_shape : tuple of int
        As the pixels lie in the file.
    file_axes : str
        One letter of TCZYX for each of these dimensions.
    dtype : dtype
    n_leading : int
        How many of the first dimensions count pages; the others lie within a page.
    identity : tuple
        Which file the path named when it was opened. A file that was replaced meanwhile is an error: pages of
        two versions are never mixed.
    level : int, default 0
        Of the pyramid.
    image : int, default 0
        Of the images in the file.

    Attributes
    ----------
    shape : tuple of int
        In the order TCZYX.
    dtype : dtype
    """

    def __init__(
        self,
        path: Path,
        file_shape: tuple[int, ...],
        file_axes: str,
        dtype,
        n_leading: int,
        identity: tuple[int, ...] | None,
        level: int = 0,
        image: int = 0,
    ) -> None:
        self.path, self.file_shape, self.n_leading, self._identity = path, file_shape, n_leading, identity
        self.level, self.image = level, image
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self._order = tuple(file_axes.index(axis) for axis in _ordered(file_axes))
        self.shape = tuple(file_shape[at] for at in self._order)
        self.ndim = len(self.shape)
        self._last: tuple[int, np.ndarray] | None = (
            None  # rows of one page are often asked for one after the other
        )

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[()], dtype)

    def __getitem__(self, key) -> np.ndarray:
        """Pixels of integers and slices with a step of 1, as an array in memory."""
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = (*key[:at], *[slice(None)] * (self.ndim - len(key) + 1), *key[at + 1 :])
        key = (*key, *[slice(None)] * (self.ndim - len(key)))
        ranges = [range(n)[one] for n, one in zip(self.shape, key, strict=True)]
        in_file: list[Any] = [None] * self.ndim
        for at, one in zip(self._order, ranges, strict=True):
            in_file[at] = one if isinstance(one, range) else range(one, one + 1)
        values = self._read(in_file).transpose(self._order)
        return values[tuple(0 if isinstance(one, int) else slice(None) for one in ranges)]

    def _read(self, wanted: list[range]) -> np.ndarray:
        """A block in the order of the file."""
        n = self.n_leading
        inside = tuple(slice(one.start, one.stop, one.step) for one in wanted[n:])
        shape = tuple(map(len, wanted))
        require_budget(declared_bytes(shape, self.dtype.itemsize), None, what="a part", where=str(self.path))
        out = np.empty(shape, self.dtype)
        places = product(*[range(len(one)) for one in wanted[:n]])
        for place, index in zip(places, product(*wanted[:n]), strict=True):
            page = int(np.ravel_multi_index(index, self.file_shape[:n])) if n else 0
            out[place] = self._part(page, inside)
        return out

    def release(self) -> None:
        """Forget the page that was decoded last."""
        self._last = None

    def _part(self, number: int, inside: tuple[slice, ...]) -> np.ndarray:
        """A part of one page; of a large one without decoding the rest."""
        last = self._last
        if last is not None and last[0] == number:
            return last[1][inside]
        shape = self.file_shape[self.n_leading :]
        if len(shape) == 2 and declared_bytes(shape, self.dtype.itemsize) > _WHOLE_PAGE_BYTES:
            return self._decoded(number, lambda page: _segments(page, *inside, str(self.path)))
        require_budget(declared_bytes(shape, self.dtype.itemsize), None, what="a page", where=str(self.path))
        values = self._decoded(number, lambda page: page.asarray().reshape(shape))
        self._last = (number, values)
        return values[inside]

    def _decoded(self, number: int, decode: Callable[[TiffPage], np.ndarray]) -> np.ndarray:
        import tifffile

        try:
            with tifffile.TiffFile(self.path, _multifile=False) as file:
                page = file.series[self.image].levels[self.level].pages[number]
                if page is None:
                    raise InputError(f"page {number + 1} is absent", where=str(self.path))
                values = decode(page)
            _require_same(self.path, self._identity)
        except ReplacedError:
            raise
        except (ValueError, TypeError, LookupError, OSError, RuntimeError, SyntaxError) as error:
            if isinstance(error, (InputError, MemoryError)):
                raise
            raise InputError(f"page {number + 1} cannot be decoded: {error}", where=str(self.path)) from None
        return values


def _segments(page: TiffPage, rows: slice, columns: slice, where: str) -> np.ndarray:
    """Rows and columns of a page with one sample a pixel, of which only the strips or tiles are decoded."""
    page = page.aspage()
    across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
    height, width = (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )
    height = min(height, page.imagelength)
    require_budget(declared_bytes((height, width), page.dtype.itemsize), None, what="a tile", where=where)
    size = (rows.stop - rows.start, columns.stop - columns.start)
    # Zeros take memory where something is decoded, not all that a file only declares.
    out = np.full(size, page.nodata, page.dtype) if page.nodata else np.zeros(size, page.dtype)
    for y in range(rows.start // height, -(-rows.stop // height)):
        for x in range(columns.start // width, -(-columns.stop // width)):
            at = y * across + x
            if not page.databytecounts[at]:
                continue  # left out by the writer
            page.parent.filehandle.seek(page.dataoffsets[at])
            data = page.parent.filehandle.read(page.databytecounts[at])
            tile, _, shape = page.decode(data, at, jpegtables=page.jpegtables)
            tile = tile[0, : shape[1], : shape[2], 0]
            top, left = y * height - rows.start, x * width - columns.start
            cut = tile[max(-top, 0) : out.shape[0] - top, max(-left, 0) : out.shape[1] - left]
            top, left = max(top, 0), max(left, 0)
            out[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return out


# --------------------------------------------------------------------------- what the axes are


def _ordered(axes: str) -> str:
    return "".join(axis for axis in AXES if axis in axes)


def _page_dims(shape: tuple[int, ...], series) -> int:
    """How many of the last dimensions lie within one page: those that its pixels fill, Y and X at least."""
    inside, n = math.prod(series.keyframe.shape), 2
    while math.prod(shape[-n:]) < inside:
        n += 1
    return n


def _axes_in_file(found: str, shape: tuple[int, ...], given: str | None, where: str) -> str:
    """Letters of TCZYX for the dimensions as they lie in the file."""
    if given is not None:
        found = given
    elif set(found) & set("IQ"):  # a stack that does not say what it is a stack of
        further = len(found) - 2
        if further == 1 and shape[2] <= _MOST_CHANNELS_LAST < min(shape[:2]):
            found = "YXC"
        else:
            found = ("", "C", "TC", "TCZ")[further] + "YX" if further < 4 else found
    found = found.replace("S", "C")
    if len(found) != len(shape) or len(set(found)) != len(found) or not set("YX") <= set(found) <= set(AXES):
        raise InputError(
            "has axes that are not read here",
            where=where,
            expected=f"each of {AXES} at most once, Y and X among them",
            found=f"{found} of shape {shape}",
            next="Name the axes as they lie in the file, for example axes='ZYX'.",
        )
    return found


def _mapped(path: Path, series, shape: tuple[int, ...], axes: str) -> np.ndarray | None:
    """Pixels that lie uncompressed in one piece, mapped into memory."""
    page = series.keyframe
    if series.dataoffset is None or not page.is_memmappable:
        return None
    dtype = np.dtype(page.parent.byteorder + series.dtype.char)
    mapped = np.memmap(path, dtype, "r", series.dataoffset, shape)
    return mapped.transpose([axes.index(axis) for axis in _ordered(axes)])


# --------------------------------------------------------------------------- what is said about them


def _ome(image: Image, name: str) -> dict[str, object]:
    """OME-XML fields. The identifier is made from the name and the image's head, not at random."""
    from uuid import NAMESPACE_URL, uuid5

    head = f"cytopipe:{name}:{image.axes}:{image.shape}:{image.dtype.name}:{image.channel_names}"
    fields: dict[str, object] = {
        "axes": image.axes,
        "Name": name,
        "Creator": "cytopipe",
        "UUID": str(uuid5(NAMESPACE_URL, head)),
    }
    channel: dict[str, list] = {}
    if image.channel_names:
        channel["Name"] = list(image.channel_names)
    if image.channel_colors:
        channel["Color"] = [_rgba(color) for color in image.channel_colors]
    if channel:
        fields["Channel"] = channel
    if image.pixel_size_um:
        for axis, size in zip("YX", image.pixel_size_um, strict=True):
            fields[f"PhysicalSize{axis}"], fields[f"PhysicalSize{axis}Unit"] = float(size), "µm"
    fields["MapAnnotation"] = {_AXES_KEY: image.axes, _LABELS_KEY: str(image.is_labels).lower()}
    return fields


def _rgba(color: str) -> int:
    """OME's colour: red, green, blue and alpha in a signed 32-bit number."""
    return int.from_bytes(bytes.fromhex(color) + b"\xff", "big", signed=True)


def _described(file: TiffFile, image: int) -> dict[str, Any]:
    """Channel names, colours, pixel size and whether it is a label image, as far as the file says them."""
    if file.is_ome:
        return _described_by_ome(file.ome_metadata or "", image)
    if file.is_imagej:
        return _described_by_imagej(file)
    return {}


def _ome_images(text: str) -> list[dict[str, Any]]:
    import tifffile

    return _listed(tifffile.xml2dict(text).get("OME", {}).get("Image"))


def _described_by_ome(text: str, image: int) -> dict[str, Any]:
    import tifffile

    document = tifffile.xml2dict(text).get("OME", {})
    pixels = _listed(document.get("Image"))[image].get("Pixels", {})
    channels = _listed(pixels.get("Channel"))
    told: dict[str, Any] = {}
    if channels and all("Name" in channel for channel in channels):
        told["channel_names"] = tuple(str(channel["Name"]) for channel in channels)
    if channels and all("Color" in channel for channel in channels):
        told["channel_colors"] = tuple(
            (int(channel["Color"]) & 0xFFFFFFFF).to_bytes(4, "big")[:3].hex().upper() for channel in channels
        )
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "YX"]
    units = [_MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "YX"]
    if all(sizes) and all(units):
        told["pixel_size_um"] = tuple(float(n) * unit for n, unit in zip(sizes, units, strict=True))
    for annotation in _listed(document.get("StructuredAnnotations", {}).get("MapAnnotation")):
        for entry in _listed(annotation.get("Value", {}).get("M")):
            if entry.get("K") == _AXES_KEY:
                told["axes"] = str(entry.get("value"))
            elif entry.get("K") == _LABELS_KEY:
                told["is_labels"] = str(entry.get("value")).lower() == "true"
    return told


def _listed(value: object) -> list:
    """What an XML element that may stand once or several times was made into."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _described_by_imagej(file: TiffFile) -> dict[str, Any]:
    unit = str((file.imagej_metadata or {}).get("unit", ""))
    tags = [file.pages[0].tags.get(name) for name in ("YResolution", "XResolution")]
    if (
        unit not in ("micron", "um", "µm", "\\u00B5m")
        or None in tags
        or not all(all(tag.value) for tag in tags)
    ):
        return {}
    return {"pixel_size_um": tuple(tag.value[1] / tag.value[0] for tag in tags)}
