"""Colours of metaclusters: evenly spaced hues of equal lightness (HUSL), grey for Unassigned.

A metacluster keeps its colour: a new one gets a hue of its own and no other changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from cytopipe.heatmap.state import UNASSIGNED, UNASSIGNED_COLOUR

__all__ = ["colours_of", "husl", "with_colours"]

# sRGB from CIE XYZ, D65, as in HUSL 2.1 (Boronine), whose palette seaborn draws.
_RGB = ((3.2406, -1.5372, -0.4986), (-0.9689, 1.8758, 0.0415), (0.0557, -0.2040, 1.0570))
_U, _V = 0.19784, 0.46834
_KAPPA, _EPSILON = 903.3, 0.008856


def husl(count: int) -> list[str]:
    """`count` colours of evenly spaced hues, ``#rrggbb``: those of seaborn's palette ``husl``."""
    return [_hex((number / count + 0.01) % 1 * 359) for number in range(count)]


def colours_of(metaclusters: Iterable[int]) -> dict[int, str]:
    """A colour for each metacluster: hues in the order of their numbers, grey for -1."""
    return with_colours({}, metaclusters)


def with_colours(known: Mapping[int, str], metaclusters: Iterable[int]) -> dict[int, str]:
    """The colours that are known, and new ones for metaclusters that have none.

    Where none of them has a colour, they share the circle of hues; a later one gets the middle of the widest
    gap that is free, so that no colour is given twice or changed.
    """
    wanted = sorted({int(one) for one in metaclusters})
    colours = {int(key): value for key, value in known.items()}
    if UNASSIGNED in wanted:
        colours.setdefault(UNASSIGNED, UNASSIGNED_COLOUR)
    absent = [one for one in wanted if one not in colours]
    used = {value for key, value in colours.items() if key != UNASSIGNED}
    if not used:
        colours |= zip(absent, husl(len(absent)) if absent else [], strict=True)
    else:
        free = _free_hues(used)
        colours |= {one: next(free) for one in absent}
    return dict(sorted(colours.items()))


def _free_hues(used: set[str]):
    """Colours that are not used, the widest gaps between fractions of the circle first."""
    used, size = set(used), 8
    while True:
        # a fraction k / size with odd k is new at every doubling
        for colour in [
            _hex((k / size + 0.01) % 1 * 359) for k in (range(size) if size == 8 else range(1, size, 2))
        ]:
            if colour not in used:
                used.add(colour)
                yield colour
        size *= 2


def _hex(hue: float, saturation: float = 0.9 * 99, lightness: float = 0.65 * 99) -> str:
    parts = _rgb(hue, saturation, lightness)
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, part))):02x}" for part in parts)


def _rgb(hue: float, saturation: float, lightness: float) -> list[float]:
    chroma = _most_chroma(lightness, hue) / 100 * saturation
    u = math.cos(math.radians(hue)) * chroma / (13 * lightness) + _U
    v = math.sin(math.radians(hue)) * chroma / (13 * lightness) + _V
    y = ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness / _KAPPA
    x = -(9 * y * u) / ((u - 4) * v - u * v)
    z = (9 * y - 15 * v * y - v * x) / (3 * v)
    return [_gamma(sum(a * b for a, b in zip(row, (x, y, z), strict=True))) for row in _RGB]


def _most_chroma(lightness: float, hue: float) -> float:
    """The largest chroma of this lightness and hue that a screen can show."""
    sine, cosine = math.sin(math.radians(hue)), math.cos(math.radians(hue))
    cubed = (lightness + 16) ** 3 / 1560896
    scaled = cubed if cubed > _EPSILON else lightness / _KAPPA
    found = math.inf
    for m1, m2, m3 in _RGB:
        top = (0.99915 * m1 + 1.05122 * m2 + 1.14460 * m3) * scaled
        bottom = ((0.86330 * m3 - 0.17266 * m2) * sine + (0.12949 * m3 - 0.38848 * m1) * cosine) * scaled
        for limit in (0.0, 1.0):
            chroma = lightness * (top - 1.05122 * limit) / (bottom + 0.17266 * sine * limit)
            if 0 < chroma < found:
                found = chroma
    return found


def _gamma(part: float) -> float:
    return 12.92 * part if part <= 0.0031308 else 1.055 * part ** (1 / 2.4) - 0.055
