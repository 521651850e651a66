"""The parameters of a screen, one class per stage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from cytopipe.parameters import ParameterSet, contradiction
from cytopipe.units import Fraction, Words

__all__ = [
    "AggregateSettings",
    "CellCallSettings",
    "CycleAlignmentSettings",
    "FeatureSettings",
    "FilterSettings",
    "IlluminationSettings",
    "LibrarySettings",
    "MergeSettings",
    "MontageSettings",
    "OmeZarrSettings",
    "PhenotypeAlignmentSettings",
    "PhenotypeAlignmentStep",
    "PhenotypeSegmentationSettings",
    "QualitySettings",
    "ReadModelSettings",
    "ReadSettings",
    "SegmentationSettings",
    "StitchingSettings",
]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _channel_offsets(value: object) -> dict[int, tuple[int, int]]:
    """A mapping of channels to two whole numbers; JSON has texts for keys."""
    offsets: dict[int, tuple[int, int]] = {}
    if not isinstance(value, Mapping):
        raise ValueError("expected a mapping such as {1: [2, -3]}")
    for channel, shift in value.items():
        number = int(channel) if isinstance(channel, str) and channel.isdecimal() else channel
        whole = [number, *shift] if isinstance(shift, list | tuple) else []
        if len(whole) != 3 or not all(type(one) is int for one in whole) or number < 0:
            raise ValueError("expected two whole numbers for a channel, such as {1: [2, -3]}")
        offsets[number] = (whole[1], whole[2])
    return offsets


ChannelOffsets = Annotated[
    dict[int, tuple[int, int]],
    BeforeValidator(_channel_offsets),
    Words("a mapping of channels to two whole numbers, such as {1: [2, -3]}", "MAPPING"),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {
                "type": "array",
                "items": {"type": "integer"},
                "minItems": 2,
                "maxItems": 2,
            },
        }
    ),
]


class IlluminationSettings(ParameterSet):
    """How the uneven light of the microscope is measured and taken out."""

    smooth: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Radius of the disk of the median filter; none: a disk of a twentieth of the image (pixels)."""

    sample_fraction: Annotated[Fraction, Field(gt=0)] = 1.0
    """Share of the tiles that the field is measured on; at least one tile."""

    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """Decides which tiles are sampled."""

    fewest_tiles: Annotated[int, Field(ge=1)] = 5
    """Fewer tiles show where their cells are, not how bright the light is: the field is 1 everywhere, and
    nothing is divided out."""

    rolling_ball_radius: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Radius of the ball that rolls under a corrected image to find its background; none: no background is
    taken out (pixels)."""


class CycleAlignmentSettings(ParameterSet):
    """How the cycles of a tile are brought onto each other."""

    model: Literal["similarity", "translation"] = "similarity"
    """Similarity: shift, rotation and scale of each cycle and chromatic shift of each channel, fitted without
    steps to all cycles together. Translation: the reference's shifts of cycles and channels, in steps of
    1 / upsample_factor."""

    method: Literal["auto", "DAPI", "sbs_mean"] = "auto"
    """What cycles are compared by: DAPI, or all bases together. Auto is DAPI where every cycle has it."""

    reference_cycle: Annotated[int, Field(ge=1)] = 1
    """The cycle onto which the others are brought, counted from 1 (similarity)."""

    n_bases: Annotated[int, Field(ge=1, le=16)] = 4
    """Channels of a cycle that show bases: its last ones."""

    order: Literal[1, 3] = 3
    """Interpolation of the pixels: 1 linear, 3 cubic, which keeps the contrast of spots (similarity)."""

    upsample_factor: Annotated[int, Field(ge=1, le=1000)] = 2
    """Steps per pixel in which shifts are found (translation)."""

    window: Annotated[int, Field(ge=1, le=64)] = 2
    """The centre 1 / window of an image is compared (translation)."""


class FilterSettings(ParameterSet):
    """How spots are brought out of aligned cycles."""

    sigma: Annotated[float, Field(gt=0, le=50)] = 1.0
    """Width of the Laplacian of Gaussian, about the radius of a spot (pixels)."""

    peak_width: Annotated[int, Field(ge=1, le=101)] = 5
    """Side of the square window in which a peak is the maximum (pixels)."""

    max_filter_width: Annotated[int, Field(ge=1, le=101)] = 3
    """Side of the square window whose maximum is the value of a spot (pixels)."""


class PhenotypeAlignmentStep(ParameterSet):
    """One channel brought onto another one, and what goes with it; channels are counted from 0."""

    target: Annotated[int, Field(ge=0)]
    """The channel that stays."""

    source: Annotated[int, Field(ge=0)]
    """The channel that is brought onto the target: the same stain, imaged in another round."""

    riders: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...],
        BeforeValidator(_as_tuple),
        Words("a list of channels", "N"),
    ] = ()
    """Channels that were imaged with the source and take its shift."""

    remove_channel: Literal["target", "source"] | None = None
    """The channel that is removed afterwards; the source takes the place of a target that is removed."""

    upsample_factor: Annotated[int, Field(ge=1, le=1000)] = 2
    """Steps per pixel in which the shift is found."""

    window: Annotated[int, Field(ge=1, le=64)] = 2
    """The centre 1 / window of an image is compared."""


class PhenotypeAlignmentSettings(ParameterSet):
    """How the channels of a phenotype image are brought onto each other."""

    custom_channel_offsets: ChannelOffsets = Field(default_factory=dict)
    """Known shifts (y, x) by channel, counted from 0, made first: y above 0 shifts up, x above 0 shifts left
    (pixels)."""

    steps: Annotated[
        tuple[PhenotypeAlignmentStep, ...],
        BeforeValidator(_as_tuple),
        Words("a list of steps, such as [{target: 0, source: 4}]", "STEPS"),
    ] = ()
    """Alignments, made one after the other, each on the channels that the last one left."""


_CELLPOSE = "Stringer C. et al. (2021) Cellpose. Nature Methods 18:100-106."
_STARDIST = "Schmidt U. et al. (2018) Star-convex polygons. MICCAI, LNCS 11071:265-273."
_FELDMAN = "Feldman D. et al. (2019) Optical pooled screens in human cells. Cell 179(3):787-799."


class SegmentationSettings(ParameterSet):
    """How nuclei and cells of a tile are found."""

    method: Literal["watershed", "cellpose", "stardist"] = "watershed"
    """Watershed needs no weights. Cellpose and StarDist need their package and a trained model."""

    segment_cells: bool = True
    """Find cells, too; otherwise each nucleus stands for its cell."""

    reconcile: Literal["consensus", "contained_in_cells"] | None = "consensus"
    """Consensus keeps cells with one nucleus. The other keeps cells with several and merges these. None:
    labels stay as found, and cells may lack a nucleus."""

    clear_border: bool = False
    """Drop cells that touch the border of the tile, as the reference does. What is left of a cut cell may
    hold its spots, and where tiles overlap it is counted once."""

    dapi_index: Annotated[int, Field(ge=0)] = 0
    """Channel of the nuclear stain, counted from 0."""

    threshold_dapi: Annotated[float, Field(ge=0)] = Field(
        default=4260.0, json_schema_extra={"reference": _FELDMAN}
    )
    """Mean intensity that a nucleus has at least (watershed)."""

    threshold_cell: Annotated[float, Field(ge=0)] = 1300.0
    """Intensity above which a pixel belongs to a cell: the median of the channels beside DAPI (watershed)."""

    nucleus_area_min_px: Annotated[float, Field(ge=0)] = 45.0
    """Area in px that a nucleus must exceed (watershed)."""

    nucleus_area_max_px: Annotated[float, Field(gt=0)] = 450.0
    """Area in px below which a nucleus must stay (watershed)."""

    radius_px: Annotated[int, Field(ge=1, le=500)] = 15
    """Radius of the disk whose mean a pixel of a nucleus exceeds (watershed)."""

    smooth_px: Annotated[float, Field(ge=0, le=100)] = 1.35
    """Sigma by which the distance to the background is smoothed before touching nuclei are cut: the larger,
    the fewer cuts (watershed)."""

    nucleus_model: str = ""
    """Path of the model that finds nuclei (cellpose: a file; stardist: a folder)."""

    cell_model: str = ""
    """Path of the model that finds cells (cellpose: a file; stardist: a folder)."""

    cyto_index: Annotated[int, Field(ge=0)] = 1
    """Channel that shows cytoplasm, counted from 0 (cellpose, stardist)."""

    helper_index: Annotated[int, Field(ge=0)] | None = None
    """A further channel that Cellpose sees."""

    log_scale: bool = True
    """Show Cellpose the cytoplasm on a logarithmic scale."""

    nucleus_diameter_px: Annotated[float, Field(gt=0)] | None = Field(
        default=None, json_schema_extra={"reference": _CELLPOSE}
    )
    """Diameter of nuclei; none: as the model was trained (cellpose)."""

    cell_diameter_px: Annotated[float, Field(gt=0)] | None = None
    """Diameter of cells; none: as the model was trained (cellpose)."""

    flow_threshold: Annotated[float, Field(ge=0)] = 0.4
    """Error of the flows above which a mask is dropped (cellpose)."""

    cellprob_threshold: Annotated[float, Field(ge=-20, le=20)] = 0.0
    """Log odds above which a pixel belongs to an object (cellpose)."""

    prob_threshold: Fraction = Field(default=0.5, json_schema_extra={"reference": _STARDIST})
    """Probability that an object has at least (stardist)."""

    nms_threshold: Fraction = 0.4
    """Overlap above which the less probable of two objects is dropped (stardist)."""

    gpu: bool = False
    """Use a GPU where there is one (cellpose)."""

    @model_validator(mode="after")
    def _areas_in_order(self) -> Self:
        if self.nucleus_area_min_px >= self.nucleus_area_max_px:
            raise contradiction(
                "no nucleus can have that area",
                "nucleus_area_min_px",
                expected="nucleus_area_min_px < nucleus_area_max_px",
                found=f"{self.nucleus_area_min_px:g} and {self.nucleus_area_max_px:g}",
            )
        return self


class PhenotypeSegmentationSettings(SegmentationSettings):
    """How nuclei and cells of a phenotype tile are found."""

    clear_border: bool = True
    """Drop cells that touch the border of the tile: part of a cell has other features than the whole."""


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class LibrarySettings(ParameterSet):
    """Which columns of the library of barcodes mean what."""

    barcode_column: str = "sgRNA"
    """Column of the full barcodes; reads are compared with their first letters, as many as cycles."""

    prefix_column: str | None = None
    """Column of the barcodes as they are read, where cycles are skipped; none: the first letters."""

    gene_columns: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ("gene_symbol", "gene_id")
    """Columns that the table of cells repeats for each barcode; those that are absent are left out."""

    map_column: str = "prefix_map"
    """Column of the barcodes that are mapped, where a read holds two."""

    recomb_column: str = "prefix_recomb"
    """Column of the second barcodes, which tell recombination."""

    near_distance: Annotated[int, Field(ge=1, le=8)] = 1
    """Barcodes that differ in so few bases are reported as near neighbours."""


def _threshold(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    if value != "auto" and not is_number:
        raise ValueError("expected a number from 0, or auto")
    return value


Threshold = Annotated[
    float | Literal["auto"], BeforeValidator(_threshold), Words("a number from 0, or auto", "NUMBER")
]


class ReadSettings(ParameterSet):
    """How spots become reads."""

    method: Literal["model", "median", "percentile", "zscore"] = "model"
    """Model: cells are called by the likelihood of their spots, with everything learned from the well
    (ReadModelSettings). Median and percentile: crosstalk by one matrix per tile. Zscore: planes are
    standardised, a base is the channel that leads."""

    threshold_peaks: Threshold = Field(
        default="auto",
        json_schema_extra={"reference": "Otsu N. (1979) IEEE Trans. Systems, Man, Cybernetics 9(1):62-66."},
    )
    """A peak must exceed this to be a read (median, percentile). Auto: the peaks of each tile are parted into
    noise and spots. The model finds its own threshold."""

    read_margin_px: Annotated[int, Field(ge=0, le=50)] = 0
    """A read outside of cells belongs to the nearest cell within this distance."""

    correction_only_in_cells: bool = True
    """Estimate crosstalk from reads in cells alone (median, percentile)."""

    normalize_bases_first: bool = True
    """Divide each channel by its median before crosstalk is estimated (median)."""

    background_sigma_px: Annotated[float, Field(gt=0, le=100)] = Field(
        default=4.0, json_schema_extra={"reference": "STARCall (2025) PLOS Comput Biol, pcbi.1013689"}
    )
    """Sigma of the Gaussian that is subtracted from each plane (zscore)."""

    spot_sigma_min_px: Annotated[float, Field(gt=0, le=50)] = 1.0
    """Sigma of the smallest spots (zscore)."""

    spot_sigma_max_px: Annotated[float, Field(gt=0, le=50)] = 3.0
    """Sigma of the largest spots (zscore)."""

    spot_sigma_steps: Annotated[int, Field(ge=1, le=50)] = 7
    """Sizes of spots that are tried (zscore)."""

    value_radius_px: Annotated[int, Field(ge=0, le=50)] = 2
    """A spot's value is the largest within this distance (zscore)."""


