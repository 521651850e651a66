"""A cell table as an AnnData: X as measured, one row per cell, one column per marker, the rest in obs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

    from cytopipe.heatmap.cells import CellTable

__all__ = ["as_anndata", "as_cell_table"]


def as_anndata(table: CellTable) -> AnnData:
    """The AnnData of a cell table; text columns of obs become categories."""
    import pandas as pd
    from anndata import AnnData

    obs = table.cells.copy()
    obs.columns = [str(name).replace("/", "_") for name in obs.columns]
    for name in obs.columns:
        if obs[name].dtype == object or isinstance(obs[name].dtype, pd.StringDtype):
            text = obs[name].where(obs[name].notna()).map(str, na_action="ignore")
            obs[name] = pd.Categorical(text, categories=sorted(set(text.dropna())))
    obs.index = [str(number) for number in range(len(obs))]
    var = pd.DataFrame({"channel": list(table.channels)}, index=list(table.markers))
    return AnnData(X=table.values, obs=obs, var=var)


def as_cell_table(adata: AnnData) -> CellTable:
    """The cell table in an AnnData of :func:`as_anndata`.

    Raises
    ------
    InputError
        X is no dense matrix of numbers.
    """
    from cytopipe.heatmap.cells import CellTable

    if not isinstance(adata.X, np.ndarray):
        raise InputError("cells are a dense matrix", found=type(adata.X).__name__)
    markers = tuple(map(str, adata.var_names))
    channels = tuple(map(str, adata.var["channel"])) if "channel" in adata.var else markers
    return CellTable(adata.X, markers, channels, adata.obs.reset_index(drop=True))
