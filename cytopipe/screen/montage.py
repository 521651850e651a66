"""Pictures of single cells: which cells, their crops, a grid; and a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.screen.parameters import MontageSettings

__all__ = ["choose_cells", "create_montage", "image_log_scale", "montage_picture", "subimage"]

_BETWEEN_PX = 18  # channels of a picture, with their names


def subimage(stack: np.ndarray, bbox: Sequence[int], pad: int = 0) -> np.ndarray:
    """A crop; what lies outside of the image is 0.

    Parameters
    ----------
    stack : (..., Y, X)
    bbox : (y0, x0, y1, x1)
        In px, the ends excluded; may reach beyond the image.
    pad : int
        Added on every side, in px.

    Returns
    -------
    (..., y1 - y0 + 2 pad, x1 - x0 + 2 pad) of the same dtype
    """
    top, left, foot, right = (int(one) + side * pad for one, side in zip(bbox, (-1, -1, 1, 1), strict=True))
    if foot <= top or right <= left:
        raise ParameterError("a crop without pixels", expected="y0 < y1 and x0 < x1", found=str(tuple(bbox)))
    height, width = stack.shape[-2:]
    crop = np.zeros((*stack.shape[:-2], foot - top, right - left), stack.dtype)
    rows, columns = (
        slice(max(top, 0), max(min(foot, height), 0)),
        slice(max(left, 0), max(min(right, width), 0)),
    )
    inside = stack[..., rows, columns]
    y, x = rows.start - top, columns.start - left
    crop[..., y : y + inside.shape[-2], x : x + inside.shape[-1]] = inside
    return crop


def create_montage(arr: Sequence[np.ndarray], shape: tuple[int, int] | None = None) -> np.ndarray:
    """Crops in a grid, row by row.

    Parameters
    ----------
    arr : sequence of (..., Y, X)
        Leading axes are the same for all. Smaller crops are filled up with 0.
    shape : (rows, columns), optional
        By default as square as possible, without an empty last row. One of them may be -1: as many as are
        needed. Crops beyond the grid are left out. In a single row or column, crops keep their own length.

    Returns
    -------
    (..., rows Y, columns X) of the dtype of the first crop
    """
    crops = list(arr)
    if not crops:
        raise InputError("a montage without pictures", expected="at least one crop")
    if unlike := [one.shape for one in crops if one.shape[:-2] != crops[0].shape[:-2] or one.ndim < 2]:
        raise InputError(
            "pictures of a montage differ in their channels",
            expected=f"{crops[0].shape[:-2]} before Y and X, as the first",
            found=str(unlike[0]),
        )
    rows, columns = _grid(len(crops), shape)
    if 1 in (rows, columns) and len(crops) > 1:
        crops, axis = crops[: rows * columns], -1 if rows == 1 else -2
        across = max(one.shape[-3 - axis] for one in crops)  # Y of a row, X of a column
        return np.concatenate([_filled(one, -3 - axis, across) for one in crops], axis=axis)
    height, width = (max(one.shape[axis] for one in crops) for axis in (-2, -1))
    montage = np.zeros((*crops[0].shape[:-2], rows * height, columns * width), crops[0].dtype)
    for at, crop in enumerate(crops[: rows * columns]):
        top, left = at // columns * height, at % columns * width
        montage[..., top : top + crop.shape[-2], left : left + crop.shape[-1]] = crop
    return montage


def image_log_scale(
    data: np.ndarray, bottom_percentile: float = 10, floor_threshold: float = 50, ignore_zero: bool = True
) -> np.ndarray:
    """Dim and bright structures on one scale; noise near the background becomes 0.

    Parameters
    ----------
    data : array of numbers
    bottom_percentile : float
        The background: this percentile of the pixels (of those above 0, if `ignore_zero`).
    floor_threshold : float
        What is less than about this above the background becomes 0.
    ignore_zero : bool

    Returns
    -------
    same shape, float64
        log10(data - background + 1) - log10(floor_threshold), at least 0.
    """
    values = np.asarray(data, np.float64)
    known = values[values > 0] if ignore_zero else values
    if not known.size:
        return np.zeros(values.shape)
    bottom = np.percentile(known, bottom_percentile)
    floor = np.log10(floor_threshold)
    return np.maximum(np.log10(np.maximum(values, bottom) - bottom + 1), floor) - floor


def choose_cells(cells: pd.DataFrame, column: str, settings: MontageSettings) -> pd.DataFrame:
    """Some cells of the perturbations that have most of them.

    Parameters
    ----------
    cells : DataFrame
        A row per cell.
    column : str
        Names the perturbation; cells without one are left out.
    settings : MontageSettings

    Returns
    -------
    DataFrame
        Rows of `cells`: perturbations with most cells first, at most `n_cells` of each, drawn by the seed
        whatever else the table holds, in the order of the table.
    """
    import zlib

    counts = cells[column].value_counts().sort_index(key=lambda names: names.astype(str))
    counts = counts.sort_values(ascending=False, kind="stable")
    chosen = []
    for name in counts.index[: settings.most_perturbations]:
        rows = np.flatnonzero((cells[column] == name).to_numpy())
        rng = np.random.default_rng([settings.seed, zlib.crc32(str(name).encode())])
        chosen.append(np.sort(rng.permutation(rows)[: settings.n_cells]))
    return cells.iloc[np.concatenate(chosen)] if chosen else cells.iloc[:0]


def montage_picture(montage: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """The channels of a montage in grey, two in a row with their names, each from its minimum to its maximum.

    Parameters
    ----------
    montage : (C, Y, X) numbers
    channels : sequence of str

    Returns
    -------
    (Y', X', 3) uint8
    """
    import cv2

    panels = []
    for plane, name in zip(montage, channels, strict=True):
        low, high = float(plane.min()), float(plane.max())
        grey = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-12) * 255, 0, 255)
        panel = np.full((plane.shape[0] + _BETWEEN_PX, plane.shape[1]), 30, np.uint8)
        panel[_BETWEEN_PX:] = grey.astype(np.uint8)
        text = name.encode("ascii", "replace").decode()
        cv2.putText(panel, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 255, 1, cv2.LINE_AA)
        panels.append(np.pad(panel, 1, constant_values=30))
    columns = min(2, len(panels))
    return np.repeat(create_montage(panels, (-1, columns))[..., None], 3, axis=2)


def _grid(n: int, shape: tuple[int, int] | None) -> tuple[int, int]:
    if shape is None:
        columns = math.isqrt(n - 1) + 1
        return -(-n // columns), columns
    rows, columns = map(int, shape)
    if max(rows, columns) < 1 or min(rows, columns) < -1 or 0 in (rows, columns):
        raise ParameterError(
            "shape of a montage", expected="rows and columns from 1, one of them may be -1", found=str(shape)
        )
    if rows == -1:
        rows = -(-n // columns)
    if columns == -1:
        columns = -(-n // rows)
    return rows, columns


def _filled(crop: np.ndarray, axis: int, size: int) -> np.ndarray:
    before_and_after = [(0, 0)] * crop.ndim
    before_and_after[axis] = (0, size - crop.shape[axis])
    return np.pad(crop, before_and_after)
