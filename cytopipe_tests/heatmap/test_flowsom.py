"""FlowSOM: the reference's codes and labels, and what holds for any cells."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.errors import InputError, ParameterError
from cytopipe.heatmap import FlowSOMSettings, cluster_cells
from cytopipe.heatmap.flowsom.metaclusters import co_clustering, metaclusters
from cytopipe.heatmap.flowsom.spanning_tree import spanning_tree
from cytopipe.heatmap.flowsom.training import first_radius, nearest_nodes, train_map
from cytopipe_tests.heatmap.plain_som import nearest, plain_map
from cytopipe_tests.parity import Outcome
from cytopipe_tests.parity.heatmap_flowsom import cases

FULL = np.full(400, 100)
SMALL = {"x_dim": 4, "y_dim": 3, "n_metaclusters": 4}


def clouds(n_cells: int, n_markers: int, n_clouds: int = 6, seed: int = 0, dtype=np.float64):
    """Cells around some centres, and the cloud of each."""
    rng = np.random.default_rng(seed)
    cloud = rng.integers(n_clouds, size=n_cells)
    centres = rng.normal(size=(n_clouds, n_markers)) * 3
    return (centres[cloud] + rng.normal(size=(n_cells, n_markers)) * 0.4).astype(dtype), cloud


def test_codes_labels_and_medians_are_those_of_the_reference(golden):
    """Online and batch training; codes to 1e-9, all labels."""
    verdicts = {case.name: case.evaluate() for case in cases(golden / "heatmap")}
    assert len(verdicts) >= 3
    assert {name: one for name, one in verdicts.items() if one.outcome is not Outcome.AGREES} == {}


def test_online_codes_equal_the_reference_to_the_last_bit(golden):
    with (
        np.load(golden / "heatmap/flowsom_input.npz") as inputs,
        np.load(golden / "heatmap/flowsom_expected.npz") as expected,
    ):
        found = cluster_cells(inputs["X"], FlowSOMSettings(seed=0))
        assert np.array_equal(found.codes, expected["s0_10x10_k20_codes"])


@given(
    seed=st.integers(0, 2**32 - 1),
    x_dim=st.integers(1, 6),
    y_dim=st.integers(1, 5),
    n_markers=st.integers(1, 6),
    single=st.booleans(),
    scale=st.sampled_from([1.0, 1e-4, 100.0]),
)
@settings(max_examples=25, deadline=None)
def test_the_kernels_compute_what_plain_python_does(seed, x_dim, y_dim, n_markers, single, scale):
    """To the last bit, in float64 and float32, also where cells hardly move the codes (the small scale)."""
    dtype = np.float32 if single else np.float64
    cells = (clouds(40, n_markers, seed=seed % 1000)[0] * scale).astype(dtype)
    given_settings = FlowSOMSettings(x_dim=x_dim, y_dim=y_dim, n_metaclusters=1, seed=seed, rlen=3)
    codes = train_map(cells, given_settings)
    assert codes.dtype == dtype
    assert np.array_equal(codes, plain_map(cells, x_dim, y_dim, seed, rlen=3))
    nodes, distances = nearest_nodes(cells, codes, given_settings)
    plain = [nearest(cell, codes) for cell in cells]
    assert nodes.tolist() == [node for node, _ in plain]
    assert np.array_equal(distances, [distance for _, distance in plain])


def test_of_two_nodes_equally_near_the_first_one_wins():
    cells = np.repeat([[0.0, 1.0], [5.0, 5.0]], 40, axis=0)
    found = cluster_cells(cells, FlowSOMSettings(**SMALL))
    for node, cell in zip(found.node, cells, strict=True):
        assert node == np.argmin(np.sqrt(((found.codes - cell) ** 2).sum(axis=1)))


def test_the_radius_begins_at_the_reference_s_quantile():
    from scipy.spatial.distance import pdist, squareform

    for x_dim, y_dim in ((10, 10), (7, 5), (1, 9), (20, 20)):
        grid = [(x, y) for x in range(x_dim) for y in range(y_dim)]
        assert first_radius(x_dim, y_dim) == np.quantile(squareform(pdist(grid, "chebyshev")), 0.67)


@pytest.mark.parametrize("precision", ["reference", "float32"])
def test_results_do_not_depend_on_the_number_of_threads(precision):
    cells, _ = clouds(150_000, 5, dtype=np.float32)
    given_settings = FlowSOMSettings(**SMALL, rlen=1, train_cells=2_000, precision=precision)
    one, three = (cluster_cells(cells, given_settings, threads=threads) for threads in (1, 3))
    for name in ("codes", "node", "distance", "metacluster", "mst"):
        assert getattr(one, name).tobytes() == getattr(three, name).tobytes()
    assert one.quality == three.quality


def test_a_result_is_the_same_in_another_process():
    code = (
        "from cytopipe_tests.heatmap.test_flowsom import clouds, SMALL, digest\n"
        "print(digest(clouds(3_000, 4)[0]))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(clouds(3_000, 4)[0])


def digest(cells) -> str:
    import hashlib

    found = cluster_cells(cells, FlowSOMSettings(**SMALL))
    parts = (found.codes, found.node, found.distance, found.metacluster, found.mst)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize(
    "change", [{}, {"precision": "float32"}, {"train_cells": 1_000}, {"training": "batch"}]
)
def test_every_way_of_training_finds_clouds_that_are_apart(change):
    from sklearn.metrics import adjusted_rand_score

    cells, cloud = clouds(6_000, 8)
    found = cluster_cells(cells, FlowSOMSettings(x_dim=6, y_dim=6, n_metaclusters=6, **change))
    assert adjusted_rand_score(cloud, found.cell_metacluster) > 0.99


def test_every_value_has_the_promised_shape_and_type():
    cells, _ = clouds(2_000, 5, dtype=np.float32)
    found = cluster_cells(cells, FlowSOMSettings(**SMALL))
    assert (found.codes.shape, found.codes.dtype) == ((12, 5), np.float64)
    assert (found.node.shape, found.node.dtype) == ((2_000,), np.int32)
    assert (found.distance.shape, found.distance.dtype) == ((2_000,), np.float64)
    assert (found.metacluster.shape, found.metacluster.dtype) == ((12,), np.int32)
    assert (found.mst.shape, found.mst.dtype) == ((11, 2), np.int32)
    assert sorted({*found.metacluster.tolist()}) == [0, 1, 2, 3]
    assert np.allclose(found.distance, np.linalg.norm(cells - found.codes[found.node], axis=1), rtol=1e-4)


def test_progress_ends_at_its_total():
    told = []
    cluster_cells(clouds(500, 3)[0], FlowSOMSettings(**SMALL), progress=lambda *one: told.append(one))
    assert told[-1] == (500 * 11, 500 * 11)
    assert told == sorted(told)


# ---------------------------------------------------------------------- metaclusters


def test_a_consensus_counts_how_often_nodes_come_together():
    """Two far groups of nodes: always together within, never between."""
    codes = np.concatenate([np.random.default_rng(0).normal(size=(10, 3)) + place for place in (0, 50)])
    shares = co_clustering(codes, FlowSOMSettings(x_dim=5, y_dim=4, n_metaclusters=2))
    assert np.array_equal(shares, np.kron(np.eye(2), np.ones((10, 10))))


def test_a_consensus_is_decided_by_its_seed():
    codes = np.random.default_rng(0).normal(size=(36, 4))
    one, again, other = (
        metaclusters(codes, FULL[:36], FlowSOMSettings(x_dim=6, y_dim=6, n_metaclusters=8, seed=seed))
        for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert len({*other.tolist()}) == 8


@pytest.mark.parametrize("k", [1, 2, 11, 12])
@pytest.mark.parametrize("way", ["consensus", "average"])
def test_any_number_of_metaclusters_up_to_the_nodes_is_given(k, way):
    codes = np.random.default_rng(0).normal(size=(12, 3))
    chosen = FlowSOMSettings(x_dim=4, y_dim=3, n_metaclusters=k, metaclustering=way)
    assert len({*metaclusters(codes, FULL[:12], chosen).tolist()}) == k


def test_a_node_with_hardly_a_cell_gets_no_metacluster_of_its_own():
    """Average linkage would give the far node one, and join the two groups."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.normal(size=(6, 2)), rng.normal(size=(5, 2)) + 9, [[40.0, 40.0]]])
    cells = np.array([100] * 11 + [2])
    chosen = {"x_dim": 4, "y_dim": 3, "n_metaclusters": 2}
    found = metaclusters(codes, cells, FlowSOMSettings(**chosen))
    assert len({*found[:6]}) == len({*found[6:]}) == 1 and found[0] != found[11]
    every = metaclusters(codes, cells, FlowSOMSettings(**chosen, min_node_share=0))
    assert (every[:11] == every[0]).all() and every[11] != every[0]


