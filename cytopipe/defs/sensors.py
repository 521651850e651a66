"""What is noticed between the clocks: new data, hand edits and outside work, failures, dead processes."""

from __future__ import annotations

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunFailureSensorContext,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    run_failure_sensor,
    sensor,
)

from cytopipe.defs.dead_runs import reap
from cytopipe.defs.graph import Graph
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import registration_requests
from cytopipe.defs.resources import project_of
from cytopipe.errors import CytopipeError

__all__ = ["sensors_of"]

_SECONDS = 30


def sensors_of(graph: Graph) -> list[SensorDefinition]:
    """The sensors of the house; all of them run from the start."""
    return [_new_data(), _outside_work(graph), _dead_processes(), failures]


def _new_data() -> SensorDefinition:
    @sensor(
        name="new_data",
        minimum_interval_seconds=_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description="Registers new entries of cytopipe.yaml, and new files where a pattern looks.",
    )
    def new_data(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        try:
            project = project_of(context.instance)
        except CytopipeError as error:
            return SkipReason(str(error))
        requests = registration_requests(project, context.instance)
        if not requests:
            faults = "; ".join(str(finding) for finding in project.findings[:5])
            return SkipReason(faults or "nothing new")
        return SensorResult(dynamic_partitions_requests=requests)

    return new_data


def _outside_work(graph: Graph) -> SensorDefinition:
    @sensor(
        name="outside_work",
        minimum_interval_seconds=_SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
        description=(
            "Notes new versions of inputs, files edited by hand, and work done by plain commands, so that "
            "what depends on them becomes stale."
        ),
    )
    def outside_work(context: SensorEvaluationContext) -> SkipReason:
        try:
            project = project_of(context.instance)
        except CytopipeError as error:
            return SkipReason(str(error))
        noticed = observe(project, context.instance, graph)
        for one in noticed:
            context.log.info(f"{one.asset} [{one.partition}]: {one.what}")
        return SkipReason(
            "; ".join(f"{one.asset} [{one.partition}] {one.what}" for one in noticed[:20]) or "nothing new"
        )

    return outside_work


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
