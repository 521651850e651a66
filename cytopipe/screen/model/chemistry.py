"""What the chemistry and the optics of a well do to a base, learned from reads: the read model.

The signal of a strand in cycle t is that of the base it has reached: most strands are at base t, some lag
(phasing), some run ahead (prephasing). A base lights four channels (crosstalk), by an amount that differs
between cycles (gains, decay): one matrix of 4 x 4 per cycle says both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from cytopipe.screen.model import kernels

__all__ = ["ReadModel", "fit_chemistry", "lagged_signal", "strand_positions"]


@dataclass(frozen=True)
class ReadModel:
    """Everything that is learned about the reads of a well; `as_json` and `from_json` keep it.

    Attributes
    ----------
    bases : str
        Order of the base channels, such as ``GTAC``; axes of length 4 follow it.
    spot_sigma_px, background_sigma_px : float
        Of the difference of Gaussians in which everything below is measured.
    spot_width_px : float
        Sigma of the Gaussian that a spot is, before it is filtered.
    drift : array (T, 4)
        Brightness of the background by cycle and channel; planes are divided by it before anything else.
    noise : array (4, 2), static : array (4, 3)
        Variance of noise and of unchanging structure by brightness (`detection.noise_of`).
    mix : array (T, 4, 4)
        Signal of a spot of amplitude 1 in channel `[t, channel, base]`; its diagonal is 1 on average in the
        first cycle.
    phasing, prephasing : float
        Share of strands that stay behind or run ahead in one cycle.
    jitter : float
        Relative standard deviation of a spot's signal between cycles.
    amplitude : array (2,)
        Mean and standard deviation of the natural logarithm of amplitudes (counts).
    weight : array (T, 4)
        Of channels and cycles in the statistic.
    threshold : float
        Of the statistic.
    constant : bool
        Whether spots are sought that show the same base in all cycles: the library has such a barcode.
    false_share : float
        Peaks above the threshold that chance makes, per peak found.
    shares : dict
        ``own, noise, sequence, entry``: what a read in a cell with a barcode is: the cell's barcode, noise,
        any sequence or any entry of the library.
    spill : array (px,)
        Reads at 1, 2, ... px from another cell that are a spot of that cell, per spot that it shows.
    own_reads : array (2,)
        Reads per barcode of a cell: mean, and shape of the gamma distribution between cells.
    prior_none, prior_two : float
        Share of cells with no and with two barcodes.
    counts : dict
        Barcode -> cells in the sample that carry it.
    n_reads, n_cells : int
        In the sample.
    """

    bases: str
    spot_sigma_px: float
    background_sigma_px: float
    spot_width_px: float
    drift: np.ndarray
    noise: np.ndarray
    static: np.ndarray
    mix: np.ndarray
    phasing: float
    prephasing: float
    jitter: float
    amplitude: np.ndarray
    weight: np.ndarray
    threshold: float
    constant: bool
    false_share: float
    shares: dict[str, float]
    spill: np.ndarray
    own_reads: np.ndarray
    prior_none: float
    prior_two: float
    counts: dict[str, int] = field(repr=False)
    n_reads: int
    n_cells: int

    def lagged(self) -> np.ndarray:
        """Signal by cycle, lag, channel and base."""
        return lagged_signal(self.mix, self.phasing, self.prephasing)

    def as_json(self) -> dict[str, Any]:
        """All attributes as JSON values; a threshold that no spot reaches, infinity, is null."""
        told = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in asdict(self).items()
        }
        return told | {"threshold": self.threshold if np.isfinite(self.threshold) else None}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> ReadModel:
        """The model that `as_json` wrote."""
        arrays = ("drift", "noise", "static", "mix", "amplitude", "weight", "spill", "own_reads")
        told = {k: np.array(v, float) if k in arrays else v for k, v in document.items()}
        return cls(**told | {"threshold": np.inf if told["threshold"] is None else told["threshold"]})

    def replace(self, **changes: object) -> ReadModel:
        """A copy with other values."""
        return replace(self, **changes)


def strand_positions(cycles: int, phasing: float, prephasing: float) -> np.ndarray:
    """Share of strands of cycle t (row) that show base k (column), both from 0."""
    state = np.zeros(cycles + 2)
    state[0], state[1] = 1 - phasing - prephasing, prephasing
    rows = []
    for t in range(cycles):
        if t:
            moved = phasing * state
            moved[1:] += (1 - phasing - prephasing) * state[:-1]
            moved[2:] += prephasing * state[:-2]
            state = moved
        rows.append(state[:cycles])
    return np.array(rows)


def lagged_signal(mix: np.ndarray, phasing: float, prephasing: float) -> np.ndarray:
    """Signal of amplitude 1 in cycle t and channel c by base b at place t + lag: (T, lags, 4, 4)."""
    cycles = len(mix)
    position = strand_positions(cycles, phasing, prephasing)
    lags = range(-kernels.LAGS_BACK, kernels.LAGS_AHEAD + 1)
    share = np.array(
        [[position[t, t + lag] if 0 <= t + lag < cycles else 0.0 for lag in lags] for t in range(cycles)]
    )
    return np.ascontiguousarray(share[:, :, None, None] * mix[:, None])


def fit_chemistry(
    x: np.ndarray,
    variance: np.ndarray,
    static: np.ndarray,
    codes: np.ndarray,
    mix: np.ndarray,
    phasing: float,
    prephasing: float,
    jitter: float,
) -> tuple[np.ndarray, float, float, np.ndarray, np.ndarray]:
    """Crosstalk with gains per cycle, phasing and prephasing from reads of known sequence.

    Parameters
    ----------
    x, variance : array (n, T, 4)
    static : array (n, 4)
    codes : array (n, T)
        Bases, in the order of the channels.
    mix, phasing, prephasing, jitter
        Where to start; a matrix with few reads stays near the mean of all cycles.

    Returns
    -------
    mix, phasing, prephasing, amplitude (n,), residual (n, T, 4)
    """
    from scipy.optimize import minimize

    cycles = x.shape[1]
    onehot = np.eye(4)[codes]

    def design(p: float, q: float, some: slice = slice(None)) -> np.ndarray:
        return np.einsum("tk,nkb->ntb", strand_positions(cycles, p, q), onehot[some])

    def explained(
        mixed: np.ndarray, seen: np.ndarray, weight: np.ndarray, some: slice = slice(None)
    ) -> tuple[np.ndarray, ...]:
        s = np.einsum("tcb,ntb->ntc", mixed, seen)
        shrink = 1 / (1 / np.maximum(static[some], 1e-9) + weight.sum(axis=1))
        pull = lambda one: one - ((weight * one).sum(axis=1) * shrink)[:, None]  # noqa: E731
        ws = weight * s
        xs, ss = (ws * pull(x[some])).sum(axis=(1, 2)), (ws * pull(s)).sum(axis=(1, 2))
        a = np.maximum(xs / np.maximum(ss, 1e-12), 0)
        rest = x[some] - a[:, None, None] * s
        still = ((weight * rest).sum(axis=1) * shrink)[:, None]
        return a, still, rest - still

    def mixes(
        seen: np.ndarray,
        a: np.ndarray,
        still: np.ndarray,
        weight: np.ndarray,
        prior: np.ndarray,
        some: slice = slice(None),
    ) -> np.ndarray:
        # A cycle's matrix is the mean one with the gains of this cycle, unless reads say otherwise.
        scaled = (a[:, None, None] * seen).transpose(1, 0, 2)
        weighted = weight.transpose(1, 2, 0)[..., None] * scaled[:, None]  # cycle, channel, read, base
        normal = weighted.transpose(0, 1, 3, 2) @ scaled[:, None]
        right = (weighted * (x[some] - still).transpose(1, 2, 0)[..., None]).sum(axis=2)
        ridge = np.trace(normal, axis1=2, axis2=3) / 4 * 0.02 + 1e-9
        normal = normal + ridge[..., None, None] * np.eye(4)
        found = np.linalg.solve(normal, (right + ridge[..., None] * prior)[..., None])[..., 0]
        return np.maximum(found, 0)

    seen = design(phasing, prephasing)
    weight = 1 / variance
    for _ in range(3):
        a, still, residual = explained(mix, seen, weight)
        s = a[:, None, None] * np.einsum("tcb,ntb->ntc", mix, seen)
        vary = variance + (max(jitter, 0.05) * s) ** 2
        # Huber weights: a cycle that another spot disturbs pulls no harder than two standard deviations.
        weight = np.minimum(1, 2.0 / np.maximum(np.abs(residual) / np.sqrt(vary), 1e-9)) / vary
        mix = mixes(seen, a, still, weight, _separable(mix))

    few = slice(None, None, max(1, len(x) // 400))  # two rates need no more reads

    def cost(rates: np.ndarray) -> float:
        p, q = np.abs(rates)
        if p + q > 0.4:
            return 1e12
        trial = design(p, q, few)
        fitted = mixes(trial, a[few], still[few], weight[few], mix, few)
        return float((weight[few] * explained(fitted, trial, weight[few], few)[2] ** 2).sum() / len(trial))

    start = np.array([[phasing, prephasing], [phasing + 0.015, prephasing], [phasing, prephasing + 0.015]])
    best = minimize(
        cost, start[0], method="Nelder-Mead", options={"initial_simplex": start, "xatol": 3e-4, "maxfev": 25}
    )
    phasing, prephasing = (float(one) for one in np.abs(best.x))
    seen = design(phasing, prephasing)
    mix = mixes(seen, a, still, weight, _separable(mix))
    scale = np.mean(np.diagonal(mix[0]))
    mix = mix / max(scale, 1e-12)
    a, _, residual = explained(mix, seen, weight)
    return mix, phasing, prephasing, a, residual


def _separable(mix: np.ndarray) -> np.ndarray:
    """The nearest matrices that differ between cycles only by the gains of channels and bases."""
    gains = np.maximum(np.diagonal(mix, axis1=1, axis2=2), 1e-9)  # cycle, channel
    shape = np.median(mix / gains[:, :, None], axis=0)
    return gains[:, :, None] * shape[None]
