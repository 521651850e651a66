"""What a person sees while runs work: bars on a terminal, lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from typing import TextIO

__all__ = ["Lines", "Quiet", "open_watch"]

_SECONDS_BETWEEN_LINES = 10.0


class Quiet:
    """Hears everything and says nothing but what has to be known."""

    def begin(self, asset: str, key: str) -> None:
        pass

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        pass

    def partition(self, asset: str, key: str, number: int, total: int) -> None:
        pass

    def say(self, message: str) -> None:
        sys.stderr.write(f"{message}\n")

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Lines(Quiet):
    """One line per finished partition, and one every ten seconds of a long step."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said = time.monotonic()

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_LINES:
            self.say(f"{asset} [{key}] {what}: {done} of {total}")

    def partition(self, asset: str, key: str, number: int, total: int) -> None:
        self.say(f"{asset} [{key}] ({number} of {total})")

    def say(self, message: str) -> None:
        self._said = time.monotonic()
        self._stream.write(f"{message}\n")
        self._stream.flush()


class _Bars(Quiet):
    """A bar for the partitions of the asset at work, and one for the step inside."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(file=stream),
            transient=True,
        )
        self._outer: dict[str, int] = {}
        self._inner = None
        self._inner_name = ""

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        name = f"  {key}: {what}"
        if name != self._inner_name:
            self._drop_inner()
            self._inner, self._inner_name = self._bars.add_task(name, total=total), name
        self._bars.update(self._inner, completed=done, total=total)

    def partition(self, asset: str, key: str, number: int, total: int) -> None:
        self._drop_inner()
        if asset not in self._outer:
            self._outer[asset] = self._bars.add_task(asset, total=total)
        self._bars.update(self._outer[asset], completed=number, total=total)

    def say(self, message: str) -> None:
        self._bars.console.print(message, highlight=False, markup=False)

    def _drop_inner(self) -> None:
        if self._inner is not None:
            self._bars.remove_task(self._inner)
        self._inner, self._inner_name = None, ""

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()


def open_watch(*, quiet: bool = False, stream: TextIO | None = None) -> Quiet:
    """Bars on a terminal, lines elsewhere, next to nothing when `quiet`; a context manager."""
    stream = stream or sys.stderr
    if quiet:
        return Quiet()
    return _Bars(stream) if stream.isatty() else Lines(stream)
