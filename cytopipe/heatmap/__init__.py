"""heatmap: cells of a cytometry or imaging experiment, clustered by FlowSOM, and the heat map people revise.

A cell table goes in: one row per cell, one column per marker. `cluster_cells` gives every cell a node of a
self-organising map and every node a metacluster; the heat map shows medians of markers per cluster. Functions
take values and give values; the same cells, settings and seed give the same bytes whatever the number of
threads.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: numba, pandas and SciPy take longer to import than `--help` may take.
_DOOR = {
    # cells
    "CellTable": "cells.table",
    "read_cells": "cells.reading",
    # clusters
    "FlowSOM": "flowsom.clustering",
    "cluster_cells": "flowsom.clustering",
    # the heat map and its checkpoints
    "HeatmapDisplay": "display",
    "HeatmapState": "state",
    "RunFolder": "folder",
    "diff_states": "diff",
    "import_ueler": "ueler",
    "load_heatmap_state": "artifact",
    "open_history": "index",
    "render_heatmap": "render",
    "save_heatmap_state": "artifact",
    "serialize_heatmap_state": "artifact",
    "validate_artifact": "artifact",
    # parameters
    "FlowSOMSettings": "parameters",
    "HeatmapSettings": "parameters",
    "RenderSettings": "parameters",
    "TransformSettings": "parameters",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
