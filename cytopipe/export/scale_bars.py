"""Scale bars: the largest round length that fits, and how it is drawn.

A bar is 1, 2 or 5 times a power of ten of nanometres, and at most a given part of the picture's width. Its
length is exact for the size of the picture's pixels: that of the image times the downsampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    from PIL import ImageFont

__all__ = ["ScaleBar", "draw_scale_bar", "font_file", "length_in_words", "scale_bar"]

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


def draw_scale_bar(picture: np.ndarray, bar: ScaleBar) -> np.ndarray:
    """The picture with a white bar in its lower right corner, and its label where there is room.

    Parameters
    ----------
    picture : ndarray of uint8
        (Y, X, 3); it is not changed.
    bar : ScaleBar
        Drawn with its length rounded to whole pixels, never longer than asked.
    """
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    length = max(1, math.floor(bar.length_px + 1e-9))
    thickness = max(1, round(min(height, width) / 150))
    margin = max(1, round(min(height, width) / 30))
    right, bottom = width - margin, height - margin
    left, top = right - length, bottom - thickness
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    edge = max(1, thickness // 3) if min(height, width) >= 100 else 0
    if edge:
        draw.rectangle((left - edge, top - edge, right - 1 + edge, bottom - 1 + edge), fill=(0, 0, 0))
    draw.rectangle((left, top, right - 1, bottom - 1), fill=(255, 255, 255))
    font = _font(max(9, round(min(height, width) / 28)))
    x0, y0, x1, y1 = draw.textbbox((0, 0), bar.label, font=font)
    text_width, text_height = x1 - x0, y1 - y0
    if text_width <= width - 2 * margin and text_height * 8 <= height:
        at = (
            min((left + right - text_width) / 2, right - text_width) - x0,
            top - margin / 2 - text_height - y0,
        )
        draw.text(at, bar.label, font=font, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(image)


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font_file(), size_px)


def font_file() -> str:
    """DejaVu Sans, which matplotlib carries: it knows µ, Greek and Cyrillic letters."""
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
