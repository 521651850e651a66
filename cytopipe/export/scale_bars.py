"""Scale bars: the largest round length that fits, and how it is drawn.

A bar is 1, 2 or 5 times a power of ten of nanometres, and at most a given part of the picture's width. Its
length is exact for the size of the picture's pixels: that of the image times the downsampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
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


@lru_cache(1024)
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


@cache
def _round_lengths_nm() -> tuple[int, ...]:
    lengths = (step * 10**power for power in range(13) for step in (1, 2, 5))
    return tuple(one for one in lengths if one <= _LARGEST_NM)


def draw_scale_bar(picture: np.ndarray, bar: ScaleBar) -> np.ndarray:
    """The picture with a white bar in its lower right corner, and its label where there is room.

    Parameters
    ----------
    picture : ndarray of uint8
        (Y, X, 3); it is not changed.
    bar : ScaleBar
        Drawn with its length rounded to whole pixels, never longer than asked.
    """
    stamp = _stamp(*picture.shape[:2], bar)
    out = picture.copy()
    window = out[stamp.top : stamp.top + len(stamp.added), stamp.left : stamp.left + stamp.added.shape[1]]
    window[:] = (window * stamp.kept + 127) // 255 + stamp.added
    return out


@dataclass(frozen=True, eq=False)
class _Stamp:
    """A drawn bar, which many pictures of one size share: a pixel is `kept` / 255 of itself, and `added`.

    Parameters
    ----------
    top, left : int
        Where it lies in the picture.
    kept : ndarray of uint16
        (Y, X, 1)
    added : ndarray of uint8
        (Y, X, 1)
    """

    top: int
    left: int
    kept: np.ndarray
    added: np.ndarray


@lru_cache(256)
def _stamp(height: int, width: int, bar: ScaleBar) -> _Stamp:
    """A bar in the corner, drawn on black and on white: the difference says how much is seen through."""
    from PIL import Image, ImageDraw

    length = max(1, math.floor(bar.length_px + 1e-9))
    thickness = max(1, round(min(height, width) / 150))
    margin = max(1, round(min(height, width) / 30))
    right, bottom = width - margin, height - margin
    left, top = right - length, bottom - thickness
    edge = max(1, thickness // 3) if min(height, width) >= 100 else 0
    font = _font(max(9, round(min(height, width) / 28)))
    x0, y0, x1, y1 = font.getbbox(bar.label)
    text_width, text_height = x1 - x0, y1 - y0
    has_label = text_width <= width - 2 * margin and text_height * 8 <= height
    at = (min((left + right - text_width) / 2, right - text_width) - x0, top - margin / 2 - text_height - y0)
    begins = (left - edge, top - edge, *((at[0] + min(x0, 0), at[1] + min(y0, 0)) if has_label else ()))
    corner = (max(0, math.floor(min(begins[::2])) - 2), max(0, math.floor(min(begins[1::2])) - 2))
    drawn = []
    for ground in (0, 255):
        image = Image.new("L", (width - corner[0], height - corner[1]), ground)
        draw = ImageDraw.Draw(image)
        box = (left - corner[0], top - corner[1], right - 1 - corner[0], bottom - 1 - corner[1])
        if edge:
            draw.rectangle((box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge), fill=0)
        draw.rectangle(box, fill=255)
        if has_label:
            place = (at[0] - corner[0], at[1] - corner[1])
            draw.text(place, bar.label, font=font, fill=255, stroke_width=1, stroke_fill=0)
        drawn.append(np.asarray(image))
    on_black, on_white = drawn
    kept = (on_white - on_black).astype(np.uint16)
    return _Stamp(corner[1], corner[0], kept[..., np.newaxis], on_black[..., np.newaxis])


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font_file(), size_px)


def font_file() -> str:
    """DejaVu Sans, which matplotlib carries: it knows µ, Greek and Cyrillic letters."""
    import matplotlib

    return f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
