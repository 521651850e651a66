"""Cells that two tiles show, counted once: one row per cell of a well, seen where it is seen best.

A cell near the border of a tile is seen again in the neighbour. Centres that lie on each other are one cell,
and the observation deeper inside its tile is kept. The centre of a cut cell is not its true one: of a disk of
radius R, cut so that the rest has its centre d < R from the border, the true centre is R - d farther outside.
The rest of a cell that still matches nothing is dropped where another tile shows its place deeper inside.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytopipe.errors import Finding, InputError
from cytopipe.screen.parameters import StitchingSettings

__all__ = ["count_cells_once", "well_numbers"]


def count_cells_once(
    cells: Any,
    positions: Any,
    tile_shape: tuple[int, int],
    settings: StitchingSettings | None = None,
    *,
    reads: str | None = None,
) -> tuple[Any, Any]:
    """One row per cell of a well.

    Parameters
    ----------
    cells : DataFrame
        Of one well: ``tile``, ``cell``, ``i``, ``j`` (centre in its tile, px) and any further columns.
    positions : DataFrame
        ``tile``, ``i``, ``j``: corners of the tiles in the well, px (`cytopipe.screen.stitching`).
    tile_shape : (int, int)
        Rows and columns of a tile.
    settings : StitchingSettings, optional
        `same_cell_px` and `cell_radius_px`.
    reads : str, optional
        A column with the number of reads: of two whole observations, the one with more is kept.

    Returns
    -------
    cells : DataFrame
        The rows that are kept, in their order, with ``well_i``, ``well_j`` (px in the well), ``whole_i``,
        ``whole_j`` (the same; of a cell that is cut, where the centre of the whole one must be) and
        ``n_tiles`` (observations that were one cell).
    observations : DataFrame
        One row per row given: ``tile``, ``cell``, ``kept_tile``, ``kept_cell``: by what it is represented.
        Cells without a finite centre keep their row, since they cannot be compared.

    Raises
    ------
    InputError
        With all findings: absent columns, tiles without a position, a cell that a tile lists twice.
    """
    import pandas as pd

    settings = settings or StitchingSettings()
    _check(cells, positions, reads)
    corner = positions.set_index("tile")[["i", "j"]]
    centres = cells[["i", "j"]].to_numpy(float)
    tiles, number = np.unique(cells["tile"].to_numpy(), return_inverse=True)
    corners = corner.loc[tiles].to_numpy(float) if len(tiles) else np.empty((0, 2))
    places = centres + corners[number]
    depth = _depth(centres, tile_shape)
    radius = settings.cell_radius_px
    true_places = places + _outwards(centres, tile_shape, radius)
    parent = _joined(true_places, number, settings.same_cell_px)
    weight = np.zeros(len(cells)) if reads is None else cells[reads].fillna(0).to_numpy(float)
    complete = np.minimum(np.nan_to_num(depth, nan=-1.0), 1.5 * radius)
    # Best first in each group: a whole cell, then reads, then depth, then the order of the table.
    order = np.lexsort((np.arange(len(cells)), -np.nan_to_num(depth), -weight, -complete, parent))
    first = np.ones(len(order), bool)
    first[1:] = parent[order][1:] != parent[order][:-1]
    best = np.empty(len(cells), np.int64)
    best[order] = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))]
    kept = best == np.arange(len(cells))
    sizes = np.bincount(parent, minlength=len(cells))[parent]
    alone = np.flatnonzero(kept & (sizes == 1) & (depth < radius / 2))
    deeper, owner = _seen_deeper(places, number, corners, tile_shape, alone)
    cut, owner = alone[deeper > radius / 2], owner[deeper > radius / 2]
    kept[cut] = False
    best[cut] = _nearest_of_tile(true_places, number, kept, cut, owner, 2 * settings.same_cell_px)
    table = cells.assign(
        well_i=places[:, 0],
        well_j=places[:, 1],
        whole_i=true_places[:, 0],
        whole_j=true_places[:, 1],
        n_tiles=sizes,
    )
    tile, cell = cells["tile"].to_numpy(), cells["cell"].to_numpy()
    known = np.maximum(best, 0)
    observations = pd.DataFrame(
        {
            "tile": tile,
            "cell": cell,
            "kept_tile": np.where(best >= 0, tile[known], tile) if len(cells) else tile,
            "kept_cell": np.where(best >= 0, cell[known], 0) if len(cells) else cell,
        }
    )
    return table[kept].reset_index(drop=True), observations


def well_numbers(cells: Any, observations: Any) -> dict[Hashable, NDArray[np.int32]]:
    """For each tile, the number in the well of each of its labels: what `fuse_well` needs of label images.

    Cells are numbered from 1 in the order of `cells`; a label that stands for no cell becomes 0.
    """
    number = {key: n for n, key in enumerate(zip(cells["tile"], cells["cell"], strict=True), 1)}
    numbers: dict[Hashable, NDArray[np.int32]] = {}
    for tile, group in observations.groupby("tile", sort=False):
        lookup = np.zeros(int(group["cell"].max()) + 1, np.int32)
        keys = zip(group["kept_tile"], group["kept_cell"], strict=True)
        lookup[group["cell"].to_numpy(int)] = [number.get(key, 0) for key in keys]
        numbers[tile] = lookup
    return numbers


def _check(cells: Any, positions: Any, reads: str | None) -> None:
    faults = []
    wanted = ["tile", "cell", "i", "j", *([] if reads is None else [reads])]
    for name, table, columns in (("cells", cells, wanted), ("positions", positions, ["tile", "i", "j"])):
        if absent := [one for one in columns if one not in table.columns]:
            faults.append(Finding(what=f"columns {', '.join(absent)} are absent", where=f"table of {name}"))
    if not faults:
        if "well" in cells.columns and cells["well"].nunique() > 1:
            faults.append(Finding(what=f"cells of {cells['well'].nunique()} wells", expected="of one well"))
        twice = positions["tile"][positions["tile"].duplicated()]
        if len(twice):
            faults.append(Finding(what=f"two positions for tiles {', '.join(map(str, twice.unique()))}"))
        lost = sorted(
            set(cells["tile"]) - set(positions["tile"][np.isfinite(positions[["i", "j"]]).all(axis=1)])
        )
        if lost:
            faults.append(Finding(what=f"no position for tiles {', '.join(map(str, lost))}"))
        double = cells.duplicated(["tile", "cell"])
        if double.any():
            row = cells[double].iloc[0]
            faults.append(
                Finding(
                    what=f"{int(double.sum())} cells are listed twice",
                    found=f"cell {row['cell']} of tile {row['tile']}",
                )
            )
    if faults:
        raise InputError(faults)


def _depth(centres: NDArray, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Distance of centres to the nearest border of their tile, px."""
    last = np.array(shape) - 1
    return np.minimum(centres, last - centres).min(axis=1) if len(centres) else np.empty(0)


