"""Cells of the sequencing images found again in the phenotype images of the same well.

Both acquisitions are seen as points: centres of cells in the well. Triangles of neighbouring cells that look
alike at any scale and rotation propose a similarity, and most of them agree on the true one; it is refined to
an affine map by the cells themselves, then bent locally where tiles are off. Two cells are one if each is the
nearest of the other, within a distance limit; cells that are cut at the edge of an acquisition are compared
by where the centre of the whole cell must be. Set 0 is the phenotype, set 1 the sequencing, as in Brieflow.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytopipe.errors import Finding, InputError
from cytopipe.screen.parameters import MergeSettings

__all__ = ["Merge", "find_similarity", "merge_cells"]

_MOST_TRIANGLES = 8000  # of the set whose triangles are looked up, spread over the well
_MOST_PROPOSALS = 400
_LOCAL_CELLS = 24  # whose median says how far a place is off


@dataclass(frozen=True, eq=False)
class Merge:
    """Cells of a well in both acquisitions.

    Parameters
    ----------
    cells : DataFrame
        One row per cell that was found in both: the reference's ``plate, well, tile, cell_0, i_0, j_0`` (of
        the phenotype), ``site, cell_1, i_1, j_1`` (tile, cell and centre in the sequencing images) and
        ``distance`` (px of the sequencing images); then ``well_i_0, well_j_0, well_i_1, well_j_1`` (px in
        each well), ``distance_um`` and ``second_um``: the distance to the next best phenotype cell, which
        tells how sure a match is.
    tiles : DataFrame
        One row per acquisition and tile: ``acquisition`` (phenotype or sbs), ``tile``, ``n_cells``,
        ``n_inside`` (in the area of the other acquisition), ``n_matched``, ``rate`` (of those inside),
        ``median_um``, ``p95_um`` (distances after the fit).
    transform : (2, 3) float64 or None
        From px in the phenotype's well to px in the sequencing well; None where no similarity was found.
    n_triangles : int
        Triangles that agreed on it; 0 where it was given.
    """

    cells: Any
    tiles: Any
    transform: NDArray[np.float64] | None = field(repr=False)
    n_triangles: int

    @property
    def found(self) -> bool:
        return self.transform is not None


def merge_cells(
    phenotype: Any,
    sbs: Any,
    settings: MergeSettings | None = None,
    *,
    sbs_pixel_um: float,
    phenotype_pixel_um: float | None = None,
    initial: NDArray | None = None,
) -> Merge:
    """Match the cells of a well in its two acquisitions.

    Parameters
    ----------
    phenotype, sbs : DataFrame
        One row per cell: ``tile``, ``cell``, ``i``, ``j`` (px in the tile), ``well_i``, ``well_j`` (px in the
        well, `cytopipe.screen.overlaps`); ``whole_i``, ``whole_j`` and ``bounds`` (of the cell in its tile)
        where they are known, and ``plate``, ``well`` where they are to be kept.
    settings : MergeSettings, optional
    sbs_pixel_um : float
        Size of a pixel of the sequencing images.
    phenotype_pixel_um : float, optional
        With it, similarities of another scale are not considered.
    initial : (2, 3) array, optional
        From px in the phenotype's well to px in the sequencing well, where positions of the stage say so;
        looked at where the triangles find nothing.

    Returns
    -------
    Merge
        Without cells where no similarity was found.
    """
    settings = settings or MergeSettings()
    _check(phenotype, sbs, sbs_pixel_um, phenotype_pixel_um)
    points, others = (table[["well_i", "well_j"]].to_numpy(float) for table in (phenotype, sbs))
    known, known_others = (np.isfinite(one).all(axis=1) for one in (points, others))
    scale = None if phenotype_pixel_um is None else phenotype_pixel_um / sbs_pixel_um
    # The centre of a cell that the edge of a tile cuts is off, and bends the triangles around it.
    whole, whole_others = known & _is_whole(phenotype), known_others & _is_whole(sbs)
    matrix, n_triangles = find_similarity(points[whole], others[whole_others], settings, scale=scale)
    if matrix is None and (whole.sum() < known.sum() or whole_others.sum() < known_others.sum()):
        matrix, n_triangles = find_similarity(points[known], others[known_others], settings, scale=scale)
    if matrix is None and initial is not None:
        matrix = np.asarray(initial, float)
    limit = settings.max_distance_um / sbs_pixel_um
    pairs, moved = np.empty((0, 2), np.int64), np.full_like(points, np.nan)
    if matrix is not None:
        matrix = _refined(matrix, points[known], others[known_others], limit)
        moved[known] = points[known] @ matrix[:, :2].T + matrix[:, 2]
        pairs = _mutual(moved, others, limit)
        if settings.local_fit and len(pairs) >= _LOCAL_CELLS:
            # From far to near: a tile that is off by more than the limit has few cells within it.
            for reach in np.geomspace(max(limit, 0.5 * _spacing(others[known_others])), limit, 4):
                moved = _bent(moved, others, _mutual(moved, others, reach))
            pairs = _mutual(moved, others, limit)
        pairs = _with_cut_cells(pairs, phenotype, sbs, moved, matrix, 2 * limit)
    cells = _table(phenotype, sbs, pairs, moved, others, sbs_pixel_um)
    tiles = _rates(phenotype, sbs, pairs, moved, others, cells["distance_um"].to_numpy())
    return Merge(cells, tiles, matrix, n_triangles)


def _is_whole(cells: Any) -> NDArray[np.bool_]:
    """Cells that touch no edge of their tile; all where it is not known how far they reach."""
    if "bounds" not in cells.columns or not len(cells) or isinstance(cells["bounds"].iloc[0], str):
        return np.ones(len(cells), bool)
    bounds = np.array(cells["bounds"].tolist(), float)  # first and last row and column, half open
    return (bounds[:, :2] > 0).all(axis=1) & (bounds[:, 2:] < bounds[:, 2:].max(axis=0)).all(axis=1)


def _check(phenotype: Any, sbs: Any, *sizes: float | None) -> None:
    faults = []
    for name, table in (("phenotype", phenotype), ("sbs", sbs)):
        wanted = ("tile", "cell", "i", "j", "well_i", "well_j")
        if absent := [one for one in wanted if one not in table.columns]:
            faults.append(Finding(what=f"columns {', '.join(absent)} are absent", where=f"cells of {name}"))
            continue
        if "well" in table.columns and table["well"].nunique() > 1:
            faults.append(Finding(what=f"{table['well'].nunique()} wells at once", where=f"cells of {name}"))
        if (double := table.duplicated(["tile", "cell"])).any():
            row = table[double].iloc[0]
            faults.append(
                Finding(
                    what=f"{int(double.sum())} cells are listed twice",
                    where=f"cells of {name}",
                    found=f"cell {row['cell']} of tile {row['tile']}",
                )
            )
    for size in sizes:
        if size is not None and not 0 < size < 1e4:
            faults.append(Finding(what=f"a pixel of {size} micrometres is not possible"))
    if faults:
        raise InputError(faults)


# ---------------------------------------------------------------------- the similarity of two sets of points


def find_similarity(
    points: NDArray, others: NDArray, settings: MergeSettings | None = None, *, scale: float | None = None
) -> tuple[NDArray[np.float64] | None, int]:
    """The similarity (2, 3) from one set of points to another, by triangles of neighbours; and their number.

    Each triangle of a Delaunay triangulation and the three corners of its neighbours are put into a frame in
    which its longest side runs from 0 to 1; triangles that look alike there propose a similarity. That one is
    taken on which most triangles agree. `scale` restricts proposals to one ratio (others per points).

    Returns
    -------
    matrix : (2, 3) float64 or None
        None where fewer than `settings.min_triangles` agree.
    n_triangles : int
    """
    from scipy.spatial import cKDTree

    settings = settings or MergeSettings()
    flip = np.array([-1.0 if settings.mirrored else 1.0, 1.0])
    one, other = _triangles(points * flip), _triangles(others)
    if one is None or other is None:
        return None, 0
    (shapes, corners), (other_shapes, other_corners) = one, other
    if len(shapes) > _MOST_TRIANGLES:
        chosen = np.linspace(0, len(shapes) - 1, _MOST_TRIANGLES).astype(int)
        shapes, corners = shapes[chosen], corners[chosen]
    away, nearest = cKDTree(other_shapes).query(shapes, distance_upper_bound=settings.max_triangle_difference)
    alike = np.flatnonzero(np.isfinite(away))
    x, y = corners[alike], other_corners[nearest[alike]]
    turn, shift = _fit_turns(x, y)
    sane = np.abs(turn) > 0
    if scale is not None:
        sane &= np.abs(np.abs(turn) / scale - 1) <= settings.max_scale_error
    x, y, turn, shift, away = x[sane], y[sane], turn[sane], shift[sane], away[alike][sane]
    if len(x) < settings.min_triangles:
        return None, 0
    middles, targets = x.mean(axis=1), y.mean(axis=1)
    near = 0.5 * _spacing(others)
    best, votes = 0, -1
    for k in np.argsort(away, kind="stable")[:_MOST_PROPOSALS]:
        agree = int((np.abs(turn[k] * middles + shift[k] - targets) < near).sum())
        if agree > votes:
            best, votes = int(k), agree
    a, b = turn[best], shift[best]
    for _ in range(5):
        agree = np.abs(a * middles + b - targets) < near
        if agree.sum() < settings.min_triangles:
            return None, 0
        a, b = (one[0] for one in _fit_turns(x[agree].reshape(1, -1), y[agree].reshape(1, -1)))
    # With complex numbers row + column * 1j, a turn is a product.
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    matrix[:, :2] *= flip
    return matrix, int(agree.sum())


def _spacing(points: NDArray) -> float:
    """Median distance of points to their nearest neighbour."""
    from scipy.spatial import cKDTree

    return float(np.median(cKDTree(points).query(points, k=2)[0][:, 1]))


def _triangles(points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.complex128]] | None:
    """Shapes (n, 8) and corners (n, 6, complex) of the triangles that have a neighbour on every side."""
    from scipy.spatial import Delaunay, QhullError

    points = np.unique(points, axis=0)
    if len(points) < 6:
        return None
    try:
        mesh = Delaunay(points)
    except QhullError:  # all on one line
        return None
    inner = np.flatnonzero((mesh.neighbors >= 0).all(axis=1))
    if not len(inner):
        return None
    z = points[:, 0] + 1j * points[:, 1]
    corners, across = mesh.simplices[inner], mesh.neighbors[inner]
    # neighbors[k] lies across from corner k; its corner that is not shared has the sum of what is left.
    outer = np.stack(
        [mesh.simplices[across[:, k]].sum(axis=1) - corners.sum(axis=1) + corners[:, k] for k in range(3)],
        axis=1,
    )
    clockwise = (
        np.imag((z[corners[:, 1]] - z[corners[:, 0]]) * np.conj(z[corners[:, 2]] - z[corners[:, 0]])) > 0
    )
    corners[clockwise] = corners[clockwise][:, [0, 2, 1]]
    outer[clockwise] = outer[clockwise][:, [0, 2, 1]]
    sides = np.abs(z[corners[:, [1, 2, 0]]] - z[corners[:, [2, 0, 1]]])  # across from each corner
    apex = np.argmax(sides, axis=1)
    order = (apex[:, None] + np.array([1, 2, 0])) % 3  # the longest side first, then its apex
    rows = np.arange(len(corners))[:, None]
    six = np.concatenate([z[corners[rows, order]], z[outer[rows, order]]], axis=1)
    frame = (six[:, 2:] - six[:, :1]) / (six[:, 1:2] - six[:, :1])
    return np.concatenate([frame.real, frame.imag], axis=1), six


def _fit_turns(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Complex a, b that minimise |a x + b - y|^2 along the last axis."""
    mx, my = x.mean(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)
    spread = (np.abs(x - mx) ** 2).sum(axis=-1)
    a = (np.conj(x - mx) * (y - my)).sum(axis=-1) / np.where(spread > 0, spread, 1)
    return a, my[..., 0] - a * mx[..., 0]


