"""Which columns of a table of cells are markers, by the layouts of the programs that write them.

| layout | how it is known | markers |
|---|---|---|
| ark | `cell_size`, `label` and `fov` | between `cell_size` and `label` |
| mcmicro | `CellID`, `X_centroid` and `Y_centroid` | between `CellID` and `X_centroid` |
| table | anything else | numbers whose name is not that of a label, place, size, sample or cluster |
"""

from __future__ import annotations

from collections.abc import Sequence

from cytopipe.heatmap.cells.names import Column, clean, is_technical, known_column

__all__ = ["columns_of_table", "layout_of"]


def layout_of(names: Sequence[str]) -> str:
    """ark, mcmicro or table."""
    if {"cell_size", "label", "fov"} <= {*names}:
        return "ark"
    if {"CellID", "X_centroid", "Y_centroid"} <= {*names}:
        return "mcmicro"
    return "table"


def columns_of_table(names: Sequence[str], numeric: Sequence[bool]) -> tuple[Column, ...]:
    """Every column, in the order of the file.

    Parameters
    ----------
    names : sequence of str
    numeric : sequence of bool
        Whether a column holds numbers.
    """
    first, last = 0, len(names)
    layout = layout_of(names)
    if layout == "ark":
        first, last = names.index("cell_size") + 1, names.index("label")
    elif layout == "mcmicro":
        first, last = names.index("CellID") + 1, names.index("X_centroid")
    if first >= last:  # the columns have been moved
        first, last = 0, len(names)
    return tuple(
        Column(
            clean(name),
            clean(name),
            first <= place < last and number and known_column(name) is None and not is_technical(clean(name)),
        )
        for place, (name, number) in enumerate(zip(names, numeric, strict=True))
    )
