"""The ledger's own database: newest records, states and stamps of every partition, in SQLite.

    meta     watermark, digest of the declaration
    record   the newest materialization, observation, failure and checkpoint of a partition
    state    what the ledger judged of it, and its version then
    watch    where it lies, what its files looked like (at first: as published), and what is wrong with them
    folder   folders of artifacts, with the time they were last written in
    declared values of the project file, by their digest

It can be deleted at any time: the ledger fills it again from the history.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cytopipe.defs.event import MADE, Event

__all__ = ["UNSEEN", "Book", "Record"]

UNSEEN = "unseen"
"""In place of the stamp of a folder that is to be looked at; one that is absent has the empty stamp."""

_VERSION = "2"
_CHUNK = 500  # SQLite takes so many variables in a statement
_FACTS = ("path", "size_bytes", "how", "nothing", "removed", "wanted", "failed_checks", "outside")
_TABLES = """
create table meta (name text primary key, value text) without rowid;
create table record (
    asset text, key text, kind text, storage_id integer, run_id text, timestamp real, version text,
    code_version text, inputs text, stamp text, words text, facts text, is_removed integer,
    primary key (asset, key, kind)
) without rowid;
create index record_removed on record (asset, key) where is_removed;
create table state (
    asset text, key text, position integer, state text, reasons text, version text, primary key (asset, key)
) without rowid;
create table watch (
    asset text, key text, folder text, name text, is_set integer, stamp text, content text, files text,
    primary key (asset, key)
) without rowid;
create index watch_folder on watch (folder);
create table folder (path text primary key, stamp text) without rowid;
create table declared (version text primary key, data text) without rowid;
"""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The newest entry of one kind of one partition; fields as in `Event`, `facts` a few of its metadata."""

    kind: str
    storage_id: int
    run_id: str
    timestamp: float
    version: str
    code_version: str
    inputs: Mapping[str, str]
    stamp: str
    words: str
    facts: Mapping[str, object]


