"""The books: what Dagster's event log says of one partition of one asset, and how we write into it.

Dagster's own pointers are wrong for partitioned inputs (they name the latest partition, and hash all of
them together), so every entry carries its inputs as we recorded them: asset, partition, storage id, run
and digest. The same facts go into Dagster's version tags, per partition, so that what the browser calls
stale is what is stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    EventLogRecord,
    MetadataValue,
)

from cytopipe.defs.steps import Made
from cytopipe.project import Project
from cytopipe.provenance import Input

__all__ = [
    "Record",
    "asset_key",
    "describe",
    "failure_note",
    "latest",
    "latest_by_partition",
    "materialization",
    "named",
    "observation",
    "record_by_id",
    "records",
    "version_tags",
]

# The names under which Dagster keeps versions in an event's tags (its data_version module).
_DATA = "dagster/data_version"
_GIVEN = "dagster/data_version_is_user_provided"
_CODE = "dagster/code_version"
_INPUT_VERSION = "dagster/input_data_version/"
_INPUT_POINTER = "dagster/input_event_pointer/"

FAILED = "failed"
CHECKPOINT = "checkpoint"
_CHUNK = 500
_PICTURE_PX = 520


@dataclass(frozen=True, kw_only=True)
class Record:
    """One event of one partition.

    `kind` is ``made``, ``seen`` (observed), ``failed`` or ``checkpoint``; `version` the digest of the
    content; `metadata` plain Python values.
    """

    asset: str
    partition: str
    kind: str
    storage_id: int
    run_id: str
    timestamp: float
    version: str
    code_version: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Input, ...]:
        written = self.metadata.get("inputs")
        return tuple(Input(**one) for one in written) if isinstance(written, list) else ()

    @property
    def parameters(self) -> Mapping[str, object]:
        written = self.metadata.get("parameters")
        return written if isinstance(written, Mapping) else {}


def asset_key(asset: str) -> AssetKey:
    """``decompose/initial`` as Dagster's key."""
    return AssetKey(asset.split("/"))


def named(asset: str, partition: str) -> str:
    """A partition in words: ``decompose/initial [meadow]``; of an asset without partitions, its name."""
    return f"{asset} [{partition}]" if partition else asset


def latest(instance: DagsterInstance, asset: str, partition: str, *, seen: bool = False) -> Record | None:
    """The newest materialization of a partition; with `seen`, the newest observation of a source.

    The partition of an asset that has none is the empty text.
    """
    found = records(instance, asset, partition, kinds=("seen",) if seen else ("made",), limit=1)
    return found[0] if found else None


def latest_by_partition(
    instance: DagsterInstance, asset: str, partitions: Iterable[str], *, kind: str = "made"
) -> dict[str, Record]:
    """The newest record of `kind` for each of `partitions` that has one, in few queries."""
    event = DagsterEventType.ASSET_MATERIALIZATION if kind == "made" else DagsterEventType.ASSET_OBSERVATION
    wanted = set(partitions)
    if not wanted:
        return {}
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset_key(asset), event, partitions=wanted
    )
    ids = sorted(newest.values())
    found: dict[str, Record] = {}
    for begin in range(0, len(ids), _CHUNK):
        for record in _fetch(instance, asset, event, storage_ids=ids[begin : begin + _CHUNK], limit=_CHUNK):
            found[record.partition] = record
    return found


def records(
    instance: DagsterInstance,
    asset: str,
    partition: str | None = None,
    *,
    kinds: tuple[str, ...] = ("made", "seen", "failed", "checkpoint"),
    limit: int = 100,
) -> list[Record]:
    """Events of an asset (of one partition, if one is named), newest first."""
    given = [partition] if partition else None
    found: list[Record] = []
    if "made" in kinds:
        found += _fetch(
            instance, asset, DagsterEventType.ASSET_MATERIALIZATION, partitions=given, limit=limit
        )
    if set(kinds) - {"made"}:
        found += _fetch(instance, asset, DagsterEventType.ASSET_OBSERVATION, partitions=given, limit=limit)
    return sorted((one for one in found if one.kind in kinds), key=lambda one: -one.storage_id)[:limit]


def record_by_id(
    instance: DagsterInstance, asset: str, storage_id: int, *, seen: bool = False
) -> Record | None:
    """The very event that an input pointed at."""
    event = DagsterEventType.ASSET_OBSERVATION if seen else DagsterEventType.ASSET_MATERIALIZATION
    found = _fetch(instance, asset, event, storage_ids=[storage_id], limit=1)
    return found[0] if found else None


def _fetch(
    instance: DagsterInstance,
    asset: str,
    event: DagsterEventType,
    *,
    partitions: list[str] | None = None,
    storage_ids: list[int] | None = None,
    limit: int,
) -> list[Record]:
    chosen = AssetRecordsFilter(
        asset_key=asset_key(asset), asset_partitions=partitions, storage_ids=storage_ids
    )
    fetch = (
        instance.fetch_materializations
        if event is DagsterEventType.ASSET_MATERIALIZATION
        else instance.fetch_observations
    )
    return [_record(asset, one) for one in fetch(chosen, limit=limit).records]


