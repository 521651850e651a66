"""Images that are one artifact: a directory of them, written one after the other and published whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cytopipe.errors import InputError
from cytopipe.storage.formats.format import DirectoryFormat, Format
from cytopipe.storage.names import check_file_name

__all__ = ["DirectoryOfImages"]


class DirectoryOfImages(DirectoryFormat):
    """A directory whose value is a mapping of name to image, or pairs of these.

    Parameters
    ----------
    of : Format
        How each of them is written.
    """

    def __init__(self, of: Format) -> None:
        self.of, self.version = of, of.version

    def write(self, draft: Path, value: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Write one image after the other."""
        draft.mkdir()
        n_images = 0
        for name, image in value.items() if isinstance(value, Mapping) else value:
            check_file_name(name)
            self.of.write(draft / f"{name}{self.of.suffix}", image)
            n_images += 1
        if not n_images:
            raise InputError("a directory of images holds at least one")

    def validate(self, draft: Path) -> None:
        """Decode every pixel of every image as a stranger would."""
        for path in draft.iterdir():
            self.of.validate(path)
