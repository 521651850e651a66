"""Add new sequences to clusters that exist: nothing that is there moves, no id changes.

Each new record goes to exactly one place. A sequence that is there already goes where it is. Another joins
the cluster it is nearest to, by the linkage that grew the clusters (its target percentile distance to the
members, at most `max_lump`), judged against the old members only, so that the order of the new ones does not
matter. Those that fit nowhere are clustered among themselves and get the next free numbers (stable ids, as
UNITE's species hypotheses have).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cytopipe.decompose import steps
from cytopipe.decompose.by_sequence import SequenceClusters, clusters_by_sequence, with_exact_copies
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.layout import INITIAL
from cytopipe.decompose.parameters import BarcodeGap
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.sequences import SequenceSet, normalise
from cytopipe.decompose.workspace import SequenceFile, Work, Workspace, opened
from cytopipe.errors import Finding, InputError
from cytopipe.storage.fasta import FastaRecord

__all__ = ["Added", "added"]

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


def added(clusters: Clustering, new: SequenceFile, work: Work) -> tuple[Clustering, Added]:
    """Put new records into the clusters of a stage.

    Parameters
    ----------
    clusters : Clustering
    new : SequenceFile
        Records whose ids are new. A record that is there already, with the same sequence, is passed over.
    work : Work

    Returns
    -------
    clusters : Clustering
        Its records are the old ones and the new ones; its state is still that of the old input.
    added : Added

    Raises
    ------
    InputError
        If an id is there with another sequence, all of them are listed; or if distances come from a file.
    """
    fresh, known = _new_records(clusters.records, new)
    if not fresh:
        return clusters, Added({}, {}, (), known)
    if clusters.state.distances is not None:
        raise InputError(
            "sequences cannot be added where distances come from a file",
            where=clusters.state.distances.path,
            next="Make the table anew with the new records and start another decomposition.",
        )
    records = {**clusters.records, **{record.id: record for record in fresh}}
    grown = replace(clusters, records=records)
    partition, joined, founded = _assigned(grown, fresh, work)
    unfinished = clusters.stage is INITIAL and not clusters.state.stages.initial_clustering.completed
    waiting = tuple(one.id for one in fresh if unfinished and one.id not in joined)
    return replace(grown, partition=partition), Added(joined, founded, waiting, known)


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
    clusters: Clustering, fresh: Sequence[FastaRecord], work: Work
) -> tuple[Partition, dict[str, str], dict[str, str]]:
    """The clusters with every new record placed; which joined what, which founded what."""
    before, records = clusters.partition, clusters.records
    if before.stage is INITIAL and not clusters.state.stages.initial_clustering.completed:
        ids = [record.id for record in fresh]
        taken = with_exact_copies(before, ids, records)
        return taken, {one: taken.cluster_of[one] for one in ids if one in taken.cluster_of}, {}
    sequences = SequenceFile(Path(), "", records)
    with opened(sequences, clusters.state, work, deleted=before.deleted) as workspace:
        by_sequence = clusters_by_sequence(before, workspace.sequences)
        wanted = sorted({workspace.sequences.index_of[normalise(record.sequence)] for record in fresh})
        home = _homes(wanted, by_sequence, workspace, partial(work.progress, "placing sequences"))
        joined: dict[str, str] = {}
        left: list[FastaRecord] = []
        for record in fresh:
            number = home.get(workspace.sequences.index_of[normalise(record.sequence)])
            if number is None:
                left.append(record)
            else:
                joined[record.id] = by_sequence.files[number]
        founded = _founded(left, clusters, work, workspace.gap)
    files = {file: list(members) for file, members in before.clusters.items()}
    for record, file in sorted((joined | founded).items()):
        files.setdefault(file, []).append(record)
    return (
        Partition(
            before.stage,
            {file: tuple(members) for file, members in files.items()},
            before.unassigned,
            before.deleted,
        ),
        joined,
        founded,
    )


def _homes(
    wanted: Sequence[int],
    by_sequence: SequenceClusters,
    workspace: Workspace,
    progress: Callable[[int, int], None],
) -> dict[int, int]:
    """The cluster every wanted sequence belongs to, as a place in `by_sequence.files`, where there is one."""
    of_sequence: dict[int, int] = {}
    for number, members in enumerate(by_sequence.clusters):
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
                (_linkage(index, by_sequence.clusters[number], workspace), number)
                for number in near[:_NEAREST_CLUSTERS]
            ]
            linkage, number = min(links, default=(np.inf, -1))
            if linkage <= (workspace.gap.divides if workspace.gap else workspace.parameters.lump):
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
    left: Sequence[FastaRecord], clusters: Clustering, work: Work, gap: BarcodeGap | None
) -> dict[str, str]:
    """New clusters of the records that fit nowhere, clustered among themselves; the file of each record."""
    if not left:
        return {}
    before, parameters = clusters.partition, clusters.state.parameters
    sequences = SequenceSet.from_records(left, one_strand=not parameters.parity)
    ids = tuple(record.id for record in sequences.expand(range(len(sequences))))
    # In memory: the search database in the directory is that of all sequences, not of these few.
    workspace = Workspace(sequences, parameters, work.cache, engine=work.engine, keep_search=False, gap=gap)
    start = Partition(INITIAL, {}, ids)
    grown = dict(steps.clusters_grown(start, workspace))
    disjoint = steps.conflicts_resolved(Partition(INITIAL, grown), workspace)
    number, founded = before.next_number(), {}
    for members in disjoint.clusters.values():
        file = before.stage.cluster_file(number)
        founded |= dict.fromkeys(members, file)
        number += 1
    return founded
