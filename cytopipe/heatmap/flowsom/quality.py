"""How good a map is, in numbers.

| figure | meaning |
|---|---|
| quantization_error | mean distance of a cell to its node |
| topographic_error | share of cells whose two nearest nodes are no neighbours on the grid |
| variance_explained_nodes | share of the variance of the cells that lies between nodes |
| variance_explained_metaclusters | the same between metaclusters |
| variance_explained_pca | the same on the first two principal components, a flat map without corners |
| silhouette | mean silhouette of the metaclusters; 1 is well apart, below 0 is mixed |
| empty_nodes | nodes without a cell |

All but the first and the last are measured on a sample of cells, drawn by the seed. Nothing here depends on
the number of threads: no BLAS is called.
"""

from __future__ import annotations

import numpy as np

from cytopipe.heatmap.flowsom.kernels import padded, second_nearest
from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["quality_figures"]

_SAMPLE = 20_000
_SILHOUETTE_SAMPLE = 1_000


def quality_figures(
    values: np.ndarray,
    codes: np.ndarray,
    node: np.ndarray,
    distance: np.ndarray,
    metacluster: np.ndarray,
    settings: FlowSOMSettings,
) -> dict[str, float]:
    """The figures of this module's table, for cells (n_cells, n_markers) with their nodes and distances.

    NaN where a figure has no meaning, such as the silhouette of one metacluster; it is then left out.
    """
    generator = np.random.default_rng(settings.seed)
    rows = np.arange(len(values))
    if len(rows) > _SAMPLE:
        rows = np.sort(generator.choice(len(values), _SAMPLE, replace=False, shuffle=False))
    cells, nodes = values[rows].astype(np.float64), node[rows]
    step = -(-len(cells) // _SILHOUETTE_SAMPLE)
    figures = {
        "quantization_error": float(distance.mean()),
        "topographic_error": _topographic_error(cells, codes, nodes, settings),
        "variance_explained_nodes": _between(cells, nodes),
        "variance_explained_metaclusters": _between(cells, metacluster[nodes]),
        "variance_explained_pca": _two_components(cells),
        "silhouette": _silhouette(cells[::step], metacluster[nodes[::step]]),
        "empty_nodes": float(len(codes) - np.count_nonzero(np.bincount(node, minlength=len(codes)))),
    }
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _topographic_error(cells, codes, nodes, settings: FlowSOMSettings) -> float:
    if len(codes) == 1:
        return float("nan")
    wide = padded(codes)
    seconds = np.empty(len(cells), np.int32)
    second_nearest(cells, wide, np.empty(wide.shape[1]), nodes, seconds)
    x, y = np.divmod(nodes, settings.y_dim)
    next_x, next_y = np.divmod(seconds, settings.y_dim)
    return float((np.maximum(np.abs(x - next_x), np.abs(y - next_y)) > 1).mean())


def _between(cells: np.ndarray, groups: np.ndarray) -> float:
    """Share of the sum of squares that lies between the groups."""
    total = ((cells - cells.mean(axis=0)) ** 2).sum()
    if total == 0:
        return float("nan")
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    means = np.add.reduceat(cells[order], starts, axis=0) / sizes[:, None]
    return float((sizes * ((means - cells.mean(axis=0)) ** 2).sum(axis=1)).sum() / total)


def _two_components(cells: np.ndarray) -> float:
    centred = cells - cells.mean(axis=0)
    n_markers = centred.shape[1]
    covariance = np.empty((n_markers, n_markers))
    for i in range(n_markers):  # sums of products, since a product of matrices is BLAS
        covariance[i] = (centred[:, i : i + 1] * centred).sum(axis=0)
    shares = np.linalg.eigvalsh(covariance)
    return float(shares[-2:].sum() / shares.sum()) if shares.sum() > 0 else float("nan")


def _silhouette(cells: np.ndarray, groups: np.ndarray) -> float:
    """Mean silhouette (Rousseeuw 1987); a cell that is alone in its group counts as 0."""
    from scipy.spatial.distance import cdist

    names, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return float("nan")
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sums = np.add.reduceat(cdist(cells, cells)[:, order], starts, axis=1)
    own = np.arange(len(groups)), groups
    inside = sums[own] / np.maximum(sizes[groups] - 1, 1)
    others = sums / sizes
    others[own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(inside, nearest)
    widths = np.divide(nearest - inside, larger, out=np.zeros(len(larger)), where=larger > 0)
    return float(np.where(sizes[groups] > 1, widths, 0).mean())
