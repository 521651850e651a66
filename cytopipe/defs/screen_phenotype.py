"""The stained cells: from the images of a tile to the measurements of every cell of a well.

raw -> images -> corrected -> aligned -> nuclei, cells -> cytoplasm --+
          +-> ic_fields (well) --^            +-----------------------+-> features -> well_features
                                              +-> well_minimal
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Described, Nothing, artifact
from cytopipe.defs.screen_checks import (
    CONVERTED,
    COUNTS_FALL,
    FIELD_USABLE,
    LABELS_CONSECUTIVE,
    ONE_ROW_PER_CELL,
    ONE_ROW_PER_LABEL,
    PLACED,
    same_size,
)
from cytopipe.defs.screen_images import (
    TILE_NAME,
    WELL_NAME,
    as_labels,
    as_like,
    converted,
    counted_once,
    field_of,
    image_place,
    joined,
    noted,
    segmented,
    stitched,
    table_place,
    tiles_of,
    told_of_field,
)
from cytopipe.defs.screen_metadata import metadata_of
from cytopipe.defs.screen_sources import PHENOTYPE_TILES, WELLS, Files, raw, settings_in, stage_of
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.table import PARQUET, TSV
from cytopipe.storage.formats.tiff import TIFF

if TYPE_CHECKING:
    from pandas import DataFrame

    from cytopipe.project.screen.entry import Phenotype
    from cytopipe.screen.parameters import (
        FeatureSettings,
        IlluminationSettings,
        PhenotypeAlignmentSettings,
        SegmentationSettings,
        StitchingSettings,
    )

__all__ = ["MEMBERS", "names_left"]

_image, _table = partial(image_place, "phenotype"), partial(table_place, "phenotype")
_declared = settings_in("phenotype")

# ---------------------------------------------------------------------- what it is made from


SOURCES = (
    raw(
        "screen/phenotype/raw", PHENOTYPE_TILES, "Images of the microscope, of stained cells; never written."
    ),
    _declared(
        "acquisition",
        "Channels and pixel size of the phenotype images, and the order of rounds.",
        "",
        "channels",
        "pixel_size_um",
        "rounds",
    ),
    _declared(
        "ic_settings",
        "How the light of the microscope is measured.",
        "illumination",
        without=("rolling_ball_radius",),
    ),
    _declared("background_settings", "How background is taken out.", "illumination", "rolling_ball_radius"),
    _declared("alignment_settings", "How channels are aligned.", "alignment"),
    _declared("segmentation_settings", "How nuclei and cells are found.", "segmentation"),
    _declared("feature_settings", "What is measured of cells.", "features"),
    stage_of("phenotype"),
    _declared("stitching_settings", "How the tiles of a well are put together.", "stitching"),
)

# ---------------------------------------------------------------------- a tile


@artifact(
    "screen/phenotype/images",
    TIFF,
    by=PHENOTYPE_TILES,
    place=f"screen/{{screen}}/preprocess/images/phenotype/{TILE_NAME}__image.tiff",
    checks=(CONVERTED,),
)
def images(tile: DataSet, raw: Files, acquisition: Phenotype) -> Described:
    """A tile as one image of all channels, uint16 CYX, the brightest plane of a stack."""
    from cytopipe.screen.thumbnails import composite, png

    _, image = next(converted(tile, raw, acquisition))
    return Described(image, picture=png(composite(image.load())))


@artifact(
    "screen/phenotype/ic_fields",
    TIFF,
    by=WELLS,
    optional=("images",),
    place=f"screen/{{screen}}/preprocess/ic_fields/phenotype/{WELL_NAME}__ic_field.tiff",
    checks=(FIELD_USABLE,),
)
def ic_fields(
    well: DataSet, images: Mapping[str, Handle], ic_settings: IlluminationSettings
) -> Described | Nothing:
    """How much light each pixel gets in a well, relative to the darkest part; float64 CYX."""
    from cytopipe.screen.thumbnails import composite, png

    if not well.entry.tiles.get("phenotype"):
        return Nothing("the well has no phenotype images")
    tiles, notes = tiles_of(well, "phenotype", images)
    notes |= told_of_field(len(tiles), ic_settings)
    field = field_of([one.load() for one in tiles.values()], ic_settings)
    return Described(field, {"n_tiles": len(tiles)}, notes, png(composite(field.load())))


@artifact(
    "screen/phenotype/corrected",
    TIFF,
    by=PHENOTYPE_TILES,
    place=_image("illumination_corrected"),
    checks=(same_size("images"),),
)
def corrected(
    tile: DataSet, images: Image, ic_fields: Image, background_settings: IlluminationSettings
) -> Described:
    """A tile with its uneven light taken out; uint16 CYX."""
    from cytopipe.screen.illumination import apply_ic_field
    from cytopipe.screen.thumbnails import composite, png

    radius = background_settings.rolling_ball_radius
    made = apply_ic_field(
        images.load(),
        correction=ic_fields.load(),
        rolling_ball=radius is not None,
        rolling_ball_radius=radius or 100,
    )
    return Described(as_like(made, images, "CYX"), picture=png(composite(made)))


@artifact(
    "screen/phenotype/aligned",
    TIFF,
    by=PHENOTYPE_TILES,
    place=_image("aligned"),
    checks=(same_size("corrected"),),
)
def aligned(tile: DataSet, corrected: Image, alignment_settings: PhenotypeAlignmentSettings) -> Described:
    """Channels of a tile brought onto each other, without those that rounds have twice; uint16 CYX."""
    from cytopipe.screen.phenotype_alignment import align_phenotype
    from cytopipe.screen.thumbnails import composite, png

    made = align_phenotype(corrected.load(), alignment_settings)
    names = names_left(corrected.channel_names, alignment_settings)
    return Described(as_like(made, corrected, "CYX", names), picture=png(composite(made)))


def names_left(names: tuple[str, ...], settings: PhenotypeAlignmentSettings) -> tuple[str, ...]:
    """Names of the channels that are left, where each channel stands after all steps."""
    left = list(names)
    for step in settings.steps:
        if step.remove_channel == "target":
            left[step.target] = left[step.source]
        if step.remove_channel is not None:
            del left[step.source]
    return tuple(left)


@artifact(
    {"screen/phenotype/nuclei": TIFF, "screen/phenotype/cells": TIFF, "screen/phenotype/segmentation": TSV},
    by=PHENOTYPE_TILES,
    place={
        "screen/phenotype/nuclei": _image("nuclei"),
        "screen/phenotype/cells": _image("cells"),
        "screen/phenotype/segmentation": "screen/{screen}/phenotype/tsvs/"
        f"{TILE_NAME}__segmentation_stats.tsv",
    },
    checks={
        "screen/phenotype/nuclei": (LABELS_CONSECUTIVE, same_size("aligned")),
        "screen/phenotype/cells": (LABELS_CONSECUTIVE, same_size("aligned")),
        "screen/phenotype/segmentation": (COUNTS_FALL,),
    },
    inputs={"approval": "screen/qc/approval"},
)
def segmentation(
    tile: DataSet, aligned: Image, segmentation_settings: SegmentationSettings, approval: Handle
) -> dict[str, object]:
    """Nuclei and cells as labels, a cell numbered like its nucleus, and counts of every step.

    From here on a screen may wait for a person to approve the quality of its sequencing.
    """
    from cytopipe.screen.segmentation import segment

    pixels = aligned.load()
    found = segment(pixels, segmentation_settings)
    dapi = pixels[segmentation_settings.dapi_index]
    rest = np.delete(pixels, segmentation_settings.dapi_index, axis=0)
    body = rest.max(axis=0) if len(rest) else dapi
    return segmented("phenotype", found, aligned, dapi, body)


@artifact(
    "screen/phenotype/cytoplasm",
    TIFF,
    by=PHENOTYPE_TILES,
    place=_image("cytoplasm"),
    checks=(same_size("cells"),),
)
def cytoplasm(tile: DataSet, nuclei: Image, cells: Image) -> Described:
    """Cells without their nuclei, as labels of the same numbers."""
    from cytopipe.screen.segmentation.cytoplasm import identify_cytoplasm
    from cytopipe.screen.thumbnails import outlined, png

    labels = identify_cytoplasm(nuclei.load(), cells.load())
    number = {"n_cytoplasms": len(np.unique(labels[labels > 0]))}
    return Described(as_labels(labels, cells), number, picture=png(outlined(labels > 0, [labels])))


@artifact(
    "screen/phenotype/features",
    PARQUET,
    by=PHENOTYPE_TILES,
    place=_table("features"),
    checks=(ONE_ROW_PER_LABEL,),
)
def features(
    tile: DataSet,
    aligned: Image,
    nuclei: Image,
    cells: Image,
    cytoplasm: Image,
    feature_settings: FeatureSettings,
) -> Described:
    """Measurements of every nucleus, cell and cytoplasm: intensity, texture, shape, colocalization, foci."""
    from cytopipe.screen.features import measure

    table = measure(
        aligned.load(),
        nuclei.load(),
        cells.load(),
        cytoplasm.load(),
        channel_names=aligned.channel_names,
        settings=feature_settings,
        **tile.entry.wildcards,
    )
    return Described(table, {"n_cells": len(table), "n_features": table.shape[1]})


# ---------------------------------------------------------------------- a well


@artifact(
    "screen/phenotype/well_features",
    PARQUET,
    by=WELLS,
    optional=("features",),
    place=_table("features", WELL_NAME),
    checks=(ONE_ROW_PER_LABEL,),
)
def well_features(well: DataSet, features: Mapping[str, Handle]) -> Described | Nothing:
    """The measurements of the cells of all tiles of a well."""
    if not well.entry.tiles.get("phenotype"):
        return Nothing("the well has no phenotype images")
    tiles, notes = tiles_of(well, "phenotype", features)
    table = joined(tiles)
    return Described(table, {"n_tiles": len(tiles), "n_cells": len(table)}, notes)


metadata = metadata_of("phenotype")


@artifact(
    "screen/phenotype/positions",
    PARQUET,
    by=WELLS,
    optional=("aligned", "metadata"),
    dispensable=("metadata",),
    place=_table("positions", WELL_NAME),
    checks=(PLACED,),
)
def positions(
    well: DataSet,
    aligned: Mapping[str, Handle],
    stage: DataFrame | None,
    metadata: DataFrame | None,
    stitching_settings: StitchingSettings,
) -> Described | Nothing:
    """Where the tiles of a well lie, in px of the well: from their overlaps, and from the stage where tiles
    are empty.
    """
    if not well.entry.tiles.get("phenotype"):
        return Nothing("the well has no phenotype images")
    return stitched(well, "phenotype", aligned, stage, stitching_settings, metadata)


@artifact(
    "screen/phenotype/well_minimal",
    PARQUET,
    by=WELLS,
    optional=("nuclei",),
    place=_table("minimal", WELL_NAME),
    checks=(ONE_ROW_PER_CELL,),
)
def well_minimal(
    well: DataSet,
    nuclei: Mapping[str, Handle],
    positions: DataFrame | None,
    stitching_settings: StitchingSettings,
) -> Described | Nothing:
    """Place, area and box of every nucleus of a well, one row for each: what matching with sequenced cells
    needs.
    """
    if positions is None:
        return Nothing("the well has no phenotype images")
    tiles, notes = tiles_of(well, "phenotype", nuclei)
    shape = next(iter(tiles.values())).load().shape[-2:]
    cells = noted(well, tiles)
    table, counts, drawn = counted_once(cells, positions, tiles, shape, stitching_settings)
    return Described(table, counts, notes, drawn)


MEMBERS = (
    *SOURCES,
    images,
    ic_fields,
    corrected,
    aligned,
    segmentation,
    cytoplasm,
    features,
    well_features,
    metadata,
    positions,
    well_minimal,
)
"""Sources and artifacts of the acquisition, in the order in which data flow."""