def _outwards(centres: NDArray, shape: tuple[int, int], radius: float) -> NDArray[np.float64]:
    """From the centre of the rest of each cell to that of the whole one, (n, 2)."""
    before, behind = centres, np.array(shape) - 1 - centres
    return np.clip(radius - behind, 0, None) - np.clip(radius - before, 0, None)


def _joined(places: NDArray, number: NDArray, limit: float) -> NDArray[np.int64]:
    """The number of the group of each observation: mutual nearest ones of two tiles, joined nearest first."""
    from scipy.spatial import cKDTree

    parent = np.arange(len(places))
    known = np.flatnonzero(np.isfinite(places).all(axis=1))
    if len(known) < 2:
        return parent
    pairs = known[cKDTree(places[known]).query_pairs(limit, output_type="ndarray")]
    pairs = pairs[number[pairs[:, 0]] != number[pairs[:, 1]]]
    away = np.hypot(*(places[pairs[:, 0]] - places[pairs[:, 1]]).T)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], away))
    members = {int(k): {int(number[k])} for k in np.unique(pairs)}
    taken: set[tuple[int, int]] = set()

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = int(parent[k])
        return k

    for a, b in pairs[order].tolist():
        # The nearest pairs come first, so what is taken is the nearest of both: each is used once per tile.
        if (a, int(number[b])) in taken or (b, int(number[a])) in taken:
            continue
        taken.update([(a, int(number[b])), (b, int(number[a]))])
        one, other = sorted((root(a), root(b)))
        if one != other and not members[one] & members[other]:
            parent[other] = one
            members[one] |= members.pop(other)
    return np.array([root(k) for k in range(len(parent))])


def _seen_deeper(places, number, corners, shape, which) -> tuple[NDArray, NDArray]:
    """For some observations, the greatest depth of their place in another tile, and which tile that is."""
    from scipy.spatial import cKDTree

    deeper, owner = np.full(len(which), -np.inf), np.full(len(which), -1)
    if not len(which) or len(corners) < 2:
        return deeper, owner
    middles = corners + (np.array(shape) - 1) / 2
    scale = np.array(shape) / 2
    near = cKDTree(middles / scale).query_ball_point(places[which] / scale, 1.0, p=np.inf)
    for n, (k, tiles) in enumerate(zip(which, near, strict=True)):
        for tile in sorted(tiles):
            inside = _depth((places[k] - corners[tile])[None], shape)[0]
            if tile != number[k] and inside > deeper[n]:
                deeper[n], owner[n] = inside, tile
    return deeper, owner


def _nearest_of_tile(places, number, kept, cut, owner, limit) -> NDArray[np.int64]:
    """The kept observation of a tile that is nearest to each cut one; -1 where none is within the limit."""
    out = np.full(len(cut), -1)
    for n, (k, tile) in enumerate(zip(cut, owner, strict=True)):
        others = np.flatnonzero(kept & (number == tile))
        away = np.hypot(*(places[others] - places[k]).T)
        if len(others) and np.nanmin(away) <= limit:
            out[n] = others[int(np.nanargmin(away))]
    return out