class CellCallSettings(ParameterSet):
    """How the reads of a cell become its barcodes."""

    q_min: Fraction = 0.0
    """Quality that the worst base of a read has at least."""

    sort_calls: Literal["peak", "count"] = "peak"
    """Reads that match the library come first, then those of the brightest peak, or of the most frequent
    barcode."""

    n_barcodes: Annotated[int, Field(ge=2, le=20)] = 2
    """Barcodes of a cell that are kept."""

    error_correct: bool = False
    """Replace a read by the one barcode of the library that is nearest, within max_distance."""

    max_distance: Annotated[int, Field(ge=0, le=8)] = 2
    """Largest distance at which a read is replaced, in bases; also that of a match (zscore)."""

    distance_metric: Literal["hamming", "levenshtein"] = "hamming"
    """Hamming counts bases that differ; levenshtein also bases that are missing or too many."""

    max_false_corrections: Fraction | None = 0.05
    """Share of corrected reads that may be wrong: of each distance, the reads of the highest quality are
    corrected, as many as decoy barcodes tell. None: all within max_distance."""

    refuse_debris: bool = True
    """Leave out barcodes of one base (such as GGGGGGGGG) where they are in more than twice as many cells as
    other barcodes: debris reads as one base in every cycle (median, percentile)."""

    map_start: Annotated[int, Field(ge=1)] | None = None
    """First cycle of the barcode that is mapped, from 1, where a read holds two barcodes."""

    map_end: Annotated[int, Field(ge=1)] | None = None
    """Last cycle of the barcode that is mapped."""

    recomb_start: Annotated[int, Field(ge=1)] | None = None
    """First cycle of the barcode that tells recombination."""

    recomb_end: Annotated[int, Field(ge=1)] | None = None
    """Last cycle of the barcode that tells recombination."""

    recomb_q_thresh: Fraction | None = None
    """Quality of these cycles below which recombination is left open; none: always told."""

    @model_validator(mode="after")
    def _cycles_in_order(self) -> Self:
        for name in ("map", "recomb"):
            start, end = getattr(self, f"{name}_start"), getattr(self, f"{name}_end")
            if (start is None) != (end is None) or (start is not None and start > end):
                raise contradiction(
                    "cycles must have a first and a last one",
                    f"{name}_start",
                    expected=f"{name}_start <= {name}_end, or neither",
                    found=f"{start} and {end}",
                )
        if self.recomb_start is not None and self.map_start is None:
            raise contradiction(
                "recombination is told of reads with two barcodes", "recomb_start", expected="map_start, too"
            )
        return self


