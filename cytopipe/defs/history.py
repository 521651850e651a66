"""Dagster's event log as a history of partitions: events read, and events written.

Every materialization carries Dagster's own version tags, per partition: the digest of the content as data
version; for every input the version that was read (of many partitions, the digest over theirs), and as event
pointer the highest storage id that was read, which Dagster uses as a cursor. So the stale marks of the
browser and the ledger rest on the same entries.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from dagster import (
    AssetKey,
    AssetMaterialization,
    AssetObservation,
    AssetRecordsFilter,
    DagsterEventType,
    DagsterInstance,
    EventLogRecord,
    EventRecordsFilter,
    MetadataValue,
)
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from cytopipe.defs.event import CHECKPOINT, FAILED, MADE, SEEN, Event

__all__ = [
    "History",
    "as_dagster",
    "asset_key",
    "metadata_value",
    "newest_storage_id",
    "one_connection",
    "tags_of",
]

# The names under which Dagster keeps versions in an event's tags (its data_version module; pinned by a test).
DATA_VERSION = "dagster/data_version"
GIVEN_BY_USER = "dagster/data_version_is_user_provided"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INPUT_POINTER = "dagster/input_event_pointer/"
_STAMP = "cytopipe/stamp"
_PAGE = 1000
_KINDS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION)
_WAITS = {"timeout": 60}  # seconds for which a writer waits for another


class History:
    """The history that an instance keeps."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance = instance

    def newest(self) -> int:
        return self.instance.event_log_storage.get_maximum_record_id() or 0

    def after(self, storage_id: int, assets: Iterable[str]) -> Iterator[Event]:
        """Entries newer than a storage id, materializations before observations, each kind oldest first.

        All assets are asked for at once: a graph has a hundred, of which few have news.
        """
        asked = {asset_key(asset): asset for asset in assets}
        for kind in _KINDS:
            yield from self._entries(kind, asked, after=storage_id)

    def _entries(
        self,
        kind: DagsterEventType,
        asked: Mapping[AssetKey, str],
        *,
        after: int | None = None,
        page: int = 0,
    ) -> Iterator[Event]:
        """Entries of a kind of several assets, read a page at a time: oldest first after a storage id, newest
        first where there is none.
        """
        cursor, size, more = after, page or _PAGE, True
        while more:
            between = {"before_cursor" if after is None else "after_cursor": cursor}
            found = self.instance.event_log_storage.get_event_records(
                EventRecordsFilter(kind, **between), limit=size, ascending=after is not None
            )
            for one in found:
                of = one.event_log_entry.get_dagster_event().asset_key
                if of in asked:
                    yield _event(asked[of], one)
            more = len(found) == size
            cursor = found[-1].storage_id if found else cursor

    def write(self, events: Sequence[Event]) -> None:
        with one_connection(self.instance):
            for begin in range(0, len(events), _PAGE):
                with self.instance.event_log_storage.index_connection():  # one transaction for all of them
                    for event in events[begin : begin + _PAGE]:
                        self.instance.report_runless_asset_event(as_dagster(event))

    def is_live(self, run_id: str) -> bool:
        run = self.instance.get_run_by_id(run_id)
        return run is not None and not run.is_finished

    def events(self, asset: str, key: str | None = None, *, limit: int = 100) -> list[Event]:
        """Entries of an asset (of one partition, if one is named), newest first."""
        chosen = AssetRecordsFilter(asset_key(asset), asset_partitions=[key] if key else None)
        found = [
            _event(asset, one)
            for fetch in (self.instance.fetch_materializations, self.instance.fetch_observations)
            for one in fetch(chosen, limit=limit).records
        ]
        return sorted(found, key=lambda one: -one.storage_id)[:limit]

    def newest_events(self, assets: Iterable[str], *, limit: int) -> list[Event]:
        """Entries of several assets together, newest first; asked for at once, as in `after`."""
        asked, page = {asset_key(asset): asset for asset in assets}, min(limit, _PAGE)
        found = [one for kind in _KINDS for one in islice(self._entries(kind, asked, page=page), limit)]
        return sorted(found, key=lambda one: -one.storage_id)[:limit]

    def event(self, asset: str, key: str, version: str) -> Event | None:
        """The newest entry that made or saw a version of a partition."""
        for one in self.events(asset, key, limit=1000):
            if one.version == version and one.kind in (MADE, SEEN):
                return one
        return None