@pytest.mark.parametrize("occupied", [0, 1, 3, 5])
def test_the_number_of_metaclusters_holds_where_few_nodes_have_cells(occupied):
    codes = np.random.default_rng(0).normal(size=(12, 3))
    cells = np.where(np.arange(12) < occupied, 50, 0)
    found = metaclusters(codes, cells, FlowSOMSettings(**SMALL))
    assert {*found.tolist()} == {0, 1, 2, 3}


@pytest.mark.parametrize("k", [2, 7, 12])
def test_average_linkage_numbers_metaclusters_as_scikit_learn_does(k):
    """Also where every node is one: the labels are those of the reference then, too."""
    from sklearn.cluster import AgglomerativeClustering

    codes = np.random.default_rng(0).normal(size=(12, 3))
    chosen = FlowSOMSettings(x_dim=4, y_dim=3, n_metaclusters=k, metaclustering="average")
    expected = AgglomerativeClustering(k, linkage="average").fit_predict(codes)
    assert np.array_equal(metaclusters(codes, FULL[:12], chosen), expected)


def test_a_tree_is_cut_as_scipy_cuts_it():
    from scipy.cluster.hierarchy import cut_tree, linkage
    from sklearn.metrics import adjusted_rand_score

    from cytopipe.heatmap.flowsom.metaclusters import _cut

    tree = linkage(np.random.default_rng(3).normal(size=(30, 4)), "average")
    for k in range(2, 31):
        assert adjusted_rand_score(_cut(tree, k), cut_tree(tree, k)[:, 0]) == 1


