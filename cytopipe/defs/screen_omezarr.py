"""Every image stage of a screen as OME-Zarr, beside the TIFFs, and the plates that viewers open as one.

sbs/aligned, ... -> sbs/omezarr/aligned, segmentation, ... (a tile each) -> sbs/omezarr/plate

Of stages that the project file does not list there are no partitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cytopipe.defs.artifact import Artifact, Check, CheckResult, Described, Nothing, artifact
from cytopipe.defs.screen_sources import PHENOTYPE_TILES, PLATES, SBS_TILES, WELLS, settings_of
from cytopipe.defs.screen_twins import twins_of
from cytopipe.defs.screen_when import plate_exported, stage_exported
from cytopipe.project import DataSet
from cytopipe.screen.omezarr import stacked
from cytopipe.screen.stages import STAGES, Stage
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OME_ZARR, LaidOut, OmeZarr
from cytopipe.storage.formats.plate import OME_ZARR_PLATE, Plate
from cytopipe.storage.formats.tiffs import ImageFiles

if TYPE_CHECKING:
    from cytopipe.project.screen.exports import OmeZarrExport

__all__ = ["MEMBERS", "SAME_CHANNELS", "export_of", "field_of_well", "laid_out"]

_BY = {"sbs": SBS_TILES, "phenotype": PHENOTYPE_TILES}
_TITLES = {"sbs": "sequencing", "phenotype": "phenotype"}


def _settings(acquisition: str):
    def read(screen):
        one = screen.acquisitions.get(acquisition)
        return None if one is None else one.omezarr

    description = f"How {_TITLES[acquisition]} images are exported as OME-Zarr."
    which = ("export", "stages", "plate", "well", "overlays")  # they decide what is made, not how
    return settings_of(f"screen/{acquisition}/omezarr_settings", description, read, without=which)


def _acquisition(stage: Stage) -> str:
    return stage.asset.split("/")[1]


def _same_pixels(made: Image, image: Handle) -> CheckResult:
    """The first plane stands for all: every chunk was decoded before, and planes are written alike."""
    import numpy as np

    of = image.load()
    first = next(iter(of.values())) if isinstance(of, ImageFiles) else of
    same = np.array_equal(next(made.planes()), next(first.planes())) and made.dtype == first.dtype
    return CheckResult(() if same else ("the first plane is not that of the TIFF",))


def _same_channels(made: Mapping[str, Image]) -> CheckResult:
    kinds = {(one.channel_names, tuple(sorted(one.labels))) for one in made.values()}
    words = (f"fields differ in channels or labels: {sorted(kinds)[:2]}",) if len(kinds) > 1 else ()
    return CheckResult(words, {"n_fields": len(made)})


SAME_PIXELS = Check(
    name="same_pixels", description="Level 0 holds the pixels of the TIFF.", evaluate=_same_pixels
)
SAME_CHANNELS = Check(
    name="same_channels",
    description="Every field of the plate has the same channels and labels.",
    evaluate=_same_channels,
)


def export_of(stage: Stage) -> str:
    """The asset that holds the images of a stage as OME-Zarr."""
    return f"screen/{_acquisition(stage)}/omezarr/{stage.omezarr_folder}"


def laid_out(
    image: Image, settings: OmeZarrExport, files: Mapping[str, tuple[str, ...]] | None = None
) -> LaidOut:
    """An image with the way in which the project file wants it written."""
    layout = OmeZarr(
        ngff=settings.ngff_version,
        chunk_shape=settings.chunk_shape,
        factor=settings.coarsening_factor,
        max_levels=settings.max_levels,
        shard=settings.shard,
    )
    return LaidOut(image, layout, files or {})


def _channels(image: Image | ImageFiles, stage: Stage) -> tuple[str, ...]:
    first = image if isinstance(image, Image) else next(iter(image.values()))
    if stage.channels == "fields":
        return stage.channel_names(first.channel_names)
    return first.channel_names or (stage.info,) * (first.n_channels == 1)


def _export_of(stage: Stage) -> Artifact:
    """The export of a stage that makes one image for each tile, or for each well."""
    of = _acquisition(stage)

    def exported(part: DataSet, image: Handle | None, settings: OmeZarrExport) -> Described | Nothing:
        from dataclasses import replace

        if image is None:
            return Nothing("there is no image of this stage")
        found = image.load()
        names = _channels(found, stage)
        if isinstance(found, ImageFiles):
            own = {name: one.channel_names for name, one in found.items()}
            return Described(laid_out(stacked(found, names), settings, own))
        return Described(laid_out(replace(found, channel_names=names), settings))

    exported.__doc__ = (
        f"The image of {stage.name} as OME-Zarr: the TIFF's pixels, and coarser levels for viewers."
    )
    return artifact(
        export_of(stage),
        OME_ZARR,
        by=WELLS if stage.by == WELLS.name else _BY[of],
        place=f"screen/{{screen}}/{stage.omezarr_place}",
        inputs={"image": stage.asset, "settings": f"screen/{of}/omezarr_settings"},
        checks=(SAME_PIXELS,),
        when=stage_exported(of, stage.name),
        twins=twins_of(stage),
    )(exported)


def _labelled_export_of(stage: Stage, shown: str, masks: tuple[str, ...]) -> Artifact:
    """The export of a stage that makes masks: the image they were found on, with the masks as labels."""
    of = _acquisition(stage)

    def with_labels(image: Image, found: Mapping[str, Image], settings: OmeZarrExport) -> Described:
        from dataclasses import replace

        labelled = replace(image, labels=dict(found))
        counts = {f"n_{name}": int(one.load().max(initial=0)) for name, one in found.items()}
        return Described(laid_out(labelled, settings), counts)

    if masks == ("nuclei", "cells"):

        def exported(part: DataSet, image: Image, nuclei: Image, cells: Image, settings: OmeZarrExport):
            return with_labels(image, {"nuclei": nuclei, "cells": cells}, settings)

    else:

        def exported(part: DataSet, image: Image, cytoplasm: Image, settings: OmeZarrExport):
            return with_labels(image, {"cytoplasm": cytoplasm}, settings)

    exported.__doc__ = f"The image of {shown}, with {' and '.join(masks)} as labels, as OME-Zarr."
    return artifact(
        export_of(stage),
        OME_ZARR,
        by=_BY[of],
        place=f"screen/{{screen}}/{stage.omezarr_place}",
        inputs={
            "image": f"screen/{of}/{shown}",
            **{one: f"screen/{of}/{one}" for one in masks},
            "settings": f"screen/{of}/omezarr_settings",
        },
        checks=(SAME_PIXELS,),
        when=stage_exported(of, stage.name),
        twins=twins_of(stage, masks),
    )(exported)


_WELL = re.compile(r"([A-Za-z]+)0*([0-9]+)")


def _field(key: str) -> str:
    """``A/1/7`` of ``crop.1-A01|7``."""
    well, _, tile = key.partition("|")
    return f"{field_of_well(well)}/{tile}"


def field_of_well(key: str) -> str:
    """``A/1`` of ``crop.1-A01``; a well that is no row and column stands in row W."""
    name = key.rpartition("-")[2]
    match = _WELL.fullmatch(name)
    row, column = match.groups() if match else ("W", re.sub("[^A-Za-z0-9]", "", name) or "0")
    return f"{row.upper()}/{column}"


def _stage_of(acquisition: str, folder: str) -> str:
    """The stage whose images lie in a folder of an acquisition's exports."""
    return next(
        stage.name
        for stage in STAGES.values()
        if stage.is_image and stage.omezarr_folder == folder and _acquisition(stage) == acquisition
    )