def _record(asset: str, found: EventLogRecord) -> Record:
    entry = found.event_log_entry
    event = entry.asset_materialization or entry.asset_observation
    assert event is not None
    tags = event.tags or {}
    metadata = {name: value.value for name, value in event.metadata.items()}
    kind = "made" if entry.asset_materialization else str(metadata.get("event", "seen"))
    return Record(
        asset=asset,
        partition=event.partition or "",
        kind=kind,
        storage_id=found.storage_id,
        run_id=entry.run_id,
        timestamp=found.timestamp,
        version=tags.get(_DATA, ""),
        code_version=tags.get(_CODE, ""),
        metadata=metadata,
    )


def version_tags(partition: str, version: str, code_version: str, inputs: Iterable[Input]) -> dict[str, str]:
    """Dagster's tags for a partition made from `inputs`: what its staleness is computed from.

    An input of another set of partitions gets no pointer: Dagster would compare it with every event of every
    partition of that set, and call a part stale when another level was made.
    """
    tags = {_DATA: version, _GIVEN: "true", _CODE: code_version}
    for one in inputs:
        known = one.storage_id is not None and one.partition == partition
        tags[f"{_INPUT_VERSION}{one.asset}"] = one.sha256
        tags[f"{_INPUT_POINTER}{one.asset}"] = str(one.storage_id) if known else "NULL"
    return tags


def describe(
    project: Project,
    made: Made,
    *,
    code_version: str,
    inputs: tuple[Input, ...],
    duration_s: float | None,
    how: str,
) -> dict[str, MetadataValue]:
    """The metadata of one materialization, in the order in which a person asks for it."""
    metadata: dict[str, MetadataValue] = {}
    if made.picture is not None:
        metadata["picture"] = _picture(project, made)
    for name, count in made.counts.items():
        metadata[name] = MetadataValue.float(count) if isinstance(count, float) else MetadataValue.int(count)
    for name, note in made.notes.items():
        metadata[name] = _value(note)
    metadata["path"] = MetadataValue.path(project.relative(made.path))
    metadata["size_bytes"] = MetadataValue.int(made.size_bytes)
    metadata["sha256"] = MetadataValue.text(made.sha256)
    for table in made.tables.values():
        metadata[table.name] = MetadataValue.url(_address(project, table))
    metadata["parameters"] = MetadataValue.json(dict(made.parameters))
    metadata["inputs"] = MetadataValue.json([_input_json(one) for one in inputs])
    metadata["code_version"] = MetadataValue.text(code_version)
    metadata["how"] = MetadataValue.text(how)
    if duration_s is not None:
        metadata["duration_s"] = MetadataValue.float(round(duration_s, 3))
    return metadata


def materialization(
    asset: str,
    partition: str,
    metadata: Mapping[str, MetadataValue],
    tags: Mapping[str, str],
    description: str | None = None,
) -> AssetMaterialization:
    """The event that says a partition was made."""
    return AssetMaterialization(
        asset_key(asset), partition=partition, metadata=metadata, tags=tags, description=description
    )


def observation(
    asset: str,
    partition: str,
    *,
    version: str,
    metadata: Mapping[str, object],
    description: str | None = None,
) -> AssetObservation:
    """The event that says a source was seen in this version."""
    return AssetObservation(
        asset_key(asset),
        partition=partition,
        description=description,
        metadata={"event": "seen"} | {name: _value(value) for name, value in metadata.items()},
        tags={_DATA: version, _GIVEN: "true"},
    )


def failure_note(asset: str, partition: str, error: str, rejected: str = "") -> AssetObservation:
    """The event that says why a partition could not be made; the partition keeps its version.

    `rejected` is the digest of what stands there and breaks an invariant: it is not taken up later.
    """
    metadata = {"event": FAILED, "error": error} | ({"rejected": rejected} if rejected else {})
    return AssetObservation(
        asset_key(asset), partition=partition or None, description=error, metadata=metadata
    )


def checkpoint_note(asset: str, partition: str, what: str, done: int, total: int) -> AssetObservation:
    """The event that says how far a long step is."""
    return AssetObservation(
        asset_key(asset),
        partition=partition,
        description=f"{what}: {done} of {total}",
        metadata={"event": CHECKPOINT, "step": what, "done": done, "total": total},
    )


def _picture(project: Project, made: Made) -> MetadataValue:
    assert made.picture is not None
    # Markdown beyond some 130 characters hides behind a dialog; an address keeps it in sight. The digest
    # makes a browser ask again for a picture that was drawn anew.
    address = f"{_address(project, made.picture)}?width={_PICTURE_PX}&v={made.sha256[:6]}"
    return MetadataValue.md(f"![{made.picture.stem}]({address})")


def _address(project: Project, path: Path) -> str:
    """Where our web server shows a file of the output root."""
    from urllib.parse import quote

    return f"/artifacts/{quote(path.relative_to(project.output).as_posix())}"


def _input_json(one: Input) -> dict[str, object]:
    return {
        "asset": one.asset,
        "partition": one.partition,
        "path": one.path,
        "sha256": one.sha256,
        "storage_id": one.storage_id,
        "run_id": one.run_id,
    }


def _value(value: object) -> MetadataValue:
    match value:
        case bool():
            return MetadataValue.bool(value)
        case int():
            return MetadataValue.int(value)
        case float():
            return MetadataValue.float(value)
        case dict() | list():
            return MetadataValue.json(value)
        case str() if "\n" in value or "](" in value:
            return MetadataValue.md(value)
    return MetadataValue.text(str(value))
