"""Adjusted distances of pairs of sequences, aligned by edlib and scored by compiled code.

The distance is ``1 - adjusted identity``. The shorter sequence is the query (of two equally long ones, the
first). Step one aligns the reverse complements semi-globally: a gap at the end of that alignment is the
overhang at the beginning of the forward one and is cut off. Step two aligns what is left. The path edlib
chooses among equally good ones decides the score, so no other aligner will do, and each pair is aligned in
one orientation only. A pair without alignment has distance 1; one whose overlap holds no scored position has
distance 0, as in the reference: see `Distances.scored` before trusting it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass

import edlib
import numpy as np

from cytopipe.decompose.edit_paths import DELETED, INSERTED, MATCHED, MISMATCHED, align_block
from cytopipe.decompose.scoring import score_block

__all__ = [
    "Scores",
    "adjusted_distance",
    "oriented",
    "packed",
    "reverse_complement",
    "score_packed",
    "score_pairs",
    "scores_to_distances",
]

Packed = tuple[np.ndarray, np.ndarray]
"""Letters, (L,) uint8, and bounds, (n + 1,) int64."""

_RUN = re.compile(r"(\d+)([=XID])")
_STEPS = {"=": MATCHED, "X": MISMATCHED, "I": INSERTED, "D": DELETED}

# The oracle complements these; U is absent there and stays as it is.
_COMPLEMENT = str.maketrans("ATGCRYSWKMBDHVN", "TACGYRSWMKVHDBN")


@dataclass(frozen=True)
class Scores:
    """Counts of a block of pairs.

    Attributes
    ----------
    edits : ndarray, (m,) int32
        Edits counted; -1 where the pair has no alignment.
    scored : ndarray, (m,) int32
        Positions the edits were counted over.
    """

    edits: np.ndarray
    scored: np.ndarray

    @property
    def distances(self) -> np.ndarray:
        """Adjusted distances, (m,) float64."""
        return scores_to_distances(self.edits, self.scored)


def adjusted_distance(a: str, b: str) -> float:
    """Adjusted distance of two sequences.

    Parameters
    ----------
    a, b : str
        Nucleotide sequences, either case. Of two equally long ones `a` is the query.

    Returns
    -------
    float
        ``1 - identity`` in [0, 1]; 1 where nothing can be aligned.

    References
    ----------
    Russell S. / Mycota Lab, MycoBLAST; as implemented in adjusted-identity 0.2.9 (end skip 20, repeat
    motif up to 2).

    Examples
    --------
    >>> adjusted_distance("ACGT" * 30, "ACGT" * 15 + "TCGT" + "ACGT" * 14)  # one substitution of 82 scored
    0.012195121951219523
    """
    sequences = (a.upper(), b.upper())
    first, second = oriented(np.array([0]), np.array([1]), np.array([len(a), len(b)]))
    return float(score_pairs(sequences, first, second).distances[0])


def oriented(i: np.ndarray, j: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order every pair as it is aligned: the shorter first, of equally long ones the smaller index."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    swap = lengths[low] > lengths[high]
    return np.where(swap, high, low), np.where(swap, low, high)


def scores_to_distances(edits: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Distances, (m,) float64, from counts; rounded exactly as the oracle rounds an identity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        identity = np.where(scored > 0, 1.0 - edits / scored, 1.0)
    return np.where(edits < 0, 1.0, 1.0 - identity)


def reverse_complement(sequence: str) -> str:
    """The other strand of an upper-case sequence, IUPAC codes included."""
    return sequence.translate(_COMPLEMENT)[::-1]


def score_pairs(sequences: Sequence[str], first: np.ndarray, second: np.ndarray) -> Scores:
    """Align and score a block of oriented pairs.

    Parameters
    ----------
    sequences : sequence of str
        Upper-case sequences.
    first, second : ndarray, (m,) int
        Positions in `sequences`; ``first`` is the query (see `oriented`).
    """
    return score_packed(packed(sequences), first, second)


def packed(sequences: Sequence[str]) -> Packed:
    """Sequences as `score_packed` takes them: all letters end to end, and where each one begins."""
    return np.frombuffer("".join(sequences).encode("ascii"), np.uint8).copy(), _bounds(sequences)


def _bounds(parts: Sequence[Sized]) -> np.ndarray:
    bounds = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(list(map(len, parts)), out=bounds[1:])
    return bounds


def score_packed(sequences: Packed, first: np.ndarray, second: np.ndarray) -> Scores:
    """As :func:`score_pairs`, for sequences that were packed once."""
    letters, bounds = sequences
    first, second = np.asarray(first, np.int64), np.asarray(second, np.int64)
    edits, scored = np.full(len(first), -1, np.int32), np.zeros(len(first), np.int32)
    paths = align_block(letters, bounds, first, second)
    score_block(letters, bounds, first, second, *paths, edits, scored)
    left = np.flatnonzero(paths[2] < 0)
    if len(left):
        first, second = first[left], second[left]
        paths = _paths_by_edlib(letters, bounds, first, second)
        far_edits, far_scored = edits[left], scored[left]
        score_block(letters, bounds, first, second, *paths, far_edits, far_scored)
        edits[left], scored[left] = far_edits, far_scored
    return Scores(edits, scored)


def _paths_by_edlib(letters: np.ndarray, bounds: np.ndarray, first: np.ndarray, second: np.ndarray):
    """What :func:`align_block` gives, for pairs that are long or far apart; -1 without alignment."""
    texts = {int(i): letters[bounds[i] : bounds[i + 1]].tobytes().decode() for i in {*first, *second}}
    overhang, start = np.full(len(first), -1, np.int32), np.zeros(len(first), np.int32)
    steps = []
    for pair, (query, target) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        found = _align(texts[query], texts[target])
        steps.append(np.empty(0, np.uint8))
        if found is not None:
            overhang[pair], start[pair], cigar = found
            runs = _RUN.findall(cigar)
            path = np.repeat([_STEPS[kind] for _, kind in runs], [int(length) for length, _ in runs])
            steps[-1] = path[::-1].astype(np.uint8)
    return np.concatenate(steps), _bounds(steps), overhang, start


def _align(query: str, target: str) -> tuple[int, int, str] | None:
    """Leading overhang of the query, start in the target, CIGAR; None without alignment.

    An overhang of the target is no part of a CIGAR, since gaps at its ends are free.
    """
    if not query or not target:
        return None
    backwards = edlib.align(reverse_complement(query), reverse_complement(target), mode="HW", task="path")
    trim = _trailing_insertion(backwards["cigar"])
    if trim == len(query):
        return None
    result = edlib.align(query[trim:], target, mode="HW", task="path")
    return trim, result["locations"][0][0], result["cigar"]


def _trailing_insertion(cigar: str) -> int:
    """Length of the insertion that ends a CIGAR; 0 where a deletion comes before it."""
    found = re.search(r"(?:^|[=X])(\d+)I$", cigar)
    return int(found[1]) if found else 0
