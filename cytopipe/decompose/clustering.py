"""The clusters of one stage as a value: which record is where, the records, and how far the work is.

A verb of `cytopipe.decompose.stages` takes one and gives the next; `cytopipe.decompose.formats` turns one
into the FASTA files of its stage with ``state.json`` beside them, and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cytopipe.decompose.layout import INITIAL, Stage
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition, prove_conservation
from cytopipe.decompose.sequences import SequenceSet, normalise
from cytopipe.decompose.state import (
    Command,
    DistanceFacts,
    InputFacts,
    Metadata,
    Requests,
    State,
    TargetFacts,
    now,
)
from cytopipe.decompose.workspace import SequenceFile
from cytopipe.errors import Finding, InputError
from cytopipe.provenance import sha256_file
from cytopipe.storage.fasta import FastaRecord, format_fasta
from cytopipe.storage.manifest import digest_of_files

__all__ = ["Clustering", "begun", "input_facts", "target_positions"]


@dataclass(frozen=True)
class Clustering:
    """The clusters of one stage.

    Parameters
    ----------
    partition : Partition
    records : mapping of str to FastaRecord
        By id, all that the partition names.
    state : State
        What ``state.json`` says. A value; copy it before changing it.
    unchanged : frozenset of str
        Files that are known to be published with just these records, and need not be written again.
    beside : mapping of str to bytes
        Other files of the same transaction: an input that has grown.
    keeps_later : bool
        Whether later stages that were made from these very files stay in the state when this is published.
    """

    partition: Partition
    records: Mapping[str, FastaRecord]
    state: State
    unchanged: frozenset[str] = frozenset()
    beside: Mapping[str, bytes] = field(default_factory=dict)
    keeps_later: bool = True

    @property
    def stage(self) -> Stage:
        return self.partition.stage

    @property
    def files_digest(self) -> str:
        """Digest over names and bytes of the files of the stage."""
        known = self.state.entry(self.stage).files_digest
        return known or digest_of_files(replace(self, unchanged=frozenset()).files())

    def files(self) -> dict[str, bytes | None]:
        """The bytes of every file of the stage; None for one that is published as it is."""
        return {
            file: None if file in self.unchanged else format_fasta(self.records[one] for one in ids)
            for file, ids in self.partition.ids_by_file().items()
        }

    def published(self, files_digest: str, provenance: Mapping[str, object] | None) -> Clustering:
        """This clustering after its files were written; a digest other than before tells of a hand edit."""
        state = self.state.model_copy(deep=True)
        entry = state.entry(self.stage)
        entry.edited_by_hand |= bool(entry.files_digest) and entry.files_digest != files_digest
        entry.files_digest = files_digest
        state.metadata.last_checkpoint = now()
        if provenance is not None:
            state.metadata.provenance = dict(provenance)
            run, history = provenance.get("run_id"), state.metadata.command_history
            if run and (not history or history[-1].command != f"dagster run {run}"):
                history.append(Command(command=f"dagster run {run}", timestamp=now()))
        return replace(self, state=state)

    def followed_by(
        self, partition: Partition, state: State, records: Mapping[str, FastaRecord]
    ) -> Clustering:
        """The clustering that was made of this one, after the proof that no record is lost or doubled.

        Parameters
        ----------
        partition : Partition
        state : State
            With the entry of the new stage; made by :meth:`State.as_of`.
        records : mapping of str to FastaRecord
            Every record of the input.
        """
        prove_conservation(partition, records)
        state.stage = partition.stage.name
        state.entry(partition.stage).files_digest = ""
        return Clustering(partition, records, state)


def begun(
    sequences: SequenceFile,
    parameters: Parameters,
    *,
    targets: SequenceFile | None = None,
    distances: Path | str | None = None,
    max_clusters: int | None = None,
    max_sequences: int | None = None,
    requests: Requests | None = None,
) -> Clustering:
    """A decomposition of which nothing is done: every record is unassigned.

    Parameters
    ----------
    targets : SequenceFile, optional
        Directed mode: records of the input, from which alone clusters are grown.
    distances : Path, optional
        A table of distances between all records, used instead of alignments.
    max_clusters, max_sequences : int, optional
        Grow until so many clusters, or so many clustered records, exist.
    requests : Requests, optional
        What a command was asked to do.

    Raises
    ------
    InputError
        The targets or the distances do not fit the sequences; all faults at once.
    """
    unique = sequences.unique(one_strand=distances is None and not parameters.parity)
    if targets is not None:
        target_positions(targets, unique)
    state = State(
        input=input_facts(sequences),
        targets=None if targets is None else _target_facts(targets),
        distances=None if distances is None else _distance_facts(Path(distances), unique),
        parameters=parameters,
        requests=requests or Requests(),
        metadata=Metadata(start_time=now(), last_checkpoint=now()),
    )
    state.stages.initial_clustering.max_clusters_limit = max_clusters
    state.stages.initial_clustering.max_sequences_limit = max_sequences
    everything = tuple(record.id for record in unique.expand(range(len(unique))))
    return Clustering(Partition(INITIAL, {}, everything), sequences.records, state)


def input_facts(sequences: SequenceFile, path: str = "") -> InputFacts:
    """What the state says of an input; `path` where it is not to be named by its absolute one."""
    return InputFacts(
        fasta_path=path or str(sequences.path.absolute()),
        fasta_hash=sequences.sha256,
        total_sequences=len(sequences.records),
        deduplicated_sequences=sequences.unique().n_distinct,
    )


def _target_facts(targets: SequenceFile) -> TargetFacts:
    return TargetFacts(
        fasta_path=str(targets.path.absolute()),
        fasta_hash=targets.sha256,
        total_sequences=len(targets.records),
    )


def _distance_facts(path: Path, sequences: SequenceSet) -> DistanceFacts:
    from cytopipe.decompose.matrix import GivenDistances

    GivenDistances.read(path, sequences)
    return DistanceFacts(path=str(path.absolute()), sha256=sha256_file(path))


def target_positions(targets: SequenceFile, sequences: SequenceSet, *, partial: bool = False) -> list[int]:
    """Positions of targets, in the order of their file, found by their sequence.

    With `partial`, those that are not among the sequences (any more) are passed over; else they are an
    `InputError`.
    """
    found: dict[int, None] = {}
    findings = []
    for record in targets.records.values():
        position = sequences.index_of.get(normalise(record.sequence))
        if position is not None:
            found[position] = None
        elif not partial:
            findings.append(
                Finding(
                    what=f"target {record.id!r} is not in the input",
                    where=f"{targets.path}:{record.line}",
                    expected="the sequence of a record of the input",
                )
            )
    if findings:
        raise InputError(findings)
    return list(found)
