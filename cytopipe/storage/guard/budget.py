"""Bytes are counted before they are allocated, and while they inflate.

In comes a declared size or a compressed stream of a file we did not write; out goes the content, or a
BudgetError with both numbers. What must hold: memory stays within the budget whatever the file claims.
"""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path

from cytopipe.errors import BudgetError, InputError, RefusedError

__all__ = ["budget_bytes", "declared_bytes", "load_npy", "read_bounded", "require_budget"]

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


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Read a whole file, inflating ``.gz`` by its magic number, never beyond `max_bytes`.

    Raises
    ------
    InputError
        Not there, not a file, or compressed data that is cut off or damaged.
    BudgetError
        More than `max_bytes`, before or after inflating.
    """
    try:
        if not path.is_file():
            found = "a directory" if path.is_dir() else "nothing" if not path.exists() else "a special file"
            raise InputError("is not a file", where=str(path), found=found)
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            source = gzip.GzipFile(fileobj=stream) if zipped else stream
            pieces, count = [], 0
            while piece := source.read(_PIECE):
                count += len(piece)
                if count > max_bytes:
                    raise BudgetError(
                        "holds more than may be read",
                        where=str(path),
                        expected=f"at most {max_bytes:,} bytes" + (" after decompression" if zipped else ""),
                        found="more",
                    )
                pieces.append(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"compressed data is damaged: {error}", where=str(path)) from None
    except OSError as error:
        if isinstance(error, BudgetError):
            raise
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
    return b"".join(pieces)


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
