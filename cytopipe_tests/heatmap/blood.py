"""A small made blood sample: six kinds of cells in two samples, and pairs of a T and a B cell in one
droplet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.heatmap.branches import Branches, Workflow, read_branches
from cytopipe.heatmap.cells import CellTable
from cytopipe.heatmap.parameters import FlowSOMSettings, TransformSettings
from cytopipe.heatmap.prepared import PreparedCells

MARKERS = ("CD3", "CD4", "CD8", "CD19", "CD56", "CD14")
KINDS = ("CD4 T", "CD8 T", "B", "NK", "monocyte", "T-B pair")
_LEVELS = 80 * np.array(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0.1, 0, 1, 0],
        [0, 0.2, 0, 0, 0, 1],
        [1, 0.5, 0, 1, 0, 0],
    ]
)

BRANCHES = {
    "main": {"steps": [1, 2, 3, 5], "revise": {}, "mixed": {"exclusive": [["CD3", "CD19"]], "high": 0.3}},
    "t_cells": {
        "from": "main.3",
        "steps": [6, 7, 8, 9],
        "subset": {"gates": {"CD3": {"above": 2.5}}},
        "flowsom": {"x_dim": 3, "y_dim": 3, "n_metaclusters": 2},
        "revise": {},
    },
    "mixed": {
        "from": "main.3",
        "steps": [10, 11],
        "flowsom": {"x_dim": 3, "y_dim": 3, "n_metaclusters": 2},
    },
    "all": {"merge": ["main.5", "t_cells.9", "mixed.11"]},
}
"""A main branch, a lineage, the mixed clusters, and all of them together."""


def blood(n_cells: int = 1500, seed: int = 0) -> CellTable:
    """Cells with `sample` and `kind`; the same for the same seed."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(KINDS), n_cells)
    values = np.abs(_LEVELS[kind] + rng.normal(0, 6, (n_cells, len(MARKERS)))).astype(np.float32)
    known = {
        "sample": np.where(np.arange(n_cells) % 2, "a", "b"),
        "kind": [KINDS[one] for one in kind],
    }
    return CellTable(
        values, MARKERS, tuple(f"Ch{n}_{one}" for n, one in enumerate(MARKERS)), pd.DataFrame(known)
    )


def prepared(**given) -> PreparedCells:
    return PreparedCells(blood(**given), TransformSettings())


def workflow() -> Workflow:
    return Workflow(flowsom=FlowSOMSettings(x_dim=5, y_dim=5, n_metaclusters=6))


def branches(**changed: dict) -> Branches:
    """`BRANCHES` with other branches, or other fields of them; a branch that is None is left out."""
    written = {
        name: {**BRANCHES.get(name, {}), **(changed.get(name) or {})} for name in {**BRANCHES, **changed}
    }
    written = {name: fields for name, fields in written.items() if changed.get(name, fields) is not None}
    found, faults = read_branches(written)
    assert not faults, faults
    return found


def write_csv(path: Path, **given) -> Path:
    """The cells as the CSV that people export."""
    table = blood(**given)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.concat([pd.DataFrame(table.values, columns=list(MARKERS)), table.cells], axis=1)
    frame.to_csv(path, index=False)
    return path
