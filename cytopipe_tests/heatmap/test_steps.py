"""The steps of the workflow, as functions of values."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from cytopipe.errors import InputError, ParameterError
from cytopipe.heatmap.choices import Finalization, Gate, MixedChoice, Revision, SubsetChoice
from cytopipe.heatmap.making import make_all
from cytopipe.heatmap.merging import is_finer, merge
from cytopipe.heatmap.mixed import is_mixed, mixed_clusters, silhouettes
from cytopipe.heatmap.parameters import FlowSOMSettings, HeatmapSettings
from cytopipe.heatmap.prepared import PreparedCells
from cytopipe.heatmap.state import STEPS, HeatmapState
from cytopipe.heatmap.steps import (
    About,
    finalize,
    identify_mixed,
    initial_clustering,
    recluster,
    recluster_mixed,
    revise,
    subset_lineage,
)
from cytopipe_tests.heatmap.blood import KINDS, branches, prepared, workflow

SMALL = FlowSOMSettings(x_dim=5, y_dim=5, n_metaclusters=6)
TINY = FlowSOMSettings(x_dim=3, y_dim=3, n_metaclusters=2)


@cache
def cells() -> PreparedCells:
    return prepared()


@cache
def first() -> HeatmapState:
    return initial_clustering(cells(), SMALL, HeatmapSettings(), about=About("blood", "main"))


@cache
def made() -> dict[str, HeatmapState]:
    """Every checkpoint of the example."""
    return {
        str(node.at): state
        for node, state in make_all(workflow(), branches(), cells(), data_set="blood")
        if isinstance(state, HeatmapState)
    }


def test_markers_have_roles_of_their_own_for_the_map_and_for_the_tree() -> None:
    settings = HeatmapSettings(linkage_markers=["CD3", "CD19", "CD56"])
    state = initial_clustering(cells(), SMALL, settings, markers=["CD3", "CD4", "CD8", "CD19"])
    assert state.training_markers == ("CD3", "CD4", "CD8", "CD19")
    assert state.linkage_markers == ("CD3", "CD19", "CD56")
    assert state.markers == cells().markers
    alike = initial_clustering(cells(), SMALL, HeatmapSettings(), markers=["CD3", "CD4", "CD8", "CD19"])
    assert np.array_equal(state.cell_cluster, alike.cell_cluster)
    assert np.array_equal(state.metacluster, alike.metacluster)
    assert not np.array_equal(state.linkage, alike.linkage)
    with pytest.raises(InputError, match="there is no marker 'CD99'"):
        initial_clustering(cells(), SMALL, HeatmapSettings(linkage_markers=["CD99"]))


def test_the_initial_clustering_has_every_cell_once() -> None:
    state = first()
    assert state.n_cells.sum() == len(cells())
    assert (state.cell_cluster >= 0).all()
    assert state.step_id == "initial_clustering"
    assert state.parents == ()


def test_cells_of_one_kind_mostly_share_a_metacluster() -> None:
    state, kind = first(), cells().table.cells["kind"].to_numpy()
    for name in KINDS:
        labels = state.cell_label[kind == name]
        assert np.bincount(labels).max() / len(labels) > 0.9, name


def test_medians_are_those_of_the_transformed_values() -> None:
    state = first()
    inside = cells().values[state.cell_cluster == 3]
    assert np.array_equal(state.median[3], np.median(inside, axis=0))


def test_the_same_recipe_gives_an_equal_state_with_the_same_identifier() -> None:
    again = initial_clustering(cells(), SMALL, HeatmapSettings(), about=About("blood", "main"))
    assert again.unlike(first()) == ()
    other = initial_clustering(
        cells(), SMALL.replace(seed=7), HeatmapSettings(), about=About("blood", "main")
    )
    assert other.id != first().id


def test_markers_that_are_not_trained_on_are_shown_all_the_same() -> None:
    state = initial_clustering(cells(), SMALL, HeatmapSettings(), markers=["CD3", "CD19", "CD14"])
    assert state.training_markers == ("CD3", "CD19", "CD14")
    assert state.markers == cells().markers


def test_metaclusters_follow_the_cut_of_the_tree_where_the_settings_have_one() -> None:
    state = initial_clustering(cells(), SMALL, HeatmapSettings(cut=0.0))
    assert len(set(state.metacluster.tolist())) == state.n_clusters
    assert state.dendrogram_cut == 0.0


def test_a_map_with_more_nodes_than_cells_is_refused_with_a_smaller_one() -> None:
    few = prepared(n_cells=20)
    with pytest.raises(InputError, match=r"fewer cells than the map has nodes.*x_dim: 1"):
        initial_clustering(few, SMALL, HeatmapSettings())


# ---------------------------------------------------------------------- revise


def test_merged_metaclusters_have_one_number_and_the_name() -> None:
    state = revise(first(), cells(), Revision(merge={"T cells": ["0", "1"]}))
    assert set(state.label[np.isin(first().label, [0, 1])].tolist()) == {0}
    assert state.name_of(0) == "T cells"
    assert state.colours[0] == first().colours[0]
    assert state.locked


def test_a_name_is_found_by_number_and_by_name() -> None:
    state = revise(first(), cells(), Revision(rename={"2": "B cells"}))
    again = revise(state, cells(), Revision(rename={"B cells": "B"}))
    assert again.name_of(2) == "B"


def test_a_moved_cluster_joins_an_old_or_a_new_metacluster() -> None:
    cluster = first().cluster_ids[4]
    state = revise(first(), cells(), Revision(move={"odd": [cluster]}))
    number = int(state.label[4])
    assert state.name_of(number) == "odd"
    assert number not in first().label
    assert state.colours[number] not in first().colours.values()
    back = revise(state, cells(), Revision(move={"3": [cluster]}))
    assert back.label[4] == 3


def test_an_unassigned_cluster_is_grey() -> None:
    state = revise(first(), cells(), Revision(unassign=[first().cluster_ids[0]]))
    assert state.label[0] == -1
    assert state.colour_of(-1) == "#9e9e9e"
    assert state.name_of(-1) == "Unassigned"


def test_unknown_names_are_all_told_with_what_there_is() -> None:
    state = revise(first(), cells(), Revision(rename={"0": "T cells"}))
    with pytest.raises(InputError) as caught:
        revise(
            state,
            cells(),
            Revision(merge={"x": ["T cel"]}, rename={"99": "y"}, move={"T cells": ["cluster_999"]}),
        )
    told = [str(one) for one in caught.value.findings]
    assert len(told) == 3
    assert "no metacluster 'T cel'" in told[0]
    assert "Metacluster 1, Metacluster 2" in told[0]
    assert told[0].endswith("Did you mean 'T cells'?")
    assert "no metacluster '99'" in told[1]
    assert "no cluster 'cluster_999'" in told[2]


def test_a_metacluster_that_was_merged_away_is_told_as_such() -> None:
    with pytest.raises(InputError, match="metacluster 1 was merged into 'T cells'"):
        revise(first(), cells(), Revision(merge={"T cells": ["0", "1"]}, rename={"1": "CD8"}))


def test_two_metaclusters_of_one_name_are_refused_with_the_merge_that_was_meant() -> None:
    with pytest.raises(InputError, match=r"write merge: \{T: \[0, 1\]\}"):
        revise(first(), cells(), Revision(rename={"0": "T", "1": "T"}))


def test_a_cluster_cannot_be_moved_to_two_places() -> None:
    with pytest.raises(ParameterError, match="cluster_001 is moved to a and to b"):
        Revision(move={"a": ["cluster_001"], "b": ["cluster_001"]})


def test_a_new_cut_replaces_metaclusters_until_a_person_revised_them() -> None:
    state = revise(first(), cells(), Revision(cut=0.0))
    assert len(set(state.label.tolist())) == state.n_clusters
    locked = revise(first(), cells(), Revision(unassign=[first().cluster_ids[0]]))
    with pytest.raises(InputError, match="the cut stays"):
        revise(locked, cells(), Revision(cut=1.0))


def test_an_empty_revision_says_nothing_new() -> None:
    state = revise(first(), cells(), Revision())
    assert set(state.unlike(first())) == {"id", "parents", "ancestors", "step_id", "parameters"}


# ---------------------------------------------------------------------- mixed


def test_a_cluster_high_in_two_exclusive_markers_is_mixed_and_says_why() -> None:
    why = mixed_clusters(first(), MixedChoice(exclusive=[["CD3", "CD19"]], high=0.3))
    kind = cells().table.cells["kind"].to_numpy()
    rows = [first().cluster_ids.index(name) for name in why]
    inside = kind[np.isin(first().cell_cluster, rows)]
    assert (inside == "T-B pair").mean() > 0.95
    assert all(one[0].startswith("CD3 ") and " and CD19 " in one[0] for one in why.values())


def test_a_person_names_mixed_clusters_and_exceptions() -> None:
    one, other = first().cluster_ids[:2]
    why = mixed_clusters(first(), MixedChoice(clusters=[one, other], never=[other]))
    assert why == {one: ["a person"]}


def test_silhouettes_are_those_of_the_definition() -> None:
    state, widths = first(), silhouettes(first())
    points, label = state.matrix.astype(float), state.label
    for row in range(state.n_clusters):
        distance = np.linalg.norm(points - points[row], axis=1)
        own = (label == label[row]) & (np.arange(len(label)) != row)
        others = [distance[label == other].mean() for other in set(label.tolist()) - {label[row]}]
        expected = 0.0
        if own.any():
            a, b = distance[own].mean(), min(others)
            expected = (b - a) / max(a, b)
        assert widths[row] == pytest.approx(expected, abs=1e-12)


def test_an_unknown_marker_of_a_rule_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no marker 'CD33'.*Did you mean 'CD3'"):
        mixed_clusters(first(), MixedChoice(exclusive=[["CD33", "CD19"]]))


# ---------------------------------------------------------------------- subset, recluster


def test_a_lineage_has_cells_of_its_parent_that_meet_every_condition() -> None:
    state = identify_mixed(
        first(), cells(), MixedChoice(exclusive=[["CD3", "CD19"]], high=0.3), about=About("blood", "main")
    )
    choice = SubsetChoice(gates={"CD3": Gate(above=1.5)}, where="sample in ['a']")
    child = subset_lineage(state, cells(), choice, HeatmapSettings(), about=About("blood", "t"))
    inside = child.cell_cluster >= 0
    assert inside.any()
    assert (cells().column("CD3")[inside] > 1.5).all()
    assert set(cells().table.cells["sample"][inside]) == {"a"}
    assert not np.append(is_mixed(state), False)[state.cell_cluster][inside].any()
    assert set(child.cluster_ids) <= set(state.cluster_ids)
    assert child.subset_lineage == ("t",) * child.n_clusters
    assert child.subset_filters_expr == "CD3 > 1.5 and (sample in ['a']) and not mixed"


def test_a_cluster_keeps_its_identifier_its_metacluster_and_its_colour_in_a_lineage() -> None:
    parent, child = made()["main.3"], made()["t_cells.6"]
    of = {name: row for row, name in enumerate(parent.cluster_ids)}
    rows = [of[name] for name in child.cluster_ids]
    assert np.array_equal(child.label, parent.label[rows])
    assert {int(one): child.colours[int(one)] for one in child.label}.items() <= parent.colours.items()


def test_z_scores_of_a_lineage_are_those_among_its_own_clusters() -> None:
    child = made()["t_cells.6"]
    assert np.allclose(child.matrix.mean(axis=0), 0, atol=1e-5)


def test_a_condition_that_no_cell_meets_is_refused_with_the_counts() -> None:
    with pytest.raises(InputError, match=r"no cell belongs to the subset.*0 after CD3"):
        subset_lineage(first(), cells(), SubsetChoice(gates={"CD3": Gate(above=99)}), HeatmapSettings())


def test_a_lineage_by_metacluster_and_by_cluster_together() -> None:
    row = int(np.flatnonzero(first().label != 0)[0])
    choice = SubsetChoice(metaclusters=["0"], clusters=[first().cluster_ids[row]])
    child = subset_lineage(first(), cells(), choice, HeatmapSettings())
    expected = (first().label == 0) | (np.arange(first().n_clusters) == row)
    assert set(child.cluster_ids) == {
        name for name, one in zip(first().cluster_ids, expected, strict=True) if one
    }


def test_a_reclustered_lineage_has_the_same_cells_in_other_clusters() -> None:
    before, after = made()["t_cells.6"], made()["t_cells.7"]
    assert np.array_equal(before.cell_cluster >= 0, after.cell_cluster >= 0)
    assert after.n_clusters <= 9
    assert after.flowsom["grid"] == [3, 3]
    assert after.subset_lineage[0] == "t_cells"


def test_the_mixed_branch_has_the_cells_of_the_mixed_clusters() -> None:
    parent, child = made()["main.3"], made()["mixed.10"]
    expected = np.append(is_mixed(parent), False)[parent.cell_cluster]
    assert np.array_equal(child.cell_cluster >= 0, expected)
    assert not is_mixed(child).any()


def test_without_mixed_clusters_there_is_nothing_to_recluster() -> None:
    state = identify_mixed(first(), cells(), MixedChoice())
    with pytest.raises(InputError, match="no cluster is marked as mixed"):
        recluster_mixed(state, cells(), TINY, HeatmapSettings())


def test_a_state_of_other_cells_is_refused() -> None:
    with pytest.raises(InputError, match="is about other cells"):
        recluster(first(), prepared(seed=5), TINY, HeatmapSettings())
    with pytest.raises(InputError, match="does not say which cells"):
        revise(first().replace(cell_cluster=None), cells(), Revision())


# ---------------------------------------------------------------------- finalize, merge


def test_a_final_without_names_is_refused_where_they_are_required() -> None:
    with pytest.raises(InputError, match=r"metaclusters without a name: 0, 1, 2, 3, 4, 5"):
        finalize(first(), cells(), Finalization(require_names=True))
    named = revise(first(), cells(), Revision(rename={str(n): f"kind {n}" for n in range(6)}))
    assert finalize(named, cells(), Finalization(require_names=True)).step_id == "finalize"


def test_clusters_without_a_metacluster_are_refused_where_they_are_not_allowed() -> None:
    state = revise(first(), cells(), Revision(unassign=[first().cluster_ids[0]]))
    with pytest.raises(InputError, match="clusters without a metacluster: cluster_"):
        finalize(state, cells(), Finalization(allow_unassigned=False))


def test_the_merge_has_every_cell_once_and_the_finer_label_wins() -> None:
    state = made()["all"]
    assert (state.cell_cluster >= 0).all()
    branch = np.array([name.split(".")[0] for name in state.cluster_ids])[state.cell_cluster]
    lineage, mixed = made()["t_cells.9"].cell_cluster >= 0, made()["mixed.11"].cell_cluster >= 0
    assert set(branch[lineage]) == {"t_cells"}
    assert set(branch[mixed]) == {"mixed"}
    assert set(branch[~lineage & ~mixed]) == {"main"}
    assert state.parents == tuple(made()[one].id for one in ("main.5", "t_cells.9", "mixed.11"))


def test_the_order_of_parents_changes_no_label() -> None:
    some = [made()[one] for one in ("main.5", "t_cells.9", "mixed.11")]
    settings = HeatmapSettings()
    one = merge(some, cells(), branches()["all"].merging, settings)
    other = merge(some[::-1], cells(), branches()["all"].merging, settings)
    named = [
        np.array([state.name_of(int(n)) for n in state.label])[state.cell_cluster] for state in (one, other)
    ]
    assert np.array_equal(*named)


def test_a_lineage_is_finer_than_what_it_began_from_and_its_final_alone() -> None:
    assert is_finer(made()["t_cells.9"], made()["main.5"])
    assert is_finer(made()["t_cells.9"], made()["main.3"])
    assert not is_finer(made()["main.5"], made()["t_cells.9"])
    assert not is_finer(made()["t_cells.9"], made()["mixed.11"])
    assert not is_finer(made()["t_cells.9"], made()["t_cells.7"])
    assert not is_finer(made()["main.5"], made()["main.3"])


def test_finals_that_share_cells_are_refused_with_the_counts() -> None:
    other = subset_lineage(
        made()["main.3"],
        cells(),
        SubsetChoice(gates={"CD4": Gate(above=1.5)}),
        HeatmapSettings(),
        about=About("blood", "cd4"),
    )
    shared = int(((made()["t_cells.9"].cell_cluster >= 0) & (other.cell_cluster >= 0)).sum())
    with pytest.raises(InputError, match=f"share {shared:,} cells") as caught:
        merge([made()["t_cells.9"], other], cells(), branches()["all"].merging, HeatmapSettings())
    assert "t_cells (lineage_finalize) and cd4 (subset_lineage)" in str(caught.value)


@pytest.mark.parametrize(("same_names", "names"), [("join", {"X"}), ("keep", {"X", "t_cells X"})])
def test_metaclusters_of_one_name_become_one_in_a_merge_unless_they_are_to_be_kept(same_names, names) -> None:
    monocytes = np.bincount(first().cell_label[cells().table.cells["kind"] == "monocyte"]).argmax()
    given = branches(
        main={"revise": {"rename": {str(monocytes): "X"}}},
        t_cells={"revise": {"rename": {"0": "X"}}},
        all={"merging": {"same_names": same_names}},
    )
    states = {str(node.at): one for node, one in make_all(workflow(), given, cells())}
    shown = [states["all"].name_of(int(one)) for one in np.unique(states["all"].label)]
    assert {one for one in shown if one.endswith("X")} == names
    assert len(set(shown)) == len(shown)


def test_colours_are_kept_in_a_merge_and_none_is_given_twice() -> None:
    state = made()["all"]
    shown = [state.colours[int(one)] for one in np.unique(state.label)]
    assert len(set(shown)) == len(shown)
    kept = {state.name_of(int(one)): state.colours[int(one)] for one in np.unique(state.label)}
    main = made()["main.5"]
    for number in np.unique(main.label).tolist():
        if f"main {number}" in kept:
            assert kept[f"main {number}"] == main.colours[number]


def test_every_child_knows_all_of_its_ancestors() -> None:
    known = {one.id for one in made()["all"].ancestors}
    assert known == {state.id for name, state in made().items() if name != "all"}


def test_a_branch_of_which_nothing_is_left_is_said_to_be_empty_and_the_merge_goes_on() -> None:
    given = branches(main={"mixed": {}})
    told = {str(node.at): one for node, one in make_all(workflow(), given, cells())}
    assert told["mixed.10"] == "no cluster is mixed"
    assert told["mixed.11"] == "what it is made from is empty"
    assert told["all"].n_cells.sum() == len(cells())


def test_steps_are_named_as_the_workflow_names_them() -> None:
    for name, state in made().items():
        number = name.partition(".")[2]
        assert state.step_id == (STEPS[int(number)] if number else "merged")
