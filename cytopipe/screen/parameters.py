"""The parameters of a screen, one class per stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cytopipe.parameters import ParameterSet
from cytopipe.units import Words

__all__ = ["CycleAlignmentSettings", "FeatureSettings", "OmeZarrSettings"]


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


def _names(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class FeatureSettings(ParameterSet):
    """What is measured of nuclei, cells and cytoplasm."""

    foci_channels: Annotated[tuple[str, ...], BeforeValidator(_names)] = ()
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
