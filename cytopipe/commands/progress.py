"""How far the work is: bars on a terminal, a line now and then elsewhere, nothing with ``--quiet``.

Everything goes to standard error: standard output belongs to results. The stream is duplicated when the
display opens, because Dagster points the descriptor of standard error to a file while a step runs.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from typing import Any, TextIO

from cytopipe.defs.event import named
from cytopipe.interrupts import ctrl_c_held_back

__all__ = ["Display", "Lines", "RunProgress", "open_display"]

_SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows nothing but what has to be known; a context manager, and the base of the other displays."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def step(self, name: str, done: int, total: int, *, passing: bool = False) -> None:
        """`done` of `total` of the step `name` is finished.

        Parameters
        ----------
        name : str
            The first call of a name opens the step.
        done, total : int
            A total of 0: nobody knows how long it will take.
        passing : bool
            Among many of its kind: worth a line only while it lasts.
        """

    def end(self, name: str) -> None:
        """The step `name` need not be shown any more."""

    def say(self, message: str) -> None:
        """One sentence for the person who waits."""
        self._stream.write(f"{message}\n")
        self._stream.flush()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Lines(Display):
    """A line when a step ends, and every ten seconds while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._began: dict[str, tuple[int, float]] = {}
        self._told: tuple[str, int, float] = ("", 0, time.monotonic())

    def step(self, name: str, done: int, total: int, *, passing: bool = False) -> None:
        moment = time.monotonic()
        self._began.setdefault(name, (done, moment))
        ended = 0 < total <= done and not passing and self._told[:2] != (name, done)
        if not ended and (moment - self._told[2] < _SECONDS_BETWEEN_LINES or done >= total):
            return
        self._told = (name, done, moment)
        self.say(f"{name}: {done:,} of {total:,}{_pace(self._began[name], done, total, moment)}")

    def end(self, name: str) -> None:
        self._began.pop(name, None)


class _Bars(Display):
    """One bar per step: count, rate, time left."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        super().__init__(stream)
        self._bars = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}", markup=False),
            console=Console(file=stream, force_terminal=True),
        )
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, tuple[int, float]] = {}

    def step(self, name: str, done: int, total: int, *, passing: bool = False) -> None:
        moment = time.monotonic()
        if name not in self._tasks:
            self._began[name] = (done, moment)
            self._tasks[name] = self._bars.add_task(name, total=total or None, count="")
        pace = _pace(self._began[name], done, total, moment)
        count = f"{done:,} of {total:,}{pace}" if total else ""
        self._bars.update(self._tasks[name], completed=done, total=total or None, count=count)

    def end(self, name: str) -> None:
        self._began.pop(name, None)
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))

    def say(self, message: str) -> None:
        self._bars.console.print(message, highlight=False, markup=False)

    def __enter__(self) -> _Bars:
        with ctrl_c_held_back():  # the thread that draws must not take it
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()


class RunProgress:
    """A display as a listener of Dagster runs: a bar per asset, and one for what is at work in it."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._at_work: str = ""

    def begin(self, asset: str, key: str) -> None:
        """A partition of an asset begins."""
        self._work_on(named(asset, key), 0, 0)

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        """`done` of `total` of a long step is finished."""
        self._work_on(f"{named(asset, key)} {what}", done, total)

    def partition(self, asset: str, key: str, number: int, total: int) -> None:
        """Partition `number` of `total` of an asset has ended, well or not."""
        self._display.end(self._at_work)
        self._at_work = ""
        if isinstance(self._display, Lines):
            self._display.say(f"{named(asset, key)} ({number} of {total})")
        else:
            self._display.step(asset, number, total)

    def say(self, message: str) -> None:
        """One sentence for the person who waits."""
        self._display.say(message)

    def _work_on(self, name: str, done: int, total: int) -> None:
        if name != self._at_work:
            self._display.end(self._at_work)
            self._at_work = name
        self._display.step(name, done, total, passing=True)


@contextlib.contextmanager
def open_display(*, quiet: bool = False, stream: TextIO | None = None):
    """Bars on a terminal, lines elsewhere, next to nothing when `quiet`."""
    with contextlib.ExitStack() as stack:
        kept = _kept(stream or sys.stderr)
        if kept is not stream and kept is not sys.stderr:
            stack.enter_context(kept)
        kind = Display if quiet else _Bars if kept.isatty() else Lines
        yield stack.enter_context(kind(kept))


def _kept(stream: TextIO) -> TextIO:
    """The stream on a descriptor of its own; the stream itself where it has none."""
    try:
        return os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors="backslashreplace")
    except (AttributeError, OSError, io.UnsupportedOperation):
        return stream


def _pace(began: tuple[int, float], done: int, total: int, moment: float) -> str:
    """`` (12.3/s, 0:10 left)``; nothing where no rate can be told."""
    first, started = began
    if done <= first or moment <= started:
        return ""
    rate = (done - first) / (moment - started)
    left = f", {_clock((total - done) / rate)} left" if done < total else ""
    return f" ({rate:,.1f}/s{left})" if rate >= 0.05 else f" ({60 * rate:,.1f}/min{left})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
