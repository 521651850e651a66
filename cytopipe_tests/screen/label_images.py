"""Label images and images of all kinds, from a seed, for tests of measurements."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

SHAPES = ("blobs", "boxes", "ellipses", "scattered")
INTENSITIES = ("bright", "dim", "constant", "few levels")


def labels_of(kind: str, seed: int) -> np.ndarray:
    """Labels, YX: blobs of any form; boxes that touch, with gaps in their numbers; ellipses, some with holes,
    that reach over the border; or labels whose pixels are scattered."""
    rng = np.random.default_rng(seed)
    if kind == "blobs":
        return ndi.label(ndi.gaussian_filter(rng.normal(size=(70, 80)), 2) > 0.08)[0]
    if kind == "scattered":
        return rng.integers(0, 6, size=(30, 40))
    labels = np.zeros((80, 90), np.int64)
    rows, cols = np.indices(labels.shape)
    for n in range(14):
        row, col = rng.integers(-3, 83), rng.integers(-3, 93)
        if kind == "boxes":
            height, width = rng.integers(1, 13, 2)
            labels[max(row, 0) : row + height, max(col, 0) : col + width] = 3 * n + 1
            continue
        long, short, turn = *rng.uniform(3, 16, 2), rng.uniform(0, 3)
        along = (rows - row) * np.cos(turn) + (cols - col) * np.sin(turn)
        across = (cols - col) * np.cos(turn) - (rows - row) * np.sin(turn)
        out = (along / long) ** 2 + (across / short) ** 2
        labels[(out <= 1) & (out > (0.2 if n % 3 == 0 else -1))] = n + 1
    return labels


def image_of(kind: str, shape: tuple[int, int], seed: int, channels: int = 3) -> np.ndarray:
    """An image, CYX uint16: smooth and noisy, below 256 for the most part, two channels constant of which one
    is 0, or of four values."""
    rng = np.random.default_rng(seed)
    smooth = ndi.gaussian_filter(rng.normal(size=(channels, *shape)), (0, 2, 2))
    image = (smooth / smooth.std() * 3000 + 9000).clip(0) + rng.poisson(50, size=smooth.shape)
    if kind == "dim":
        image /= 60
    if kind == "constant":
        image[1], image[2] = 0, 500
    if kind == "few levels":
        image = rng.integers(0, 4, size=image.shape) * 300
    return image.astype(np.uint16)
