"""A set tells from which distance its species are divided, and that is written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cytopipe.decompose.coalescent import average_tree
from cytopipe.decompose.parameters import BarcodeGap, Parameters
from cytopipe.decompose.sequences import SequenceSet
from cytopipe.decompose.split import split
from cytopipe.decompose.stages import begun, initial_clusters
from cytopipe.decompose.workspace import SequenceFile, Work, Workspace
from cytopipe.storage.fasta import format_fasta
from cytopipe_tests.benchmarks.decompose_coalescent import Design, coalescent_set

DEFAULT = Parameters()


def workspace_of(records, parameters=DEFAULT):
    found = SequenceSet.from_records(records)
    return Workspace(found, parameters, Path("nowhere"), keep_search=False)


def agreement(workspace, gap):
    clusters = split(
        range(len(workspace.sequences)), workspace.distances, DEFAULT, workspace.candidates, gap=gap
    ).clusters
    labels = [(r.description, k) for k, one in enumerate(clusters) for r in workspace.sequences.expand(one)]
    return adjusted_rand_score(*zip(*labels, strict=True))


def test_a_marker_that_varies_more_is_cut_at_a_greater_distance_and_agrees_better():
    workspace = workspace_of(coalescent_set(5, Design(sisters=0.15, diversity=0.012, n_records=300)))
    narrow = workspace_of(coalescent_set(5, Design(sisters=0.04, diversity=0.002, n_records=300)))
    assert workspace.gap.divides > narrow.gap.divides
    assert agreement(workspace, workspace.gap) > agreement(workspace, None) + 0.02


def test_the_cut_does_not_depend_on_the_order_of_the_records():
    records = coalescent_set(7, Design(sisters=0.03, n_records=150, n_species=15))
    assert workspace_of(records).gap == workspace_of(records[::-1]).gap


@pytest.mark.parametrize("given", [{"max_lump": 0.02}, {"gap_method": "local"}, {"parity": True}])
def test_a_set_is_not_asked_where_somebody_has_said_how_it_is_cut(given):
    assert workspace_of(coalescent_set(7, Design(n_records=20)), Parameters(**given)).gap is None


@pytest.mark.parametrize("n", [1, 2])
def test_sets_too_small_to_tell_anything_are_cut_within_the_limits(n):
    found = workspace_of(coalescent_set(3, Design(n_records=n, n_species=2))).gap
    assert 2 * DEFAULT.min_split <= found.divides <= found.joins <= 0.04


def test_the_state_says_where_the_set_is_cut_and_a_resumed_run_uses_it(tmp_path):
    records = coalescent_set(7, Design(sisters=0.03, n_records=60, n_species=8))
    sequences = SequenceFile.of(format_fasta(records), tmp_path / "set.fasta")
    work = Work(cache=tmp_path / "cache")
    grown = initial_clusters(sequences, begun(sequences, DEFAULT), work)
    found = grown.state.stages.initial_clustering.barcode_gap
    assert found == workspace_of(records).gap
    assert grown.state.parameters.max_lump is None

    start = begun(sequences, DEFAULT)
    start.state.stages.initial_clustering.barcode_gap = BarcodeGap(divides=0.0, joins=0.0)
    resumed = initial_clusters(sequences, start, work)
    assert resumed.partition.n_clusters > grown.partition.n_clusters


def test_average_linkage_is_that_of_scipy():
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    random = np.random.default_rng(0)
    D = random.random((40, 40))
    D = (D + D.T) / 2
    np.fill_diagonal(D, 0)
    joins, heights = average_tree(D, np.ones(40, np.int64))
    expected = linkage(squareform(D), "average")
    assert np.allclose(heights, expected[:, 2])
    assert np.array_equal(joins, expected[:, :2].astype(np.int64))
    assert D[0, 0] == 0, "what came in is left as it was"
