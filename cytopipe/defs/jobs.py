"""One job per operation, and one for maintenance; what schedules start and people find by name."""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job

from cytopipe.defs.artifact import Graph
from cytopipe.defs.history import asset_key
from cytopipe.defs.selection import operations

__all__ = ["MAINTENANCE_JOB", "job_name", "jobs_of"]

MAINTENANCE_JOB = "verify_and_sweep"


def job_name(operation: str) -> str:
    """The job of an operation: ``decompose_all``."""
    return f"{operation}_all"


def jobs_of(graph: Graph) -> list:
    """The job of every operation, and the maintenance of the archive."""
    jobs = []
    for name, by, steps in operations(graph):
        assets = [asset for step in steps for asset in step.makes]
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
        define_asset_job(
            MAINTENANCE_JOB,
            selection=AssetSelection.groups("maintenance"),
            description="Compare every artifact with its manifest, then remove dead drafts and old versions.",
        ),
    ]
