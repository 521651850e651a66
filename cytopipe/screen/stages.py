"""The stages of a screen under the names of the field's reference pipeline, with what each leaves behind.

Exports, quality control and cleaning ask here which asset a stage makes, where its images lie and what their
channels are called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["STAGES", "Stage", "stage_named"]

Channels = Literal["cycles", "bases", "phenotype", "fields", "mask", "plane", "none"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    Parameters
    ----------
    name : str
        As a person writes it: ``align_sbs``.
    module : {'preprocess', 'sbs', 'phenotype', 'merge', 'aggregate'}
    asset : str
        The asset that holds its result; of several, the first of `assets`.
    assets : tuple of str
        All that one pass of it makes.
    info : str
        What stands in file names behind ``__``.
    by : str
        The set of partitions it is made over.
    channels : str
        What its channels are: those of the acquisition in every cycle (``cycles``), its bases alone
        (``bases``), the phenotype's channels, ``IC field <channel>`` (``fields``), object numbers (``mask``),
        one plane without a name, or no image at all.
    label : str
        The name of a mask.
    is_temporary : bool
        Whether it is needed only on the way: what follows was made, so it may be removed.
    """

    name: str
    module: str
    assets: tuple[str, ...]
    info: str
    by: str
    channels: Channels = "none"
    label: str = ""
    is_temporary: bool = False

    @property
    def asset(self) -> str:
        return self.assets[0]

    @property
    def is_image(self) -> bool:
        return self.channels != "none"

    @property
    def omezarr_folder(self) -> str:
        """What its OME-Zarr images are called: masks of one pass lie in one image, ``segmentation``."""
        return "segmentation" if len(self.assets) > 1 else self.info

    @property
    def omezarr_place(self) -> str:
        """Where its OME-Zarr images lie below a screen's folder, as a template of plate, well and tile."""
        of, folder = self.asset.split("/")[1], self.omezarr_folder
        below = f"preprocess/omezarr/{of}" if self.module == "preprocess" else f"{of}/omezarr/{folder}"
        tile = "" if self.by == "screen_wells" else "_T-{tile}"
        return f"{below}/P-{{plate}}_W-{{well}}{tile}__{folder}.ome.zarr"

    def channel_names(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the channels of its images, given those of the acquisition."""
        match self.channels:
            case "cycles" | "phenotype":
                return channels
            case "bases":
                return channels[-4:]
            case "fields":
                return tuple(f"IC field {one}" for one in channels)
            case "mask":
                return (self.label,)
        return ()


def _stage(name: str, module: str, assets: str, info: str, by: str, **given) -> Stage:
    return Stage(
        name=name,
        module=module,
        assets=tuple(f"screen/{one}" for one in assets.split()),
        info=info,
        by=by,
        **given,
    )


STAGES: dict[str, Stage] = {
    one.name: one
    for one in (
        _stage("convert_sbs", "preprocess", "sbs/images", "image", "sbs_tiles", channels="cycles"),
        _stage(
            "calculate_ic_sbs", "preprocess", "sbs/ic_fields", "ic_field", "screen_wells", channels="fields"
        ),
        _stage("align_sbs", "sbs", "sbs/aligned", "aligned", "sbs_tiles", channels="cycles"),
        _stage(
            "log_filter",
            "sbs",
            "sbs/log_filtered",
            "log_filtered",
            "sbs_tiles",
            channels="cycles",
            is_temporary=True,
        ),
        _stage(
            "compute_standard_deviation",
            "sbs",
            "sbs/standard_deviation",
            "standard_deviation",
            "sbs_tiles",
            channels="plane",
            is_temporary=True,
        ),
        _stage("find_peaks", "sbs", "sbs/peaks", "peaks", "sbs_tiles", channels="plane", is_temporary=True),
        _stage(
            "max_filter",
            "sbs",
            "sbs/max_filtered",
            "max_filtered",
            "sbs_tiles",
            channels="bases",
            is_temporary=True,
        ),
        _stage(
            "apply_ic_field_sbs",
            "sbs",
            "sbs/corrected",
            "illumination_corrected",
            "sbs_tiles",
            channels="cycles",
            is_temporary=True,
        ),
        _stage(
            "segment_sbs",
            "sbs",
            "sbs/nuclei sbs/cells sbs/segmentation",
            "nuclei",
            "sbs_tiles",
            channels="mask",
            label="Nuclei",
        ),
        _stage("extract_bases", "sbs", "sbs/bases", "bases", "sbs_tiles"),
        _stage("call_reads", "sbs", "sbs/reads", "reads", "sbs_tiles"),
        _stage("call_cells", "sbs", "sbs/cell_barcodes", "cell_barcodes", "sbs_tiles"),
        _stage("combine_reads", "sbs", "sbs/well_reads", "reads", "screen_wells"),
        _stage("combine_cells", "sbs", "sbs/well_cells", "cells", "screen_wells"),
        _stage("combine_sbs_info", "sbs", "sbs/well_info", "sbs_info", "screen_wells"),
        _stage(
            "convert_phenotype",
            "preprocess",
            "phenotype/images",
            "image",
            "phenotype_tiles",
            channels="phenotype",
        ),
        _stage(
            "calculate_ic_phenotype",
            "preprocess",
            "phenotype/ic_fields",
            "ic_field",
            "screen_wells",
            channels="fields",
        ),
        _stage(
            "apply_ic_field_phenotype",
            "phenotype",
            "phenotype/corrected",
            "illumination_corrected",
            "phenotype_tiles",
            channels="phenotype",
            is_temporary=True,
        ),
        _stage(
            "align_phenotype",
            "phenotype",
            "phenotype/aligned",
            "aligned",
            "phenotype_tiles",
            channels="phenotype",
        ),
        _stage(
            "segment_phenotype",
            "phenotype",
            "phenotype/nuclei phenotype/cells phenotype/segmentation",
            "nuclei",
            "phenotype_tiles",
            channels="mask",
            label="Nuclei",
        ),
        _stage(
            "identify_cytoplasm",
            "phenotype",
            "phenotype/cytoplasm",
            "cytoplasm",
            "phenotype_tiles",
            channels="mask",
            label="Cytoplasm",
            is_temporary=True,
        ),
        _stage("extract_phenotype", "phenotype", "phenotype/features", "features", "phenotype_tiles"),
        _stage("merge_phenotype", "phenotype", "phenotype/well_features", "features", "screen_wells"),
    )
}
"""Every stage by its name, in the order in which data flow."""


def stage_named(name: str) -> Stage:
    """The stage of that name.

    Raises
    ------
    InputError
        There is none; the nearest name is told.
    """
    from difflib import get_close_matches

    from cytopipe.errors import InputError

    if name not in STAGES:
        close = get_close_matches(name, STAGES, n=1)
        raise InputError(
            f"no stage is called {name!r}",
            expected=", ".join(STAGES),
            next=f"Did you mean {close[0]}?" if close else "",
        )
    return STAGES[name]
