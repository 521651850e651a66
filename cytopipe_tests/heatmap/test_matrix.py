"""Medians, z-scores, trees, cuts and orders are those of pandas and SciPy, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.cluster.hierarchy import cut_tree, dendrogram
from scipy.cluster.hierarchy import linkage as scipy_linkage

from cytopipe.errors import InputError, ParameterError
from cytopipe.heatmap.linkage import METHODS, METRICS, cut, default_cut, leaves, link, merged_into
from cytopipe.heatmap.matrix import cluster_medians, rows_of_clusters, z_scores
from cytopipe_tests.heatmap.states import golden
from cytopipe_tests.parity.heatmap import heatmap_case


@pytest.mark.parametrize("name", ["avg_euc", "across_avg_cos", "with_const", "subset_T"])
def test_the_golden_heat_maps_agree_in_every_bit(name):
    case = json.loads(golden("heatmap_cases.json").read_text())[name]
    verdict = heatmap_case(golden("."), name, case)
    assert verdict.outcome == "agrees", verdict.detail


@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(["f4", "f8"]), missing=st.booleans())
@settings(max_examples=60, deadline=None)
def test_medians_are_those_of_pandas(seed, kind, missing):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 60)), int(rng.integers(1, 5))
    values = rng.normal(size=(n, m)).round(int(rng.integers(0, 4))).astype(kind)
    if missing:
        values[rng.random((n, m)) < 0.3] = np.nan
    labels = rng.integers(-1, 6, n)
    labels[0] = 3
    found = cluster_medians(values, labels)
    inside = labels >= 0
    expected = pd.DataFrame(values[inside]).groupby(labels[inside]).median()
    assert found.median.dtype == expected.to_numpy().dtype
    np.testing.assert_array_equal(found.median, expected.to_numpy())
    assert found.clusters.tolist() == expected.index.tolist()
    assert found.n_cells.tolist() == np.bincount(labels[inside])[found.clusters].tolist()
    assert np.array_equal(found.clusters[found.row[inside]], labels[inside])
    assert (found.row[~inside] == -1).all()


def test_medians_do_not_depend_on_the_order_of_the_cells():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(500, 4)), rng.integers(0, 9, 500)
    order = rng.permutation(500)
    one, other = cluster_medians(values, labels), cluster_medians(values[order], labels[order])
    np.testing.assert_array_equal(one.median, other.median)


@given(
    table=arrays.arrays(
        st.sampled_from([np.float32, np.float64]),
        arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.integers(-50, 50).map(lambda n: n / 4),
    ),
    across=st.sampled_from(["clusters", "markers"]),
)
@settings(max_examples=150, deadline=None)
def test_z_scores_are_finite_centred_and_zero_where_nothing_varies(table, across):
    scores = z_scores(table, across)
    axis = 0 if across == "clusters" else 1
    assert scores.dtype == table.dtype and np.isfinite(scores).all()
    flat = (table == table.take([0], axis)).all(axis=axis)
    constant = scores.take(np.flatnonzero(flat), 1 - axis)
    assert (constant == 0).all()
    varied = scores.take(np.flatnonzero(~flat), 1 - axis)
    if not varied.size:
        return
    np.testing.assert_allclose(varied.mean(axis=axis), 0, atol=1e-4)
    np.testing.assert_allclose(varied.std(axis=axis, ddof=1), 1, atol=1e-4)


def test_a_constant_that_no_float_can_say_is_zero():
    """72 times 0.1 added up and divided by 72 is not 0.1: pandas gives such a marker scores of about 1."""
    assert (z_scores(np.full((72, 1), 0.1)) == 0).all()
    assert (z_scores(np.full((3, 71), np.float32(0.1)), "markers") == 0).all()


def test_clusters_can_be_texts_and_cells_can_have_none():
    clusters, row = rows_of_clusters(["b", None, "a", "b", np.nan])
    assert clusters.tolist() == ["a", "b"] and row.tolist() == [1, -1, 0, 1, -1]
    clusters, row = rows_of_clusters(np.array([2.0, np.nan, 0.0]))
    assert clusters.tolist() == [0, 2] and row.tolist() == [1, -1, 0]


@pytest.mark.parametrize(
    ("values", "labels", "told"),
    [
        (np.ones((3, 2)), [0, 1], "3 labels; found 2"),
        (np.ones(3), [0, 1, 2], "a table of cells by markers"),
        (np.array([["a"], ["b"]]), [0, 1], "are numbers"),
        (np.ones((2, 1)), [-1, -1], "no cell has a cluster"),
        (np.ones((2, 1)), [0.5, 1.0], "whole numbers"),
        (np.ones((2, 0)), [0, 1], "are numbers"),
    ],
)
def test_what_cannot_have_medians_is_told(values, labels, told):
    with pytest.raises(InputError, match=told):
        cluster_medians(values, labels)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", METHODS)
def test_the_tree_its_cut_and_its_leaves_are_those_of_scipy(method, metric):
    if method == "ward" and metric != "euclidean":
        with pytest.raises(ParameterError, match="Euclidean"):
            link(np.eye(3), method, metric)
        return
    for kind in (np.float32, np.float64):
        rows = np.random.default_rng(3).normal(size=(40, 6)).astype(kind)
        tree = link(rows, method, metric)
        np.testing.assert_array_equal(tree, scipy_linkage(rows, method, metric))
        for height in (default_cut(tree), 0.0, tree[3, 2], tree[-1, 2]):
            assert cut(tree, height).tolist() == cut_tree(tree, height=height).ravel().tolist()
        for count in (1, 7, 40):
            assert len(set(merged_into(tree, count).tolist())) == count
        assert leaves(tree).tolist() == dendrogram(tree, no_plot=True)["leaves"]
        assert leaves(tree).dtype == cut(tree).dtype == np.int32


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_a_row_without_a_direction_is_far_from_all_others_and_near_its_like(metric):
    """SciPy has no distance there, and no tree: constant clusters are what z-scores of one marker give."""
    rows = np.array([[0, 0, 0], [1, 2, 4], [0, 0, 0], [2, 1, 0]], float)
    tree = link(rows, "average", metric)
    assert np.isfinite(tree).all() and tree[0].tolist() == [0, 2, 0, 2]


def test_one_cluster_is_a_tree_without_merges():
    tree = link(np.ones((1, 3)))
    assert tree.shape == (0, 4) and default_cut(tree) == 0
    assert cut(tree).tolist() == leaves(tree).tolist() == merged_into(tree, 1).tolist() == [0]


def test_a_matrix_that_no_tree_can_be_built_on_is_told():
    for wrong in (np.empty((0, 3)), np.array([[np.nan, 1.0], [1, 2]])):
        with pytest.raises(InputError):
            link(wrong)
    with pytest.raises(ParameterError, match="1 to 3"):
        merged_into(link(np.eye(3)), 4)
