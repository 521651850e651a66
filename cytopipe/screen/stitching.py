"""Where the tiles of a well lie, from what they show in common, and the well as one image.

Every two tiles that should overlap are compared where they should; all shifts together give the positions,
robustly, so that one wrong shift does not bend a well. Where nothing can be compared (an empty tile), a model
of the stage, fitted to the shifts that were found, says where the tile is. Positions are px of the upper left
corner of a tile, rows (i) before columns (j); the well begins at 0, 0.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytopipe.errors import Finding, InputError
from cytopipe.screen.correlation import bandpass, shift_between, window_shifts
from cytopipe.screen.parameters import StitchingSettings

__all__ = ["FusedWell", "Stitching", "fuse_well", "grid_positions", "stitch_tiles"]

Load = Callable[[Hashable], Any]

_FIDUCIAL_PX = (1.0, 12.0)
_TILES_IN_MEMORY = 24  # filtered, for comparing: pairs follow the order of tiles, so most are met again
_COLUMNS = 4096  # of a well that are put together at a time: weights and sums take 16 bytes a pixel
_STAGE_PX = 15.0  # by which a stage misses its place between two tiles, at most
_STAGE_WEIGHT = 1e-3  # of a shift that the stage model says, against 1 of one that was measured well


@dataclass(frozen=True, eq=False)
class Stitching:
    """Positions of the tiles of a well.

    Parameters
    ----------
    positions : DataFrame
        One row per tile, in the order given: ``tile``, ``i``, ``j`` (px), ``located`` (whether an overlap
        said so; otherwise the stage model did), ``moved_px`` (from where the stage model expects it).
    pairs : DataFrame
        One row per pair compared: ``tile_0``, ``tile_1``, ``shift_i``, ``shift_j`` (px), ``score``,
        ``significance``, ``used``, ``residual_px`` (between the shift measured and that of the positions).
    """

    positions: Any
    pairs: Any


def grid_positions(
    n_tiles: int, shape: tuple[int, int], settings: StitchingSettings | None = None
) -> NDArray[np.float64]:
    """Corners (n, 2) of tiles of `shape` px that fill a grid in the order of `settings.layout`."""
    settings = settings or StitchingSettings(layout="row")
    if settings.layout == "stage":
        raise InputError("the layout 'stage' needs positions of the stage", next="Choose a grid as layout.")
    n_columns = settings.n_columns or int(np.ceil(np.sqrt(n_tiles)))
    number = np.arange(n_tiles)
    by_row = settings.layout.startswith("row")
    length = n_columns if by_row else -(-n_tiles // n_columns)
    line, place = np.divmod(number, length)
    if settings.layout.endswith("snake"):
        place = np.where(line % 2, length - 1 - place, place)
    at = np.stack([line, place] if by_row else [place, line], axis=1)
    return at * np.array(shape) * (1 - settings.overlap)


def stitch_tiles(
    tiles: Sequence[Hashable],
    load: Load,
    expected: NDArray | None = None,
    settings: StitchingSettings | None = None,
) -> Stitching:
    """Find the positions of the tiles of a well.

    Parameters
    ----------
    tiles : sequence
        Names of the tiles.
    load : callable
        Gives the (Y, X) image of a tile that is compared: DAPI, for example. Loaded again for each neighbour,
        a few at a time.
    expected : (n, 2) array, optional
        Where the stage says the corners of the tiles are, in px. Without it, `settings.layout` is a grid.
    settings : StitchingSettings, optional

    Raises
    ------
    InputError
        For tiles of several shapes, a tile that is named twice, or positions that are not finite.
    """
    settings = settings or StitchingSettings()
    if not len(tiles):
        raise InputError("a well has no tiles")
    names = list(tiles)
    shape = tuple(np.shape(load(names[0])))
    if expected is None:
        expected = grid_positions(len(names), shape[-2:], settings)
    expected = np.asarray(expected, float)
    _check(names, shape, expected)
    pairs = _neighbours(expected, shape, settings.min_overlap_px)
    shifts, scores, significances = _measured(names, load, expected, shape, pairs, settings)
    stage, used = _stage_model(expected, pairs, shifts, significances, settings)
    trust = scores * np.minimum(1.0, significances / max(settings.min_significance, 1e-9))
    positions = _solved(expected @ stage.T, pairs, shifts, trust, used)
    return _told(names, expected @ stage.T, positions, pairs, shifts, scores, significances, used)


def _check(names: list, shape: tuple[int, ...], expected: NDArray) -> None:
    faults = []
    if len(shape) != 2 or min(shape) < 16:
        faults.append(Finding(what=f"a tile of shape {shape}", expected="rows and columns, 16 px or more"))
    if len(set(names)) < len(names):
        twice = sorted({str(one) for one in names if names.count(one) > 1})
        faults.append(Finding(what=f"tiles that are named twice: {', '.join(twice)}"))
    if expected.shape != (len(names), 2):
        faults.append(
            Finding(what=f"positions of shape {expected.shape}", expected=f"({len(names)}, 2): one per tile")
        )
    elif not np.isfinite(expected).all():
        lost = [str(names[k]) for k in np.flatnonzero(~np.isfinite(expected).all(axis=1))]
        faults.append(Finding(what=f"no finite position for tiles {', '.join(lost)}"))
    if faults:
        raise InputError(faults)


def _neighbours(expected: NDArray, shape: tuple[int, int], least_px: int) -> NDArray[np.int64]:
    """Pairs of tiles (n, 2) that should overlap by `least_px` rows and columns."""
    from scipy.spatial import cKDTree

    near = cKDTree(expected / np.array(shape)).query_pairs(1.0, p=np.inf, output_type="ndarray")
    near = near[np.lexsort(near.T[::-1])] if len(near) else np.empty((0, 2), np.int64)
    shared = np.array(shape) - np.abs(expected[near[:, 1]] - expected[near[:, 0]])
    return near[(shared >= least_px).all(axis=1)]


def _measured(
    names: list,
    load: Load,
    expected: NDArray,
    shape: tuple[int, int],
    pairs: NDArray,
    settings: StitchingSettings,
) -> tuple[NDArray, NDArray, NDArray]:
    """Of each pair, the position of its second tile against its first, with score and significance."""
    shifts = np.full((len(pairs), 2), np.nan)
    scores, significances = np.zeros(len(pairs)), np.zeros(len(pairs))

    @lru_cache(_TILES_IN_MEMORY)
    def filtered(k: int) -> NDArray[np.float32]:
        image = np.asarray(load(names[k]))
        if image.shape != shape:
            raise InputError(f"tile {names[k]} has {image.shape} px", expected=f"{shape}, as tile {names[0]}")
        return bandpass(image, *_FIDUCIAL_PX)

    for n, (a, b) in enumerate(pairs.tolist()):
        found = _pair(filtered(a), filtered(b), expected[b] - expected[a], settings.reach_px)
        if found is not None:
            shifts[n], scores[n], significances[n] = found
    return shifts, scores, significances


def _pair(one: NDArray, other: NDArray, expected: NDArray, reach: int) -> tuple[NDArray, float, float] | None:
    """Position of the second image against the first from the strip in which they should overlap."""
    whole = np.rint(expected).astype(int)
    parts, origins = [], []
    for image, offset in ((one, whole), (other, -whole)):
        start = np.clip(offset - reach, 0, np.array(image.shape))
        stop = np.clip(np.array(image.shape) + offset + reach, 0, np.array(image.shape))
        if (stop - start < 8).any():
            return None
        parts.append(np.ascontiguousarray(image[start[0] : stop[0], start[1] : stop[1]]))
        origins.append(start)
    # one[x] shows other[x - position]: the shift between the strips is -position, less their origins.
    centre = -whole + origins[0] - origins[1]
    shift = shift_between(*parts, expected=centre, reach_px=reach, min_overlap=0.02, smooth_px=0.7)
    if shift.significance <= 0:
        return None
    fine = _refined(*parts, shift.pixels)
    return origins[0] - origins[1] - fine, shift.score, shift.significance


def _refined(target: NDArray, moving: NDArray, shift: NDArray) -> NDArray[np.float64]:
    """A whole shift to a part of a pixel: the weighted median of small windows."""
    low = np.maximum(0, -shift).astype(int)
    high = np.minimum(target.shape, np.array(moving.shape) - shift).astype(int)
    half = int(np.clip((high - low).min() // 2 - 4, 0, 48))
    if half < 8:
        return shift
    lines = [
        np.unique(np.linspace(a + half + 3, max(a + half + 3, b - half - 3), 9).astype(int))
        for a, b in zip(low, high, strict=True)
    ]
    centres = np.array([(row, col) for row in lines[0] for col in lines[1]])
    found, scores = window_shifts(target, moving, centres, np.tile(shift, (len(centres), 1)), half, 3)
    good = np.isfinite(found[:, 0]) & (scores > 0.3)
    if good.sum() < 1:
        return shift
    return np.array([_weighted_median(found[good, axis], scores[good] ** 2) for axis in range(2)])


def _weighted_median(values: NDArray, weights: NDArray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _stage_model(
    expected: NDArray, pairs: NDArray, shifts: NDArray, significances: NDArray, settings: StitchingSettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The 2 x 2 matrix from expected to measured shifts, and the pairs that are believed.

    A stage may be turned against the camera, or its pixel size be wrong by a little. Every two shifts propose
    a matrix, that with most votes is taken and fitted again to those that agree. A shift far from it is not
    believed; one that is barely significant is, where it agrees with the matrix.
    """
    said = expected[pairs[:, 1]] - expected[pairs[:, 0]] if len(pairs) else np.empty((0, 2))
    weak = np.isfinite(shifts[:, 0]) & (significances >= 0.35 * settings.min_significance)
    used = weak & (significances >= settings.min_significance)
    matrix, agree = _voted(said[weak], shifts[weak], significances[weak])
    if agree < 5:
        return np.eye(2), used
    for _ in range(5):
        away = np.hypot(*(shifts - said @ matrix.T).T)
        near = weak & (away < _STAGE_PX)
        weighted = said[near] * significances[near, None]
        matrix = np.linalg.lstsq(weighted.T @ said[near], weighted.T @ shifts[near], rcond=None)[0].T
    away = np.hypot(*(shifts - said @ matrix.T).T)
    return matrix, weak & (away <= _STAGE_PX) | used & (away <= 2 * _STAGE_PX)


