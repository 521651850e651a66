"""What all panels of notebooks share: their scripts and styles, and answers to what the page asks."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from cytopipe.errors import CytopipeError

__all__ = ["answered", "text_of"]


def text_of(name: str) -> str:
    """A script or style of this room, by its path: ``export/panel.js``."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def answered(number: object, answer: Callable[[], object]) -> dict[str, object]:
    """The message that answers question `number` of a page: a value, or an error in words."""
    try:
        return {"number": number, "value": answer()}
    except CytopipeError as error:
        return {"number": number, "error": str(error)}
    except Exception as error:  # the panel shows it; the notebook goes on
        return {"number": number, "error": f"{type(error).__name__}: {error}"}