def _chunk_shape(value: object) -> tuple[int, ...]:
    """``1,512,512`` or a list of whole numbers."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        shape = tuple(int(one) for one in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        shape = ()
    if not 2 <= len(shape) <= 5 or min(shape) < 1 or max(shape) > 1 << 16:
        raise ValueError("expected 2 to 5 whole numbers, such as 1,512,512")
    return shape


ChunkShape = Annotated[
    tuple[int, ...],
    BeforeValidator(_chunk_shape),
    Words("2 to 5 whole numbers, such as 1,512,512", "N,N,N"),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 2}),
]


class OmeZarrSettings(ParameterSet):
    """How images are written as OME-Zarr."""

    chunk_shape: ChunkShape = (1, 512, 512)
    """Pixels of a chunk along the last axes (pixels)."""

    coarsening_factor: Annotated[int, Field(ge=2, le=16)] = 2
    """How much coarser each level is along rows and columns."""

    max_levels: Annotated[int, Field(ge=1, le=16)] | None = None
    """Levels at most, the finest included; none: until one chunk holds a whole plane."""

    ngff_version: Literal["0.5", "0.4"] = "0.5"
    """Of the format. 0.4 is Zarr version 2, the only one that Bio-Formats and OMERO read."""

    shard: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    """Rows and columns that one file holds, a multiple of the chunk's; none: a file per chunk. 2048 makes up
    to 16 times fewer files (pixels; 0.5 only)."""


class FeatureSettings(ParameterSet):
    """What is measured of nuclei, cells and cytoplasm."""

    nucleus_channels: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Names of the channels that are measured in nuclei; none named: all."""

    cell_channels: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Names of the channels that are measured in cells; none named: all."""

    cytoplasm_channels: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Names of the channels that are measured in cytoplasm; none named: all."""

    foci_channels: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Names of the channels in which foci are found and counted per cell."""

    texture_distance: Annotated[int, Field(ge=1, le=64)] = 5
    """Pixels between the two of a pair whose grey levels are compared (Haralick)."""

    texture_ceiling: Annotated[int, Field(ge=255, le=65535)] | None = None
    """Value that becomes the highest of 256 grey levels (Haralick), such as 4095 for a camera of 12 bits;
    none: the largest that the image's type holds. Pairs with level 0 are left out, so that a high ceiling
    leaves nothing of dim cells."""

    parity: bool = False
    """Follow the reference to its conventions: values of an object below 256 throughout are grey levels as
    they are, Feret diameters miss edges whose farthest corner is the last one asked, the slope over a
    constant channel is the least-norm one, the brightest pixel of a dark object is the corner of its box."""


class QualitySettings(ParameterSet):
    """What is told as a fault of images, reads and cells."""

    least_contrast: Annotated[float, Field(ge=0)] = 20.0
    """A plane whose percentiles 99.5 and 5 are nearer to each other is blank (intensity)."""

    most_saturated: Fraction = 0.01
    """Pixels at the largest value of the camera, of a plane at most (fraction)."""

    least_focus: Fraction = 0.5
    """Sharpness of a plane, as a fraction of the usual one of its well, cycle and channel."""

    most_residual_px: Annotated[float, Field(gt=0)] = 0.5
    """How far a cycle may be from the first one after alignment (pixels)."""

    least_called: Fraction = 0.3
    """Cells of a well that have a barcode of the library, at least (fraction)."""

    least_of_usual: Fraction = 0.5
    """Share of cells with a barcode in a tile, as a fraction of the usual one of its well."""

    most_base_difference: Fraction = 0.15
    """How far the frequency of a base in a cycle may be from the library's, on top of three standard
    deviations for unequal abundance (fraction)."""


class MontageSettings(ParameterSet):
    """How pictures of single cells are put together, one for each perturbation."""

    crop_px: Annotated[int, Field(ge=8, le=1024)] = 80
    """Side of the square around each cell (pixels)."""

    n_cells: Annotated[int, Field(ge=1, le=400)] = 25
    """Cells of a perturbation that are shown at most."""

    most_perturbations: Annotated[int, Field(ge=1, le=10_000)] = 24
    """Perturbations of a plate that are shown at most: those with most cells."""

    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """Decides which cells are shown."""


class ReadModelSettings(ParameterSet):
    """How the read model is learned and used."""

    spot_sigma_px: Annotated[float, Field(ge=0.3, le=10)] = 0.8
    """Sigma of the Gaussian that smooths spots: less than that of the spots."""

    background_sigma_px: Annotated[float, Field(gt=0, le=100)] = 3.0
    """Sigma of the Gaussian that is subtracted as background."""

    peak_radius_px: Annotated[int, Field(ge=1, le=20)] = 2
    """Of two spots within this distance the stronger one is read."""

    read_margin_px: Annotated[int, Field(ge=0, le=20)] = 2
    """A read outside of cells belongs to the nearest cell within this distance."""

    false_share: Annotated[float, Field(gt=0, le=0.9)] = 0.3
    """Share of spots that chance may make: cycles shifted at random tell it. Wrong spots cost little, because
    a cell is called by the likelihood of its reads."""

    learn_false_share: Annotated[float, Field(gt=0, le=0.9)] = 0.03
    """The same for the spots that chemistry is learned from."""

    learn_rounds: Annotated[int, Field(ge=1, le=20)] = 4
    """Rounds in which reads are matched with the library and chemistry is fitted to them."""

    prior_rounds: Annotated[int, Field(ge=0, le=20)] = 6
    """Rounds in which shares of reads and cells are learned."""

    sample_squares: Annotated[int, Field(ge=1, le=256)] = 6
    """Squares of the well's tiles that the model is learned from."""

    sample_side_px: Annotated[int, Field(ge=64, le=4096)] = 256
    """Side of these squares, approximately."""

    min_probability: Fraction = 0.9
    """A cell is called if it carries the barcode with at least this probability."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Of the shifts that chance is measured with, and of the choice of tiles."""


