"""Atlases as assets: one pass for all levels, invariants that notice, history that decides, work resumed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from cytopipe.defs.ancestry import ancestry, asset_of_file, walk
from cytopipe.defs.ranges import range_tags
from dagster import AssetKey, DagsterRunStatus, RunRequest, build_schedule_context
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from cytopipe.atlas import cells, inference, invariants, pseudobulk, validation_tables
from cytopipe.commands.atlas_files import infer_activities
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.defs import books, standing_atlases
from cytopipe.defs.definitions import GRAPH, definitions
from cytopipe.defs.instance import open_instance
from cytopipe.defs.listening import listen
from cytopipe.defs.running import run_assets
from cytopipe.provenance import Provenance
from cytopipe.storage import Store
from cytopipe_tests.atlas.atlases import bytes_of
from cytopipe_tests.defs.atlas_example import ENTRY, make_atlas_project, write_cells, write_signature
from cytopipe_tests.defs.conftest import Opened
from cytopipe_tests.defs.example import backfill_of

DONE = ["done"] * 2  # of a level, and of a signature at a level
PASS = ["atlas/pseudobulk", "atlas/resampled"]
PROFILES_ONLY = ENTRY.replace("    signatures: {{mine: mine.tsv}}\n", "")
LEVELS = ("fine", "Organ_type")
KEYS = [f"{atlas}.{level}" for atlas in "ab" for level in LEVELS]
PARTS = [f"{key}.mine" for key in KEYS]
OF_PARTS = ["atlas/activity", "atlas/validation"]


@dataclass
class Passes:
    """The passes over cells that were run, really, and from where they went on."""

    levels: list[list[str]] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)


@pytest.fixture
def passes(monkeypatch) -> Passes:
    """Counts every pass over the cells of an atlas while it happens."""
    counted, run_pass = Passes(), pseudobulk._run_pass

    def counting(cells, plan, how):
        counted.levels.append([level.name for level in plan.levels])
        found = run_pass(cells, plan, how)
        counted.resumed_at.append(found[2])
        return found

    monkeypatch.setattr(pseudobulk, "_run_pass", counting)
    return counted


@pytest.fixture(scope="module")
def made_folder(tmp_path_factory) -> Path:
    """A project of two atlases of two levels, all of it made in one run; not to be changed."""
    project = make_atlas_project(tmp_path_factory.mktemp("atlases"), "a", "b")
    with open_instance(project) as instance:
        opened = Opened(project, instance)
        assert [one.outcome for one in opened.make()] == ["success"] * 3
    return project.directory


@pytest.fixture
def made(made_folder: Path, tmp_path: Path) -> Iterator[Opened]:
    """A copy of the finished project, moved: to change and to damage."""
    shutil.copytree(made_folder, tmp_path / "project", symlinks=True)
    project = make_opened(tmp_path / "project")
    yield project
    project.instance.dispose()


@pytest.fixture
def begin_atlases(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Make and open a fresh project of atlases."""
    begun = []

    def open_one(*names: str, **options) -> Opened:
        make_atlas_project(tmp_path / "fresh", *names, **options)
        begun.append(make_opened(tmp_path / "fresh"))
        return begun[-1]

    yield open_one
    for opened in begun:
        opened.instance.dispose()


def make_opened(folder: Path) -> Opened:
    from cytopipe.project import load_project

    project = load_project(folder)
    return Opened(project, open_instance(project))


def compare(opened: Opened) -> str:
    """Run what gathers all atlases."""
    return run_assets(opened.instance, ["atlas/cross_atlas", "atlas/overview"], []).outcome


def change(opened: Opened, old: str, new: str) -> None:
    """Edit the project file and look."""
    file = opened.project.file
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    opened.again().look()


def dagster_says(opened: Opened, partition: str) -> list[str]:
    """What the browser calls fresh and stale."""
    resolver = CachingStaleStatusResolver(
        opened.instance, definitions.resolve_asset_graph(), LoadingContextForTest(opened.instance)
    )
    assets = PASS if partition in KEYS else OF_PARTS
    return [resolver.get_status(AssetKey(one.split("/")), partition).value for one in assets]


def results(opened: Opened, atlas: str = "a") -> Path:
    return opened.project.output / "atlas" / atlas / "pseudobulk"


# ------------------------------------------------------------------------------------------- the graph


def test_the_comparison_gathers_activity_and_validation_of_every_level():
    node = definitions.resolve_asset_graph().get(AssetKey(["atlas", "cross_atlas"]))
    assert {key.path[1] for key in node.parent_keys} == {"activity", "validation", "cell_types"}
    assert not node.is_partitioned
    assert node.group_name == "atlas" and node.description and node.owners


