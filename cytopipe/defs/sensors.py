"""What is noticed between the clocks: changes outside, tables to be made again, failures, dead processes."""

from __future__ import annotations

from collections.abc import Iterator

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunFailureSensorContext,
    RunRequest,
    RunsFilter,
    SensorDefinition,
    SensorEvaluationContext,
    SkipReason,
    run_failure_sensor,
    sensor,
)

from cytopipe.defs.artifact import Graph
from cytopipe.defs.dead_runs import reap
from cytopipe.defs.event import MADE, named
from cytopipe.defs.history import History, asset_key
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.overview import is_overview
from cytopipe.defs.resources import project_of
from cytopipe.errors import CytopipeError

__all__ = ["sensors_of"]

_SECONDS = 30
_LIVE = [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED]


def sensors_of(graph: Graph) -> list[SensorDefinition]:
    """The sensors of the house; all of them run from the start."""
    return [_changes(graph), _dead_processes(), failures]


def _changes(graph: Graph) -> SensorDefinition:
    overviews = [asset for asset in graph.makers if is_overview(asset)]

    @sensor(
        name="changes",
        minimum_interval_seconds=_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        asset_selection=[asset_key(asset) for asset in overviews],
        description="Notes new versions of inputs, files edited by hand and work done by plain commands, so "
        "that what depends on them becomes stale; makes the overview of a domain again when its data sets "
        "changed.",
    )
    def changes(context: SensorEvaluationContext):
        try:
            ledger = Ledger(project_of(context.instance), graph, History(context.instance))
        except CytopipeError as error:
            yield SkipReason(str(error))
            return
        noticed = [f"{named(one.asset, one.key)} {one.what}" for one in ledger.refresh()]
        for one in noticed:
            context.log.info(one)
        changed = dict(_changed(ledger, overviews))
        if changed and not context.instance.get_runs(RunsFilter(statuses=_LIVE), limit=1):
            key = " ".join(version[:16] for version in changed.values())
            yield RunRequest(run_key=key, asset_selection=[asset_key(asset) for asset in changed])
        else:
            yield SkipReason("; ".join(noticed[:20]) or "nothing new")

    return changes


def _changed(ledger: Ledger, overviews: list[str]) -> Iterator[tuple[str, str]]:
    """Overviews whose data sets are others than those in them, with the version over these.

    One that is stale only because a data set is to be made again waits until it was.
    """
    for asset in overviews:
        step, record = ledger.graph.makers[asset], ledger.book.record(asset, "", MADE)
        read = ledger.read(step, "made", "")
        if read.parts and (record is None or record.inputs.get(step.inputs["made"]) != read.version):
            yield asset, read.version


def _dead_processes() -> SensorDefinition:
    @sensor(
        name="dead_processes",
        minimum_interval_seconds=60,
        default_status=DefaultSensorStatus.RUNNING,
        description="Ends runs whose process or host is gone, so that they can be retried.",
    )
    def dead_processes(context: SensorEvaluationContext) -> SkipReason:
        reaped = reap(context.instance)
        return SkipReason(
            "; ".join(f"{one.run_id[:8]} {one.outcome}: {one.why}" for one in reaped) or "all alive"
        )

    return dead_processes


@run_failure_sensor(
    name="failures",
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=_SECONDS,
    description="Appends every failed run, with its reason, to .cytopipe/failures.log as a line of JSON.",
)
def failures(context: RunFailureSensorContext) -> None:
    import json
    from datetime import UTC, datetime

    try:
        project = project_of(context.instance)
    except CytopipeError:
        return
    run = context.dagster_run
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get(
            "dagster/partition", run.tags.get("dagster/asset_partition_range_start", "")
        ),
        "reason": context.failure_event.message or DagsterRunStatus.FAILURE.value,
        "steps": [event.step_key for event in context.get_step_failure_events()],
        "errors": [
            event.step_failure_data.error.message.strip()
            for event in context.get_step_failure_events()
            if event.step_failure_data.error
        ],
    }
    log = project.home / "failures.log"
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
