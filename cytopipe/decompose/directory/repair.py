"""Return to an earlier state, or repair a directory: rollback, restore, rebuild.

Rollback makes an earlier stage, or a kept point, the newest again, and keeps the stages it leaves as a
point. Restore writes the files of the newest stage as the last checkpoint held them. Rebuild writes a state
for a directory that has only its FASTA files left. Each is one transaction, and none discards what a person
edited without keeping a copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cytopipe.decompose.by_sequence import with_exact_copies
from cytopipe.decompose.checkpoints import Checkpoint
from cytopipe.decompose.clustering import input_facts
from cytopipe.decompose.directory import preconditions
from cytopipe.decompose.directory.decomposition import Decomposition
from cytopipe.decompose.directory.folder import Folder
from cytopipe.decompose.hand_edits import Edits, read_stage
from cytopipe.decompose.layout import INITIAL, STAGES, Stage
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.state import Metadata, Refinement, Requests, State, now
from cytopipe.decompose.workspace import SequenceFile
from cytopipe.errors import CytopipeError, ParameterError, ResumeError
from cytopipe.storage.fasta import FastaRecord

__all__ = ["rebuild", "restore", "rollback"]


def rollback(directory: Path | str, to: str, *, command: str = "") -> Decomposition:
    """Make an earlier stage the newest again.

    Parameters
    ----------
    directory : Path
    to : str
        A stage (``initial``, ``deconflicted``, ``refined``): its files as they are now, hand edits and all,
        or its newest point if they are gone. Or a point (``0002-deconflicted``): exactly as it was then.
    command : str, optional
        For the history.

    Raises
    ------
    ParameterError
        If there is no such stage or point; the message lists what there is.
    """
    with _alone(directory) as folder:
        state, _ = folder.read_state()
        source = SequenceFile.read(folder.path / state.input.fasta_path)
        if source.sha256 != state.input.fasta_hash:
            preconditions.check(folder, state)  # says what is wrong with the input
        stage, partition, past = _destination(folder, to, source.records)
        was_known = past.partition.records() if past is not None else folder.written(stage).records()
        added = source.records.keys() - set(was_known)
        for one in folder.stages_on_disk():
            with suppress(CytopipeError):  # one that is too damaged to be read cannot be kept
                now_there = folder.read(one, source.records).or_raise(accept_missing=True)
                folder.checkpoints.keep(state, now_there, "before rollback")
            folder.accept_whatever(one)
        if past is not None:
            state.stages = past.state.stages.model_copy(deep=True)
        state = state.as_of(stage)
        if stage is INITIAL and added:  # they are still to be clustered
            state.stages.initial_clustering.completed = False
        state.requests = _requests_until(stage, state)
        found = _written(folder, state, source, partition, f"rolled back to {to}", command, point=True)
        preconditions.remove_leftovers(folder, found.state, found.provenance_of(stage, command))
    return Decomposition.open(directory)


def restore(directory: Path | str, *, command: str = "") -> Decomposition:
    """Write the files of the newest stage, and the state, as the last whole checkpoint held them.

    Raises
    ------
    ResumeError
        If no checkpoint is whole.
    """
    with _alone(directory) as folder:
        folder.store.recover(folder.path)
        checkpoint = folder.newest_checkpoint()
        if checkpoint is None:
            raise ResumeError(
                "no checkpoint is whole",
                where=str(folder.checkpoints.folder),
                next=f"Write a state from the FASTA files with `cytopipe decompose rebuild {directory} "
                "--input INPUT.fasta`.",
            )
        state = checkpoint.state.model_copy(deep=True)
        source = SequenceFile.read(folder.path / state.input.fasta_path)
        folder.set_aside(checkpoint.stage)
        _written(folder, state, source, checkpoint.partition, "restored", command)
    return Decomposition.open(directory)


def rebuild(
    directory: Path | str,
    fasta: Path | str,
    parameters: Parameters | None = None,
    *,
    accept_missing: bool = False,
    command: str = "",
) -> Decomposition:
    """Write a state for a directory whose FASTA files are all that is left.

    Parameters
    ----------
    directory : Path
    fasta : Path
        The sequences it was made from.
    parameters : Parameters, optional
        Those it was made with, where they were not the default ones.
    accept_missing : bool
        Take records of the input that are in no file as deleted; otherwise they become unassigned only in
        an unfinished initial clustering, and are an error elsewhere.

    Raises
    ------
    ResumeError
        If there are no stage files, or they do not hold the records of the input.
    """
    with _alone(directory) as folder:
        folder.recover_if_possible()
        stages = [one for one in folder.stages_on_disk() if _has_clusters(folder, one)]
        if not stages:
            raise ResumeError(
                "there are no stage files to rebuild from",
                where=str(folder.path),
                expected=", ".join(one.cluster_file_pattern for one in STAGES),
            )
        source = SequenceFile.read(Path(fasta))
        partitions = {one: _partition_on_disk(folder, one, source.records, accept_missing) for one in stages}
        newest = partitions[stages[-1]]
        state = _state_of(source, parameters or Parameters(), partitions, folder)
        for one in stages:
            folder.accept_whatever(one)
            state.entry(one).files_digest = folder.digest(one)
        _link_sources(state, stages)
        _written(folder, state, source, newest, "rebuilt from FASTA files", command, point=True)
    return Decomposition.open(directory)


@contextmanager
def _alone(directory: Path | str) -> Iterator[Folder]:
    """The directory, and nobody else in it."""
    preconditions.refuse_absent(Path(directory))
    folder = Folder(Path(directory))
    with folder.locked():
        yield folder


def _written(
    folder: Folder,
    state: State,
    source: SequenceFile,
    partition: Partition,
    reason: str,
    command: str,
    *,
    point: bool = False,
) -> Decomposition:
    """Write a partition of earlier times, on the input of today, with its state."""
    records = source.records
    known = set(partition.records())
    kept = partition.without(known - set(records))
    partition = with_exact_copies(kept, (one for one in records if one not in known), records)
    found = Decomposition(folder, preconditions.Opened(state, source, Edits(partition)))
    found.note(command)
    found.commit(partition, reason, command, point=point, rewrite=True)
    return found


# ---------------------------------------------------------------------- rollback


def _destination(
    folder: Folder, to: str, records: Mapping[str, FastaRecord]
) -> tuple[Stage, Partition, Checkpoint | None]:
    """Stage and partition to go back to; with the point they come from, where they come from one."""
    points = folder.checkpoints.points()
    stage = next((one for one in STAGES if to in (one.name, one.asset)), None)
    if stage is not None and _has_clusters(folder, stage):
        return stage, folder.read(stage, records).or_raise(), None
    for name, point in reversed(points):
        if to == name or (stage is not None and point.stage is stage):
            return point.stage, point.partition, point
    stages = [one.asset for one in folder.stages_on_disk()]
    raise ParameterError(
        "there is no such stage or point to go back to",
        where=str(folder.path),
        expected=", ".join([*stages, *(name for name, _ in points)]) or "none is left",
        found=repr(to),
    )


def _requests_until(stage: Stage, state: State) -> Requests:
    """What was asked for, without what lies behind the stage gone back to: it waits for a new command."""
    history = state.stages.close_cluster_refinement.refinement_history
    return state.requests.model_copy(
        update={
            "resolve_conflicts": stage.order >= 1,
            "refine_close_clusters": [one.threshold for one in history] if stage.order >= 2 else [],
            "finalize": stage.order >= 3,
            "cleanup": False,
        }
    )


# ---------------------------------------------------------------------- rebuild


def _has_clusters(folder: Folder, stage: Stage) -> bool:
    return any(folder.path.glob(stage.cluster_file_pattern))


def _partition_on_disk(
    folder: Folder, stage: Stage, records: Mapping[str, FastaRecord], accept_missing: bool
) -> Partition:
    edits = read_stage(folder.path, stage, folder.files_of(stage), records, None)
    partition = edits.or_raise(accept_missing=accept_missing or stage is INITIAL)
    if stage is not INITIAL:
        return partition
    # In an initial clustering, a record that is nowhere has not been reached yet.
    written = (folder.path / stage.deleted_file).exists()
    lost = [record for ids in edits.missing.values() for record in ids]
    deleted = tuple(record for record in partition.deleted if record not in set(lost)) if written else ()
    return Partition(stage, partition.clusters, (*partition.unassigned, *lost), deleted)


def _state_of(
    source: SequenceFile, parameters: Parameters, partitions: Mapping[Stage, Partition], folder: Folder
) -> State:
    moment = now()
    path = source.path.absolute()
    state = State(
        input=input_facts(source, path.name if path.parent == folder.path else ""),
        parameters=parameters,
        metadata=Metadata(start_time=moment, last_checkpoint=moment),
    )
    entries = state.stages
    for stage, partition in partitions.items():
        if stage is INITIAL:
            entry = entries.initial_clustering
            entry.completed = not partition.unassigned
            entry.total_iterations = entry.total_clusters = partition.n_clusters
            entry.total_sequences_processed = partition.n_clustered
            in_play = len(source.records) - len(partition.deleted)
            entry.coverage_percentage = round(100 * partition.n_clustered / max(1, in_play), 4)
        else:
            state.entry(stage).completed = True
    if len(partitions) and max(partitions, key=lambda one: one.order).order >= 1:
        entries.initial_clustering.completed = True
        state.requests.resolve_conflicts = True
    return state


def _link_sources(state: State, stages: Sequence[Stage]) -> None:
    """Say of every stage that it was made from the one before it, as it is now."""
    for before, stage in itertools.pairwise(stages):
        state.entry(stage).source_digest = state.entry(before).files_digest
    refinement = state.stages.close_cluster_refinement
    if refinement.completed:
        unknown = state.parameters.lump
        refinement.threshold = unknown
        refinement.refinement_history = [Refinement(threshold=unknown, timestamp=now())]
        state.requests.refine_close_clusters = [unknown]
    final = state.stages.finalized
    if final.completed:
        final.source_stage = stages[-2].name if len(stages) > 1 else STAGES[1].name
        final.cleaned = len(stages) == 1
        state.status = "completed"
