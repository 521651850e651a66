"""Several OME-Zarr images that are one artifact, such as the montages of a plate: published whole.

montages.ome.zarrs/
  PTEN.ome.zarr
  TP53.ome.zarr
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.images import DirectoryOfImages
from cytopipe.storage.formats.ome_zarr import OME_ZARR, OmeZarr, read_ome_zarr

__all__ = ["OME_ZARRS", "OmeZarrs"]


class OmeZarrs(DirectoryOfImages):
    """A directory with the suffix ``.ome.zarrs``.

    Its value is a mapping of name to `Image`, or to an image with the way in which it is written (`LaidOut`),
    or pairs of these.

    Parameters
    ----------
    of : OmeZarr
        How each of them is written that does not say so itself.
    """

    name, suffix, kinds = "ome_zarrs", ".ome.zarrs", ("zarr", "image")

    def __init__(self, of: OmeZarr = OME_ZARR) -> None:
        super().__init__(of)

    def read(self, path: Path) -> dict[str, Image]:
        """The images with lazy pixels, by name."""
        found = sorted(path.glob(f"*{self.of.suffix}"))
        return {one.name.removesuffix(self.of.suffix): read_ome_zarr(one) for one in found}

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """How many images there are."""
        return {"images": len(list(path.glob(f"*{self.of.suffix}")))}


OME_ZARRS = OmeZarrs()
"""A directory of images of NGFF 0.5."""