def _voted(said: NDArray, shifts: NDArray, weights: NDArray) -> tuple[NDArray[np.float64], int]:
    """The 2 x 2 matrix on which most shifts agree, and how many do."""
    strongest = np.argsort(-weights, kind="stable")[:60]
    best, agree, most = np.eye(2), 0, -1.0
    for i, j in combinations(strongest, 2):
        one = said[[i, j]]
        if abs(np.linalg.det(one)) < 0.5 * np.prod(np.linalg.norm(one, axis=1)):
            continue
        matrix = np.linalg.solve(one, shifts[[i, j]]).T
        if np.abs(matrix - np.eye(2)).max() > 0.1:  # no stage is off by a tenth
            continue
        near = np.hypot(*(shifts - said @ matrix.T).T) < _STAGE_PX
        if weights[near].sum() > most:
            best, agree, most = matrix, int(near.sum()), float(weights[near].sum())
    return best, agree


def _solved(
    start: NDArray, pairs: NDArray, shifts: NDArray, trust: NDArray, used: NDArray
) -> NDArray[np.float64]:
    """Positions that minimise the weighted sum of absolute differences to the shifts, (n, 2).

    Iteratively reweighted least squares (Huber below half a pixel). What was not measured follows the stage
    with a thousandth of the weight, and every tile its own place with a millionth.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    n, m = len(start), len(pairs)
    if m == 0:
        return start - start.min(axis=0)
    rows = np.repeat(np.arange(m), 2)
    graph = sparse.csr_matrix((np.tile([-1.0, 1.0], m), (rows, pairs.ravel())), shape=(m, n))
    said = graph @ start
    wanted = np.where(used[:, None], np.nan_to_num(shifts), said)
    base = np.where(used, np.clip(trust, 0.05, 1) ** 2, _STAGE_WEIGHT)
    positions, weights = start, base
    for _ in range(30):
        normal = graph.T @ sparse.diags(weights) @ graph + 1e-6 * sparse.eye(n)
        right = graph.T @ (weights[:, None] * wanted) + 1e-6 * start
        new = np.asarray(spsolve(sparse.csc_matrix(normal), right)).reshape(n, 2)
        change, positions = np.abs(new - positions).max(), new
        gap = np.hypot(*(graph @ positions - wanted).T)
        weights = base * np.where(used, 0.5 / np.maximum(gap, 0.5), 1.0)
        if change < 1e-3:
            break
    return positions - positions.min(axis=0)


def _told(names, stage, positions, pairs, shifts, scores, significances, used) -> Stitching:
    import pandas as pd

    located = np.zeros(len(names), bool)
    located[pairs[used].ravel()] = True
    away = positions - stage
    away -= np.median(away, axis=0)
    table = pd.DataFrame(
        {
            "tile": names,
            "i": positions[:, 0],
            "j": positions[:, 1],
            "located": located,
            "moved_px": np.hypot(*away.T),
        }
    )
    gap = np.hypot(*(positions[pairs[:, 1]] - positions[pairs[:, 0]] - shifts).T)
    compared = pd.DataFrame(
        {
            "tile_0": [names[a] for a in pairs[:, 0]],
            "tile_1": [names[b] for b in pairs[:, 1]],
            "shift_i": shifts[:, 0],
            "shift_j": shifts[:, 1],
            "score": scores,
            "significance": significances,
            "used": used,
            "residual_px": np.where(used, gap, np.nan),
        }
    )
    return Stitching(table, compared)


# ---------------------------------------------------------------------- the well as one image


class FusedWell:
    """A well as one image whose pixels are made when they are asked for.

    It has what `cytopipe.storage.formats.image.Image` wants of pixels: `shape`, `dtype`, and slices that give
    arrays. Tiles are pasted at whole pixels, so nothing is interpolated. The tiles that the last slice
    needed stay in memory, no more.
    """

    def __init__(
        self,
        tiles: Sequence[Hashable],
        load: Load,
        positions: NDArray,
        *,
        labels: bool = False,
        numbers: Mapping[Hashable, NDArray] | None = None,
    ) -> None:
        self._tiles, self._load, self._labels = list(tiles), load, labels
        # Behind each, a 0 for labels of which there is no number.
        self._numbers = numbers and {
            tile: np.append(np.asarray(own, np.int32), np.int32(0)) for tile, own in numbers.items()
        }
        corners = np.rint(np.asarray(positions, float)).astype(int)
        if corners.shape != (len(self._tiles), 2) or not self._tiles:
            raise InputError(
                f"positions of shape {corners.shape} for {len(self._tiles)} tiles", expected="one per tile"
            )
        self._corners = corners - corners.min(axis=0)
        first = load(self._tiles[0])
        if labels and numbers is None and len(self._tiles) > 1:
            raise InputError("labels of several tiles need the numbers of their cells in the well")
        self._size = np.array(first.shape[-2:])
        self._lead = tuple(first.shape[:-2])
        self.shape = (*self._lead, *(int(n) for n in self._corners.max(axis=0) + self._size))
        self.dtype = np.dtype(np.int32 if labels else first.dtype)
        self.ndim = len(self.shape)
        self._kept: dict[int, Any] = {}
        # Largest in the middle of a tile, and above 0 at its edge.
        ramps = [np.minimum(np.arange(n) + 1, n - np.arange(n)).astype(np.float32) for n in self._size]
        self._weight = ramps[0][:, None] * ramps[1][None, :]
        self._depth = np.minimum(ramps[0][:, None], ramps[1][None, :])

    def __getitem__(self, key: Any) -> NDArray:
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in key:
            at = key.index(Ellipsis)
            key = (*key[:at], *[slice(None)] * (self.ndim - len(key) + 1), *key[at + 1 :])
        key = (*key, *[slice(None)] * (self.ndim - len(key)))
        spans = [slice(k, k + 1 or None) if isinstance(k, int | np.integer) else k for k in key]
        ranges = [range(n)[s] for s, n in zip(spans, self.shape, strict=True)]
        if any(r.step != 1 for r in ranges):
            raise InputError("a fused well gives slices of step 1")
        lead, rows, columns = [slice(r.start, r.stop) for r in ranges[:-2]], ranges[-2], ranges[-1]
        pieces = [columns[at : at + _COLUMNS] for at in range(0, len(columns), _COLUMNS)] or [columns]
        blocks = [self._block(lead, rows, piece) for piece in pieces]
        block = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=-1)
        return block[tuple(0 if isinstance(k, int | np.integer) else slice(None) for k in key)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        whole = self[(slice(None),) * self.ndim]
        return whole if dtype is None else whole.astype(dtype)

    def _block(self, lead: list[slice], rows: range, cols: range) -> NDArray:
        size = (len(rows), len(cols))
        counts = tuple(s.stop - s.start for s in lead)
        low, high = np.array([rows.start, cols.start]), np.array([rows.stop, cols.stop])
        needed = [
            k
            for k, corner in enumerate(self._corners)
            if (np.minimum(corner + self._size, high) > np.maximum(corner, low)).all()
        ]
        self._kept = {k: self._kept[k] if k in self._kept else self._load(self._tiles[k]) for k in needed}
        if self._labels:
            sums, best = np.zeros((*counts, *size), self.dtype), np.zeros(size, np.float32)
        else:
            sums, best = np.zeros((*counts, *size), np.float64), np.zeros(size, np.float64)
        for k in needed:
            corner = self._corners[k]
            start, stop = np.maximum(corner, low), np.minimum(corner + self._size, high)
            own = tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))
            there = tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))
            part = np.asarray(self._kept[k][(*lead, *own)])
            if part.shape[-2:] != tuple(stop - start):
                raise InputError(f"tile {self._tiles[k]} is smaller than {tuple(self._size)} px")
            if self._labels:
                if self._numbers is not None:
                    part = self._numbers[self._tiles[k]].take(part, mode="clip")
                deeper = self._depth[own] > best[there]
                view = sums[(..., *there)]
                np.copyto(view, part.astype(self.dtype), where=deeper)
                best[there] = np.maximum(best[there], self._depth[own])
            else:
                sums[(..., *there)] += part * self._weight[own].astype(np.float64)
                best[there] += self._weight[own]
        if self._labels:
            return sums
        fused = sums / np.where(best > 0, best, 1)
        return np.rint(fused).astype(self.dtype) if self.dtype.kind in "ui" else fused.astype(self.dtype)


def fuse_well(
    tiles: Sequence[Hashable],
    load: Load,
    positions: NDArray,
    *,
    labels: bool = False,
    numbers: Mapping[Hashable, NDArray] | None = None,
) -> FusedWell:
    """The well as one image, made slice by slice.

    Parameters
    ----------
    tiles : sequence
    load : callable
        Gives the pixels of a tile, (Y, X) or (C, Y, X), in memory or lazy; all tiles have one shape.
    positions : (n, 2) array
        Corners of the tiles, px; rounded to whole pixels.
    labels : bool
        Pixels are numbers of cells: each pixel is taken from the tile whose border is farthest. Otherwise
        overlaps are blended by weights that fall linearly to the border of each tile.
    numbers : mapping of tile to array, labels only
        ``numbers[tile][label]`` is the number of the cell in the well, 0 for none, as for labels beyond it
        (`cytopipe.screen.overlaps.well_numbers`).
    """
    return FusedWell(tiles, load, positions, labels=labels, numbers=numbers)
