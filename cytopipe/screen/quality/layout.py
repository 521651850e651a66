"""Tiles in wells, wells in plates: values at the places where they were taken."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plate_grid", "plate_wells", "tile_grid"]

_WELL = re.compile(r"([A-Za-z]{1,2})0*([0-9]{1,3})")


def plate_grid(values: Mapping[str, float]) -> tuple[np.ndarray, list[str], list[str]]:
    """Values of wells as a plate.

    Parameters
    ----------
    values : mapping of str to float
        By well: ``A1``, ``H12``, ``AF48``.

    Returns
    -------
    (grid, rows, columns)
        (rows, columns) float with NaN where there is no well; wells that have no row and column stand in one
        row of their own, in their order.
    """
    placed = {well: _WELL.fullmatch(well) for well in values}
    if not values or not all(placed.values()):
        return np.array([list(values.values())], float).reshape(1, len(values)), [""], list(values)
    rows = sorted({match[1].upper() for match in placed.values() if match}, key=lambda row: (len(row), row))
    columns = sorted({int(match[2]) for match in placed.values() if match})
    grid = np.full((len(rows), len(columns)), np.nan)
    for well, match in placed.items():
        if match:
            grid[rows.index(match[1].upper()), columns.index(int(match[2]))] = values[well]
    return grid, rows, list(map(str, columns))


def tile_grid(values: Mapping[int, float], positions: pd.DataFrame | None = None) -> np.ndarray:
    """Values of the tiles of a well where they lie.

    Parameters
    ----------
    values : mapping of int to float
        By tile. Numbers may begin anywhere and have gaps.
    positions : DataFrame, optional
        ``tile, y, x`` in any unit. Without it, tiles fill rows of a square in the order of their numbers.

    Returns
    -------
    (rows, columns) float, NaN where there is no tile
    """
    tiles = sorted(values)
    if positions is not None and len(positions):
        known = positions.set_index("tile")
        tiles = [tile for tile in tiles if tile in known.index]
        rows, columns = (_steps(known.loc[tiles, axis].to_numpy(float)) for axis in "yx")
    else:
        width = int(np.ceil(np.sqrt(len(tiles)))) or 1
        rows, columns = np.divmod(np.arange(len(tiles)), width)
    grid = np.full((max(rows, default=0) + 1, max(columns, default=0) + 1), np.nan)
    for tile, row, column in zip(tiles, rows, columns, strict=True):
        grid[row, column] = values[tile]
    return grid


def _steps(places: np.ndarray) -> np.ndarray:
    """Places on one axis as whole steps: those nearer than half the usual step are the same one."""
    if len(places) < 2:
        return np.zeros(len(places), int)
    gaps = np.diff(np.sort(places))
    wide = gaps[gaps > 0.25 * gaps.max()] if gaps.max() > 0 else np.array([1.0])
    return np.rint((places - places.min()) / np.median(wide)).astype(int)


def plate_wells(
    names: Sequence[str], found: Mapping[str, Mapping[str, Mapping[str, pd.DataFrame]]]
) -> pd.DataFrame:
    """A row per well of what its tables say.

    Parameters
    ----------
    names : sequence of str
        The wells of the plate.
    found : mapping of kind to mapping of well to mapping of file to DataFrame
        Of the kinds ``sbs_images, phenotype_images, reads, cells``; each has ``faults.tsv``.

    Returns
    -------
    DataFrame
        ``well, n_tiles_sbs, n_tiles_phenotype, n_cells, n_with_reads, n_called, called, n_reads, n_mapped,
        mapped, focus, residual_px, n_faults``; missing where a well lacks the table.
    """
    import pandas as pd

    rows = []
    for well in names:
        row: dict[str, object] = {"well": well}
        for of in ("sbs", "phenotype"):
            tiles = found.get(f"{of}_images", {}).get(well, {}).get("tiles.tsv")
            row[f"n_tiles_{of}"] = 0 if tiles is None else len(tiles)
        cells = found.get("cells", {}).get(well, {}).get("tiles.tsv")
        for name in ("n_cells", "n_with_reads", "n_called", "n_reads", "n_mapped"):
            row[name] = pd.NA if cells is None else int(cells[name].sum())
        row["called"] = _share(row["n_called"], row["n_cells"])
        row["mapped"] = _share(row["n_mapped"], row["n_reads"])
        tiles = found.get("sbs_images", {}).get(well, {}).get("tiles.tsv")
        row["focus"] = np.nan if tiles is None else float(tiles["focus"].dropna().median())
        has = tiles is not None and "worst_residual_px" in tiles
        row["residual_px"] = float(tiles["worst_residual_px"].dropna().median()) if has else np.nan
        row["n_faults"] = sum(len(some[well]["faults.tsv"]) for some in found.values() if well in some)
        rows.append(row)
    columns = (
        "well n_tiles_sbs n_tiles_phenotype n_cells n_with_reads n_called called n_reads n_mapped mapped"
    )
    table = pd.DataFrame(rows, columns=[*columns.split(), "focus", "residual_px", "n_faults"])
    numbers = [name for name in table if name.startswith("n_")]
    return table.astype(dict.fromkeys(numbers, "Int64"))


def _share(part: object, whole: object) -> float:
    return float(part) / float(whole) if isinstance(whole, int) and whole > 0 else np.nan
