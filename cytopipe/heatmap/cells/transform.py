"""Transforms of intensities: arcsinh, logicle, log; then each marker on a common scale, if wanted."""

from __future__ import annotations

import numpy as np

from cytopipe.heatmap.parameters import TransformSettings

__all__ = ["transform"]

_QUANTILE = 0.999


def transform(values: np.ndarray, settings: TransformSettings) -> np.ndarray:
    """Transform a matrix of intensities, one marker after the other.

    Parameters
    ----------
    values : ndarray, (n_cells, n_markers) float32 or float64
    settings : TransformSettings

    Returns
    -------
    ndarray
        A new one of the same shape and type; computed in float64. A marker without spread becomes 0 under
        ``zscore``; one whose quantile is 0 or less is left as it is under ``quantile``.
    """
    result = np.empty_like(values)
    for marker in range(values.shape[1]):
        result[:, marker] = _scaled(_one(values[:, marker].astype(np.float64), settings), settings)
    return result


def _one(column: np.ndarray, settings: TransformSettings) -> np.ndarray:
    if settings.method == "arcsinh":
        return np.arcsinh(column / settings.cofactor)
    if settings.method == "log":
        return np.log10(1 + np.maximum(column, 0))
    if settings.method == "logicle":
        import flowutils.transforms

        t, w, m, a = settings.logicle_t, settings.logicle_w, settings.logicle_m, settings.logicle_a
        return flowutils.transforms.logicle(column[:, None], None, t=t, m=m, w=w, a=a)[:, 0]
    return column


def _scaled(column: np.ndarray, settings: TransformSettings) -> np.ndarray:
    if settings.scale == "zscore":
        spread = column.std()
        return (column - column.mean()) / spread if spread > 0 else np.zeros_like(column)
    if settings.scale == "quantile":
        top = np.quantile(column, _QUANTILE)
        return column / top if top > 0 else column
    return column
