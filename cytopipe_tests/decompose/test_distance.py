"""The distance equals its oracle, adjusted-identity 0.2.9, on whatever sequences hypothesis can think of."""

from __future__ import annotations

import adjusted_identity
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cytopipe.decompose.alignment import (
    _paths_by_edlib,
    adjusted_distance,
    oriented,
    packed,
    reverse_complement,
    score_pairs,
)
from cytopipe.decompose.edit_paths import align_block

ORACLE = adjusted_identity.AdjustmentParams(end_skip_distance=20, max_repeat_motif_length=2)

letters = st.sampled_from("ACGT") | st.sampled_from("ACGTRYSWKMBDHVN")
#: Runs and repeats, so that homopolymers and dinucleotides meet the rules that forgive them.
stretches = st.builds(
    lambda unit, times: unit * times, st.text(letters, min_size=1, max_size=3), st.integers(1, 8)
)
sequences = st.lists(stretches, min_size=1, max_size=30).map("".join)


def oracle(a: str, b: str) -> tuple[float, int, int]:
    """Distance, edits and scored positions as the reference computes them, the shorter sequence first."""
    if len(a) > len(b):
        a, b = b, a
    result = adjusted_identity.align_and_score(a, b, ORACLE)
    return 1 - result.identity, result.mismatches, result.scored_positions


def ours(a: str, b: str) -> tuple[float, int, int]:
    first, second = oriented(np.array([0]), np.array([1]), np.array([len(a), len(b)]))
    scores = score_pairs((a, b), first, second)
    return scores.distances[0], scores.edits[0], scores.scored[0]


def mutate(sequence: str, edits: list[tuple[int, int, str]]) -> str:
    """Replace stretches: (where, how many letters, by what)."""
    for at, length, new in edits:
        at %= len(sequence) + 1
        sequence = sequence[:at] + new + sequence[at + length :]
    return sequence or "A"


edits = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 12), st.text(letters, max_size=12)), max_size=12
)


@settings(max_examples=400, deadline=None)
@given(sequences, edits)
@example("ACGT" * 30, [])
@example("A" * 60, [(30, 0, "AA")])
@example("ACGTTGCA" * 8, [(30, 6, "")])
@example("GATTACA" * 10, [(35, 7, "RYSWKMB")])
def test_related_sequences_score_as_in_the_oracle(sequence, changes):
    other = mutate(sequence, changes)
    assert ours(sequence, other) == oracle(sequence, other)


@settings(max_examples=300, deadline=None)
@given(sequences, sequences)
@example("A", "C")
@example("A", "A")
@example("ACGT", "TTTT")
@example("AC" * 40, "GT" * 45)
@example("A" * 19, "A" * 40)
def test_unrelated_and_very_short_sequences_score_as_in_the_oracle(a, b):
    assert ours(a, b) == oracle(a, b)


@settings(max_examples=150, deadline=None)
@given(st.text("ACGT", min_size=60, max_size=300), st.integers(0, 120), st.integers(0, 120), edits)
def test_partial_overlaps_score_as_in_the_oracle(sequence, left, right, changes):
    """Overhangs at either end are cut off before the overlap is scored."""
    a = sequence[: max(1, len(sequence) - right)]
    b = mutate(sequence, changes)[left:] or "A"
    assert ours(a, b) == oracle(a, b)


@pytest.mark.parametrize("name", ["russula_diverse_300", "collybia_nuda_test"])
def test_real_pairs_score_as_in_the_oracle(real_data, name):
    from cytopipe.storage.fasta import read_fasta

    records = [record.sequence.upper() for record in read_fasta(real_data / "decompose" / f"{name}.fasta")]
    random = np.random.default_rng(7)
    for i, j in random.integers(0, len(records), (60, 2)):
        assert ours(records[i], records[j]) == oracle(records[i], records[j])


def test_a_block_gives_what_its_pairs_give_alone():
    random = np.random.default_rng(3)
    some = ["".join(random.choice(list("ACGT"), random.integers(1, 200))) for _ in range(12)]
    i, j = np.triu_indices(len(some), 1)
    first, second = oriented(i, j, np.array(list(map(len, some))))
    block = score_pairs(some, first, second)
    for at, (a, b) in enumerate(zip(first, second, strict=True)):
        alone = score_pairs(some, np.array([a]), np.array([b]))
        assert (block.edits[at], block.scored[at]) == (alone.edits[0], alone.scored[0])


def test_no_alignment_is_distance_one_and_identity_is_zero():
    assert adjusted_distance("", "ACGT") == 1.0
    assert adjusted_distance("AAAA", "CCCCCCC") == 1.0
    assert adjusted_distance("acgt" * 30, "ACGT" * 30) == 0.0


def test_reverse_complement_turns_ambiguous_letters_too():
    assert reverse_complement("ACGTRYSWKMBDHVN") == "NBDHVKMWSRYACGT"


@pytest.mark.parametrize("length", [30, 64, 65, 600, 1500])
def test_a_path_is_the_one_that_edlib_chooses(length):
    """Substitutions, gaps in runs, overhangs at either end, and ends that can be set in several places."""
    rng = np.random.default_rng(length)
    texts = []
    for _ in range(60):
        text = "".join(rng.choice(list("AAACGT"), length))
        texts.append(text)
        changes = [
            (
                int(rng.integers(length)),
                int(rng.integers(4)),
                "".join(rng.choice(list("ACGT"), rng.integers(4))),
            )
            for _ in range(rng.integers(1 + length // 16))
        ]
        left, right = rng.integers(0, 1 + length // 8, 2) * rng.integers(0, 2, 2)
        texts.append(mutate(text, changes)[left : length + 9 - right] + "A" * int(rng.integers(4)))
    letters, bounds = packed(texts)
    pairs = np.arange(0, len(texts), 2)
    first, second = oriented(pairs, pairs + 1, np.diff(bounds))
    steps, step_bounds, overhang, start = align_block(letters, bounds, first, second)
    theirs = _paths_by_edlib(letters, bounds, first, second)
    ours = np.flatnonzero(overhang >= 0)
    assert len(ours) >= 40
    assert (overhang[ours] == theirs[2][ours]).all() and (start[ours] == theirs[3][ours]).all()
    for pair in ours:
        mine = steps[step_bounds[pair] : step_bounds[pair + 1]]
        assert mine.tolist() == theirs[0][theirs[1][pair] : theirs[1][pair + 1]].tolist(), pair
