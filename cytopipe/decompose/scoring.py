"""The adjusted identity of MycoBLAST, compiled: edits and scored positions of aligned pairs.

The numbers equal those of adjusted-identity 0.2.9, the pinned reference; tests compare the two. The rules:
the outer 19 nucleotides of the overlap are not scored; between two matches lies a *variant range* with one
allele per sequence; what an allele repeats of the context both sequences agree on (one or two bases) is free;
the rest costs its substitutions, plus one for a difference in length however long; two IUPAC codes that share
a base match.
"""

from __future__ import annotations

import numba
import numpy as np

from cytopipe.decompose.edit_paths import DELETED, INSERTED

__all__ = ["END_SKIP", "MAX_MOTIF", "score_block"]

#: Nucleotides reached from either end before scoring starts (the oracle's `end_skip_distance`).
END_SKIP = 20
#: Longest repeat unit that is free (the oracle's `max_repeat_motif_length`).
MAX_MOTIF = 2

GAP = ord("-")


def _base_sets() -> np.ndarray:
    bases = {"A": 1, "C": 2, "G": 4, "T": 8}
    codes = {
        "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
        "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
    }  # fmt: skip
    table = np.zeros(256, np.uint8)
    for code, members in {**{base: base for base in bases}, **codes}.items():
        table[ord(code)] = sum(bases[member] for member in members)
    return table


#: Bit set of the bases each letter may stand for.
_BASES = _base_sets()


@numba.njit
def _same(a, b):
    return a == b or (_BASES[a] & _BASES[b]) != 0


@numba.njit
def _repeats(row, start, stop, context, n_context, from_left):
    """Nucleotides of ``row[start:stop]`` that repeat the context, counted from one side.

    The longest motif that occurs at all decides; two equal letters are a motif of one.
    """
    for length in range(min(MAX_MOTIF, n_context), 0, -1):
        if from_left:
            first, last = context[n_context - length], context[n_context - 1]
        else:
            first, last = context[0], context[length - 1]
        unit = 1 if length == 2 and first == last else length
        consumed = 0
        while consumed + unit <= stop - start:
            at = start + consumed if from_left else stop - consumed - unit
            if not _same(row[at], first) or (unit == 2 and not _same(row[at + 1], last)):
                break
            consumed += unit
        if consumed:
            return consumed
    return 0


@numba.njit
def _variant(first, n_first, second, n_second, left, n_left, right, n_right):
    """Edits and scored positions of one variant range."""
    left_1 = _repeats(first, 0, n_first, left, n_left, True)
    right_1 = _repeats(first, left_1, n_first, right, n_right, False)
    left_2 = _repeats(second, 0, n_second, left, n_left, True)
    right_2 = _repeats(second, left_2, n_second, right, n_right, False)
    core_1 = n_first - left_1 - right_1
    core_2 = n_second - left_2 - right_2
    if core_1 == 0 and core_2 == 0:
        return 0, 0
    if core_1 == 0 or core_2 == 0:
        return 1, 1
    shared = min(core_1, core_2)
    different = 0
    identical = core_1 == core_2
    for k in range(shared):
        a, b = first[left_1 + k], second[left_2 + k]
        if a != b:
            identical = False
            if not _same(a, b):
                different += 1
    if identical:
        return 0, core_1
    longer = 1 if core_1 != core_2 else 0
    return different + longer, shared + longer


@numba.njit
def _columns(row_1, row_2, seq_1, seq_2, steps, trim_1, start_2):
    """Write the gapped rows of a pair, whose steps are given from the end; their number of columns."""
    at_1, at_2, n = 0, 0, 0
    for _ in range(trim_1):
        row_1[n], row_2[n] = seq_1[at_1], GAP
        at_1 += 1
        n += 1
    for _ in range(start_2):
        row_1[n], row_2[n] = GAP, seq_2[at_2]
        at_2 += 1
        n += 1
    for k in range(len(steps) - 1, -1, -1):
        row_1[n], row_2[n] = GAP, GAP
        if steps[k] != DELETED:
            row_1[n] = seq_1[at_1]
            at_1 += 1
        if steps[k] != INSERTED:
            row_2[n] = seq_2[at_2]
            at_2 += 1
        n += 1
    while at_2 < len(seq_2):
        row_1[n], row_2[n] = GAP, seq_2[at_2]
        at_2 += 1
        n += 1
    return n


