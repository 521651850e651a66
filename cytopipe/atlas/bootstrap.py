"""Bootstrap weights: how often each sample, or each cell, counts in each resample.

A weight is Poisson(1), drawn by inverting the distribution at a hash of (seed, name, resample): it depends
on nothing else, so batches, threads and the order of cells cannot change it, and all groups and levels of
an atlas share one weight per sample. Poisson weights give the variance of a mean its unbiased size at small
numbers of samples too, E[1/N | N > 0] ~ 1/(n - 1), where multinomial draws give 1/n.
Where a group's samples all draw zero in a resample, that group redraws (the next *attempt* of the hash);
which attempts are needed follows from the labels alone, before a count is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numba import njit

from cytopipe.errors import ParameterError

__all__ = [
    "THRESHOLDS",
    "Slots",
    "assign_slots",
    "name_keys",
    "parity_indices",
    "poisson_weights",
    "resample_weights",
    "stream_weight",
    "unit_stream",
]

PARITY_SEED = 42
_NEVER_ZERO = 64  # units of a group from which "all weights zero", e^-64, is not looked for
_MOST_ATTEMPTS = 64


@dataclass(frozen=True)
class Slots:
    """The weight vectors an atlas needs.

    Parameters
    ----------
    resample, attempt : ndarray, (n_slots,) int64
        Slot b < n_bootstrap is attempt 0 of resample b; redraws follow.
    of_group : tuple of ndarray, (n_groups, n_bootstrap) int32
        Per level, the slot each group takes in each resample.
    """

    resample: np.ndarray
    attempt: np.ndarray
    of_group: tuple[np.ndarray, ...]

    @property
    def n_slots(self) -> int:
        return len(self.resample)


def resample_weights(names: Sequence[str], n_bootstrap: int, seed: int = 0) -> np.ndarray:
    """Weight of every sample in every resample (attempt 0).

    Parameters
    ----------
    names : sequence of str
        Sample names (or cell names).
    n_bootstrap : int
    seed : int, optional

    Returns
    -------
    ndarray, (n_bootstrap, len(names)) int64

    Examples
    --------
    >>> w = resample_weights(["s1", "s2", "s3"], 2)
    >>> (w == resample_weights(["s3", "s2", "s1"], 2)[:, ::-1]).all()
    np.True_
    """
    resample = np.arange(n_bootstrap, dtype=np.int64)
    return poisson_weights(name_keys(names), seed, resample, np.zeros_like(resample)).T.copy()


def assign_slots(
    groups: Sequence[Sequence[np.ndarray]], keys: np.ndarray, n_bootstrap: int, seed: int
) -> Slots:
    """Find the redraws that are needed and number all weight vectors.

    Parameters
    ----------
    groups : per level, per group, ndarray of int
        Units (samples or cells, as positions in `keys`) of the group.
    keys : ndarray, (n_units,) uint64
        As from :func:`name_keys`.
    n_bootstrap, seed : int
    """
    resample = list(range(n_bootstrap))
    attempt = [0] * n_bootstrap
    number: dict[tuple[int, int], int] = {}
    of_group = []
    for level in groups:
        slots = np.tile(np.arange(n_bootstrap, dtype=np.int32), (len(level), 1))
        for row, units in enumerate(level):
            if not 0 < len(units) < _NEVER_ZERO:
                continue
            left = np.arange(n_bootstrap, dtype=np.int64)
            for trial in range(_MOST_ATTEMPTS):
                drawn = poisson_weights(keys[units], seed, left, np.full_like(left, trial)).sum(axis=0)
                for b in left[drawn > 0] if trial else ():
                    if (int(b), trial) not in number:
                        number[int(b), trial] = len(resample)
                        resample.append(int(b))
                        attempt.append(trial)
                    slots[row, b] = number[int(b), trial]
                left = left[drawn == 0]
                if not len(left):
                    break
        of_group.append(slots)
    return Slots(np.array(resample, np.int64), np.array(attempt, np.int64), tuple(of_group))


def poisson_weights(keys: np.ndarray, seed: int, resample: np.ndarray, attempt: np.ndarray) -> np.ndarray:
    """Poisson(1) weights of units in slots.

    Parameters
    ----------
    keys : ndarray, (n_units,) uint64
    seed : int
        0 <= seed < 2^63.
    resample, attempt : ndarray, (n_slots,) int64

    Returns
    -------
    ndarray, (n_units, n_slots) int64
    """
    if not 0 <= seed < 1 << 63:
        raise ParameterError("seed is out of range", expected="0 to 2^63 - 1", found=str(seed))
    out = np.empty((len(keys), len(resample)), np.int64)
    _poisson(keys, np.uint64(seed), resample.astype(np.uint64), attempt.astype(np.uint64), THRESHOLDS, out)
    return out


def name_keys(names: Sequence[str]) -> np.ndarray:
    """64-bit keys of names (BLAKE2b): the same for a name wherever it stands.

    Returns
    -------
    ndarray, (len(names),) uint64
    """
    digests = b"".join(hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def parity_indices(n_samples: Sequence[int], n_bootstrap: int, seed: int = 0) -> list[np.ndarray]:
    """Draws of the reference implementation: samples with replacement, one generator per level.

    Parameters
    ----------
    n_samples : sequence of int
        Samples of each group of the level, groups sorted by name.
    n_bootstrap : int
    seed : int, optional
        0, the default, is the reference's own, 42.

    Returns
    -------
    list of ndarray, (n_bootstrap, n_samples[i]) int64
        Positions among the group's samples, sorted by name.
    """
    generator = np.random.default_rng(seed or PARITY_SEED)
    return [generator.choice(n, size=(n_bootstrap, n), replace=True) for n in n_samples]


def _poisson_thresholds() -> np.ndarray:
    """floor(2^64 P(W <= k)) for k = 0, 1, ...: exact, from the series of 1/e."""
    factorial, terms = 1, []
    for k in range(30):
        factorial *= k or 1
        terms.append(Fraction(1, factorial))
    over_e = sum((-1) ** k * term for k, term in enumerate(terms))
    cumulative, thresholds = Fraction(0), []
    for term in terms[:19]:
        cumulative += term * over_e
        thresholds.append(min(int(cumulative * 2**64), 2**64 - 1))
    return np.array(thresholds, np.uint64)


THRESHOLDS = _poisson_thresholds()


@njit(inline="always")
def _mix(z):
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of z moves every bit of the result."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(inline="always")
def unit_stream(key, seed):
    """The stream of a unit under a seed."""
    return _mix(key ^ _mix(seed + np.uint64(0x9E3779B97F4A7C15)))


@njit(inline="always")
def stream_weight(stream, resample, attempt, thresholds):
    """Poisson(1) weight at one place of a stream: the number of thresholds its hash reaches."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    z = _mix(_mix(stream + golden * (resample + np.uint64(1))) + golden * attempt)
    weight = 0
    while weight < len(thresholds) and z >= thresholds[weight]:
        weight += 1
    return weight


@njit(nogil=True, cache=True)
def _poisson(keys, seed, resample, attempt, thresholds, out):
    for unit in range(len(keys)):
        stream = unit_stream(keys[unit], seed)
        for slot in range(len(resample)):
            out[unit, slot] = stream_weight(stream, resample[slot], attempt[slot], thresholds)
