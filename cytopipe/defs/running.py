"""Runs started from the command line: Dagster runs like any other, executed in this process.

In come asset and partition choices; out come finished runs in the project's history, with the code location
they belong to, so that the browser shows them among its own. One run takes a contiguous range of
partitions through all selected steps of a domain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dagster import AssetCheckKey, AssetKey, DagsterInstance, DagsterRun, DagsterRunStatus, JobDefinition
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from cytopipe.defs.checks import AS_PUBLISHED
from cytopipe.defs.definitions import GRAPH, definitions
from cytopipe.defs.ranges import range_tags, ranges_of

__all__ = ["Finished", "plan_runs", "run_assets"]

LOCATION = "cytopipe"
MODULE = "cytopipe.defs.definitions"


@dataclass(frozen=True)
class Finished:
    """A run that has ended: ``success``, ``failure`` or ``canceled``, and its errors in words."""

    run_id: str
    outcome: str
    errors: tuple[str, ...] = ()


def plan_runs(
    instance: DagsterInstance, wanted: Mapping[str, Iterable[str]]
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Group what is wanted into runs: ``(domain, assets, keys)``, in an order in which they can be made.

    What gathers partitions comes last, with no keys.

    Parameters
    ----------
    wanted : mapping of asset to partition keys
    """
    for chain in GRAPH.chains:
        order = list(instance.get_dynamic_partitions(chain.partitions))
        assets_by_key: dict[str, tuple[str, ...]] = {}
        for key in order:
            assets = tuple(step.asset for step in chain.steps if key in set(wanted.get(step.asset, ())))
            if assets:
                assets_by_key[key] = assets
        for assets in dict.fromkeys(assets_by_key.values()):
            keys = [key for key, chosen in assets_by_key.items() if chosen == assets]
            for part in ranges_of(order, keys, chain.partitions_per_run):
                yield chain.domain, list(assets), part
    for asset in (one for one in GRAPH.gatherings if one in wanted):
        yield asset.split("/")[0], [asset], []


def run_assets(
    instance: DagsterInstance, assets: Iterable[str], keys: list[str], *, why: str = ""
) -> Finished:
    """Execute one run over a range of partitions (none: assets without partitions)."""
    job = definitions.resolve_implicit_global_asset_job_def()
    selection = {AssetKey(asset.split("/")) for asset in assets}
    chosen = job.get_subset(asset_selection=selection, asset_check_selection=_invariants(job, selection))
    run = instance.create_run_for_job(
        chosen,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={
            **(range_tags(keys) if keys else {}),
            "cytopipe/command": " ".join(["cytopipe", *sys.argv[1:]])[:500],
            **({"cytopipe/why": why[:500]} if why else {}),
        },
        asset_selection=frozenset(selection),
        remote_job_origin=_origin(chosen),
    )
    try:
        execute_run(InMemoryJob(chosen), run, instance, raise_on_error=False)
    except KeyboardInterrupt:
        _cancel(instance, run)
    return _finished(instance, run)


def _invariants(job: JobDefinition, selection: set[AssetKey]) -> set[AssetCheckKey]:
    """The checks that come with the partitions; looking at the same bytes once more can wait for its day."""
    known = job.asset_layer.asset_graph.asset_check_keys
    return {one for one in known if one.asset_key in selection and one.name != AS_PUBLISHED}


def _finished(instance: DagsterInstance, run: DagsterRun) -> Finished:
    ended = instance.get_run_by_id(run.run_id)
    status = ended.status if ended else DagsterRunStatus.FAILURE
    if status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.CANCELED):
        return Finished(run.run_id, status.value.lower())
    return Finished(run.run_id, "failure", tuple(_errors(instance, run.run_id)))


def _errors(instance: DagsterInstance, run_id: str) -> Iterator[str]:
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None or not event.is_step_failure:
            continue
        data = event.step_failure_data
        if data.user_failure_data is not None:
            yield from (data.user_failure_data.description or "").splitlines()
        elif data.error is not None:
            yield data.error.to_string()


def _cancel(instance: DagsterInstance, run: DagsterRun) -> None:
    """End a run that was interrupted outside of any step."""
    current = instance.get_run_by_id(run.run_id)
    if current is not None and not current.is_finished:
        instance.report_run_canceled(current, message="Interrupted on the command line.")


def _origin(job: JobDefinition) -> RemoteJobOrigin:
    """Where the browser's code location will find this job."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=MODULE, working_directory=str(Path.cwd())
    )
    location = ManagedGrpcPythonEnvCodeLocationOrigin(loadable_target_origin=target, location_name=LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job.name)
