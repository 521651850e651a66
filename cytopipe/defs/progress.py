"""Who watches a run from inside its own process: the command line's bars, or nobody.

A run started from the browser has no listener; its progress is in the history.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

__all__ = ["Listener", "begin", "listen", "partition", "progress", "say"]


class Listener(Protocol):
    """What a watcher hears."""

    def begin(self, asset: str, key: str) -> None:
        """A partition of an asset begins."""

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        """`done` of `total` of a long step is finished."""

    def partition(self, asset: str, key: str, number: int, total: int) -> None:
        """Partition `number` of `total` of an asset has ended, well or not."""

    def say(self, message: str) -> None:
        """One sentence for the person who waits."""


_listeners: list[Listener] = []


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Let `listener` hear everything until the block ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def begin(asset: str, key: str) -> None:
    for one in _listeners:
        one.begin(asset, key)


def progress(asset: str, key: str, what: str, done: int, total: int) -> None:
    for one in _listeners:
        one.progress(asset, key, what, done, total)


def partition(asset: str, key: str, number: int, total: int) -> None:
    for one in _listeners:
        one.partition(asset, key, number, total)


def say(message: str) -> None:
    for one in _listeners:
        one.say(message)