def asset_key(asset: str) -> AssetKey:
    """``decompose/initial`` as Dagster's key."""
    return AssetKey(asset.split("/"))


def as_dagster(event: Event) -> AssetMaterialization | AssetObservation:
    """An event as Dagster's own."""
    metadata = {name: metadata_value(value) for name, value in event.metadata.items()}
    if event.kind == MADE:
        return AssetMaterialization(
            asset_key(event.asset),
            partition=event.key or None,
            description=event.words or None,
            metadata=metadata,
            tags=tags_of(event),
        )
    tags = {DATA_VERSION: event.version, GIVEN_BY_USER: "true"} if event.kind == SEEN else {}
    return AssetObservation(
        asset_key(event.asset),
        partition=event.key or None,
        description=event.words or None,
        metadata={"event": event.kind, **metadata},
        tags=tags,
    )


def tags_of(event: Event) -> dict[str, str]:
    """The tags of a materialization."""
    tags = {DATA_VERSION: event.version, GIVEN_BY_USER: "true", CODE_VERSION: event.code_version}
    for asset, version in event.inputs.items():
        cursor = event.cursors.get(asset, 0)
        tags[INPUT_VERSION + asset] = version
        tags[INPUT_POINTER + asset] = str(cursor) if cursor else "NULL"
    return tags | ({_STAMP: event.stamp} if event.stamp else {})


def _event(asset: str, found: EventLogRecord) -> Event:
    entry = found.event_log_entry
    event = entry.asset_materialization or entry.asset_observation
    assert event is not None
    tags, metadata = event.tags or {}, {name: value.value for name, value in event.metadata.items()}
    kind = MADE if entry.asset_materialization else str(metadata.pop("event", SEEN))
    return Event(
        asset=asset,
        key=event.partition or "",
        kind=kind if kind in (MADE, SEEN, FAILED, CHECKPOINT) else SEEN,
        storage_id=found.storage_id,
        run_id=entry.run_id,
        timestamp=found.timestamp,
        version=tags.get(DATA_VERSION, ""),
        code_version=tags.get(CODE_VERSION, ""),
        inputs=_cut(tags, INPUT_VERSION),
        stamp=tags.get(_STAMP, ""),
        words=event.description or "",
        metadata=metadata,
    )


def _cut(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in tags.items() if name.startswith(prefix)}


def metadata_value(value: object) -> MetadataValue:
    """A plain value as the browser shows it best."""
    match value:
        case MetadataValue():
            return value
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


def newest_storage_id(dagster_home: Path) -> int | None:
    """The highest storage id of a history kept in SQLite, without importing Dagster's storage; None where it
    is not.
    """
    index = dagster_home / "history" / "runs" / "index.db"
    if not index.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=5)) as db:
            return db.execute("select max(id) from event_logs").fetchone()[0] or 0
    except sqlite3.Error:
        return None


@contextlib.contextmanager
def one_connection(instance: DagsterInstance) -> Iterator[None]:
    """Keep one connection per SQLite file while many events are written.

    Dagster makes an engine and a connection for each of the two files that an event goes to, which is half
    of what an event costs. Other storages keep connections themselves.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage) or "_connect" in vars(storage):
        yield
        return
    connections: dict[str, Connection] = {}
    turn = threading.RLock()  # a signal is logged from a thread of its own; it must not join our transaction

    @contextlib.contextmanager
    def kept(shard: str) -> Iterator[Connection]:
        with turn:
            if shard not in connections:
                with connect(shard):  # makes the tables of a new file
                    pass
                engine = create_engine(
                    storage.conn_string_for_shard(shard), poolclass=NullPool, connect_args=_WAITS
                )
                connections[shard] = engine.connect()
            connection = connections[shard]
            if connection.in_transaction():
                yield connection
                return
            with connection.begin():
                yield connection

    connect = storage._connect
    storage._connect = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        with turn:
            del storage._connect
            for connection in connections.values():
                connection.close()
