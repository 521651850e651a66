"""Checkpoints and cells that steps and checks of one run read again and again, loaded once.

They are known by the digest of their bytes, so that another content is another value.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cytopipe.heatmap.parameters import TransformSettings
    from cytopipe.heatmap.prepared import PreparedCells
    from cytopipe.heatmap.state import HeatmapState
    from cytopipe.storage.archive import Handle

__all__ = ["cells_in", "state_in"]


class _Newest:
    """The values that were asked for last; never more than a few, since cells are large."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, OrderedDict[str, Any]()

    def get(self, key: str, load: Callable[[], Any]) -> Any:
        if key not in self._held:
            while len(self._held) >= self._most:
                self._held.popitem(last=False)
            self._held[key] = load()
        self._held.move_to_end(key)
        return self._held[key]


_states, _cells = _Newest(16), _Newest(1)


def state_in(handle: Handle[HeatmapState]) -> HeatmapState:
    """The state of a checkpoint; a `StorageError` where it does not stand."""
    return _states.get(handle.receipt.version, handle.load)


def cells_in(handle: Handle, transform: TransformSettings) -> PreparedCells:
    """The cells of a data set with the transform that its steps use."""
    from cytopipe.heatmap.prepared import PreparedCells
    from cytopipe.heatmap.stored_cells import as_cell_table

    key = f"{handle.receipt.version} {transform.model_dump_json()}"
    return _cells.get(key, lambda: PreparedCells(as_cell_table(handle.load()), transform))
