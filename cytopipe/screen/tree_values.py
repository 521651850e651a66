"""Files of the field's reference pipeline (Brieflow) as values of our assets: images with names of channels
and pixel sizes, masks as labels, tables of a tile from those of its well. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.names import get_filename
from cytopipe.screen.stages import STAGES, Stage
from cytopipe.screen.tree import Held, Location
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.tiff import read_tiff
from cytopipe.storage.formats.tiffs import ImageFiles

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TreeValue", "open_image"]

_N_BASES = 4
_BY_ASSET: dict[str, Stage] = {asset: stage for stage in STAGES.values() for asset in stage.assets}
_CYCLED = ("screen/sbs/images", "screen/sbs/ic_fields")
_OVER_CYCLES, _OF_ONE_CYCLE = ("cycles", "bases"), (*_CYCLED, "screen/sbs/corrected")
_COLUMNS = {
    "reads": ("cell", "read", "barcode"),
    "cells": ("cell", "cell_barcode_0"),
    "bases": ("read", "cycle", "channel", "intensity", "cell"),
    "sbs_info": ("cell", "i", "j", "area"),
    "phenotype_cp": ("label",),
    "segmentation_stats": ("final_nuclei", "final_cells"),
    "merge_deduplicated": ("tile", "cell_0", "site", "cell_1", "distance"),
    "merge_final": ("tile", "cell_0", "site", "cell_1"),
}
"""Columns without which a table cannot be used."""


@dataclass(frozen=True)
class TreeValue:
    """What the files of one asset of a tile or well hold, read when it is asked for.

    Parameters
    ----------
    asset : str
    held : Held
    location : (str, str, int)
        Plate, well, tile; tile -1 of a well.
    files : mapping of int to Path
        By cycle, 0 where there is one alone.
    channels : tuple of str
        Names of the channels of its acquisition.
    pixel_size_um : float
        Side of a pixel, where a TIFF does not say it, micrometres.
    """

    asset: str
    held: Held
    location: Location
    files: Mapping[int, Path]
    channels: tuple[str, ...]
    pixel_size_um: float

    def load(self) -> Image | ImageFiles | pd.DataFrame:
        """The value as our own asset would have it.

        Raises
        ------
        InputError, RefusedError, BudgetError
            A file cannot be read, or is not what its name says.
        """
        path = next(iter(self.files.values()))
        if path.suffix.lower() in (".tsv", ".parquet"):
            return self._table(path)
        stage = _BY_ASSET[self.asset]
        if self.asset in _CYCLED:
            return _TreeImages(self)
        if stage.channels == "mask":
            return self._labels(path)
        return self._image(path, stage)

    def _image(self, path: Path, stage: Stage) -> Image:
        image = open_image(path, stage, self.channels, self.pixel_size_um)
        wanted = "YX" if stage.channels == "plane" else "CYX"
        if stage.channels in _OVER_CYCLES and self.asset not in _OF_ONE_CYCLE:
            wanted = "TCYX"
        if stage.channels == "fields":  # our own fields are named by the channels alone
            image = replace(image, channel_names=self.channels if image.channel_names else ())
        return _with_axes(image, wanted, path)

    def _labels(self, path: Path) -> Image:
        image = read_tiff(path)
        pixels = image.pixels
        while len(pixels.shape) > 2 and pixels.shape[0] == 1:
            pixels = pixels[0]
        if len(pixels.shape) != 2:
            raise InputError(
                "is no label image",
                where=str(path),
                expected="one plane (Y, X)",
                found=f"shape {tuple(pixels.shape)}",
            )
        size = image.pixel_size_um or (self.pixel_size_um, self.pixel_size_um)
        return Image(pixels, "YX", pixel_size_um=size, is_labels=True)

    def _table(self, path: Path) -> pd.DataFrame:
        from cytopipe.storage.formats.table import read_parquet, read_tsv

        columns = _COLUMNS[self.held.info]
        if path.suffix == ".parquet":
            table = read_parquet(path, columns=columns).reset_index(drop=True)
        else:
            table = read_tsv(path, columns=columns)
        plate, well, tile = self.location
        if self.held.of_well and tile >= 0:
            if "tile" not in table:
                raise InputError("has no column tile", where=str(path), found=", ".join(map(str, table)))
            table = table[table["tile"] == tile].reset_index(drop=True)
        place = {"plate": plate, "well": well} | ({"tile": tile} if tile >= 0 else {})
        table = table.assign(**place)
        if self.held.info == "merge_deduplicated" and "distance_um" not in table:
            table["distance_um"] = table["distance"] * self.pixel_size_um  # px of the sequencing image
        return table


class _TreeImages(ImageFiles):
    """The cycles of a tile, or the fields of a well, by the names that our own files have."""

    def __init__(self, value: TreeValue) -> None:
        self._value = value
        plate, well, tile = value.location
        place = {"plate": plate, "well": well} | ({"tile": tile} if tile >= 0 else {})
        self._paths = {
            get_filename({**place, "cycle": cycle or 1}, value.held.info, "tiff").removesuffix(".tiff"): path
            for cycle, path in sorted(value.files.items())
        }
        self._names = list(self._paths)

    def __getitem__(self, name: str) -> Image:
        return self._value._image(self._paths[name], _BY_ASSET[self._value.asset])


def open_image(path: Path, stage: Stage, names: tuple[str, ...], size: float | None) -> Image:
    """A TIFF of a stage, with the names of its channels and the size of its pixels where it says neither.

    `names` are those of the acquisition; of an image with another number of channels its own are kept.
    """
    image = read_tiff(path)
    if image.pixel_size_um is None and size is not None:
        image = replace(image, pixel_size_um=(size, size))
    wanted = names if stage.channels == "mask" else stage.channel_names(names)
    if image.n_channels == _N_BASES < len(wanted):
        wanted = wanted[-_N_BASES:]
    if "C" in image.axes and len(wanted) == image.n_channels:
        image = replace(image, channel_names=wanted)
    elif not image.channel_names and image.n_channels == 1:
        image = replace(image, channel_names=(stage.info,))
    return image


def _with_axes(image: Image, wanted: str, path: Path) -> Image:
    """The image with the axes that its stage has; lengths of 1 may be left out in a file, or stand there."""
    if image.axes == wanted:
        return replace(image, channel_names=()) if wanted == "YX" else image
    pixels: Any = image.pixels
    axes = image.axes
    for axis in axes:
        if axis not in wanted:
            if pixels.shape[axes.index(axis)] != 1:
                raise InputError(
                    "has other axes than its stage", where=str(path), expected=wanted, found=image.axes
                )
            pixels = np.take(np.asarray(pixels), 0, axes.index(axis))
            axes = axes.replace(axis, "")
    for at, axis in enumerate(wanted):
        if axis not in axes:
            pixels = np.expand_dims(np.asarray(pixels), at)
            axes = axes[:at] + axis + axes[at:]
    names = () if wanted == "YX" else image.channel_names
    fits = "C" in axes and len(names) == pixels.shape[axes.index("C")]
    return Image(pixels, axes, names if fits else (), pixel_size_um=image.pixel_size_um)
