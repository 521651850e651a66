"""Cellpose behind the common interface, and the 8-bit image that it is given.

The package (``pip install cellpose``) and its weights are the user's. Stringer C. et al. (2021) Cellpose: a
generalist algorithm for cellular segmentation. Nature Methods 18:100-106.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import MissingToolError
from cytopipe.screen.montage import image_log_scale
from cytopipe.screen.segmentation.weights import release, weights

if TYPE_CHECKING:
    from cytopipe.screen.parameters import SegmentationSettings

__all__ = ["cellpose_masks", "prepare_cellpose"]


def prepare_cellpose(
    data: np.ndarray,
    dapi_index: int,
    cyto_index: int,
    helper_index: int | None = None,
    logscale: bool = True,
    log_kwargs: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Red, green and blue for Cellpose: a helper channel or nothing, cytoplasm, DAPI.

    Parameters
    ----------
    data : numpy.ndarray
        uint16, CYX.
    dapi_index, cyto_index, helper_index : int
        Channels; DAPI is divided by its percentile 99.5.
    logscale : bool
        Cytoplasm and helper on the scale of `image_log_scale`, divided by their maximum.
    log_kwargs : mapping, optional
        Arguments of `image_log_scale`.

    Returns
    -------
    numpy.ndarray
        uint8, (3, Y, X).
    """
    cyto = data[cyto_index]
    helper = np.zeros_like(cyto) if helper_index is None else data[helper_index]
    if logscale:
        cyto, helper = (_to_unit(image_log_scale(one, **(log_kwargs or {}))) for one in (cyto, helper))
    dapi = data[dapi_index]
    upper = np.percentile(dapi, 99.5)
    dapi = np.clip(dapi / upper if upper > 0 else dapi.astype(np.float64), 0, 1)
    return np.array([_to_byte(helper), _to_byte(cyto), _to_byte(dapi)])


def _to_unit(image: np.ndarray) -> np.ndarray:
    return image / image.max() if image.max() > 0 else image


def _to_byte(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    return np.rint(image * 255).astype(np.uint8)


def cellpose_masks(image: np.ndarray, settings: SegmentationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells as found.

    Raises
    ------
    MissingToolError
        Cellpose is not installed, or there are no weights where the settings say.
    """
    try:
        from cellpose.models import CellposeModel
    except ImportError as error:
        raise MissingToolError(
            "Cellpose is not installed",
            next="Install it with 'pip install cellpose', or choose method: watershed.",
        ) from error
    rgb = prepare_cellpose(
        image, settings.dapi_index, settings.cyto_index, settings.helper_index, settings.log_scale
    )

    def labels(model: str, channels: list[int], diameter: float | None) -> np.ndarray:
        network = CellposeModel(pretrained_model=weights(model, "cellpose"), gpu=settings.gpu)
        shown, options = rgb, {"channels": channels}
        if release("cellpose") >= 4:  # reads all three channels, whatever their order
            shown, options = (np.stack([rgb[2] * 0, rgb[2] * 0, rgb[2]]) if channels[1] == 0 else rgb), {}
        found, *_ = network.eval(
            shown,
            channel_axis=0,
            diameter=diameter,
            flow_threshold=settings.flow_threshold,
            cellprob_threshold=settings.cellprob_threshold,
            **options,
        )
        return found.astype(np.int32)

    nuclei = labels(settings.nucleus_model, [3, 0], settings.nucleus_diameter_px)
    cells = (
        labels(settings.cell_model, [2, 3], settings.cell_diameter_px) if settings.segment_cells else nuclei
    )
    return nuclei, cells
