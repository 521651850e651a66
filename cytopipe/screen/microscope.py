"""From the files of a microscope to images of tiles, and to the table of what was acquired.

ND2, TIFF and OME-TIFF are read plane by plane: depth is projected (maximum), channels are put in order,
mirrored images turned back, and the files of a tile joined channel after channel. What files say of stage and
pixels becomes a table: a missing cycle or an image of another size is told before anything is computed.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cytopipe.errors import Finding, InputError, MissingToolError, RefusedError
from cytopipe.storage.guard.budget import declared_bytes, require_budget

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ACQUISITION_COLUMNS", "MicroscopeFile", "acquisitions", "check_acquisitions", "convert"]

ACQUISITION_COLUMNS = (
    "plate",
    "well",
    "tile",
    "cycle",
    "file",
    "position",
    "channels",
    "depth",
    "height_px",
    "width_px",
    "dtype",
    "stage_y_um",
    "stage_x_um",
    "pixel_size_y_um",
    "pixel_size_x_um",
)

_FLIPS = {"": (), "y": (-2,), "x": (-1,), "yx": (-2, -1)}
#: nd2 follows what a damaged file declares, with whatever error comes of it.
_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NameError,
    OSError,
    RuntimeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


@dataclass(frozen=True)
class MicroscopeFile:
    """One file, and what of the screen it shows.

    Parameters
    ----------
    path : Path
        ``.nd2``, ``.tif`` or ``.tiff``.
    plate, well : str
    tile : int, optional
        None where the file holds several stage positions: each is then a tile of that number, from 0.
    cycle : int, optional
        None for a phenotype image.
    position : int, optional
        Which stage position of the file this is, from 0; not needed where there is one.
    channel_order : sequence of int or of str, optional
        The file's channels in the order wanted, by number from 0 or by name. Those not named are left out.
    flip : {'', 'y', 'x', 'yx'}
        Axes along which the image is mirrored.
    """

    path: Path
    plate: str = ""
    well: str = ""
    tile: int | None = None
    cycle: int | None = None
    position: int | None = None
    channel_order: Sequence[int | str] | None = None
    flip: Literal["", "y", "x", "yx"] = ""


@dataclass(frozen=True)
class _Opened:
    """A file whose pixels are read when they are asked for.

    `plane` reads the (Y, X) plane of a stage position, channel and depth.
    """

    plane: Any
    n_positions: int
    n_channels: int
    depth: int
    shape_px: tuple[int, int]
    dtype: np.dtype
    channel_names: tuple[str, ...] = ()
    stage_um: dict[int, tuple[float, float]] = field(default_factory=dict)  # (y, x) by stage position
    pixel_size_um: tuple[float, float] = (math.nan, math.nan)


def convert(files: Sequence[MicroscopeFile]) -> np.ndarray:
    """The image of one tile (of one cycle), from one or several files.

    Parameters
    ----------
    files : sequence of MicroscopeFile
        In the order in which their channels are wanted: one file for all channels, one for each, or rounds.

    Returns
    -------
    (C, Y, X) uint16
        Maximum over depth; channels ordered, images mirrored and files joined as `files` say.

    Raises
    ------
    InputError
        No file; a file that cannot be read, holds other than unsigned pixels of at most 16 bits, several time
        points, or several stage positions of which none is chosen; a channel that it does not have; files of
        different size or type, all of them at once.
    MissingToolError
        The library ``nd2`` is absent.
    BudgetError
        The image needs more memory than it may have.
    """
    if not files:
        raise InputError("an image without files", expected="at least one file of a microscope")
    images, findings = [], []
    for file in files:
        with _opened(file.path) as opened:
            images.append(_image(file, opened))
        first, image = images[0], images[-1]
        if image.shape[-2:] != first.shape[-2:] or image.dtype != first.dtype:
            findings.append(
                Finding(
                    what="has another size or type than the first file",
                    where=str(file.path),
                    expected=_told(first),
                    found=_told(image),
                )
            )
    if findings:
        raise InputError(findings)
    return np.concatenate(images).astype(np.uint16, copy=False)


def acquisitions(files: Iterable[MicroscopeFile]) -> pd.DataFrame:
    """What a run acquired: one row per file and stage position, in the order given.

    Parameters
    ----------
    files : iterable of MicroscopeFile

    Returns
    -------
    DataFrame
        The columns :data:`ACQUISITION_COLUMNS`; stage and pixel size in micrometres, NaN where a file does
        not say them. Pixels are not read.

    Raises
    ------
    InputError
        Files that cannot be read, all of them at once.
    """
    import pandas as pd

    rows, findings = [], []
    for file in files:
        try:
            with _opened(file.path) as opened:
                rows.extend(_rows(file, opened))
        except (InputError, RefusedError) as error:
            findings.extend(error.findings)
    if findings:
        raise InputError(findings)
    table = pd.DataFrame(rows, columns=list(ACQUISITION_COLUMNS))
    return table.astype({"tile": "Int64", "cycle": "Int64"})


def check_acquisitions(table: pd.DataFrame) -> list[Finding]:
    """Everything in which a run is not whole; a run without faults gives none.

    Parameters
    ----------
    table : DataFrame
        As :func:`acquisitions` returns it.

    Returns
    -------
    list of Finding
        Tiles that lack a cycle which other tiles of the plate have, cycles that were not acquired at all, and
        images of another size, type or pixel size than most of the plate.
    """
    findings: list[Finding] = []
    for plate, rows in table.groupby("plate", sort=True):
        findings += _missing_cycles(str(plate), rows)
        for columns, what in (
            (["height_px", "width_px"], "size"),
            (["dtype"], "type"),
            (["pixel_size_y_um", "pixel_size_x_um"], "pixel size"),
        ):
            kinds = rows[columns].apply(tuple, axis=1).map(lambda kind: " x ".join(f"{one}" for one in kind))
            usual = kinds.value_counts().index[0]
            for row, kind in zip(rows.itertuples(), kinds, strict=True):
                if kind != usual:
                    findings.append(
                        Finding(
                            what=f"has another {what} than most of plate {plate}",
                            where=str(row.file),
                            expected=usual,
                            found=kind,
                        )
                    )
    return findings


def _missing_cycles(plate: str, rows: pd.DataFrame) -> Iterator[Finding]:
    cycles = rows.dropna(subset=["cycle"])
    if cycles.empty:
        return
    acquired = {int(one) for one in cycles["cycle"]}
    if absent := sorted(set(range(min(acquired), max(acquired) + 1)) - acquired):
        yield Finding(
            what=f"plate {plate} lacks whole cycles",
            expected=f"{min(acquired)} to {max(acquired)}",
            found=f"none of {', '.join(map(str, absent))}",
        )
    for (well, tile), of_tile in cycles.groupby(["well", "tile"], sort=True):
        if lacking := sorted(acquired - {int(one) for one in of_tile["cycle"]}):
            yield Finding(
                what=f"plate {plate}, well {well}, tile {tile} lacks cycles that other tiles have",
                expected=", ".join(map(str, sorted(acquired))),
                found=f"none of {', '.join(map(str, lacking))}",
            )


# ---------------------------------------------------------------------- one file


def _image(file: MicroscopeFile, opened: _Opened) -> np.ndarray:
    """(C, Y, X) of one file, depth projected, in the order and orientation wanted."""
    where = str(file.path)
    if opened.dtype not in (np.uint8, np.uint16):
        raise InputError("has other pixels than a camera", where=where, expected="uint8 or uint16",
                         found=str(opened.dtype))  # fmt: skip
    if file.flip not in _FLIPS:
        raise InputError(f"flip {file.flip!r} is not known", where=where, expected="'', y, x or yx")
    position = _position(file, opened)
    channels = _channels(file, opened)
    shape = (len(channels), *opened.shape_px)
    require_budget(declared_bytes(shape, opened.dtype.itemsize), None, what="an image", where=where)
    out = np.empty(shape, opened.dtype)
    for target, channel in zip(out, channels, strict=True):
        target[:] = opened.plane(position, channel, 0)
        for depth in range(1, opened.depth):
            np.maximum(target, opened.plane(position, channel, depth), out=target)
    return np.flip(out, _FLIPS[file.flip]) if file.flip else out


def _position(file: MicroscopeFile, opened: _Opened) -> int:
    if file.position is None and opened.n_positions == 1:
        return 0
    if file.position is None or not 0 <= file.position < opened.n_positions:
        raise InputError(
            "holds other stage positions than the one wanted",
            where=str(file.path),
            expected=f"a position from 0 to {opened.n_positions - 1}",
            found=str(file.position),
        )
    return file.position


def _channels(file: MicroscopeFile, opened: _Opened) -> list[int]:
    if file.channel_order is None:
        return list(range(opened.n_channels))
    names = list(opened.channel_names)
    found = [names.index(one) if one in names else one for one in file.channel_order]
    wrong = [one for one in found if not isinstance(one, int) or not 0 <= one < opened.n_channels]
    if wrong or len(set(found)) != len(found) or not found:
        raise InputError(
            "does not have the channels in the order wanted, each once",
            where=str(file.path),
            expected=f"numbers from 0 to {opened.n_channels - 1}"
            + (f", or {', '.join(names)}" * bool(names)),
            found=", ".join(map(str, file.channel_order)) or "none",
        )
    return found


def _rows(file: MicroscopeFile, opened: _Opened) -> Iterator[dict[str, Any]]:
    every = file.position is None and file.tile is None and opened.n_positions > 1
    for position in range(opened.n_positions) if every else [_position(file, opened)]:
        y, x = opened.stage_um.get(position, (math.nan, math.nan))
        names = opened.channel_names or tuple(map(str, range(opened.n_channels)))
        yield {
            "plate": file.plate,
            "well": file.well,
            "tile": position if every else file.tile,
            "cycle": file.cycle,
            "file": str(file.path),
            "position": position,
            "channels": ",".join(names[at] for at in _channels(file, opened)),
            "depth": opened.depth,
            "height_px": opened.shape_px[0],
            "width_px": opened.shape_px[1],
            "dtype": opened.dtype.name,
            "stage_y_um": y,
            "stage_x_um": x,
            "pixel_size_y_um": opened.pixel_size_um[0],
            "pixel_size_x_um": opened.pixel_size_um[1],
        }


@contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    readers = {".nd2": _nd2, ".tif": _tiff, ".tiff": _tiff}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise InputError("is of no kind that is read", where=str(path), expected=", ".join(readers))
    if not Path(path).is_file():
        raise InputError("is not there", where=str(path), expected="a file of a microscope")
    with reader(Path(path)) as opened:
        yield opened


@contextmanager
def _tiff(path: Path) -> Iterator[_Opened]:
    from cytopipe.storage.formats.tiff import read_tiff

    image = read_tiff(path)
    if image.size("T") > 1:
        raise InputError(
            "holds several time points", where=str(path), expected="one", found=f"{image.size('T')}"
        )
    axes = image.axes[:-2]

    def plane(_position: int, channel: int, depth: int) -> np.ndarray:
        at = {"T": 0, "C": channel, "Z": depth}
        return np.asarray(image.pixels[tuple(at[axis] for axis in axes)] if axes else image.pixels)

    stage = _stage_in_ome(path)
    yield _Opened(
        plane,
        1,
        image.n_channels,
        image.size("Z"),
        (image.shape[-2], image.shape[-1]),
        image.dtype,
        image.channel_names,
        {0: stage} if stage else {},
        image.pixel_size_um or (math.nan, math.nan),
    )


def _stage_in_ome(path: Path) -> tuple[float, float] | None:
    """(y, x) in micrometres that OME-XML says of the first plane."""
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as file:
        text = file.ome_metadata or ""
    found = re.search(r"<(?:\w+:)?Plane\b[^>]*>", text)
    values = dict(re.findall(r'(Position[XY](?:Unit)?)="([^"]*)"', found[0])) if found else {}
    place = []
    for axis in "YX":
        try:
            size = float(values[f"Position{axis}"]) * _MICROMETRES[values.get(f"Position{axis}Unit", "µm")]
        except (KeyError, ValueError):  # not told, or in "reference frame", which has no length
            return None
        place.append(size)
    return (place[0], place[1]) if all(map(math.isfinite, place)) else None


@contextmanager
def _nd2(path: Path) -> Iterator[_Opened]:
    try:
        import nd2
    except ImportError:
        raise MissingToolError(
            "ND2 files are read by the library nd2, which is absent",
            where=str(path),
            next="Install it: pip install nd2.",
        ) from None
    try:
        file = nd2.ND2File(path)
    except _FAULTS as error:
        raise _damaged(path, error) from None
    with file:
        try:
            opened = _described_nd2(path, file)
        except InputError:
            raise
        except _FAULTS as error:
            raise _damaged(path, error) from None
        yield opened


def _described_nd2(path: Path, file: Any) -> _Opened:
    sizes = dict(file.sizes)
    if (times := sizes.get("T", 1)) > 1:
        raise InputError("holds several time points", where=str(path), expected="one", found=str(times))
    if file.is_rgb or set(sizes) - set("TPZCYX"):
        raise InputError("has axes that are not read here", where=str(path), expected="P, Z, C, Y and X",
                         found=", ".join(sizes))  # fmt: skip
    loops = [axis for axis in sizes if axis not in "CYX"]
    places = list(product(*(range(sizes[axis]) for axis in loops)))
    if file.attributes.sequenceCount < len(places):  # nd2 would give frames of zeros
        raise InputError(
            "is an acquisition that was stopped",
            where=str(path),
            expected=f"{len(places)} frames",
            found=f"{file.attributes.sequenceCount}",
        )
    frames = {tuple(dict(zip(loops, place, strict=True)).get(axis, 0) for axis in "PZ"): at
              for at, place in enumerate(places)}  # fmt: skip
    require_budget(
        declared_bytes((sizes.get("C", 1), sizes["Y"], sizes["X"]), np.dtype(file.dtype).itemsize),
        None,
        what="a frame",
        where=str(path),
    )

    def plane(position: int, channel: int, depth: int) -> np.ndarray:
        try:
            frame = file.read_frame(frames[position, depth])
            return frame[channel] if frame.ndim == 3 else frame
        except _FAULTS as error:
            raise _damaged(path, error) from None

    names, pixel_size_um, stage = _facts_of_nd2(file)
    return _Opened(
        plane,
        sizes.get("P", 1),
        sizes.get("C", 1),
        sizes.get("Z", 1),
        (sizes["Y"], sizes["X"]),
        np.dtype(file.dtype),
        names if len(names) == sizes.get("C", 1) else (),
        stage,
        pixel_size_um,
    )


def _facts_of_nd2(file: Any) -> tuple[tuple[str, ...], tuple[float, float], dict[int, tuple[float, float]]]:
    """Channel names, pixel size and stage (y, x) of each position, as far as the file has them."""
    names: tuple[str, ...] = ()
    pixel_size_um, stage = (math.nan, math.nan), {}
    with suppress(*_FAULTS):
        for loop in file.experiment:
            if loop.type == "XYPosLoop":
                for at, point in enumerate(loop.parameters.points):
                    x, y, _ = point.stagePositionUm
                    stage[at] = (float(y), float(x))
    with suppress(*_FAULTS):  # nd2 0.12 fails here on a channel that names no fluorophore
        channels = file.metadata.channels or ()
        names = tuple(str(one.channel.name) for one in channels)
        volume = channels[0].volume
        if all(volume.axesCalibrated[:2]):
            pixel_size_um = (float(volume.axesCalibration[1]), float(volume.axesCalibration[0]))
        if not stage:
            x, y, _ = file.frame_metadata(0).channels[0].position.stagePositionUm
            stage[0] = (float(y), float(x))
    return names, pixel_size_um, stage


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"is an ND2 file that cannot be read: {error}", where=str(path))


def _told(image: np.ndarray) -> str:
    return f"{image.shape[-2]} x {image.shape[-1]} px {image.dtype}"
