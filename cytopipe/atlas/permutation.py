"""Permutations of gene labels, for the Monte Carlo null of an activity.

The number of genes, the number of permutations and a seed determine the permutations on every machine.
They are yielded one by one, from one of three streams. In ``counter``, our own, each is a pure function of
the seed and its number, so any block of them can be made anywhere. ``numpy`` and ``srand`` are those of
the reference implementations, kept so that their published p-values can be reproduced.

References
----------
Steele et al., OOPSLA 2014 (SplitMix64, the mixing function); glibc ``random_r``, TYPE_3 (additive
feedback generator r[i] = r[i-3] + r[i-31] mod 2**32).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from cytopipe.errors import ParameterError

__all__ = ["STREAMS", "Stream", "permutations"]

Stream = Literal["counter", "numpy", "srand"]
STREAMS: tuple[str, ...] = get_args(Stream)
RAND_MAX = 2**31 - 1


def permutations(n: int, count: int, *, seed: int = 0, stream: Stream = "counter") -> Iterator[np.ndarray]:
    """Yield `count` permutations of ``range(n)``.

    Parameters
    ----------
    n : int
        Number of genes.
    count : int
        Number of permutations.
    seed : int
        0 to 2**32 - 1.
    stream : {'counter', 'numpy', 'srand'}
        ``counter``: ranks of SplitMix64(seed, permutation, gene). ``numpy``: a fresh
        ``RandomState(seed).permutation`` each. ``srand``: one array shuffled on and on by Fisher-Yates
        with glibc's ``rand``, as R SecAct does; portable here, since the generator is our own.

    Yields
    ------
    ndarray, (n,) int64
    """
    if not 0 <= seed < 2**32:
        raise ParameterError(
            "the seed is out of range", where="seed", expected="0 to 4294967295", found=str(seed)
        )
    if stream == "counter":
        yield from (_counter_permutation(n, number, seed) for number in range(count))
    elif stream == "numpy":
        state = np.random.RandomState(seed)
        yield from (state.permutation(n).astype(np.int64) for _ in range(count))
    elif stream == "srand":
        state = _glibc_state(seed)
        order, shuffle = np.arange(n), _compiled_shuffle()
        for _ in range(count):
            state = shuffle(order, state)
            yield order.copy()
    else:
        raise ParameterError(
            "unknown stream of permutations",
            where="stream",
            expected=" or ".join(STREAMS),
            found=repr(stream),
        )


def _counter_permutation(n: int, number: int, seed: int) -> np.ndarray:
    """Rank the genes by a 64-bit hash of (seed, number, gene): equal hashes keep gene order."""
    base = _mix(np.array([(seed << 32) ^ number], dtype=np.uint64))
    keys = _mix(_mix(np.arange(n, dtype=np.uint64)) ^ base)
    return np.argsort(keys, kind="stable")


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function on uint64, wrapping."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def _glibc_state(seed: int) -> np.ndarray:
    """The last 31 words of glibc's ``srand(seed)``, oldest first, after its 310 discarded outputs."""
    words = [seed or 1]
    signed = words[0] - 2**32 if words[0] >= 2**31 else words[0]
    for _ in range(30):
        # Schrage's form of 16807 * word mod (2**31 - 1), with C's division towards zero
        high = int(signed / 127773)
        low = signed - high * 127773
        signed = 16807 * low - 2836 * high
        if signed < 0:
            signed += RAND_MAX
        words.append(signed)
    words += words[:3]
    while len(words) < 344:
        words.append((words[-3] + words[-31]) & 0xFFFFFFFF)
    return np.array(words[-31:], dtype=np.uint32)


@functools.cache
def _compiled_shuffle():
    """`_shuffle` in machine code; numba takes half a second to import, and only this stream needs it."""
    import numba

    return numba.njit(cache=True)(_shuffle)


def _shuffle(order: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Shuffle `order` in place with C's ``rand``: swap i with i + rand() / (RAND_MAX / (n - i) + 1)."""
    n = order.size
    window = np.empty(31 + max(n - 1, 0), dtype=np.uint32)
    window[:31] = state
    for i in range(n - 1):
        word = np.uint32(window[i + 28] + window[i])
        window[i + 31] = word
        j = i + np.int64(word >> np.uint32(1)) // (RAND_MAX // (n - i) + 1)
        held = order[i]
        order[i] = order[j]
        order[j] = held
    return window[-31:].copy()
