"""Heaps of text in HDF5 files: HDF5 walks them without looking, and one damaged size makes it walk for ever.

Text of variable length, also in attributes, lies in global heap collections (``GCOL``). Each is a run of
objects that say how long they are; one whose length is 0 sends the library into an endless loop.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from cytopipe.errors import InputError
from cytopipe.storage.filesystem import open_regular

__all__ = ["require_sound_heaps"]

_SIGNATURE = b"GCOL\x01\0\0\0"
_WORD = int.from_bytes(_SIGNATURE[:4], "little")
_AT_ONCE = 1 << 18  # bytes; well within the processor's cache
_OBJECT = struct.Struct("<H6xQ")  # number, (references and reserved bytes,) size


def require_sound_heaps(path: Path) -> None:
    """Refuse a file with a heap of text that does not add up to its size.

    Raises
    ------
    InputError
        With the place of the heap.
    """
    with open_regular(Path(path), follow=True) as stream:
        size = os.fstat(stream.fileno()).st_size
        if not size:
            return
        with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as data:
            for begin in range(0, size, _AT_ONCE):
                for start in _heaps_from(data, begin):
                    if not _is_sound(data, start):
                        raise InputError(
                            f"is a damaged HDF5 file: its text at byte {start:,} does not add up",
                            where=str(path),
                            next="Copy the file again from where it was written.",
                        )


def _heaps_from(data: mmap.mmap, begin: int) -> list[int]:
    """Heaps that begin within `_AT_ONCE` bytes, wherever they lie.

    Four bytes are compared at a time, at each of four shifts: in half the time of a search for the signature.
    """
    import numpy as np

    end, found = min(begin + _AT_ONCE + 3, len(data)), []
    for first in range(begin, min(begin + 4, end - 3)):
        words = np.frombuffer(data, "<u4", (end - first) // 4, first)
        hits = words == _WORD
        if hits.any():
            found += (first + 4 * np.flatnonzero(hits)).tolist()
    return sorted(at for at in found if data[at : at + len(_SIGNATURE)] == _SIGNATURE)


def _is_sound(data: mmap.mmap, start: int) -> bool:
    if start + 16 > len(data):
        return False
    end = start + int.from_bytes(data[start + 8 : start + 16], "little")
    if end > len(data):
        return False
    place = start + 16
    read, head = _OBJECT.unpack_from, _OBJECT.size  # an atlas has a million objects
    while place + head <= end:
        number, size = read(data, place)
        # Number 0 is what is free: its size is that of the whole rest. Others are padded to 8 bytes.
        step = head + (size + 7) // 8 * 8 if number else size
        if step < head or place + step > end:
            return False
        place += step
    return True
