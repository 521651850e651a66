"""What happens by the clock: new and stale data every night, verification and sweeping every week.

Written out rather than built from the jobs: a nightly run takes only the partitions that the plan wants,
in ranges of neighbours, and says in its tags why.
"""

from __future__ import annotations

from collections.abc import Iterator

from dagster import (
    DefaultScheduleStatus,
    RunRequest,
    ScheduleDefinition,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from cytopipe.defs.graph import Graph
from cytopipe.defs.jobs import CARE_JOB, domain_job_name
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import register
from cytopipe.defs.plan import judge
from cytopipe.defs.ranges import range_tags, ranges_of
from cytopipe.defs.resources import project_of
from cytopipe.errors import CytopipeError

__all__ = ["schedules_of"]


def schedules_of(graph: Graph) -> list[ScheduleDefinition]:
    """A nightly schedule per domain and the weekly care."""
    return [*(_nightly(graph, domain) for domain in graph.domains), _weekly()]


def _nightly(graph: Graph, domain: str) -> ScheduleDefinition:
    @schedule(
        name=f"{domain}_nightly",
        cron_schedule="0 2 * * *",
        job_name=domain_job_name(domain),
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"At 02:00, all of {domain} that is missing or stale. What failed waits for a person.",
    )
    def nightly(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        instance = context.instance
        try:
            project = project_of(instance)
        except CytopipeError as error:
            yield SkipReason(str(error))
            return
        register(project, instance)
        observe(project, instance, graph)
        wanted = {
            one.partition
            for one in judge(project, instance, graph, domains=[domain])
            if one.state in ("missing", "stale", "interrupted")
        }
        ranges = ranges_of(list(instance.get_dynamic_partitions(domain)), wanted)
        if not ranges:
            yield SkipReason(f"everything of {domain} is up to date")
        for keys in ranges:
            yield RunRequest(
                run_key=f"{context.scheduled_execution_time:%Y-%m-%d} {keys[0]}", tags=range_tags(keys)
            )

    return nightly


def _weekly() -> ScheduleDefinition:
    return ScheduleDefinition(
        name="weekly_care",
        cron_schedule="0 4 * * 0",
        job_name=CARE_JOB,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Sundays at 04:00: every artifact against its manifest; drafts and old versions removed.",
    )
