"""Atlases in a project: signatures at a level, checks, lineage, the command line, the clock."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from dagster import AssetKey, RunRequest, RunsFilter, build_schedule_context

from cytopipe.atlas import cells, checks
from cytopipe.defs.history import History
from cytopipe.defs.lineage import lineage, walk
from cytopipe.defs.running import range_tags
from cytopipe_tests.atlas.atlases import bytes_of, small_cells, write
from cytopipe_tests.defs.atlas_example import (
    ENTRY,
    KEYS,
    LEVELS,
    OF_LEVELS,
    OF_PARTS,
    PARTS,
    change,
    dagster_says,
    make_atlas_project,
    results,
    state,
    states_of,
    write_signature,
)
from cytopipe_tests.defs.conftest import ProjectContext
from cytopipe_tests.defs.example import backfill_of

TWO = ENTRY.replace("{{mine: mine.tsv}}", "{{mine: mine.tsv, v1.2-b: other.tsv}}")


# ------------------------------------------------------------------------------------------- the golden cells


def test_a_registered_atlas_needs_only_its_path_and_agrees_with_the_reference(golden, tmp_path, passes):
    """The golden cells under the name of an atlas of the registry: four levels, their columns by name."""
    from cytopipe_tests.defs.atlas_example import open_lab

    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(golden / "atlas/input.h5ad", folder / "cells.h5ad")
    (folder / "cytopipe.yaml").write_text(
        "engine: serial\natlas:\n  cima: {path: cells.h5ad, n_bootstrap: 0, use_gpu: false}\n"
    )
    lab = open_lab(tmp_path)
    levels = ("L1", "L2", "L3", "L4")
    assert lab.make(*OF_LEVELS, keys=[f"cima.{level}" for level in levels]).success
    assert passes.levels == [list(levels)]
    with np.load(golden / "atlas/g1_default.npz", allow_pickle=False) as expected:
        for level in ("l1", "l2", "l3", "l4"):
            with h5py.File(results(lab, "cima") / f"cima_pseudobulk_{level}.h5ad") as found:
                np.testing.assert_array_equal(found["layers/counts"][...], expected[f"{level}/counts"])
                np.testing.assert_allclose(found["X"][...], expected[f"{level}/X"], 1e-4, 1e-4)
    lab.instance.dispose()


def test_the_lineage_goes_back_from_a_validation_to_the_cells(atlases):
    root = lineage(atlases.ledger(), "atlas/validation", "a.fine.mine")
    nodes = {node.asset: node for _, node, _ in walk(root)}
    of_part = (
        "validation",
        "activity",
        "activity_resampled",
        "signatures",
        "inference",
        "inference_resampled",
    )
    of_level = ("pseudobulk", "resampled", "sample_profiles", "recipe")
    assert {asset: node.key for asset, node in nodes.items()} == {
        **{f"atlas/{one}": "a.fine.mine" for one in of_part},
        **{f"atlas/{one}": "a.fine" for one in of_level},
        **{f"atlas/{one}": "a" for one in ("cells", "cell_types")},
    }
    assert {node.now for node in nodes.values()} == {"same"}


# ------------------------------------------------------------------------------------- signatures at a level


def test_a_signature_that_joins_an_entry_is_missing_and_nothing_else_is(atlases):
    write_signature(atlases.project.directory / "other.tsv", seed=5)
    change(atlases, "{mine: mine.tsv}", "{mine: mine.tsv, v1.2-b: other.tsv}")
    added = [f"{key}.v1.2-b" for key in KEYS]
    ledger = atlases.ledger()
    found = {(one.asset, one.key): one.state for one in ledger.statuses(ledger.graph.makers)}
    assert {place for place, state in found.items() if state == "missing"} == {
        (asset, key) for asset in OF_PARTS for key in added
    }
    assert found["atlas/cross_atlas", ""] == "done"  # of what there is
    assert {state for (_, key), state in found.items() if key in (*KEYS, *PARTS)} == {"done"}
    assert atlases.make(*OF_PARTS, keys=["a.Organ_type.v1.2-b"]).success
    event = History(atlases.instance).events("atlas/activity", "a.Organ_type.v1.2-b")[0]
    assert event.metadata["path"].endswith("a_v1.2-b_organ_type.h5ad")
    assert {(one["asset"], one["partition"]) for one in event.metadata["inputs"]} == {
        ("atlas/pseudobulk", "a.Organ_type"),
        ("atlas/signatures", "a.Organ_type.v1.2-b"),
        ("atlas/inference", "a.Organ_type.v1.2-b"),
    }
    assert state(atlases, "cross_atlas", "") == "stale"


def test_another_table_of_one_signature_makes_its_own_partitions_stale_and_no_other(begin_atlases):
    lab = begin_atlases("a", entry=TWO)
    other = lab.project.directory / "other.tsv"
    write_signature(other, seed=5)
    lab.make_all()
    assert states_of(lab) == {"done"}
    write_signature(other, seed=6)
    lab.ledger()
    assert {line.split(" changed")[0] for line in lab.changes} == {
        f"atlas/signatures [a.{level}.v1.2-b]" for level in LEVELS
    }
    for level in LEVELS:
        assert state(lab, "activity", f"a.{level}.v1.2-b") == "stale"
        assert state(lab, "activity", f"a.{level}.mine") == "done"
    assert dagster_says(lab, "activity", "a.fine.v1.2-b") == "STALE"
    assert dagster_says(lab, "activity", "a.fine.mine") == "FRESH"


def test_a_signature_whose_table_is_broken_fails_alone(begin_atlases):
    lab = begin_atlases("a", entry=TWO)
    (lab.project.directory / "other.tsv").write_text("t1\tt2\nG1\t0.5\tmuch\n")
    lab.make_all()
    for level in LEVELS:
        assert state(lab, "validation", f"a.{level}.mine") == "done"
        assert state(lab, "activity", f"a.{level}.v1.2-b") == "failed"
        assert state(lab, "validation", f"a.{level}.v1.2-b") == "missing"
    assert "other.tsv" in lab.reasons("atlas/activity", "a.fine.v1.2-b")[0]


def test_one_deleted_file_is_made_again_and_its_neighbours_left(atlases, passes):
    """A level, and an activity; the bytes are those from before."""
    folders = (results(atlases), atlases.project.output / "atlas/a/activity")
    before = {folder: bytes_of(folder) for folder in folders}
    lost = (folders[0] / "a_pseudobulk_organ_type.h5ad", folders[1] / "a_mine_fine_resampled.h5ad")
    for path in lost:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for folder in folders for path in folder.glob("*.h5ad")}
    assert state(atlases, "pseudobulk", "a.Organ_type") == "stale"
    assert state(atlases, "activity_resampled", "a.fine.mine") == "stale"
    assert state(atlases, "pseudobulk", "a.fine") == state(atlases, "activity", "a.fine.mine") == "done"
    assert atlases.make(*OF_LEVELS, keys=KEYS[:2]).success
    assert passes.levels == [["Organ_type"]]
    assert atlases.make(*OF_PARTS, keys=PARTS[:2]).success
    assert {folder: bytes_of(folder) for folder in folders} == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert state(atlases, "validation", "a.fine.mine") == "done"


def test_the_comparison_is_left_and_made_again_when_what_it_stands_on_changed(atlases):
    def newest():
        return History(atlases.instance).events("atlas/cross_atlas")[0]

    first = newest()
    folder = atlases.project.output / "atlas/validation/cross_atlas"
    written = {path: path.stat().st_mtime_ns for path in folder.glob("mine_*")}
    assert {"mine_coarse_pairs.tsv", "mine_coarse_heat_map.png"} <= {path.name for path in written}
    assert atlases.make("atlas/cross_atlas").success
    assert newest().metadata["how"].startswith("up to date") and newest().version == first.version
    assert {path: path.stat().st_mtime_ns for path in written} == written
    write_signature(atlases.project.directory / "mine.tsv", seed=3)
    assert atlases.make(*OF_PARTS, keys=["a.Organ_type.mine"]).success
    assert atlases.make("atlas/cross_atlas").success
    assert newest().metadata["how"] == "made" and newest().version != first.version


# ------------------------------------------------------------------------------------------- checks


def spoil(path: Path, damage: str) -> None:
    """Change a pseudobulk file so that one check fails."""
    with h5py.File(path, "r+") as file:
        if damage == "one count":
            smallest = int(np.argmin(file["obs/n_cells"][...]))
            file["layers/counts"][smallest, 3] += 1
            file["obs/total_counts"][smallest] += 1
        elif damage == "total":
            file["obs/total_counts"][0] += 1
        elif damage == "cells":
            file["obs/n_cells"][0] -= 1
        elif damage == "genes":
            file["var/_index"][4] = file["var/_index"][5]
        elif damage == "negative":
            file["X"][1, 2] = -1.0


def checks_of(path: Path, opened: cells.Cells, level) -> dict[str, checks.CheckOutcome]:
    return {
        "counts_conserved": checks.counts_conserved(path, opened, level),
        "groups_complete": checks.groups_complete(path, opened, level),
        "genes_unique": checks.genes_unique(path),
        "no_negative": checks.no_negative(path),
    }


@pytest.mark.parametrize(
    ("damage", "broken"),
    [
        ("none", set()),
        ("one count", {"counts_conserved"}),  # only the recount from the cells can see this
        ("total", {"counts_conserved"}),
        ("cells", {"groups_complete"}),
        ("genes", {"genes_unique"}),
        ("negative", {"no_negative"}),
    ],
)
def test_each_check_notices_the_damage_it_is_for(atlases, tmp_path, damage, broken):
    data = atlases.project.data_set("atlas", "a.fine")
    path = shutil.copy(results(atlases) / "a_pseudobulk_fine.h5ad", tmp_path / "copy.h5ad")
    spoil(Path(path), damage)
    with cells.open_cells(data.resolve("a.h5ad")) as opened:
        found = checks_of(path, opened, data.entry.level)
    assert {name for name, one in found.items() if one.findings} == broken


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "zarr"])
def test_the_smallest_group_is_recounted_in_every_form_of_a_matrix(atlases, tmp_path, form):
    level = atlases.project.data_set("atlas", "a.fine").entry.level
    source = write(small_cells(400, 160, 0), tmp_path / f"a.{'zarr' if form == 'zarr' else 'h5ad'}",
                   "csr" if form == "zarr" else form)  # fmt: skip
    with cells.open_cells(source) as opened:
        assert opened.n_cells == 400
        found = checks_of(results(atlases) / "a_pseudobulk_fine.h5ad", opened, level)
    assert not any(one.findings for one in found.values())
    assert ("recounted" in found["counts_conserved"].facts) == (form != "csc")


def test_resamples_that_lack_one_are_noticed(atlases, tmp_path):
    data = atlases.project.data_set("atlas", "a.fine")
    path = Path(shutil.copy(results(atlases) / "a_pseudobulk_fine_resampled.h5ad", tmp_path / "copy.h5ad"))
    with h5py.File(path, "r+") as file:
        file["obs/bootstrap_idx"][2] = 1
    with cells.open_cells(data.resolve("a.h5ad")) as opened:
        complete = checks.resamples_complete(path, opened, data.entry.level, 4)
    assert "3 of 4 resamples" in complete.findings[0] and not checks.no_negative(path).findings


# ----------------------------------------------------------------- the command line, backfills, the clock


@pytest.fixture
def opened(tmp_path):
    """A project of one atlas as the installed graph sees it."""
    from cytopipe.defs.instance import open_instance

    project = make_atlas_project(tmp_path / "project", "a")
    with open_instance(project) as instance:
        yield ProjectContext(project, instance)


class _Options:
    """What the root command hands to a domain's group."""

    def __init__(self, project: Path) -> None:
        self.project = project


