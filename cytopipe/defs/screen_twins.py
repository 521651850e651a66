"""Images of a stage read back from its OME-Zarr export, equal in every byte to the TIFFs that were exported.

So computation may read exports (``input_format: omezarr``), and TIFFs of which an export is kept can be
removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cytopipe.defs.artifact import Twin
from cytopipe.errors import InputError
from cytopipe.project import DataSet
from cytopipe.screen.stages import STAGES, Stage
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import read_files, read_ome_zarr
from cytopipe.storage.formats.tiffs import ImageFiles

__all__ = ["twins_of"]

_FIELD = "IC field "


def twins_of(stage: Stage, masks: Sequence[str] = ()) -> tuple[Twin, ...]:
    """For the export of a stage: the TIFFs whose pixels it holds; of masks, one for each."""
    acquisition = stage.asset.split("/")[1]

    def is_preferred(part: DataSet) -> bool:
        one = part.entry.settings.acquisitions.get(acquisition)
        return one is not None and one.input_format == "omezarr"

    assets = {f"screen/{acquisition}/{one}": one for one in masks} or {stage.asset: ""}
    return tuple(
        Twin(of=asset, format=_ReadBack(stage.name, label), is_preferred=is_preferred)
        for asset, label in assets.items()
    )


@dataclass(frozen=True)
class _ReadBack:
    """What a TIFF of a stage held, read from its export; of masks, the label image of that name."""

    stage: str
    label: str = ""

    name, layout = "ome_zarr_as_tiff", "directory"

    def read(self, path: Path) -> Image | ImageFiles:
        image = read_ome_zarr(path)
        if self.label:
            if self.label not in image.labels:
                raise InputError(f"holds no labels {self.label!r}", where=str(path))
            return image.labels[self.label]
        if files := read_files(path):
            return _Stacked(image, files)
        channels = STAGES[self.stage].channels
        if channels == "plane":
            return Image(np.asarray(image.pixels[0]), "YX", pixel_size_um=image.pixel_size_um)
        names = image.channel_names
        if channels == "fields":
            names = tuple(one.removeprefix(_FIELD) for one in names)
        return replace(image, channel_names=names, channel_colors=(), labels={})


class _Stacked(ImageFiles):
    """Images that lie over each other, or behind each other, in one export, by the names of their files."""

    def __init__(self, image: Image, files: Mapping[str, Sequence[str]]) -> None:
        self._image, self._channels, self._names = image, files, list(files)

    def __getitem__(self, name: str) -> Image:
        if name not in self._channels:
            raise KeyError(name)
        number, own = self._names.index(name), tuple(self._channels[name])
        if "T" in self._image.axes:
            pixels = self._image.pixels[number]
        else:
            begin = sum(len(self._channels[one]) for one in self._names[:number])
            pixels = self._image.pixels[begin : begin + len(own)]
        return Image(np.asarray(pixels), "CYX", own, pixel_size_um=self._image.pixel_size_um)