class StitchingSettings(ParameterSet):
    """How the tiles of a well are put together, and cells that two tiles show are counted once."""

    layout: Literal["stage", "row", "column", "row_snake", "column_snake"] = "stage"
    """Where tiles lie before their overlaps are looked at: where the stage says, or in a grid that is filled
    row by row or column by column; in a snake every second line runs backwards."""

    n_columns: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Columns of the grid; none: as many as rows (layouts other than stage)."""

    overlap: Annotated[Fraction, Field(lt=1)] = 0.1
    """Part of a tile's side that its neighbour shows, too (layouts other than stage)."""

    reach_px: Annotated[int, Field(ge=1, le=4096)] = 50
    """How far a tile may lie from where it is expected against its neighbour (pixels)."""

    min_overlap_px: Annotated[int, Field(ge=4, le=4096)] = 16
    """Two tiles are compared where they are expected to share this many rows and columns (pixels)."""

    min_significance: Annotated[float, Field(ge=0, le=1000)] = 6.0
    """How far the correlation of an overlap has to stand out to be believed, in standard deviations of the
    correlation of images that have nothing in common."""

    same_cell_px: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """Largest distance of the centres of one cell in two tiles (pixels)."""

    cell_radius_px: Annotated[float, Field(ge=0, le=1000)] = 14.0
    """Usual radius of a cell. One whose centre is nearer to the border of its tile is cut: its true centre is
    sought as much farther outside (pixels)."""