# ---------------------------------------------------------------------- cell by cell


def _refined(matrix: NDArray, points: NDArray, others: NDArray, limit: float) -> NDArray[np.float64]:
    """An affine map, from cells that are each other's nearest within a limit that narrows."""
    design = np.c_[points, np.ones(len(points))]
    for reach in np.geomspace(max(limit, 0.5 * _spacing(others)), limit, 6) if len(others) > 1 else ():
        moved = points @ matrix[:, :2].T + matrix[:, 2]
        pairs = _mutual(moved, others, reach)
        if len(pairs) < 6:
            break
        x, y = design[pairs[:, 0]], others[pairs[:, 1]]
        gap = np.hypot(*(moved[pairs[:, 0]] - y).T)
        weights = 1 / np.maximum(gap, max(0.3, float(np.median(gap))))
        if np.linalg.matrix_rank(x - x.mean(axis=0), tol=1.0) < 2:
            break
        matrix = np.linalg.lstsq(x * weights[:, None] ** 0.5, y * weights[:, None] ** 0.5, rcond=None)[0].T
    return matrix


def _mutual(points: NDArray, others: NDArray, limit: float) -> NDArray[np.int64]:
    """Pairs (n, 2) of points that are each other's nearest within the limit; each is in one pair at most."""
    from scipy.spatial import cKDTree

    a, b = (np.flatnonzero(np.isfinite(one).all(axis=1)) for one in (points, others))
    if not len(a) or not len(b):
        return np.empty((0, 2), np.int64)
    away, to = cKDTree(others[b]).query(points[a], distance_upper_bound=limit)
    back = cKDTree(points[a]).query(others[b], distance_upper_bound=limit)[1]
    here = np.flatnonzero(np.isfinite(away))
    here = here[back[to[here]] == here]
    return np.stack([a[here], b[to[here]]], axis=1)


