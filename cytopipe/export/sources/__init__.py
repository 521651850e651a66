"""Where images come from, behind one interface: fields of view, channels, masks, pixel size.

`open_source` finds out which layout a path has. Pixels are read when they are asked for: only the channels
and the region, from the pyramid level that suffices.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

_DOOR = {
    "Box": "source",
    "FovInfo": "source",
    "ImageSource": "source",
    "SourceField": "source",
    "KINDS": "opening",
    "open_source": "opening",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
