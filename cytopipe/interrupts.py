"""SIGINT and SIGTERM while long work runs: the first asks, the second ends.

The first signal sets a flag that the work looks at between iterations: it finishes the one it is in,
saves, and stops with exit code 130. The second ends the process at once, workers included; since every
file is committed as a whole, what is then on disk is the last checkpoint.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

from cytopipe.errors import Interrupted

__all__ = ["stop_on_signals"]


@contextlib.contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a stop was asked for.

    Parameters
    ----------
    say : callable
        Gets one sentence when a signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may receive signals; its owner decides
        return
    asked = threading.Event()

    def receive(number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if asked.is_set():
            os.write(2, f"{name} again: stopped at once; the last checkpoint is whole\n".encode())
            _end_now()
        asked.set()
        say(f"{name}: finishing this iteration, then saving (again to stop at once)")

    before = {one: signal.signal(one, receive) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _end_now() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(Interrupted.exit_code)