def test_the_code_versions_of_the_assets_are_those_of_the_domain():
    versions = {pseudobulk.CODE_VERSION, inference.CODE_VERSION, validation_tables.CODE_VERSION}
    assert {step.code_version for step in GRAPH.steps_of("atlas")} == versions == {standing_atlases.CODE}


def test_the_levels_of_an_atlas_stand_together(made):
    """Ranges of keys follow the order in which they were added, so that an atlas is one range."""
    assert list(made.instance.get_dynamic_partitions("atlas")) == KEYS
    assert list(made.instance.get_dynamic_partitions("atlas_signatures")) == PARTS


# ------------------------------------------------------------------------------------------- one pass


def test_all_levels_of_an_atlas_and_their_resamples_come_of_one_pass(begin_atlases, passes):
    """One run, two atlases: each file of cells is streamed once; every level has its own materialization."""
    opened = begin_atlases("a", "b")
    opened.look()
    assert run_assets(opened.instance, PASS, KEYS).outcome == "success"
    assert passes.levels == [list(LEVELS)] * 2
    for key in KEYS:
        profiles = books.latest(opened.instance, "atlas/pseudobulk", key)
        resamples = books.latest(opened.instance, "atlas/resampled", key)
        assert profiles.run_id == resamples.run_id
        assert opened.states(key) == DONE
    assert opened.look() == []


def test_a_registered_atlas_needs_only_its_path_and_agrees_with_the_reference(golden, tmp_path, passes):
    """The golden cells under the name of an atlas of the registry: four levels, their columns by name."""
    shutil.copy(golden / "atlas/input.h5ad", tmp_path / "cells.h5ad")
    file = tmp_path / "cytopipe.yaml"
    file.write_text("engine: serial\natlas:\n  cima: {path: cells.h5ad, n_bootstrap: 0, use_gpu: false}\n")
    opened = make_opened(tmp_path)
    opened.look()
    levels = ("L1", "L2", "L3", "L4")
    assert run_assets(opened.instance, PASS, [f"cima.{level}" for level in levels]).outcome == "success"
    assert passes.levels == [list(levels)]
    with np.load(golden / "atlas/g1_default.npz", allow_pickle=False) as expected:
        for level in ("l1", "l2", "l3", "l4"):
            with h5py.File(results(opened, "cima") / f"cima_pseudobulk_{level}.h5ad") as made:
                np.testing.assert_array_equal(made["layers/counts"][...], expected[f"{level}/counts"])
                np.testing.assert_allclose(made["X"][...], expected[f"{level}/X"], 1e-4, 1e-4)
    opened.instance.dispose()


def test_every_materialization_tells_what_people_ask_for(made):
    told = books.latest(made.instance, "atlas/pseudobulk", "a.fine").metadata
    assert (made.project.directory / told["path"]).is_file()
    assert (told["n_groups"], told["n_left_out"], told["n_genes"]) == (6, 1, 160)
    assert told["n_cells"] > 300 and told["n_counts"] > 10_000
    assert told["parameters"]["level"] == "fine=fine"
    assert told["picture"].startswith("![")
    activity = books.latest(made.instance, "atlas/activity", "a.fine.mine").metadata
    assert activity["picture"].startswith("![") and (activity["n_groups"], activity["n_targets"]) == (6, 2)
    assert activity["parameters"]["signature"] == "mine"
    validation = books.latest(made.instance, "atlas/validation", "a.fine.mine").metadata
    assert 0 <= validation["quality"] <= 1
    comparison = books.records(made.instance, "atlas/cross_atlas", kinds=("made",))[0].metadata
    assert comparison["n_atlases"] == 2
    assert {(one["asset"], one["partition"]) for one in comparison["inputs"]} == {
        *((asset, f"{atlas}.Organ_type.mine") for asset in OF_PARTS for atlas in "ab"),
        *(("atlas/cell_types", f"{atlas}.Organ_type") for atlas in "ab"),
    }
    assert comparison["picture"].startswith("![")


def test_what_is_done_is_left_and_the_books_agree_with_the_browser(made, passes):
    assert made.look() == []
    for key in (*KEYS, *PARTS):
        assert made.states(key) == DONE
        assert dagster_says(made, key) == ["FRESH"] * 2
    assert made.make() == []
    assert passes.levels == []


