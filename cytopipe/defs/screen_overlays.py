"""Pictures that people look at, as OME-Zarr, where the project file asks for them.

corrected | aligned, nuclei, cells -> omezarr/segmentation_overlay (a tile each)
montage/perturbations -> montage/omezarr (a plate each)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Artifact, Check, CheckResult, Described, Nothing, artifact
from cytopipe.defs.screen_images import TILE_NAME
from cytopipe.defs.screen_omezarr import laid_out
from cytopipe.defs.screen_sources import PHENOTYPE_TILES, PLATES, SBS_TILES
from cytopipe.defs.screen_when import MONTAGES_EXPORTED, also_exported
from cytopipe.project import DataSet
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OME_ZARR
from cytopipe.storage.formats.ome_zarrs import OME_ZARRS

if TYPE_CHECKING:
    from cytopipe.project.screen.exports import OmeZarrExport
    from cytopipe.storage.formats.files import ResultFiles

__all__ = ["MEMBERS"]

_BY = {"sbs": SBS_TILES, "phenotype": PHENOTYPE_TILES}
_COLOURS = ("FF0000", "00FF00", "0000FF")


def _of_three_colours(made: Image, image: Image) -> CheckResult:
    fits = made.shape == (3, *image.shape[-2:])
    return CheckResult(() if fits else (f"is {made.shape}, of an image of {image.shape}",))


OF_THREE_COLOURS = Check(
    name="of_three_colours",
    description="Red, green and blue have the rows and columns of the image.",
    evaluate=_of_three_colours,
)


def _overlay_of(of: str, shown: str) -> Artifact:
    def overlay(
        tile: DataSet,
        image: Image,
        nuclei: Image,
        cells: Image,
        settings: OmeZarrExport,
    ) -> Described:
        """The image on which cells were found, in grey, with the outlines of cells (yellow) and nuclei
        (magenta), as red, green and blue: to look through segmentation at any zoom.
        """
        from cytopipe.screen.thumbnails import outlined

        pixels = image.load()
        body = pixels[1:].max(axis=0) if len(pixels) > 1 else pixels[0]
        rgb = outlined(body, [cells.load(), nuclei.load()], most_px=None)
        drawn = Image(
            np.moveaxis(rgb, -1, 0),
            "CYX",
            ("red", "green", "blue"),
            _COLOURS,
            image.pixel_size_um,
            window_percentiles=(0.0, 100.0),
        )
        return Described(laid_out(drawn, settings))

    return artifact(
        f"screen/{of}/omezarr/segmentation_overlay",
        OME_ZARR,
        by=_BY[of],
        inputs={
            "image": f"screen/{of}/{shown}",
            "nuclei": f"screen/{of}/nuclei",
            "cells": f"screen/{of}/cells",
            "settings": f"screen/{of}/omezarr_settings",
        },
        place=f"screen/{{screen}}/{of}/omezarr/segmentation_overlay/{TILE_NAME}"
        "__segmentation_overlay.ome.zarr",
        checks=(OF_THREE_COLOURS,),
        when=also_exported(of, "overlays"),
    )(overlay)


def _each_montage(made: dict[str, Image], perturbations: ResultFiles) -> CheckResult:
    expected = {name.removesuffix(".tiff") for name in perturbations if name.endswith(".tiff")}
    lost = sorted(expected ^ set(made))
    return CheckResult(tuple(f"{name} is not in both" for name in lost), {"montages": len(made)})


EACH_MONTAGE = Check(
    name="each_montage",
    description="Every montage that has a TIFF has an OME-Zarr image, and no other.",
    evaluate=_each_montage,
)


@artifact(
    "screen/montage/omezarr",
    OME_ZARRS,
    by=PLATES,
    place="screen/{screen}/montage/omezarr/P-{plate}__montages.ome.zarrs",
    checks=(EACH_MONTAGE,),
    when=MONTAGES_EXPORTED,
)
def montages(plate: DataSet, perturbations: ResultFiles | None) -> Described | Nothing:
    """The montages of a plate as OME-Zarr images, by perturbation: all channels, intensities as they are."""
    from cytopipe.storage.formats.tiff import read_tiff

    if perturbations is None:
        return Nothing("there is no montage of this plate")
    images = {}
    with TemporaryDirectory() as folder:
        for name in perturbations:
            if not name.endswith(".tiff"):
                continue
            path = Path(folder) / "montage.tiff"
            path.write_bytes(perturbations[name])
            image = read_tiff(path)
            loaded = Image(image.load(), image.axes, image.channel_names, pixel_size_um=image.pixel_size_um)
            images[name.removesuffix(".tiff")] = loaded
            path.unlink()
    if not images:
        return Nothing("there is no montage of this plate")
    return Described(images, {"n_montages": len(images)})


def _members() -> Iterator[object]:
    for of, shown in (("sbs", "corrected"), ("phenotype", "aligned")):
        yield _overlay_of(of, shown)
    yield montages


MEMBERS = tuple(_members())
"""Artifacts of overlays."""
