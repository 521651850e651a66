"""New sequences into clusters that exist: nothing that is there moves, no id changes.

What comes in is a finished stage and a FASTA file of new records; what leaves is the same stage with each
new record in exactly one place. A sequence that is there already goes where it is. Another joins the cluster
it is nearest to, by the linkage that grew the clusters (its target percentile distance to the members, at
most `max_lump`), judged against the old members only, so that the order of the new ones does not matter.
Those that fit nowhere are clustered among themselves and get the next free numbers (stable ids, as UNITE's
species hypotheses have).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cytopipe.decompose import steps
from cytopipe.decompose.layout import GROWN_INPUT_FILE, INITIAL
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.placement import Placement, beside_their_twins, place
from cytopipe.decompose.progress import Progress, Silent
from cytopipe.decompose.run import Decomposition
from cytopipe.decompose.sequences import SequenceSet, normalise
from cytopipe.decompose.workspace import SequenceFile, Workspace
from cytopipe.engine import Engine
from cytopipe.errors import Finding, InputError
from cytopipe.provenance import sha256_bytes
from cytopipe.storage.fasta import FastaRecord, format_fasta

__all__ = ["Added", "add_sequences"]

_NEAREST_CLUSTERS = 5
_MEMBERS = 300


@dataclass(frozen=True)
class Added:
    """What became of new records.

    Parameters
    ----------
    joined : mapping of str to str
        Records that joined a cluster that was there, with its file.
    founded : mapping of str to str
        Records in clusters that are new, with their files.
    waiting : tuple of str
        Records left unassigned, because the initial clustering is unfinished and will come to them.
    known : tuple of str
        Records that were in the input already and were passed over.
    """

    joined: Mapping[str, str]
    founded: Mapping[str, str]
    waiting: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


def add_sequences(
    directory: Path | str,
    fasta: Path | str,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
    command: str = "",
    accept_missing: bool = False,
) -> Added:
    """Add the records of a FASTA file to the newest stage of a decomposition.

    The input becomes ``input.fasta`` in the directory: the old records and the new ones.

    Parameters
    ----------
    directory : Path
    fasta : Path
        Records whose ids are new. A record that is in the input already, with the same sequence, is passed
        over.
    engine, progress, command, accept_missing
        As for :meth:`Decomposition.advance` and :meth:`Decomposition.open`.

    Raises
    ------
    InputError
        If an id is in the input with another sequence; all of them are listed.
    """
    progress = progress or Silent()
    of = Decomposition.open(directory, accept_missing=accept_missing)
    new = SequenceFile.read(Path(fasta))
    with of.folder.locked():
        of.refresh()
        fresh, known = _new_records(of.records, new)
        if not fresh:
            return Added({}, {}, (), known)
        if of.state.distances is not None:
            raise InputError(
                "sequences cannot be added where distances come from a file",
                where=of.state.distances.path,
                next="Make the table anew with the new records and start another decomposition.",
            )
        records = {**of.records, **{record.id: record for record in fresh}}
        partition, joined, founded = _assigned(of, records, fresh, engine, progress)
        data = format_fasta(records.values())
        source = SequenceFile(of.directory / GROWN_INPUT_FILE, sha256_bytes(data), records)
        unfinished = of.partition.stage is INITIAL and not of.state.stages.initial_clustering.completed
        of.take_input(source, GROWN_INPUT_FILE)
        of.note(command)
        of.commit(
            partition,
            f"{len(fresh)} records added",
            of.provenance_of(partition.stage, command),
            point=True,
            extra={GROWN_INPUT_FILE: data},
        )
        waiting = tuple(one.id for one in fresh if unfinished and one.id not in joined)
        return Added(joined, founded, waiting, known)


def _new_records(
    records: Mapping[str, FastaRecord], new: SequenceFile
) -> tuple[list[FastaRecord], tuple[str, ...]]:
    findings, fresh, known = [], [], []
    for record in new.records.values():
        old = records.get(record.id)
        if old is None:
            fresh.append(record)
        elif normalise(old.sequence) == normalise(record.sequence):
            known.append(record.id)
        else:
            findings.append(
                Finding(
                    what=f"id {record.id!r} is in the input with another sequence",
                    where=f"{new.path}:{record.line}",
                    next="Give the new record an id of its own.",
                )
            )
    if findings:
        raise InputError(findings)
    return fresh, tuple(known)


def _assigned(
    of: Decomposition,
    records: Mapping[str, FastaRecord],
    fresh: Sequence[FastaRecord],
    engine: Engine | None,
    progress: Progress,
) -> tuple[Partition, dict[str, str], dict[str, str]]:
    """The newest stage with every new record placed; which joined what, which founded what."""
    before = of.partition
    if before.stage is INITIAL and not of.state.stages.initial_clustering.completed:
        ids = [record.id for record in fresh]
        taken = beside_their_twins(before, ids, records)
        return taken, {one: taken.cluster_of[one] for one in ids if one in taken.cluster_of}, {}
    workspace = Workspace(
        SequenceFile(Path(), "", records).unique(
            without=frozenset(before.deleted), one_strand=not of.state.parameters.parity
        ),
        of.state.parameters,
        of.directory,
        engine=engine,
    )
    placement = place(before, workspace.sequences)
    wanted = sorted({workspace.sequences.index_of[normalise(record.sequence)] for record in fresh})
    home = _homes(wanted, placement, workspace, partial(progress.step, "placing sequences"))
    joined: dict[str, str] = {}
    left: list[FastaRecord] = []
    for record in fresh:
        number = home.get(workspace.sequences.index_of[normalise(record.sequence)])
        if number is None:
            left.append(record)
        else:
            joined[record.id] = placement.files[number]
    founded = _founded(left, before, of, engine)
    workspace.save()
    clusters = {file: list(members) for file, members in before.clusters.items()}
    for record, file in sorted((joined | founded).items()):
        clusters.setdefault(file, []).append(record)
    return (
        Partition(
            before.stage,
            {file: tuple(members) for file, members in clusters.items()},
            before.unassigned,
            before.deleted,
        ),
        joined,
        founded,
    )


def _homes(
    wanted: Sequence[int],
    placement: Placement,
    workspace: Workspace,
    progress: Callable[[int, int], None],
) -> dict[int, int]:
    """The cluster every wanted sequence belongs to, as a place in `placement.files`, where there is one."""
    of_sequence: dict[int, int] = {}
    for number, members in enumerate(placement.clusters):
        for index in members:
            of_sequence.setdefault(index, number)
    found: dict[int, int] = {}
    for done, index in enumerate(wanted, start=1):
        if index in of_sequence:
            found[index] = of_sequence[index]
        else:
            hits = workspace.neighbours.search([index]).of(0).tolist()
            near = list(dict.fromkeys(of_sequence[hit] for hit in hits if hit in of_sequence))
            links = [
                (_linkage(index, placement.clusters[number], workspace), number)
                for number in near[:_NEAREST_CLUSTERS]
            ]
            linkage, number = min(links, default=(np.inf, -1))
            if linkage <= workspace.parameters.max_lump:
                found[index] = number
        progress(done, len(wanted))
    return found


def _linkage(index: int, members: Sequence[int], workspace: Workspace) -> float:
    """Target percentile distance of a sequence to the members of a cluster (an even sample of large ones)."""
    if len(members) > _MEMBERS:
        members = [members[at] for at in np.linspace(0, len(members) - 1, _MEMBERS).round().astype(int)]
    values = workspace.distances.pairs(np.full(len(members), index), np.asarray(members))
    return float(np.percentile(values, workspace.parameters.target_percentile))


def _founded(
    left: Sequence[FastaRecord], before: Partition, of: Decomposition, engine: Engine | None
) -> dict[str, str]:
    """New clusters of the records that fit nowhere, clustered among themselves; the file of each record."""
    if not left:
        return {}
    parameters = of.state.parameters
    sequences = SequenceSet.from_records(left, one_strand=not parameters.parity)
    ids = tuple(record.id for record in sequences.expand(range(len(sequences))))
    # In memory: the search database in the directory is that of all sequences, not of these few.
    workspace = Workspace(sequences, parameters, of.directory, engine=engine, keep_search=False)
    start = Partition(INITIAL, {}, ids)
    clusters = dict(steps.clusters_grown(start, workspace))
    disjoint = steps.conflicts_resolved(Partition(INITIAL, clusters), workspace)
    number, founded = before.next_number(), {}
    for members in disjoint.clusters.values():
        file = before.stage.cluster_file(number)
        founded |= dict.fromkeys(members, file)
        number += 1
    return founded
