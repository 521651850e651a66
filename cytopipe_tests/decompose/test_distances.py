"""Distances are computed once, kept, found again, and never trusted where a byte of them changed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.decompose import distance, distance_store
from cytopipe.decompose.alignment import adjusted_distance
from cytopipe.decompose.distance import Distances, projected_bytes
from cytopipe.decompose.pair_table import PairTable
from cytopipe.engine import open_engine
from cytopipe_tests.decompose.test_sequences import random_sequences


@pytest.fixture
def sequences():
    return sorted({*random_sequences(9, 120), *random_sequences(5, 90, seed=1)}, key=lambda s: (-len(s), s))


def test_a_matrix_holds_the_distance_of_every_pair(sequences):
    matrix = Distances(sequences).matrix(range(len(sequences)))
    for i, j in itertools.combinations(range(len(sequences)), 2):
        assert matrix[i, j] == matrix[j, i] == adjusted_distance(sequences[i], sequences[j])
    assert (np.diagonal(matrix) == 0).all()


def test_a_pair_is_computed_once_in_whatever_order_it_is_asked_for(sequences):
    distances = Distances(sequences)
    distances.pairs([0, 1, 2, 2], [1, 0, 0, 2])
    assert distances.n_computed == 2
    np.testing.assert_array_equal(distances.block([0, 1], [2, 1]), distances.matrix(range(3))[:2][:, [2, 1]])
    assert distances.n_computed == 3
    low, high, values = distances.known()
    assert list(zip(low, high, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_array_equal(values, distances.pairs(low, high))


def test_a_store_outlives_the_process_and_serves_other_sets(sequences, tmp_path):
    with Distances(sequences, store_path=tmp_path) as first:
        expected = first.matrix(range(len(sequences)))
    again = Distances(sequences, store_path=tmp_path)
    np.testing.assert_array_equal(again.matrix(range(len(sequences))), expected)
    assert (again.n_computed, again.n_reused) == (0, first.n_computed)
    some = Distances(sequences[::2], store_path=tmp_path)
    np.testing.assert_array_equal(some.matrix(range(len(sequences[::2]))), expected[::2, ::2])
    assert some.n_computed == 0


def test_a_pair_of_equal_lengths_is_not_taken_from_a_list_in_another_order(tmp_path):
    """Which of two equally long sequences is the query decides which alignment is scored."""
    pair = sorted(random_sequences(2, 80))
    with Distances(pair, store_path=tmp_path) as first:
        first.pairs([0], [1])
    assert Distances(pair[::-1], store_path=tmp_path).n_reused == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "other scoring"])
def test_a_damaged_segment_is_removed_and_computed_again(sequences, tmp_path, damage, monkeypatch):
    if damage == "other scoring":
        monkeypatch.setattr(distance_store, "SCORING", {**distance_store.SCORING, "end_skip": 0})
    with Distances(sequences, store_path=tmp_path) as first:
        expected = first.matrix(range(6))
    monkeypatch.undo()
    (segment,) = tmp_path.glob("*.distances")
    data = bytearray(segment.read_bytes())
    if damage == "flip":
        data[-5] ^= 0x10
    segment.write_bytes(
        {"truncate": data[:-7], "empty": b"", "foreign": b"not ours"}.get(damage, bytes(data))
    )
    again = Distances(sequences, store_path=tmp_path)
    assert again.n_reused == 0
    assert not segment.exists()
    np.testing.assert_array_equal(again.matrix(range(6)), expected)
    again.save()
    assert Distances(sequences, store_path=tmp_path).n_reused == 15


def test_many_small_saves_fold_into_few_segments(sequences, tmp_path):
    distances = Distances(sequences, store_path=tmp_path)
    for i, j in itertools.islice(itertools.combinations(range(len(sequences)), 2), 40):
        distances.pairs([i], [j])
        distances.save()
    assert len(list(tmp_path.glob("*.distances"))) <= distance_store.MANY
    assert Distances(sequences, store_path=tmp_path).n_reused == 40


def test_workers_do_not_change_a_byte(sequences, monkeypatch):
    alone = Distances(sequences)
    expected = alone.matrix(range(len(sequences)))
    monkeypatch.setattr(distance, "PAIRS_PER_WORKER", 1)
    monkeypatch.setattr(distance, "BLOCK_PAIRS", 7)
    seen = []
    with open_engine("local:2") as engine:
        spread = Distances(sequences, engine=engine, progress=lambda *step: seen.append(step))
        found = spread.matrix(range(len(sequences)))
    assert found.tobytes() == expected.tobytes()
    assert seen[-1] == (alone.n_computed, alone.n_computed)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(-1, 99), st.integers(0, 99)), max_size=200))
def test_the_pair_table_is_a_dictionary(entries):
    table, twin = PairTable(8), {}
    for key, edits, scored in entries:
        table.put(np.array([key]), np.array([edits], np.int32), np.array([scored], np.int32))
        twin.setdefault(key, (edits, scored))
    keys, edits, scored = table.items()
    assert dict(zip(keys.tolist(), zip(edits.tolist(), scored.tolist(), strict=True), strict=True)) == twin
    found, *_ = table.get(np.array([*twin, 2**41]))
    assert found.tolist() == [True] * len(twin) + [False]


def test_projected_memory_grows_with_the_set():
    assert projected_bytes(100) < projected_bytes(20_000) < projected_bytes(20_000, mean_length_bp=1500)
