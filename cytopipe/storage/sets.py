"""Publishing a set of files that people edit by hand in one flat folder, as one transaction.

The caller gives the complete new files of a set, and extras such as ``state.json``. The steps:

1. lock the folder and finish what a dead writer began; 2. refuse to overwrite a hand edit; 3. write what
changed into ``<folder>/.staging/<uuid>/``, with the manifest, and flush; 4. put a redo journal in place
atomically: *the commit*; 5. rename the files one by one, remove the stale ones; 6. drop the journal.

Whoever opens the folder first finishes a journal (`journal`), so that every reader of ours sees the old set
or the new one. An edit made by hand is never lost. The cost follows what changed.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cytopipe.errors import DamagedError, Finding, InputError, ParameterError, ResumeError, StorageError
from cytopipe.faults import reason_of
from cytopipe.storage.draft import STAGING, drafting
from cytopipe.storage.fasta import parse_fasta
from cytopipe.storage.files import match_bytes, published_manifest, sidecar_of
from cytopipe.storage.filesystem import (
    Sync,
    flush_file,
    flush_folder,
    flush_tree,
    kind_at,
    locked,
    make_folder,
    open_regular,
    replace,
)
from cytopipe.storage.journal import JOURNAL, finish, roll_forward, sealed, settled
from cytopipe.storage.manifest import (
    Entry,
    Manifest,
    digest_bytes,
    digest_file,
    format_manifests,
    now,
    read_manifests,
    read_regular,
)
from cytopipe.storage.names import check_file_name
from cytopipe.storage.remembered import Remembered, is_quiet, status_key

__all__ = ["following", "owned", "publish_set", "read_set", "set_manifest", "set_manifest_path"]

Extra = Mapping[str, bytes] | Callable[[Manifest], Mapping[str, bytes]]
_FEW = 4  # up to so many files are flushed one by one; beyond that one syncfs is cheaper


def set_manifest_path(folder: Path, name: str) -> Path:
    """Where the manifest of the set `name` stands."""
    return folder / f".{name}.manifest.json"


def set_manifest(folder: Path, name: str) -> Manifest | None:
    """The manifest of a set; None where the set was never published.

    Raises
    ------
    DamagedError
        It is not what was written.
    """
    path = set_manifest_path(folder, name)
    try:
        key = _manifest_key(path)
        manifest = _manifests.get(key)
        if manifest is None:
            manifest = read_manifests(path, "set", name)[0]
            _manifests.put(key, manifest)
    except FileNotFoundError:
        return None
    return manifest


def following(
    old: Manifest | None, name: str, entries: Mapping[str, Entry], owns: tuple[str, ...], provenance
) -> Manifest:
    """The manifest of the next version of a set."""
    version = 1 if old is None else old.version + 1
    return Manifest("set", name, entries, version=version, written_at=now(), provenance=provenance, owns=owns)


def owned(folder: Path, patterns: tuple[str, ...]) -> dict[str, os.stat_result]:
    """Everything in a folder whose name the set owns, with its status; links not followed."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _owns(patterns, entry.name):
                found[entry.name] = entry.stat(follow_symlinks=False)
    return found


def _owns(patterns: tuple[str, ...], name: str) -> bool:
    """As in a shell, a leading dot matches only a dot: ``*.json`` is no claim on our own manifests."""
    return any(
        fnmatch.fnmatchcase(name, pattern) and name.startswith(".") <= pattern.startswith(".")
        for pattern in patterns
    )


# --------------------------------------------------------------------------- what is known without reading


def _manifest_key(path: Path) -> tuple:
    """Status and last bytes of a manifest: they hold its SHA-256, which tells two versions apart that were
    written in the same tick of the clock.
    """
    with open_regular(path) as stream:
        status = os.fstat(stream.fileno())
        stream.seek(max(0, status.st_size - 128))
        return str(path), *status_key(status), stream.read()


_entries_seen = Remembered(200_000)
_manifests = Remembered(64)


def _entry_of(folder: Path, file: str, status: os.stat_result) -> Entry:
    """Size and digest of a file, read only where it was not read before in this state.

    As git does, a digest taken within a clock tick of the file's last change is not kept: a second change in
    the same tick would not be seen.
    """
    key = status_key(status)
    entry = _entries_seen.get(key)
    if entry is None:
        quiet = is_quiet(status)
        entry = digest_file(folder / file)
        if quiet:
            _entries_seen.put(key, entry)
    return entry


def records_of(name: str, data: bytes) -> dict[str, str] | None:
    """Length and short digest of each record, for FASTA that can be read."""
    if not name.endswith((".fasta", ".fa", ".fna", ".faa")):
        return None
    try:
        records = parse_fasta(data, alphabet=None, allow_empty=True)
    except InputError:
        return None
    return {record.id: record_digest(record.sequence) for record in records}