@numba.njit
def _scored_region(row_1, row_2, n):
    """First and last column that count, both inclusive."""
    start, stop = 0, n - 1
    for k in range(n):
        if row_1[k] != GAP and row_2[k] != GAP:
            start = k
            break
    for k in range(n - 1, -1, -1):
        if row_1[k] != GAP and row_2[k] != GAP:
            stop = k
            break
    inner_start, inner_stop = start, stop
    seen_1, seen_2 = 0, 0
    for k in range(start, n):
        seen_1 += row_1[k] != GAP
        seen_2 += row_2[k] != GAP
        if seen_1 >= END_SKIP and seen_2 >= END_SKIP:
            inner_start = k
            break
    seen_1, seen_2 = 0, 0
    for k in range(stop, -1, -1):
        seen_1 += row_1[k] != GAP
        seen_2 += row_2[k] != GAP
        if seen_1 >= END_SKIP and seen_2 >= END_SKIP:
            inner_stop = k
            break
    return inner_start, inner_stop


@numba.njit
def _score(row_1, row_2, n, allele_1, allele_2, left, right):
    start, stop = _scored_region(row_1, row_2, n)
    edits, scored = 0, 0
    k = start
    while k <= stop:
        if row_1[k] != GAP and row_2[k] != GAP and _same(row_1[k], row_2[k]):
            scored += 1
            k += 1
            continue
        opened = k
        n_1, n_2 = 0, 0
        while k <= stop:
            if row_1[k] != GAP and row_2[k] != GAP and _same(row_1[k], row_2[k]):
                break
            if row_1[k] != GAP:
                allele_1[n_1] = row_1[k]
                n_1 += 1
            if row_2[k] != GAP:
                allele_2[n_2] = row_2[k]
                n_2 += 1
            k += 1
        # Context counts only where both letters are equal (an IUPAC match is none), may reach into the
        # unscored ends, and is void where the range touches the limit of the scored region.
        n_left = 0
        if opened > start:
            while n_left < MAX_MOTIF and opened - 1 - n_left >= 0:
                at = opened - 1 - n_left
                if row_1[at] == GAP or row_1[at] != row_2[at]:
                    break
                n_left += 1
            for m in range(n_left):
                left[m] = row_1[opened - n_left + m]
        n_right = 0
        if k <= stop:
            while n_right < MAX_MOTIF and k + n_right < n:
                at = k + n_right
                if row_1[at] == GAP or row_1[at] != row_2[at]:
                    break
                right[n_right] = row_1[at]
                n_right += 1
        e, s = _variant(allele_1, n_1, allele_2, n_2, left, n_left, right, n_right)
        edits += e
        scored += s
    return edits, scored


@numba.njit(cache=True, nogil=True)
def score_block(letters, bounds, first, second, steps, step_bounds, overhang, start, edits, scored):
    """Count edits and scored positions of a block of aligned pairs, in place.

    Parameters
    ----------
    letters, bounds, first, second, steps, step_bounds, overhang, start
        Sequences, pairs and paths, as of :func:`~cytopipe.decompose.edit_paths.align_block`; pairs with an
        overhang of -1 are left out.
    edits, scored : ndarray, (m,) int32
        Written: edits and scored positions.
    """
    longest = 0
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    row_1 = np.empty(2 * longest + 2, np.uint8)
    row_2 = np.empty(2 * longest + 2, np.uint8)
    allele_1 = np.empty(longest + 1, np.uint8)
    allele_2 = np.empty(longest + 1, np.uint8)
    left = np.empty(MAX_MOTIF, np.uint8)
    right = np.empty(MAX_MOTIF, np.uint8)
    for pair in range(len(first)):
        if overhang[pair] < 0:
            continue
        a, b = first[pair], second[pair]
        n = _columns(
            row_1,
            row_2,
            letters[bounds[a] : bounds[a + 1]],
            letters[bounds[b] : bounds[b + 1]],
            steps[step_bounds[pair] : step_bounds[pair + 1]],
            overhang[pair],
            start[pair],
        )
        edits[pair], scored[pair] = _score(row_1, row_2, n, allele_1, allele_2, left, right)
