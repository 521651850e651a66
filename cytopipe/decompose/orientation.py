"""Sequences as they were read in; which of them are reverse complements of the rest, out.

Barcode collections hold records read from the other strand. Nothing of such a record aligns, so it ends as a
lone cluster far from its species: in the labelled sets that is the commonest error of all, and one a search
of one strand cannot see. Sequences are turned by their k-mers, first each against those before it in
canonical order, then, until nothing changes, each against all others; the strand most are on is kept, so a
set that is already of one strand is left exactly as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cytopipe.decompose.alignment import reverse_complement
from cytopipe.decompose.kmers import kmers

__all__ = ["reversed_strand"]

K = 9
#: Share of its k-mers that a strand must find in others, on average over found k-mers, to be believed at all.
_BELIEVABLE_SHARE = 0.1
#: How many times more k-mers the other strand must share before a sequence is turned.
_MARGIN = 2.0
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
    n = len(sequences)
    forward = [kmers(sequence, K) for sequence in sequences]
    reverse = [kmers(reverse_complement(sequence), K) for sequence in sequences]
    turned = np.zeros(n, bool)
    counts = np.zeros(4**K, np.int32)
    for at in range(n):
        turned[at] = _prefers_reverse(counts, forward[at], reverse[at])
        counts[reverse[at] if turned[at] else forward[at]] += 1
    for _ in range(_ROUNDS):
        before = turned.copy()
        for at in range(n):
            counts[reverse[at] if turned[at] else forward[at]] -= 1
            if turned[at]:
                turned[at] = not _prefers_reverse(counts, reverse[at], forward[at])
            else:
                turned[at] = _prefers_reverse(counts, forward[at], reverse[at])
            counts[reverse[at] if turned[at] else forward[at]] += 1
        if (turned == before).all():
            break
    return ~turned if 2 * turned.sum() > n else turned


def _prefers_reverse(counts: np.ndarray, ahead: np.ndarray, behind: np.ndarray) -> bool:
    """Whether the second strand shares believably more k-mers with the counted sequences."""
    found_ahead = int((counts[ahead] > 0).sum())
    found_behind = int((counts[behind] > 0).sum())
    return found_behind >= _BELIEVABLE_SHARE * len(behind) and found_behind > _MARGIN * found_ahead
