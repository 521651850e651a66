"""The parameters of a screen, one class per stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cytopipe.parameters import ParameterSet

__all__ = ["CycleAlignmentSettings"]


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
