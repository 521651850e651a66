"""FlowSOM in plain Python, as slow as its definition: what the kernels are compared with."""

from __future__ import annotations

import numpy as np

__all__ = ["nearest", "plain_map"]


def plain_map(values, x_dim, y_dim, seed, *, rlen=10, alpha=(0.05, 0.01)):
    """Codes of the map; every line is one of the definition in `flowsom` 0.2.2."""
    n_cells, n_markers = values.shape
    places = [(x, y) for x in range(x_dim) for y in range(y_dim)]
    apart = np.array([[max(abs(a - c), abs(b - d)) for c, d in places] for a, b in places])
    codes = values[np.random.RandomState(seed).choice(n_cells, len(places), replace=False)].copy()
    draw = np.random.RandomState(seed)
    n_steps = rlen * n_cells
    threshold = np.quantile(apart, 0.67)
    step = threshold / n_steps
    change = 1.0
    for k in range(n_steps):
        at = k
        if k % n_cells == 0:
            at = n_steps if change < 1 else k
            change = 0.0
        cell = values[draw.randint(n_cells)]
        winner = nearest(cell, codes)[0]
        threshold = 0.5 if threshold < 1.0 else threshold
        rate = alpha[0] - (alpha[0] - alpha[1]) * at / n_steps
        for node in range(len(places)):
            if apart[node, winner] > threshold:
                continue
            for marker in range(n_markers):
                difference = cell[marker] - codes[node, marker]
                change += float(abs(difference))
                codes[node, marker] = np.float64(codes[node, marker]) + np.float64(difference) * rate
        threshold -= step
    return codes


def nearest(cell, codes):
    """The first node at the smallest distance, and that distance."""
    best, least = 0, np.inf
    for node, code in enumerate(codes):
        total = 0.0
        for marker in range(len(code)):
            difference = cell[marker] - code[marker]
            total += float(difference * difference)
        if np.sqrt(total) < least:
            best, least = node, np.sqrt(total)
    return best, least
