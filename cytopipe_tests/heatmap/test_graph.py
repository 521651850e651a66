"""The asset graph of heat maps: branches, stale marks, what a person has to choose, checkpoints made by
hand.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from dagster import DagsterInstance

from cytopipe.defs import heatmap as defs_heatmap
from cytopipe.defs.heatmap import HEATMAP, asset_of_step
from cytopipe.defs.heatmap_by_hand import save_by_hand
from cytopipe.defs.selection import choose, plan_runs
from cytopipe.heatmap import steps
from cytopipe.heatmap.artifact import load_heatmap_state, save_heatmap_state
from cytopipe.heatmap.branches import Reference
from cytopipe.heatmap.choices import Revision
from cytopipe.heatmap.making import make_all as make_values
from cytopipe.heatmap.revision import revised
from cytopipe.heatmap.routes import PARENTS_OF_STEP
from cytopipe.heatmap.state import new_id, now
from cytopipe.project import Project, read_project
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.heatmap.blood import BRANCHES, MARKERS, branches, prepared, workflow, write_csv

MAIN = [
    "step_01_initial_clustering",
    "step_02_revise_metaclusters",
    "step_03_identify_mixed",
    "step_05_finalize",
]
LINEAGE = [
    "step_06_subset_lineage",
    "step_07_lineage_recluster",
    "step_08_lineage_revise",
    "step_09_lineage_finalize",
]
MIXED = ["step_10_mixed_recluster", "step_11_mixed_finalize"]


def declared(directory: Path) -> Project:
    return read_project(directory / "cytopipe.yaml")


def write_project(directory: Path, given: dict = BRANCHES, **entry: object) -> Path:
    fields = {
        "cells": "blood.csv",
        "markers": list(MARKERS),
        "flowsom": {"x_dim": 5, "y_dim": 5, "n_metaclusters": 6},
        **entry,
        "branches": given,
    }
    directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({"engine": "serial", "heatmap": {"blood": fields}}, sort_keys=False)
    (directory / "cytopipe.yaml").write_text(text)
    return directory


def changed(**more: dict) -> dict:
    """The branches of the example, fields of some replaced."""
    found = copy.deepcopy(BRANCHES)
    for name, fields in more.items():
        found[name] = {**found.get(name, {}), **fields}
    return found


def wanted(one: Lab) -> dict[str, list[str]]:
    """What the ledger would make, by asset."""
    found: dict[str, list[str]] = {}
    for status in one.ledger().statuses(one.graph.makers):
        if status.state != "done":
            found.setdefault(status.asset.removeprefix("heatmap/"), []).append(status.key)
    return found


def stale(one: Lab) -> dict[str, list[str]]:
    """What Dagster itself calls stale, by asset."""
    one.ledger()  # notes what the project file says now
    return {asset.removeprefix("heatmap/"): keys for asset, keys in one.stale().items()}


def make(one: Lab, *names: str, keys: list[str]):
    return one.make(*(f"heatmap/{name}" for name in names), keys=keys)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Iterator[Lab]:
    """The example, everything made; a test leaves the project file as it found it."""
    directory = tmp_path_factory.mktemp("heatmap")
    (directory / "history").mkdir()
    with DagsterInstance.local_temp(str(directory / "history")) as instance:
        one = Lab(write_project(directory / "project"), HEATMAP, declared, instance)
        write_csv(one.directory / "blood.csv")
        one.make_wanted()
        yield one
    write_project(directory / "project")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Lab]:
    """The example, nothing made."""
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        one = Lab(write_project(tmp_path / "project"), HEATMAP, declared, instance)
        write_csv(one.directory / "blood.csv")
        yield one


@pytest.fixture(autouse=True)
def as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "made" in request.fixturenames:
        write_project(request.getfixturevalue("made").directory)


def test_what_the_definitions_repeat_is_what_the_domain_says() -> None:
    assert steps.CODE == defs_heatmap._CODE
    assert {**PARENTS_OF_STEP, 0: (5, 9, 11)} == defs_heatmap._PARENTS


def test_a_step_has_partitions_of_the_branches_that_have_it_and_no_others(made: Lab) -> None:
    counts = {asset: list(made.states(asset)) for asset in HEATMAP.makers if asset != "heatmap/overview"}
    assert counts["heatmap/cells"] == ["blood"]
    for names, key in ((MAIN, "blood.main"), (LINEAGE, "blood.t_cells"), (MIXED, "blood.mixed")):
        assert all(counts[f"heatmap/{name}"] == [key] for name in names)
    assert counts["heatmap/merged"] == ["blood.all"]
    assert counts["heatmap/cells_labelled"] == ["blood.main", "blood.t_cells", "blood.mixed", "blood.all"]


def test_everything_is_made_and_nothing_is_stale_for_the_ledger_and_for_dagster(made: Lab) -> None:
    assert wanted(made) == {}
    assert stale(made) == {}


def test_checkpoints_of_the_graph_are_those_of_the_functions(made: Lab) -> None:
    expected = {
        str(node.at): state
        for node, state in make_values(workflow(), branches(), prepared(), data_set="blood")
    }
    root = made.project.output / "heatmap" / "blood"
    final = load_heatmap_state(root / "all" / "merged.h5ad")
    assert final.cluster_ids == expected["all"].cluster_ids
    assert np.array_equal(final.cell_label, expected["all"].cell_label)
    assert (
        load_heatmap_state(root / "t_cells" / "step_09_lineage_finalize.h5ad").step_id == "lineage_finalize"
    )


def test_every_check_of_every_checkpoint_was_evaluated_and_holds(made: Lab) -> None:
    for asset in (*(asset_of_step(step) for step in PARENTS_OF_STEP), "heatmap/merged"):
        (event, *_) = made.events(asset)
        assert "failed_checks" not in event.metadata
        assert event.metadata["n_clusters"] > 1
        assert "picture" in event.metadata


def test_labels_of_cells_are_a_row_for_every_cell(made: Lab) -> None:
    import pandas as pd

    table = pd.read_parquet(made.project.output / "heatmap/blood/all/cells.parquet")
    assert len(table) == 1500
    assert list(table["cell"]) == list(range(1500))
    assert {"sample", "kind", "cluster", "metacluster", "name", "lineage", "mixed"} <= set(table.columns)
    assert set(table.loc[table["lineage"] == "t_cells", "kind"]) <= {"CD4 T", "CD8 T", "T-B pair"}


def test_one_branch_changed_makes_stale_what_hangs_on_it_and_nothing_else(made: Lab) -> None:
    write_project(made.directory, changed(t_cells={"revise": {"rename": {"0": "helper"}}}))
    assert wanted(made) == {
        "step_08_lineage_revise": ["blood.t_cells"],
        "step_09_lineage_finalize": ["blood.t_cells"],
        "merged": ["blood.all"],
        "cells_labelled": ["blood.t_cells", "blood.all"],
        "history": ["blood"],
        "browser": ["blood"],
        "overview": [""],
    }
    assert stale(made) == {"step_08_lineage_revise": ["blood.t_cells"]}
    (reason,) = made.reasons("heatmap/step_08_lineage_revise", "blood.t_cells")
    assert reason == 'heatmap/revision changed: revise.rename: {} -> {"0": "helper"}'


def test_other_settings_of_the_clustering_of_one_branch_leave_the_others_alone(made: Lab) -> None:
    write_project(made.directory, changed(mixed={"flowsom": {"x_dim": 2, "y_dim": 2, "n_metaclusters": 2}}))
    assert stale(made) == {"step_10_mixed_recluster": ["blood.mixed"]}
    assert set(wanted(made)) == {
        "step_10_mixed_recluster",
        "step_11_mixed_finalize",
        "merged",
        "cells_labelled",
        "history",
        "browser",
        "overview",
    }


def test_a_revision_of_the_main_branch_makes_stale_the_lineages_that_begin_after_it(made: Lab) -> None:
    write_project(made.directory, changed(main={"revise": {"rename": {"0": "zero"}}}))
    found = wanted(made)
    assert MAIN[0] not in found
    assert set(found) >= {*MAIN[1:], *LINEAGE, *MIXED, "merged"}
    assert stale(made) == {MAIN[1]: ["blood.main"]}


def test_a_new_branch_is_missing_and_nothing_else_is_stale(made: Lab) -> None:
    more = {
        "from": "main.3",
        "steps": [6, 9],
        "subset": {"gates": {"CD14": {"above": 2}}},
    }
    write_project(made.directory, {**BRANCHES, "monocytes": more})
    assert wanted(made) == {
        LINEAGE[0]: ["blood.monocytes"],
        LINEAGE[3]: ["blood.monocytes"],
        "cells_labelled": ["blood.monocytes"],
    }
    ledger = made.ledger()
    runs = plan_runs(ledger, choose(ledger, ["heatmap/step_09_lineage_finalize"]))
    assert [(run.assets, run.keys) for run in runs] == [
        ((f"heatmap/{LINEAGE[0]}",), ("blood.monocytes",)),
        ((f"heatmap/{LINEAGE[3]}",), ("blood.monocytes",)),
    ]


def test_branches_of_a_file_of_their_own_are_noticed_when_that_file_changes(made: Lab) -> None:
    file = made.directory / "branches.yaml"
    file.write_text(yaml.safe_dump(BRANCHES, sort_keys=False))
    write_project(made.directory, "branches.yaml")
    assert wanted(made) == {}
    file.write_text(yaml.safe_dump(changed(t_cells={"revise": {"rename": {"1": "x"}}}), sort_keys=False))
    assert stale(made) == {"step_08_lineage_revise": ["blood.t_cells"]}


# ---------------------------------------------------------------------- what a person has to choose


def test_a_step_whose_choice_is_open_is_held_with_words_and_never_planned(fresh: Lab) -> None:
    given = changed()
    del given["main"]["revise"]
    del given["t_cells"]["subset"]
    write_project(fresh.directory, given)
    fresh.make_wanted()
    states = {asset: fresh.states(asset) for asset in HEATMAP.makers}
    assert states["heatmap/step_01_initial_clustering"] == {"blood.main": "done"}
    assert set(states[asset_of_step(2)].values()) == {"held"}
    assert set(states["heatmap/merged"].values()) == {"held"}
    (words,) = fresh.reasons(asset_of_step(2), "blood.main")
    assert "look at heatmap/step_01_initial_clustering [blood.main]" in words
    assert "revise: {}" in words
    told = fresh.reasons(asset_of_step(6), "blood.t_cells")
    assert any("subset: {metaclusters: [T cells]}" in one for one in told)
    ledger = fresh.ledger()
    assert [run.assets for run in plan_runs(ledger, choose(ledger))] in (
        [],
        [("heatmap/history", "heatmap/browser")],
    )


def test_a_held_step_that_a_person_materializes_alone_keeps_everything_as_it_is(fresh: Lab) -> None:
    given = changed(main={"steps": [1, 2, 5], "mixed": None})
    del given["main"]["revise"], given["main"]["mixed"]
    write_project(fresh.directory, {"main": given["main"]})
    fresh.make_wanted()
    assert fresh.states(asset_of_step(2)) == {"blood.main": "held"}
    assert make(fresh, MAIN[1], keys=["blood.main"]).success
    assert fresh.states(asset_of_step(2)) == {"blood.main": "done"}
    assert make(fresh, MAIN[3], keys=["blood.main"]).success


def test_a_checkpoint_saved_by_hand_answers_a_held_step_and_is_kept(fresh: Lab) -> None:
    given = {"main": {"steps": [1, 2, 5]}}
    write_project(fresh.directory, given)
    fresh.make_wanted()
    root = fresh.project.output / "heatmap" / "blood" / "main"
    first = load_heatmap_state(root / "step_01_initial_clustering.h5ad")
    by_hand = first.replace(
        **revised(first, Revision(rename={"0": "by hand"})),
        id=new_id(),
        step_id="revise_metaclusters",
        created_at=now(),
        parents=(first.id,),
        ancestors=first.history_below(),
    )
    save_heatmap_state(by_hand, root / "step_02_revise_metaclusters.h5ad")
    assert fresh.states(asset_of_step(2)) == {"blood.main": "done"}
    assert fresh.changes == [f"{asset_of_step(2)} [blood.main] made outside Dagster, taken up as it is"]
    assert make(fresh, MAIN[3], keys=["blood.main"]).success
    final = load_heatmap_state(root / "step_05_finalize.h5ad")
    assert final.parents == (by_hand.id,)
    assert "by hand" in final.names.values()
    assert stale(fresh) == {}


def test_a_checkpoint_of_the_save_command_is_made_from_todays_parent(fresh: Lab) -> None:
    write_project(fresh.directory, {"main": {"steps": [1, 2, 5]}})
    fresh.make_wanted()
    first = load_heatmap_state(fresh.project.output / "heatmap/blood/main/step_01_initial_clustering.h5ad")
    state = first.replace(
        id=new_id(), step_id="revise_metaclusters", parents=(first.id,), ancestors=first.history_below()
    )
    data = fresh.project.data_set("heatmap", "blood")
    save_by_hand(fresh.ledger(), data, Reference("main", 2), state)
    assert fresh.states(asset_of_step(2)) == {"blood.main": "done"}
    write_project(fresh.directory, {"main": {"steps": [1, 2, 5], "flowsom": {"seed": 3}}})
    assert fresh.states(asset_of_step(1)) == {"blood.main": "stale"}
    assert fresh.states(asset_of_step(2)) == {"blood.main": "held"}


# ---------------------------------------------------------------------- what goes wrong


def test_a_branch_that_fails_fails_alone(fresh: Lab) -> None:
    write_project(fresh.directory, changed(t_cells={"subset": {"gates": {"CD3": {"above": 99}}}}))
    fresh.make_wanted()
    assert fresh.states(asset_of_step(6)) == {"blood.t_cells": "failed"}
    (reason,) = fresh.reasons(asset_of_step(6), "blood.t_cells")
    assert "no cell belongs to the subset" in reason
    assert fresh.states(asset_of_step(11)) == {"blood.mixed": "done"}
    assert fresh.states(asset_of_step(5)) == {"blood.main": "done"}
    assert fresh.states("heatmap/merged")["blood.all"] == "missing"
    assert fresh.states("heatmap/cells_labelled")["blood.main"] == "done"


def test_where_no_cluster_is_mixed_the_mixed_branch_is_nothing_and_the_merge_goes_on(fresh: Lab) -> None:
    write_project(fresh.directory, changed(main={"mixed": {}}))
    fresh.make_wanted()
    assert wanted(fresh) == {}
    (event, *_) = fresh.events(asset_of_step(10))
    assert event.metadata["nothing"] == "no cluster is mixed"
    assert stale(fresh) == {}


def test_everything_that_is_wrong_with_branches_is_told_at_once(tmp_path: Path) -> None:
    write_project(
        tmp_path,
        {
            "main": {"steps": [1, 2, 5, 6], "revise": {}},
            "x": {"from": "mian.3", "steps": [6], "subset": {"where": "import os"}},
            "y": {"from": "main.2", "steps": [7]},
            "z": {"merge": ["main.5", "y.7"]},
            "v": {"from": "v.6", "steps": [7]},
        },
    )
    project = declared(tmp_path)
    assert not project.data_sets.get("heatmap")
    told = "\n".join(map(str, project.findings))
    assert "step 6 belongs to a lineage branch and not to a main branch" in told
    assert "branches.x.subset.where" in told
    assert "step 7 (lineage_recluster) cannot be made from step 2" in told
    assert "Add step 6 first" in told
    assert "is no final: 7" in told
    assert "branches.v" in told
    assert all("cytopipe.yaml:" in str(one) for one in project.findings)


def test_faults_in_a_file_of_branches_name_its_lines(tmp_path: Path) -> None:
    (tmp_path / "branches.yaml").write_text("main: {steps: [1, 2]}\nx: {from: main.3, steps: [6]}\n")
    write_project(tmp_path, "branches.yaml")
    write_csv(tmp_path / "blood.csv", n_cells=50)
    (finding,) = declared(tmp_path).findings
    assert "branches.yaml:2: branch main has no such step" in str(finding)


def test_files_of_cells_that_are_not_there_are_told(tmp_path: Path) -> None:
    write_project(tmp_path, cells=["blood.csv", "more/*.fcs"])
    told = "\n".join(map(str, declared(tmp_path).findings))
    assert "no such file" in told
    assert "finds no file" in told


def test_the_commented_example_of_a_new_project_is_valid_when_it_is_taken_up(tmp_path: Path) -> None:
    from cytopipe.project import start_project

    file = start_project(tmp_path)
    head, _, example = file.read_text().partition("\nheatmap:\n")
    example, gap, others = example.partition("\n\n")
    file.write_text(head + "\nheatmap:\n" + re.sub(r"(?m)^#", "", example) + gap + others)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.fcs").write_bytes(b"FCS3.1")
    project = read_project(file)
    assert not project.findings
    assert list(project.data_sets["heatmap_step_06"]) == ["patients.t_cells"]
