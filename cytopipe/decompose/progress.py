"""What the long steps of a decomposition report to; whoever calls them decides how it is shown."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Hears how far the work is."""

    def step(self, name: str, done: int, total: int) -> None:
        """`done` of `total` of the step `name` is finished; the first call of a name opens it."""

    def say(self, message: str) -> None:
        """One sentence for the person who waits."""


class Silent:
    """Hears it and shows nothing."""

    def step(self, name: str, done: int, total: int) -> None:
        pass

    def say(self, message: str) -> None:
        pass
