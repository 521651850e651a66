"""Jobs that people find by name: one per operation, those that make all artifacts below a path, and one for
maintenance.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from dagster import (
    AssetSelection,
    DagsterExecutionInterruptedError,
    Failure,
    JobDefinition,
    OpExecutionContext,
    define_asset_job,
    job,
    op,
)

from cytopipe.defs.artifact import Graph
from cytopipe.defs.history import History, asset_key
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.relations import Relations
from cytopipe.defs.resources import ProjectResource, read_once
from cytopipe.defs.running import run_assets
from cytopipe.defs.selection import choose, held, operations, plan_runs

__all__ = ["MAINTENANCE_JOB", "job_name", "jobs_of"]

MAINTENANCE_JOB = "verify_and_sweep"


def job_name(operation: str) -> str:
    """The job of an operation: ``decompose_all``."""
    return f"{operation}_all"


def jobs_of(relations: Relations) -> list:
    """All jobs. What the settings of no entry use is left out of them."""
    graph, jobs = relations.graph, []
    for name, by, steps in operations(graph):
        assets = [asset for step in steps if relations.is_used(step) for asset in step.makes]
        if not assets:
            continue
        over = f"each {by.title}" if by else "the whole project"
        jobs.append(
            define_asset_job(
                job_name(name),
                selection=AssetSelection.assets(*map(asset_key, assets)),
                description=f"Make {', '.join(assets)} for {over}.",
            )
        )
    return [
        *jobs,
        *(_all_below(graph, name, below) for name, below in graph.jobs.items()),
        define_asset_job(
            MAINTENANCE_JOB,
            selection=AssetSelection.groups("maintenance"),
            description="Compare every artifact with its manifest, then remove dead drafts and old versions.",
        ),
    ]


def _all_below(graph: Graph, name: str, below: str) -> JobDefinition:
    """A job over several sets of partitions, which no job of assets can be: it starts a run for each part."""
    words = (
        f"Make what is missing or stale below {below}, of every partition, with what it is made from; as the "
        f"command `cytopipe materialize {below}`. Its runs are listed beside it."
    )

    @op(name=f"make_{name}", description=words)
    def make(context: OpExecutionContext, project: ProjectResource) -> None:
        from cytopipe.defs.definitions import definitions_of  # which loads this module

        found = project.read(context.instance)
        ledger = Ledger(found, graph, History(context.instance))
        ledger.refresh()
        for one in held(ledger, [below])[:10]:
            context.log.warning(f"{one.asset} [{one.key}] is held: {'; '.join(one.reasons)}")
        runs = plan_runs(ledger, choose(ledger, [below]))
        ledger.book.close()
        context.log.info(f"{len(runs)} runs" if runs else "nothing to do")
        definitions, errors = definitions_of(found, file=str(found.file)), []
        with read_once(found):
            for run in runs:
                done = run_assets(context.instance, definitions, run, why=name)
                context.log.info(f"run {done.run_id}: {done.outcome}: {', '.join(run.assets)}")
                if done.outcome == "canceled":
                    raise DagsterExecutionInterruptedError(f"run {done.run_id} was canceled")
                errors += done.errors
        if errors:
            raise Failure("\n".join(errors), allow_retries=False)

    @job(name=name, description=words)
    def all_below() -> None:
        make()

    return all_below