def _plate_of(acquisition: str, preferred: tuple[str, ...]) -> Artifact:
    """The plate of an acquisition, of the first of the preferred images that is exported."""

    def plate(
        plate: DataSet,
        first: Mapping[str, Handle],
        second: Mapping[str, Handle],
        third: Mapping[str, Handle],
    ) -> Described | Nothing:
        """Every exported tile of a plate at its well, as one OME-Zarr that viewers open as a plate.

        Of segmentation, corrected and aligned images the first that is exported; files are shared with the
        tiles' own exports and take no space.
        """
        one = plate.entry.settings.acquisitions[acquisition]
        some = next((found for found in (first, second, third) if found), {})
        if not some:
            return Nothing("no tile of this plate is exported as OME-Zarr")
        fields = {_field(key): handle.path for key, handle in some.items()}
        value = Plate(f"{plate.entry.screen} {plate.entry.plate}", fields, ngff=one.omezarr.ngff_version)
        wells = {field.rpartition("/")[0] for field in fields}
        return Described(value, {"n_wells": len(wells), "n_fields": len(fields)})

    return artifact(
        f"screen/{acquisition}/omezarr/plate",
        OME_ZARR_PLATE,
        by=PLATES,
        place=f"screen/{{screen}}/{acquisition}/omezarr/plate/P-{{plate}}.ome.zarr",
        inputs={
            name: f"screen/{acquisition}/omezarr/{one}"
            for name, one in zip(("first", "second", "third"), preferred, strict=True)
        },
        optional=("first", "second", "third"),
        dispensable=("first", "second", "third"),
        checks=(SAME_CHANNELS,),
        when=plate_exported(acquisition, *(_stage_of(acquisition, one) for one in preferred)),
    )(plate)


def _members(acquisition: str) -> tuple:
    shown, preferred = {
        "sbs": ("corrected", ("segmentation", "illumination_corrected", "aligned")),
        "phenotype": ("aligned", ("segmentation", "aligned", "illumination_corrected")),
    }[acquisition]
    exports = []
    for stage in STAGES.values():
        if not stage.is_image or _acquisition(stage) != acquisition:
            continue
        if len(stage.assets) > 1:
            exports.append(_labelled_export_of(stage, shown, ("nuclei", "cells")))
        elif stage.channels == "mask":
            exports.append(_labelled_export_of(stage, shown, ("cytoplasm",)))
        else:
            exports.append(_export_of(stage))
    return (_settings(acquisition), *exports, _plate_of(acquisition, preferred))


MEMBERS = (*_members("sbs"), *_members("phenotype"))
