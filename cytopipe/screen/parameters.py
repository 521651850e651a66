"""The parameters of a screen, one class per stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from cytopipe.parameters import ParameterSet
from cytopipe.units import Fraction, Words

__all__ = [
    "CycleAlignmentSettings",
    "FilterSettings",
    "IlluminationSettings",
    "OmeZarrSettings",
    "PhenotypeAlignmentSettings",
    "PhenotypeAlignmentStep",
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

    sample_fraction: Fraction = 1.0
    """Share of the tiles that the field is measured on; at least one tile."""

    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """Decides which tiles are sampled."""

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

    riders: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_as_tuple)] = ()
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

    steps: Annotated[tuple[PhenotypeAlignmentStep, ...], BeforeValidator(_as_tuple)] = ()
    """Alignments, made one after the other, each on the channels that the last one left."""


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
