"""What happens by the clock: what is missing or stale every night, verification and sweeping every week.

The times are those of the machine's time zone, which each description names. A nightly run takes only what
the ledger wants and whose inputs are done: what comes first in the flow is made at two, the rest every hour
after.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dagster import (
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from cytopipe.defs.artifact import Artifact, Graph
from cytopipe.defs.history import History, asset_key
from cytopipe.defs.jobs import MAINTENANCE_JOB, job_name
from cytopipe.defs.ledger import NEEDED, Ledger, Status
from cytopipe.defs.relations import Relations
from cytopipe.defs.resources import project_of
from cytopipe.defs.running import range_tags
from cytopipe.defs.selection import operations, plan_runs
from cytopipe.errors import CytopipeError

__all__ = ["schedules_of"]

_TO_MAKE = ("missing", "stale", "interrupted", NEEDED)
_NOT_ENDED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def schedules_of(relations: Relations) -> list[ScheduleDefinition]:
    """A nightly schedule per operation, and the weekly maintenance."""
    zone, graph = _time_zone(), relations.graph
    nights = [
        _nightly(graph, name, steps, zone)
        for name, _, steps in operations(graph)
        if any(relations.is_used(step) for step in steps)
    ]
    return [*nights, _weekly(zone)]


def _nightly(graph: Graph, name: str, steps: tuple[Artifact, ...], zone: str) -> ScheduleDefinition:
    own = {asset for step in steps for asset in step.makes}
    first = all(
        upstream in own or upstream in graph.sources for step in steps for upstream in step.inputs.values()
    )
    when = "At 02:00" if first else "Every hour from 02:30 to 06:30"

    @schedule(
        name=f"{name}_nightly",
        cron_schedule="0 2 * * *" if first else "30 2-6 * * *",
        execution_timezone=zone,
        job_name=job_name(name),
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"{when} ({zone}), all of {job_name(name)} that is missing or stale and whose inputs are "
        "done. What failed waits for a person.",
    )
    def nightly(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        instance = context.instance
        try:
            ledger = Ledger(project_of(instance), graph, History(instance))
        except CytopipeError as error:
            yield SkipReason(str(error))
            return
        unfinished = RunsFilter(statuses=_NOT_ENDED, tags={"dagster/schedule_name": f"{name}_nightly"})
        if instance.get_runs(unfinished, limit=1):
            yield SkipReason("runs that it asked for before are not finished")
            return
        ledger.refresh()
        wanted = ledger.statuses(own, _TO_MAKE)
        ready = [one for one in wanted if _is_ready(ledger, one, own)]
        night = f"{context.scheduled_execution_time:%Y-%m-%d}"
        requests = [
            RunRequest(
                run_key=f"{night} {' '.join(run.assets)} {run.keys[0] if run.keys else ''}",
                tags=range_tags(run.keys),
                asset_selection=[asset_key(asset) for asset in run.assets],
            )
            for run in plan_runs(ledger, ready)
        ]
        yield from requests or [SkipReason(f"nothing of {job_name(name)} is to be made now")]

    return nightly


def _is_ready(ledger: Ledger, one: Status, own: set[str]) -> bool:
    """Whether everything that other operations make for it is done."""
    step = ledger.graph.makers[one.asset]
    for name, upstream in step.inputs.items():
        if upstream in own or upstream in ledger.graph.sources:
            continue
        states = ledger.book.states(upstream, ledger.relations.parents(step, name, one.key))
        if any(state in (*_TO_MAKE, "running") for state in states.values()):
            return False
        if name not in step.optional and any(state != "done" for state in states.values()):
            return False
    return True


def _weekly(zone: str) -> ScheduleDefinition:
    return ScheduleDefinition(
        name="weekly_maintenance",
        cron_schedule="0 4 * * 0",
        execution_timezone=zone,
        job_name=MAINTENANCE_JOB,
        default_status=DefaultScheduleStatus.RUNNING,
        description=f"Sundays at 04:00 ({zone}): every artifact against its manifest; drafts and old "
        "versions removed.",
    )


def _time_zone() -> str:
    """The name of the machine's time zone; UTC where it has none that cron knows."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    link = Path("/etc/localtime")
    linked = str(link.resolve()).partition("zoneinfo/")[2] if link.is_symlink() else ""
    named = os.environ.get("TZ") or linked
    try:
        ZoneInfo(named)
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"
    return named
