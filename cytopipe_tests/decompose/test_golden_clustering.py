"""The golden cases of the reference: distances, gap cores and target growth must come out exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cytopipe.decompose.alignment import adjusted_distance
from cytopipe.decompose.distance import Distances
from cytopipe.decompose.gap import gap_core
from cytopipe.decompose.targets import grow_in

MATRICES = ("russula_diverse_50", "russula_diverse_100", "collybia")


@pytest.fixture(scope="module")
def matrices(golden):
    return {name: np.load(golden / "decompose" / f"dist_{name}.ai029.npz") for name in MATRICES}


@pytest.mark.parametrize("name", MATRICES)
def test_distances_edits_and_scored_positions_equal_the_oracle_s(matrices, name):
    case = matrices[name]
    sequences = [str(sequence) for sequence in case["seqs"]]
    distances = Distances(sequences)
    assert np.abs(distances.matrix(range(len(sequences))) - case["D"]).max() <= 1e-12
    i, j = np.triu_indices(len(sequences), 1)
    scores = distances.scores(i, j)
    np.testing.assert_array_equal(scores.edits, case["mism"][i, j])
    np.testing.assert_array_equal(scores.scored, case["scored"][i, j])
    assert adjusted_distance(sequences[0], sequences[1]) == case["D"][0, 1]


@pytest.mark.parametrize("file", ["core_old.json", "core_new.json"])
def test_gap_cores_reproduce_partition_and_gap(golden, matrices, file):
    for case in json.loads((golden / "decompose" / file).read_text()):
        matrix = matrices[case["matrix"]]
        ids = [str(name) for name in matrix["ids"]]
        result = gap_core(
            matrix["D"],
            min_split=case["min_split"],
            max_lump=case["max_lump"],
            percentile=case["percentile"],
            method="global" if case["mode"] == "global" else "local",
            triangle_filter=case["triangle_filter"],
            alpha=0.5 if case["mode"] == "local_alpha0.5" else 0.0,
        )
        found = {frozenset(ids[k] for k in cluster) for cluster in result.clusters}
        assert found == {*map(frozenset, case["clusters"]), *(frozenset([s]) for s in case["singletons"])}
        assert result.gap == pytest.approx(case["gap"], abs=1e-9)


def test_target_growth_reproduces_cluster_and_gap(golden, matrices):
    for case in json.loads((golden / "decompose" / "target_mode_old.json").read_text()):
        matrix = matrices[case["matrix"]]
        ids = [str(name) for name in matrix["ids"]]
        near = matrix["D"][ids.index(case["seed"])].copy()
        near[ids.index(case["seed"])] = -1.0  # first, even where another sequence is at distance 0
        order = np.argsort(near, kind="stable")
        within = order[near[order] <= 0.02]
        hood = np.concatenate([within, order[near[order] > 0.02][: len(within)]])
        assert len(within) == case["n_within"]
        assert len(hood) - len(within) == case["n_context"]
        members, gap = grow_in(matrix["D"][np.ix_(hood, hood)], max_lump=0.02, percentile=95)
        assert {ids[k] for k in hood[members]} == set(case["cluster"])
        assert gap == pytest.approx(case["gap"], abs=1e-9)