def record_digest(sequence: str) -> str:
    """``length:digest`` of one sequence, case and all."""
    return f"{len(sequence)}:{hashlib.sha256(sequence.encode()).hexdigest()[:16]}"


# --------------------------------------------------------------------------- publishing


@dataclass(frozen=True)
class _Plan:
    """What a transaction will do."""

    write: Mapping[str, bytes]
    remove: Mapping[str, Entry]
    before: Mapping[str, Entry | None] = field(default_factory=dict)


def publish_set(
    folder: Path,
    name: str,
    files: Mapping[str, bytes | None],
    *,
    owns: tuple[str, ...],
    extra: Extra,
    provenance,
    sync: Sync,
) -> Manifest:
    """Make `files` the content of the set `name` in `folder`; see :meth:`Store.publish_set`."""
    _check_names(name, files, owns)
    make_folder(folder, sync)
    with locked(folder):
        roll_forward(folder, sync)
        old = set_manifest(folder, name)
        entries, changed = _entries(folder, name, files, old)
        present = owned(folder, owns)
        plan = _plan(folder, name, entries, changed, old, present)
        new = following(old, name, entries, owns, provenance)
        new = _transact(folder, new, plan, extra, sync)
        _manifests.put(_manifest_key(set_manifest_path(folder, name)), new)
        return new


def _check_names(name: str, files: Mapping, owns: tuple[str, ...]) -> None:
    check_file_name(name)
    for file in files:
        check_file_name(file)
        if not _owns(owns, file):
            raise ParameterError(
                f"the set {name!r} does not own the file {file!r}", expected=f"a name like {', '.join(owns)}"
            )


def _check_extras(name: str, files: Mapping, owns: tuple[str, ...], extra: Mapping) -> None:
    for file in extra:
        check_file_name(file, hidden=True)
        if file in (JOURNAL, STAGING) or file.endswith(".manifest.json"):
            raise ParameterError(f"the name {file!r} is kept for the protocol")
        if file in files or _owns(owns, file):
            raise ParameterError(
                f"the file {file!r} belongs to the set {name!r} and cannot be an extra of it"
            )


def _entries(
    folder: Path, name: str, files: Mapping[str, bytes | None], old: Manifest | None
) -> tuple[dict[str, Entry], dict[str, bytes]]:
    """The new manifest's entries, and the bytes of those files that the old manifest does not hold."""
    entries, changed = {}, {}
    for file in sorted(files):
        data, before = files[file], None if old is None else old.files.get(file)
        if data is None:
            if before is None:
                raise ParameterError(
                    f"the file {file!r} is to be kept, but the set {name!r} does not hold it",
                    where=str(folder),
                )
            entries[file] = before
            continue
        entry = digest_bytes(data)
        if before is not None and before.sha256 == entry.sha256:
            entries[file] = before
        else:
            entries[file] = Entry(entry.size_bytes, entry.sha256, records=records_of(file, data))
            changed[file] = data
    return entries, changed


def _plan(
    folder: Path,
    name: str,
    entries: dict[str, Entry],
    changed: dict[str, bytes],
    old: Manifest | None,
    present: Mapping[str, os.stat_result],
) -> _Plan:
    """Compare with what stands in the folder; refuse where a hand edit would be lost."""
    before = {} if old is None else old.files
    findings, remove, found = [], {}, {}
    for file in sorted(present.keys() | before.keys() | entries.keys()):
        entry = _present_entry(folder, file, present.get(file), findings)
        found[file] = entry
        was, will = before.get(file), entries.get(file)
        if _same(entry, will):
            changed.pop(file, None)
            if entry is not None and will.mtime_ns is None:
                entries[file] = Entry(will.size_bytes, will.sha256, present[file].st_mtime_ns, will.records)
        elif not _same(entry, was):
            findings.append(_edit(folder / file, was, entry, will))
        elif will is None:
            remove[file] = entry
    if findings:
        raise ResumeError(findings)
    return _Plan(changed, remove, {file: found[file] for file in changed})


def _same(one: Entry | None, other: Entry | None) -> bool:
    return one is other or (one is not None and other is not None and one.sha256 == other.sha256)


def _present_entry(
    folder: Path, file: str, status: os.stat_result | None, findings: list[Finding]
) -> Entry | None:
    if status is None:
        return None
    if not stat.S_ISREG(status.st_mode):
        where = str(folder / file)
        findings.append(Finding(what="is not a regular file", where=where, next="Move it away."))
        return None
    return _entry_of(folder, file, status)


def _edit(path: Path, was: Entry | None, found: Entry | None, will: Entry | None) -> Finding:
    if found is None:
        what = "was removed by hand since it was written"
    elif was is None:
        what = "was not written by cytopipe and would be " + ("removed" if will is None else "overwritten")
    else:
        what = "was changed by hand since it was written"
    return Finding(
        what=what,
        where=str(path),
        expected="nothing" if was is None else f"sha256 {was.sha256[:16]}",
        found="nothing" if found is None else f"sha256 {found.sha256[:16]}",
        next="Accept the edit before going on, or undo it.",
    )


