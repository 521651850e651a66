"""StarDist behind the common interface.

The package (``pip install stardist tensorflow``) and its models are the user's. Schmidt U. et al. (2018) Cell
detection with star-convex polygons. MICCAI, LNCS 11071:265-273.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import MissingToolError
from cytopipe.screen.segmentation.weights import weights

if TYPE_CHECKING:
    from cytopipe.screen.parameters import SegmentationSettings

__all__ = ["stardist_masks"]


def stardist_masks(image: np.ndarray, settings: SegmentationSettings) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells as found.

    Each channel is scaled so that its percentiles 1 and 99.8 become 0 and 1.

    Raises
    ------
    MissingToolError
        StarDist is not installed, or there is no model where the settings say.
    """
    try:
        from csbdeep.utils import normalize
        from stardist.models import StarDist2D
    except ImportError as error:
        raise MissingToolError(
            "StarDist is not installed",
            next="Install it with 'pip install stardist tensorflow', or choose method: watershed.",
        ) from error

    def labels(model: str, channel: int) -> np.ndarray:
        folder = Path(weights(model, "stardist"))
        network = StarDist2D(None, name=folder.name, basedir=str(folder.parent))
        found, _ = network.predict_instances(
            normalize(image[channel], 1, 99.8),
            prob_thresh=settings.prob_threshold,
            nms_thresh=settings.nms_threshold,
        )
        return found.astype(np.int32)

    nuclei = labels(settings.nucleus_model, settings.dapi_index)
    cells = labels(settings.cell_model, settings.cyto_index) if settings.segment_cells else nuclei
    return nuclei, cells
