"""How far the work is, on a terminal and off it.

On a terminal each step is a bar with its rate and the time left; elsewhere it is a plain line now and
then, so that a log stays readable; with ``--quiet`` it is nothing. Everything goes to standard error:
standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol, TextIO

__all__ = ["Progress", "Silent", "open_progress"]

_SECONDS_BETWEEN_LINES = 10.0


class Progress(Protocol):
    """What a long step reports to; a context manager."""

    def step(self, name: str, done: int, total: int) -> None:
        """`done` of `total` of the step `name` is finished; the first call of a name opens it."""

    def say(self, message: str) -> None:
        """One sentence for the person who waits."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exception: object) -> None: ...


class Silent:
    """Reports nothing."""

    def step(self, name: str, done: int, total: int) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class _Lines:
    """A line when a step ends, and every ten seconds while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._name = ""
        self._began = self._last = (0, 0.0)

    def step(self, name: str, done: int, total: int) -> None:
        moment = time.monotonic()
        if name != self._name:
            self._name, self._began, self._last = name, (done, moment), (done, moment)
        finished = done >= total and self._last[0] < total
        if not finished and moment - self._last[1] < _SECONDS_BETWEEN_LINES:
            return
        self._last = (done, moment)
        seconds = moment - self._began[1]
        rate = (done - self._began[0]) / seconds if seconds > 0 else 0.0
        left = f", {_clock((total - done) / rate)} left" if rate > 0 and done < total else ""
        self.say(f"{name}: {done} of {total}" + (f" ({rate:.1f}/s{left})" if rate > 0 else ""))

    def say(self, message: str) -> None:
        self._stream.write(f"{message}\n")
        self._stream.flush()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class _Bars:
    """One bar per step: count, rate, time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(file=stream),
        )
        self._tasks: dict[str, Any] = {}

    def step(self, name: str, done: int, total: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, completed=done, rate="")
        task = self._tasks[name]
        speed = self._bars.tasks[task].speed
        self._bars.update(task, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

    def say(self, message: str) -> None:
        self._bars.console.print(message, highlight=False, markup=False)

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()


def open_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Progress:
    """Bars on a terminal, lines elsewhere, nothing when `quiet`."""
    stream = stream or sys.stderr
    if quiet:
        return Silent()
    return _Bars(stream) if stream.isatty() else _Lines(stream)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
