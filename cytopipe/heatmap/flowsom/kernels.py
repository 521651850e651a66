"""The inner loops of the map: training cell by cell, and finding the nearest node.

Codes lie transposed, markers x nodes, so that one instruction handles the same marker of several nodes, while
the sum over the markers of a node keeps the order of the reference: distances, and therefore winners, are
equal to the last bit. Rows of nodes are padded with infinite codes to a multiple of `LANES`; a padded node
never wins. All kernels are generic in their types, which decide the arithmetic:

    reference   codes and cells of one type (float64 or float32), distances and rates float64
    float32     everything float32
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["LANES", "TrainingState", "map_cells", "padded", "second_nearest", "train_online", "train_round"]

LANES = 8
"""Nodes are padded to a multiple of this."""

#: Fields of the state that one block of the training hands to the next.
TrainingState = np.dtype(
    [("step", np.int64), ("n_steps", np.int64), ("n_cells", np.int64), ("threshold", np.float64),
     ("threshold_step", np.float64), ("alpha_start", np.float64), ("alpha_end", np.float64),
     ("change", np.float64)]
)  # fmt: skip


def padded(codes: np.ndarray) -> np.ndarray:
    """Codes (n_nodes, n_markers) transposed and padded: (n_markers, multiple of LANES)."""
    n_nodes, n_markers = codes.shape
    wide = np.full((n_markers, -(-n_nodes // LANES) * LANES), np.inf, codes.dtype)
    wide[:, :n_nodes] = codes.T
    return wide


@njit(nogil=True, error_model="numpy")
def _square_distances(row, codes, distance):
    """Squared distance of one cell to every node, each sum in the order of the markers."""
    n_markers, n_nodes = codes.shape
    for node in range(n_nodes):
        distance[node] = 0
    marker = 0
    while marker + 4 <= n_markers:  # four at a time, so that sums are loaded and stored less often
        value, value_1, value_2, value_3 = row[marker], row[marker + 1], row[marker + 2], row[marker + 3]
        code, code_1, code_2, code_3 = (
            codes[marker], codes[marker + 1], codes[marker + 2], codes[marker + 3]
        )  # fmt: skip
        for node in range(n_nodes):
            total = distance[node]
            difference = value - code[node]
            total += difference * difference
            difference = value_1 - code_1[node]
            total += difference * difference
            difference = value_2 - code_2[node]
            total += difference * difference
            difference = value_3 - code_3[node]
            total += difference * difference
            distance[node] = total
        marker += 4
    while marker < n_markers:
        value, code = row[marker], codes[marker]
        for node in range(n_nodes):
            difference = value - code[node]
            distance[node] += difference * difference
        marker += 1


@njit(nogil=True, error_model="numpy")
def _first_equal(distance, smallest):
    """The first node with this distance."""
    for node in range(len(distance)):
        if distance[node] == smallest:
            return node
    return 0


@njit(nogil=True, error_model="numpy")
def _move(row, codes, rate, start, stop):
    """Move the nodes from `start` on towards a cell, each by its rate.

    The views begin at `start`: a loop from a number that is not known to be positive is not vectorised.
    """
    rates = rate[start:stop]
    for marker in range(codes.shape[0]):
        value, code = row[marker], codes[marker, start:stop]
        for node in range(stop - start):
            before = code[node]
            code[node] = before + (value - before) * rates[node]


@njit(nogil=True, error_model="numpy")
def _smallest(distance, least):
    """The smallest of `distance`; lane by lane, as `least` has room for."""
    for lane in range(LANES):
        least[lane] = distance[lane]
    for start in range(LANES, len(distance), LANES):
        for lane in range(LANES):
            value = distance[start + lane]
            least[lane] = value if value < least[lane] else least[lane]
    smallest = least[0]
    for lane in range(1, LANES):
        smallest = least[lane] if least[lane] < smallest else smallest
    return smallest


@njit(nogil=True, error_model="numpy")
def _first_at(distance, smallest):
    """The first node whose distance has the root of `smallest`.

    The reference compares roots, and two different squares may have one root: the first of them wins there.
    """
    root = math.sqrt(smallest)
    reach = smallest * 1.000001
    for node in range(len(distance)):
        if distance[node] <= reach and math.sqrt(distance[node]) == root:
            return node
    return 0


@njit(nogil=True, error_model="numpy")
def _neighbours(winner, x_dim, y_dim, threshold):
    """First and last x and y of the nodes within the radius; a radius below 1 is the winner alone."""
    reach = np.int64(threshold) if threshold >= 1.0 else 0
    x, y = winner // y_dim, winner % y_dim
    return max(x - reach, 0), min(x + reach, x_dim - 1), max(y - reach, 0), min(y + reach, y_dim - 1)


@njit(nogil=True, error_model="numpy")
def _pull(row, codes, winner, x_dim, y_dim, rate, alpha, threshold):
    """Move the winner and its neighbours towards a cell; gives the threshold that was used."""
    if threshold < 1.0:
        rate[winner] = alpha  # in the type of the rates
        for marker in range(codes.shape[0]):
            codes[marker, winner] += (row[marker] - codes[marker, winner]) * rate[winner]
        return 0.5
    first_x, last_x, first_y, last_y = _neighbours(winner, x_dim, y_dim, threshold)
    start, stop = first_x * y_dim, (last_x + 1) * y_dim
    for node in range(start, stop):
        rate[node] = 0
    for near_x in range(first_x, last_x + 1):
        for near_y in range(first_y, last_y + 1):
            rate[near_x * y_dim + near_y] = alpha
    _move(row, codes, rate, start, stop)
    return threshold


@njit(nogil=True, error_model="numpy")
def _add_change(row, codes, winner, x_dim, y_dim, threshold, change):
    """Add by how much the neighbours are going to be away from a cell, in the order of the reference."""
    first_x, last_x, first_y, last_y = _neighbours(winner, x_dim, y_dim, threshold)
    for near_x in range(first_x, last_x + 1):
        for near_y in range(first_y, last_y + 1):
            for marker in range(codes.shape[0]):
                change += abs(row[marker] - codes[marker, near_x * y_dim + near_y])
    return change


@njit(nogil=True, cache=True, error_model="numpy")
def train_online(rows, codes, x_dim, y_dim, rate, distance, state):
    """Go on with the training of a map over the next cells.

    Parameters
    ----------
    rows : ndarray, (n_rows, n_markers)
        Cells in the order in which they are drawn.
    codes : ndarray, (n_markers, n_padded)
        Changed in place.
    x_dim, y_dim : int
        Node ``x * y_dim + y`` lies at (x, y) of the grid.
    rate, distance : ndarray, (n_padded,)
        Room; their types are those of the learning rate and of sums.
    state : ndarray, (1,) TrainingState
        Changed in place.
    """
    least = np.empty(LANES, distance.dtype)
    now = state[0]
    step, n_steps, n_cells = now.step, now.n_steps, now.n_cells
    threshold, threshold_step, change = now.threshold, now.threshold_step, now.change
    alpha_start, alpha_span = now.alpha_start, now.alpha_start - now.alpha_end
    for i in range(len(rows)):
        row = rows[i]
        at = step
        if step % n_cells == 0:
            # The reference means to end here where a round changed nothing; it only lowers one rate.
            if change < 1:
                at = n_steps
            change = 0.0
        _square_distances(row, codes, distance)
        winner = _first_at(distance, _smallest(distance, least))
        alpha = alpha_start - alpha_span * at / n_steps
        if change < 1:
            change = _add_change(row, codes, winner, x_dim, y_dim, threshold, change)
        threshold = _pull(row, codes, winner, x_dim, y_dim, rate, alpha, threshold)
        threshold -= threshold_step
        step += 1
    now.step, now.threshold, now.change = step, threshold, change


@njit(nogil=True, cache=True, error_model="numpy")
def train_round(rows, drawn, codes, x_dim, y_dim, rate, distance, threshold, threshold_step, rates):
    """Train a map over cells that are drawn, with a rate for each: a round of the batch estimator.

    Parameters
    ----------
    rows : ndarray, (n_rows, n_markers)
    drawn : ndarray, (n_drawn,) int64
        Rows in the order in which they are used.
    codes : ndarray, (n_markers, n_padded) float64
        Changed in place.
    rate, distance : ndarray, (n_padded,) float64
        Room.
    threshold, threshold_step : float
        The radius at the beginning, and by how much it falls with every cell.
    rates : ndarray, (n_drawn,) float64
    """
    least = np.empty(LANES, distance.dtype)
    row = np.empty(codes.shape[0], codes.dtype)
    for i in range(len(drawn)):
        row[:] = rows[drawn[i]]
        _square_distances(row, codes, distance)
        winner = _first_equal(distance, _smallest(distance, least))
        threshold = _pull(row, codes, winner, x_dim, y_dim, rate, rates[i], threshold) - threshold_step


@njit(nogil=True, cache=True, error_model="numpy")
def map_cells(rows, codes, distance, nodes, distances):
    """The nearest node of every cell, the first of several, and the distance to it.

    Parameters
    ----------
    rows : ndarray, (n_rows, n_markers)
    codes : ndarray, (n_markers, n_padded)
    distance : ndarray, (n_padded,)
        Room; its type is that of sums.
    nodes : ndarray, (n_rows,) int32
        Filled.
    distances : ndarray, (n_rows,) float64
        Filled.
    """
    least = np.empty(LANES, distance.dtype)
    for i in range(len(rows)):
        _square_distances(rows[i], codes, distance)
        winner = _first_at(distance, _smallest(distance, least))
        nodes[i] = winner
        distances[i] = math.sqrt(distance[winner])


@njit(nogil=True, cache=True, error_model="numpy")
def second_nearest(rows, codes, distance, nodes, seconds):
    """The nearest node of every cell beside the one in `nodes`; fills `seconds`, (n_rows,) int32."""
    least = np.empty(LANES, distance.dtype)
    for i in range(len(rows)):
        _square_distances(rows[i], codes, distance)
        distance[nodes[i]] = np.inf
        seconds[i] = _first_at(distance, _smallest(distance, least))
