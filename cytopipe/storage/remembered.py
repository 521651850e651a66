"""What was read from files, by their status, so that an unchanged file is not read again.

Kept in memory, never on disk. As git does, what was read within a clock tick of the last change of a file is
not kept: a second change in the same tick would not be seen.
"""

from __future__ import annotations

import os
import time
from typing import Generic, TypeVar

__all__ = ["Remembered", "is_quiet", "status_key"]

Value = TypeVar("Value")
_TICK_NS = 50_000_000


class Remembered(Generic[Value]):
    """Values by key, forgotten all at once when there are more than `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._known: dict[tuple, Value] = {}

    def get(self, key: tuple) -> Value | None:
        return self._known.get(key)

    def put(self, key: tuple, value: Value) -> None:
        if len(self._known) >= self.most:
            self._known = {}
        self._known[key] = value


def status_key(status: os.stat_result) -> tuple[int, ...]:
    """What changes whenever a file does."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_quiet(status: os.stat_result) -> bool:
    """Whether the last change of a file is longer ago than a clock tick."""
    return time.time_ns() - status.st_ctime_ns > _TICK_NS