class MergeSettings(ParameterSet):
    """How cells of the sequencing images are found in the phenotype images."""

    max_distance_um: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """Largest distance of the centres of one cell in both acquisitions (micrometres)."""

    min_triangles: Annotated[int, Field(ge=3, le=100_000)] = 6
    """Triangles of neighbouring cells that have to agree on a similarity before it is believed."""

    max_triangle_difference: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.15,
        json_schema_extra={
            "reference": "Lang D. et al. (2010) Astrometry.net. Astronomical Journal 139:1782."
        },
    )
    """Largest difference of two triangles with their neighbours, in parts of their longest side."""

    max_scale_error: Annotated[Fraction, Field(gt=0)] = 0.05
    """Largest difference between the measured and the known ratio of pixel sizes."""

    mirrored: bool = False
    """One acquisition is the mirror image of the other."""

    local_fit: bool = True
    """Correct the shift of single tiles after the fit of the well, where enough cells of a tile agree."""


class AggregateSettings(ParameterSet):
    """How the features of cells become profiles of perturbations."""

    perturbation_column: Annotated[str, Field(min_length=1)] = "gene_symbol_0"
    """Column that names what was done to a cell; in a project by default the first of gene_columns."""

    replicate_column: Annotated[str, Field(min_length=1)] | None = "cell_barcode_0"
    """Column whose values are separate profiles of a perturbation, such as the guide; none: one per well."""

    second_column: Annotated[str, Field(min_length=1)] | None = "gene_symbol_1"
    """Column with a second perturbation of a cell; cells where it differs from the first are left out, where
    the column exists. None: they are kept."""

    control_prefix: Annotated[str, Field(min_length=1)] = "nontargeting"
    """Perturbations whose name begins like this are controls."""

    statistic: Literal["median", "mean"] = "median"
    """What stands for the cells of a profile, and for the profiles of a perturbation."""

    max_missing: Fraction = 0.05
    """A feature that is missing in a larger part of the cells is left out of a well, then a cell that still
    misses a larger part of its features."""

    max_deviation: Annotated[float, Field(gt=0, le=1e6)] = 50.0
    """Deviations from the controls are cut off here (robust standard deviations)."""

    min_cells: Annotated[int, Field(ge=1, le=1_000_000)] = 5
    """A profile of fewer cells is left out."""

    min_control_cells: Annotated[int, Field(ge=2, le=1_000_000)] = 20
    """A well with fewer control cells cannot be normalised."""

    sphering: bool = False
    """Take out the typical variation of the controls of each well: their features become uncorrelated."""

    bootstraps: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """Draws of control cells, and of rankings, from which p-values are made; 0: none."""

    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """Decides the draws."""
