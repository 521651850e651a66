"""Segmentation without weights: local threshold and watershed for nuclei, from nuclei outwards for cells.

Feldman D. et al. (2019) Optical pooled screens in human cells. Cell 179(3):787-799.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytopipe.screen.segmentation.kernels import disk_mean
from cytopipe.screen.segmentation.reconcile import clear_border, compact, label_count, reconcile_nuclei_cells

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.screen.parameters import SegmentationSettings

__all__ = ["find_cells", "segment_cells", "segment_nuclei", "segment_watershed", "watershed_masks"]


def segment_watershed(
    data: np.ndarray,
    nuclei_threshold: float,
    nuclei_area_min: float,
    nuclei_area_max: float,
    cell_threshold: float,
    cells: bool = True,
    smooth: float = 1.35,
    radius: int = 15,
    return_counts: bool = False,
    reconcile: str | None = None,
) -> np.ndarray | tuple[np.ndarray | pd.DataFrame, ...]:
    """Nuclei and cells, with the arguments and results of the reference's function.

    Parameters
    ----------
    data : numpy.ndarray
        uint16 or uint8; TCYX, CYX or YX, DAPI first.
    nuclei_threshold, cell_threshold : float
        Intensities; see `segment_nuclei`, `segment_cells`.
    nuclei_area_min, nuclei_area_max : float
        In px, exclusive.
    cells : bool
        False: nuclei alone.
    smooth, radius : float, int
        In px; see `segment_nuclei`.
    return_counts : bool
        Return a table of counts, too: ``nuclei, cells[, reconciled_nuclei, reconciled_cells]``.
    reconcile : {"consensus", "contained_in_cells"}, optional

    Returns
    -------
    nuclei[, cells][, counts]
        Labels uint16 (uint32 beyond 65,535), int64 where they were reconciled.
    """
    import pandas as pd

    nuclei = segment_nuclei(
        data[0] if data.ndim == 4 else data,
        nuclei_threshold,
        nuclei_area_min,
        nuclei_area_max,
        smooth,
        radius,
    )
    counts = {"nuclei": label_count(nuclei)}
    if not cells:
        return (nuclei, pd.DataFrame([counts])) if return_counts else nuclei
    grown = segment_cells(data, nuclei, cell_threshold)
    counts["cells"] = label_count(grown)
    if reconcile:
        nuclei, grown = reconcile_nuclei_cells(nuclei, grown, how=reconcile)  # type: ignore[arg-type]
        counts |= {"reconciled_nuclei": label_count(nuclei), "reconciled_cells": label_count(grown)}
    return (nuclei, grown, pd.DataFrame([counts])) if return_counts else (nuclei, grown)


def watershed_masks(image: np.ndarray, settings: SegmentationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells as found."""
    stack = image if image.ndim == 4 else image[None]
    order = [settings.dapi_index, *(c for c in range(stack.shape[1]) if c != settings.dapi_index)]
    nuclei = segment_nuclei(
        stack[0, settings.dapi_index],
        settings.threshold_dapi,
        settings.nucleus_area_min_px,
        settings.nucleus_area_max_px,
        settings.smooth_px,
        settings.radius_px,
    )
    if not settings.segment_cells:
        return nuclei, nuclei
    ordered = image if order == list(range(len(order))) else image[..., order, :, :]
    mask = _cell_mask(ordered, nuclei, settings.threshold_cell)
    found = find_cells(nuclei, mask, remove_boundary_cells=False)
    return nuclei, found


def segment_nuclei(
    data: np.ndarray,
    threshold: float,
    area_min: float,
    area_max: float,
    smooth: float = 1.35,
    radius: int = 15,
) -> np.ndarray:
    """Nuclei in a DAPI image.

    Foreground is brighter than the mean of its surroundings (8-bit, a disk); small objects are removed,
    objects of low mean intensity too, small holes are filled, touching nuclei are cut by a watershed of the
    smoothed distance to the background.

    Parameters
    ----------
    data : numpy.ndarray
        uint16 or uint8; DAPI as YX, or CYX with DAPI first.
    threshold : float
        Objects of a lower mean intensity are dropped.
    area_min, area_max : float
        In px: ``area_min < area < area_max``. Objects and holes below `area_min` go, too.
    smooth : float
        Sigma in px by which the distance is smoothed; 0: not at all.
    radius : int
        Radius in px of the disk.

    Returns
    -------
    numpy.ndarray
        Labels 1, 2, ... in the order of their markers, row by row; uint16 (uint32 beyond 65,535), YX.
    """
    import cv2
    from scipy import ndimage as ndi
    from skimage.segmentation import watershed

    dapi = np.ascontiguousarray(data[0] if data.ndim == 3 else data)
    byte = (dapi >> 8).astype(np.uint8) if dapi.dtype == np.uint16 else dapi
    mask = byte > disk_mean(byte, radius)
    objects, area = _components(mask, 4)
    mask = (area >= area_min)[objects] & mask
    objects, area = _components(mask, 8)
    total = np.bincount(objects.ravel(), weights=dapi.ravel(), minlength=len(area))
    bright = total / np.maximum(area, 1) >= threshold
    bright[0] = False
    mask = bright[objects]
    mask |= _small_holes(mask, area_min)

    distance = _distance_to_background(mask)
    if smooth > 0:
        distance = ndi.gaussian_filter(distance, smooth, mode="nearest", truncate=4.0)
    highest = cv2.dilate(distance, np.ones((3, 3), dtype=np.uint8))
    peaks = (distance == highest) & (distance > distance.min())
    markers = ndi.label(peaks)[0]
    found = watershed(-distance, markers, mask=mask)
    area = np.bincount(found.ravel())
    keep = (area > area_min) & (area < area_max)
    keep[0] = False
    return compact(np.where(keep, np.cumsum(keep), 0)[found])