def test_the_lineage_goes_back_from_a_validation_to_the_cells(made):
    root = ancestry(made.project, made.instance, GRAPH, "atlas/validation", "a.fine.mine")
    nodes = {node.asset: node for _, node in walk(root)}
    assert {asset: node.partition for asset, node in nodes.items()} == {
        **dict.fromkeys(("atlas/validation", "atlas/activity", "atlas/signatures"), "a.fine.mine"),
        **dict.fromkeys(("atlas/pseudobulk", "atlas/resampled", "atlas/cells", "atlas/recipe"), "a.fine"),
        "atlas/cell_types": "a.fine",
    }
    assert {node.now for node in nodes.values()} == {"same"}
    for path, asset, key in (
        ("a/pseudobulk/a_pseudobulk_organ_type.h5ad", "atlas/pseudobulk", "a.Organ_type"),
        ("b/pseudobulk/b_pseudobulk_fine_resampled.h5ad", "atlas/resampled", "b.fine"),
        ("a/activity/a_mine_fine.h5ad", "atlas/activity", "a.fine.mine"),
        ("validation/b/b_mine_organ_type_quality.json", "atlas/validation", "b.Organ_type.mine"),
        ("validation/cross_atlas/mine_coarse_pairs.tsv", "atlas/cross_atlas", ""),
    ):
        found = asset_of_file(made.project, GRAPH, made.project.output / "atlas" / path)
        assert found == (asset, key)


# ------------------------------------------------------------------------------- plain commands and assets


def test_files_of_the_plain_commands_are_taken_up_and_not_made_again(begin_atlases, passes):
    """`cytopipe atlas run` in the project, then activity: history learns of it, byte for byte."""
    from cytopipe.commands.atlas import atlas

    opened = begin_atlases("a")
    said = CliRunner().invoke(
        atlas,
        ["run", "--atlas", "a", "--no-gpu", "-q"],
        obj=_Options(opened.project.file),
        catch_exceptions=False,
    )
    assert said.exit_code == 0, said.output
    written = {path: path.stat().st_mtime_ns for path in results(opened).glob("*.h5ad")}
    assert len(written) == 4 and len(passes.levels) == 1
    noticed = opened.look()
    assert "atlas/pseudobulk [a.fine]" in noticed and "atlas/resampled [a.Organ_type]" in noticed
    assert opened.states("a.fine") == DONE
    assert (
        books.latest(opened.instance, "atlas/pseudobulk", "a.fine").metadata["how"].startswith("made outside")
    )
    assert [one.outcome for one in opened.make()] == ["success"]
    assert opened.states("a.fine.mine") == DONE
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(passes.levels) == 1


def test_the_plain_functions_leave_what_a_run_made(made, passes):
    data = made.project.data_set("atlas", "a.fine")
    entry = data.entry
    done = aggregate(
        data.resolve(entry.path), [entry.level_named(name) for name in LEVELS], results(made),
        atlas="a", sample=entry.sample, settings=entry.settings, use_gpu=False,
    )  # fmt: skip
    assert done.device == "none" and passes.levels == []
    told: list[str] = []
    infer_activities(
        data.folder, "a", ["fine"], ("mine",), entry.activity,
        source=data.resolve("mine.tsv"), report=told.append,
    )  # fmt: skip
    assert [line.split(": ")[1] for line in told] == ["unchanged"] * 2


def test_outside_work_with_another_recipe_is_taken_up_as_stale(begin_atlases):
    opened = begin_atlases("a")
    data = opened.project.data_set("atlas", "a.fine")
    aggregate(
        data.resolve("a.h5ad"), [data.entry.level], results(opened), atlas="a", sample="sample",
        settings=pseudobulk.Settings(n_bootstrap=4, min_cells=5), use_gpu=False,
    )  # fmt: skip
    opened.look()
    judged = opened.judged()["atlas/pseudobulk", "a.fine"]
    assert judged.state == "stale" and "atlas/recipe changed" in judged.reasons[0]


# ------------------------------------------------------------------------------------------- staleness


def test_other_cells_make_their_own_atlas_stale_and_no_other(made, passes):
    write_cells(made.project.directory / "a.h5ad", seed=9)
    assert set(made.look()) == {f"atlas/cells [a.{level}]" for level in LEVELS}
    for level in LEVELS:
        assert made.states(f"a.{level}") == made.states(f"a.{level}.mine") == ["stale"] * 2
    assert made.states("b.fine") == made.states("b.fine.mine") == DONE
    assert dagster_says(made, "a.fine")[0] == "STALE" and dagster_says(made, "b.fine") == ["FRESH"] * 2
    assert run_assets(made.instance, PASS, [f"a.{level}" for level in LEVELS]).outcome == "success"
    assert passes.levels == [list(LEVELS)]
    assert made.states("a.fine") == DONE and made.states("a.fine.mine") == ["stale"] * 2
    assert "atlas/pseudobulk changed" in made.judged()["atlas/activity", "a.fine.mine"].reasons[0]
    assert made.states("b.fine.mine") == DONE
    assert dagster_says(made, "b.fine.mine") == ["FRESH"] * 2


