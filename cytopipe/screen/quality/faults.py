"""A fault of a screen: what kind it is, which tile has it, and words for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Fault", "fault_table"]

KINDS = {
    "tiles_present": "Every tile of the well was made.",
    "not_blank": "No plane of a tile is blank.",
    "not_saturated": "No plane of a tile is saturated.",
    "in_focus": "Every plane is about as sharp as those of the other tiles.",
    "taken_once": "No plane has the pixels of another one.",
    "all_cycles": "Every tile has all cycles.",
    "cycles_in_place": "After alignment, every cycle of a tile lies on the first.",
    "cells_called": "Enough cells have a barcode of the library, in every tile.",
    "bases_as_in_library": "In every cycle, bases are as frequent as in the library.",
    "channels_in_order": "The channels are named in the right order: no other order maps more reads.",
    "files_present": "Every image that other wells of the plate have is there.",
}
"""Every kind of fault, with what holds where there is none."""


class Fault(NamedTuple):
    """One fault; `tile` is -1 where it is not one of a single tile."""

    kind: str
    tile: int
    words: str


def fault_table(faults: Iterable[Fault]) -> pd.DataFrame:
    """``kind, tile, words``; the tile is missing where a fault is not one of a single tile."""
    import pandas as pd

    table = pd.DataFrame(list(faults), columns=["kind", "tile", "words"])
    table["tile"] = table["tile"].astype("Int64").mask(table["tile"] < 0)
    return table