def _with_cut_cells(pairs, phenotype, sbs, moved, matrix, limit: float) -> NDArray[np.int64]:
    """What is left is matched by the centres of whole cells, where one of two is cut."""
    wholes, cuts = [], []
    for table in (phenotype, sbs):
        if not {"whole_i", "whole_j"} <= set(table.columns):
            return pairs
        shift = table[["whole_i", "whole_j"]].to_numpy(float) - table[["well_i", "well_j"]].to_numpy(float)
        wholes.append(shift)
        cuts.append((shift != 0).any(axis=1))
    points = moved + wholes[0] @ matrix[:, :2].T
    others = sbs[["well_i", "well_j"]].to_numpy(float) + wholes[1]
    points[pairs[:, 0]] = np.nan
    others[pairs[:, 1]] = np.nan
    more = _mutual(points, others, limit)
    more = more[cuts[0][more[:, 0]] | cuts[1][more[:, 1]]]
    joined = np.concatenate([pairs, more])
    return joined[np.argsort(joined[:, 0], kind="stable")]


def _bent(moved: NDArray, others: NDArray, pairs: NDArray) -> NDArray[np.float64]:
    """Points moved by the median of what the matched cells around them are off by."""
    from scipy.spatial import cKDTree

    if len(pairs) < _LOCAL_CELLS:
        return moved
    off = others[pairs[:, 1]] - moved[pairs[:, 0]]
    known = np.flatnonzero(np.isfinite(moved).all(axis=1))
    near = cKDTree(moved[pairs[:, 0]]).query(moved[known], k=_LOCAL_CELLS)[1]
    bent = moved.copy()
    bent[known] += np.median(off[near], axis=1)
    return bent


