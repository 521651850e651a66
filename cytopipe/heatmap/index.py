"""The history in a folder of checkpoints: which there are, and which was made from which.

A manifest, ``.checkpoints.json``, holds what a list or a picture of the history needs, so that hundreds of
files need not be opened. It is only a memory: a file that is new or changed is read again, and a manifest
that is missing, damaged or of another version is made from the files. A checkpoint whose file was deleted
stays in the history as long as one that was made from it is there.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.heatmap.schema import ARTIFACT_VERSION
from cytopipe.heatmap.state import UUID, Ancestor

__all__ = ["MANIFEST", "Entry", "History", "open_history", "parents_first"]

MANIFEST = ".checkpoints.json"
_VERSION = 2
_MAX_MANIFEST_BYTES = 256 << 20
_MAX_FILES = 100_000
_KEPT = ("checkpoint", "counts", "dendrogram_cut", "subset", "metaclusters", "thumbnail", "view")


@dataclass(frozen=True)
class Entry:
    """One file.

    Parameters
    ----------
    path : str
        Relative to the folder, with ``/``.
    size : int
        Bytes.
    modified_ns : int
        When it was changed last (nanoseconds since 1970).
    document : mapping
        What its document says, without what a list does not need. Empty where it could not be read.
    fault : str
        Why it could not be read; empty for a whole one.
    """

    path: str
    size: int
    modified_ns: int
    document: Mapping[str, Any]
    fault: str = ""

    @property
    def id(self) -> str:
        return self.document["checkpoint"]["id"] if self.document else ""

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(self.document["checkpoint"]["parents"]) if self.document else ()

    @property
    def step_id(self) -> str:
        return self.document["checkpoint"]["step_id"] if self.document else ""

    @property
    def description(self) -> str:
        return self.document["checkpoint"]["description"] if self.document else ""

    @property
    def branch(self) -> str:
        """The branch that it belongs to; empty where it says none."""
        return self.document.get("branch", "")

    @property
    def created_at(self) -> str:
        """When it was saved; where a run computed it, when its file was written."""
        from datetime import UTC, datetime

        told = self.document["checkpoint"]["created_at"] if self.document else ""
        return told or datetime.fromtimestamp(self.modified_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, eq=False)
class History:
    """All checkpoints of a folder.

    Parameters
    ----------
    folder : Path
    entries : tuple of Entry
        Whole checkpoints, in the order of their paths.
    faults : tuple of Entry
        Files that could not be read as checkpoints.
    remembered : mapping of str to Ancestor
        What checkpoints say of those before them.
    read : int
        Files that were opened, because the manifest did not know them as they are.
    """

    folder: Path
    entries: tuple[Entry, ...]
    faults: tuple[Entry, ...]
    remembered: Mapping[str, Ancestor]
    read: int = 0

    @cached_property
    def by_id(self) -> dict[str, Entry]:
        """The checkpoints by identifier; of copies of one file, that with the first path."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.id, entry)
        return found

    @cached_property
    def deleted(self) -> dict[str, Ancestor]:
        """Checkpoints whose file is gone, as their descendants remember them."""
        gone: dict[str, Ancestor] = {}
        open_ids = [parent for entry in self.entries for parent in entry.parents]
        while open_ids:
            one = open_ids.pop()
            if one not in self.by_id and one not in gone:
                gone[one] = self.remembered.get(one, Ancestor(one))
                open_ids += gone[one].parents
        return dict(sorted(gone.items()))

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """Parents of every checkpoint, deleted ones included."""
        return {one: entry.parents for one, entry in self.by_id.items()} | {
            one: tuple(ghost.parents) for one, ghost in self.deleted.items()
        }

    @cached_property
    def children(self) -> dict[str, tuple[str, ...]]:
        """Children of every checkpoint, in the order of `ids`."""
        found: dict[str, list[str]] = {one: [] for one in self.ids}
        for one in self.ids:
            for parent in self.parents[one]:
                found[parent].append(one)
        return {one: tuple(some) for one, some in found.items()}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Every identifier, parents before children; beside each other by time, then by identifier.

        A circle, which no writer of ours makes, is cut where it is met.
        """
        return tuple(parents_first(self.parents, self._time))

    def _time(self, one: str) -> str:
        entry = self.by_id.get(one)
        return entry.created_at if entry else self.deleted[one].created_at

    @property
    def roots(self) -> tuple[str, ...]:
        return tuple(one for one in self.ids if not self.parents[one])

    def find(self, text: str) -> Entry:
        """The checkpoint that a path, an identifier or its beginning means.

        Raises
        ------
        InputError
            None, or several.
        """
        found = {entry.path: entry for entry in self.entries if text == entry.path}
        if not found and text:
            found = {one: entry for one, entry in self.by_id.items() if one.startswith(text)}
        if len(found) == 1:
            return next(iter(found.values()))
        if text in self.deleted:
            raise InputError("the file of this checkpoint was deleted", where=text)
        several = ", ".join(sorted(found)[:5])
        raise InputError(
            f"{len(found)} checkpoints are meant by {text!r}" if found else f"no checkpoint {text!r}",
            where=str(self.folder),
            found=several,
            next="Give more of its identifier." if found else "List them to see which there are.",
        )

    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the folder: files that cannot be read, copies, circles."""
        found = [Finding(what=one.fault, where=one.path) for one in self.faults]
        for entry in self.entries:
            if self.by_id[entry.id] is not entry:
                other = self.by_id[entry.id].path
                found.append(Finding(what=f"is the checkpoint of {other} again", where=entry.path))
        place = {one: number for number, one in enumerate(self.ids)}
        for one in self.ids:
            if any(place[parent] >= place[one] for parent in self.parents[one]):
                found.append(Finding(what="is made from itself", where=one))
        return tuple(found)


