"""Sequencing by synthesis: from the cycles of a tile to the barcode of every cell of a well.

raw -> images -> aligned -> log_filtered -> standard_deviation -> peaks --+
          |         |            +--------> max_filtered -----------------+-> bases -> reads -> cell_barcodes
          +-> ic_fields (well) -> corrected -> nuclei, cells -------------+

Filtered images, peaks and bases are made for the methods median and percentile alone, or where an export asks
for them; read_model (well) for the method model alone.

reads, cell_barcodes, nuclei of all tiles -> well_reads, well_cells, well_info
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Described, Nothing, artifact
from cytopipe.defs.screen_checks import (
    ALL_CYCLES,
    BASES_IN_PLACE,
    CONVERTED,
    COUNTS_FALL,
    FIELDS_USABLE,
    FINITE,
    LABELS_CONSECUTIVE,
    MODEL_READABLE,
    ONE_ROW_PER_CELL,
    ONE_ROW_PER_READ,
    PLACED,
    READS_IN_PLACE,
    same_size,
)
from cytopipe.defs.screen_images import (
    TILE_NAME,
    WELL_NAME,
    as_like,
    converted,
    counted_once,
    fields_of,
    image_place,
    joined,
    name_of,
    noted,
    segmented,
    stitched,
    table_place,
    tiles_of,
    told_of_field,
    with_barcodes,
)
from cytopipe.defs.screen_metadata import metadata_of
from cytopipe.defs.screen_sources import (
    LIBRARY,
    SBS_TILES,
    WELLS,
    Files,
    raw,
    settings_in,
    settings_of,
    stage_of,
)
from cytopipe.defs.screen_when import BY_MODEL, BY_PEAKS, PEAK_METHODS, filtered
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.document import JSON
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.table import PARQUET, TSV
from cytopipe.storage.formats.tiff import TIFF
from cytopipe.storage.formats.tiffs import TIFFS, ImageFiles

if TYPE_CHECKING:
    from pandas import DataFrame

    from cytopipe.project.screen.entry import Sequencing
    from cytopipe.screen.parameters import (
        CellCallSettings,
        CycleAlignmentSettings,
        FilterSettings,
        IlluminationSettings,
        LibrarySettings,
        ReadModelSettings,
        ReadSettings,
        SegmentationSettings,
        StitchingSettings,
    )

__all__ = ["MEMBERS"]

_image, _table = partial(image_place, "sbs"), partial(table_place, "sbs")
_declared = settings_in("sbs")

# ---------------------------------------------------------------------- what it is made from

RAW = raw(
    "screen/sbs/raw", SBS_TILES, "Images of the microscope, one file per cycle of a tile; never written."
)


ACQUISITION = _declared(
    "acquisition", "Channels and pixel size of the sequencing images.", "", "channels", "pixel_size_um"
)
SOURCES = (
    RAW,
    ACQUISITION,
    _declared(
        "ic_settings",
        "How the light of the microscope is measured.",
        "illumination",
        without=("rolling_ball_radius",),
    ),
    _declared("alignment_settings", "How cycles are aligned.", "alignment"),
    _declared("log_settings", "How spots are brought out.", "filter", "sigma"),
    _declared("peak_settings", "How peaks are found in the standard deviation.", "filter", "peak_width"),
    _declared("max_settings", "How far the value of a spot is looked for.", "filter", "max_filter_width"),
    _declared("background_settings", "How background is taken out.", "illumination", "rolling_ball_radius"),
    _declared("segmentation_cycles", "On which cycles cells are found.", "", "dapi_cycle", "cyto_cycle"),
    _declared("segmentation_settings", "How nuclei and cells are found.", "segmentation"),
    _declared("read_method", "How spots become reads.", "reads", "method"),
    _declared("base_settings", "Which peaks are reads.", "reads", "threshold_peaks", "read_margin_px"),
    _declared(
        "read_settings",
        "How bases are called.",
        "reads",
        without=("method", "threshold_peaks"),
    ),
    _declared("model_settings", "How the read model is learned and used.", "read_model"),
    _declared("cell_settings", "How the reads of a cell become its barcodes.", "cell_calls"),
    settings_of(
        "screen/library_settings",
        "What the columns of the library mean.",
        lambda screen: screen.library_columns,
    ),
    LIBRARY,
    stage_of("sbs"),
    _declared("stitching_settings", "How the tiles of a well are put together.", "stitching"),
)

# ---------------------------------------------------------------------- images of a tile


@artifact(
    "screen/sbs/images",
    TIFFS,
    by=SBS_TILES,
    place=f"screen/{{screen}}/preprocess/images/sbs/{TILE_NAME}__image.tiffs",
    checks=(CONVERTED,),
)
def images(tile: DataSet, raw: Files, acquisition: Sequencing) -> Described:
    """Every cycle of a tile as one image of all channels, uint16 CYX, the brightest plane of a stack.

    A folder of TIFFs, one per cycle, as ND2, TIFF or OME-TIFF of the microscope were read.
    """
    from cytopipe.screen.thumbnails import composite, png

    cycles = {name_of(tile, "image", cycle): image for cycle, image in converted(tile, raw, acquisition)}
    first = next(iter(cycles.values()))
    return Described(cycles, {"n_cycles": len(cycles)}, picture=png(composite(first.load())))


@artifact(
    "screen/sbs/aligned",
    TIFF,
    by=SBS_TILES,
    place=_image("aligned"),
    checks=(ALL_CYCLES,),
)
def aligned(tile: DataSet, images: ImageFiles, alignment_settings: CycleAlignmentSettings) -> Described:
    """Cycles of a tile brought onto each other, channels within each cycle as well; uint16 TCYX."""
    from cytopipe.screen.thumbnails import png

    opened = list(images.values())
    cycles = [one.load() for one in opened]
    most = max(opened, key=lambda one: one.n_channels)
    settings, notes = alignment_settings, {}
    if settings.model == "translation":
        from cytopipe.screen.alignment import align_cycles

        pixels = align_cycles(
            cycles,
            channel_order=most.channel_names,
            method=None if settings.method == "auto" else settings.method,
            upsample_factor=settings.upsample_factor,
            window=settings.window,
        )
    else:
        from cytopipe.screen.registration import register_cycles, resample

        found = register_cycles(cycles, settings)
        pixels = resample(cycles, found, settings.order)
        notes = _residuals(found)
    return Described(as_like(pixels, most, "TCYX"), notes=notes, picture=png(_cycles_over_each_other(pixels)))


def _cycles_over_each_other(pixels: np.ndarray) -> np.ndarray:
    """First, middle and last cycle in blue, green and red: white where they fit."""
    from cytopipe.screen.thumbnails import crop_of_spots

    some = pixels[[0, len(pixels) // 2, -1]]
    return crop_of_spots(some[:, 0] if pixels.shape[1] > 4 else some.max(axis=1))


def _residuals(found) -> dict[str, object]:
    """What is left of shifts, and which cycles could not be found."""
    table = found.residuals
    lost = [int(cycle) for cycle in table.loc[~table["registered"], "cycle"].unique()]
    notes: dict[str, object] = {"residual_px": round(float(table["median_px"].median()), 3)}
    return notes | ({"warning": f"cycles {lost} could not be aligned"} if lost else {})


@artifact(
    "screen/sbs/log_filtered",
    TIFF,
    by=SBS_TILES,
    place=_image("log_filtered"),
    checks=(same_size("aligned"),),
    when=filtered("log_filter", "compute_standard_deviation", "find_peaks", "max_filter"),
)
def log_filtered(tile: DataSet, aligned: Image, log_settings: FilterSettings) -> Described:
    """Spots brought out by a Laplacian of Gaussian, bases alone; DAPI as it was. uint16 TCYX."""
    from cytopipe.screen.filters import log_filter
    from cytopipe.screen.thumbnails import crop_of_spots, png

    pixels = log_filter(aligned.load(), sigma=log_settings.sigma, skip_index=_extra(aligned))
    return Described(as_like(pixels, aligned, "TCYX"), picture=png(crop_of_spots(pixels[0, -4:])))


def _extra(image: Image) -> list[int]:
    """Channels that show no base: all but the last four."""
    return list(range(image.n_channels - 4))


@artifact(
    "screen/sbs/standard_deviation",
    TIFF,
    by=SBS_TILES,
    place=_image("standard_deviation"),
    checks=(FINITE,),
    when=filtered("compute_standard_deviation", "find_peaks"),
)
def standard_deviation(tile: DataSet, log_filtered: Image) -> Described:
    """How much each pixel changes over cycles, mean over the bases; float64 YX."""
    from cytopipe.screen.filters import compute_standard_deviation
    from cytopipe.screen.thumbnails import crop_of_spots, png

    pixels = compute_standard_deviation(log_filtered.load(), remove_index=_extra(log_filtered))
    return Described(as_like(pixels, log_filtered, "YX"), picture=png(crop_of_spots(pixels)))


@artifact(
    "screen/sbs/peaks",
    TIFF,
    by=SBS_TILES,
    place=_image("peaks"),
    checks=(FINITE,),
    when=filtered("find_peaks"),
)
def peaks(tile: DataSet, standard_deviation: Image, peak_settings: FilterSettings) -> Described:
    """Candidate reads: local maxima of the standard deviation, and how far each stands out; float64 YX."""
    from cytopipe.screen.filters import find_peaks
    from cytopipe.screen.thumbnails import crop_of_spots, png

    pixels = find_peaks(standard_deviation.load(), width=peak_settings.peak_width)
    counts = {"n_peaks": int((pixels > 0).sum())}
    return Described(as_like(pixels, standard_deviation, "YX"), counts, picture=png(crop_of_spots(pixels)))


@artifact(
    "screen/sbs/max_filtered",
    TIFF,
    by=SBS_TILES,
    place=_image("max_filtered"),
    checks=(same_size("log_filtered"),),
    when=filtered("max_filter"),
)
def max_filtered(tile: DataSet, log_filtered: Image, max_settings: FilterSettings) -> Image:
    """The maximum around each pixel, bases alone, so that a spot off by a pixel keeps it; uint16 TCYX."""
    from cytopipe.screen.filters import max_filter

    pixels = max_filter(
        log_filtered.load(), width=max_settings.max_filter_width, remove_index=_extra(log_filtered)
    )
    return as_like(pixels, log_filtered, "TCYX", log_filtered.channel_names[-4:])


# ---------------------------------------------------------------------- cells of a tile


@artifact(
    "screen/sbs/ic_fields",
    TIFFS,
    by=WELLS,
    optional=("images",),
    place=f"screen/{{screen}}/preprocess/ic_fields/sbs/{WELL_NAME}__ic_field.tiffs",
    checks=(FIELDS_USABLE,),
)
def ic_fields(
    well: DataSet, images: Mapping[str, Handle], ic_settings: IlluminationSettings
) -> Described | Nothing:
    """How much light each pixel gets, relative to the darkest part; one field per cycle, float64 CYX."""
    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    tiles, notes = tiles_of(well, "sbs", images)
    notes |= told_of_field(len(tiles), ic_settings)
    return Described(fields_of(well, tiles, ic_settings), {"n_tiles": len(tiles)}, notes)


@artifact(
    "screen/sbs/corrected",
    TIFF,
    by=SBS_TILES,
    place=_image("illumination_corrected"),
    checks=(same_size("aligned"),),
)
def corrected(
    tile: DataSet,
    aligned: Image,
    ic_fields: ImageFiles,
    segmentation_cycles: Sequencing,
    background_settings: IlluminationSettings,
) -> Described:
    """The image on which cells are found, its uneven light taken out: DAPI and bases of chosen cycles; uint16
    CYX.
    """
    from cytopipe.screen.illumination import apply_ic_field, combine_ic_images
    from cytopipe.screen.thumbnails import composite, png

    fields = list(ic_fields.values())
    dapi, cyto = (one - 1 for one in (segmentation_cycles.dapi_cycle, segmentation_cycles.cyto_cycle))
    if dapi == cyto:
        pixels, field = aligned.pixels[cyto], fields[cyto].load()
    else:
        extra = _extra(aligned)
        pixels, field = (
            combine_ic_images([one(dapi), one(cyto)], [extra, None])
            for one in (lambda cycle: aligned.pixels[cycle], lambda cycle: fields[cycle].load())
        )
    radius = background_settings.rolling_ball_radius
    made = apply_ic_field(
        pixels, correction=field, rolling_ball=radius is not None, rolling_ball_radius=radius or 100
    )
    return Described(as_like(made, aligned, "CYX"), picture=png(composite(made)))


@artifact(
    {"screen/sbs/nuclei": TIFF, "screen/sbs/cells": TIFF, "screen/sbs/segmentation": TSV},
    by=SBS_TILES,
    place={
        "screen/sbs/nuclei": _image("nuclei"),
        "screen/sbs/cells": _image("cells"),
        "screen/sbs/segmentation": f"screen/{{screen}}/sbs/tsvs/{TILE_NAME}__segmentation_stats.tsv",
    },
    checks={
        "screen/sbs/nuclei": (LABELS_CONSECUTIVE,),
        "screen/sbs/cells": (LABELS_CONSECUTIVE,),
        "screen/sbs/segmentation": (COUNTS_FALL,),
    },
)
def segmentation(
    tile: DataSet, corrected: Image, segmentation_settings: SegmentationSettings
) -> dict[str, object]:
    """Nuclei and cells as labels, a cell numbered like its nucleus, and counts of every step."""
    from cytopipe.screen.segmentation import segment

    pixels = corrected.load()
    found = segment(pixels, segmentation_settings)
    dapi = pixels[segmentation_settings.dapi_index]
    return segmented("sbs", found, corrected, dapi, pixels[1:].max(axis=0))


# ---------------------------------------------------------------------- reads of a tile


@artifact(
    "screen/sbs/bases",
    PARQUET,
    by=SBS_TILES,
    place=_table("bases"),
    checks=(BASES_IN_PLACE,),
    when=BY_PEAKS,
)
def bases(
    tile: DataSet,
    peaks: Image,
    max_filtered: Image,
    cells: Image,
    base_settings: ReadSettings,
) -> Described:
    """Intensity of every base in every cycle of each read, and the cell it lies in."""
    from cytopipe.screen.bases import extract_bases, threshold_of

    height = peaks.load()
    threshold = base_settings.threshold_peaks
    threshold = threshold_of(height) if threshold == "auto" else threshold
    table = extract_bases(
        height,
        max_filtered.load(),
        cells.load(),
        threshold,
        tile.entry.wildcards,
        bases=max_filtered.channel_names,
        read_margin_px=base_settings.read_margin_px,
    )
    return Described(
        table, {"n_reads": int(table["read"].nunique())}, {"threshold_peaks": round(threshold, 1)}
    )


_LIBRARY = {"library": "screen/library", "library_settings": "screen/library_settings"}


@artifact(
    "screen/sbs/read_model",
    JSON,
    by=WELLS,
    optional=("aligned", "cells"),
    place=f"screen/{{screen}}/sbs/models/{WELL_NAME}__read_model.json",
    version="2",
    checks=(MODEL_READABLE,),
    inputs=_LIBRARY,
    when=BY_MODEL,
)
def read_model(
    well: DataSet,
    aligned: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    library: DataFrame | None,
    library_settings: LibrarySettings,
    model_settings: ReadModelSettings,
) -> Described | Nothing:
    """How the spots of a well look: gains, crosstalk and phasing by cycle, noise, and the barcodes' shares.

    Learned from squares of all tiles, against the library where there is one.
    """
    from cytopipe.screen.model import estimate_read_model

    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    tiles, notes = tiles_of(well, "sbs", cells)
    opened = [(aligned[f"{well.key}|{tile}"].load(), labels.load()) for tile, labels in tiles.items()]
    model = estimate_read_model(
        ((image.load(), labels.load()) for image, labels in opened),
        _named_for_model(library, library_settings),
        model_settings,
        bases=opened[0][0].channel_names[-4:],
    )
    return Described(model.as_json(), {"n_tiles": len(tiles)}, notes)


def _named_for_model(library: DataFrame | None, settings: LibrarySettings) -> DataFrame | None:
    """The library with its barcodes in the column that the read model looks for."""
    if library is None:
        return None
    column = settings.prefix_column or settings.barcode_column
    others = [name for name in ("barcode", "prefix", "sgRNA") if name in library and name != column]
    return library.drop(columns=others).rename(columns={column: "barcode"})


@artifact(
    "screen/sbs/reads",
    PARQUET,
    by=SBS_TILES,
    place=_table("reads"),
    version="2",
    inputs=_LIBRARY,
    checks=(READS_IN_PLACE,),
    reads_when={"bases": BY_PEAKS, "peaks": BY_PEAKS, "read_model": BY_MODEL},
)
def reads(
    tile: DataSet,
    bases: DataFrame | None,
    peaks: Handle | None,
    aligned: Handle,
    cells: Handle,
    read_model: dict | None,
    library: DataFrame | None,
    library_settings: LibrarySettings,
    read_method: ReadSettings,
    read_settings: ReadSettings,
    model_settings: ReadModelSettings,
) -> Described:
    """The sequence of each read, with the quality of every base."""
    from cytopipe.screen.thumbnails import density, png

    if read_method.method in PEAK_METHODS:
        from cytopipe.screen.reads import call_reads

        table = call_reads(
            bases,
            peaks.load().load(),
            correction_only_in_cells=read_settings.correction_only_in_cells,
            normalize_bases_first=read_settings.normalize_bases_first,
            method=read_settings.method,
            cycles=aligned.load().size("T"),
        )
    elif read_method.method == "zscore":
        from cytopipe.screen.zscore import zscore_reads

        image = aligned.load()
        spots, names = image.pixels[:, -4:], image.channel_names[-4:]
        table = zscore_reads(spots, cells.load().load(), read_settings, tile.entry.wildcards, names)
    else:
        from cytopipe.screen.model import call_reads_model, detect_reads, read_model_from_json

        model = read_model_from_json(read_model)
        labels, pixels = cells.load().load(), aligned.load().load()
        spots = detect_reads(pixels, labels, model, model_settings, tile.entry.wildcards)
        table = call_reads_model(spots, model, _named_for_model(library, library_settings))
    counts = {"n_reads": len(table), "n_reads_in_cells": int((table["cell"] > 0).sum())}
    return Described(table, counts, picture=png(density(table["i"].to_numpy(), table["j"].to_numpy())))


@artifact(
    "screen/sbs/cell_barcodes",
    PARQUET,
    by=SBS_TILES,
    place=_table("cells"),
    version="2",
    inputs=_LIBRARY,
    checks=(ONE_ROW_PER_CELL,),
    reads_when={"read_model": BY_MODEL},
)
def cell_barcodes(
    tile: DataSet,
    reads: DataFrame,
    read_model: dict | None,
    library: DataFrame | None,
    library_settings: LibrarySettings,
    read_method: ReadSettings,
    model_settings: ReadModelSettings,
    cell_settings: CellCallSettings,
) -> Described:
    """The best barcodes of every cell that has reads, with their genes."""
    if read_method.method == "model":
        from cytopipe.screen.model import call_cells_model, read_model_from_json

        known = _named_for_model(library, library_settings)
        table = call_cells_model(reads, read_model_from_json(read_model), known, model_settings)
    elif read_method.method == "zscore" and library is not None:
        from cytopipe.screen.zscore import match_cells

        table = match_cells(reads, library, cell_settings, library_settings)
    else:
        from cytopipe.screen.cells import cells_of

        table = cells_of(reads, library, cell_settings, library_settings)
    return Described(table, _mapped(table))


def _mapped(table: DataFrame) -> dict[str, int]:
    """Cells that have reads, and those of a barcode in the library."""
    known = table["mapped_0"] if "mapped_0" in table else table["cell_barcode_0"].notna()
    return {"n_cells_with_reads": len(table), "n_cells_mapped": int(known.sum())}


# ---------------------------------------------------------------------- a well


@artifact(
    "screen/sbs/well_reads",
    PARQUET,
    by=WELLS,
    optional=("reads",),
    place=_table("reads", WELL_NAME),
    checks=(ONE_ROW_PER_READ,),
)
def well_reads(well: DataSet, reads: Mapping[str, Handle]) -> Described | Nothing:
    """The reads of all tiles of a well."""
    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    tiles, notes = tiles_of(well, "sbs", reads)
    table = joined(tiles)
    return Described(table, {"n_tiles": len(tiles), "n_reads": len(table)}, notes)


metadata = metadata_of("sbs")


@artifact(
    "screen/sbs/positions",
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
    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    return stitched(well, "sbs", aligned, stage, stitching_settings, metadata)


@artifact(
    "screen/sbs/well_info",
    PARQUET,
    by=WELLS,
    optional=("nuclei",),
    place=_table("sbs_info", WELL_NAME),
    checks=(ONE_ROW_PER_CELL,),
)
def well_info(well: DataSet, nuclei: Mapping[str, Handle]) -> Described | Nothing:
    """Place, area and box of every nucleus in every tile of a well."""
    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    tiles, notes = tiles_of(well, "sbs", nuclei)
    table = noted(well, tiles)
    return Described(table, {"n_tiles": len(tiles), "n_cells": len(table)}, notes)


@artifact(
    "screen/sbs/well_cells",
    PARQUET,
    by=WELLS,
    optional=("cell_barcodes", "nuclei"),
    place=_table("cells", WELL_NAME),
    checks=(ONE_ROW_PER_CELL,),
)
def well_cells(
    well: DataSet,
    cell_barcodes: Mapping[str, Handle],
    nuclei: Mapping[str, Handle],
    well_info: DataFrame | None,
    positions: DataFrame | None,
    stitching_settings: StitchingSettings,
) -> Described | Nothing:
    """The cells of a well with their barcodes, one row for each: cells that several tiles show are counted
    once.

    `i, j` are px in the tile, `well_i, well_j` px in the well; a cell without reads has no barcode.
    """
    if well_info is None or positions is None:
        return Nothing("the well was not sequenced")
    tiles, notes = tiles_of(well, "sbs", cell_barcodes)
    cells = with_barcodes(well_info, tiles)
    shape = next(iter(nuclei.values())).load().shape[-2:]
    reads = "n_reads" if "n_reads" in cells else None
    table, counts, drawn = counted_once(cells, positions, tiles, shape, stitching_settings, reads)
    return Described(table, {**counts, **_mapped(table[table["cell_barcode_0"].notna()])}, notes, drawn)


MEMBERS = (
    *SOURCES,
    images,
    aligned,
    log_filtered,
    standard_deviation,
    peaks,
    max_filtered,
    ic_fields,
    corrected,
    segmentation,
    bases,
    read_model,
    reads,
    cell_barcodes,
    well_reads,
    metadata,
    positions,
    well_info,
    well_cells,
)
"""Sources and artifacts of the acquisition, in the order in which data flow."""
