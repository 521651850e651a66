"""From cells to the codes of a map, and from codes to the node of every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cytopipe.engine import available_cores
from cytopipe.heatmap.flowsom.kernels import TrainingState, map_cells, padded, train_online
from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["first_codes", "nearest_nodes", "train_map"]

Progress = Callable[[int, int], None]

_DRAWN_ROWS = 1 << 14  # cells of one block of the training: they fit into the cache of a core
_MAPPED_ROWS = 1 << 15


def train_map(
    values: np.ndarray, settings: FlowSOMSettings, *, progress: Progress | None = None
) -> np.ndarray:
    """Codes of a map of the cells, trained online.

    The random numbers are those of the reference: one generator of this seed draws the first codes, another
    one of the same seed the cells.

    Parameters
    ----------
    values : ndarray, (n_cells, n_markers) float32 or float64
    settings : FlowSOMSettings
    progress : callable, optional
        ``progress(done, total)`` in cells drawn.

    Returns
    -------
    ndarray, (n_nodes, n_markers)
        In the type of `values`; node ``x * y_dim + y`` lies at (x, y).
    """
    n_cells = len(values)
    codes = padded(first_codes(values, settings))
    sums = _type_of_sums(settings)
    rate, distance = np.zeros(codes.shape[1], sums), np.zeros(codes.shape[1], sums)
    total = n_cells * settings.rlen
    state = np.zeros(1, TrainingState)
    state["n_steps"], state["n_cells"], state["change"] = total, n_cells, 1.0
    state["threshold"] = first_radius(settings.x_dim, settings.y_dim)
    state["threshold_step"] = state["threshold"] / total
    state["alpha_start"], state["alpha_end"] = settings.alpha_start, settings.alpha_end
    generator = np.random.RandomState(settings.seed)
    room = np.empty((min(_DRAWN_ROWS, total), values.shape[1]), values.dtype)
    for done in range(0, total, _DRAWN_ROWS):
        drawn = generator.randint(n_cells, size=min(_DRAWN_ROWS, total - done))
        # Gathered before: the cells lie anywhere in memory, and one after the other they would be waited for.
        rows = np.take(values, drawn, axis=0, out=room[: len(drawn)], mode="clip")
        train_online(rows, codes, settings.x_dim, settings.y_dim, rate, distance, state)
        if progress:
            progress(done + len(drawn), total)
    return np.ascontiguousarray(codes[:, : settings.x_dim * settings.y_dim].T)


def first_codes(values: np.ndarray, settings: FlowSOMSettings) -> np.ndarray:
    """Cells drawn without replacement, one per node, as the reference draws them."""
    generator = np.random.RandomState(settings.seed)
    return values[generator.choice(len(values), settings.x_dim * settings.y_dim, replace=False)]


def first_radius(x_dim: int, y_dim: int) -> float:
    """The 0.67 quantile of the Chebyshev distances of all pairs of nodes, a node with itself included."""
    x, y = (one.ravel() for one in np.indices((x_dim, y_dim)))
    apart = np.maximum(np.abs(x[:, None] - x), np.abs(y[:, None] - y))
    return float(np.quantile(apart, 0.67))


def nearest_nodes(
    values: np.ndarray,
    codes: np.ndarray,
    settings: FlowSOMSettings,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The node of every cell, int32, and its distance to it, float64; equal for any number of threads.

    `codes`, (n_nodes, n_markers), are taken in the type of `values`. Of nodes equally near, the first wins.
    """
    wide = padded(codes.astype(values.dtype))
    nodes, distances = np.empty(len(values), np.int32), np.empty(len(values), np.float64)

    def map_block(start: int) -> int:
        part = slice(start, start + _MAPPED_ROWS)
        room = np.empty(wide.shape[1], _type_of_sums(settings))
        map_cells(np.ascontiguousarray(values[part]), wide, room, nodes[part], distances[part])
        return len(nodes[part])

    starts = range(0, len(values), _MAPPED_ROWS)
    done = 0
    for mapped in _in_threads(map_block, starts, threads):
        done += mapped
        if progress:
            progress(done, len(values))
    return nodes, distances


def _in_threads(function, starts: range, threads: int | None) -> Iterator[int]:
    threads = min(len(starts), threads or available_cores())
    if threads <= 1:
        yield from map(function, starts)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, starts)


def _type_of_sums(settings: FlowSOMSettings) -> type:
    return np.float32 if settings.precision == "float32" else np.float64
