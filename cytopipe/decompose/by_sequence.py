"""Translate records to unique sequences and back, and keep the decisions that a person made in between.

The algorithms work on unique sequences; people move records. Where all records of a sequence are together,
the two views agree. Where a person put identical records into different clusters, the sequence goes with
most of them and the others are *pinned*: they stay with the cluster they were put into, wherever its
members end up. Neither direction loses or doubles a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cytopipe.decompose.layout import Stage
from cytopipe.decompose.partition import Partition
from cytopipe.decompose.sequences import SequenceSet, normalise
from cytopipe.storage.fasta import FastaRecord

__all__ = ["SequenceClusters", "clusters_by_sequence", "partition_from", "with_exact_copies"]


@dataclass(frozen=True)
class SequenceClusters:
    """The clusters of a partition in unique sequences.

    Parameters
    ----------
    files : tuple of str
        The cluster files, in order.
    clusters : tuple of tuple of int
        Sequences of every cluster, ascending; a sequence is in several only where its records are.
    pinned : mapping of str to int
        Records that are not where their sequence is, with the place of their cluster in `files`.
    """

    files: tuple[str, ...]
    clusters: tuple[tuple[int, ...], ...]
    pinned: Mapping[str, int]


def clusters_by_sequence(partition: Partition, sequences: SequenceSet) -> SequenceClusters:
    """See a partition of records as one of unique sequences."""
    files = tuple(partition.clusters)
    claims: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        for record in partition.clusters[file]:
            claims.setdefault(record, []).append(number)
    clusters: list[list[int]] = [[] for _ in files]
    pinned: dict[str, int] = {}
    for index, records in enumerate(sequences.records):
        claimed = [(record.id, claims.get(record.id, [])) for record in records]
        if any(len(numbers) > 1 for _, numbers in claimed):
            homes = {number for _, numbers in claimed for number in numbers}
        else:
            times = Counter(number for _, numbers in claimed for number in numbers)
            homes = {min(times, key=lambda number: (-times[number], number))} if times else set()
            pinned |= {
                record: numbers[0] for record, numbers in claimed if numbers and numbers[0] not in homes
            }
        for number in homes:
            clusters[number].append(index)
    return SequenceClusters(files, tuple(tuple(members) for members in clusters), pinned)


def partition_from(
    clusters: Sequence[Sequence[int]],
    sequences: SequenceSet,
    before: Partition,
    by_sequence: SequenceClusters,
    stage: Stage,
) -> Partition:
    """The partition of the next stage: clusters of unique sequences, with their records.

    Parameters
    ----------
    clusters : sequence of sequence of int
        Disjoint clusters of unique sequences.
    before : Partition
        The partition they were made from; its unassigned and deleted records stay what they are.
    by_sequence : SequenceClusters
        That partition as :func:`clusters_by_sequence` saw it.
    stage : Stage
        The stage the result belongs to.

    Returns
    -------
    Partition
        Clusters numbered by size, largest first; within one, records stand in canonical order. A name a
        person gave to a cluster stays with the one that holds most of its records.
    """
    kept_out = {*before.unassigned, *before.deleted, *by_sequence.pinned}
    members = [
        [
            record.id
            for index in sorted(cluster)
            for record in sequences.records[index]
            if record.id not in kept_out
        ]
        for cluster in clusters
    ]
    _put_pinned(members, clusters, by_sequence)
    rank = {record.id: at for at, record in enumerate(sequences.expand(range(len(sequences))))}
    found = [tuple(sorted(one, key=rank.__getitem__)) for one in members if one]
    found.sort(key=lambda one: (-len(one), rank[one[0]]))
    names = _names(found, before, stage)
    return Partition(
        stage=stage,
        clusters=dict(zip(names, found, strict=True)),
        unassigned=before.unassigned,
        deleted=before.deleted,
    )


def with_exact_copies(
    partition: Partition, new: Iterable[str], records: Mapping[str, FastaRecord]
) -> Partition:
    """Take records in that are new to a partition: with their exact copies, or else unassigned.

    Nothing else would bring them there: to the algorithms a sequence that is in a cluster is done. A copy may
    have been read from the other strand.
    """
    from cytopipe.decompose.alignment import reverse_complement

    homes: dict[str, dict[str, None]] = {}
    for file, members in partition.clusters.items():
        for one in members:
            homes.setdefault(normalise(records[one].sequence), {})[file] = None
    clusters = {file: list(members) for file, members in partition.clusters.items()}
    unassigned = list(partition.unassigned)
    for one in new:
        sequence = normalise(records[one].sequence)
        files = homes.get(sequence) or homes.get(reverse_complement(sequence), ())
        for file in files:
            clusters[file].append(one)
        if not files:
            unassigned.append(one)
    return Partition(
        partition.stage,
        {file: tuple(members) for file, members in clusters.items()},
        tuple(unassigned),
        partition.deleted,
    )


def _put_pinned(
    members: list[list[str]], clusters: Sequence[Sequence[int]], by_sequence: SequenceClusters
) -> None:
    """Put every pinned record where most of the sequences of its cluster are now."""
    home = {index: number for number, cluster in enumerate(clusters) for index in cluster}
    new: dict[int, list[str]] = {}
    for record, number in sorted(by_sequence.pinned.items()):
        times = Counter(home[index] for index in by_sequence.clusters[number] if index in home)
        if times:
            members[min(times, key=lambda one: (-times[one], one))].append(record)
        elif number in new:  # nothing else was in that cluster: it lives on by itself
            new[number].append(record)
        else:
            members.append(new.setdefault(number, [record]))


def _names(found: Sequence[Sequence[str]], before: Partition, stage: Stage) -> list[str]:
    """File names for clusters in order: the next number, or the name a person gave."""
    given = {} if stage.digits == 3 else _given_names(found, before, stage)
    return [given.get(number - 1, stage.cluster_file(number)) for number in range(1, len(found) + 1)]


def _given_names(found: Sequence[Sequence[str]], before: Partition, stage: Stage) -> dict[int, str]:
    home = {record: place for place, members in enumerate(found) for record in members}
    given: dict[int, str] = {}
    for file, members in before.clusters.items():
        if before.stage.number_of(file) is not None:
            continue
        times = Counter(home[record] for record in members if record in home)
        if times:
            best = min(times, key=lambda place: (-times[place], place))
            given.setdefault(best, stage.prefix + file.removeprefix(before.stage.prefix))
    return given