def test_each_change_makes_stale_exactly_what_it_decides(made):
    def states() -> list[str]:
        return made.states("a.fine") + made.states("a.fine.mine")

    write_signature(made.project.directory / "mine.tsv", seed=3)
    made.look()
    assert states() == ["done", "done", "stale", "stale"]
    write_signature(made.project.directory / "mine.tsv")
    (made.project.directory / "types.tsv").write_text(
        (made.project.directory / "types.tsv").read_text() + "*\trare\tother\t\n"
    )
    made.look()
    assert states() == ["done", "done", "done", "stale"]
    change(made, "n_permutations: 20", "n_permutations: 30")
    assert states() == ["done", "done", "stale", "stale"]
    change(made, "n_bootstrap: 4", "n_bootstrap: 3")
    assert states() == ["stale"] * 4
    change(made, "n_bootstrap: 3", "n_bootstrap: 4")
    assert states() == ["done", "done", "stale", "stale"]


def test_one_deleted_level_is_made_again_and_its_neighbour_left(made, passes):
    kept = (results(made) / "a_pseudobulk_fine.h5ad").stat().st_mtime_ns
    before = bytes_of(results(made))
    (results(made) / "a_pseudobulk_organ_type.h5ad").unlink()
    assert made.states("a.Organ_type")[0] == "stale" and made.states("a.fine") == DONE
    assert run_assets(made.instance, PASS, ["a.Organ_type"]).outcome == "success"
    assert passes.levels == [["Organ_type"]]
    assert made.states("a.Organ_type") == DONE
    assert bytes_of(results(made)) == before
    assert (results(made) / "a_pseudobulk_fine.h5ad").stat().st_mtime_ns == kept


# ------------------------------------------------------------------------------------- signatures at a level


TWO = ENTRY.replace("{{mine: mine.tsv}}", "{{mine: mine.tsv, v1.2-b: other.tsv}}")


def test_a_signature_that_joins_an_entry_is_missing_and_nothing_else_is(made):
    write_signature(made.project.directory / "other.tsv", seed=5)
    change(made, "{mine: mine.tsv}", "{mine: mine.tsv, v1.2-b: other.tsv}")
    added = [f"{key}.v1.2-b" for key in KEYS]
    assert list(made.instance.get_dynamic_partitions("atlas_signatures")) == PARTS + added
    judged = made.judged()
    assert {place for place, one in judged.items() if one.state == "missing"} == {
        (asset, key) for asset in OF_PARTS for key in added
    }
    assert judged["atlas/cross_atlas", ""].state == "stale"
    assert {one.state for place, one in judged.items() if place[1] in (*KEYS, *PARTS)} == {"done"}
    assert [one.outcome for one in made.make()] == ["success"] * 2
    assert {one.state for one in made.judged().values()} == {"done"}
    for name in ("mine", "v1.2-b"):
        record = books.latest(made.instance, "atlas/activity", f"a.fine.{name}")
        assert record.metadata["path"].endswith(f"a_{name}_fine.h5ad")
        assert f"a_{name}_fine_heat_map.png" in record.metadata["picture"]
        assert {(one.asset, one.partition) for one in record.inputs} == {
            ("atlas/pseudobulk", "a.fine"),
            ("atlas/resampled", "a.fine"),
            ("atlas/signatures", f"a.fine.{name}"),
        }


def test_the_sensor_registers_a_new_level_and_its_signatures(made):
    from dagster import build_sensor_context

    file = made.project.file
    file.write_text(file.read_text().replace("{fine: fine,", "{rough: coarse, fine: fine,"))
    repository = definitions.get_repository_def()
    context = build_sensor_context(instance=made.instance, repository_def=repository)
    requests = repository.get_sensor_def("new_data")(context).dynamic_partitions_requests
    assert {one.partitions_def_name: list(one.partition_keys) for one in requests} == {
        "atlas": ["a.rough", "b.rough"],
        "atlas_signatures": ["a.rough.mine", "b.rough.mine"],
    }


def test_another_table_of_one_signature_makes_its_own_partitions_stale_and_no_other(made):
    write_signature(made.project.directory / "other.tsv", seed=5)
    change(made, "{mine: mine.tsv}", "{mine: mine.tsv, v1.2-b: other.tsv}")
    assert {one.outcome for one in made.make()} == {"success"}
    write_signature(made.project.directory / "other.tsv", seed=6)
    assert set(made.look()) == {f"atlas/signatures [{key}.v1.2-b]" for key in KEYS}
    for key in KEYS:
        assert made.states(f"{key}.v1.2-b") == ["stale"] * 2
        assert made.states(f"{key}.mine") == made.states(key) == DONE
    assert dagster_says(made, "b.fine.v1.2-b")[0] == "STALE" and dagster_says(made, PARTS[0]) == ["FRESH"] * 2


