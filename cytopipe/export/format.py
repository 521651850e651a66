"""Files of pictures as formats of the storage: one picture, and a directory of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cytopipe.errors import InputError
from cytopipe.export.encoding import FORMATS
from cytopipe.storage.formats.format import DirectoryFormat, FileFormat
from cytopipe.storage.formats.images import DirectoryOfImages
from cytopipe.storage.names import check_file_name

__all__ = ["FIELD_PICTURES", "GALLERY_PDF", "PICTURES", "FieldPictures", "PictureFile", "Pictures"]

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
    name : str, optional
        Of the format; by default that of the files.
    """

    def __init__(self, file_format: str, name: str = "") -> None:
        self.file_format, self.name = file_format, name or file_format
        self.suffix, self.kinds = FORMATS[file_format], (file_format,)

    def write(self, draft: Path, value: bytes) -> None:
        """Write the bytes."""
        draft.write_bytes(value)

    def validate(self, draft: Path) -> None:
        """Look for both ends of a file of this kind."""
        file = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            begins = os.pread(file, 8, 0)
            ends = os.pread(file, 32, max(0, os.fstat(file).st_size - 32)).rstrip()
        finally:
            os.close(file)
        if not begins.startswith(_BEGINS[self.file_format]) or not ends.endswith(
            _ENDS.get(self.file_format, b"")
        ):
            raise InputError(f"is not a whole {self.file_format} file", where=str(draft))

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


class FieldPictures(DirectoryFormat):
    """A directory of pictures of any kind; a file's ending says which."""

    name, suffix, kinds = "field_pictures", ".pictures", ("image",)

    def write(self, draft: Path, value: Iterable[tuple[str, bytes]]) -> None:
        """Write (file name, bytes), one after the other."""
        draft.mkdir()
        for name, data in value:
            check_file_name(name)
            (draft / name).write_bytes(data)

    def validate(self, draft: Path) -> None:
        """Look for both ends of every file."""
        for path in sorted(draft.iterdir()):
            kind = max((one for one in FORMATS if path.name.endswith(FORMATS[one])), key=len, default="")
            if not kind:
                raise InputError("is no picture", where=path.name, expected=", ".join(FORMATS.values()))
            PictureFile(kind).validate(path)

    def read(self, path: Path) -> Mapping[str, Path]:
        """Paths by file name, sorted."""
        return {one.name: one for one in sorted(path.iterdir())}


FIELD_PICTURES = FieldPictures()
"""The pictures of one field of view as an asset."""

GALLERY_PDF = PictureFile("pdf", name="gallery_pdf")
"""The gallery of a job as an asset."""
