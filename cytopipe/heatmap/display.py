"""A heat map on display, as a notebook holds it: what is shown, and the cells behind it.

What is collected from it becomes a checkpoint of its own, whose parent is the checkpoint that was loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import InputError
from cytopipe.heatmap.artifact import (
    file_name,
    load_heatmap_state,
    save_heatmap_state,
    serialize_heatmap_state,
    state_of,
)
from cytopipe.heatmap.state import HeatmapState, new_id, now, step_slug

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["HeatmapDisplay", "of_clusters"]


class HeatmapDisplay:
    """What a person looks at.

    Parameters
    ----------
    state : HeatmapState
        What is shown; assign another one when it changes: ``display.state = display.state.flipped()``.
    cells : DataFrame, optional
        (n_cells,) what is known of the cells of ``state.cell_cluster``, in their order: fov, mask, sample.

    Attributes
    ----------
    loaded_id : str
        The checkpoint that was loaded or saved last: the parent of the next one. Empty for none.
    """

    def __init__(self, state: HeatmapState, cells: pd.DataFrame | None = None) -> None:
        self.state, self.cells, self.loaded_id = state, cells, ""

    @classmethod
    def load(cls, path: Path | str, cells: pd.DataFrame | None = None) -> HeatmapDisplay:
        """A display of a saved checkpoint; errors as `load_heatmap_state`."""
        shown = cls(load_heatmap_state(path), cells)
        shown.loaded_id = shown.state.id
        return shown

    def collect_heatmap_state(
        self,
        step_id: int | str,
        description: str,
        metadata_cols: Sequence[str] | None = None,
        parent_id: str | None = None,
        include_embeddings: bool = True,
        include_raw_medians: bool = True,
    ) -> AnnData:
        """What is shown, as the AnnData of a new checkpoint with its own identifier and the time.

        Parameters
        ----------
        step_id : int or str
            1 to 11, the name of a step, or a name of your own.
        description : str
        metadata_cols : sequence of str, optional
            Columns of `cells` to keep for each cluster, see `of_clusters`.
        parent_id : str, optional
            By default the checkpoint that was loaded or saved last, if any.
        include_embeddings, include_raw_medians : bool

        Raises
        ------
        InputError
            A column is not there, or cells are not known.
        """
        state = self.state
        metadata: dict[str, Any] = {
            "id": new_id(),
            "step_id": step_slug(step_id),
            "description": description,
            "created_at": now(),
        }
        parent = parent_id or self.loaded_id
        if parent:
            metadata["parents"] = (parent,)
            if parent == state.id:
                state = state.replace(ancestors=state.history_below())
        if metadata_cols:
            state = state.replace(obs={**state.obs, **self._columns(metadata_cols)})
        return serialize_heatmap_state(
            state,
            metadata,
            include_embeddings=include_embeddings,
            include_raw_medians=include_raw_medians,
        )

    def save(
        self,
        folder: Path | str,
        step_id: int | str,
        description: str,
        *,
        name: str | None = None,
        **collected: Any,
    ) -> Path:
        """Collect what is shown and save it; it is the parent of the next one.

        Parameters
        ----------
        folder : Path or str
        step_id, description
        name : str, optional
            File name; ``flowsom_<step>_<time>.h5ad`` by default.
        **collected
            As in `collect_heatmap_state`.

        Returns
        -------
        Path
            Of the file. One that stands there is not replaced: InputError.
        """
        state = state_of(self.collect_heatmap_state(step_id, description, **collected))
        path = Path(folder) / (name or file_name(state.step_id, state.created_at))
        if path.exists() and not name:  # a second one within a second
            path = path.with_name(f"{path.stem}_{state.id[:8]}{path.suffix}")
        if path.exists():
            raise InputError(
                "a checkpoint of this name stands there", where=str(path), next="Give another name."
            )
        save_heatmap_state(state, path)
        self.state, self.loaded_id = state, state.id
        return path

    def _columns(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        if self.cells is None or self.state.cell_cluster is None:
            raise InputError(
                "columns about cells cannot be kept: no cells are known", next="Give the display its cells."
            )
        if unknown := [name for name in names if name not in self.cells]:
            raise InputError(
                f"there is no column {unknown[0]!r}", found=", ".join(map(str, self.cells.columns))[:400]
            )
        rows, count = self.state.cell_cluster, self.state.n_clusters
        return {name: of_clusters(self.cells[name], rows, count) for name in names}


def of_clusters(column: pd.Series, rows: np.ndarray, n_clusters: int) -> np.ndarray:
    """One value per cluster from one per cell: the median of numbers, of anything else the most frequent.

    Parameters
    ----------
    column : Series
        (n_cells,)
    rows : ndarray of int
        (n_cells,) row of the cluster of each cell; -1 for none.
    n_clusters : int

    Returns
    -------
    ndarray
        (n_clusters,) float64 or text; of two values that are as frequent, the first in alphabetical order.
    """
    import pandas as pd

    if len(column) != len(rows):
        raise InputError(
            "cells and clusters do not fit together", expected=f"{len(rows):,}", found=f"{len(column):,}"
        )
    inside = rows >= 0
    values, rows = column.reset_index(drop=True)[inside], pd.Series(rows[inside])
    values.index = rows.index
    if column.dtype.kind in "iuf":
        return values.groupby(rows).median().reindex(range(n_clusters)).to_numpy(np.float64)
    known = values.notna()
    counts = pd.DataFrame({"row": rows[known], "value": values[known].astype(str)}).value_counts()
    counts = (
        counts.rename("n").reset_index().sort_values(["row", "n", "value"], ascending=[True, False, True])
    )
    first = counts.drop_duplicates("row").set_index("row")["value"].reindex(range(n_clusters))
    return np.array([None if one != one else one for one in first.tolist()], object)
