"""Decompress bytes of any supported codec, up to a size limit.

The content is returned, or a BudgetError is raised as soon as it exceeds the limit by one byte. Memory never
holds more than the limit and one piece, whatever the stream declares.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable

from cytopipe.errors import BudgetError, InputError

__all__ = ["CODECS", "inflate"]

_PIECE = 1 << 20


def inflate(data: bytes, codec: str, limit: int, *, where: str) -> bytes:
    """Undo one compression.

    Parameters
    ----------
    data : bytes
    codec : str
        A name of :data:`CODECS`.
    limit : int
        Largest content in bytes.
    where : str
        For messages.

    Raises
    ------
    BudgetError
        The content is larger than `limit`.
    InputError
        The stream is damaged.
    """
    try:
        return CODECS[codec](data, limit)
    except _TooMuch as error:
        raise BudgetError(
            f"{codec} data inflates beyond its declared size",
            where=where,
            expected=f"at most {limit:,} bytes",
            found=f"{error.args[0]:,} bytes" if error.args else "more",
        ) from None
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, MemoryError):
            raise
        raise InputError(f"{codec} data is damaged: {error}", where=where) from None


class _TooMuch(Exception):
    """More than the limit; the argument is what was declared, where it was."""


def _streamed(make: Callable) -> Callable[[bytes, int], bytes]:
    def undo(data: bytes, limit: int) -> bytes:
        decoder, parts, count = make(), [], 0
        while not decoder.eof:
            piece = decoder.decompress(data, _PIECE)
            data = getattr(decoder, "unconsumed_tail", b"")  # zlib hands input back, bz2 keeps it
            count += len(piece)
            if count > limit:
                raise _TooMuch
            if not piece and not data and getattr(decoder, "needs_input", True):
                raise EOFError("cut off")
            parts.append(piece)
        return b"".join(parts)

    return undo


def _zstd(data: bytes, limit: int) -> bytes:
    import pyarrow as pa

    parts, count = [], 0
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        while piece := stream.read(_PIECE):
            count += len(piece)
            if count > limit:
                raise _TooMuch
            parts.append(piece)
    return b"".join(parts)


def _blosc(data: bytes, limit: int) -> bytes:
    from numcodecs import blosc

    if len(data) < 16:
        raise EOFError("cut off")
    declared = int.from_bytes(data[4:8], "little")
    if declared > limit:
        raise _TooMuch(declared)
    if int.from_bytes(data[12:16], "little") != len(data):
        raise EOFError("cut off")
    return blosc.decompress(data)


def _lz4(data: bytes, limit: int) -> bytes:
    from numcodecs import lz4

    declared = int.from_bytes(data[:4], "little")
    if declared > limit:
        raise _TooMuch(declared)
    return lz4.decompress(data)


def _crc32c(data: bytes, limit: int) -> bytes:
    import google_crc32c

    body, stored = data[:-4], int.from_bytes(data[-4:], "little")
    if google_crc32c.value(body) != stored:
        raise ValueError("checksum differs")
    return body


def _lzma(data: bytes, limit: int) -> bytes:
    with lzma.open(io.BytesIO(data)) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise _TooMuch
    return content


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _streamed(lambda: zlib.decompressobj(31)),
    "zlib": _streamed(lambda: zlib.decompressobj(15)),
    "bz2": _streamed(bz2.BZ2Decompressor),
    "lzma": _lzma,
    "zstd": _zstd,
    "blosc": _blosc,
    "lz4": _lz4,
    "crc32c": _crc32c,
}
"""How each compression is undone: ``(data, limit) -> content``."""
