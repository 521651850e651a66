"""Growth, conflict resolution and refinement: disjoint, exhaustive, and the same whatever the order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from cytopipe.decompose import split as split_rule
from cytopipe.decompose.conflicts import conflicted, overlapping_components, resolve_conflicts
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.growth import grow, grow_all
from cytopipe.decompose.neighbours import open_neighbours
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.refinement import medoid, refine_close
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.decompose.split import split
from cytopipe.errors import ParameterError
from cytopipe.storage.fasta import read_fasta
from cytopipe_tests.benchmarks.decompose_sets import mutated, quoted_name, simulated

DEFAULT = Parameters()


class Case:
    """A set of records with its distances and its finder."""

    def __init__(self, records, parameters=DEFAULT):
        self.parameters = parameters
        self.set = SequenceSet.from_records(records, one_strand=not parameters.parity)
        self.sequences = self.set.sequences
        self.distances = Distances(self.sequences)
        self.neighbours = open_neighbours("kmer", self.sequences, parameters)

    def grown(self, **choices):
        return list(grow_all(self.sequences, self.distances, self.neighbours, self.parameters, **choices))

    def named(self, clusters):
        """Clusters as sets of record ids."""
        return {frozenset(record.id for record in self.set.expand(members)) for members in clusters}

    def ari(self, clusters):
        pairs = [
            (quoted_name(record), number)
            for number, members in enumerate(clusters)
            for record in self.set.expand(members)
        ]
        return adjusted_rand_score(*zip(*pairs, strict=True))


@pytest.fixture(scope="module")
def records(real_data):
    return list(read_fasta(real_data / "decompose" / "russula_diverse_200.fasta"))


@pytest.fixture(scope="module")
def case(records):
    return Case(records)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("russula_diverse_50", 1),
        ("russula_diverse_100", 1),
        ("russula_diverse_300", 0.98),
        ("russula_300", 0.98),
    ],
)
def test_defaults_find_the_labelled_species(real_data, name, least):
    found = Case(list(read_fasta(real_data / "decompose" / f"{name}.fasta")))
    clusters = [growth.members for growth in found.grown()]
    assert found.ari(clusters) >= least
    assert resolve_conflicts(clusters, found.distances, DEFAULT) == tuple(
        sorted(clusters, key=lambda c: (-len(c), c))
    )


def test_every_sequence_is_grown_into_exactly_one_cluster(case):
    members = [index for growth in case.grown() for index in growth.members]
    assert sorted(members) == list(range(len(case.sequences)))


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_records_does_not_matter(records, case, seed):
    shuffled = [records[at] for at in np.random.default_rng(seed).permutation(len(records))]
    other = Case(shuffled)
    assert other.named(g.members for g in other.grown()) == case.named(g.members for g in case.grown())


def test_a_run_stopped_anywhere_continues_as_if_it_had_not_been(case):
    whole = case.grown()
    for stop in (1, 3, len(whole) - 1):
        covered = {index for growth in whole[:stop] for index in growth.members}
        fresh = Case([record for some in case.set.records for record in some])
        assert fresh.grown(covered=frozenset(covered)) == whole[stop:]


def test_a_hand_edited_cluster_is_respected(case):
    """What is covered stays out of new clusters, though its species is grown from the rest of it."""
    first = case.grown()[0]
    covered = set(first.members[: len(first.members) // 2])
    after = case.grown(covered=covered)
    assert sorted(covered | {k for g in after for k in g.members}) == list(range(len(case.sequences)))
    assert not any(covered & set(growth.members) for growth in after)


def test_directed_mode_grows_from_the_given_targets_only(case):
    whole = {index: growth.members for growth in case.grown() for index in growth.members}
    grown = case.grown(targets=[40, 3, 41, 3])
    assert grown[0].target == 40
    assert {growth.members for growth in grown} == {whole[target] for target in (40, 3, 41)}
    assert grow(3, case.distances, case.neighbours, DEFAULT).members == whole[3]


def test_hash_seed_does_not_matter(real_data):
    program = (
        "import sys; from cytopipe_tests.decompose.test_clustering import Case; "
        "from cytopipe.storage.fasta import read_fasta; "
        "print([g.members for g in Case(list(read_fasta(sys.argv[1]))).grown()])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(real_data / "decompose" / "russula_diverse_50.fasta")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1


def test_parity_grows_overlapping_clusters_that_resolution_makes_disjoint(real_data):
    path = real_data / "decompose" / "russula_diverse_200.fasta"
    found = Case(list(read_fasta(path)), Parameters(parity=True))
    clusters = [growth.members for growth in found.grown()]
    assert conflicted(clusters)
    steps = []
    settled = resolve_conflicts(
        clusters, found.distances, found.parameters, progress=lambda *step: steps.append(step)
    )
    assert not conflicted(settled)
    assert sorted(k for c in settled for k in c) == list(range(len(found.sequences)))
    assert steps[-1][0] == steps[-1][1] == len(overlapping_components(clusters))


@pytest.mark.parametrize("method", ["median", "local", "global"])
@pytest.mark.parametrize("dense", [1_500, 20])
def test_components_of_any_size_are_partitioned_by_any_rule(case, method, dense, monkeypatch):
    monkeypatch.setattr(split_rule, "DENSE", dense)
    parameters = Parameters(gap_method=method)
    clusters = [range(0, 100), range(60, len(case.sequences))]
    settled = resolve_conflicts(clusters, case.distances, parameters)
    assert sorted(k for c in settled for k in c) == list(range(len(case.sequences)))
    assert case.ari(settled) > (0.97 if method == "median" else 0.9)


def test_clusters_without_conflict_pass_as_they_are(case):
    odd = [(0, 5, 9), (1,), (2, 3, 150), ()]
    assert resolve_conflicts(odd, case.distances, DEFAULT) == ((0, 5, 9), (2, 3, 150), (1,))
    assert case.distances is not None
    assert resolve_conflicts([], case.distances, DEFAULT) == ()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 15), min_size=1), max_size=8))
def test_components_are_those_of_shared_members(clusters):
    components = overlapping_components(clusters)
    assert sorted(at for component in components for at in component) == list(range(len(clusters)))
    home = {at: number for number, component in enumerate(components) for at in component}
    for a, one in enumerate(clusters):
        for b, other in enumerate(clusters):
            if one & other:
                assert home[a] == home[b]
    reached = [set().union(*(clusters[at] for at in component)) for component in components]
    assert sum(map(len, reached)) == len(set().union(*reached)) if reached else True


def test_refinement_puts_together_what_was_split_and_loses_nothing(case):
    whole = tuple(sorted((g.members for g in case.grown()), key=lambda c: (-len(c), c)))
    halves = [part for c in whole for part in (c[::2], c[1::2]) if part]
    assert refine_close(halves, case.distances, case.neighbours, 0.02, DEFAULT) == whole
    assert refine_close(halves, case.distances, case.neighbours, 0.0, Parameters(parity=True))
    for threshold in (0.0, 0.05, 0.3):
        for parameters in (DEFAULT, Parameters(parity=True), Parameters(gap_method="global")):
            refined = refine_close(whole, case.distances, case.neighbours, threshold, parameters)
            assert sorted(k for c in refined for k in c) == list(range(len(case.sequences)))


def test_the_medoid_is_the_member_closest_to_the_others(case):
    members = list(range(12))
    matrix = case.distances.matrix(members)
    assert medoid(members, case.distances) == int(np.argmin(matrix.sum(axis=0)))
    assert medoid([7, 4], case.distances) == 4
    assert medoid(range(100), case.distances) in range(100)


def test_one_short_conserved_fragment_joins_no_two_species(case):
    """The 5.8S gene alone is at distance 0 from every species of the genus."""
    gene = "".join(
        "AACAACGGATCTCTTGGCTCTCGCATCGATGAAGAACGCAGCGAAATGCGATACGTAATGTGAATTGCAGAATTCAGTGAATCATCGAATC"
        "TTTGAACGCACCTTGCGCCCCTTGGTATTCCGAGGGGCACACCCGTTTGAGTG"
    )
    records = [record for some in case.set.records for record in some]
    with_gene = Case([*records, mutated([gene], 1, 0)[0].__class__("gene", "", gene)])
    before = case.named(g.members for g in case.grown())
    after = with_gene.named(g.members for g in with_gene.grown())
    assert {cluster - {"gene"} for cluster in after} - {frozenset()} == before


def test_simulated_species_are_found_in_spite_of_bad_reads(real_data):
    root = next(iter(read_fasta(real_data / "decompose" / "collybia_nuda_test.fasta"))).sequence
    found = Case(simulated(root, seed=11, n_species=15, n_records=120, divergence=0.08, bad_reads=0.15))
    assert found.ari([growth.members for growth in found.grown()]) > 0.9


def test_a_partition_reports_the_gap_of_each_cluster(case):
    result = split(range(len(case.sequences)), case.distances, DEFAULT)
    assert len(result.gaps) == len(result.clusters)
    assert result.gap == min(result.gaps)
    assert max(result.gaps) > 0.02
    alone = split([0], case.distances, DEFAULT)
    assert (alone.clusters, alone.gap) == (((0,),), 0.0)


def test_all_faulty_parameters_are_reported_at_once():
    with pytest.raises(ParameterError) as caught:
        Parameters(min_split=0.5, max_lump=0.1, target_percentile=120, neighbours="x", blast_threads=0)
    assert [finding.where or finding.what for finding in caught.value.findings] == [
        "min_split exceeds max_lump",
        "target_percentile",
        "neighbours",
        "blast_threads",
    ]
    with pytest.raises(ParameterError, match="unknown parameter 'colour'"):
        Parameters(colour=1)
    assert Parameters(**DEFAULT.as_json()) == DEFAULT
    assert DEFAULT.shaping()["max_lump"] is None


def test_a_large_max_lump_reaches_as_far_as_it_says(case):
    """Whole sequences of different species of the set are all within 0.2 of each other."""
    records = [record for some in case.set.records for record in some]
    far = Case(records, Parameters(max_lump=0.2, min_split=0.1))
    assert len(far.grown()) == 1
    near = Case(records, Parameters(min_split=0, max_lump=0))
    assert len(near.grown()) > len(case.grown())


def test_a_max_lump_that_is_too_large_still_finds_the_species_by_their_gaps(case):
    wide = Case([record for some in case.set.records for record in some], Parameters(max_lump=0.1))
    assert wide.named(g.members for g in wide.grown()) == case.named(g.members for g in case.grown())
