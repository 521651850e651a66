"""Settings of an export: what is shown, of which part of an image, and how it becomes files.

A job is a plain YAML file of these. Paths are relative to that file.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cytopipe.parameters import ParameterSet, contradiction, excluded
from cytopipe.units import Duration_s, Fraction

__all__ = [
    "CellSettings",
    "ChannelSetting",
    "GallerySettings",
    "JobSettings",
    "OverlaySetting",
    "PictureSettings",
    "RoiSettings",
]

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Pixels = Annotated[int, Field(ge=1, le=100_000)]


def _checked_colour(value: str) -> str:
    from cytopipe.errors import InputError
    from cytopipe.export.styles import colour_of

    try:
        colour_of(value)
    except InputError:
        raise excluded(
            "a colour is not known", expected="a name such as red, or #rrggbb", found=repr(value[:80])
        ) from None
    return value


class ChannelSetting(ParameterSet):
    """A channel of a marker set: black at `low`, its full colour at `high`."""

    color: str
    """Colour: a name such as red, or #rrggbb."""

    low: float = 0.0
    """Value of the image that is black."""

    high: float
    """Value of the image that has the full colour."""

    _colour = field_validator("color")(_checked_colour)


class OverlaySetting(ParameterSet):
    """Something drawn over the channels: the cells of a mask, or the classes of an annotation."""

    mask: str = ""
    """Mask whose cells are drawn, such as whole_cell."""

    annotation: str = ""
    """Label image whose classes are blended in the colours of `palette`; instead of `mask`."""

    mode: Literal["outline", "fill"] = "outline"
    """How cells are drawn."""

    color: str = "white"
    """Colour of all cells, where `color_by` is not given."""

    color_by: str = ""
    """Column of the cell table by whose values cells are coloured, such as phenotype."""

    palette: dict[str, str] | list[str] = Field(default_factory=dict)
    """Colours by value of `color_by`, or of the classes of an annotation, from class 0."""

    only_own: bool = False
    """Whether a picture of a single cell shows the outline of this cell alone."""

    opacity: Fraction = 1.0
    """Opacity."""

    thickness_px: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Thickness of outlines (px of the full image)."""

    @field_validator("color")
    @classmethod
    def _colour(cls, value: str) -> str:
        return _checked_colour(value)

    @field_validator("palette")
    @classmethod
    def _palette(cls, value: dict[str, str] | list[str]) -> dict[str, str] | list[str]:
        for one in value.values() if isinstance(value, dict) else value:
            _checked_colour(one)
        return value

    @model_validator(mode="after")
    def _one_thing(self) -> OverlaySetting:
        if bool(self.mask) == bool(self.annotation):
            raise contradiction("an overlay draws one thing", "mask", expected="either mask or annotation")
        if self.annotation and not (isinstance(self.palette, list) and self.palette):
            raise contradiction(
                "an annotation needs a palette", "palette", expected="a list of colours, from class 0"
            )
        if self.color_by and isinstance(self.palette, list):
            raise contradiction(
                "color_by needs colours by value", "palette", expected="a mapping such as {T cell: red}"
            )
        return self


class CellSettings(ParameterSet):
    """Which cells are exported, and how large the picture of each is."""

    table: Name
    """File of cells: CSV, TSV, Parquet or h5ad, with columns fov, label, x and y (px)."""

    where: str = ""
    """Condition on columns of the table: phenotype == 'T cell' and area > 50."""

    checkpoint: str = ""
    """Checkpoint of a heat map of these cells: its columns cluster and metacluster, and its colours."""

    around: Literal["centroid", "mask"] = "centroid"
    """Whether a picture is a square around the centroid, or the box of the cell in the mask."""

    mask: str = "whole_cell"
    """Mask in which cells have their labels, for `around: mask`."""

    size_px: Annotated[int, Field(ge=2, le=20_000)] = 64
    """Side of the square around a centroid (px of the full image)."""

    padding_px: Annotated[int, Field(ge=0, le=10_000)] = 8
    """Margin around the box of a cell in the mask (px of the full image)."""

    min_size_px: Annotated[int, Field(ge=1, le=20_000)] = 16
    """Least side of a picture around a box of the mask (px of the full image)."""

    max_size_px: Annotated[int, Field(ge=1, le=20_000)] = 512
    """Largest side of such a picture; a larger cell is cut off around its centre (px of the full image)."""

    pad_edges: bool = True
    """Whether pictures at the edge of the image are filled with black, so that all have their size."""

    @model_validator(mode="after")
    def _order(self) -> CellSettings:
        if self.min_size_px > self.max_size_px:
            raise contradiction(
                "the least side is larger than the largest",
                "min_size_px",
                expected=f"at most {self.max_size_px}",
                found=str(self.min_size_px),
            )
        return self


class RoiSettings(ParameterSet):
    """Which regions of interest are exported, and whose settings are used."""

    file: Name
    """CSV file of regions of interest, as UELer writes it."""

    settings: Literal["own", "shared"] = "own"
    """Whether a region is shown as it was seen in UELer (marker set, masks, colours), or as the job says."""

    palettes: str = ""
    """Folder with the palettes and colour sets of UELer that regions name; by default that of `file`."""

    names: list[str] = Field(default_factory=list)
    """Names or identifiers of the regions that are exported; all by default."""

    tags: list[str] = Field(default_factory=list)
    """Only regions that have one of these tags."""

    size_px: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """Longer side of pictures (px, at most 100 more): larger regions are downsampled."""

    draw_shape: bool = True
    """Whether polygons and lines of regions are drawn."""


class GallerySettings(ParameterSet):
    """Pages of pictures in a grid."""

    rows: Annotated[int, Field(ge=1, le=20)] = 4
    """Rows of a page."""

    columns: Annotated[int, Field(ge=1, le=20)] = 3
    """Columns of a page."""

    page: Literal["a4", "a4-landscape", "letter"] = "a4"
    """Size of a page."""

    largest_px: Annotated[int, Field(ge=32, le=10_000)] = 800
    """Longest side of a picture in a gallery (px); larger ones are downsampled."""


class PictureSettings(ParameterSet):
    """How a picture becomes a file."""

    file_format: Literal["png", "jpeg", "tiff", "pdf", "ome-tiff"] = "png"
    """Format of the files; ome-tiff holds the channels as they were measured."""

    downsample: Annotated[int, Field(ge=1, le=1000)] = 1
    """Every so many-th pixel is shown."""

    dpi: Annotated[float, Field(ge=1, le=100_000)] = 300.0
    """Resolution for printing (pixels per inch)."""

    quality: Annotated[int, Field(ge=1, le=100)] = 90
    """Quality of JPEG, also inside of PDF."""

    scale_bar: bool = True
    """Whether a scale bar is drawn; the size of a pixel has to be known then."""

    bar_fraction: Annotated[Fraction, Field(gt=0)] = 0.1
    """Part of the width that a scale bar has at most."""

    bar_um: Annotated[float, Field(gt=0, le=1e9)] | None = None
    """Fixed length of the bar (micrometres); by default the largest round length that fits."""


class JobSettings(PictureSettings):
    """An export: what, from where, to where."""

    source: Name
    """Folder or file with the images."""

    kind: str = "auto"
    """Layout of the source, such as ark; found out by default."""

    masks: str = ""
    """Folder of the masks, where it is not in its usual place."""

    pixel_size_um: Annotated[float, Field(gt=0, lt=1e6)] | None = None
    """Size of a pixel (micrometres); by default what the files say."""

    output: Name = "pictures"
    """Folder for the pictures."""

    mode: Literal["fov", "cells", "rois"] = "fov"
    """Whole fields of view, single cells, or regions of interest."""

    fovs: list[str] = Field(default_factory=list)
    """Fields of view that are exported; all by default."""

    marker_sets: dict[str, dict[str, ChannelSetting]] = Field(default_factory=dict)
    """Marker sets by name: each its channels with color, low and high."""

    marker_set_file: str = ""
    """JSON file with marker sets, as UELer writes it."""

    marker_set: str = ""
    """The marker set that is shown; the only one by default."""

    overlays: list[OverlaySetting] = Field(default_factory=list)
    """Masks and annotations over the channels, in this order."""

    cells: CellSettings | None = None
    """Cells, for mode cells and for `color_by`."""

    rois: RoiSettings | None = None
    """Regions of interest, for mode rois."""

    gallery: GallerySettings = Field(default_factory=GallerySettings)
    """Pages of the gallery."""

    engine: str = "local"
    """Where pictures are made: serial, local, local:N, dask."""

    retries: Annotated[int, Field(ge=0, le=20)] = 2
    """How often a read that failed is tried again."""

    backoff: Duration_s = 0.5
    """Wait before the first new try (seconds); twice as long before each further one."""

    fovs_per_s: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """At most so many fields of view are begun per second by each worker; no limit by default."""

    @property
    def shows_own(self) -> bool:
        """Whether each region of interest is shown as it was seen."""
        return self.mode == "rois" and self.rois is not None and self.rois.settings == "own"

    @model_validator(mode="after")
    def _complete(self) -> JobSettings:
        faults: list[ValidationError] = []
        if self.mode == "cells" and self.cells is None:
            faults.append(
                contradiction("mode cells needs cells", "cells", expected="cells: {table: cells.csv}")
            )
        if self.mode == "rois" and self.rois is None:
            faults.append(contradiction("mode rois needs rois", "rois", expected="rois: {file: rois.csv}"))
        if self.cells is None and any(one.color_by for one in self.overlays):
            faults.append(
                contradiction("color_by needs a cell table", "overlays", expected="cells: {table: cells.csv}")
            )
        if not self.marker_sets and not self.marker_set_file:
            faults.append(
                contradiction(
                    "no marker set is given", "marker_sets", expected="marker_sets or marker_set_file"
                )
            )
        if faults:
            raise faults[0]
        return self
