"""The graph: it loads, every asset says what it is, and no domain knows Dagster."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dagster import AssetKey

from cytopipe.defs.definitions import GRAPH, definitions


def test_definitions_load_and_validate():
    """What `dagster definitions validate` does: every job, schedule and sensor resolves."""
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    names = {job.name for job in repository.get_all_jobs()}
    assert {"decompose_all", "atlas_all", "atlas_signatures_all", "verify_and_sweep"} <= names
    assert {sensor.name for sensor in repository.sensor_defs} >= {
        "new_data",
        "outside_work",
        "dead_processes",
        "failures",
    }
    schedules = {schedule.name for schedule in repository.schedule_defs}
    assert schedules >= {"decompose_nightly", "atlas_nightly", "atlas_signatures_nightly", "weekly_care"}


@pytest.mark.parametrize(
    "asset",
    [
        *(*GRAPH.sources, *GRAPH.steps, *GRAPH.gatherings),
        *("decompose/overview", "atlas/overview", "care/archive_health"),
    ],
)
def test_every_asset_says_what_it_is(asset):
    node = definitions.resolve_asset_graph().get(AssetKey(asset.split("/")))
    assert node.group_name == asset.split("/")[0]
    assert node.description and len(node.description) > 20
    assert node.kinds
    assert node.owners
    assert node.is_external or node.code_version


def test_the_assets_follow_each_other_as_the_steps_say():
    graph = definitions.resolve_asset_graph()
    for step in GRAPH.steps.values():
        assert graph.get(AssetKey(step.asset.split("/"))).parent_keys == {
            AssetKey(one.split("/")) for one in step.after
        }


def test_every_step_has_a_check_that_can_be_run_at_any_time_and_its_invariants():
    checks = {
        (key.asset_key.to_user_string(), key.name)
        for key in definitions.resolve_asset_graph().asset_check_keys
    }
    for step in GRAPH.steps.values():
        assert (step.asset, "bytes_as_published") in checks
        for guard in step.guards:
            assert (step.asset, guard.name) in checks


@pytest.mark.parametrize(
    "module",
    [
        "cytopipe",
        "cytopipe.storage",
        "cytopipe.decompose.directory.decomposition",
        "cytopipe.project",
        "cytopipe.cli",
    ],
)
def test_no_dagster_outside_its_room(module):
    """A notebook that imports a domain does not import an orchestrator."""
    code = f"import sys, {module}; sys.exit(any(name.startswith('dagster') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_code_version_of_the_assets_is_that_of_the_domain():
    from cytopipe.decompose.stages import CODE_VERSION

    assert {step.code_version for step in GRAPH.steps_of("decompose")} == {CODE_VERSION}


def test_loading_imports_nothing_heavy():
    """Every run and every web server pays for what the definitions import."""
    heavy = "'anndata', 'zarr', 'dask', 'matplotlib', 'sklearn', 'numba', 'pandas', 'cupy', 'torch'"
    code = f"import sys, cytopipe.defs.definitions; print([one for one in ({heavy}) if one in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
