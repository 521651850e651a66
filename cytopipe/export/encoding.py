"""Pictures as bytes of a file: PNG, JPEG, TIFF, PDF, and OME-TIFF of the pixels themselves.

The resolution for printing and, where it is known, the size of a pixel in the sample stand inside of the
file. The same picture gives the same bytes: no clock and no random number goes into them.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    from cytopipe.export.styles import MarkerSet

__all__ = ["FORMATS", "encode", "encode_ome_tiff"]

FORMATS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tiff", "pdf": ".pdf", "ome-tiff": ".ome.tiff"}
"""Suffix by format; ``ome-tiff`` holds the channels as they were measured, the others a picture."""

_INCH_MM = 25.4
_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_LEVEL = 1
"""Of ISA-L: the higher ones make pictures of noise no smaller."""
_BAND_BYTES = 4 << 20


def encode(
    picture: np.ndarray,
    file_format: str,
    *,
    dpi: float = 300,
    pixel_size_um: float | None = None,
    quality: int = 90,
    about: Mapping[str, Any] | None = None,
) -> bytes:
    """A picture as the bytes of a file.

    Parameters
    ----------
    picture : ndarray of uint8
        (Y, X, 3) red, green, blue.
    file_format : {'png', 'jpeg', 'tiff', 'pdf'}
    dpi : float
        Pixels per inch of paper.
    pixel_size_um : float, optional
        Size of a pixel of the picture in the sample (micrometres).
    quality : int
        Of JPEG, 1 to 100; also of the JPEG inside a PDF.
    about : mapping, optional
        JSON values kept in the file: what it shows and how.
    """
    said = dict(about or {})
    if pixel_size_um is not None:
        said["pixel_size_um"] = pixel_size_um
    text = json.dumps(said, ensure_ascii=True, sort_keys=True) if said else ""
    match file_format:
        case "png":
            return _png(picture, dpi, text)
        case "jpeg":
            return _jpeg(picture, dpi, quality, text)
        case "tiff":
            return _tiff(picture, dpi, text)
        case "pdf":
            return _pdf(picture, dpi, quality, text)
    raise InputError(
        "a picture cannot be written in this format",
        expected="png, jpeg, tiff or pdf",
        found=str(file_format)[:80],
    )


def _png(picture: np.ndarray, dpi: float, text: str) -> bytes:
    """Each row as differences to the pixel before, deflated by ISA-L (3.5 times faster than libpng)."""
    height, width = picture.shape[:2]
    per_metre = round(dpi / _INCH_MM * 1000)
    parts = [_PNG_BEGIN, *_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    parts += _chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1))
    if text:
        parts += _chunk(b"tEXt", b"Description\0" + text.encode("latin-1"))
    for part in _deflated(picture.reshape(height, 3 * width)):
        parts += _chunk(b"IDAT", part)
    return b"".join([*parts, *_chunk(b"IEND", b"")])


def _deflated(lines: np.ndarray) -> Iterator[bytes]:
    """Lines of RGB pixels as zlib data of a PNG; beside them a band of a few MB is in memory."""
    from isal import isal_zlib

    band = max(1, _BAND_BYTES // lines.shape[1])
    if len(lines) <= band:
        yield isal_zlib.compress(_differences(lines), _LEVEL)
        return
    packer = isal_zlib.compressobj(_LEVEL)
    for top in range(0, len(lines), band):
        if part := packer.compress(_differences(lines[top : top + band])):
            yield part
    yield packer.flush()


def _differences(lines: np.ndarray) -> np.ndarray:
    """The filter that PNG names Sub: 1, then each byte less that of the pixel before, modulo 256."""
    out = np.empty((lines.shape[0], lines.shape[1] + 1), np.uint8)
    out[:, 0] = 1
    out[:, 1:4] = lines[:, :3]
    np.subtract(lines[:, 3:], lines[:, :-3], out=out[:, 4:])
    return out


def _chunk(name: bytes, data: bytes) -> tuple[bytes, ...]:
    checked = zlib.crc32(data, zlib.crc32(name))
    return struct.pack(">I", len(data)), name, data, struct.pack(">I", checked)


def _jpeg(picture: np.ndarray, dpi: float, quality: int, text: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    more = {"comment": text.encode("ascii")} if text and len(text) < 60_000 else {}
    Image.fromarray(picture).save(out, "jpeg", quality=quality, dpi=(dpi, dpi), subsampling=0, **more)
    return out.getvalue()


def _tiff(picture: np.ndarray, dpi: float, text: str) -> bytes:
    import tifffile

    out = io.BytesIO()
    tifffile.imwrite(
        out,
        picture,
        photometric="rgb",
        compression="zlib",
        predictor=True,
        resolution=(dpi, dpi),
        resolutionunit="INCH",
        description=text,
        metadata=None,
        software="cytopipe",
    )
    return out.getvalue()


def _pdf(picture: np.ndarray, dpi: float, quality: int, text: str) -> bytes:
    from cytopipe.export.gallery import page_of_one

    return page_of_one(picture, dpi=dpi, quality=quality, about=text)


def encode_ome_tiff(
    image: np.ndarray, marker_set: MarkerSet, *, pixel_size_um: float | None, name: str
) -> bytes:
    """The channels of a marker set as they were measured, with names, colours and the size of a pixel.

    Parameters
    ----------
    image : ndarray
        (C, Y, X) in the order of the marker set.
    """
    import tifffile

    digest = hashlib.sha256(np.ascontiguousarray(image)).digest()[:16]
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "UUID": str(uuid.UUID(bytes=digest, version=4)),  # of the pixels: a random one would change the bytes
        "Name": name,
        "Channel": {
            "Name": [one.channel for one in marker_set.channels],
            "Color": [_ome_colour(one.colour) for one in marker_set.channels],
        },
    }
    if pixel_size_um is not None:
        metadata |= {
            "PhysicalSizeX": pixel_size_um,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": pixel_size_um,
            "PhysicalSizeYUnit": "µm",
        }
    out = io.BytesIO()
    tifffile.imwrite(
        out, image, ome=True, metadata=metadata, compression="zlib", predictor=image.dtype.kind in "iu"
    )
    return out.getvalue()


def _ome_colour(colour: Sequence[float]) -> int:
    """Red, green, blue, opacity in the four bytes of a signed number, as OME has it."""
    red, green, blue = (round(255 * part) for part in colour)
    return int(np.array(red << 24 | green << 16 | blue << 8 | 255, np.uint32).astype(np.int32))
