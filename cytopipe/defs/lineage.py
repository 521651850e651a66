"""From what an artifact was made, step by step back to the inputs, as receipts and history recorded it.

A receipt names its inputs by asset, partition and digest. Where an input still stands in the version that was
used, its own receipt leads on; where it was made anew since, the history does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cytopipe.defs.book import Record
from cytopipe.defs.event import MADE, SEEN, Event, named
from cytopipe.defs.ledger import Ledger
from cytopipe.errors import UserError
from cytopipe.provenance import Input

__all__ = ["Node", "lineage", "walk"]


@dataclass(frozen=True)
class Node:
    """One artifact or source in a lineage.

    Parameters
    ----------
    asset, key, version : str
        `version` is the one that was used.
    path : str
        Relative to the project; empty for declared values.
    run_id : str
    made_at : float
        Seconds since 1970; 0 where it is not known.
    code_version : str
    parameters : dict
    inputs : tuple of Node
        What it was made from.
    now : str
        ``same``, ``changed``, ``removed`` (after use) or ``gone``: what stands today, compared with
        `version`.
    """

    asset: str
    key: str
    version: str
    path: str = ""
    run_id: str = ""
    made_at: float = 0.0
    code_version: str = ""
    parameters: dict[str, object] | None = None
    inputs: tuple[Node, ...] = ()
    now: str = "same"

    def as_json(self) -> dict[str, object]:
        """The node and everything below it as JSON values."""
        return {
            "asset": self.asset,
            "partition": self.key,
            "sha256": self.version,
            "now": self.now,
            "path": self.path or None,
            "run_id": self.run_id or None,
            "time": self.made_at or None,
            "code_version": self.code_version or None,
            "parameters": self.parameters or {},
            "inputs": [one.as_json() for one in self.inputs],
        }


def lineage(ledger: Ledger, asset: str, key: str) -> Node:
    """The lineage of what stands of a partition.

    Raises
    ------
    UserError
        It was never made.
    """
    kind = SEEN if asset in ledger.graph.sources else MADE
    record = ledger.book.record(asset, key, kind)
    if record is None:
        raise UserError(f"{named(asset, key)} was never made", next="See: cytopipe status")
    return _node(ledger, asset, key, record.version, {})


def walk(node: Node) -> Iterator[tuple[tuple[bool, ...], Node, bool]]:
    """The node and all below it, parents before inputs; for each level above, whether more follow there; and
    whether its inputs were given above already, which are then left out: tiles of a well share most of them.
    """
    yield from _walk(node, (), set())


def _walk(
    node: Node, above: tuple[bool, ...], told: set[int]
) -> Iterator[tuple[tuple[bool, ...], Node, bool]]:
    again = id(node) in told
    yield above, node, again
    if again or not node.inputs:
        return
    told.add(id(node))
    for number, one in enumerate(node.inputs, start=1):
        yield from _walk(one, (*above, number < len(node.inputs)), told)


def _node(
    ledger: Ledger, asset: str, key: str, version: str, known: dict[tuple[str, str, str], Node]
) -> Node:
    place = (asset, key, version)
    if place not in known:
        known[place] = _looked_up(ledger, asset, key, version, known)
    return known[place]


def _looked_up(
    ledger: Ledger, asset: str, key: str, version: str, known: dict[tuple[str, str, str], Node]
) -> Node:
    record = ledger.book.record(asset, key, SEEN if asset in ledger.graph.sources else MADE)
    is_current = record is not None and record.version == version
    now = "same" if is_current else "changed" if record is not None else "gone"
    if is_current and asset in ledger.graph.makers and ledger.book.content(asset, key):
        now = "changed"
    elif is_current and record and "removed" in record.facts:
        now = "removed"
    event = None if is_current else ledger.events.event(asset, key, version)
    inputs, parameters = _recipe(ledger, asset, key, version, event if event else record)
    return Node(
        asset=asset,
        key=key,
        version=version,
        path=_path(record.facts) if is_current and record else _path(event.metadata if event else {}),
        run_id=record.run_id if is_current and record else event.run_id if event else "",
        made_at=record.timestamp if is_current and record else event.timestamp if event else 0.0,
        code_version=record.code_version if is_current and record else event.code_version if event else "",
        parameters=parameters,
        inputs=tuple(_node(ledger, one.asset, one.partition, one.sha256, known) for one in inputs),
        now=now,
    )


def _recipe(
    ledger: Ledger, asset: str, key: str, version: str, told
) -> tuple[list[Input], dict[str, object]]:
    """What a version was made from: as its receipt says while it stands, else as its event does."""
    if asset in ledger.graph.sources:
        return [], dict(ledger.book.values(version) or {})
    is_outside = isinstance(told, Record) and "outside" in told.facts
    declared = not is_outside and key in ledger.relations.made_set(ledger.graph.makers[asset])
    receipt = ledger.archive.receipt(ledger.places.place(asset, key)) if declared else None
    if receipt is not None and receipt.version == version and receipt.provenance is not None:
        made = receipt.provenance
        return [one for one in made.inputs if one.asset in ledger.graph.by_asset], dict(made.parameters)
    event = told if isinstance(told, Event) else ledger.events.event(asset, key, version)
    metadata = event.metadata if event else {}
    parts = metadata.get("inputs", [])
    inputs = [
        Input(path="", sha256=str(one["sha256"]), asset=str(one["asset"]), partition=str(one["partition"]))
        for one in (parts if isinstance(parts, list) else [])
    ]
    parameters = metadata.get("parameters")
    return inputs, dict(parameters) if isinstance(parameters, dict) else {}


def _path(facts: Mapping[str, object]) -> str:
    return str(facts.get("path", facts.get("outside", "")))
