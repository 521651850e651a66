"""Finders nominate the right sequences, whichever is used, and say clearly when they cannot."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cytopipe.decompose import neighbours_kmer
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.hits import Hits
from cytopipe.decompose.neighbours import open_neighbours
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.errors import MissingToolError, ParameterError
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.decompose.test_sequences import random_sequences

needs_blast = pytest.mark.skipif(shutil.which("blastn") is None, reason="BLAST+ is not installed")


@pytest.fixture(scope="module")
def real(real_data):
    path = real_data / "decompose" / "russula_diverse_100.fasta"
    return SequenceSet.from_records(read_fasta(path), one_strand=True).sequences


@pytest.mark.parametrize("kind", ["kmer", pytest.param("blast", marks=needs_blast)])
def test_no_pair_within_max_lump_is_missed(real, kind, tmp_path):
    matrix = Distances(real).matrix(range(len(real)))
    hits = open_neighbours(kind, real, Parameters(), tmp_path).search(range(len(real)))
    found = {(query, other) for query in range(len(real)) for other in hits.of(query).tolist()}
    wanted = {(int(i), int(j)) for i, j in np.argwhere(matrix <= 0.02) if i != j}
    assert wanted <= found
    assert all(query != other for query, other in found)


@pytest.mark.parametrize("kind", ["kmer", pytest.param("blast", marks=needs_blast)])
def test_hits_come_nearest_first_and_no_more_than_asked_for(real, kind, tmp_path):
    few = open_neighbours(kind, real, Parameters(blast_max_hits=3), tmp_path).search([5, 0, 5])
    many = open_neighbours(kind, real, Parameters(), tmp_path).search([5, 0, 5])
    for query in range(3):
        assert len(few.of(query)) == 3
        assert few.of(query).tolist() == many.of(query).tolist()[:3]
    assert few.of(0).tolist() == few.of(2).tolist()


def test_thinning_common_words_hardly_changes_what_is_found(real, monkeypatch):
    full = neighbours_kmer.Kmers(real, Parameters()).search(range(len(real)))
    monkeypatch.setattr(neighbours_kmer, "COMMON", 40)
    thin = neighbours_kmer.Kmers(real, Parameters()).search(range(len(real)))
    matrix = Distances(real).matrix(range(len(real)))
    for query in range(len(real)):
        near = {int(other) for other in full.of(query) if matrix[query, other] <= 0.02}
        assert near <= set(thin.of(query).tolist())


def test_exhaustive_names_every_other_sequence():
    hits = open_neighbours("exhaustive", ["A", "C", "G"], Parameters()).search([1, 2])
    assert hits.of(0).tolist() == [0, 2]
    assert hits.of(1).tolist() == [0, 1]
    assert np.isnan(hits.identity).all()


def test_sequences_without_a_kmer_have_no_neighbours():
    assert len(open_neighbours("kmer", ["ACG", "ACG", "N" * 50], Parameters()).search([0, 1, 2]).indices) == 0
    assert len(open_neighbours("kmer", [], Parameters()).search([]).indices) == 0


def test_the_default_is_the_same_with_and_without_blast(monkeypatch, tmp_path):
    some = random_sequences(3, 100)
    assert open_neighbours("auto", some, Parameters(), tmp_path).name == "kmer"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert open_neighbours("auto", some, Parameters(), tmp_path).name == "kmer"
    assert open_neighbours("auto", some, Parameters(parity=True), tmp_path).name == "kmer"


def test_blast_that_is_not_installed_is_named_with_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match=r"makeblastdb and blastn not found.*neighbours: kmer"):
        open_neighbours("blast", ["ACGT"], Parameters(), tmp_path)


@needs_blast
def test_a_blast_database_is_used_again_only_for_the_same_sequences(tmp_path):
    some = random_sequences(4, 200)
    open_neighbours("blast", some, Parameters(), tmp_path)
    stamp = tmp_path / "sequences.sha256"
    made = stamp.stat().st_mtime_ns
    open_neighbours("blast", some, Parameters(), tmp_path)
    assert stamp.stat().st_mtime_ns == made
    finder = open_neighbours("blast", some[:3], Parameters(), tmp_path)
    assert sorted(finder.search([0]).of(0).tolist()) == [1, 2]


def test_an_unknown_finder_is_refused():
    with pytest.raises(ParameterError, match="unknown neighbour search"):
        open_neighbours("usearch", ["A"], Parameters())


def test_hits_of_no_queries_are_empty():
    assert Hits.from_rows([]).indptr.tolist() == [0]