def test_a_signature_whose_table_is_broken_fails_alone(begin_atlases):
    opened = begin_atlases("a", entry=TWO)
    (opened.project.directory / "other.tsv").write_text("t1\tt2\nG1\t0.5\tmuch\n")
    opened = make_opened(opened.project.directory)
    assert [one.outcome for one in opened.make()] == ["success", "failure"]
    for level in LEVELS:
        assert opened.states(f"a.{level}") == opened.states(f"a.{level}.mine") == DONE
        assert opened.states(f"a.{level}.v1.2-b") == ["failed", "missing"]
    assert "other.tsv" in opened.judged()["atlas/activity", "a.fine.v1.2-b"].reasons[0]
    opened.instance.dispose()


def test_one_deleted_activity_is_inferred_again_and_its_neighbours_left(made):
    folder = made.project.output / "atlas/a/activity"
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("a_mine_organ_type*.h5ad")}
    before = bytes_of(folder)
    (folder / "a_mine_fine_resampled.h5ad").unlink()
    assert made.states("a.fine.mine") == ["stale"] * 2 and made.states("a.Organ_type.mine") == DONE
    assert {one.outcome for one in made.make()} == {"success"}
    assert made.states("a.fine.mine") == DONE
    assert bytes_of(folder) == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_activity_of_the_plain_command_is_taken_up_and_not_inferred_again(begin_atlases):
    """`cytopipe atlas activity` on the results of a run: history learns of the part, byte for byte."""
    from cytopipe.commands.atlas import atlas

    opened = begin_atlases("a")
    opened.look()
    assert run_assets(opened.instance, PASS, ["a.fine", "a.Organ_type"]).outcome == "success"
    table = str(opened.project.directory / "mine.tsv")
    root = str(opened.project.output / "atlas")
    said = CliRunner().invoke(
        atlas,
        ["activity", root, "--signature", "mine", "--source", table, "--permutations", "20"],
        obj=_Options(opened.project.file),
        catch_exceptions=False,
    )
    assert said.exit_code == 0, said.output
    folder = opened.project.output / "atlas/a/activity"
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.h5ad")}
    noticed = opened.look()
    assert {"atlas/activity [a.fine.mine]", "atlas/activity [a.Organ_type.mine]"} <= set(noticed)
    assert opened.states("a.fine.mine") == ["done", "missing"]
    assert {one.outcome for one in opened.make()} == {"success"}
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.h5ad")} == written


def test_a_backfill_of_levels_and_their_signatures_makes_the_levels_first(begin_atlases):
    """What `launchPartitionBackfill` stores, carried out as the daemon does, by the graph that it knows."""
    import logging

    from dagster import RunsFilter
    from dagster._core.test_utils import create_test_daemon_workspace_context
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster._daemon.backfill import execute_backfill_iteration

    opened = begin_atlases("a")
    opened.look()
    module = ModuleTarget(
        "cytopipe.defs.definitions", "definitions", str(opened.project.directory), "cytopipe"
    )
    with create_test_daemon_workspace_context(module, opened.instance) as context:
        for backfill, assets, keys in (
            ("parts", OF_PARTS, ["a.fine.mine", "a.Organ_type.mine"]),
            ("both", [*PASS, *OF_PARTS], ["a.fine", "a.Organ_type"]),
        ):
            graph = context.create_request_context().asset_graph
            opened.instance.add_backfill(backfill_of(opened.instance, graph, backfill, assets, keys))
        list(execute_backfill_iteration(context, logging.getLogger("test")))
        chosen = {}
        for backfill in ("parts", "both"):
            (run,) = opened.instance.get_runs(RunsFilter(tags={"dagster/backfill": backfill}))
            chosen[backfill] = {key.to_user_string() for key in run.asset_selection}
    assert chosen == {"parts": set(OF_PARTS), "both": set(PASS)}
    wanted = opened.instance.get_backfill("both").asset_backfill_data.target_subset
    of_parts = wanted.get_partitions_subset(AssetKey(["atlas", "validation"]))
    assert set(of_parts.get_partition_keys()) == {"a.fine.mine", "a.Organ_type.mine"}


