"""A heat map as a value: checked whole, never changed, its identifiers, colours and orders stable."""

from __future__ import annotations

import uuid

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import InputError
from cytopipe.heatmap import HeatmapDisplay, validate_artifact
from cytopipe.heatmap.artifact import (
    load_heatmap_state,
    save_heatmap_state,
    serialize_heatmap_state,
    state_of,
)
from cytopipe.heatmap.display import of_clusters
from cytopipe.heatmap.folder import RunFolder
from cytopipe.heatmap.state import (
    NOT_REVISED,
    STEPS,
    UNASSIGNED,
    HeatmapState,
    cluster_ids,
    id_of_recipe,
    new_id,
    step_slug,
)
from cytopipe_tests.heatmap.states import make_state


def test_everything_that_does_not_fit_together_is_told_at_once():
    with pytest.raises(InputError) as caught:
        HeatmapState(
            ["a", "a", ""],
            ["x"],
            np.full((2, 2), np.nan),
            [0, 1, -2],
            row_order=[0, 0, 1],
            id="x",
            colours={1: "red"},
            orientation="sideways",
            cell_cluster=[0, 3],
            description="half a pair \ud800",
            parents=["x"],
            training_markers=["y"],
        )
    told = str(caught.value)
    for what in (
        "two clusters have the name 'a'",
        "empty name",
        "matrix: has another shape",
        "matrix: holds values that are not finite",
        "row_order: is no permutation",
        "metacluster: is negative",
        "colours: of metacluster 1 is no colour",
        "orientation: is unknown",
        "training_markers: names markers that are not there",
        "id: is no UUID",
        "names a parent twice, or itself",
        "description: holds a character that no file can keep",
        "cell_cluster: names clusters that are not there",
    ):
        assert what in told


@pytest.mark.parametrize(
    "wrong",
    [
        {"metacluster": [0.5] * 12},
        {"metacluster": [1 << 40] * 12},
        {"parameters": {"x": float("nan")}},
        {"parameters": {1: "x"}},
        {"parameters": {"x": object()}},
        {"step_id": "0"},
        {"step_id": " "},
        {"n_cells": np.arange(12)},
        {"n_cells": -np.ones(12, int), "cell_cluster": None},
        {"names": {0: "a\0b"}},
    ],
)
def test_values_that_no_checkpoint_can_hold_are_refused(wrong):
    state = make_state()
    with pytest.raises(InputError):
        state.replace(**wrong)


