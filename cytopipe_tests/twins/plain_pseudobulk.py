"""Pseudobulk written out plainly: dense, one cell after another, float64; what the fast code must equal.

Nothing here is shared with the package but the definition: sums per group, log1p(CPM), mean and standard
deviation of single cells, Poisson(1) weights from SplitMix64 and BLAKE2b in Python's own integers.
"""

from __future__ import annotations

import functools
import hashlib
import math
from fractions import Fraction

import numpy as np

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def log_cpm(counts: np.ndarray) -> np.ndarray:
    """log1p of counts per million, row by row."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return np.log1p(counts / totals * 1e6)


def atlas_statistics(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (ddof 1, 0 given as 1) of log1p(CPM) of all cells."""
    y = log_cpm(X.astype(np.float64))
    std = y.std(axis=0, ddof=1)
    constant = std < 1e-9  # equal values leave rounding, where mathematics leaves 0
    return y.mean(axis=0), np.where(constant, 1.0, std)


def group_sums(X: np.ndarray, labels: list[str | None]) -> dict[str, np.ndarray]:
    """Counts per label, cell by cell; None is no label."""
    sums: dict[str, np.ndarray] = {}
    for cell, label in enumerate(labels):
        if label is not None:
            sums[label] = sums.get(label, 0) + X[cell].astype(np.int64)
    return dict(sorted(sums.items()))


def weight(name: str, resample: int, seed: int, attempt: int = 0) -> int:
    """Poisson(1) weight of one sample or cell in one resample."""
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    stream = _mix(key ^ _mix(seed + _GOLDEN))
    z = _mix(_mix(stream + _GOLDEN * (resample + 1)) + _GOLDEN * attempt)
    probability, k = Fraction(z, 1 << 64), 0
    cumulative = _inverse_e()
    while probability >= cumulative and k < 19:
        k += 1
        cumulative += _inverse_e() / math.factorial(k)
    return k


def resampled(X: np.ndarray, units: list[str | None], chosen: np.ndarray, n_bootstrap: int, seed: int):
    """log1p(CPM) of the weighted sums of the chosen cells, (n_bootstrap, n_genes)."""
    rows = []
    members = [cell for cell in np.flatnonzero(chosen) if units[cell] is not None]
    for b in range(n_bootstrap):
        attempt = 0
        while True:
            weights = {units[cell]: weight(units[cell], b, seed, attempt) for cell in members}
            if any(weights.values()):
                break
            attempt += 1
        total = sum(weights[units[cell]] * X[cell].astype(np.int64) for cell in members)
        rows.append(log_cpm(total[None].astype(np.float64))[0])
    return np.array(rows)


def delta_se(X: np.ndarray, clusters: list[str | None], chosen: np.ndarray) -> np.ndarray:
    """Delta-method standard error of log1p(CPM) of the chosen cells, from the formula's three sums."""
    members = [cell for cell in np.flatnonzero(chosen) if clusters[cell] is not None]
    sums = group_sums(X[members], [clusters[cell] for cell in members])
    x = np.array(list(sums.values()), float)
    t = x.sum(axis=1)
    n, p = t.sum(), x.sum(axis=0) / t.sum()
    variance = ((x**2).sum(0) - 2 * p * (x * t[:, None]).sum(0) + p**2 * (t**2).sum()) / n**2
    return 1e6 * np.sqrt(np.maximum(variance, 0)) / (1 + 1e6 * p)


def _mix(z: int) -> int:
    z &= _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


@functools.cache
def _inverse_e() -> Fraction:
    return sum(Fraction((-1) ** k, math.factorial(k)) for k in range(30))
