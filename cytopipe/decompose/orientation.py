"""Sequences as they were read in; which of them are reverse complements of the rest, out.

Barcode collections hold records read from the other strand. Nothing of such a record aligns, so it ends as a
lone cluster far from its species: in the labelled sets that is the commonest error of all, and one a search
of one strand cannot see. Sequences are turned by their k-mers, first each against those before it in
canonical order, then, until nothing changes, each against all others; the strand most are on is kept, so a
set that is already of one strand is left exactly as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from cytopipe.decompose.alignment import reverse_complement
from cytopipe.decompose.kmers import distinct_kmers

__all__ = ["reversed_strand"]

K = 9
#: Share of its k-mers that a strand must find among the others to be believed at all.
BELIEVABLE_SHARE = 0.1
#: How many times more k-mers the other strand must share before a sequence is turned.
MARGIN = 2.0
_ROUNDS = 10


def reversed_strand(sequences: Sequence[str]) -> np.ndarray:
    """Which sequences are on the other strand than most, (n,) bool.

    Parameters
    ----------
    sequences : sequence of str
        Upper case, in canonical order; the answer depends on nothing else.

    Notes
    -----
    A sequence is turned only if its reverse complement shares at least a tenth of its k-mers with the
    others, and twice as many as the sequence itself does; one unlike everything stays as it is.
    """
    turned = np.zeros(len(sequences), np.bool_)
    ahead = distinct_kmers(sequences, K)
    behind = distinct_kmers([reverse_complement(sequence) for sequence in sequences], K)
    _turn(*ahead, *behind, turned)
    return ~turned if 2 * turned.sum() > len(turned) else turned


@numba.njit(cache=True, nogil=True)
def _turn(ahead, ahead_bounds, behind, behind_bounds, turned):
    holders = np.zeros(4**K, np.int32)
    for once_more in range(_ROUNDS + 1):
        changed = False
        for at in range(len(turned)):
            one = ahead[ahead_bounds[at] : ahead_bounds[at + 1]]
            other = behind[behind_bounds[at] : behind_bounds[at + 1]]
            if turned[at]:
                one, other = other, one
            if once_more:
                for word in one:
                    holders[word] -= 1
            here, there = _found(one, holders), _found(other, holders)
            if there >= BELIEVABLE_SHARE * len(other) and there > MARGIN * here:
                turned[at] = not turned[at]
                one = other
                changed = True
            for word in one:
                holders[word] += 1
        if once_more and not changed:
            break


@numba.njit
def _found(words, holders):
    found = 0
    for word in words:
        found += holders[word] > 0
    return found
