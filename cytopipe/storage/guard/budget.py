"""Bytes are counted before they are allocated, and while they inflate.

A file we did not write may declare any size, or inflate without bound. Memory stays within the budget
whatever it claims; what is over it is a BudgetError with both numbers.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import zlib
from math import prod
from pathlib import Path

from cytopipe.errors import BudgetError, DamagedError, InputError, RefusedError
from cytopipe.faults import reason_of
from cytopipe.storage.filesystem import open_regular

__all__ = [
    "budget_bytes",
    "declared_bytes",
    "decompressed",
    "load_npy",
    "read_bounded",
    "read_limited",
    "require_budget",
]

_PIECE = 1 << 20


def budget_bytes(share: float = 0.5) -> int:
    """Bytes of memory one step may take: a share of what is available now."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux: half of what is installed
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return int(available * share)


def declared_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes an array of `shape` would take; exact for any declared size."""
    return prod((int(n) for n in shape), start=1) * int(itemsize)


def require_budget(needed: int, budget: int | None, *, what: str, where: str) -> None:
    """Refuse what would need more than `budget` bytes (None: half of the memory available now).

    Raises
    ------
    BudgetError
        With what was declared and what there is.
    """
    allowed = budget_bytes() if budget is None else budget
    if needed > allowed:
        raise BudgetError(
            f"{what} needs more memory than it may have",
            where=where,
            expected=f"at most {allowed:,} bytes",
            found=f"{needed:,} bytes declared",
            next="Read a part of it, or raise the budget if the file is to be trusted.",
        )


def read_limited(path: Path, max_bytes: int) -> bytes:
    """Read a whole regular file as it is, of at most `max_bytes`.

    Raises
    ------
    InputError
        Not there, not a file (a directory, a pipe, a device), or named in bytes that are not UTF-8.
    BudgetError
        Larger than `max_bytes`.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(
            "the name of the file is not UTF-8", where=ascii(str(path)), next="Rename it."
        ) from None
    try:
        with open_regular(path, follow=True) as stream:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(min(size, max_bytes) + 1)  # read(n) takes n bytes of memory at once
    except FileNotFoundError:
        raise InputError("is not a file", where=str(path), found="nothing") from None
    except DamagedError as error:
        raise InputError(
            "is not a file",
            where=str(path),
            found=error.findings[0].found,
            next="Write what it gives into a file first, and name that.",
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {reason_of(error)}", where=str(path)) from None
    if len(data) > max_bytes:
        raise _too_large(path, max_bytes, "")
    return data


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a whole file, decompressed where its first bytes say gzip, bzip2, xz or zstd, never beyond
    `max_bytes`.

    Raises
    ------
    InputError
        As :func:`read_limited`; compressed data that is cut off or damaged, or an archive of another kind.
    BudgetError
        More than `max_bytes`, before or after decompression.
    """
    return decompressed(read_limited(path, max_bytes), max_bytes, where=path)


def decompressed(data: bytes, max_bytes: int, *, where: Path) -> bytes:
    """Undo the compression that the first bytes of `data` show, if any; errors as :func:`read_bounded`."""
    for magic, kind in _ARCHIVES.items():
        if data.startswith(magic):
            raise InputError(
                f"is {kind}",
                where=str(where),
                expected="plain text, or text compressed with gzip, bzip2, xz or zstd",
                next="Unpack it, and name the file in it.",
            )
    magic = next((magic for magic in _COMPRESSIONS if data.startswith(magic)), None)
    if magic is None:
        return data
    pieces, count = [], 0
    try:
        with _COMPRESSIONS[magic](data) as source:
            while piece := source.read(_PIECE):
                count += len(piece)
                if count > max_bytes:
                    raise _too_large(where, max_bytes, " after decompression")
                pieces.append(piece)
    except BudgetError:
        raise
    except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"compressed data is damaged: {error}", where=str(where)) from None
    return b"".join(pieces)


def _too_large(path: Path, max_bytes: int, when: str) -> BudgetError:
    return BudgetError(
        "holds more than may be read",
        where=str(path),
        expected=f"at most {max_bytes:,} bytes{when}",
        found="more",
    )


def _zstd(data: bytes):
    import pyarrow as pa

    return pa.CompressedInputStream(pa.BufferReader(data), "zstd")


_COMPRESSIONS = {
    b"\x1f\x8b": lambda data: gzip.GzipFile(fileobj=io.BytesIO(data)),
    b"BZh": lambda data: bz2.BZ2File(io.BytesIO(data)),
    b"\xfd7zXZ\0": lambda data: lzma.LZMAFile(io.BytesIO(data)),  # noqa: SIM115 (the caller closes it)
    b"\x28\xb5\x2f\xfd": _zstd,
}
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (or a document of Word or Excel, which is one)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\x1f\x9d": "compressed with compress (.Z)",
    b"\x04\x22\x4d\x18": "compressed with lz4",
}


def load_npy(path: Path, *, budget: int | None = None):
    """Load a ``.npy`` array without pickles, its declared size checked first.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    RefusedError
        The array holds pickled objects.
    BudgetError
        Its header declares more than the budget.
    InputError
        It is no ``.npy`` file, or shorter than it declares.
    """
    import numpy as np

    where = str(path)
    try:
        with Path(path).open("rb") as stream:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if reader is None:
                raise InputError(f"npy format version {version} is not read", where=where)
            shape, _, dtype = reader(stream)
            if dtype.hasobject:
                raise RefusedError("holds pickled objects, which can run code", where=where)
            needed = declared_bytes(shape, dtype.itemsize)
            require_budget(needed, budget, what="the array", where=where)
            here = stream.tell()
            there = stream.seek(0, 2) - here
            if there < needed:
                raise InputError(
                    "array is cut off", where=where, expected=f"{needed} bytes", found=f"{there} bytes"
                )
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is not a .npy array: {error}", where=where) from None
