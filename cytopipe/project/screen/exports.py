"""What of an acquisition is exported as OME-Zarr, and how: for the project, per acquisition, per stage.

Written as in the field's reference pipeline, the keys stand flat in the acquisition
(``omezarr_export: true``, ``omezarr_stages: [align_sbs]``) or together below ``omezarr:``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from cytopipe.screen.parameters import AggregateSettings, OmeZarrSettings
from cytopipe.screen.stages import STAGES

__all__ = ["AggregateExport", "OmeZarrExport", "with_flat_keys"]

_PREFIX = "omezarr_"
_USUAL = {
    "sbs": ("align_sbs", "apply_ic_field_sbs", "segment_sbs"),
    "phenotype": (
        "apply_ic_field_phenotype",
        "align_phenotype",
        "segment_phenotype",
        "identify_cytoplasm",
    ),
}


def _stages(value: object) -> object:
    from difflib import get_close_matches

    known = [name for name, stage in STAGES.items() if stage.is_image]
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"expected a list of stages, of {', '.join(known)}")
    for one in value:
        if one not in known:
            close = get_close_matches(one, known, 1)
            raise ValueError(
                f"expected stages that make images; {one!r} is none"
                + (f", did you mean {close[0]}?" if close else f": {', '.join(known)}")
            )
    return value


class OmeZarrExport(OmeZarrSettings):
    """Which images of an acquisition are exported as OME-Zarr, and how."""

    export: bool | None = None
    """Whether images are exported; none: what omezarr_export_default of the screen says."""

    stages: Annotated[list[str], BeforeValidator(_stages)] = Field(default_factory=list)
    """Stages whose images are exported; none: aligned and corrected images and segmentation."""

    plate: bool = True
    """Whether the exported tiles are also put together as a plate."""

    well: bool = False
    """Whether the tiles of a well are also put together as one image, its cells numbered through."""

    overlays: bool = False
    """Whether pictures with the outlines of nuclei and cells are exported, too."""

    def stages_of(self, acquisition: str, default: bool) -> tuple[str, ...]:
        """The stages to export of an acquisition, in the order the data flow."""
        if not (default if self.export is None else self.export):
            return ()
        chosen = self.stages or _USUAL[acquisition]
        return tuple(name for name in STAGES if name in chosen)


class AggregateExport(AggregateSettings):
    """How the features of cells become profiles of perturbations."""

    omezarr_export_overlays: bool = False
    """Whether montages are exported as OME-Zarr, too."""


def with_flat_keys(written: object) -> object:
    """``omezarr_chunk_shape: ...`` as ``omezarr: {chunk_shape: ...}``."""
    if not isinstance(written, dict):
        return written
    flat = {key: value for key, value in written.items() if str(key).startswith(_PREFIX)}
    if not flat:
        return written
    rest: dict[str, Any] = {key: value for key, value in written.items() if key not in flat}
    below = rest.get("omezarr")
    if "omezarr" in rest and not isinstance(below, dict):
        return rest
    rest["omezarr"] = {**(below or {}), **{key.removeprefix(_PREFIX): value for key, value in flat.items()}}
    return rest
