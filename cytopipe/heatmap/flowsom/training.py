"""From cells to the codes of a map, and from codes to the node of every cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cytopipe.engine import available_cores
from cytopipe.heatmap.flowsom.kernels import TrainingState, map_cells, padded, train_online, train_round
from cytopipe.heatmap.parameters import FlowSOMSettings

__all__ = ["first_codes", "nearest_nodes", "train_map"]

Progress = Callable[[int, int], None]

_DRAWN_ROWS = 1 << 14  # cells of one block of the training: they fit into the cache of a core
_MAPPED_ROWS = 1 << 15
_BATCHES = 10


def train_map(
    values: np.ndarray, settings: FlowSOMSettings, *, progress: Progress | None = None
) -> np.ndarray:
    """Codes of a map of the cells.

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
        Node ``x * y_dim + y`` lies at (x, y); in the type of `values`, float64 of batch training.
    """
    train = _train_batches if settings.training == "batch" else _train_online
    return train(values, settings, progress)


def _train_online(values: np.ndarray, settings: FlowSOMSettings, progress: Progress | None) -> np.ndarray:
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


def _train_batches(values: np.ndarray, settings: FlowSOMSettings, progress: Progress | None) -> np.ndarray:
    """The batch estimator of the reference: maps of tenths of the cells, joined by medians after every round.

    A round on the first tenth alone prepares the codes, with a radius that falls to 0. Then half of `rlen`
    rounds follow, in which only winners move.
    """
    parts = [values[start::_BATCHES].astype(np.float32) for start in range(_BATCHES)]
    last = values[-1:].astype(np.float32)
    parts = [part if len(part) == len(parts[0]) else np.concatenate([part, last]) for part in parts]
    n_cells, n_rounds = len(parts[0]), settings.rlen // 2
    grid, n_nodes = (settings.x_dim, settings.y_dim), settings.x_dim * settings.y_dim
    radius, span = first_radius(*grid), settings.alpha_start - settings.alpha_end
    codes = padded(first_codes(values, settings).astype(np.float64))
    room = np.zeros(codes.shape[1]), np.zeros(codes.shape[1])
    generator = np.random.RandomState(settings.seed)

    drawn = generator.randint(n_cells, size=n_cells)
    # As in the reference, a rate follows the number of the cell drawn here, and the last one is where the
    # rates of the rounds begin.
    rates = settings.alpha_start - span * drawn / (n_cells * settings.rlen)
    train_round(parts[0], drawn, codes, *grid, *room, radius, radius / n_cells, rates)
    first_rate = rates[-1]
    draws = generator.randint(n_cells, size=(_BATCHES, n_rounds, n_cells))
    for number in range(n_rounds):
        results = np.empty((_BATCHES, *codes.shape))
        steps = np.arange(number * n_cells, (number + 1) * n_cells)
        rates = first_rate - span * steps / (n_cells * n_rounds)
        for batch in range(_BATCHES):
            results[batch] = codes
            train_round(parts[batch], draws[batch, number], results[batch], *grid, *room, 0.0, 0.0, rates)
            if progress:
                done = (number * _BATCHES + batch + 1) / (n_rounds * _BATCHES)
                progress(round(done * len(values) * settings.rlen), len(values) * settings.rlen)
        codes[:, :n_nodes] = np.median(results[:, :, :n_nodes], axis=0)
    return np.ascontiguousarray(codes[:, :n_nodes].T)


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
