"""A decomposition that one can create, open, advance and query: its directory and its four stages.

The FASTA files of the newest stage are authoritative: they are read before each action, hand edits are taken
over, and a stage whose source changed is computed again. A run that was stopped at any moment and continued
has the same files as a run that was never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cytopipe.decompose.checkpoints import Checkpoint
from cytopipe.decompose.clustering import Clustering, begun, input_facts
from cytopipe.decompose.directory import preconditions
from cytopipe.decompose.directory.folder import Folder
from cytopipe.decompose.formats import CLUSTERS_UNDER_LOCK
from cytopipe.decompose.hand_edits import Edits
from cytopipe.decompose.layout import REPORT_FOLDER, Stage, stage_named
from cytopipe.decompose.neighbours_blast import require_blast
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.partition import Partition, prove_conservation
from cytopipe.decompose.stages import CODE_VERSION
from cytopipe.decompose.state import Command, Requests, now
from cytopipe.decompose.workspace import SequenceFile, Work
from cytopipe.engine import Engine
from cytopipe.errors import ResumeError
from cytopipe.provenance import Provenance, library_versions
from cytopipe.storage import Difference
from cytopipe.storage.archive import Place
from cytopipe.storage.fasta import FastaRecord

__all__ = ["Decomposition", "StageResult"]

_LIBRARIES = ("numpy", "scipy", "numba", "edlib")


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Parameters
    ----------
    stage : str
        ``initial``, ``deconflicted``, ``refined`` or ``final``.
    directory : Path
    files : tuple of str
        The FASTA files of the stage.
    sha256 : str
        Digest over their names and bytes: the data version.
    n_clusters, n_records, n_unassigned : int
        Clusters; records in clusters; records in none.
    metrics : mapping of str to number
        What the report measured.
    tables, figures : mapping of str to Path
        The files of the report.
    resumed : bool
        True if the stage was finished already and nothing was done again.
    """

    stage: str
    directory: Path
    files: tuple[str, ...]
    sha256: str
    n_clusters: int
    n_records: int
    n_unassigned: int
    metrics: Mapping[str, int | float | str] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    resumed: bool = False