# ---------------------------------------------------------------------- tree and figures


@given(n_nodes=st.integers(1, 25), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_tree_spans_all_nodes_at_the_least_length(n_nodes, seed):
    from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
    from scipy.spatial.distance import cdist

    codes = np.random.default_rng(seed).normal(size=(n_nodes, 3))
    edges = spanning_tree(codes)
    distances = cdist(codes, codes)
    assert len(edges) == n_nodes - 1
    adjacency = np.zeros((n_nodes, n_nodes))
    adjacency[edges[:, 0], edges[:, 1]] = 1
    assert connected_components(adjacency, directed=False)[0] == 1
    assert np.isclose(distances[edges[:, 0], edges[:, 1]].sum(), minimum_spanning_tree(distances).sum())


def test_the_tree_takes_codes_that_are_equal():
    assert len(spanning_tree(np.zeros((5, 2)))) == 4


def test_figures_agree_with_scikit_learn():
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    cells, _ = clouds(1_500, 5)
    found = cluster_cells(cells, FlowSOMSettings(**SMALL))
    figures = found.quality
    some = slice(None, None, 2)  # at most 1,000 cells
    assert np.isclose(figures["silhouette"], silhouette_score(cells[some], found.cell_metacluster[some]))
    assert np.isclose(figures["variance_explained_pca"], PCA(2).fit(cells).explained_variance_ratio_.sum())
    assert np.isclose(figures["quantization_error"], found.distance.mean())
    within = sum(
        ((cells[found.node == n] - cells[found.node == n].mean(0)) ** 2).sum() for n in {*found.node}
    )
    assert np.isclose(figures["variance_explained_nodes"], 1 - within / ((cells - cells.mean(0)) ** 2).sum())
    assert figures["empty_nodes"] == 12 - len({*found.node.tolist()})


def test_the_topographic_error_counts_cells_between_nodes_that_are_no_neighbours():
    from cytopipe.heatmap.flowsom.quality import quality_figures

    line = FlowSOMSettings(x_dim=3, y_dim=1, n_metaclusters=1)
    codes = np.array([[0.0], [10.0], [1.0]])  # nodes 0 and 2 are neighbours in value, not on the grid
    cells = np.array([[0.2], [0.7], [9.0], [12.0]])
    nodes, distances = nearest_nodes(cells, codes, line)
    figures = quality_figures(cells, codes, nodes, distances, np.zeros(3, np.int32), line)
    assert figures["topographic_error"] == 0.5
    assert "silhouette" not in figures


# ---------------------------------------------------------------------- what is refused


def test_all_that_makes_cells_unusable_is_told_at_once():
    cells = np.zeros((40, 3))
    cells[7, 2] = np.nan
    with pytest.raises(InputError) as told:
        cluster_cells(cells)
    assert len(told.value.findings) == 2
    assert "at least 10 x 10 = 100 cells; found 40" in str(told.value)
    assert "cell 7, marker 2" in str(told.value)


@pytest.mark.parametrize(
    "cells", [np.zeros(5), np.zeros((5, 0)), np.array([["a"]]), np.zeros((9, 2), complex)]
)
def test_what_is_no_matrix_of_numbers_is_refused(cells):
    with pytest.raises(InputError, match="there is nothing to cluster"):
        cluster_cells(cells)


def test_values_whose_squares_overflow_are_refused():
    cells = np.full((200, 2), 1e30, np.float32)
    with pytest.raises(InputError, match="at most 1e"):
        cluster_cells(cells)


def test_whole_numbers_are_clustered_as_float64():
    cells = np.random.default_rng(0).integers(0, 9, (300, 3))
    assert np.array_equal(
        cluster_cells(cells, FlowSOMSettings(**SMALL)).codes,
        cluster_cells(cells.astype(float), FlowSOMSettings(**SMALL)).codes,
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"x_dim": 4, "y_dim": 4}, "at most 4 x 4 = 16"),
        ({"alpha_start": 0.01, "alpha_end": 0.05}, "alpha_end is above alpha_start"),
        ({"seed": -1}, "seed"),
        ({"n_metaclusters": 0}, "n_metaclusters"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong, told):
    with pytest.raises(ParameterError, match=told):
        FlowSOMSettings(**wrong)
