"""Checks that can be run at any time: are the bytes on disk still those that were published?

The invariants of a domain (record conservation, ...) are evaluated by the chain with every partition,
before it counts as made. The check here looks again, later: a disk, a copy or a person may have changed
what no process of ours touched.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    MetadataValue,
    asset_check,
)

from cytopipe.defs import books
from cytopipe.defs.graph import Chain
from cytopipe.defs.partitions import partitions_of
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.steps import Step
from cytopipe.errors import CytopipeError

__all__ = ["AS_PUBLISHED", "standing_checks"]

AS_PUBLISHED = "bytes_as_published"


def standing_checks(chain: Chain) -> list[AssetChecksDefinition]:
    """One check per step: what stands on disk is what history says."""
    return [_bytes_as_published(chain, step) for step in chain.steps]


def _bytes_as_published(chain: Chain, step: Step) -> AssetChecksDefinition:
    @asset_check(
        asset=books.asset_key(step.asset),
        name=AS_PUBLISHED,
        description="Digests of the files on disk equal those of the newest materialization.",
        partitions_def=partitions_of(chain.partitions),
    )
    def check(context: AssetCheckExecutionContext, project: ProjectResource) -> AssetCheckResult:
        found = project.read(context.instance)
        faults = {}
        for key in context.partition_keys:
            record = books.latest(context.instance, step.asset, key)
            if fault := _fault(step, found, chain.partitions, key, record):
                faults[key] = fault
        return AssetCheckResult(
            passed=not faults,
            severity=AssetCheckSeverity.ERROR,
            description="; ".join(f"{key}: {fault}" for key, fault in faults.items()) or "as published",
            metadata={"faults": MetadataValue.json(faults)},
        )

    return check


def _fault(step: Step, project, partitions: str, key: str, record: books.Record | None) -> str:
    if record is None:
        return "never made"
    try:
        standing = step.standing(project.data_set(partitions, key))
    except CytopipeError as error:
        return str(error)
    if standing is None:
        return "its files are gone or not whole"
    if standing.sha256 != record.version:
        return f"expected {record.version[:12]}, found {standing.sha256[:12]}"
    return ""
