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
            start = data.find(_SIGNATURE)
            while start >= 0:
                if not _is_sound(data, start):
                    raise InputError(
                        f"is a damaged HDF5 file: its text at byte {start:,} does not add up",
                        where=str(path),
                        next="Copy the file again from where it was written.",
                    )
                start = data.find(_SIGNATURE, start + 1)


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
