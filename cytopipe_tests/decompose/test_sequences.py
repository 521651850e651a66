"""Records become unique sequences in an order that depends on their content alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.decompose.alignment import reverse_complement
from cytopipe.decompose.kmers import distinct_kmers
from cytopipe.decompose.orientation import reversed_strand
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.errors import InputError


@dataclass(frozen=True)
class Record:
    id: str
    sequence: str
    line: int = 0


def records(*sequences: str) -> list[Record]:
    return [Record(f"r{at}", sequence, at + 1) for at, sequence in enumerate(sequences)]


def random_sequences(n: int, length: int, seed: int = 0) -> list[str]:
    """Mutated copies of one random sequence."""
    source = np.random.default_rng(seed)
    ancestor = source.choice(list("ACGT"), length)
    found = []
    for _ in range(n):
        one = ancestor.copy()
        changed = source.random(length) < 0.02
        one[changed] = source.choice(list("ACGT"), int(changed.sum()))
        found.append("".join(one))
    return found


def test_duplicates_collapse_whatever_their_case_and_alphabet():
    found = SequenceSet.from_records(records("acgu", "ACGT", "TTTTT"))
    assert found.sequences == ("TTTTT", "ACGT")
    assert [[record.id for record in some] for some in found.records] == [["r2"], ["r0", "r1"]]
    assert found.n_records == 3
    assert [record.id for record in found.expand([1, 0])] == ["r0", "r1", "r2"]
    assert found.index_of["ACGT"] == 1


@given(st.lists(st.text("ACGTN", min_size=1, max_size=12), min_size=1, max_size=20), st.randoms())
def test_order_of_the_input_does_not_matter(sequences, shuffler):
    listed = records(*sequences)
    shuffled = list(listed)
    shuffler.shuffle(shuffled)
    assert SequenceSet.from_records(listed) == SequenceSet.from_records(shuffled)


def test_every_unusable_record_is_a_finding_with_its_line():
    with pytest.raises(InputError) as caught:
        SequenceSet.from_records(records("ACGT", "", "AC-GT", "ACGß", "AC!X"), where="x.fasta")
    assert [finding.where for finding in caught.value.findings] == [
        "x.fasta:2",
        "x.fasta:3",
        "x.fasta:4",
        "x.fasta:5",
    ]
    assert "Remove gaps" in caught.value.findings[1].next


def test_records_of_the_other_strand_are_turned_and_keep_their_spelling():
    forward = random_sequences(12, 400)
    spelt = [*forward[:9], *map(reverse_complement, forward[9:])]
    found = SequenceSet.from_records(records(*spelt), one_strand=True)
    assert set(found.turned) == {"r9", "r10", "r11"}
    assert set(found.sequences) == set(forward)
    assert {record.sequence for some in found.records for record in some} == set(spelt)
    assert found.n_distinct == len(set(spelt))
    assert found.index_of[spelt[10]] == found.sequences.index(forward[10])


def test_a_set_of_one_strand_is_left_as_it_is():
    forward = sorted(random_sequences(20, 300), key=lambda s: (-len(s), s))
    assert not reversed_strand(forward).any()
    assert not reversed_strand([]).any()
    assert not reversed_strand(["ACGT"]).any()


def test_a_sequence_unlike_all_others_is_not_turned():
    strange = "".join(random.Random(5).choice("ACGT") for _ in range(300))
    mixed = sorted([*random_sequences(10, 300), strange], key=lambda s: (-len(s), s))
    assert not reversed_strand(mixed).any()


@given(st.lists(st.text("ACGTN", max_size=40), max_size=6), st.integers(1, 6))
def test_kmers_are_the_distinct_unambiguous_words(sequences, k):
    words, bounds = distinct_kmers(sequences, k)
    for at, sequence in enumerate(sequences):
        every = {sequence[i : i + k] for i in range(len(sequence) - k + 1)}
        expected = {sum("ACGT".index(c) * 4**p for p, c in enumerate(w[::-1])) for w in every if "N" not in w}
        found = words[bounds[at] : bounds[at + 1]].tolist()
        assert len(found) == len(set(found))
        assert set(found) == expected