def asked(opened: Opened, schedule: str) -> list[RunRequest]:
    """What a schedule asks for at its next tick."""
    repository = definitions.get_repository_def()
    context = build_schedule_context(
        instance=opened.instance,
        scheduled_execution_time=datetime(2030, 1, 1, 2, tzinfo=UTC),
        repository_def=repository,
    )
    return repository.get_schedule_def(schedule).evaluate_tick(context).run_requests


def test_the_nights_make_the_comparison_when_all_it_is_made_from_is_done(made):
    file = made.project.output / "atlas/validation/cross_atlas/mine_coarse_pairs.tsv"
    file.unlink()
    (request,) = asked(made, "atlas_signatures_nightly")
    assert request.asset_selection == [AssetKey(["atlas", "cross_atlas"])]
    job = definitions.get_repository_def().get_job("atlas_signatures_all")
    chosen = job.get_subset(asset_selection=set(request.asset_selection))
    assert chosen.execute_in_process(instance=made.instance).success
    assert file.is_file() and made.states("") == ["done"]
    write_signature(made.project.directory / "mine.tsv", seed=3)
    assert [one.asset_selection for one in asked(made, "atlas_signatures_nightly")] == [None]


def test_the_nights_make_levels_and_then_their_signatures(begin_atlases):
    opened = begin_atlases("a")
    repository = definitions.get_repository_def()

    def tick(name: str) -> list[dict[str, str]]:
        return [
            {name: key for name, key in one.tags.items() if "partition" in name}
            for one in asked(opened, name)
        ]

    assert tick("atlas_signatures_nightly") == []
    assert tick("atlas_nightly") == [range_tags(["a.fine", "a.Organ_type"])]
    job = repository.get_job("atlas_all")
    assert job.execute_in_process(
        instance=opened.instance, tags=range_tags(["a.fine", "a.Organ_type"])
    ).success
    at_work = {"dagster/schedule_name": "atlas_signatures_nightly"}
    run = opened.instance.create_run_for_job(job, tags=at_work, status=DagsterRunStatus.STARTED)
    assert tick("atlas_signatures_nightly") == []
    opened.instance.delete_run(run.run_id)
    (tags,) = tick("atlas_signatures_nightly")
    assert tags == range_tags(["a.fine.mine", "a.Organ_type.mine"])
    job = repository.get_job("atlas_signatures_all")
    assert job.execute_in_process(instance=opened.instance, tags=tags).success
    assert opened.states("a.fine.mine") == DONE
    assert tick("atlas_nightly") == tick("atlas_signatures_nightly") == []


# ------------------------------------------------------------------------------------------- damage


def test_damage_is_never_taken_up(made):
    path = results(made) / "a_pseudobulk_fine.h5ad"
    path.write_bytes(path.read_bytes()[:-50])
    made.look()
    judged = made.judged()["atlas/pseudobulk", "a.fine"]
    assert judged.state == "stale" and "not what was published" in judged.reasons[0]
    assert run_assets(made.instance, PASS, ["a.fine"]).outcome == "success"
    assert made.states("a.fine") == DONE


def spoil(path: Path, damage: str) -> None:
    """Change a pseudobulk file so that one invariant breaks."""
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


