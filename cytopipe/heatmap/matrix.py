"""Medians of clusters and their z-scores: the numbers of a heat map.

Values and dtypes are those of pandas (``groupby(cluster).median()``, ``(x - mean) / std`` with ddof 1), to
the last bit for float32 and float64, without its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ClusterMedians", "cluster_medians", "rows_of_clusters", "z_scores"]


@dataclass(frozen=True, eq=False)
class ClusterMedians:
    """Medians of the clusters that have cells.

    Parameters
    ----------
    clusters : ndarray
        (n_clusters,) labels as they were given, ascending.
    median : ndarray of float32 or float64
        (n_clusters, n_markers).
    n_cells : ndarray of int64
        (n_clusters,)
    row : ndarray of int32
        (n_cells,) row of each cell's cluster, -1 for cells without one.
    """

    clusters: np.ndarray
    median: np.ndarray
    n_cells: np.ndarray
    row: np.ndarray


def rows_of_clusters(labels: Sequence | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clusters that cells name, ascending, and the row of each cell's cluster.

    Parameters
    ----------
    labels : array of int or str
        (n_cells,) cluster of each cell. A negative number, NaN or None is a cell without one.

    Returns
    -------
    clusters : ndarray
        (n_clusters,)
    row : ndarray of int32
        (n_cells,); -1 for cells without a cluster.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise InputError("clusters of cells are one label for each", found=f"an array of shape {given.shape}")
    if given.dtype.kind in "iu":
        inside = given >= 0
    elif given.dtype.kind == "f":
        inside = given >= 0  # false for NaN
        if (given[inside] % 1).any():
            raise InputError("clusters of cells are whole numbers or text", found="numbers with decimals")
        given = np.where(inside, given, -1).astype(np.int64)
    else:
        inside = np.array([one is not None and one == one for one in given.tolist()], bool)
        given = np.array([str(one) for one in given.tolist()], object)
    clusters, within = np.unique(given[inside], return_inverse=True)
    row = np.full(len(given), -1, np.int32)
    row[inside] = within
    return clusters, row


def cluster_medians(values: np.ndarray | pd.DataFrame, labels: Sequence | np.ndarray) -> ClusterMedians:
    """Median of every marker in every cluster.

    Parameters
    ----------
    values : ndarray or DataFrame of float
        (n_cells, n_markers). NaN is a value that is missing: the median is that of the others, and NaN where
        a cluster has no value at all.
    labels : array
        (n_cells,) see `rows_of_clusters`.

    Raises
    ------
    InputError
        Shapes do not fit together, values are not numbers, or no cell has a cluster.
    """
    columns, dtype = _columns(values)
    clusters, row = rows_of_clusters(labels)
    n_cells = len(columns[0]) if columns else len(row)
    if len(row) != n_cells:
        raise InputError(
            "cells and their clusters do not fit together",
            expected=f"{n_cells:,} labels",
            found=f"{len(row):,}",
        )
    if not len(clusters):
        raise InputError("no cell has a cluster", next="Give at least one label that is not missing.")
    counts = np.bincount(row[row >= 0], minlength=len(clusters))
    order = np.argsort(row, kind="stable")[len(row) - int(counts.sum()) :]
    median = np.empty((len(clusters), len(columns)), dtype)
    for place, column in enumerate(columns):
        median[:, place] = _medians(np.asarray(column)[order], counts)
    return ClusterMedians(clusters, median, counts.astype(np.int64), row)


def _columns(values: np.ndarray | pd.DataFrame) -> tuple[list[np.ndarray], np.dtype]:
    if hasattr(values, "columns"):
        columns = [values.iloc[:, place].to_numpy() for place in range(values.shape[1])]
    else:
        values = np.asarray(values)
        if values.ndim != 2:
            raise InputError(
                "values are a table of cells by markers", found=f"an array of shape {values.shape}"
            )
        columns = [values[:, place] for place in range(values.shape[1])]
    kinds = {column.dtype for column in columns}
    if any(kind.kind not in "fiub" for kind in kinds) or not columns:
        raise InputError("values of markers are numbers", found=", ".join(sorted(map(str, kinds))) or "none")
    single = kinds == {np.dtype(np.float32)}
    return columns, np.dtype(np.float32 if single else np.float64)


def _medians(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Median of each run of `values`; the runs follow one another."""
    found = np.empty(len(counts), np.float32 if values.dtype == np.float32 else np.float64)
    start = 0
    for place, count in enumerate(counts):
        piece = values[start : start + count]
        start += count
        if piece.dtype.kind == "f":
            known = ~np.isnan(piece)
            if not known.all():
                piece = piece[known]
        found[place] = _median(piece, found.dtype) if len(piece) else np.nan
    return found


def _median(values: np.ndarray, dtype: np.dtype) -> float:
    half = len(values) // 2
    if len(values) % 2:
        return np.partition(values, half)[half]
    low, high = np.partition(values, (half - 1, half))[half - 1 : half + 1].astype(np.float64)
    return dtype.type((low + high) / 2)


def z_scores(
    median: np.ndarray | pd.DataFrame, across: Literal["clusters", "markers"] = "clusters"
) -> np.ndarray:
    """Medians less their mean, in standard deviations (ddof 1); 0 where nothing varies.

    Parameters
    ----------
    median : ndarray or DataFrame of float
        (n_clusters, n_markers). Of a DataFrame with columns of both types, each column's mean and standard
        deviation are taken in its own, and the result is float64.
    across : {'clusters', 'markers'}
        Over what mean and standard deviation are taken: for each marker over all clusters, or for each
        cluster over all markers.

    Returns
    -------
    ndarray of float32 or float64
        (n_clusters, n_markers), finite.
    """
    columns, dtype = _columns(median)
    table = np.ascontiguousarray(np.column_stack(columns), dtype)
    if across == "markers":
        mean, deviation = _moments_of_rows(table)
    else:
        own = [
            _moments(np.ascontiguousarray(column, np.float32 if column.dtype == np.float32 else np.float64))
            for column in columns
        ]
        mean = np.array([one[0] for one in own], dtype)
        deviation = np.array([one[1] for one in own], dtype)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        scores = (table - mean) / np.where(deviation == 0, np.nan, deviation)
    return np.where(np.isfinite(scores), scores, 0).astype(dtype)


def _moments(column: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of a column, added one value after the other."""
    return _of_known(
        column[~np.isnan(column)], lambda values, dtype: np.add.accumulate(values, dtype=dtype)[-1]
    )


def _moments_of_rows(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_clusters, 1) means and standard deviations over the markers, added as NumPy adds a row."""
    found = [
        _of_known(row[~np.isnan(row)], lambda values, dtype: np.add.reduce(values, dtype=dtype))
        for row in table
    ]
    return tuple(np.array([one[k] for one in found], table.dtype)[:, None] for k in range(2))


def _of_known(values: np.ndarray, total) -> tuple[float, float]:
    kind = values.dtype.type
    if not len(values) or (values == values[0]).all():  # rounding must not make a constant vary
        return (values[0] if len(values) else kind(np.nan)), kind(0)
    count = kind(len(values))
    mean = total(values, values.dtype) / count
    from_mean = (total(values, np.float64) / count - values.astype(np.float64)) ** 2
    return mean, np.sqrt(kind(total(from_mean, np.float64) / (count - 1)))
