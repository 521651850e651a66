"""From what an artifact was made, step by step back to the inputs, as history recorded it.

Each record names its inputs by asset, partition, storage id and digest, so the way back follows the very
events that were read and not the newest ones. A node also says whether what it names is still so today.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dagster import DagsterInstance

from cytopipe.defs import books
from cytopipe.defs.graph import Graph
from cytopipe.errors import CytopipeError, UserError
from cytopipe.project import Project
from cytopipe.provenance import Input

__all__ = ["Node", "ancestry", "asset_of_file", "walk"]


@dataclass(frozen=True)
class Node:
    """One artifact or input in a lineage.

    Parameters
    ----------
    asset, partition : str
    record : Record or None
        The event that made it or saw it; None where history has none.
    sha256 : str
        The version that was used.
    inputs : tuple of Node
        What it was made from.
    now : str
        ``same``, ``changed`` or ``gone``: what lies on disk today, compared with `sha256`.
    """

    asset: str
    partition: str
    record: books.Record | None
    sha256: str
    inputs: tuple[Node, ...] = ()
    now: str = "same"

    def as_json(self) -> dict[str, object]:
        """The node and everything below it as JSON values."""
        record = self.record
        return {
            "asset": self.asset,
            "partition": self.partition,
            "sha256": self.sha256,
            "now": self.now,
            "path": record.metadata.get("path") if record else None,
            "storage_id": record.storage_id if record else None,
            "run_id": record.run_id if record else None,
            "time": record.timestamp if record else None,
            "code_version": record.code_version if record else None,
            "parameters": dict(record.parameters) if record else {},
            "inputs": [one.as_json() for one in self.inputs],
        }


def ancestry(project: Project, instance: DagsterInstance, graph: Graph, asset: str, partition: str) -> Node:
    """The lineage of the newest materialization of a partition.

    Raises
    ------
    UserError
        If it was never made.
    """
    record = books.latest(instance, asset, partition, seen=asset in graph.sources)
    if record is None:
        raise UserError(f"{books.named(asset, partition)} was never made", next="See: cytopipe status")
    return _node(project, instance, graph, record)


def walk(node: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    """The node and all below it, with their depth, parents before inputs."""
    yield depth, node
    for one in node.inputs:
        yield from walk(one, depth + 1)


def asset_of_file(project: Project, graph: Graph, path: Path) -> tuple[str, str]:
    """The asset and partition to which a file or folder of the output root belongs.

    The partition of an asset that has none is the empty text.

    Raises
    ------
    UserError
        If it belongs to none.
    """
    full = path.absolute().resolve()
    for gathering in graph.gatherings.values():
        if full.is_relative_to(gathering.folder(project).resolve()):
            return gathering.asset, ""
    for chain in graph.chains:
        for data in project.data_sets.get(chain.partitions, {}).values():
            folder = data.folder.resolve()
            if full.is_relative_to(folder) and chain.belongs(data, full.relative_to(folder)):
                asset = chain.asset_of(full.relative_to(folder)) or chain.steps[-1].asset
                return asset, data.key
    raise UserError(
        "belongs to no data set of this project",
        where=str(path),
        expected=f"a file below {project.relative(project.output)}",
        next="See which there are with: cytopipe status",
    )


def _node(project: Project, instance: DagsterInstance, graph: Graph, record: books.Record) -> Node:
    inputs = []
    for one in record.inputs:
        used = _record_of(instance, graph, one)
        node = (
            _node(project, instance, graph, used)
            if used is not None
            else Node(one.asset, one.partition, None, one.sha256)
        )
        inputs.append(
            replace(node, sha256=one.sha256, now=_now(project, graph, one.asset, one.partition, one.sha256))
        )
    now = _now(project, graph, record.asset, record.partition, record.version)
    return Node(record.asset, record.partition, record, record.version, tuple(inputs), now)


def _record_of(instance: DagsterInstance, graph: Graph, used: Input) -> books.Record | None:
    """The event that an input pointed at."""
    if used.storage_id is None:
        return None
    return books.record_by_id(instance, used.asset, used.storage_id, seen=used.asset in graph.sources)


def _now(project: Project, graph: Graph, asset: str, partition: str, sha256: str) -> str:
    """Whether what an asset's partition is today has this digest."""
    try:
        version = _version(project, graph, asset, partition)
    except CytopipeError:
        return "changed"
    if version is None:
        return "gone"
    return "same" if version == sha256 else "changed"


def _version(project: Project, graph: Graph, asset: str, partition: str) -> str | None:
    """What an asset's partition is today; None where nothing stands or nothing of that name is declared."""
    if asset in graph.gatherings:
        standing = graph.gatherings[asset].standing(project)
        return standing.sha256 if standing else None
    known = asset in graph.sources or asset in graph.steps
    data = project.data_sets.get(graph.chain_with(asset).partitions, {}).get(partition) if known else None
    if data is None:
        return None
    if asset in graph.sources:
        return graph.sources[asset].version(project, data)
    standing = graph.steps[asset].standing(data)
    return standing.sha256 if standing else None