def segment_cells(
    data: np.ndarray, nuclei: np.ndarray, threshold: float, add_nuclei: bool = True
) -> np.ndarray:
    """Cells around nuclei, under the nuclei's labels.

    A pixel is cell where the median over the channels after the first exceeds `threshold` (TCYX: the mean
    over channels of the minimum over cycles; YX: the image itself), and under nuclei. Cells that touch the
    border are dropped.

    Parameters
    ----------
    data : numpy.ndarray
        TCYX, CYX or YX.
    nuclei : numpy.ndarray
        Labels, integer YX.
    threshold : float
    add_nuclei : bool
        False: pixels of nuclei must exceed the threshold, too.

    Returns
    -------
    numpy.ndarray
        Labels, YX, of the dtype of `nuclei`.
    """
    return find_cells(nuclei, _cell_mask(data, nuclei, threshold, add_nuclei))


def _cell_mask(data: np.ndarray, nuclei: np.ndarray, threshold: float, add_nuclei: bool = True) -> np.ndarray:
    if data.ndim == 4:
        level = data[:, 1:].min(axis=0).mean(axis=0)
    else:
        level = _median(data[1:]) if data.ndim == 3 else data
    return (level > threshold) | (nuclei > 0) if add_nuclei else level > threshold


def find_cells(nuclei: np.ndarray, mask: np.ndarray, remove_boundary_cells: bool = True) -> np.ndarray:
    """Nuclei grown to where they meet, within `mask`, at equal chessboard distance.

    Parameters
    ----------
    nuclei : numpy.ndarray
        Labels, integer YX.
    mask : numpy.ndarray
        bool YX.
    remove_boundary_cells : bool

    Returns
    -------
    numpy.ndarray
        Labels, YX, of the dtype of `nuclei`.
    """
    import cv2
    from skimage.segmentation import watershed

    if not nuclei.any():
        return np.zeros_like(nuclei)
    distance = cv2.distanceTransform((nuclei == 0).astype(np.uint8), cv2.DIST_C, 3)
    cells = watershed(distance, nuclei.astype(np.int32), mask=mask).astype(nuclei.dtype)
    return clear_border(cells) if remove_boundary_cells else cells


def _median(channels: np.ndarray) -> np.ndarray:
    """Median over the first axis; for up to four channels without sorting."""
    if not 3 <= len(channels) <= 4 or channels.dtype not in (np.uint8, np.uint16):
        return np.median(channels, axis=0)
    rest = channels.sum(axis=0, dtype=np.int32)
    rest -= channels.max(axis=0)
    rest -= channels.min(axis=0)
    return rest if len(channels) == 3 else rest / 2


def _components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Connected components, int32 YX with background 0, and their areas in px."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=connectivity)
    return labels, stats[:, cv2.CC_STAT_AREA]


def _small_holes(mask: np.ndarray, area_min: float) -> np.ndarray:
    """Background that cannot reach the border by edges; pieces that touch by corners count as one hole."""
    background, _ = _components(~mask, 4)
    outside = np.zeros(background.max() + 1, dtype=bool)
    for edge in (background[0], background[-1], background[:, 0], background[:, -1]):
        outside[edge] = True
    holes = ~outside[background] & ~mask
    pieces, area = _components(holes, 8)
    return (area < area_min)[pieces] & holes


def _distance_to_background(mask: np.ndarray) -> np.ndarray:
    """Exact Euclidean distance in px, float64."""
    import cv2
    from scipy import ndimage as ndi

    if mask.all():
        return ndi.distance_transform_edt(mask)
    distance = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    if distance.max() > 512:  # float32 no longer tells neighbouring squares apart with certainty
        return ndi.distance_transform_edt(mask)
    return np.sqrt(np.rint(np.square(distance, dtype=np.float64)))
