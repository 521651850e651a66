"""How a picture is drawn, as values: channels with colours and limits, masks, cell colours, annotations.

Colours are (red, green, blue) from 0 to 1. Thickness is in pixels of the full image; at a downsampling it is
divided, rounded half up, and never less than one pixel of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from cytopipe.errors import Finding, InputError

__all__ = [
    "Annotation",
    "CellColours",
    "ChannelStyle",
    "Colour",
    "MarkerSet",
    "MaskStyle",
    "colour_of",
    "thickness_at",
]

Colour = tuple[float, float, float]
_NAMES = {"green": "#00ff00"}


def colour_of(text: str) -> Colour:
    """A colour by its name (``Blue``) or as ``#rrggbb``.

    Names are those of CSS, but for green, which is #00ff00 as in UELer; that of CSS is half as bright.

    Raises
    ------
    InputError
    """
    from matplotlib.colors import to_rgb

    given = text.strip().lower()
    try:
        return tuple(float(part) for part in to_rgb(_NAMES.get(given, given)))
    except ValueError:
        raise InputError(
            "a colour is not known", expected="a name such as red, or #rrggbb", found=text[:80]
        ) from None


@dataclass(frozen=True)
class ChannelStyle:
    """A channel in a picture: black at `low`, its full colour at `high`, in the units of the image."""

    channel: str
    colour: Colour
    low: float
    high: float


@dataclass(frozen=True)
class MarkerSet:
    """Channels that are shown together, added up in their colours."""

    name: str
    channels: tuple[ChannelStyle, ...]

    def __post_init__(self) -> None:
        names = [one.channel for one in self.channels]
        faults = []
        if not names:
            faults.append(Finding(what="has no channel", where=f"marker set {self.name!r}"))
        if twice := sorted({one for one in names if names.count(one) > 1}):
            faults.append(
                Finding(what=f"shows {twice[0]!r} twice", where=f"marker set {self.name!r}", expected="once")
            )
        if faults:
            raise InputError(faults)


@dataclass(frozen=True)
class MaskStyle:
    """One colour over the cells of a mask.

    Parameters
    ----------
    mask : str
    colour : Colour
    opacity : float
        0 to 1.
    mode : {'outline', 'fill'}
    thickness_px : float
        Of the outline, in pixels of the full image.
    cells : frozenset of int, optional
        Labels that are drawn; all by default.
    """

    mask: str
    colour: Colour
    opacity: float = 1.0
    mode: str = "outline"
    thickness_px: float = 1.0
    cells: frozenset[int] | None = None


@dataclass(frozen=True)
class CellColours:
    """Cells in their own colours: fills first, then borders; where two borders meet, the higher label wins.

    Parameters
    ----------
    mask : str
    colours : mapping of int to Colour
        By label. Cells that it does not name are not drawn.
    filled : collection of int
        Labels drawn as an area with a border inside of it; the others are outlines.
    fill_opacities : mapping of int to float
        By label; `fill_opacity` for the others.
    fill_opacity : float
    border_colours : mapping of int to Colour
        By label; the cell's own colour for the others.
    border_opacity : float
    thickness_px : float
    left_out : collection of int
        Labels that are not drawn although they have a colour.
    """

    mask: str
    colours: Mapping[int, Colour]
    filled: frozenset[int] = frozenset()
    fill_opacities: Mapping[int, float] = field(default_factory=dict)
    fill_opacity: float = 0.35
    border_colours: Mapping[int, Colour] = field(default_factory=dict)
    border_opacity: float = 1.0
    thickness_px: float = 1.0
    left_out: frozenset[int] = frozenset()

    @property
    def cells(self) -> list[int]:
        """Labels that are drawn, in rising order."""
        return sorted(int(one) for one in self.colours if one not in self.left_out and one > 0)


@dataclass(frozen=True)
class Annotation:
    """Classes of pixels in the colours of a palette, blended over the channels.

    Parameters
    ----------
    name : str
        Of the annotation image; its values are rows of the palette, values beyond it the nearest row.
    palette : sequence of Colour
        Class 0 is blended, too.
    opacity : float
    """

    name: str
    palette: tuple[Colour, ...]
    opacity: float = 0.5


def thickness_at(thickness_px: float, downsample: int) -> int:
    """Pixels of the picture that an outline of `thickness_px` pixels of the image has: at least one."""
    return max(1, math.floor(thickness_px / downsample + 0.5))
