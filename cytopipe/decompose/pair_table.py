"""A growing table from pairs to counts, open addressing, compiled: a dictionary for millions of pairs.

Keys are ``low * n + high`` of a pair's positions, values the edits and scored positions. Sixteen bytes a
slot and no Python object per pair, so that 20,000 sequences with a few million needed pairs stay small.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["PairTable"]

_EMPTY = -1


class PairTable:
    """Edits and scored positions by pair key; absent pairs can be asked for."""

    def __init__(self, capacity: int = 1 << 12) -> None:
        self.size = 0
        self._allocate(capacity)

    def get(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whether each key is present, (m,) bool, and its edits and scored positions, (m,) int32."""
        found = np.empty(len(keys), np.bool_)
        edits, scored = np.zeros(len(keys), np.int32), np.zeros(len(keys), np.int32)
        _lookup(self._keys, self._edits, self._scored, keys, found, edits, scored)
        return found, edits, scored

    def put(self, keys: np.ndarray, edits: np.ndarray, scored: np.ndarray) -> None:
        """Add pairs; a key that is there already keeps the value it has."""
        needed = 2 * (self.size + len(keys))
        if needed > len(self._keys):
            old = self._keys, self._edits, self._scored
            self._allocate(1 << int(needed).bit_length())
            filled = old[0] != _EMPTY
            _insert(self._keys, self._edits, self._scored, *(column[filled] for column in old))
        self.size += _insert(self._keys, self._edits, self._scored, keys, edits, scored)

    def items(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All keys, ascending, with their edits and scored positions."""
        filled = np.flatnonzero(self._keys != _EMPTY)
        filled = filled[np.argsort(self._keys[filled])]
        return self._keys[filled], self._edits[filled], self._scored[filled]

    def _allocate(self, slots: int) -> None:
        self._keys = np.full(slots, _EMPTY, np.int64)
        self._edits = np.zeros(slots, np.int32)
        self._scored = np.zeros(slots, np.int32)


@numba.njit
def _slot(keys, key):
    mask = len(keys) - 1
    # Fibonacci hashing: consecutive keys of one row must not fill consecutive slots.
    at = ((np.uint64(key) * np.uint64(11400714819323198485)) >> np.uint64(20)) & np.uint64(mask)
    while keys[at] != _EMPTY and keys[at] != key:
        at = (at + np.uint64(1)) & np.uint64(mask)
    return at


@numba.njit(cache=True)
def _lookup(keys, edits, scored, wanted, found, found_edits, found_scored):
    for k in range(len(wanted)):
        at = _slot(keys, wanted[k])
        found[k] = keys[at] != _EMPTY
        if found[k]:
            found_edits[k] = edits[at]
            found_scored[k] = scored[at]


@numba.njit(cache=True)
def _insert(keys, edits, scored, new_keys, new_edits, new_scored):
    added = 0
    for k in range(len(new_keys)):
        at = _slot(keys, new_keys[k])
        if keys[at] == _EMPTY:
            keys[at] = new_keys[k]
            edits[at] = new_edits[k]
            scored[at] = new_scored[k]
            added += 1
    return added
