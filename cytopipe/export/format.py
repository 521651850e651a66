"""Files of pictures as formats of the storage: one picture, and a directory of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytopipe.errors import InputError
from cytopipe.export.encoding import FORMATS
from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.formats.images import DirectoryOfImages

__all__ = ["PICTURES", "PictureFile", "Pictures"]

_BEGINS = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "ome-tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "pdf": (b"%PDF-",),
}
_ENDS = {"png": b"IEND\xaeB`\x82", "jpeg": b"\xff\xd9", "pdf": b"%%EOF"}


class PictureFile(FileFormat):
    """A picture whose bytes were encoded already.

    Parameters
    ----------
    file_format : str
        One of `cytopipe.export.encoding.FORMATS`.
    """

    def __init__(self, file_format: str) -> None:
        self.name, self.suffix, self.kinds = file_format, FORMATS[file_format], (file_format,)

    def write(self, draft: Path, value: bytes) -> None:
        """Write the bytes."""
        draft.write_bytes(value)

    def validate(self, draft: Path) -> None:
        """Look for both ends of a file of this kind."""
        with draft.open("rb") as file:
            begins = file.read(8)
            size = file.seek(0, 2)
            file.seek(max(0, size - 32))
            ends = file.read().rstrip()
        if not begins.startswith(_BEGINS[self.name]) or not ends.endswith(_ENDS.get(self.name, b"")):
            raise InputError(f"is not a whole {self.name} file", where=str(draft))

    def read(self, path: Path) -> bytes:
        """The file's bytes."""
        return path.read_bytes()


class Pictures(DirectoryOfImages):
    """A directory of pictures of one kind."""

    def __init__(self, file_format: str) -> None:
        super().__init__(PictureFile(file_format))
        self.name, self.kinds = f"pictures_{file_format}", (file_format,)

    suffix = ""

    def read(self, path: Path) -> Mapping[str, Path]:
        """Paths by name without the ending, sorted."""
        end = len(self.of.suffix)
        return {one.name[:-end]: one for one in sorted(path.iterdir()) if one.name.endswith(self.of.suffix)}

    def describe(self, path: Path) -> Mapping[str, int]:
        """How many pictures there are."""
        return {"pictures": sum(1 for _ in path.iterdir())}


PICTURES = {name: Pictures(name) for name in FORMATS}
"""Directories of pictures by the format of their files."""
