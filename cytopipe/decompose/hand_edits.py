"""What a person did to the files of a stage since we wrote them.

Storage compares the files with their manifest (`SetState`); here that is seen with the records of the input:
which record came from where, and what the clusters are now. A stage is *whole* (nothing differs), *edited*
(merged, split, renamed, moved, deleted: the next stage goes on from it) or *damaged* (no edit we can follow:
the file is named with its line, and nothing is read from it). All faults come at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from cytopipe.decompose.by_sequence import with_exact_copies
from cytopipe.decompose.layout import Stage, natural_order
from cytopipe.decompose.partition import Partition, conservation_findings
from cytopipe.decompose.sequences import normalise
from cytopipe.errors import DamagedError, Finding, InputError, ResumeError
from cytopipe.storage import SetState
from cytopipe.storage.fasta import FastaRecord, parse_fasta

__all__ = ["Edits", "FileEdit", "few", "read_stage"]

_SHOWN = 8  # names shown in a message before it says how many more there are


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
    """The clusters of one stage as its files say them, and how they differ from what was written.

    Parameters
    ----------
    partition : Partition
        What the files say; nothing of a file that is damaged.
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

    partition: Partition
    verdict: str = "whole"
    files: tuple[FileEdit, ...] = ()
    deleted: tuple[str, ...] = ()
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    added: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A report for a person, line by line."""
        shown = [f"{self.partition.stage.asset}: {self.verdict}"]
        for edit in self.files:
            shown += [f"  {line}" for line in edit.lines()]
        return shown + [f"  ! {finding}" for finding in self.findings]

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
        findings = list(self.findings)
        if not accept_missing:
            findings += [_missing(file, records) for file, records in self.missing.items()]
        if self.verdict == "damaged":
            raise DamagedError(findings)
        if findings:
            raise ResumeError(findings)
        return self.partition


def read_stage(
    folder: Path,
    stage: Stage,
    found: SetState,
    records: Mapping[str, FastaRecord],
    written: Partition | None,
) -> Edits:
    """Say what the files of one stage hold, and how that differs from what was `written`.

    Parameters
    ----------
    folder : Path
        Where they lie.
    stage : Stage
    found : SetState
        The files, compared with their manifest byte by byte.
    records : mapping of str to FastaRecord
        Every record of the input, by id.
    written : Partition or None
        What the files held when they were written; None where that is not known, and then every record
        that is in no file is one whose file is missing.
    """
    damage = {file.name: list(file.findings) for file in found.files if file.kind == "damaged"}
    held: dict[str, tuple[str, ...]] = {}
    for file in natural_order(found.contents):
        path = folder / file
        try:  # an emptied file is one whose records were deleted
            read = parse_fasta(found.contents[file], where=str(path), allow_empty=True)
        except InputError:  # its faults are named by line already
            continue
        if faults := [fault for one in read if (fault := _altered(one, records, path)) is not None]:
            damage[file] = faults
        elif file not in damage:
            held[file] = tuple(one.id for one in read)

    before = {file: tuple(ids) for file, ids in written.ids_by_file().items()} if written else {}
    known = set(written.deleted) if written else set()
    deleted, missing, added = _absent(records, held, before, known, is_known=written is not None)
    lost = {file: missing[file] for file in natural_order(missing) if file not in damage}
    if stage.unassigned_file in before.keys() - held.keys() - damage.keys():
        lost.setdefault(stage.unassigned_file, ())
    partition = Partition(
        stage=stage,
        clusters={file: ids for file, ids in held.items() if ids and stage.is_cluster(file)},
        unassigned=held.get(stage.unassigned_file, ()),
        deleted=tuple(dict.fromkeys([*held.get(stage.deleted_file, ()), *deleted, *chain(*lost.values())])),
    )
    if added and records.keys() >= set(partition.records()):
        partition = with_exact_copies(partition, added, records)
    unread = {record for file in damage for record in before.get(file, ())}
    findings = [finding for file in natural_order(damage) for finding in damage[file]]
    findings += conservation_findings(partition, set(records) - (unread - set(partition.records())))
    changed = tuple(_differences(before, held, damage)) if written else ()
    rewritten = any(file.kind == "edited" for file in found.files)
    return Edits(
        partition,
        "damaged" if damage else "edited" if changed or lost or rewritten else "whole",
        files=changed,
        deleted=tuple(record for record in deleted if record not in known),
        missing=lost,
        findings=tuple(findings),
        added=tuple(added),
    )


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


def _absent(
    records: Iterable[str],
    held: Mapping[str, tuple[str, ...]],
    before: Mapping[str, tuple[str, ...]],
    known: Collection[str],
    *,
    is_known: bool,
) -> tuple[list[str], dict[str, tuple[str, ...]], list[str]]:
    """The records that are in no file: deleted from a file that is there, gone with their file (by file), or
    in the input only since the files were written.
    """
    present = {record for ids in held.values() for record in ids}
    homes: dict[str, list[str]] = {}
    for file, ids in before.items():
        for record in ids:
            homes.setdefault(record, []).append(file)
    deleted, added, missing = [], [], {}
    for record in records:
        if record in present:
            continue
        files = homes.get(record, [])
        if is_known and not files:
            added.append(record)
        elif record in known or any(file in held for file in files):
            deleted.append(record)
        else:
            file = files[0] if files else ""
            missing[file] = (*missing.get(file, ()), record)
    return deleted, missing, added


def _differences(
    before: Mapping[str, tuple[str, ...]],
    held: Mapping[str, tuple[str, ...]],
    damage: Mapping[str, object],
) -> Iterator[FileEdit]:
    origin = {record: file for file, ids in before.items() for record in ids}
    home = {record: file for file, ids in held.items() for record in ids}
    for file in natural_order(set(before) | set(held)):
        if file in damage:
            continue
        old, new = before.get(file, ()), held.get(file, ())
        was, now = set(old), set(new)
        came = {record: origin.get(record, "") for record in new if record not in was}
        went = {record: home.get(record, "") for record in old if record not in now}
        if came or went or (file in before) != (file in held):
            kind = "new" if file not in before else "gone" if file not in held else "changed"
            yield FileEdit(file, kind, came, went)


def few(names: Sequence[str]) -> str:
    """The first of many names, and how many there are more."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _missing(file: str, records: tuple[str, ...]) -> Finding:
    named = few(records)
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