def _table(phenotype, sbs, pairs, moved, others, sbs_pixel_um: float) -> Any:
    import pandas as pd
    from scipy.spatial import cKDTree

    zero, one = phenotype.iloc[pairs[:, 0]], sbs.iloc[pairs[:, 1]]
    columns: dict[str, Any] = {
        name: zero[name].to_numpy() for name in ("plate", "well") if name in phenotype.columns
    }
    columns["tile"] = zero["tile"].to_numpy()
    for suffix, side in (("0", zero), ("1", one)):
        if suffix == "1":
            columns["site"] = one["tile"].to_numpy()
        columns |= {f"{name}_{suffix}": side[name].to_numpy() for name in ("cell", "i", "j")}
    distance = np.hypot(*(moved[pairs[:, 0]] - others[pairs[:, 1]]).T)
    columns["distance"] = distance
    for suffix, side in (("0", zero), ("1", one)):
        columns |= {f"{name}_{suffix}": side[name].to_numpy() for name in ("well_i", "well_j")}
    columns["distance_um"] = distance * sbs_pixel_um
    finite = moved[np.isfinite(moved).all(axis=1)]
    second = np.full(len(pairs), np.inf)
    if len(pairs) and len(finite) > 1:
        second = cKDTree(finite).query(others[pairs[:, 1]], k=2)[0][:, 1]
    columns["second_um"] = second * sbs_pixel_um
    return pd.DataFrame(columns)


def _rates(phenotype, sbs, pairs, moved, others, distance_um) -> Any:
    import pandas as pd

    rows = []
    sides = (("phenotype", phenotype, moved, others, 0), ("sbs", sbs, others, moved, 1))
    for name, table, own, other, side in sides:
        inside = _inside(own, other)
        matched = np.zeros(len(table), bool)
        matched[pairs[:, side]] = True
        distance = np.full(len(table), np.nan)
        distance[pairs[:, side]] = distance_um
        tile = table["tile"].to_numpy()
        for one in pd.unique(table["tile"]):
            here = tile == one
            n_inside = int((inside & here).sum())
            known = distance[here & matched]
            rows.append(
                {
                    "acquisition": name,
                    "tile": one,
                    "n_cells": int(here.sum()),
                    "n_inside": n_inside,
                    "n_matched": int((matched & here).sum()),
                    "rate": float((matched & inside & here).sum() / n_inside) if n_inside else np.nan,
                    "median_um": float(np.median(known)) if len(known) else np.nan,
                    "p95_um": float(np.percentile(known, 95)) if len(known) else np.nan,
                }
            )
    names = ("acquisition", "tile", "n_cells", "n_inside", "n_matched", "rate", "median_um", "p95_um")
    return pd.DataFrame(rows, columns=names)


def _inside(points: NDArray, others: NDArray) -> NDArray[np.bool_]:
    """Points within the convex hull of the others."""
    from scipy.spatial import Delaunay, QhullError

    inside = np.zeros(len(points), bool)
    known = np.isfinite(points).all(axis=1)
    corners = others[np.isfinite(others).all(axis=1)]
    if len(corners) < 4:
        return inside
    with suppress(QhullError):  # all on one line
        inside[known] = Delaunay(corners).find_simplex(points[known]) >= 0
    return inside
