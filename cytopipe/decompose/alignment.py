"""Pairs of sequences in, adjusted distances out: edlib aligns, compiled scoring counts.

What comes in are pairs; what leaves is ``1 - adjusted identity``. The shorter sequence is the query (of two
equally long ones, the first). Step one aligns the reverse complements semi-globally: a gap at the end of
that alignment is the overhang at the beginning of the forward one and is cut off. Step two aligns what is
left. The path edlib chooses among equally good ones decides the score, so no other aligner will do, and
each pair is aligned in one orientation only. A pair without alignment has distance 1; one whose overlap
holds no scored position has distance 0, as in the reference: see `Distances.scored` before trusting it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edlib
import numpy as np

from cytopipe.decompose.scoring import score_block

__all__ = [
    "Scores",
    "adjusted_distance",
    "oriented",
    "reverse_complement",
    "score_pairs",
    "scores_to_distances",
]

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
    used = sorted(set(first.tolist()) | set(second.tolist()))
    place = {index: at for at, index in enumerate(used)}
    forward = [sequences[index] for index in used]
    reverse = [reverse_complement(sequence) for sequence in forward]
    queries = [place[index] for index in first.tolist()]
    targets = [place[index] for index in second.tolist()]
    m = len(queries)
    trim_1, trim_2, start_2 = (np.zeros(m, np.int32) for _ in range(3))
    cigars: list[str] = []
    for pair, (q, t) in enumerate(zip(queries, targets, strict=True)):
        aligned = _align(forward[q], forward[t], reverse[q], reverse[t])
        if aligned is None:
            trim_1[pair] = -1
            cigars.append("")
        else:
            trim_1[pair], trim_2[pair], start_2[pair] = aligned[:3]
            cigars.append(aligned[3])
    edits, scored = np.empty(m, np.int32), np.empty(m, np.int32)
    score_block(
        np.frombuffer("".join(forward).encode("ascii"), np.uint8).copy(),
        _bounds(forward),
        np.array(queries, np.int64),
        np.array(targets, np.int64),
        np.frombuffer("".join(cigars).encode("ascii"), np.uint8).copy(),
        _bounds(cigars),
        trim_1,
        trim_2,
        start_2,
        edits,
        scored,
    )
    return Scores(edits, scored)


def _align(query: str, target: str, query_rc: str, target_rc: str) -> tuple[int, int, int, str] | None:
    """Leading overhangs of query and target, start in the target, CIGAR; None without alignment."""
    if not query or not target:
        return None
    contained = target.find(query)
    if contained >= 0:  # an exact alignment leaves nothing to choose: the first occurrence, as edlib takes it
        return 0, 0, contained, f"{len(query)}="
    trim_query = trim_target = 0
    overhang, in_query = _trailing_gap(edlib.align(query_rc, target_rc, mode="HW", task="path")["cigar"])
    if overhang:
        if in_query:
            trim_target, target = overhang, target[overhang:]
        else:
            trim_query, query = overhang, query[overhang:]
        if not query or not target:
            return None
    result = edlib.align(query, target, mode="HW", task="path")
    return trim_query, trim_target, result["locations"][0][0], result["cigar"]


def _trailing_gap(cigar: str) -> tuple[int, bool]:
    """Length of the gap that ends a CIGAR, and whether it is in the query; 0 where it is of both kinds."""
    kind = cigar[-1]
    if kind not in "ID":
        return 0, False
    digits = len(cigar) - 1
    while digits and cigar[digits - 1].isdigit():
        digits -= 1
    if digits and cigar[digits - 1] in "ID":
        return 0, False
    return int(cigar[digits:-1]), kind == "D"


def _bounds(texts: Sequence[str]) -> np.ndarray:
    bounds = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(list(map(len, texts)), out=bounds[1:])
    return bounds
