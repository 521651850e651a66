"""Small versions of PNG pictures, made on request within a fixed memory.

1. The pixels that a file declares are compared with a budget before any of them is decoded.
2. One picture is decoded at a time, always by the same thread: what another thread frees, this one could not
   use again, and eight threads kept 1.7 GB.
3. What was made is kept, in at most `_KEPT_BYTES`, until the file changes.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

__all__ = ["MOST_PIXELS", "WIDEST_PX", "Thumbnails"]

WIDEST_PX = 2000
MOST_PIXELS = 40_000_000
"""Decoded as RGBA, 160 MB. A figure of 20 x 20 inches at 300 dpi has 36 million pixels."""

_KEPT_BYTES = 32 << 20


class Thumbnails:
    """Makes small pictures, and remembers them."""

    def __init__(self) -> None:
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="thumbnails")
        self._guard = threading.Lock()
        self._kept: OrderedDict[tuple, bytes | None] = OrderedDict()
        self._kept_bytes = 0

    def of(self, descriptor: int, width: int) -> bytes | None:
        """A PNG picture at most `width` pixels wide.

        Parameters
        ----------
        descriptor : int
            An open file; it stays open.
        width : int
            1 to `WIDEST_PX`, pixels.

        Returns
        -------
        bytes or None
            None where the file is no PNG picture, is damaged, or has more than `MOST_PIXELS`.
        """
        state = os.fstat(descriptor)
        key = (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size, width)
        found, small = self._recall(key)
        return small if found else self._decoder.submit(self._make, key, descriptor, width).result()

    def _make(self, key: tuple, descriptor: int, width: int) -> bytes | None:
        found, small = self._recall(key)  # made while this one waited
        if found:
            return small
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            small = _narrowed(stream, width)
        with self._guard:
            self._kept[key] = small
            self._kept_bytes += _size(small)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= _size(self._kept.popitem(last=False)[1])
        return small

    def _recall(self, key: tuple) -> tuple[bool, bytes | None]:
        with self._guard:
            if key not in self._kept:
                return False, None
            self._kept.move_to_end(key)
            return True, self._kept[key]


def _size(small: bytes | None) -> int:
    return len(small or b"") + 200


def _narrowed(stream, width: int) -> bytes | None:
    from PIL import Image

    try:
        with Image.open(stream, formats=["PNG"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return None
            picture.thumbnail((width, picture.height), reducing_gap=2.0)
            shrunk = io.BytesIO()
            picture.save(shrunk, "PNG")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return shrunk.getvalue()
