"""Scale bars: the largest round length that fits, and how it is drawn.

A bar is 1, 2 or 5 times a power of ten of nanometres, and at most a given part of the picture's width. Its
length is exact for the size of the picture's pixels: that of the image times the downsampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from cytopipe.errors import InputError

__all__ = ["ScaleBar", "length_in_words", "scale_bar"]

_LARGEST_NM = 10**12
"""A kilometre: no microscope needs more."""


@dataclass(frozen=True)
class ScaleBar:
    """A bar of a picture.

    Parameters
    ----------
    length_px : float
        Exact length (px of the picture).
    length_um : float
        What it stands for (micrometres).
    label : str
        The same in words: ``100 nm``, ``50 µm``, ``2 mm``.
    """

    length_px: float
    length_um: float
    label: str


def scale_bar(
    width_px: int, pixel_size_um: float | None, downsample: int = 1, *, largest_fraction: float = 0.1
) -> ScaleBar | None:
    """The bar of a picture, or None where no bar of at least one pixel fits.

    Parameters
    ----------
    width_px : int
        Of the picture, after downsampling.
    pixel_size_um : float or None
        Of the image, before downsampling.
    downsample : int
    largest_fraction : float
        Of the picture's width that the bar has at most.

    Raises
    ------
    InputError
        The size of a pixel is not known, or no positive number.
    """
    if pixel_size_um is None or not math.isfinite(pixel_size_um) or pixel_size_um <= 0:
        raise InputError(
            "a scale bar needs the size of a pixel",
            expected="a positive number of micrometres",
            found="unknown" if pixel_size_um is None else str(pixel_size_um),
            next="State pixel_size_um, or switch the scale bar off.",
        )
    pixel_nm = pixel_size_um * 1000 * downsample
    limit_nm = width_px * largest_fraction * pixel_nm * (1 + 1e-12)  # 0.1 + 0.2: a limit met exactly is met
    length = max((one for one in _round_lengths_nm() if one <= limit_nm), default=None)
    if length is None or length < pixel_nm:
        return None
    return ScaleBar(length / pixel_nm, float(Decimal(length) / 1000), length_in_words(length))


def length_in_words(length_nm: int) -> str:
    """``200 nm``, ``5 µm``, ``1 mm``."""
    for unit, size in (("mm", 10**6), ("µm", 10**3)):
        if length_nm >= size:
            return f"{length_nm // size} {unit}"
    return f"{length_nm} nm"


def _round_lengths_nm() -> list[int]:
    return [step * 10**power for power in range(13) for step in (1, 2, 5) if step * 10**power <= _LARGEST_NM]
