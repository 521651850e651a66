"""What must be true before a decomposition is begun, continued or made anew; every fault at once.

Nothing is written here but by `remove_leftovers`, which says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cytopipe.decompose.by_sequence import with_exact_copies
from cytopipe.decompose.clustering import input_facts
from cytopipe.decompose.directory.folder import Folder
from cytopipe.decompose.hand_edits import Edits, few, read_stage
from cytopipe.decompose.layout import (
    CHECKPOINT_FOLDER,
    INITIAL,
    STAGES,
    STATE_FILE,
    Stage,
    natural_order,
    owner,
)
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.sequences import normalise
from cytopipe.decompose.state import Requests, State
from cytopipe.decompose.workspace import SequenceFile
from cytopipe.errors import CytopipeError, DamagedError, Finding, InputError, ParameterError, ResumeError
from cytopipe.provenance import Provenance, sha256_file
from cytopipe.storage.fasta import FastaRecord, parse_fasta

__all__ = ["Opened", "check", "is_begun", "look", "refuse_absent", "refuse_another", "refuse_occupied"]


# ---------------------------------------------------------------------- before a new one


def is_begun(directory: Path) -> bool:
    """Whether a directory holds a decomposition, be it one whose state was lost.

    A kill before the first commit leaves a checkpoint but no stage: there, nothing was begun.
    """
    if not directory.is_dir():
        return False
    if not (directory / STATE_FILE).exists():
        Folder(directory).recover_if_possible()
    return (directory / STATE_FILE).exists() or (
        (directory / CHECKPOINT_FOLDER).is_dir() and Folder(directory).newest_checkpoint() is not None
    )


def refuse_absent(directory: Path) -> None:
    """Raise if there is nothing to continue."""
    if not directory.is_dir():
        raise ResumeError(
            "there is no such directory",
            where=str(directory),
            next="Start a decomposition with `cytopipe decompose INPUT.fasta -o DIR`.",
        )


def refuse_occupied(directory: Path) -> None:
    """Raise if a directory holds a decomposition, or files under the names of one."""
    if directory.exists() and not directory.is_dir():
        raise ResumeError("the output directory is a file", where=str(directory))
    if not directory.is_dir():
        return
    if is_begun(directory):
        raise ResumeError(
            "this directory holds a decomposition already",
            where=str(directory),
            next=f"Continue it with `cytopipe decompose --resume {directory}`, or choose another with -o.",
        )
    files = natural_order(path.name for path in directory.iterdir() if owner(path.name))
    if files:
        raise ResumeError(
            "this directory holds stage files without a state",
            where=str(directory),
            found=few(files),
            next=f"Write a state from them with `cytopipe decompose rebuild {directory} "
            "--input INPUT.fasta`, or choose another directory with -o.",
        )


def refuse_another(
    directory: Path,
    state: State,
    fasta: Path,
    parameters: Parameters,
    targets: Path | None,
    distances: Path | None,
    requests: Requests | None,
) -> None:
    """Raise if a directory holds another decomposition than the one that is asked for."""
    asked = {
        "input": (state.input.fasta_hash, sha256_file(fasta) if fasta.is_file() else "no such file"),
        "targets": (state.companions["targets"][1] or None, targets and sha256_file(targets)),
        "distances": (state.companions["distances"][1] or None, distances and sha256_file(distances)),
    }
    findings = [
        Finding(
            what=f"the directory holds a decomposition of another {what}",
            expected=str(had)[:16],
            found=str(has)[:16],
        )
        for what, (had, has) in asked.items()
        if had != has
    ]
    current, wanted = state.parameters.model_dump(), parameters.as_json()
    findings += [
        Finding(
            what="the directory holds a decomposition with another parameter",
            where=name,
            expected=repr(current[name]),
            found=repr(wanted[name]),
        )
        for name in current
        if current[name] != wanted[name]
    ]
    if not findings and requests is not None and requests != state.requests:
        findings = [Finding(what="the decomposition there was asked for other steps")]
    if findings:
        other = Finding(
            what="this directory holds another decomposition",
            where=str(directory),
            next=f"Continue that one with `cytopipe decompose --resume {shlex.quote(str(directory))}`, "
            "or choose another directory with -o.",
        )
        raise ResumeError([*findings, other])


# ---------------------------------------------------------------------- before going on


@dataclass(frozen=True)
class Opened:
    """A directory that can be continued.

    Parameters
    ----------
    state : State
        With the changes that were asked for.
    source : SequenceFile
    edits : Edits
        The newest stage as its files say it.
    messages : tuple of str
    input_changed : bool
        Whether the partition is that of another input than the files on disk.
    """

    state: State
    source: SequenceFile
    edits: Edits
    messages: tuple[str, ...] = ()
    input_changed: bool = False


def look(folder: Folder, state: State) -> Opened:
    """The newest stage as it is, without asking whether it can be continued; the input must be there."""
    findings: list[Finding] = []
    source = _input(folder.path, state, None, False, findings)
    if source is None:
        raise ResumeError(findings)
    return Opened(state, source, folder.read(state.newest, source.records))


def check(
    folder: Folder,
    state: State,
    *,
    fasta: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    accept_missing: bool = False,
    force_input_change: bool = False,
    source: SequenceFile | None = None,
) -> Opened:
    """Check everything that continuing needs, and report all that is wrong together."""
    state = state.model_copy(deep=True)
    findings: list[Finding] = []
    damaged = False
    if source is None:
        source = _input(folder.path, state, fasta, force_input_change, findings)
    before = state.parameters.model_dump()
    findings += _changes(state, parameters or {})
    findings += _companions(state)
    messages = list(_told_changes(folder, state, before))
    if source is None:
        raise ResumeError(findings)
    state.input.fasta_path = _stored_path(folder.path, source.path)
    if changed := source.sha256 != state.input.fasta_hash:
        state, edits, said = _with_changed_input(folder, state, source)
        messages.append(said)
    else:
        edits = folder.read(state.newest, source.records)
        try:
            edits.or_raise(accept_missing=accept_missing)
        except CytopipeError as error:
            damaged = isinstance(error, DamagedError)
            findings += error.findings
    if findings:
        raise (DamagedError if damaged and len(findings) == len(edits.findings) else ResumeError)(findings)
    if edits.verdict == "edited" and not changed:
        messages.append("edited by hand:\n" + "\n".join(edits.lines()[1:]))
    return Opened(state, source, edits, tuple(messages), changed)


def _input(
    directory: Path, state: State, fasta: Path | None, force: bool, findings: list[Finding]
) -> SequenceFile | None:
    path = fasta if fasta is not None else directory / state.input.fasta_path
    if not path.is_file():
        findings.append(
            Finding(
                what="the input is not there any more",
                where=str(path),
                expected=f"the file of {state.input.total_sequences} sequences this began with",
                next="Put it back, or name it: cytopipe decompose INPUT.fasta --resume DIR.",
            )
        )
        return None
    try:
        source = SequenceFile.read(path)
    except InputError as error:
        findings += error.findings
        return None
    if source.sha256 != state.input.fasta_hash and not force:
        findings.append(
            Finding(
                what="the input has changed",
                where=str(path),
                expected=f"sha256 {state.input.fasta_hash[:16]}, {state.input.total_sequences} sequences",
                found=f"sha256 {source.sha256[:16]}, {len(source.records)} sequences",
                next="Put the old one back, or pass --force-input-change to go on with the new one; "
                "to add sequences and keep every cluster, use `cytopipe decompose add`.",
            )
        )
        return None
    return source


def _stored_path(directory: Path, path: Path) -> str:
    """An input inside the directory is named relative to it, so that the directory can be moved."""
    path = path.absolute()
    return path.name if path.parent == directory else str(path)


def _changes(state: State, parameters: Mapping[str, Any]) -> list[Finding]:
    """Take over changed parameters; those that shape the initial clusters may not change in the middle."""
    current = state.parameters.model_dump()
    changed = {name: value for name, value in parameters.items() if current.get(name) != value}
    try:
        wanted = Parameters(**current | changed)
    except ParameterError as error:
        return list(error.findings)
    begun = state.newest is INITIAL and not state.stages.initial_clustering.completed
    fixed = state.parameters.shaping()
    findings = [
        Finding(
            what=f"{name} may not change while the initial clustering is unfinished",
            where=f"--{name.replace('_', '-')}",
            expected=repr(fixed[name]),
            found=repr(value),
            next="Finish it with the old value, or start again in another directory.",
        )
        for name, value in changed.items()
        if begun and name in fixed
    ]
    if not findings:
        state.parameters = wanted
    return findings


def _told_changes(folder: Folder, state: State, before: Mapping[str, Any]) -> Iterator[str]:
    """That a new value changes nothing that is made already: unsaid, it would seem to be ignored."""
    now = state.parameters.model_dump()
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if now[name] != before[name]]
    if changed and state.newest is not INITIAL:
        yield (
            f"from here on: {', '.join(changed)}; the stages that exist keep what they were made with "
            f"(to make them again: cytopipe decompose rollback {folder.path} --to initial, then "
            "--resume with the steps, such as --resolve-conflicts)"
        )
    elif changed:
        yield f"from here on: {', '.join(changed)}; the initial clusters keep what they were made with"


def _companions(state: State) -> list[Finding]:
    """The files of targets and distances must be there and be the same."""
    findings = []
    for what, (path, digest) in state.companions.items():
        if path and not Path(path).is_file():
            findings.append(Finding(what=f"the file of {what} is not there any more", where=path))
        elif path and sha256_file(path) != digest:
            findings.append(
                Finding(what=f"the file of {what} has changed", where=path, next="Put the old one back.")
            )
    return findings


def _with_changed_input(folder: Folder, state: State, source: SequenceFile) -> tuple[State, Edits, str]:
    """The initial clusters without the records that are gone or altered, with the new ones unassigned.

    The stages after it are made again: they were made from other sequences.
    """
    found = folder.files_of(INITIAL)
    old: dict[str, FastaRecord] = {}
    for file, data in found.contents.items():
        records = parse_fasta(data, where=str(folder.path / file), allow_empty=True)
        old |= {record.id: record for record in records}
    if not old:
        raise ResumeError(
            "the initial clusters are not there any more, so a changed input cannot be taken in",
            where=str(folder.path),
            next=f"Bring them back with: cytopipe decompose rollback {folder.path} --to initial",
        )
    refuse_edited(folder, state, [stage for stage in STAGES[1:] if state.entry(stage).files_digest], old)
    partition = read_stage(folder.path, INITIAL, found, old, None).or_raise(accept_missing=True)
    gone = [
        one
        for one, record in old.items()
        if one not in source.records or normalise(source.records[one].sequence) != normalise(record.sequence)
    ]
    kept = partition.without(gone)
    known = set(kept.records())
    new = [record.id for records in source.unique().records for record in records if record.id not in known]
    state = state.as_of(INITIAL)
    state.input = input_facts(source, _stored_path(folder.path, source.path))
    state.stages.initial_clustering.completed = False
    said = f"the input changed: {len(gone)} records left their clusters, {len(new)} are to be clustered"
    return state, Edits(with_exact_copies(kept, new, source.records), "edited"), said


def refuse_edited(
    folder: Folder, state: State, stages: Iterable[Stage], records: Mapping[str, FastaRecord]
) -> None:
    """Raise if files that would be made anew were edited by hand since they were written."""
    findings = []
    for stage in stages:
        edits = folder.read(stage, records)
        if edits.verdict != "whole" or state.entry(stage).edited_by_hand:
            files = [edit.file for edit in edits.files] or [stage.cluster_file_pattern]
            findings.append(
                Finding(
                    what=f"stage {stage.asset} would be made again, but was edited by hand",
                    where=str(folder.path),
                    found=few(files),
                    next=f"Give up the edits with `cytopipe decompose rollback {folder.path}`, which keeps a "
                    "copy to come back to, or go on from the edited stage.",
                )
            )
    if findings:
        raise ResumeError(findings)


def remove_leftovers(folder: Folder, state: State, provenance: Provenance) -> None:
    """Remove files of stages that the state says are no more: a killed run had begun to."""
    for stage in STAGES:
        later = stage.order > state.newest.order and not state.entry(stage).files_digest
        if later or (state.stages.finalized.cleaned and stage is not STAGES[-1]):
            folder.remove_stage(stage, provenance)
