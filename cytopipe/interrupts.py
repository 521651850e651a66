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

__all__ = ["Stop", "ctrl_c_held_back", "stop_on_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether a stop was asked for: call it.

    Parameters
    ----------
    say : callable
        Gets one sentence when the first signal arrives.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._asked, self._say = threading.Event(), say

    def __call__(self) -> bool:
        return self._asked.is_set()

    def listen(self) -> dict[signal.Signals, object]:
        """Receive the signals from here on, also after somebody else did; returns who did before.

        Outside of the main thread nothing is received: its owner decides.
        """
        if threading.current_thread() is not threading.main_thread():
            return {}
        before = {one: signal.signal(one, self._receive) for one in _SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return before

    def hold_back(self) -> None:
        """Let the signals wait until `listen` is called again."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def _receive(self, number: int, frame: object) -> None:
        name = signal.Signals(number).name
        if self():
            os.write(2, f"{name} again: stopped at once; the last checkpoint is whole\n".encode())
            _end_now()
        self._asked.set()
        # From a thread of its own: this one may be in the middle of writing to the same terminal or log.
        words = f"{name}: finishing this iteration, then saving (again to stop at once)"
        threading.Thread(target=self._say, args=(words,), name="signal").start()


@contextlib.contextmanager
def stop_on_signals(say: Callable[[str], None]) -> Iterator[Stop]:
    """Yield what says whether a stop was asked for; `say` gets one sentence when it is."""
    stop = Stop(say)
    before = stop.listen()
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        if before:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Let SIGINT wait until somebody listens, or until the end.

    A terminal sends Ctrl-C to every process of its command. Processes and threads that are started in here
    inherit the mask: they are spared, and end when this one ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_now() -> None:
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(Interrupted.exit_code)
