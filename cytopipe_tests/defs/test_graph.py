"""The graph: it loads, every asset says what it is, and no domain knows Dagster."""

from __future__ import annotations

import subprocess
import sys

import pytest
from dagster import AssetKey

from cytopipe.defs.definitions import definitions
from cytopipe.defs.everything import GRAPH
from cytopipe.defs.selection import operations


def test_definitions_load_and_validate():
    """What `dagster definitions validate` does: every job, schedule and sensor resolves."""
    repository = definitions.get_repository_def()
    repository.load_all_definitions()
    names = {job.name for job in repository.get_all_jobs()}
    operated = {name for name, _, _ in operations(GRAPH)}
    assert {"decompose", "decompose_project", "atlas_signatures", "atlas_project"} <= operated
    assert names >= {*(f"{name}_all" for name in operated), "verify_and_sweep"}
    assert {sensor.name for sensor in repository.sensor_defs} == {"changes", "dead_processes", "failures"}
    schedules = {schedule.name for schedule in repository.schedule_defs}
    assert schedules == {*(f"{name}_nightly" for name in operated), "weekly_maintenance"}


@pytest.mark.parametrize("asset", [*GRAPH.by_asset, "maintenance/archive_health"])
def test_every_asset_says_what_it_is(asset):
    node = definitions.resolve_asset_graph().get(AssetKey(asset.split("/")))
    assert node.group_name == asset.split("/")[0]
    assert node.description and len(node.description) > 20
    assert node.kinds
    assert node.owners
    assert node.is_external or node.code_version


def test_the_assets_follow_each_other_as_the_steps_say():
    graph = definitions.resolve_asset_graph()
    for asset, step in GRAPH.makers.items():
        assert graph.get(AssetKey(asset.split("/"))).parent_keys == {
            AssetKey(one.split("/")) for one in step.inputs.values()
        }


def test_every_result_of_a_data_set_has_its_checks():
    checks = {
        (key.asset_key.to_user_string(), key.name)
        for key in definitions.resolve_asset_graph().asset_check_keys
    }
    declared = {
        (asset, one.name) for step in GRAPH.artifacts for asset, some in step.checks.items() for one in some
    }
    assert checks == declared
    checked = {asset for asset, _ in declared}
    # A look at cells as they are; pages of checkpoints and of pictures that are checked themselves.
    reports = {"atlas/quality", "heatmap/browser", "export/gallery", "export/contact_sheet"}
    assert {asset for asset, step in GRAPH.makers.items() if step.by is not None} - checked == reports


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


def test_loading_imports_nothing_heavy():
    """Every run and every web server pays for what the definitions import."""
    heavy = "'anndata', 'zarr', 'dask', 'matplotlib', 'sklearn', 'numba', 'pandas', 'cupy', 'torch'"
    code = f"import sys, cytopipe.defs.definitions; print([one for one in ({heavy}) if one in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
