"""A diff tells what was done between two heat maps, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from cytopipe.heatmap.diff import diff_states, draw_diff
from cytopipe.heatmap.matrix import cluster_medians, z_scores
from cytopipe.heatmap.state import HeatmapState, cluster_ids
from cytopipe.storage.formats.figure import figure_bytes
from cytopipe_tests.heatmap.states import HOSTILE, make_state


def subset_of(state: HeatmapState, keep: np.ndarray, **fields) -> HeatmapState:
    """The clusters where `keep` is true, as step 6 makes them."""
    rows = np.full(state.n_clusters + 1, -1)
    rows[:-1][keep] = np.arange(keep.sum())
    given = {
        "cluster_ids": [name for name, kept in zip(state.cluster_ids, keep, strict=True) if kept],
        "row_order": None,
        "linkage": None,
        "obs": {},
        "embeddings": {},
        "subset_lineage": None,
        "cell_cluster": rows[state.cell_cluster],
        **{
            name: getattr(state, name)[keep]
            for name in ("matrix", "median", "metacluster", "revision", "n_cells")
        },
    }
    return state.child(6, **given | fields)


def test_nothing_differs_between_a_state_and_itself_and_a_child_that_changes_nothing():
    state = make_state()
    for other in (state, make_state(), state.child(2)):
        diff = diff_states(state, other)
        assert not diff and "nothing differs" in diff.as_text()
    assert diff_states(state, state.flipped())
    assert [one.name for one in diff_states(state, state.flipped()).parameters] == ["orientation"]


def test_a_revision_tells_the_cells_that_moved():
    state = make_state(revision=np.full(12, -2), names={})
    revision = np.full(12, -2)
    revision[state.metacluster == 0] = 1
    child = state.child(2, revision=revision, names={1: "B cells"})
    diff = diff_states(state, child)
    moved = int(state.n_cells[state.metacluster == 0].sum())
    assert diff.relation == "same" and diff.labels.by == "name"
    assert diff.labels.moved == moved and diff.labels.n_cells == state.n_cells.sum()
    assert diff.labels.flows() == [("Metacluster 0", "B cells", moved)]
    assert diff.sets["metaclusters"].removed == ("Metacluster 0", "Metacluster 1")
    assert diff.sets["metaclusters"].added == ("B cells",)
    assert [(one.before, one.after) for one in diff.metaclusters] == [("Metacluster 1", "B cells")]
    assert diff.shifts == () and diff.matrix.n_changed == 0
    assert f"{moved:,} of {state.n_cells.sum():,} cells moved" in diff.as_text()


def test_a_diff_of_step_3_against_step_6_reports_channels_and_subset():
    state = make_state().child(3, parameters={"flowsom_cutoffs": 1})
    keep = np.arange(12) < 5
    child = subset_of(
        state,
        keep,
        selected_channels=["140Nd_CD0", "999Xx"],
        subset_filters=[{"column": "lineage", "op": "in", "values": ["T"]}],
        parameters={"flowsom_cutoffs": 2},
    )
    diff = diff_states(state, child)
    assert diff.relation == "subset"
    assert diff.sets["selected channels"].added == ("999Xx",)
    assert diff.sets["selected channels"].removed == tuple(state.selected_channels[1:])
    assert diff.sets["filters"].added == ('{"column":"lineage","op":"in","values":["T"]}',)
    assert diff.sets["clusters"].removed == tuple(state.cluster_ids[5:]) and not diff.sets["clusters"].added
    assert [(one.name, one.before, one.after) for one in diff.parameters] == [
        ("parameters.flowsom_cutoffs", 1, 2)
    ]
    assert diff.labels.moved == 0 and diff.labels.only_before == state.n_cells[5:].sum()
    back = diff_states(child, state)
    assert back.relation == "superset" and back.labels.only_after == state.n_cells[5:].sum()
    assert back.sets["filters"].removed == diff.sets["filters"].added


def clustered(values: np.ndarray, labels: np.ndarray, metacluster: list[int], **fields) -> HeatmapState:
    found = cluster_medians(values, labels)
    return HeatmapState(
        cluster_ids(len(found.clusters)),
        [f"m{number}" for number in range(values.shape[1])],
        z_scores(found.median),
        metacluster,
        median=found.median,
        n_cells=found.n_cells,
        cell_cluster=found.row,
        **fields,
    )


def test_cells_clustered_again_are_compared_by_the_cells_they_share():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 1000)
    values = rng.normal(size=(1000, 3)) + 9 * labels[:, None]
    renamed = np.array([2, 0, 3, 1])[labels]
    one = clustered(values, labels, [0, 1, 2, 3])
    other = clustered(values, renamed, [3, 2, 1, 0])
    diff = diff_states(one, other)
    assert diff.labels.by == "cells" and diff.labels.moved == 0 and diff.labels.agreement == 1
    assert diff.shifts == ()  # every cluster was found again, under another name
    some = renamed.copy()
    some[labels == 0] = np.where(np.arange((labels == 0).sum()) < 50, 1, 2)
    diff = diff_states(one, clustered(values, some, [3, 2, 1, 0]))
    assert diff.labels.moved == 50
    assert {(shift.cluster, shift.now) for shift in diff.shifts} >= {("cluster_001", "cluster_003")}


def test_maps_of_thousands_of_nodes_are_matched_by_most_cells_first(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 50)
    values = rng.normal(size=(2000, 3)) + labels[:, None]
    renamed = rng.permutation(40)[labels]
    some = np.where(rng.random(2000) < 0.2, rng.integers(0, 40, 2000), renamed)
    one, other = (clustered(values, given, [0] * 40) for given in (labels, some))
    exact = diff_states(one, other)
    monkeypatch.setattr("cytopipe.heatmap.diff._EXACT", 0)
    assert diff_states(one, other).as_json() == exact.as_json()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_contingency_agreement_and_shifts_are_what_they_are_called(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 60))
    values = rng.normal(size=(n, 2))
    first, second = rng.integers(-1, 4, n), rng.integers(-1, 4, n)
    first[0] = second[0] = 0
    count = [len(set(some[some >= 0].tolist())) for some in (first, second)]
    one = clustered(values, first, rng.integers(0, 3, count[0]).tolist())
    other = clustered(values, second, rng.integers(0, 3, count[1]).tolist())
    diff = diff_states(one, other)
    both = (first >= 0) & (second >= 0)
    assert diff.labels.n_cells == both.sum() == diff.labels.counts.sum()
    assert diff.labels.only_before == (first >= 0).sum() - both.sum()
    expected = adjusted_rand_score(one.cell_label[both], other.cell_label[both])
    assert diff.labels.agreement == pytest.approx(expected, abs=1e-9)
    assert sum(flow[2] for flow in diff.labels.flows()) == diff.labels.moved
    for shift in diff.shifts:
        row, column = other.cluster_ids.index(shift.now), other.markers.index(shift.marker)
        assert shift.after == other.median[row, column]
    distances = [abs(shift.by) for shift in diff.shifts]
    assert distances == sorted(distances, reverse=True)
    assert diff_states(one, other).as_json() == json.loads(json.dumps(diff.as_json()))


def test_without_cells_or_medians_clusters_are_compared_by_name_and_it_is_said():
    one = make_state(cell_cluster=None, median=None)
    other = one.child(2, matrix=one.matrix + np.float32(0.5), revision=np.full(12, 2))
    diff = diff_states(one, other)
    assert diff.relation == "unknown" and diff.shifted == "z-score" and len(diff.shifts) == 60
    assert diff.matrix.mean == pytest.approx(0.5, abs=1e-6) and diff.matrix.n_changed == 60
    assert diff.labels.n_cells == one.n_cells.sum()
    assert "does not say which cells" in diff.as_text()
    nothing = diff_states(one.replace(n_cells=None), other.replace(n_cells=None))
    assert nothing.labels is None
    assert diff_states(make_state(), make_state(seed=3, cells_digest="1" * 64)).relation == "other"


def test_text_and_picture_are_the_same_twice_and_safe_with_hostile_names():
    names = dict(enumerate(HOSTILE))
    one = make_state(names=names, markers=HOSTILE[:5], training_markers=HOSTILE[:5], description=HOSTILE[1])
    other = one.child(HOSTILE[0], median=one.median + 1, revision=np.arange(12) % 3)
    diff = diff_states(one, other)
    text = diff.as_text()
    assert text == diff_states(one, other).as_text()
    assert "\x1b" not in text and "\u202e" not in text and "a\nb" not in text
    pictures = [figure_bytes(draw_diff(diff_states(one, other)), kind) for kind in ("png", "png", "svg")]
    assert pictures[0] == pictures[1] and b"<b>" not in pictures[2]
    assert figure_bytes(draw_diff(diff_states(one, one)))


def test_a_long_diff_is_cut_and_says_so():
    one = make_state(60, 5)
    other = one.child(2, median=one.median + np.arange(60, dtype="f4")[:, None] + 1)
    lines = diff_states(one, other).as_text(3).splitlines()
    assert "  and 297 more" in lines and len(lines) < 30


def test_two_subsets_without_a_common_cell_are_compared_by_what_they_say():
    state = make_state()
    half = np.arange(state.n_clusters) < state.n_clusters // 2
    found = diff_states(subset_of(state, half), subset_of(state, ~half))
    assert found.relation == "disjoint"
    assert found.labels is not None
    assert found.labels.n_cells == 0
    assert found.labels.agreement is None
    assert "they share no cell" in found.as_text()
