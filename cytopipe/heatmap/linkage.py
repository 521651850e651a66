"""The tree over clusters, where it is cut, and the order of its leaves.

Linkage is SciPy's. Metaclusters are numbered as ``cut_tree`` numbers them: in the order in which clusters
first name them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from cytopipe.errors import InputError, ParameterError

__all__ = ["METHODS", "METRICS", "cut", "default_cut", "leaves", "link", "merged_into"]

Method = Literal["single", "complete", "average", "ward"]
Metric = Literal["euclidean", "cityblock", "cosine", "correlation"]
METHODS: tuple[str, ...] = ("single", "complete", "average", "ward")
METRICS: tuple[str, ...] = ("euclidean", "cityblock", "cosine", "correlation")


def link(matrix: np.ndarray, method: Method = "average", metric: Metric = "euclidean") -> np.ndarray:
    """The tree over the rows of a matrix.

    Parameters
    ----------
    matrix : ndarray of float
        (n, n_features), finite.
    method : {'single', 'complete', 'average', 'ward'}
        Ward's needs Euclidean distances.
    metric : {'euclidean', 'cityblock', 'cosine', 'correlation'}
        Cosine and correlation say nothing of a row that does not vary: such a row has the largest distance,
        1, to every other, and none to another of its kind.

    Returns
    -------
    ndarray of float64
        (n - 1, 4) as `scipy.cluster.hierarchy.linkage` gives it; without a row for a single cluster.

    Raises
    ------
    ParameterError
        Unknown method or metric, or Ward's with another metric than Euclidean.
    InputError
        The matrix is empty or holds values that are not finite.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    if method not in METHODS:
        raise ParameterError("no such linkage", expected=", ".join(METHODS), found=str(method))
    if metric not in METRICS:
        raise ParameterError("no such metric", expected=", ".join(METRICS), found=str(metric))
    if method == "ward" and metric != "euclidean":
        raise ParameterError(
            "Ward's linkage needs Euclidean distances", found=metric, next="Choose average or complete."
        )
    rows = np.asarray(matrix)
    if rows.ndim != 2 or not rows.size:
        raise InputError("a tree needs a matrix with rows and columns", found=f"shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise InputError("a tree needs values that are finite")
    if len(rows) == 1:
        return np.empty((0, 4))
    if metric in ("euclidean", "cityblock"):
        return linkage(rows, method, metric=metric)
    distances = pdist(rows.astype(np.float64), metric)
    if not np.isfinite(distances).all():
        distances = _with_flat_rows(rows.astype(np.float64), distances, metric)
    return linkage(np.maximum(distances, 0), method)


def _with_flat_rows(rows: np.ndarray, distances: np.ndarray, metric: str) -> np.ndarray:
    centred = rows - rows.mean(axis=1, keepdims=True) if metric == "correlation" else rows
    flat = ~centred.any(axis=1)
    first, second = np.triu_indices(len(rows), 1)
    alike = flat[first] & flat[second]
    return np.where(np.isfinite(distances), distances, np.where(alike, 0.0, 1.0))


def default_cut(tree: np.ndarray) -> float:
    """Half way between the lowest and the highest merge of a tree; 0 for a single cluster."""
    heights = np.asarray(tree)[:, 2]
    if not len(heights):
        return 0.0
    return float(heights.min() + (heights.max() - heights.min()) * 0.5)


def cut(tree: np.ndarray, height: float | None = None) -> np.ndarray:
    """Metacluster of every cluster, when the tree is cut at a height (by default `default_cut`).

    Returns
    -------
    ndarray of int32
        (n,) from 0.
    """
    from scipy.cluster.hierarchy import cut_tree

    if not len(tree):
        return np.zeros(1, np.int32)
    return cut_tree(tree, height=default_cut(tree) if height is None else height).ravel().astype(np.int32)


def merged_into(tree: np.ndarray, n_metaclusters: int) -> np.ndarray:
    """Metacluster of every cluster, when the tree is cut into a number of them; (n,) int32."""
    from scipy.cluster.hierarchy import cut_tree

    n = len(tree) + 1
    if not 1 <= n_metaclusters <= n:
        raise ParameterError(
            "the tree cannot be cut into so many metaclusters",
            expected=f"1 to {n}",
            found=str(n_metaclusters),
        )
    if n == 1:
        return np.zeros(1, np.int32)
    return cut_tree(tree, n_clusters=n_metaclusters).ravel().astype(np.int32)


def leaves(tree: np.ndarray) -> np.ndarray:
    """The order of the leaves as a dendrogram draws them; (n,) int32."""
    from scipy.cluster.hierarchy import leaves_list

    return leaves_list(tree).astype(np.int32) if len(tree) else np.zeros(1, np.int32)