def test_plain_commands_in_a_project_and_a_run_go_on_from_each_other(opened):
    """Levels by `cytopipe atlas run`, activity by `cytopipe atlas activity`; a run makes what is left."""
    from cytopipe.commands.atlas import atlas

    def say(*words: str) -> None:
        said = CliRunner().invoke(
            atlas, list(words), obj=_Options(opened.project.file), catch_exceptions=False
        )
        assert said.exit_code == 0, said.output

    folder = opened.project.output / "atlas"
    say("run", "--atlas", "a", "--no-gpu", "-q")
    table = str(opened.project.directory / "mine.tsv")
    say("activity", str(folder), "--signature", "mine", "--source", table, "--permutations", "20")
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5ad")}
    assert len(written) == 8
    noticed = opened.look()
    assert {"atlas/pseudobulk [a.fine]", "atlas/activity [a.Organ_type.mine]"} <= set(noticed)
    assert {one.outcome for one in opened.make()} == {"success"}
    assert {one.state for one in opened.judged().values() if one.key} == {"done"}
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_the_command_line_makes_everything_and_then_says_so(opened):
    """`cytopipe materialize atlas`: levels, then what gathers them; a second time there is nothing to do."""
    from cytopipe.cli import run

    where = ["--project", str(opened.project.file)]
    assert run([*where, "materialize", "atlas", "--quiet"]) == 1  # a check that does not block has failed
    opened.look()
    assert {one.state for one in opened.judged().values()} == {"done"}
    assert run([*where, "materialize", "atlas", "--quiet"]) == 1  # and says so again