def test_a_state_cannot_be_changed_from_outside():
    labels = np.zeros(12, int)
    state = make_state(metacluster=labels)
    labels[0] = 5
    assert state.metacluster[0] == 0
    for array in (state.matrix, state.revision, state.cell_cluster, state.obs["area"]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_a_revision_is_the_label_and_locks_the_cut():
    state = make_state()
    assert state.locked and state.label[:2].tolist() == [UNASSIGNED, 3]
    assert state.label[2:].tolist() == state.metacluster[2:].tolist()
    assert not state.replace(revision=None).locked
    assert state.name_of(UNASSIGNED) == "Unassigned" and state.colour_of(UNASSIGNED) == "#9e9e9e"
    assert state.name_of(77) == "Metacluster 77"
    outside = state.cell_cluster < 0
    assert (state.cell_label[outside] == NOT_REVISED).all()
    assert (state.cell_label[~outside] == state.label[state.cell_cluster[~outside]]).all()


def test_steps_have_numbers_names_and_a_persons_own_words():
    assert [step_slug(number) for number in range(1, 12)] == list(STEPS.values())
    assert step_slug("6") == step_slug(6) == step_slug("subset_lineage") == "subset_lineage"
    assert step_slug(" before lunch ") == "before lunch"
    for wrong in (0, 12, "-3", ""):
        with pytest.raises(InputError):
            step_slug(wrong)


def test_identifiers_follow_the_recipe_or_chance():
    one = id_of_recipe("x")
    assert one == id_of_recipe("x") != id_of_recipe("y") and uuid.UUID(one).version == 4
    assert uuid.UUID(new_id()).version == 4 and new_id() != new_id()
    assert cluster_ids(1000)[::999] == ("cluster_001", "cluster_1000")


def test_a_child_remembers_all_before_it():
    root = make_state()
    one, other = root.child(2), root.child(10)
    merge = one.child("merge", beside=[other])
    assert merge.parents == (one.id, other.id)
    assert [before.id for before in merge.ancestors] == [root.id, one.id, other.id]
    assert len({root.id, one.id, other.id, merge.id}) == 4 and merge.description == merge.created_at == ""


STABLE = (
    "cluster_ids",
    "markers",
    "names",
    "colours",
    "row_order",
    "col_order",
    "matrix",
    "label",
    "cell_label",
)


@given(
    moves=st.lists(
        st.sampled_from(["save", "zarr", "folder", "flip", "branch", "merge", "anndata"]), max_size=4
    ),
    seed=st.integers(0, 50),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_identifiers_colours_and_order_are_stable_whatever_is_done(moves, seed, tmp_path):
    """Saved, loaded, flipped, branched and merged in any order: what a person sees stays."""
    first = state = make_state(7, 4, seed=seed, n_cells=40)
    seen = [state.id]
    for move in moves:
        if move == "save":
            state = load_heatmap_state(save_heatmap_state(state, tmp_path / "x.h5ad"))
        elif move == "zarr":
            state = load_heatmap_state(save_heatmap_state(state, tmp_path / "x.zarr"))
        elif move == "folder":
            folder = RunFolder(tmp_path / "run")
            folder.put(state)
            state = folder.get(state.id)
        elif move == "flip":
            state = state.flipped().flipped().flipped()
        elif move == "branch":
            state = state.child(6)
        elif move == "merge":
            state = state.child("merge", beside=[state.child(10)])
        else:
            state = state_of(serialize_heatmap_state(state))
        if move in ("branch", "merge"):
            assert state.id not in seen and seen[-1] in state.parents
            seen.append(state.id)
        assert state.id == seen[-1]
    for name in STABLE:
        assert np.array_equal(np.asarray(getattr(state, name)), np.asarray(getattr(first, name))), name
        assert type(getattr(state, name)) is type(getattr(first, name))
    assert {one.id for one in state.ancestors} >= set(seen[:-1])
    assert (state.orientation == first.orientation) == (moves.count("flip") % 2 == 0)


# ---------------------------------------------------------------------- on display


def test_what_is_collected_is_a_checkpoint_whose_parent_was_loaded(tmp_path):
    display = HeatmapDisplay(make_state())
    first = display.collect_heatmap_state(1, "first", include_embeddings=False, include_raw_medians=False)
    assert validate_artifact(first) == () and "median" not in first.layers and not first.obsm
    assert first.uns["checkpoint"]["parent_id"] == "" and first.uns["checkpoint"]["created_at"].endswith("Z")
    path = display.save(tmp_path, 1, "first")
    assert path.name.startswith("flowsom_initial_clustering_2")
    second = HeatmapDisplay.load(path).save(tmp_path, 6, "T cells")
    child, parent = load_heatmap_state(second), load_heatmap_state(path)
    assert child.parents == (parent.id,) and [one.id for one in child.ancestors] == [parent.id]
    assert display.save(tmp_path, 1, "the same second") != path
    with pytest.raises(InputError, match="stands there"):
        display.save(tmp_path, 1, "x", name=path.name)
    given = display.collect_heatmap_state("2", "x", parent_id=child.id)
    assert given.uns["checkpoint"]["parent_id"] == child.id


def test_columns_of_cells_become_columns_of_clusters():
    rows = np.array([0, 0, 0, 1, 1, -1])
    fov = pd.Series(["b", "a", "b", "y", "x", "z"])
    assert of_clusters(fov, rows, 3).tolist() == ["b", "x", None]
    area = of_clusters(pd.Series([1, 2, 4, 10, 20, 99]), rows, 3)
    assert area[:2].tolist() == [2, 15] and np.isnan(area[2])
    assert of_clusters(fov.astype("category"), rows, 2).tolist() == ["b", "x"]
    with pytest.raises(InputError, match="do not fit together"):
        of_clusters(fov[:2], rows, 3)


def test_a_column_that_is_not_there_is_told():
    state = make_state()
    cells = pd.DataFrame({"fov": ["f"] * len(state.cell_cluster)})
    kept = HeatmapDisplay(state, cells).collect_heatmap_state(1, "x", metadata_cols=["fov"])
    assert set(kept.obs["fov"]) == {"f"}
    with pytest.raises(InputError, match="no column 'mask'"):
        HeatmapDisplay(state, cells).collect_heatmap_state(1, "x", metadata_cols=["mask"])
    with pytest.raises(InputError, match="no cells are known"):
        HeatmapDisplay(state).collect_heatmap_state(1, "x", metadata_cols=["fov"])