class Decomposition:
    """One directory of clusters; see :meth:`create`, :meth:`open` and :meth:`adopt`.

    Attributes
    ----------
    directory : Path
    state : State
        What ``state.json`` says.
    sequences : SequenceFile
        The input.
    partition : Partition
        The clusters of the newest stage, as its files say them.
    edits : Edits
        What was edited by hand in the newest stage since it was written.
    messages : list of str
        What a person should know about the opening: a checkpoint that was used, an edit that was seen.
    """

    def __init__(
        self, folder: Folder, opened: preconditions.Opened, asked: Mapping[str, Any] | None = None
    ) -> None:
        self.folder, self.directory = folder, folder.path
        self.state, self.sequences, self.edits = opened.state, opened.source, opened.edits
        self.partition: Partition = opened.edits.partition
        self.messages = list(opened.messages)
        self._asked = dict(asked or {})  # what was allowed at the opening, until it is in the state

    # ------------------------------------------------------------------ begin

    @classmethod
    def create(
        cls,
        directory: Path | str,
        fasta: Path | str,
        parameters: Parameters | None = None,
        *,
        targets: Path | str | None = None,
        distances: Path | str | None = None,
        max_clusters: int | None = None,
        max_sequences: int | None = None,
        requests: Requests | None = None,
        command: str = "",
    ) -> Decomposition:
        """Begin a decomposition in a directory that holds none.

        Parameters
        ----------
        directory : Path
            Created if absent; other files in it are left alone.
        fasta : Path
            The sequences.
        parameters, distances, max_clusters, max_sequences, requests
            As for :func:`cytopipe.decompose.stages.begun`.
        targets : Path, optional
            Directed mode: a FASTA file of records of the input; only these become targets.
        command : str, optional
            The command line, for the history.

        Raises
        ------
        ResumeError
            If the directory holds a decomposition, or files under the names of one.
        InputError
            If the sequences, targets or distances cannot be used; all faults at once.
        """
        directory = Path(directory)
        preconditions.refuse_occupied(directory)
        if parameters is not None and parameters.neighbours == "blast" and distances is None:
            require_blast()  # before anything is written
        source = SequenceFile.read(Path(fasta))
        clusters = begun(
            source,
            parameters or Parameters(),
            targets=None if targets is None else SequenceFile.read(Path(targets)),
            distances=distances,
            max_clusters=max_clusters,
            max_sequences=max_sequences,
            requests=requests,
        )
        folder = Folder(directory)
        found = cls(folder, preconditions.Opened(clusters.state, source, Edits(clusters.partition)))
        with folder.locked():
            preconditions.refuse_occupied(directory)
            found.note(command)
            found.commit(clusters.partition, "created", command)
        return found

    @classmethod
    def open(
        cls,
        directory: Path | str,
        *,
        fasta: Path | str | None = None,
        parameters: Mapping[str, Any] | None = None,
        accept_missing: bool = False,
        force_input_change: bool = False,
    ) -> Decomposition:
        """Open a directory that was begun before, and check that it can be continued.

        Parameters
        ----------
        directory : Path
        fasta : Path, optional
            Where the input is now, if it was moved.
        parameters : mapping, optional
            Parameters to change from here on.
        accept_missing : bool
            Take records whose files are gone as deleted on purpose.
        force_input_change : bool
            Go on with an input that has changed: records that are gone leave their clusters, new ones are
            clustered.

        Raises
        ------
        ResumeError, DamagedError, InputError
            If it cannot be continued like this; every reason at once.
        """
        asked = {"parameters": dict(parameters or {}), "accept_missing": accept_missing}
        where = None if fasta is None else Path(fasta)
        return cls._read(
            directory, preconditions.check, asked, fasta=where, force_input_change=force_input_change, **asked
        )

    @classmethod
    def inspect(cls, directory: Path | str) -> Decomposition:
        """Open a directory to look at it: hand edits and damage are told in `edits`, not raised."""
        return cls._read(directory, preconditions.look)

    @classmethod
    def _read(
        cls,
        directory: Path | str,
        read: Callable[..., preconditions.Opened],
        asked: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Decomposition:
        preconditions.refuse_absent(Path(directory))
        folder = Folder(Path(directory))
        state, said = folder.read_state()
        found = cls(folder, read(folder, state, **how), asked)
        found.messages[:0] = filter(None, [said])
        return found

    @classmethod
    def adopt(
        cls,
        directory: Path | str,
        fasta: Path | str,
        parameters: Parameters | None = None,
        *,
        targets: Path | None = None,
        distances: Path | None = None,
        requests: Requests | None = None,
        accept_missing: bool = False,
        command: str = "",
        **limits: int | None,
    ) -> Decomposition:
        """Open the directory if it holds this decomposition, begin it if it holds none.

        Parameters as for :meth:`create` and :meth:`open`.

        Raises
        ------
        ResumeError
            If the directory holds another decomposition; the message says what differs.
        """
        directory, fasta, parameters = Path(directory), Path(fasta), parameters or Parameters()
        given = {"targets": targets, "distances": distances, "requests": requests}
        if not preconditions.is_begun(directory):
            return cls.create(directory, fasta, parameters, **given, **limits, command=command)
        state, _ = Folder(directory).read_state()
        preconditions.refuse_another(directory, state, fasta, parameters, **given)
        found = cls.open(directory, fasta=fasta, accept_missing=accept_missing)
        if requests is not None:
            found.prepare(requests=requests, command=command)
        return found

    # ------------------------------------------------------------------ go on

    def prepare(self, *, requests: Requests, command: str = "") -> None:
        """Write down what is to be done, so that an interrupted run is continued to its end.

        Raises
        ------
        BusyError
            If another process works on the directory.
        """
        with self.folder.locked():
            self.refresh()
            self.state.requests = requests
            self.note(command)
            self.state = self.folder.save_state(self.state)

    def advance(
        self,
        to: str,
        *,
        engine: Engine | None = None,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
        stop: Callable[[], bool] = lambda: False,
        max_clusters: int | None = None,
        max_sequences: int | None = None,
        thresholds: Sequence[float] | None = None,
        checkpoint_interval: int | None = None,
        on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
        report: bool = True,
        truth: Path | None = None,
        command: str = "",
    ) -> StageResult:
        """Go on until a stage is finished; what is finished already is not done again.

        Parameters
        ----------
        to : str
            ``initial``, ``deconflicted``, ``refined`` or ``final`` (or their names in ``state.json``).
        engine : Engine, optional
            Where many alignments are computed; None: in this process.
        progress : callable, optional
            ``progress(what, done, total)``.
        stop : callable, optional
            Asked between iterations; once it says True, what is done is saved and `Interrupted` raised.
        max_clusters, max_sequences : int, optional
            New absolute limits of the initial clustering, 0 for none; None keeps what was said before.
        thresholds : sequence of float, optional
            For ``refined``: the refinements, in order. Those that were made already are kept; None takes
            those requested before, or else the default one.
        checkpoint_interval : int, optional
            Iterations between checkpoints of the initial clustering.
        on_checkpoint : callable, optional
            Called with each checkpoint after it is on disk.
        report : bool
            Whether to measure the stage and write its tables and figures.
        truth : Path, optional
            Known clusters for the report to compare with, where the headers of the input do not name them.
        command : str, optional
            The command line, for the history.

        Raises
        ------
        Interrupted
            After saving, if `stop` said so.
        ResumeError
            If a stage that would be made anew was edited by hand.
        """
        from cytopipe.decompose.directory.advance import Advance

        with self.folder.locked():
            self.refresh()
            history = self.state.metadata.command_history
            if not history or history[-1].command != command:
                self.note(command)
            work = Work(cache=self.directory, engine=engine, progress=progress, stop=stop)
            made = Advance(self, work, on_checkpoint, command).to(
                stage_named(to),
                limits={"max_clusters": max_clusters, "max_sequences": max_sequences},
                interval=checkpoint_interval or self.state.requests.checkpoint_interval,
                thresholds=thresholds,
                report=report,
                truth=None if truth is None else Path(truth),
            )
        return made

    def result(self, stage: str | None = None, *, resumed: bool = True) -> StageResult:
        """The result of a stage that is on disk, the newest one by default; its report where there is one.

        Raises
        ------
        ResumeError
            If the stage has no files.
        """
        wanted = self.partition.stage if stage is None else stage_named(stage)
        digest = self.state.entry(wanted).files_digest
        if not digest or wanted not in self.folder.stages_on_disk():
            raise ResumeError(
                f"stage {wanted.asset} has no files",
                where=str(self.directory),
                found=", ".join(one.asset for one in self.folder.stages_on_disk()) or "none",
            )
        partition, report = self.clusters_of(wanted).partition, self.folder.report(wanted)
        measured = report is not None and report.is_of(digest)
        folder = self.directory / REPORT_FOLDER / wanted.asset
        paths = [folder / name for name in sorted(report.files)] if measured else []
        return StageResult(
            stage=wanted.asset,
            directory=self.directory,
            files=tuple(partition.ids_by_file()),
            sha256=digest,
            n_clusters=partition.n_clusters,
            n_records=partition.n_clustered,
            n_unassigned=len(partition.unassigned),
            metrics=report.metrics if measured else {},
            tables={path.stem: path for path in paths if path.suffix == ".tsv"},
            figures={path.stem: path for path in paths if path.suffix == ".png"},
            resumed=resumed,
        )

    # ------------------------------------------------------------------ ask

    @property
    def clusters(self) -> Clustering:
        """The clusters of the newest stage, as the verbs of `cytopipe.decompose.stages` take them."""
        return Clustering(self.partition, self.records, self.state)

    def clusters_of(self, stage: Stage) -> Clustering:
        """The clusters of a stage that has files."""
        if self.partition.stage is stage:
            return self.clusters
        return Clustering(self.folder.read(stage, self.records).partition, self.records, self.state)

    @property
    def records(self) -> Mapping[str, FastaRecord]:
        """The records of the input, by id."""
        return self.sequences.records

    def verify(self) -> list[Difference]:
        """Every difference between what was published in the directory and what is there."""
        return self.folder.store.verify()

    # ------------------------------------------------------------------ in the house

    def refresh(self) -> None:
        """Read the directory again and take over what a person did in it; the lock must be held."""
        state, said = self.folder.read_state()
        opened = preconditions.check(self.folder, state, source=self.sequences, **self._asked)
        self.state, self.edits, self.partition = opened.state, opened.edits, opened.edits.partition
        stage = self.partition.stage
        if said and said not in self.messages:
            self.messages.append(said)
        if self.edits.verdict == "edited":
            self.folder.accept(stage, self.provenance_of(stage))
            self.state.entry(stage).edited_by_hand |= not opened.input_changed
            reason = "changed input taken over" if opened.input_changed else "hand edit taken over"
            self.commit(self.partition, reason, point=True, rewrite=opened.input_changed)
            self.edits = Edits(self.partition)
        preconditions.remove_leftovers(self.folder, self.state, self.provenance_of(stage))

    def take_input(self, source: SequenceFile, stored_path: str) -> None:
        """Go on with another input, which must hold the records of the partition about to be committed."""
        self.sequences = source
        self.state.input = input_facts(source, stored_path)

    def note(self, command: str) -> None:
        """Put a command into the history."""
        if command:
            self.state.metadata.command_history.append(Command(command=command, timestamp=now()))

    def provenance_of(self, stage: Stage, command: str = "") -> Provenance:
        history = self.state.stages.close_cluster_refinement.refinement_history
        return Provenance(
            what=f"{stage.asset} clusters of {Path(self.state.input.fasta_path).name}",
            parameters={
                **self.state.parameters.model_dump(),
                "refinements": [one.threshold for one in history],
                "finder": self.state.stages.initial_clustering.finder,
            },
            inputs=self.state.made_from(stage),
            code_version=CODE_VERSION,
            libraries=library_versions(_LIBRARIES),
            command=command,
        )

    def commit(
        self,
        partition: Partition,
        reason: str,
        command: str = "",
        *,
        point: bool = False,
        rewrite: bool = False,
        extra: Mapping[str, bytes] | None = None,
    ) -> Checkpoint:
        """Prove that no record is lost or doubled, then publish clusters and state in one transaction.

        Parameters
        ----------
        point : bool
            Whether to keep the checkpoint, which is written first, as one to roll back to.
        rewrite : bool
            Whether to write files again that hold the same records already.
        extra : mapping of str to bytes
            Other files of the same transaction.
        """
        prove_conservation(partition, self.records)
        stage, state = partition.stage, self.state.model_copy(deep=True)
        provenance = self.provenance_of(stage, command)
        state.stage, state.entry(stage).files_digest = stage.name, ""
        checkpoint = self.folder.checkpoints.save(state, partition, reason, point=point)
        clusters = Clustering(
            partition,
            self.records,
            state,
            unchanged=frozenset() if rewrite else self.folder.unchanged(partition),
            beside=extra or {},
            keeps_later=False,
        )
        receipt = self.folder.archive.put(Place("", stage.asset), CLUSTERS_UNDER_LOCK, clusters, provenance)
        self.state = clusters.published(receipt.version, provenance.as_json()).state
        self.partition = partition
        return checkpoint
