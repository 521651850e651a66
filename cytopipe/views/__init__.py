"""Pages and notebook panels that show values: files without a server, and widgets."""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# A page needs no widget library, and a widget no page.
_DOOR = {
    "CheckpointBrowser": "checkpoints.widget",
    "ExportPanel": "export.panel",
    "history_page": "checkpoints.page",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
