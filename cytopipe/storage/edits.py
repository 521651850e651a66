"""What a person did to a set of files since it was published, and taking it over as a new version.

`classify_set` compares a set with its manifest: it is *whole*, *edited* (with the records added, removed and
changed in each file) or *damaged* (with file and line). Content that changed while its time of modification
did not, or that no longer parses, is damage and is never accepted as an edit. `accept_set` changes the
manifest and no data.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cytopipe.errors import DamagedError, Finding, InputError, StorageError
from cytopipe.faults import reason_of
from cytopipe.storage.draft import STAGING, drafting
from cytopipe.storage.fasta import FastaRecord, parse_fasta
from cytopipe.storage.filesystem import Sync, flush_file, flush_folder, locked, replace
from cytopipe.storage.journal import roll_forward, settled
from cytopipe.storage.manifest import (
    Difference,
    Entry,
    Manifest,
    compare_file,
    digest_bytes,
    format_manifests,
    read_regular,
)
from cytopipe.storage.sets import (
    following,
    owned,
    record_digest,
    records_of,
    set_manifest,
    set_manifest_path,
)

__all__ = ["FileState", "SetState", "accept_set", "classify_set", "verify_set"]


@dataclass(frozen=True)
class FileState:
    """One file of a set, compared with what was published.

    Parameters
    ----------
    name : str
    kind : {'whole', 'edited', 'added', 'removed', 'damaged'}
    expected, found : str
        SHA-256 of the content that was published and of what stands there; blank where there is none.
    added, removed, changed : tuple of str
        Ids of FASTA records.
    findings : tuple of Finding
        Why it is damaged, by line where there is one.
    """

    name: str
    kind: str
    expected: str = ""
    found: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class SetState:
    """A set, compared with what was published.

    Parameters
    ----------
    name : str
    kind : {'absent', 'whole', 'edited', 'damaged'}
        `absent` where the set was never published.
    files : tuple of FileState
        By name, those that are whole included.
    manifest : Manifest or None
    """

    name: str
    kind: str
    files: tuple[FileState, ...] = ()
    manifest: Manifest | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @property
    def differing(self) -> tuple[FileState, ...]:
        """The files that are not whole."""
        return tuple(file for file in self.files if file.kind != "whole")

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Why files are damaged, all of them."""
        return tuple(finding for file in self.files for finding in file.findings)


def classify_set(
    folder: Path, name: str, owns: tuple[str, ...] | None = None, sync: Sync = Sync.FULL
) -> SetState:
    """Compare a set with its manifest; see :meth:`Store.classify_set`."""
    with locked(folder):
        roll_forward(folder, sync)
        nothing = None if owns is None else Manifest("set", name, {}, owns=owns)
        return _classify(folder, name, nothing or set_manifest(folder, name))


def accept_set(folder: Path, name: str, provenance, owns: tuple[str, ...] | None, sync: Sync) -> Manifest:
    """Write a new manifest for what stands in the folder; see :meth:`Store.accept_set`."""
    with locked(folder):
        roll_forward(folder, sync)
        try:
            old = set_manifest(folder, name)
        except DamagedError:
            if owns is None:
                raise
            old = None
        if old is None and owns is None:
            raise StorageError(f"there is no set {name!r} here", where=str(folder))
        patterns = old.owns if owns is None else owns
        state = _classify(folder, name, old or Manifest("set", name, {}, owns=patterns))
        if state.kind == "damaged":
            raise DamagedError(state.findings)
        if old is not None and state.kind == "whole" and patterns == old.owns:
            return old
        present = owned(folder, patterns)
        entries = {}
        for file, data in sorted(state.contents.items()):
            entry = digest_bytes(data)
            entries[file] = Entry(
                entry.size_bytes, entry.sha256, present[file].st_mtime_ns, records_of(file, data)
            )
        new = following(old, name, entries, patterns, provenance)
        with drafting(folder / STAGING) as draft:
            staged = draft / "manifest.json"
            staged.write_bytes(format_manifests([new]))
            flush_file(staged, sync)
            for file in entries:
                flush_file(folder / file, sync)
            replace(staged, set_manifest_path(folder, name))
            flush_folder(folder, sync)
        return new