def parents_first(parents: Mapping[str, Iterable[str]], key: Callable[[str], Any]) -> list[str]:
    """Identifiers, each after its parents; those that could stand beside each other by `key`, then by name.

    Without recursion, since a history may be long. A circle, which no writer of ours makes, is cut where
    it is met.
    """
    waiting = {one: {parent for parent in some if parent in parents} for one, some in parents.items()}
    after: dict[str, list[str]] = {one: [] for one in waiting}
    for one, some in waiting.items():
        for parent in some:
            after[parent].append(one)
    ready = [(key(one), one) for one, some in waiting.items() if not some]
    heapq.heapify(ready)
    found: dict[str, None] = {}
    while len(found) < len(waiting):
        if not ready:
            left = min((key(one), one) for one in waiting if one not in found)
            waiting[left[1]].clear()
            heapq.heappush(ready, left)
        one = heapq.heappop(ready)[1]
        if one in found:
            continue
        found[one] = None
        for child in after[one]:
            waiting[child].discard(one)
            if not waiting[child] and child not in found:
                heapq.heappush(ready, (key(child), child))
    return list(found)


# ---------------------------------------------------------------------- reading a folder


def open_history(folder: Path | str, *, remember: bool = True) -> History:
    """The history in a folder and its sub-folders, whose names do not begin with a dot.

    Parameters
    ----------
    folder : Path or str
    remember : bool
        Whether the manifest is written where it changed; a folder that is read only is no fault.

    Raises
    ------
    InputError
        It is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("is not a folder", where=str(folder))
    known, remembered = _remembered(folder / MANIFEST)
    entries, read = [], 0
    for path, size, modified in sorted(_files(folder)):
        entry = known.get(path)
        if entry is None or (entry.size, entry.modified_ns) != (size, modified):
            entry, before = _entry(folder, path, size, modified, remembered)
            remembered |= before
            read += 1
        entries.append(entry)
    whole = tuple(one for one in entries if not one.fault)
    for entry in (*whole, *(one for one in known.values() if not one.fault)):
        remembered[entry.id] = Ancestor(**_settled(entry.document["checkpoint"]))
    history = History(folder, whole, tuple(one for one in entries if one.fault), remembered, read)
    if remember and (read or len(known) != len(entries)):
        _remember(folder / MANIFEST, entries, history.deleted)
    return history


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Relative path, size and time of every ``.h5ad`` and ``.zarr``; links are not followed.

    A Zarr directory is written as a whole, so its ``zarr.json`` tells a new one.
    """
    count, below = 0, [("", os.fspath(folder))]
    while below:
        prefix, here = below.pop()
        with os.scandir(here) as found:
            for one in found:
                if one.name.startswith("."):
                    continue
                if one.is_dir(follow_symlinks=False):
                    if not one.name.endswith(".zarr"):
                        below.append((f"{prefix}{one.name}/", one.path))
                        continue
                    try:
                        status = Path(one.path, "zarr.json").lstat()
                    except OSError:
                        status = one.stat(follow_symlinks=False)
                elif one.name.endswith(".h5ad") and one.is_file(follow_symlinks=False):
                    status = one.stat(follow_symlinks=False)
                else:
                    continue
                count += 1
                if count > _MAX_FILES:
                    raise InputError(f"holds more than {_MAX_FILES:,} files", where=str(folder))
                yield f"{prefix}{one.name}", status.st_size, status.st_mtime_ns