# --------------------------------------------------------------------------- the transaction


def _transact(folder: Path, new: Manifest, plan: _Plan, extra: Extra, sync: Sync) -> Manifest:
    with drafting(folder / STAGING) as draft:
        entries = dict(new.files)
        for file, data in plan.write.items():
            staged = draft / file
            staged.write_bytes(data)
            entry = entries[file]
            entries[file] = Entry(entry.size_bytes, entry.sha256, staged.stat().st_mtime_ns, entry.records)
        new = Manifest(**{**vars(new), "files": entries})
        extra = extra(new) if callable(extra) else extra
        _check_extras(new.name, new.files, new.owns, extra)
        extras, digests = _extras(folder, extra, new)
        rest = extras | {set_manifest_path(folder, new.name).name: format_manifests([new])}
        digests |= {file: entries[file].sha256 for file in plan.write}
        for file, data in rest.items():
            (draft / file).write_bytes(data)
        redo = [*plan.write, *rest]
        journal = {
            "format": "cytopipe-journal/1",
            "set": new.name,
            "draft": draft.folder.name,
            "replace": {
                file: {
                    "new": digests.get(file) or digest_bytes(rest[file]).sha256,
                    "old": None if plan.before.get(file) is None else plan.before[file].sha256,
                    "editable": file in plan.write,
                }
                for file in redo
            },
            "remove": {file: entry.sha256 for file, entry in plan.remove.items()},
        }
        (draft / JOURNAL).write_bytes(sealed(journal))
        _flush_draft(draft.folder, [*redo, JOURNAL], sync)
        draft.keep()  # from here on the journal may refer to it
        try:
            replace(draft / JOURNAL, folder / JOURNAL)
        except OSError:
            draft.kept = kind_at(folder / JOURNAL) is not None
            raise
        try:
            flush_folder(folder, sync)
            finish(folder, journal, sync)
        except OSError as error:
            raise StorageError(
                f"the checkpoint is recorded but could not be finished: {reason_of(error)}",
                where=str(folder),
                next="Nothing is lost: it will be finished when the folder is opened again.",
            ) from error
        draft.kept = False
    with suppress(OSError):
        (folder / STAGING).rmdir()
    return new


def _extras(
    folder: Path, extra: Mapping[str, bytes], new: Manifest
) -> tuple[dict[str, bytes], dict[str, str]]:
    """The extra files of the transaction, each with the sidecar of a single published file; their digests."""
    found: dict[str, bytes] = {}
    digests: dict[str, str] = {}
    for file, data in sorted(extra.items()):
        entry = digest_bytes(data)
        digests[file] = entry.sha256
        before = published_manifest(folder / file)
        sidecar = Manifest(
            "file",
            file,
            {file: entry},
            version=1 if before is None else before.version + 1,
            written_at=new.written_at,
            provenance=new.provenance,
        )
        found[file] = data
        found[sidecar_of(folder / file).name] = format_manifests([sidecar])
    return found, digests


def _flush_draft(draft: Path, names: list[str], sync: Sync) -> None:
    if len(names) > _FEW + 3 and sync is Sync.FULL:
        flush_tree(draft, sync)
        return
    for name in names:
        flush_file(draft / name, sync)
    flush_folder(draft, sync)
    flush_folder(draft.parent, sync)


# --------------------------------------------------------------------------- reading


def read_set(
    folder: Path, name: str, extra: tuple[str, ...] = (), sync: Sync = Sync.FULL
) -> tuple[dict[str, bytes], Manifest]:
    """Every file of a set, and `extra` files of the same transaction, proved, with writers kept out
    meanwhile.

    Raises
    ------
    StorageError
        The set was never published.
    DamagedError
        A file is missing or differs, or one stands there that the set does not hold.
    """
    with settled(folder, sync):
        manifest = set_manifest(folder, name)
        if manifest is None:
            raise StorageError(f"there is no set {name!r} here", where=str(folder))
        data, findings = {}, []
        for file, entry in manifest.files.items():
            try:
                data[file] = read_regular(folder / file)
            except OSError as error:
                findings.append(Finding(what=f"cannot be read: {reason_of(error)}", where=str(folder / file)))
                continue
            if digest_bytes(data[file]).sha256 != entry.sha256:
                findings.append(Finding(what="differs from its manifest", where=str(folder / file)))
        for file in sorted(owned(folder, manifest.owns).keys() - manifest.files.keys()):
            findings.append(Finding(what="is not of the set as it was published", where=str(folder / file)))
        for file in extra:
            content = match_bytes(folder / file)
            if content is None:
                findings.append(Finding(what="is not what was published", where=str(folder / file)))
            else:
                data[file] = content
    if findings:
        raise DamagedError(findings)
    return data, manifest
