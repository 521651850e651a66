"""The tiles of a well as one OME-Zarr image, its cells numbered through, where the project file asks for it.

positions, corrected, nuclei, cells (sbs), aligned, nuclei, cells (phenotype) -> omezarr/well (a well each)
omezarr/well -> omezarr/wells (a plate with one field in each well)

Nothing is held in memory but a strip of a few tiles at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Artifact, Check, CheckResult, Described, Nothing, artifact
from cytopipe.defs.screen_images import WELL_NAME, noted, tiles_of, with_barcodes
from cytopipe.defs.screen_omezarr import SAME_CHANNELS, field_of_well, laid_out
from cytopipe.defs.screen_sources import PLATES, WELLS
from cytopipe.defs.screen_when import also_exported
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OME_ZARR
from cytopipe.storage.formats.plate import OME_ZARR_PLATE, Plate

if TYPE_CHECKING:
    from pandas import DataFrame

    from cytopipe.project.screen.exports import OmeZarrExport
    from cytopipe.screen.parameters import StitchingSettings

__all__ = ["MEMBERS"]


def _tiles_in_place(
    made: Image, data: DataSet, positions: DataFrame, image: Mapping[str, Handle]
) -> CheckResult:
    """Where one tile alone shows a place, the well has its pixels; looked at in the middle of each tile."""
    opened = {int(key.rpartition("|")[2]): one.load() for key, one in image.items()}
    table = positions[positions["tile"].isin(list(opened))]
    corners = np.rint(table[["i", "j"]].to_numpy(float)).astype(int)
    corners -= corners.min(axis=0)
    size = np.array(next(iter(opened.values())).shape[-2:])
    middles = corners + size // 2
    found, looked_at = [], 0
    for number, tile in enumerate(table["tile"]):
        inside = (middles[number] >= corners) & (middles[number] < corners + size)
        if inside.all(axis=1).sum() > 1:
            continue
        row, column = middles[number]
        looked_at += 1
        own = np.asarray(opened[tile].pixels[(..., *(size // 2))])
        if not np.array_equal(np.asarray(made.pixels[..., row, column]), own):
            found.append(f"tile {tile} is not where it lies")
    return CheckResult(tuple(found), {"n_tiles_looked_at": looked_at})


TILES_IN_PLACE = Check(
    name="tiles_in_place",
    description="In the middle of each tile that no other one covers, the well has the tile's pixels.",
    evaluate=_tiles_in_place,
)


def _put_together(
    well: DataSet,
    of: str,
    images: Mapping[str, Handle],
    masks: Mapping[str, Mapping[str, Handle]],
    cells: DataFrame,
    positions: DataFrame,
    settings: OmeZarrExport,
    stitching: StitchingSettings,
) -> Described:
    """A well as one image, with its masks as labels whose numbers are those of its cells, from 1 in the order
    of the table of cells.
    """
    from cytopipe.screen.overlaps import count_cells_once, well_numbers
    from cytopipe.screen.stitching import fuse_well

    tiles, notes = tiles_of(well, of, images)
    table = positions[positions["tile"].isin(list(tiles))]
    names = table["tile"].tolist()
    places = table[["i", "j"]].to_numpy(float)
    opened = {tile: tiles[tile].load() for tile in names}
    first = opened[names[0]]
    reads = "n_reads" if "n_reads" in cells else None
    cells = cells[cells["tile"].isin(names)]
    once, observations = count_cells_once(cells, table, first.shape[-2:], stitching, reads=reads)
    numbers = dict.fromkeys(names, np.zeros(1, np.int32)) | well_numbers(once, observations)
    labels = {}
    for name, handles in masks.items():
        own, _ = tiles_of(well, of, handles)
        of_tiles = {tile: own[tile].load() for tile in names if tile in own}
        if len(of_tiles) == len(names):
            pixels = fuse_well(names, _pixels_of(of_tiles), places, labels=True, numbers=numbers)
            labels[name] = Image(pixels, "YX", pixel_size_um=first.pixel_size_um, is_labels=True)
    fused = Image(
        fuse_well(names, _pixels_of(opened), places),
        first.axes,
        first.channel_names,
        first.channel_colors,
        first.pixel_size_um,
        labels=labels,
    )
    counts = {"n_tiles": len(names), "n_cells": len(once)}
    return Described(laid_out(fused, settings), counts, notes)


def _pixels_of(images: Mapping[int, Image]):
    return lambda tile: images[tile].pixels


_DOC = """All tiles of a well as one image, put together where they overlap, nuclei and cells as labels.

    A label is the row of its cell in the well's table of cells, counted from 1.

    Overlaps are blended; nothing is interpolated. Larger than memory: it is written strip by strip.
    """


def _sbs_well() -> Artifact:
    def well(
        well: DataSet,
        image: Mapping[str, Handle],
        nuclei: Mapping[str, Handle],
        cells: Mapping[str, Handle],
        cell_barcodes: Mapping[str, Handle],
        well_info: DataFrame | None,
        positions: DataFrame | None,
        stitching_settings: StitchingSettings,
        settings: OmeZarrExport,
    ) -> Described | Nothing:
        if well_info is None or positions is None:
            return Nothing("the well was not sequenced")
        tiles, _ = tiles_of(well, "sbs", cell_barcodes)
        table = with_barcodes(well_info, tiles)
        masks = {"nuclei": nuclei, "cells": cells}
        return _put_together(well, "sbs", image, masks, table, positions, settings, stitching_settings)

    return _well_of("sbs", well, "corrected", "cell_barcodes", "well_info")


def _phenotype_well() -> Artifact:
    def well(
        well: DataSet,
        image: Mapping[str, Handle],
        nuclei: Mapping[str, Handle],
        cells: Mapping[str, Handle],
        positions: DataFrame | None,
        stitching_settings: StitchingSettings,
        settings: OmeZarrExport,
    ) -> Described | Nothing:
        if positions is None:
            return Nothing("the well has no phenotype images")
        tiles, _ = tiles_of(well, "phenotype", nuclei)
        masks = {"nuclei": nuclei, "cells": cells}
        table = noted(well, tiles)
        return _put_together(well, "phenotype", image, masks, table, positions, settings, stitching_settings)

    return _well_of("phenotype", well, "aligned")


def _well_of(of: str, function, shown: str, *more: str) -> Artifact:
    function.__doc__ = _DOC
    inputs = {
        one: f"screen/{of}/{one}" for one in ("nuclei", "cells", *more, "positions", "stitching_settings")
    }
    inputs |= {
        "image": f"screen/{of}/{shown}",
        "settings": f"screen/{of}/omezarr_settings",
    }
    return artifact(
        f"screen/{of}/omezarr/well",
        OME_ZARR,
        by=WELLS,
        inputs=inputs,
        optional=("image", "nuclei", "cells", *(("cell_barcodes",) if more else ())),
        place=f"screen/{{screen}}/{of}/omezarr/well/{WELL_NAME}__well.ome.zarr",
        checks=(TILES_IN_PLACE,),
        when=also_exported(of, "well"),
    )(function)


def _plate_of(of: str) -> Artifact:
    def wells(plate: DataSet, well: Mapping[str, Handle]) -> Described | Nothing:
        """The wells of a plate, each as one image, as an OME-Zarr that viewers open as a plate; files are
        shared with the wells' own images and take no space.
        """
        if not well:
            return Nothing("no well of this plate was put together")
        one = plate.entry.settings.acquisitions[of]
        fields = {f"{field_of_well(key)}/0": handle.path for key, handle in well.items()}
        title = f"{plate.entry.screen} {plate.entry.plate}, whole wells"
        return Described(Plate(title, fields, ngff=one.omezarr.ngff_version), {"n_wells": len(fields)})

    return artifact(
        f"screen/{of}/omezarr/wells",
        OME_ZARR_PLATE,
        by=PLATES,
        place=f"screen/{{screen}}/{of}/omezarr/wells/P-{{plate}}.ome.zarr",
        optional=("well",),
        dispensable=("well",),
        checks=(SAME_CHANNELS,),
        when=also_exported(of, "well"),
    )(wells)


def _members() -> Iterator[object]:
    for of, well in (("sbs", _sbs_well()), ("phenotype", _phenotype_well())):
        yield from (well, _plate_of(of))


MEMBERS = tuple(_members())
"""Artifacts of whole wells."""
