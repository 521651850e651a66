"""An HTML page in one file: everything it shows is inside."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cytopipe.errors import DamagedError
from cytopipe.storage.formats.format import FileFormat

__all__ = ["HTML", "Html"]

_BEGINS, _ENDS = b"<!doctype html>", b"</html>\n"


class Html(FileFormat):
    """A page with the suffix ``.html``: one text, or its pieces, from doctype to ``</html>``."""

    name, suffix, kinds = "html", ".html", ("html",)

    def write(self, draft: Path, value: str | Iterable[str]) -> None:
        """Write the page piece by piece."""
        with draft.open("wb") as file:
            for piece in [value] if isinstance(value, str) else value:
                file.write(piece.encode())

    def validate(self, draft: Path) -> None:
        """Whether it is a whole page."""
        with draft.open("rb") as file:
            begins = file.read(len(_BEGINS))
            file.seek(max(draft.stat().st_size - len(_ENDS), 0))
            ends = file.read()
        if begins.lower() != _BEGINS or ends != _ENDS:
            raise DamagedError(
                "the page is not whole", where=draft.name, expected="<!doctype html> to </html>"
            )

    def read(self, path: Path) -> str:
        """The page as text."""
        return path.read_text(encoding="utf-8")


HTML = Html()
"""HTML pages."""
