"""The compiled distance is the oracle's, adjusted-identity 0.2.9, on anything a sequencer may give.

The oracle aligns and scores in plain Python; ours aligns with the same edlib and scores in one compiled
pass. They must agree in edits, in scored positions and to the last bit in distance.
"""

from __future__ import annotations

import numpy as np
import pytest
from adjusted_identity import AdjustmentParams, align_and_score
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.decompose.alignment import adjusted_distance, oriented, score_pairs
from cytopipe.storage.fasta import read_fasta

ORACLE = AdjustmentParams(end_skip_distance=20)
bases = st.sampled_from("ACGT")
codes = st.sampled_from("ACGTRYSWKMBDHVN")
repeats = st.builds(
    lambda motif, times: motif * times, st.text(bases, min_size=1, max_size=3), st.integers(1, 8)
)
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.text(codes, max_size=6) | repeats),
    max_size=8,
)
ancestors = st.lists(st.text(bases, min_size=5, max_size=30) | repeats, min_size=4, max_size=12).map("".join)


def edited(ancestor: str, changes) -> str:
    """A copy in which stretches were replaced: substitutions, insertions, deletions, repeats, ambiguity."""
    for place, removed, inserted in changes:
        at = int(place * len(ancestor))
        ancestor = ancestor[:at] + inserted + ancestor[at + removed :]
    return ancestor


def assert_equals_oracle(a: str, b: str) -> None:
    first, second = oriented(np.array([0]), np.array([1]), np.array([len(a), len(b)]))
    ours = score_pairs((a, b), first, second)
    query, target = (a, b) if first[0] == 0 else (b, a)
    theirs = align_and_score(query, target, ORACLE)
    assert (ours.edits[0], ours.scored[0]) == (theirs.mismatches, theirs.scored_positions)
    assert ours.distances[0] == 1.0 - theirs.identity


@settings(max_examples=300, deadline=None)
@given(ancestors, edits, edits)
def test_relatives_are_as_far_apart_as_the_oracle_says(ancestor, one, other):
    a, b = edited(ancestor, one), edited(ancestor, other)
    if a and b:
        assert_equals_oracle(a, b)


@settings(max_examples=100, deadline=None)
@given(ancestors, st.integers(0, 60), st.integers(0, 60), edits)
def test_ragged_ends_are_trimmed_as_the_oracle_trims_them(ancestor, left, right, changes):
    a, b = ancestor[left:], edited(ancestor, changes)[: max(1, len(ancestor) - right)]
    if a and b:
        assert_equals_oracle(a, b)


@settings(max_examples=100, deadline=None)
@given(st.text(codes, min_size=1, max_size=40), st.text(codes, min_size=1, max_size=40))
def test_short_and_unrelated_sequences_are_scored_as_by_the_oracle(a, b):
    assert_equals_oracle(a, b)


@given(ancestors)
def test_a_sequence_is_at_distance_0_of_itself_in_either_case(ancestor):
    assert adjusted_distance(ancestor, ancestor.lower()) == 0.0


@pytest.mark.parametrize("name", ["russula_diverse_50", "collybia_nuda_test"])
def test_real_barcodes_in_every_tenth_pair_equal_the_oracle(real_data, name):
    sequences = sorted({r.sequence.upper() for r in read_fasta(real_data / "decompose" / f"{name}.fasta")})
    for number, (i, j) in enumerate(zip(*np.triu_indices(len(sequences), 1), strict=True)):
        if number % 10 == 0:
            assert_equals_oracle(sequences[i], sequences[j])
