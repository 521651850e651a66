"""Sizes of groups: how many cells, counts and samples stand behind each group, as a table and a picture.

One row per group of a level, kept or left out, and a figure of group sizes with the limits drawn. A small
group's profile is a noisy one whatever is done to it afterwards.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.errors import InputError
from cytopipe.storage.formats.figure import literal, new_figure
from cytopipe.storage.guard.hdf5 import open_hdf5

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["group_size_figure", "group_size_table"]

_NAMED_KEPT, _NAMED_LEFT_OUT = 3, 10  # of the smallest groups kept, and of the largest left out


def group_size_table(profiles: str | os.PathLike) -> pd.DataFrame:
    """Sizes of every group of a level.

    Parameters
    ----------
    profiles : H5adFile or path
        Of a level, with the groups that were left out.

    Returns
    -------
    DataFrame
        Index: cell type. Columns: ``kept``, ``n_cells``, ``n_samples``, ``total_counts``,
        ``counts_per_cell``, ``genes_detected`` (genes with a count) and ``proportion_expressing`` (of cells,
        mean over genes).

    Raises
    ------
    InputError
        If it is not a pseudobulk file.
    """
    from anndata.io import read_elem

    with open_hdf5(profiles) as file:
        if "uns/left_out" not in file or "layers/n_expressing" not in file:
            raise InputError("is not a pseudobulk file of this package", where=os.fspath(profiles))
        obs, left_out = read_elem(file["obs"]), read_elem(file["uns/left_out"])
        expressing, counts = file["layers/n_expressing"][...], file["layers/counts"][...]
    n_cells = obs["n_cells"].to_numpy()
    kept = pd.DataFrame(
        {
            "kept": True,
            "n_cells": n_cells,
            "n_samples": obs["n_samples"].to_numpy() if "n_samples" in obs else np.nan,
            "total_counts": obs["total_counts"].to_numpy(),
            "genes_detected": (counts > 0).sum(axis=1),
            "proportion_expressing": (expressing / n_cells[:, None]).mean(axis=1) if len(obs) else [],
        },
        index=pd.Index(obs.index.astype(str), name="cell_type"),
    )
    dropped = pd.DataFrame(
        {
            "kept": False,
            "n_cells": left_out["n_cells"],
            "n_samples": np.nan,
            "total_counts": left_out["total_counts"],
            "genes_detected": np.nan,
            "proportion_expressing": np.nan,
        },
        index=pd.Index([str(name) for name in left_out["cell_type"]], name="cell_type"),
    )
    table = pd.concat([part for part in (kept, dropped) if len(part)] or [kept])
    table.insert(4, "counts_per_cell", table["total_counts"] / table["n_cells"])
    return table


def group_size_figure(table: pd.DataFrame, title: str, *, min_cells: int = 10, min_counts: int = 0) -> Figure:
    """Cells against counts of every group, on logarithmic axes, with the limits.

    Parameters
    ----------
    table : DataFrame
        As from :func:`group_size_table`.
    title : str
    min_cells, min_counts : int, optional
        Limits to draw.
    """
    figure = new_figure(6.4, 4.8)
    axes = figure.subplots()
    for kept, colour, marker, label in ((True, "#20639b", "o", "kept"), (False, "#d1495b", "x", "left out")):
        part = table[table["kept"] == kept]
        if len(part):
            label = f"{label} ({len(part)})"
            counts = np.maximum(part["total_counts"], 1)
            axes.scatter(part["n_cells"], counts, c=colour, marker=marker, s=28, label=label)
    kept = table["kept"].astype(bool)
    smallest = table[kept]["n_cells"].nsmallest(_NAMED_KEPT).index
    for name in [*smallest, *table[~kept]["n_cells"].nlargest(_NAMED_LEFT_OUT).index]:
        row = table.loc[name]
        axes.annotate(
            literal(name),
            (row["n_cells"], max(row["total_counts"], 1)),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
            color="#222222" if row["kept"] else "#d1495b",
        )
    axes.axvline(min_cells, color="grey", linewidth=0.8, linestyle="--")
    if min_counts:
        axes.axhline(min_counts, color="grey", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", yscale="log", xlabel="cells per group", ylabel="counts per group")
    axes.set_title(literal(title))
    if len(table):
        axes.legend(frameon=False)
    return figure
