"""What a person did to the files of a stage since we wrote them.

What comes in is the folder, the records of the input and what the last checkpoint says the files held;
what leaves is the partition the files say now, and an account of the difference: *whole* (nothing),
*edited* (merged, split, renamed, moved, deleted: the next stage goes on from it) or *damaged* (no edit
we can follow: the file is named with its line, and nothing is read from it). All faults come at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cytopipe.decompose.layout import Stage, natural_order
from cytopipe.decompose.partition import Partition, conservation_findings
from cytopipe.decompose.placement import beside_their_twins
from cytopipe.decompose.sequences import normalise
from cytopipe.errors import DamagedError, Finding, InputError, ResumeError
from cytopipe.storage import SetState
from cytopipe.storage.fasta import FastaRecord, read_fasta

__all__ = ["Edits", "FileEdit", "Reading", "read_stage"]

_SHOWN = 8  # records named in a message before it says how many more there are


@dataclass(frozen=True)
class FileEdit:
    """How one file differs from what was written.

    Parameters
    ----------
    file : str
        Its name.
    kind : {"changed", "new", "gone"}
        Whether it is in both, only on disk, or only in what was written.
    came : mapping of str to str
        Records that are here now, each with the file it was in ("" where it was in none).
    went : mapping of str to str
        Records that were here, each with the file it is in now ("" where it is in none).
    """

    file: str
    kind: str
    came: Mapping[str, str] = field(default_factory=dict)
    went: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """The difference as a diff: one line per record."""
        yield f"{self.file} ({self.kind})"
        for record, origin in self.came.items():
            yield f"  + {record}" + (f"  (from {origin})" if origin else "")
        for record, home in self.went.items():
            yield f"  - {record}  ({f'now in {home}' if home else 'deleted'})"


@dataclass(frozen=True)
class Edits:
    """The account of one stage.

    Parameters
    ----------
    stage : Stage
        Whose files these are.
    verdict : {"whole", "edited", "damaged"}
        See the module.
    files : tuple of FileEdit
        One per file whose records differ.
    deleted : tuple of str
        Records that were in a file and are now in none, in a file that is still there.
    missing : mapping of str to tuple of str
        Files that are gone together with records that are nowhere else.
    findings : tuple of Finding
        What is damaged or contradictory, with file and line.
    added : tuple of str
        Records that came into the input after this stage was written: they are with their exact copies in
        it, or unassigned.
    """

    stage: Stage
    verdict: str
    files: tuple[FileEdit, ...] = ()
    deleted: tuple[str, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    added: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A report for a person, line by line."""
        shown = [f"{self.stage.asset}: {self.verdict}"]
        for edit in self.files:
            shown += [f"  {line}" for line in edit.lines()]
        return shown + [f"  ! {finding}" for finding in self.findings]


@dataclass(frozen=True)
class Reading:
    """The partition a stage's files say, and how it differs from what was written."""

    partition: Partition
    edits: Edits

    def or_raise(self, *, accept_missing: bool = False) -> Partition:
        """The partition, if it can be continued from.

        Parameters
        ----------
        accept_missing : bool
            Take records whose files are gone as deleted on purpose.

        Raises
        ------
        DamagedError
            If a file is damaged.
        ResumeError
            If files are missing, or records are in several files or unknown.
        """
        findings = list(self.edits.findings)
        if not accept_missing:
            findings += [_missing(file, records) for file, records in self.edits.missing.items()]
        if self.edits.verdict == "damaged":
            raise DamagedError(findings)
        if findings:
            raise ResumeError(findings)
        return self.partition


def read_stage(
    directory: Path,
    stage: Stage,
    records: Mapping[str, FastaRecord],
    written: Partition | None,
    bytes_now: SetState | None = None,
) -> Reading:
    """Read the files of one stage and say how they differ from what was `written`.

    Parameters
    ----------
    directory : Path
        The directory of the decomposition.
    stage : Stage
        The stage to read.
    records : mapping of str to FastaRecord
        Every record of the input, by id.
    written : Partition or None
        What the last checkpoint says the files held; None where no checkpoint is left, and then every
        record that is in no file is one whose file is missing.
    bytes_now : SetState, optional
        The same question asked of the bytes: it notices content that changed though nobody saved the file.
    """
    found, damage = _read_files(directory, stage, records)
    for file in bytes_now.files if bytes_now else ():
        if file.kind == "damaged" and file.name not in damage:
            damage[file.name] = list(file.findings)
            found.pop(file.name, None)
    rewritten = bytes_now is not None and bytes_now.kind == "edited"
    before = {file: tuple(ids) for file, ids in written.ids_by_file().items()} if written else {}
    absent = _absent(records, found, before, written)
    unread = {record for file in damage for record in before.get(file, ())}
    lost = {file: ids for file, ids in absent.missing.items() if file not in damage}
    if stage.unassigned_file in before.keys() - found.keys() - damage.keys():
        lost.setdefault(stage.unassigned_file, ())
    partition = Partition(
        stage=stage,
        clusters={
            file: found[file] for file in natural_order(filter(stage.is_cluster, found)) if found[file]
        },
        unassigned=found.get(stage.unassigned_file, ()),
        deleted=_ordered(found.get(stage.deleted_file, ()), absent.deleted, *lost.values()),
    )
    if absent.added and records.keys() >= set(partition.records()):
        partition = beside_their_twins(partition, absent.added, records)
    findings = [finding for faults in damage.values() for finding in faults]
    findings += conservation_findings(partition, set(records) - (unread - set(partition.records())))
    changed = tuple(_differences(before, found, damage)) if written else ()
    edits = Edits(
        stage=stage,
        verdict="damaged" if damage else "edited" if changed or lost or rewritten else "whole",
        files=changed,
        deleted=absent.newly_deleted,
        missing=lost,
        findings=tuple(findings),
        added=absent.added,
    )
    return Reading(partition, edits)


