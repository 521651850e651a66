"""Cell tables: what was measured of every cell, read from the files that people have, and transformed."""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

_DOOR = {"CellTable": "table", "FORMATS": "reading", "read_cells": "reading", "transform": "transform"}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
