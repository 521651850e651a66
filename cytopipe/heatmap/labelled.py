"""The result for single cells: where each was measured, and what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError
from cytopipe.heatmap.mixed import MIXED
from cytopipe.heatmap.state import HeatmapState

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.heatmap.cells import CellTable

__all__ = ["label_cells"]

_COLUMNS = ("cell", "cluster", "metacluster", "name", "lineage", "mixed")


def label_cells(state: HeatmapState, table: CellTable) -> pd.DataFrame:
    """One row per cell of a checkpoint, in the order of the cell table.

    Columns: ``cell`` (int64, row in the cell table, from 0), the columns of the table, ``cluster`` (text),
    ``metacluster`` (int32, -1 unassigned), ``name`` (text), ``lineage`` (text, empty for none) and ``mixed``
    (bool). A column of the table that has one of these names is called ``measured_<name>``.

    Raises
    ------
    InputError
        The checkpoint says nothing of cells, or is about another number of them.
    """
    import pandas as pd

    row = state.cell_cluster
    if row is None or len(row) != len(table):
        raise InputError(
            "the checkpoint is not about these cells",
            where=f"checkpoint {state.id[:8]}",
            expected="no cells" if row is None else f"{len(row):,} cells",
            found=f"{len(table):,} cells",
        )
    inside = np.flatnonzero(row >= 0)
    of = row[inside]

    def texts(values: list[str]) -> pd.Categorical:
        names = sorted(set(values))
        return pd.Categorical.from_codes([names.index(one) for one in values], names)[of]

    lineages = [one or "" for one in state.subset_lineage or [""] * state.n_clusters]
    mixed = np.array([one == MIXED for one in state.subset_mixed or [None] * state.n_clusters], bool)
    known = table.cells.iloc[inside].reset_index(drop=True)
    known.columns = [f"measured_{name}" if name in _COLUMNS else str(name) for name in known.columns]
    return pd.concat(
        [
            pd.DataFrame({"cell": inside.astype(np.int64)}),
            known,
            pd.DataFrame(
                {
                    "cluster": texts(list(state.cluster_ids)),
                    "metacluster": state.label[of],
                    "name": texts([state.name_of(int(one)) for one in state.label]),
                    "lineage": texts(lineages),
                    "mixed": mixed[of],
                }
            ),
        ],
        axis=1,
    )
