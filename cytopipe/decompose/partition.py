"""Which record is in which file: the state of a stage, as a value.

A `Partition` is read from the FASTA files of one stage and written back to them; nothing else stores
membership. Each record of the input is in exactly one cluster file, or unassigned, or deleted by hand; this
is proved after every stage and every reading. Only the initial stage may name a record in several clusters,
and such a record is counted as a conflict, never as lost or doubled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cytopipe.decompose.layout import Stage, natural_order
from cytopipe.errors import CytopipeError, Finding
from cytopipe.storage.manifest import Manifest

__all__ = ["Partition", "conservation_findings", "partition_in", "prove_conservation"]


@dataclass(frozen=True)
class Partition:
    """The clusters of one stage, by file.

    Parameters
    ----------
    stage : Stage
        The stage whose files these are.
    clusters : mapping of str to tuple of str
        Record ids of every cluster file, in the order of the files.
    unassigned : tuple of str
        Ids of the records that no cluster holds.
    deleted : tuple of str
        Ids of the records that a person took out.
    """

    stage: Stage
    clusters: Mapping[str, tuple[str, ...]]
    unassigned: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()

    @cached_property
    def memberships(self) -> Counter[str]:
        """In how many clusters each record is; records in none are absent."""
        return Counter(record for members in self.clusters.values() for record in members)

    @cached_property
    def conflicts(self) -> dict[str, tuple[str, ...]]:
        """Files of every record that is in several clusters."""
        several = {record for record, times in self.memberships.items() if times > 1}
        files: dict[str, list[str]] = {record: [] for record in sorted(several)}
        for file, members in self.clusters.items():
            for record in members:
                if record in several:
                    files[record].append(file)
        return {record: tuple(found) for record, found in files.items()}

    @property
    def n_clusters(self) -> int:
        return len(self.clusters)

    @property
    def n_clustered(self) -> int:
        """Number of records that are in at least one cluster."""
        return len(self.memberships)

    @cached_property
    def cluster_of(self) -> dict[str, str]:
        """The file of every clustered record; its first one where it is in several."""
        found: dict[str, str] = {}
        for file, members in self.clusters.items():
            for record in members:
                found.setdefault(record, file)
        return found

    def next_number(self) -> int:
        """The number for a cluster that is added: one more than the largest in use."""
        return 1 + max((self.stage.number_of(file) or 0 for file in self.clusters), default=0)

    def records(self) -> Iterator[str]:
        """Every record the files name, each as often as they do."""
        for members in self.clusters.values():
            yield from members
        yield from self.unassigned
        yield from self.deleted

    def ids_by_file(self) -> dict[str, list[str]]:
        """Record ids of every file of this stage.

        The unassigned file is there even when it is empty, so that "nothing unassigned" is said and not
        merely unsaid; the file of deleted records exists only if there are any.
        """
        named = {file: list(members) for file, members in self.clusters.items()}
        named[self.stage.unassigned_file] = list(self.unassigned)
        if self.deleted:
            named[self.stage.deleted_file] = list(self.deleted)
        return named

    @classmethod
    def from_ids_by_file(cls, stage: Stage, named: Mapping[str, Sequence[str]]) -> Partition:
        """The inverse of :meth:`ids_by_file`."""
        return cls(
            stage=stage,
            clusters={file: tuple(named[file]) for file in natural_order(filter(stage.is_cluster, named))},
            unassigned=tuple(named.get(stage.unassigned_file, ())),
            deleted=tuple(named.get(stage.deleted_file, ())),
        )

    def without(self, gone: Iterable[str]) -> Partition:
        """This partition with some records forgotten; clusters that become empty go too."""
        forget = set(gone)
        kept = {
            file: tuple(record for record in members if record not in forget)
            for file, members in self.clusters.items()
        }
        return replace(
            self,
            clusters={file: members for file, members in kept.items() if members},
            unassigned=tuple(record for record in self.unassigned if record not in forget),
            deleted=tuple(record for record in self.deleted if record not in forget),
        )


def partition_in(manifest: Manifest, stage: Stage) -> Partition:
    """What the files of a stage held when they were published."""
    return Partition.from_ids_by_file(stage, {file: entry.ids() for file, entry in manifest.files.items()})


def prove_conservation(partition: Partition, expected: Iterable[str]) -> None:
    """Raise if any record of the input is lost, doubled or unknown.

    Raises
    ------
    CytopipeError
        With every violation. After a stage of ours this is a fault of ours, and nothing has been written.
    """
    findings = conservation_findings(partition, expected)
    if findings:
        raise CytopipeError(findings)


def conservation_findings(partition: Partition, expected: Iterable[str]) -> list[Finding]:
    """Everything that keeps `partition` from holding each of the `expected` records exactly once."""
    wanted = set(expected)
    where = f"stage {partition.stage.asset}"
    homes: dict[str, list[str]] = {}
    for file, ids in partition.ids_by_file().items():
        for record in ids:
            homes.setdefault(record, []).append(file)
    findings = [
        Finding(what=f"record {record!r} is in no file", where=where)
        for record in sorted(wanted - set(homes))
    ]
    for record in sorted(homes):
        files = homes[record]
        if record not in wanted:
            findings.append(Finding(what=f"record {record!r} is not in the input", where=files[0]))
        elif len(files) > len(set(files)):
            twice = next(file for file in files if files.count(file) > 1)
            findings.append(Finding(what=f"record {record!r} is in this file twice", where=twice))
        elif len(files) > 1 and not _may_share(partition.stage, files):
            findings.append(
                Finding(
                    what=f"record {record!r} is in several files",
                    where=", ".join(files),
                    expected="each record in exactly one file of this stage",
                    next="Delete it from all but one of them.",
                )
            )
    return findings


def _may_share(stage: Stage, files: Sequence[str]) -> bool:
    return stage.overlaps and all(map(stage.is_cluster, files))