def invariants_of(path: Path, opened: cells.Cells, level) -> dict[str, invariants.Invariant]:
    return {
        "counts_conserved": invariants.counts_conserved(path, opened, level),
        "groups_complete": invariants.groups_complete(path, opened, level),
        "genes_unique": invariants.genes_unique(path),
        "no_negative": invariants.no_negative(path),
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
def test_each_invariant_notices_the_damage_it_is_for(made, tmp_path, damage, broken):
    data = made.project.data_set("atlas", "a.fine")
    path = shutil.copy(results(made) / "a_pseudobulk_fine.h5ad", tmp_path / "copy.h5ad")
    spoil(Path(path), damage)
    with cells.open_cells(data.resolve("a.h5ad")) as opened:
        found = invariants_of(path, opened, data.entry.level)
    assert {name for name, one in found.items() if one.findings} == broken


@pytest.mark.parametrize("form", ["csr", "csc", "dense", "zarr"])
def test_the_smallest_group_is_recounted_in_every_form_of_a_matrix(made, tmp_path, form):
    from cytopipe_tests.atlas.atlases import small_cells, write

    data = made.project.data_set("atlas", "a.fine")
    source = write(small_cells(400, 160, 0), tmp_path / f"a.{'zarr' if form == 'zarr' else 'h5ad'}",
                   "csr" if form == "zarr" else form)  # fmt: skip
    with cells.open_cells(source) as opened:
        assert opened.n_cells == 400
        found = invariants_of(results(made) / "a_pseudobulk_fine.h5ad", opened, data.entry.level)
    assert not any(one.findings for one in found.values())
    assert ("recounted" in found["counts_conserved"].facts) == (form != "csc")


def test_resamples_that_lack_one_are_noticed(made, tmp_path):
    data = made.project.data_set("atlas", "a.fine")
    path = Path(shutil.copy(results(made) / "a_pseudobulk_fine_resampled.h5ad", tmp_path / "copy.h5ad"))
    with h5py.File(path, "r+") as file:
        file["obs/bootstrap_idx"][2] = 1
    with cells.open_cells(data.resolve("a.h5ad")) as opened:
        complete = invariants.resamples_complete(path, opened, data.entry.level, 4)
    assert "3 of 4 resamples" in complete.findings[0] and not invariants.no_negative(path).findings


def test_a_blocking_invariant_that_fails_leaves_the_level_and_its_descendants_unmade(made):
    """A file with a wrong count, published whole under the right recipe: only the recount can tell."""
    path = results(made) / "a_pseudobulk_fine.h5ad"
    store = Store(made.project.output / "atlas")
    provenance = Provenance.from_json(store.manifest(path).provenance)
    spoiled = path.with_name("spoiled")
    shutil.copy(path, spoiled)
    spoil(spoiled, "one count")
    store.publish_bytes(path, spoiled.read_bytes(), provenance=provenance)
    spoiled.unlink()
    activity = books.latest(made.instance, "atlas/activity", "a.fine.mine")
    outcome = run_assets(made.instance, PASS, ["a.fine", "a.Organ_type"])
    assert outcome.outcome == "failure"
    assert "atlas/pseudobulk [a.fine]" in outcome.errors[0] and "recounted" in outcome.errors[0]
    assert made.judged()["atlas/pseudobulk", "a.fine"].state == "failed"
    outcome = run_assets(made.instance, OF_PARTS, ["a.fine.mine", "a.Organ_type.mine"])
    assert outcome.errors[0] == "atlas/activity [a.fine.mine]: atlas/pseudobulk could not be made"
    assert books.latest(made.instance, "atlas/activity", "a.fine.mine").storage_id == activity.storage_id
    assert made.states("a.Organ_type") == made.states("a.Organ_type.mine") == DONE


def test_what_broke_an_invariant_is_not_taken_up_later(begin_atlases, monkeypatch):
    """The files stand, whole and by the right recipe; that they were refused is remembered."""
    opened = begin_atlases("a", entry=PROFILES_ONLY)
    opened.look()
    refused = invariants.Invariant(("a count is lost",))
    with monkeypatch.context() as patched:
        patched.setattr(invariants, "counts_conserved", lambda *given: refused)
        assert run_assets(opened.instance, PASS, ["a.fine"]).outcome == "failure"
    assert (results(opened) / "a_pseudobulk_fine.h5ad").is_file()
    assert opened.look() == []
    assert opened.states("a.fine")[0] == "failed"
    assert run_assets(opened.instance, PASS, ["a.fine"]).outcome == "success"
    assert opened.states("a.fine")[0] == "done"


# ------------------------------------------------------------------------------------------- faults


def test_a_level_whose_column_is_absent_does_not_stop_its_neighbours(begin_atlases):
    entry = PROFILES_ONLY.replace("fine: fine,", "fine: fine, lost: no_such_column,")
    opened = begin_atlases("a", entry=entry)
    (outcome,) = opened.make()
    assert outcome.outcome == "failure"
    assert opened.states("a.fine") == opened.states("a.Organ_type") == DONE
    judged = opened.judged()["atlas/pseudobulk", "a.lost"]
    assert judged.state == "failed" and "no_such_column" in judged.reasons[0]


def test_normalised_values_are_refused_for_their_atlas_alone(begin_atlases):
    opened = begin_atlases("a", "b", entry=PROFILES_ONLY)
    with h5py.File(opened.project.directory / "a.h5ad", "r+") as file:
        file["X/data"][...] = np.log1p(file["X/data"][...])
    (outcome,) = opened.make()
    assert outcome.outcome == "failure"
    assert "does not hold counts" in opened.judged()["atlas/pseudobulk", "a.fine"].reasons[0]
    assert opened.states("b.fine") == DONE


def test_a_signature_that_is_not_here_fails_activity_with_advice_and_nothing_before_it(
    begin_atlases, monkeypatch
):
    monkeypatch.delenv("CYTOPIPE_SIGNATURES", raising=False)
    opened = begin_atlases("a", entry=ENTRY.replace("{{mine: mine.tsv}}", "[lincytosig]"))
    assert [one.outcome for one in opened.make()] == ["success", "failure"]
    assert opened.states("a.fine") == DONE and opened.states("a.fine.lincytosig") == ["failed", "missing"]
    reason = opened.judged()["atlas/activity", "a.fine.lincytosig"].reasons[0]
    assert "CellType__Cytokine" in reason


def test_what_is_not_asked_for_is_recorded_as_nothing_and_is_done(begin_atlases):
    entry = PROFILES_ONLY.replace("n_bootstrap: 4", "n_bootstrap: 0")
    opened = begin_atlases("a", entry=entry)
    assert opened.make()[0].outcome == "success"
    assert opened.states("a.fine") == DONE
    assert opened.instance.get_dynamic_partitions("atlas_signatures") == []
    assert "no resamples" in books.latest(opened.instance, "atlas/resampled", "a.fine").metadata["nothing"]
    assert len(list(results(opened).glob("*.h5ad"))) == 2
    assert compare(opened) == "success"
    assert books.records(opened.instance, "atlas/cross_atlas", kinds=("made",)) == []


# ------------------------------------------------------------------------------------------- resume


class _StopAt:
    """Sends SIGINT to this process when the pass has come so far, as Ctrl-C would."""

    def __init__(self, share: float) -> None:
        self.share, self.sent = share, False

    def begin(self, asset: str, key: str) -> None: ...

    def partition(self, asset: str, key: str, number: int, total: int) -> None: ...

    def say(self, message: str) -> None: ...

    def progress(self, asset: str, key: str, what: str, done: int, total: int) -> None:
        if not self.sent and what == "cells" and done >= self.share * total:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stopped_pass_is_canceled_with_a_checkpoint_and_the_next_run_goes_on_from_it(
    begin_atlases, passes, made
):
    """Ctrl-C in the middle of the cells; the bytes are those of a pass that nobody stopped."""
    opened = begin_atlases("a", entry=ENTRY + "    batch_size: 50\n")
    opened.look()
    keys = [f"a.{level}" for level in LEVELS]
    with listen(_StopAt(0.5)):
        assert run_assets(opened.instance, PASS, keys).outcome == "canceled"
    assert passes.resumed_at == []
    assert opened.states("a.fine")[0] == opened.states("a.Organ_type")[0] == "interrupted"
    assert "of 400" in opened.judged()["atlas/pseudobulk", "a.fine"].reasons[0]
    assert not list(results(opened).glob("*.h5ad"))
    assert run_assets(opened.instance, PASS, keys).outcome == "success"
    assert 200 <= passes.resumed_at[0] < 400 and len(passes.levels) == 2
    assert opened.states("a.fine") == DONE and opened.states("a.fine.mine") == ["missing"] * 2
    assert bytes_of(results(opened)) == bytes_of(results(made))


# ------------------------------------------------------------------------------------------- all atlases


def test_the_comparison_is_made_once_and_again_when_what_it_stands_on_changed(made):
    def newest() -> books.Record:
        return books.records(made.instance, "atlas/cross_atlas", kinds=("made",), limit=1)[0]

    first = newest()
    folder = made.project.output / "atlas/validation/cross_atlas"
    written = {path: path.stat().st_mtime_ns for path in folder.glob("mine_*")}
    assert {"mine_coarse_pairs.tsv", "mine_coarse_heat_map.png"} <= {path.name for path in written}
    assert compare(made) == "success"
    assert newest().metadata["how"] == "vouched for again" and newest().version == first.version
    assert {path: path.stat().st_mtime_ns for path in written} == written
    write_signature(made.project.directory / "mine.tsv", seed=3)
    assert run_assets(made.instance, OF_PARTS, ["a.Organ_type.mine"]).outcome == "success"
    assert compare(made) == "success"
    assert newest().metadata["how"] == "made" and newest().version != first.version


def test_the_command_line_makes_everything_and_then_says_so(begin_atlases):
    """`cytopipe materialize atlas`: levels, then what gathers them; a second time there is nothing to do."""
    from cytopipe.cli import run

    opened = begin_atlases("a", "b", entry=ENTRY.replace("fine: fine, ", ""))
    where = ["--project", str(opened.project.file)]
    assert run([*where, "materialize", "atlas", "--quiet"]) == 0
    for key in KEYS[1::2]:
        assert opened.states(key) == opened.states(f"{key}.mine") == DONE
    assert opened.states("") == ["done"]
    table = (opened.project.output / "values/atlas/overview.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in table[1:]] == [
        "a.Organ_type", "a.Organ_type.mine", "b.Organ_type", "b.Organ_type.mine",
    ]  # fmt: skip
    assert run([*where, "materialize", "atlas", "--quiet"]) == 0


class _Options:
    """What the root command hands to a domain's group."""

    def __init__(self, project: Path) -> None:
        self.project = project