class Book:
    """The database at `path`, made anew where it is absent, damaged or of another version."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _db(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._opened()
        except sqlite3.DatabaseError:
            for end in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
            return self._opened()

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=120, isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=off")  # losing it loses nothing
        db.execute("begin immediate")
        tables = {name for (name,) in db.execute("select name from sqlite_master where type='table'")}
        known = tables and db.execute("select value from meta where name='book'").fetchone()
        if not known or known[0] != _VERSION:
            for name in tables:
                db.execute(f"drop table {name}")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute("insert into meta values ('book', ?)", (_VERSION,))
        db.execute("commit")
        return db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One refresh at a time, of all processes; all of it or nothing is kept."""
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def close(self) -> None:
        if "_db" in self.__dict__:
            self.__dict__.pop("_db").close()

    # ------------------------------------------------------------------ meta

    def get(self, name: str) -> str | None:
        row = self._db.execute("select value from meta where name=?", (name,)).fetchone()
        return row[0] if row else None

    def set(self, name: str, value: str) -> None:
        self._db.execute("insert or replace into meta values (?, ?)", (name, value))

    def forget(self) -> None:
        """Forget everything, as if the file had been deleted."""
        for table in ("record", "state", "watch", "folder", "declared"):
            self._db.execute(f"delete from {table}")
        self._db.execute("delete from meta where name != 'book'")

    # ------------------------------------------------------------------ what is declared

    def keep_keys(self, asset: str, keys: Sequence[str]) -> None:
        """The declared partitions of an asset, in order; states of others are forgotten, their records
        kept.
        """
        self._db.execute(
            "create temp table if not exists declared_key (key text primary key, position integer)"
        )
        self._db.execute("delete from declared_key")
        self._db.executemany(
            "insert into declared_key values (?, ?)", ((key, i) for i, key in enumerate(keys))
        )
        for table in ("state", "watch"):
            self._db.execute(
                f"delete from {table} where asset=? and key not in (select key from declared_key)", (asset,)
            )
        self._db.execute(
            "insert into state select ?, key, position, '', '[]', '' from declared_key where true "
            "on conflict (asset, key) do update set position=excluded.position",
            (asset,),
        )

    def keep_values(self, version: str, values: Mapping[str, object]) -> None:
        self._db.execute("insert or ignore into declared values (?, ?)", (version, json.dumps(values)))

    def values(self, version: str) -> Mapping[str, object] | None:
        row = self._db.execute("select data from declared where version=?", (version,)).fetchone()
        return json.loads(row[0]) if row else None

    # ------------------------------------------------------------------ records

    def keep_record(self, event: Event) -> None:
        facts = {name: event.metadata[name] for name in _FACTS if name in event.metadata}
        self._db.execute(
            "insert or replace into record values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.asset,
                event.key,
                event.kind,
                event.storage_id,
                event.run_id,
                event.timestamp,
                event.version,
                event.code_version,
                json.dumps(dict(event.inputs)),
                event.stamp,
                event.words,
                json.dumps(facts),
                int("removed" in facts),
            ),
        )
        if event.kind == MADE:
            self._db.execute(
                "update watch set stamp=?, content='' where asset=? and key=?",
                (event.stamp, event.asset, event.key),
            )

    def record(self, asset: str, key: str, kind: str) -> Record | None:
        return self.newest(asset, key, (kind,))

    def newest(self, asset: str, key: str, kinds: tuple[str, ...]) -> Record | None:
        """The newest record of a partition that is of one of these kinds."""
        row = self._db.execute(
            "select kind, storage_id, run_id, timestamp, version, code_version, inputs, stamp, words, facts "
            "from record "
            f"where asset=? and key=? and kind in ({_marks(kinds)}) order by storage_id desc limit 1",
            (asset, key, *kinds),
        ).fetchone()
        if row is None:
            return None
        names = ("kind", "storage_id", "run_id", "timestamp", "version", "code_version")
        return Record(
            **dict(zip(names, row[:6], strict=True)),
            inputs=json.loads(row[6]),
            stamp=row[7],
            words=row[8],
            facts=json.loads(row[9]),
        )

    def versions(self, asset: str, kind: str, keys: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Version and storage id of the newest records of `kind`, by key, where there are any."""
        return {
            key: (version, number)
            for some in _chunks(keys)
            for key, version, number in self._db.execute(
                "select key, version, storage_id from record "
                f"where asset=? and kind=? and key in ({_marks(some)})",
                (asset, kind, *some),
            )
        }

    def removed(self) -> dict[str, set[str]]:
        """The partitions whose files were removed after use, by asset."""
        found: dict[str, set[str]] = {}
        for asset, key in self._db.execute("select asset, key from record where is_removed"):
            found.setdefault(asset, set()).add(key)
        return found

    # ------------------------------------------------------------------ states

    def keep_state(self, asset: str, key: str, state: str, reasons: Sequence[str], version: str) -> None:
        self._db.execute(
            "update state set state=?, reasons=?, version=? where asset=? and key=?",
            (state, json.dumps(list(reasons)), version, asset, key),
        )

    def state(self, asset: str, key: str) -> tuple[str, str]:
        """State and version at the last judgement."""
        row = self._db.execute(
            "select state, version from state where asset=? and key=?", (asset, key)
        ).fetchone()
        return (row[0], row[1]) if row else ("", "")

    def state_and_reasons(self, asset: str, key: str) -> tuple[str, tuple[str, ...]]:
        row = self._db.execute(
            "select state, reasons from state where asset=? and key=?", (asset, key)
        ).fetchone()
        return (row[0], tuple(json.loads(row[1]))) if row else ("", ())

    def states(self, asset: str, keys: Sequence[str]) -> dict[str, str]:
        found = {
            key: state
            for some in _chunks(keys)
            for key, state in self._db.execute(
                f"select key, state from state where asset=? and key in ({_marks(some)})", (asset, *some)
            )
        }
        return {key: found.get(key) or "missing" for key in keys}

    def list_states(
        self,
        asset: str,
        states: tuple[str, ...],
        *,
        keys: Container[str] | None = None,
        noted: bool = False,
    ) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(key, state, reasons) of an asset; see `Ledger.statuses`."""
        chosen = f"and state in ({_marks(states)})" if states else ""
        chosen += " and (state != 'done' or reasons != '[]')" if noted else ""
        rows = self._db.execute(
            f"select key, state, reasons from state where asset=? {chosen} order by position",
            (asset, *states),
        )
        for key, state, reasons in rows:
            if keys is None or key in keys:
                yield key, state, tuple(json.loads(reasons)) if reasons != "[]" else ()

    def count_done(self, asset: str) -> int:
        """How many partitions of an asset are done, without a reason beside."""
        question = "select count(*) from state where asset=? and state='done' and reasons='[]'"
        return self._db.execute(question, (asset,)).fetchone()[0]

    def count_states(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        rows = self._db.execute(
            "select asset, state, count(*) from state where state!='' group by asset, state"
        )
        for asset, state, count in rows:
            found.setdefault(asset, {})[state] = count
        return found

    # ------------------------------------------------------------------ what lies on disk

    def watch_paths(self, asset: str, is_set: bool, paths: Iterable[tuple[str, str]]) -> None:
        """Watch where an asset's partitions lie: (key, path relative to the root)."""
        rows = [(asset, key, *_split(path, is_set), int(is_set)) for key, path in paths]
        self._db.executemany(
            "insert into watch values (?1, ?2, ?3, ?4, ?5, coalesce((select stamp from record where "
            "asset=?1 and key=?2 and kind='made'), ''), '', '') on conflict (asset, key) do update "
            "set folder=excluded.folder, name=excluded.name, files=''",
            rows,
        )
        if not is_set:
            folders = {(row[2],) for row in rows}
            self._db.executemany(
                f"insert into folder values (?, '{UNSEEN}') on conflict (path) "
                f"do update set stamp='{UNSEEN}'",
                folders,
            )

    def watch_files(self, asset: str, files: Mapping[str, Sequence[str]]) -> None:
        """Watch the files of a source's partitions, or of what lies outside."""
        self._db.executemany(
            "insert into watch values (?, ?, '', '', 0, '', '', ?) on conflict (asset, key) do update "
            "set stamp=case when files=excluded.files then stamp else '' end, files=excluded.files, "
            "folder='', name='', content=''",
            ((asset, key, "\0".join(paths)) for key, paths in files.items()),
        )

    def watched_files(self, asset: str) -> list[tuple[str, list[str], str]]:
        """(key, files, stamp) of a source."""
        rows = self._db.execute("select key, files, stamp from watch where asset=?", (asset,))
        return [(key, files.split("\0") if files else [], stamp) for key, files, stamp in rows]

    def watched_outside(self, asset: str) -> list[tuple[str, list[str], str]]:
        """(key, files, stamp) of the partitions of an artifact that lie outside."""
        return [one for one in self.watched_files(asset) if one[1]]

    def folders(self) -> list[tuple[str, str]]:
        return list(self._db.execute("select path, stamp from folder"))

    def keep_folder(self, path: str, stamp: str) -> None:
        self._db.execute("update folder set stamp=? where path=?", (stamp, path))

    def folder(self, path: str) -> str:
        """The stamp of a folder when it was last looked at; empty text of one that is not watched."""
        row = self._db.execute("select stamp from folder where path=?", (path,)).fetchone()
        return row[0] if row else ""

    def watched_paths(self, folder: str) -> list[tuple[str, str, str, str]]:
        """(asset, key, name, stamp) of the files and directories in a folder."""
        rows = self._db.execute(
            "select asset, key, name, stamp from watch where folder=? and is_set=0 and files=''", (folder,)
        )
        return list(rows)

    def watched_sets(self) -> list[tuple[str, str, str]]:
        return list(self._db.execute("select asset, key, stamp from watch where is_set=1"))

    def keep_stamp(self, asset: str, key: str, stamp: str) -> None:
        self._db.execute("update watch set stamp=? where asset=? and key=?", (stamp, asset, key))

    def keep_content(self, asset: str, key: str, content: str) -> None:
        """What is wrong with the files of a partition; empty where they are as published."""
        self._db.execute("update watch set content=? where asset=? and key=?", (content, asset, key))

    def content(self, asset: str, key: str) -> str:
        row = self._db.execute("select content from watch where asset=? and key=?", (asset, key)).fetchone()
        return row[0] if row else ""


def _split(path: str, is_set: bool) -> tuple[str, str]:
    if is_set:
        return path, ""
    folder, _, name = path.rpartition("/")
    return folder, name


def _marks(values: Sequence) -> str:
    return ",".join("?" * len(values))


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(keys), _CHUNK):
        yield keys[begin : begin + _CHUNK]
