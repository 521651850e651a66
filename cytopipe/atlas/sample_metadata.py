"""Metadata that a profile keeps: obs columns that are constant within every profile.

A column that has one value per group of cells (donor, sex, tissue of a sample) goes into the obs of the
profiles. A column that varies within any group is left out, since no single value of it would be true of the
profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numba import njit

from cytopipe.atlas.cells import Cells
from cytopipe.storage.h5ad_elements import Categories

__all__ = ["carried_columns", "constant_columns"]

_TAKEN = frozenset({"cell_type", "sample", "n_cells", "n_samples", "total_counts"})
_UNSET, _VARIES = -2, -3


def constant_columns(cells: Cells, carry: str | Sequence[str]) -> list[str]:
    """Columns to look at: those asked for, or every categorical and boolean one."""
    if carry != "auto":
        return list(carry)
    return [name for name in cells.columns if name not in _TAKEN and _is_categorical(cells.obs[name])]


def carried_columns(
    cells: Cells, columns: Iterable[str], groups: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, dict[str, Categories]]:
    """Values of the columns that are constant, per grouping; one reading of each column serves all.

    Parameters
    ----------
    cells : Cells
    columns : iterable of str
    groups : mapping of key to (group_of_cell, kept)
        Group of every cell (-1: none), and the groups that are kept, in the order of the profiles.

    Returns
    -------
    dict of key to dict of column to Categories
    """
    carried: dict[str, dict[str, Categories]] = {key: {} for key in groups}
    for column in columns:
        labels = cells.labels(column)
        for key, (group_of_cell, kept) in groups.items():
            n_groups = int(kept.max(initial=-1)) + 1
            codes = np.full(n_groups, _UNSET, np.int64)
            _constants(group_of_cell, labels.codes, codes)
            if len(kept) and (codes[kept] != _VARIES).all():
                values = [labels.names[code] if code >= 0 else None for code in codes[kept]]
                carried[key][column] = Categories.of(values)
    return carried


def _is_categorical(node) -> bool:
    if hasattr(node, "shape"):
        return node.dtype.kind == "b" or "categories" in node.attrs
    return "codes" in node


@njit(nogil=True, cache=True)
def _constants(group_of_cell, codes, out):
    """The code all cells of a group share, or that they differ."""
    for cell in range(len(codes)):
        group = group_of_cell[cell]
        if group < 0 or group >= len(out):
            continue
        if out[group] == _UNSET:
            out[group] = codes[cell]
        elif out[group] != codes[cell]:
            out[group] = _VARIES