def _entry(
    folder: Path, path: str, size: int, modified: int, known: Mapping[str, Ancestor]
) -> tuple[Entry, dict[str, Ancestor]]:
    """What a file says of itself, and of those before it that are not known yet.

    Its JSON is not read as strictly as for loading: thousands are read in a second, and what a list relies on
    is looked at below.
    """
    try:
        text = _document_text(folder / path)
        document = json.loads(text)
        kept = {name: document[name] for name in _KEPT}
        before = [one for one in document["ancestors"] if one["id"] not in known]
        if fault := _unusable(kept, before):
            return Entry(path, size, modified, {}, fault), {}
        kept["view"] = {name: kept["view"][name] for name in ("orientation", "selected_channels")}
        kept["branch"] = str(document.get("parameters", {}).get("branch") or "")
    except CytopipeError as error:
        return Entry(path, size, modified, {}, error.findings[0].what), {}
    except KeyError as error:
        return Entry(path, size, modified, {}, f"its document has no {error.args[0]!r}"), {}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return Entry(path, size, modified, {}, "its document is no JSON object"), {}
    return Entry(path, size, modified, kept), {one["id"]: Ancestor(**_settled(one)) for one in before}


def _document_text(path: Path) -> str:
    from cytopipe.heatmap.artifact import KEY, MAX_DOCUMENT_BYTES

    if path.suffix != ".zarr":
        from cytopipe.storage.guard.hdf5 import read_one_text

        return read_one_text(path, f"uns/{KEY}", max_bytes=MAX_DOCUMENT_BYTES)
    import zarr

    from cytopipe.storage.guard.budget import budget_bytes
    from cytopipe.storage.guard.zarr_store import survey_zarr

    survey_zarr(path, budget=budget_bytes(), inflate_chunks=True)
    try:
        text = str(zarr.open_group(path, mode="r")[f"uns/{KEY}"][()])
    except Exception as error:  # whatever zarr raises for what is damaged, or no checkpoint
        raise InputError(f'there is no uns["{KEY}"]: no checkpoint', where=str(path)) from error
    if len(text) > MAX_DOCUMENT_BYTES:
        raise InputError("its document is larger than it may be", where=str(path))
    return text


def _settled(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {**identity, "parents": tuple(identity["parents"])}


def _unusable(document: Mapping[str, Any], before: Any = ()) -> str:
    """Why a document cannot stand in a history: the part of the schema that a list relies on."""
    if not isinstance(before, (list, tuple)):
        return "its document has damaged 'ancestors'"
    for one in (document["checkpoint"], *before):
        texts = ("id", "step_id", "description", "created_at")
        if not isinstance(one, Mapping) or not all(isinstance(one.get(name), str) for name in texts):
            return "its document has an identity that is no text"
        parents = one.get("parents")
        if not isinstance(parents, list) or not all(map(_is_uuid, [one["id"], *parents])):
            return "its document has an identifier that is no UUID"
        if set(one) != {*texts, "parents"}:
            return "its document has an identity with other fields"
    shapes = {
        "counts": dict,
        "subset": dict,
        "metaclusters": dict,
        "thumbnail": dict,
        "view": dict,
    }
    wrong = [name for name, kind in shapes.items() if not isinstance(document[name], kind)]
    if not wrong and not {"orientation", "selected_channels"} <= set(document["view"]):
        wrong = ["view"]
    return f"its document has a damaged {wrong[0]!r}" if wrong else ""


def _is_uuid(text: object) -> bool:
    return isinstance(text, str) and UUID.fullmatch(text) is not None


def _remembered(path: Path) -> tuple[dict[str, Entry], dict[str, Ancestor]]:
    """Entries and deleted checkpoints of the manifest; none where it is missing, damaged or of another
    version.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_MANIFEST_BYTES + 1)
        if len(data) > _MAX_MANIFEST_BYTES:
            return {}, {}
        manifest = json.loads(data)
        if manifest["version"] != [_VERSION, ARTIFACT_VERSION]:
            return {}, {}
        entries = [Entry(**one) for one in manifest["files"]]
        if any(not one.fault and _unusable(one.document, manifest["deleted"]) for one in entries[:1]):
            return {}, {}
        if any(not one.fault and _unusable(one.document) for one in entries):
            return {}, {}
        gone = {one["id"]: Ancestor(**_settled(one)) for one in manifest["deleted"]}
        return {one.path: one for one in entries}, gone
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, {}


def _remember(path: Path, entries: Iterable[Entry], deleted: Mapping[str, Ancestor]) -> None:
    from cytopipe.storage.filesystem import replace

    manifest = {
        "version": [_VERSION, ARTIFACT_VERSION],
        "files": [vars(one) for one in entries],
        "deleted": [vars(one) for one in deleted.values()],
    }
    text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        replace(draft, path)
    except OSError:  # read only, or full: it is only a memory
        draft.unlink(missing_ok=True)