def test_a_backfill_of_levels_and_their_signatures_makes_the_levels_first(opened, monkeypatch):
    """What `launchPartitionBackfill` stores, carried out as the daemon does, by the graph that it knows."""
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.backfill import execute_backfill_iteration

    opened.look()
    monkeypatch.setenv("DAGSTER_HOME", opened.instance.root_directory)
    module = ModuleTarget(
        "cytopipe.defs.definitions", "definitions", str(opened.project.directory), "cytopipe"
    )
    keys = ["a.fine", "a.Organ_type"]
    with create_test_daemon_workspace_context(module, opened.instance) as context:
        graph = context.create_request_context().asset_graph
        backfill = backfill_of(opened.instance, graph, "both", [*OF_LEVELS, *OF_PARTS], keys)
        opened.instance.add_backfill(backfill)
        list(execute_backfill_iteration(context, logging.getLogger("test")))
        (run,) = opened.instance.get_runs(RunsFilter(tags={"dagster/backfill": "both"}))
    assert {key.to_user_string() for key in run.asset_selection} == set(OF_LEVELS)
    wanted = opened.instance.get_backfill("both").asset_backfill_data.target_subset
    of_parts = wanted.get_partitions_subset(AssetKey(["atlas", "validation"]))
    assert set(of_parts.get_partition_keys()) == {"a.fine.mine", "a.Organ_type.mine"}


def test_the_nights_make_levels_and_then_their_signatures(opened):
    repository = opened.definitions.get_repository_def()

    def asked(operation: str) -> list[RunRequest]:
        context = build_schedule_context(
            instance=opened.instance,
            scheduled_execution_time=datetime(2030, 1, 1, 2, tzinfo=UTC),
            repository_def=repository,
        )
        return repository.get_schedule_def(f"{operation}_nightly").evaluate_tick(context).run_requests

    levels, parts = ("a.fine", "a.Organ_type"), ("a.fine.mine", "a.Organ_type.mine")
    assert asked("atlas_signatures") == []
    (request,) = asked("atlas")
    assert {name: request.tags[name] for name in range_tags(levels)} == range_tags(levels)
    assert opened.run(*OF_LEVELS, keys=levels).outcome == "success"
    assert asked("atlas") == []
    (request,) = asked("atlas_signatures")
    assert {name: request.tags[name] for name in range_tags(parts)} == range_tags(parts)
    assert opened.run(*OF_PARTS, keys=parts).outcome == "success"
    assert asked("atlas_signatures") == []
