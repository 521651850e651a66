"""Several TIFFs that are one artifact, such as the cycles of a tile: a directory, published whole.

Images are written one after the other and read when they are asked for, so that one of them is in memory at a
time. They may differ in shape and channels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.images import DirectoryOfImages
from cytopipe.storage.formats.tiff import TIFF, Tiff, describe_image

__all__ = ["TIFFS", "ImageFiles", "Tiffs"]


class ImageFiles(Mapping[str, Image]):
    """Images of a directory by the names of their files without the ending, numbers in their order."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self._suffix = folder, suffix
        self._names = sorted((one.stem for one in folder.glob(f"*{suffix}")), key=_by_number)

    def __getitem__(self, name: str) -> Image:
        if name not in self._names:
            raise KeyError(name)
        return TIFF.read(self.folder / f"{name}{self._suffix}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _by_number(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", name)]


class Tiffs(DirectoryOfImages):
    """A directory with the suffix ``.tiffs``; its value is a mapping of name to `Image`, or pairs of these.

    Parameters
    ----------
    of : Tiff
        How each of them is written.
    """

    name, suffix, kinds = "tiffs", ".tiffs", ("tiff", "image")

    def __init__(self, of: Tiff = TIFF) -> None:
        super().__init__(of)

    def read(self, path: Path) -> ImageFiles:
        """The images, each opened when it is asked for."""
        return ImageFiles(path, self.of.suffix)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """How many images there are, and what the first holds."""
        images = self.read(path)
        return {"images": len(images), **describe_image(next(iter(images.values())))}


TIFFS = Tiffs()
"""A directory of TIFFs compressed with zlib."""