def verify_set(folder: Path, name: str, sync: Sync = Sync.FULL) -> list[Difference]:
    """Differences between a set and its manifest, and files that stand among its own without being of it."""
    with settled(folder, sync):
        try:
            manifest = set_manifest(folder, name)
        except DamagedError as error:
            return [Difference("manifest", set_manifest_path(folder, name), "what was written", str(error))]
        if manifest is None:
            return []
        differences = [
            difference
            for file, entry in manifest.files.items()
            if (difference := compare_file(folder / file, entry)) is not None
        ]
        for file, status in sorted(owned(folder, manifest.owns).items()):
            if file not in manifest.files:
                kind = "symlink" if stat.S_ISLNK(status.st_mode) else "extra"
                differences.append(
                    Difference(kind, folder / file, "nothing", "a file that was not published")
                )
    return differences


def _classify(folder: Path, name: str, manifest: Manifest | None) -> SetState:
    if manifest is None:
        return SetState(name, "absent")
    present = owned(folder, manifest.owns)
    files, contents = [], {}
    for file in sorted(present.keys() | manifest.files.keys()):
        was = manifest.files.get(file)
        data, fault = _content(folder / file)
        if data is not None:
            contents[file] = data
        files.append(_state(folder / file, was, data, fault, present.get(file)))
    kinds = {file.kind for file in files}
    kind = "damaged" if "damaged" in kinds else "whole" if kinds <= {"whole"} else "edited"
    return SetState(name, kind, tuple(files), manifest, contents)


def _content(path: Path) -> tuple[bytes | None, Finding | None]:
    try:
        return read_regular(path), None
    except FileNotFoundError:
        return None, None
    except DamagedError as error:  # a link, a directory, a pipe
        return None, error.findings[0]
    except OSError as error:
        return None, Finding(what=f"cannot be read: {reason_of(error)}", where=str(path))


def _state(
    path: Path, was: Entry | None, data: bytes | None, fault: Finding | None, status: os.stat_result | None
) -> FileState:
    expected = "" if was is None else was.sha256
    if fault is not None:
        return FileState(path.name, "damaged", expected, findings=(fault,))
    if data is None:
        return FileState(path.name, "removed", expected, removed=tuple(was.records or ()))
    found = digest_bytes(data).sha256
    if found == expected:
        return FileState(path.name, "whole", expected, found)
    if was is not None and status is not None and was.mtime_ns == status.st_mtime_ns:
        finding = Finding(
            what="content changed while its time of modification did not, as a failing disk does",
            where=str(path),
            next="Restore the file from a copy.",
        )
        return FileState(path.name, "damaged", expected, found, findings=(finding,))
    if path.suffix not in {".fasta", ".fa", ".fna", ".faa"}:
        return FileState(path.name, "added" if was is None else "edited", expected, found)
    try:
        records = parse_fasta(data, where=str(path), allow_empty=True)
    except InputError as error:
        return FileState(path.name, "damaged", expected, found, findings=error.findings)
    before = {} if was is None or was.records is None else was.records
    if finding := _cut_off(path, data, records, before):
        return FileState(path.name, "damaged", expected, found, findings=(finding,))
    after = {record.id: record_digest(record.sequence) for record in records}
    return FileState(
        path.name,
        "added" if was is None else "edited",
        expected,
        found,
        added=tuple(key for key in after if key not in before),
        removed=tuple(key for key in before if key not in after),
        changed=tuple(key for key in after if key in before and after[key] != before[key]),
    )


def _cut_off(
    path: Path, data: bytes, records: list[FastaRecord], before: Mapping[str, str]
) -> Finding | None:
    """The signature of a truncation: the records are the first ones of before, the last one shortened.

    A person who deletes the tail of a file stops at a record; a cut that falls between two records cannot be
    told from that, and is shown as an edit.
    """
    if not before or not records or len(records) > len(before):
        return None
    *whole, last = records
    expected = list(before.items())[: len(records)]
    if [(record.id, record_digest(record.sequence)) for record in whole] != expected[:-1]:
        return None
    identifier, digest = expected[-1]
    if last.id == identifier and len(last.sequence) < int(digest.split(":")[0]):
        return Finding(
            what=f"record {last.id!r} ends early and nothing follows it, as in a file that was cut off",
            where=f"{path}:{last.line}",
            expected=f"{digest.split(':')[0]} letters",
            found=f"{len(last.sequence)} letters",
        )
    return None
