"""A name of others on one line, for a terminal or a picture."""

from __future__ import annotations

__all__ = ["one_line"]


def one_line(text: str, most: int = 200) -> str:
    """The text without what a terminal would obey (control and direction characters), at most `most` long."""
    shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text[: 2 * most])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
