"""Nuclei and cells as labels: by watershed, by Cellpose or by StarDist, behind one function.

Whatever the method, the counts have the same names; reconciled, nucleus and cell share their label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.screen.parameters import SegmentationSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Segmentation", "segment"]


@dataclass(frozen=True)
class Segmentation:
    """Labels of one tile.

    Parameters
    ----------
    nuclei, cells : numpy.ndarray
        uint16 (uint32 beyond 65,535 labels), YX, background 0. A cell has the label of its nucleus, unless a
        network found both and nothing reconciled them.
        `cells` equals `nuclei` where only nuclei were asked for.
    stats : pandas.DataFrame
        One row of counts, in the order of the work: ``initial_nuclei``, ``initial_cells``,
        ``after_edge_removal_nuclei``, ``after_edge_removal_cells``, ``final_nuclei``, ``final_cells``.
    """

    nuclei: np.ndarray
    cells: np.ndarray
    stats: pd.DataFrame


def segment(image: np.ndarray, settings: SegmentationSettings) -> Segmentation:
    """Segment nuclei, and cells around them, with the method that `settings` name.

    Parameters
    ----------
    image : numpy.ndarray
        uint16 or uint8, CYX (or TCYX, for the watershed), not filtered; DAPI at ``settings.dapi_index``.
    settings : SegmentationSettings

    Raises
    ------
    InputError
        The image has other axes or another dtype, or lacks a channel that is needed.
    MissingToolError
        The method's package is not installed, or its weights are not where the settings say.
    """
    import pandas as pd

    from cytopipe.screen.segmentation.reconcile import (
        clear_border,
        compact,
        label_count,
        reconcile_nuclei_cells,
    )

    _check(image, settings)
    if settings.method == "watershed":
        from cytopipe.screen.segmentation.watershed import watershed_masks as masks
    elif settings.method == "cellpose":
        from cytopipe.screen.segmentation.cellpose import cellpose_masks as masks
    else:
        from cytopipe.screen.segmentation.stardist import stardist_masks as masks
    nuclei, cells = masks(image, settings)
    stages = [(nuclei, cells)]
    network = settings.method != "watershed"
    if settings.clear_border and (network or settings.segment_cells):
        # The nucleus of a dropped cell goes when both are reconciled.
        nuclei, cells = clear_border(nuclei) if network else nuclei, clear_border(cells)
    stages.append((nuclei, cells))
    if settings.reconcile and settings.segment_cells:
        nuclei, cells = reconcile_nuclei_cells(nuclei, cells, how=settings.reconcile)
    counts = {}
    for name, pair in zip(
        ("initial", "after_edge_removal", "final"), (*stages, (nuclei, cells)), strict=True
    ):
        counts |= {f"{name}_nuclei": label_count(pair[0]), f"{name}_cells": label_count(pair[1])}
    return Segmentation(compact(nuclei), compact(cells), pd.DataFrame([counts]))


def _check(image: np.ndarray, settings: SegmentationSettings) -> None:
    findings = []
    axes = (3, 4) if settings.method == "watershed" else (3,)
    if image.dtype not in (np.uint8, np.uint16):
        findings.append(
            Finding(what="the image has a wrong dtype", expected="uint16 or uint8", found=f"{image.dtype}")
        )
    if image.ndim not in axes:
        expected = "CYX or TCYX" if len(axes) == 2 else "CYX"
        findings.append(
            Finding(what="the image has other axes", expected=expected, found=f"{image.ndim} axes")
        )
    else:
        needed = {"dapi_index": settings.dapi_index}
        if settings.segment_cells and settings.method != "watershed":
            needed["cyto_index"] = settings.cyto_index
        if settings.helper_index is not None:
            needed["helper_index"] = settings.helper_index
        channels = image.shape[-3]
        if settings.method == "watershed" and settings.segment_cells and channels < 2:
            findings.append(
                Finding(
                    what="there is no channel beside DAPI to find cells in", expected="2 channels or more"
                )
            )
        findings += [
            Finding(
                what="the image lacks a channel", where=name, expected=f"below {channels}", found=str(index)
            )
            for name, index in needed.items()
            if index >= channels
        ]
    if findings:
        raise InputError(findings)
