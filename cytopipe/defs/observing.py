"""Noticing what happened outside Dagster: new versions of inputs, hand edits, work done by plain commands.

Sources get an observation when their digest differs from the last one seen. A step's partition gets a
materialization when what stands on disk, whole and vouched for, is not what history says: a directory
made by `cytopipe decompose`, or a FASTA file edited by hand. So history follows the disk, downstream
becomes stale, and nothing is made twice. Files that are damaged, or were found to break an invariant, are
not taken up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dagster import AssetExecutionContext, DagsterInstance, OpExecutionContext

from cytopipe.defs import books
from cytopipe.defs.graph import Graph
from cytopipe.defs.plan import as_input, present_inputs
from cytopipe.defs.steps import Source, Step
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project
from cytopipe.provenance import Input

__all__ = ["Noticed", "observe"]


@dataclass(frozen=True)
class Noticed:
    """Something that had happened outside: which asset and partition, and what."""

    asset: str
    partition: str
    what: str


def observe(
    project: Project,
    instance: DagsterInstance,
    graph: Graph,
    partitions: Mapping[str, Collection[str]] | None = None,
    *,
    run: AssetExecutionContext | OpExecutionContext | None = None,
) -> list[Noticed]:
    """Bring history up to what lies on disk.

    Parameters
    ----------
    project, instance, graph
        What to look at, where to write, which sources and steps there are.
    partitions : mapping of set of partitions to keys, optional
        Only these; everything that is registered otherwise.
    run : execution context, optional
        The run in whose name the events are written; none: they stand by themselves.

    Returns
    -------
    list of Noticed
        What was new.
    """

    def report(event) -> None:
        if run is None:
            instance.report_runless_asset_event(event)
        else:
            run.log_event(event)

    noticed: list[Noticed] = []
    for chain in graph.chains:
        name = chain.partitions
        known = set(instance.get_dynamic_partitions(name))
        chosen = known if partitions is None else known & set(partitions.get(name, ()))
        data_sets = [data for key, data in project.data_sets.get(name, {}).items() if key in chosen]
        keys = [data.key for data in data_sets]
        for source in chain.sources:
            seen = books.latest_by_partition(instance, source.asset, keys, kind="seen")
            for data in data_sets:
                if found := _source(project, source, data, seen.get(data.key), report):
                    noticed.append(found)
        for step in chain.steps:
            made = books.latest_by_partition(instance, step.asset, keys)
            for data in data_sets:
                if found := _step(project, instance, graph, step, data, made.get(data.key), report):
                    noticed.append(found)
    return noticed


def _source(
    project: Project, source: Source, data: DataSet, seen: books.Record | None, report
) -> Noticed | None:
    version = source.version(project, data)
    if version is None or (seen is not None and seen.version == version):
        return None
    what = "first seen" if seen is None else f"changed: {seen.version[:8]} -> {version[:8]}"
    metadata = {**source.describe(project, data), "sha256": version}
    report(books.observation(source.asset, data.key, version=version, metadata=metadata, description=what))
    return Noticed(source.asset, data.key, what)


def _step(
    project: Project,
    instance: DagsterInstance,
    graph: Graph,
    step: Step,
    data: DataSet,
    record: books.Record | None,
    report,
) -> Noticed | None:
    try:
        standing = step.standing(data)
    except CytopipeError:
        return None
    if standing is None or (record is not None and record.version == standing.sha256):
        return None
    failed = books.records(instance, step.asset, data.key, kinds=("failed",), limit=1)
    if failed and failed[0].metadata.get("rejected") == standing.sha256:
        return None
    what = "made outside Dagster, taken up as it is" if record is None else "changed outside Dagster"
    inputs = _inputs_of(instance, graph, step, data, standing.made_from, report)
    metadata = books.describe(
        project, standing, code_version=step.code_version, inputs=inputs, duration_s=None, how=what
    )
    tags = books.version_tags(data.key, standing.sha256, step.code_version, inputs)
    report(books.materialization(step.asset, data.key, metadata, tags, description=what))
    return Noticed(step.asset, data.key, what)


def _inputs_of(
    instance: DagsterInstance,
    graph: Graph,
    step: Step,
    data: DataSet,
    made_from: Mapping[str, str],
    report,
) -> tuple[Input, ...]:
    """The inputs outside work was made from: what it says itself, else what history has now."""
    found = []
    for one in present_inputs(instance, graph, step, data):
        used = made_from.get(one.asset, one.sha256)
        if used != one.sha256 and one.asset in graph.sources:
            # Dagster compares with the event an input pointed at, so the version that was used is written
            # down as seen, and the present one after it.
            what = f"used in this version by {step.asset}"
            for version, words in ((used, what), (one.sha256, "present version")):
                report(
                    books.observation(
                        one.asset,
                        one.partition,
                        version=version,
                        metadata={"sha256": version},
                        description=words,
                    )
                )
                if version == used:
                    newest = books.latest(instance, one.asset, one.partition, seen=True)
                    one = as_input(one.asset, one.partition, newest)
        found.append(dataclasses.replace(one, sha256=used))
    return tuple(found)
