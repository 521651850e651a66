"""Runs started from the command line: Dagster runs like any other, executed in this process.

They carry the code location to which they belong, so that the browser shows them among its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, Definitions, JobDefinition
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from cytopipe.defs.dead_runs import claim_tags
from cytopipe.defs.history import asset_key
from cytopipe.defs.selection import Run
from cytopipe.interrupts import ctrl_c_held_back

__all__ = ["Finished", "range_tags", "run_assets"]

LOCATION = "cytopipe"
MODULE = "cytopipe.defs.definitions"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Finished:
    """A run that has ended: ``success``, ``failure`` or ``canceled``, and its errors in words."""

    run_id: str
    outcome: str
    errors: tuple[str, ...] = ()


def run_assets(instance: DagsterInstance, definitions: Definitions, run: Run, *, why: str = "") -> Finished:
    """Execute one run."""
    selection = {asset_key(asset) for asset in run.assets}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=selection)
    created = instance.create_run_for_job(
        job,
        run_config=_QUIET,
        tags={
            **range_tags(run.keys),
            **claim_tags(),
            "cytopipe/command": " ".join(["cytopipe", *sys.argv[1:]])[:500],
            **({"cytopipe/why": why[:500]} if why else {}),
        },
        asset_selection=frozenset(selection),
        remote_job_origin=_origin(job),
    )
    try:
        # Dagster's processes that watch over the run's output would print tracebacks.
        with ctrl_c_held_back():
            execute_run(InMemoryJob(job), created, instance, raise_on_error=False)
    except KeyboardInterrupt:
        _cancel(instance, created)
    return _finished(instance, created)


def range_tags(keys: tuple[str, ...]) -> dict[str, str]:
    """The run tags that select a range of partitions, or a single one."""
    if not keys:
        return {}
    if len(keys) == 1:
        return {"dagster/partition": keys[0]}
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


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
