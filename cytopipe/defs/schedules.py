"""What happens by the clock: new and stale data every night, verification and sweeping every week.

Written out rather than built from the jobs: a nightly run takes only the partitions that the plan wants,
in ranges of neighbours. Parts of data sets come after the data sets they are made from: every hour of the
night takes those whose inputs are done by then, and at last what gathers them.
"""

from __future__ import annotations

from collections.abc import Iterator

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

from cytopipe.defs import books
from cytopipe.defs.graph import Chain, Graph
from cytopipe.defs.jobs import CARE_JOB, chain_job_name
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import register
from cytopipe.defs.plan import Judgement, Place, judge
from cytopipe.defs.ranges import range_tags, ranges_of
from cytopipe.defs.resources import project_of
from cytopipe.errors import CytopipeError
from cytopipe.project import Project

__all__ = ["schedules_of"]

_NOT_ENDED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def schedules_of(graph: Graph) -> list[ScheduleDefinition]:
    """A nightly schedule per chain and the weekly care."""
    return [*(_nightly(graph, chain) for chain in graph.chains), _weekly()]


def _nightly(graph: Graph, chain: Chain) -> ScheduleDefinition:
    name = f"{chain.partitions}_nightly"
    when = "Every hour from 02:30 to 06:30" if chain.of_parts else "At 02:00"

    @schedule(
        name=name,
        cron_schedule="30 2-6 * * *" if chain.of_parts else "0 2 * * *",
        job_name=chain_job_name(chain),
        default_status=DefaultScheduleStatus.STOPPED,
        description=f"{when}, all of {chain_job_name(chain)} that is missing or stale"
        f"{' and whose data set is done' if chain.of_parts else ''}. What failed waits for a person.",
    )
    def nightly(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
        instance = context.instance
        try:
            project = project_of(instance)
        except CytopipeError as error:
            yield SkipReason(str(error))
            return
        unfinished = RunsFilter(statuses=_NOT_ENDED, tags={"dagster/schedule_name": name})
        if instance.get_runs(unfinished, limit=1):
            yield SkipReason("runs that it asked for before are not finished")
            return
        register(project, instance)
        observe(project, instance, graph)
        judged = judge(project, instance, graph, domains=[chain.domain])
        done = {one.place for one in judged if one.state == "done"}
        ready = [
            one
            for one in judged
            if one.state in ("missing", "stale", "interrupted")
            and all(place in done for place in _made_before(project, graph, chain, one))
        ]
        steps, gathered = {one.asset for one in chain.steps}, {one.asset for one in chain.gathered}
        wanted = {one.partition for one in ready if one.asset in steps}
        night = f"{context.scheduled_execution_time:%Y-%m-%d}"
        requests = [
            RunRequest(run_key=f"{night} {keys[0]}", tags=range_tags(keys))
            for keys in ranges_of(list(instance.get_dynamic_partitions(chain.partitions)), wanted)
        ]
        requests += [
            RunRequest(run_key=f"{night} {one.asset}", asset_selection=[books.asset_key(one.asset)])
            for one in ready
            if one.asset in gathered
        ]
        yield from requests or [SkipReason(f"nothing of {chain_job_name(chain)} is to be made now")]

    return nightly


def _made_before(project: Project, graph: Graph, chain: Chain, one: Judgement) -> Iterator[Place]:
    """What is to be made by runs before this one: inputs from other chains, and all those of a gathering."""
    steps = {step.asset for step in chain.steps}
    for asset, key in graph.inputs_of(project, *one.place):
        if asset in graph.steps and not {asset, one.asset} <= steps:
            yield asset, key


def _weekly() -> ScheduleDefinition:
    return ScheduleDefinition(
        name="weekly_care",
        cron_schedule="0 4 * * 0",
        job_name=CARE_JOB,
        default_status=DefaultScheduleStatus.RUNNING,
        description="Sundays at 04:00: every artifact against its manifest; drafts and old versions removed.",
    )