def _read_files(
    directory: Path, stage: Stage, records: Mapping[str, FastaRecord]
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[Finding]]]:
    """Record ids of every file of the stage, and what is wrong with those that cannot be read."""
    found: dict[str, tuple[str, ...]] = {}
    damage: dict[str, list[Finding]] = {}
    for file in natural_order(path.name for path in directory.iterdir() if stage.owns(path.name)):
        path = directory / file
        if path.is_symlink() or not path.is_file():
            kind = "a symbolic link" if path.is_symlink() else "no file"
            damage[file] = [
                Finding(
                    what="a stage file must be a plain file",
                    where=str(path),
                    found=kind,
                    next="Put the FASTA file itself here.",
                )
            ]
            continue
        try:  # an emptied file is one whose records were deleted
            read = list(read_fasta(path, allow_empty=True))
        except InputError as error:
            damage[file] = list(error.findings)
            continue
        faults = [fault for one in read if (fault := _altered(one, records, path)) is not None]
        if faults:
            damage[file] = faults
        else:
            found[file] = tuple(one.id for one in read)
    return found, damage


def _altered(record: FastaRecord, records: Mapping[str, FastaRecord], path: Path) -> Finding | None:
    """A sequence that is not the input's was cut or corrupted: moving records never changes them."""
    original = records.get(record.id)
    if original is None or normalise(original.sequence) == normalise(record.sequence):
        return None
    return Finding(
        what=f"the sequence of record {record.id!r} is not the one in the input",
        where=f"{path}:{record.line}",
        expected=f"the {len(original.sequence)} bases of the input",
        found=f"{len(record.sequence)} bases",
        next="Put the record back as it was; to change a sequence, change the input "
        "and continue with --force-input-change.",
    )


@dataclass(frozen=True)
class _Absent:
    """The records that are in no file: deleted from a file that is there, or gone with their file."""

    deleted: tuple[str, ...]
    newly_deleted: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    added: tuple[str, ...]


def _absent(
    records: Mapping[str, FastaRecord],
    found: Mapping[str, tuple[str, ...]],
    before: Mapping[str, tuple[str, ...]],
    written: Partition | None,
) -> _Absent:
    present = {record for ids in found.values() for record in ids}
    known = set(written.deleted) if written else set()
    homes: dict[str, list[str]] = {}
    for file, ids in before.items():
        for record in ids:
            homes.setdefault(record, []).append(file)
    deleted: list[str] = []
    added: list[str] = []
    missing: dict[str, list[str]] = {}
    for record in records:
        if record in present:
            continue
        files = homes.get(record, [])
        if written is not None and not files:
            added.append(record)
        elif record in known or any(file in found for file in files):
            deleted.append(record)
        else:
            missing.setdefault(files[0] if files else "", []).append(record)
    newly = tuple(record for record in deleted if record not in known)
    lost = {file: tuple(missing[file]) for file in natural_order(missing)}
    return _Absent(tuple(deleted), newly, lost, tuple(added))


def _differences(
    before: Mapping[str, tuple[str, ...]],
    found: Mapping[str, tuple[str, ...]],
    damage: Mapping[str, object],
) -> Iterator[FileEdit]:
    origin = {record: file for file, ids in before.items() for record in ids}
    home = {record: file for file, ids in found.items() for record in ids}
    for file in natural_order(set(before) | set(found)):
        if file in damage:
            continue
        old, new = before.get(file, ()), found.get(file, ())
        was, now = set(old), set(new)
        came = {record: origin.get(record, "") for record in new if record not in was}
        went = {record: home.get(record, "") for record in old if record not in now}
        if came or went or (file in before) != (file in found):
            kind = "new" if file not in before else "gone" if file not in found else "changed"
            yield FileEdit(file, kind, came, went)


def _ordered(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record for group in groups for record in group))


def _missing(file: str, records: tuple[str, ...]) -> Finding:
    named = ", ".join(records[:_SHOWN]) + (
        f" and {len(records) - _SHOWN} more" if len(records) > _SHOWN else ""
    )
    if not file:
        return Finding(
            what=f"{len(records)} records of the input are in no file of this stage",
            found=named,
            next="Put them back into a file, or pass --accept-missing if they were deleted on purpose.",
        )
    return Finding(
        what="stage file is missing"
        + (f", with {len(records)} records that are in no other file" if records else ""),
        where=file,
        found=named,
        next="Put it back (`cytopipe decompose restore` writes what the last checkpoint held), or pass "
        "--accept-missing if it was deleted on purpose.",
    )
