"""Foci: small bright spots in a channel, found one by one and counted per cell."""

from __future__ import annotations

import numpy as np

from cytopipe.errors import InputError
from cytopipe.screen.features.objects import Objects
from cytopipe.screen.filters import log_filter

__all__ = ["count_foci", "find_foci"]


def find_foci(
    data: np.ndarray, radius: int = 3, threshold: float = 10, remove_border_foci: bool = False
) -> np.ndarray:
    """Label bright spots of about `radius`.

    The white top-hat keeps what is narrower than a disk; of its Laplacian of Gaussian (sigma = radius,
    negated, clipped to 0 and 65535, rounded half to even) what exceeds `threshold` is foreground. Parts below
    radius^2 pixels are removed; parts that touch are separated by watershed of their smoothed distance
    transform.

    Parameters
    ----------
    data : ndarray of uint8 or uint16, YX
    radius : int
        Pixels.
    threshold : float
        Of the filtered image, counts per square pixel.
    remove_border_foci : bool
        Remove foci within two pixels of a pixel that is 0: the border that alignment leaves.

    Returns
    -------
    ndarray of uint16, YX
        0 is background; int32 where there are more than 65,535 foci.

    Raises
    ------
    InputError
        The image is not two-dimensional, or not of uint8 or uint16.
    """
    import cv2
    from scipy import ndimage as ndi
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian
    from skimage.morphology import disk
    from skimage.segmentation import watershed

    if data.ndim != 2 or data.dtype not in (np.uint8, np.uint16):
        raise InputError(
            "foci are found in one channel",
            expected="uint8 or uint16, YX",
            found=f"{data.dtype} of shape {data.shape}",
        )
    footprint = disk(radius, dtype=np.uint8)
    eroded = cv2.erode(data, footprint, borderType=cv2.BORDER_REFLECT)
    tophat = data - cv2.dilate(eroded, footprint, borderType=cv2.BORDER_REFLECT)
    parts, n_parts = ndi.label(log_filter(tophat, radius) > threshold)  # joined over sides alone
    kept = np.bincount(parts.ravel(), minlength=n_parts + 1) >= radius**2
    kept[0] = False
    foreground = kept[parts]
    distance = gaussian(ndi.distance_transform_edt(foreground), sigma=1)
    peaks = np.zeros(data.shape, bool)
    peaks[tuple(peak_local_max(distance, footprint=np.ones((3, 3)), exclude_border=False).T)] = True
    markers, n_foci = ndi.label(peaks)
    foci = watershed(-distance, markers, mask=foreground)
    if remove_border_foci:
        dark = ndi.binary_dilation(data == 0, np.ones((5, 5)))
        gone = np.zeros(n_foci + 1, bool)
        gone[foci[dark]] = True
        foci[gone[foci]] = 0
    return foci.astype(np.uint16 if n_foci < 65536 else np.int32)


def count_foci(objects: Objects, foci: np.ndarray) -> np.ndarray:
    """Number of foci that reach into each object, and their pixels within it; int64, shape (K, 2)."""
    n = len(objects)
    within = foci[objects.rows, objects.cols].astype(np.int64)
    owner = np.repeat(np.arange(n), objects.area)[within > 0]
    within = within[within > 0]
    pairs = np.unique(owner * (int(foci.max(initial=0)) + 1) + within)
    number = np.bincount(pairs // (int(foci.max(initial=0)) + 1), minlength=n)
    return np.stack([number, np.bincount(owner, minlength=n)], axis=1)
