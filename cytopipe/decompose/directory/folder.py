"""The directory of a decomposition on disk: one writer at a time, every change one transaction.

What comes in are a state and the partition of its newest stage; what leaves is a folder in which the
stage files and state.json always belong together: they are committed in one transaction, after the
checkpoint they could be written again from. Whoever opens the folder first finishes what a killed writer
began, and removes files of later stages that the state no longer knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cytopipe.decompose.checkpoints import Checkpoint, Checkpoints
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.edits import Reading, read_stage
from cytopipe.decompose.formats import CLUSTERS_UNDER_LOCK, REPORT, alone_in
from cytopipe.decompose.layout import (
    DISTANCE_FOLDER,
    LOCK_FILE,
    REPORT_FOLDER,
    SEARCH_FOLDER,
    SET_ASIDE_FOLDER,
    STAGES,
    STATE_FILE,
    Stage,
)
from cytopipe.decompose.partition import Partition, digest_of_files
from cytopipe.decompose.reports import Report
from cytopipe.decompose.state import State, format_document, now, parse_document
from cytopipe.errors import CytopipeError, DamagedError, InputError, ResumeError, StorageError
from cytopipe.provenance import Provenance
from cytopipe.storage import SetState
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.fasta import FastaRecord
from cytopipe.storage.manifest import Manifest

__all__ = ["Folder"]


class Folder:
    """One directory.

    Parameters
    ----------
    path : Path
        Created if absent.
    """

    def __init__(self, path: Path) -> None:
        self.archive = Archive(path)
        self.store = self.archive.store
        self.path = self.store.root
        self.checkpoints = Checkpoints(self.path, self.store)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Be the only one who works on this directory; see :func:`cytopipe.decompose.formats.alone_in`."""
        return alone_in(self.path)

    def worker(self) -> str:
        """The process that works on this directory now; empty where none does."""
        try:
            with (self.path / LOCK_FILE).open() as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    return stream.read().strip() or "unknown"
        except OSError:
            pass
        return ""

    def read_state(self) -> tuple[State, str]:
        """The state, and a sentence about what had to be done to get it ("" where nothing had).

        Raises
        ------
        ResumeError
            If there is no state, or it is damaged and so are the checkpoints.
        """
        self.store.recover(self.path)
        path = self.path / STATE_FILE
        if not path.is_file():
            fallback = self.newest_checkpoint()
            if fallback is None:
                raise _no_state(self.path)
            return fallback.state, f"{path} was missing: {_used(fallback)}"
        try:
            return parse_document(path.read_bytes(), where=str(path)), ""
        except (InputError, ResumeError) as error:
            fallback = self.newest_checkpoint()
            if fallback is None:
                raise ResumeError(
                    f"the state is damaged and no checkpoint is left ({error})",
                    where=str(path),
                    next=f"The clusters are in the FASTA files: `cytopipe decompose rebuild {self.path} "
                    "--input INPUT.fasta` writes a new state from them.",
                ) from error
            return fallback.state, f"{path} is damaged ({error}): {_used(fallback)}"

    def newest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that describes the files as they are; else the newest one there is.

        A checkpoint is written before its files, so after a kill the newest may be one ahead of them.
        """
        if not any((self.path / f".{stage.asset}.manifest.json").exists() for stage in STAGES):
            return None  # killed before the first commit: there is nothing yet that they describe
        checkpoints = self.checkpoints.newest_first()
        for one in checkpoints:
            with contextlib.suppress(StorageError):
                manifest = self.store.manifest(self.path, one.stage.asset)
                if _partition_in(manifest, one.stage) == one.partition:
                    one.state.entry(one.stage).files_digest = manifest.sha256
                    return one
        return checkpoints[0] if checkpoints else None

    def read(self, stage: Stage, records: Mapping[str, FastaRecord]) -> Reading:
        """The files of a stage as they are now, against what was last written."""
        return read_stage(self.path, stage, records, self.written(stage), self._bytes(stage))

    def _bytes(self, stage: Stage) -> SetState | None:
        """What the manifest says of the files, byte by byte; None where it is damaged itself."""
        try:
            return self.store.classify_set(self.path, stage.asset)
        except DamagedError:
            return None

    def written(self, stage: Stage) -> Partition | None:
        """What the files of a stage held when they were last written or accepted; None if unknown."""
        with contextlib.suppress(StorageError):
            return _partition_in(self.store.manifest(self.path, stage.asset), stage)
        for one in self.checkpoints.newest_first():
            if one.stage == stage:
                return one.partition
        return None

    def digest(self, stage: Stage) -> str:
        """Digest over the names and bytes of a stage's files as they are now; "" where there are none."""
        paths = [path for path in self.path.iterdir() if stage.owns(path.name) and path.is_file()]
        return digest_of_files({path.name: path.read_bytes() for path in paths}) if paths else ""

    def commit(
        self,
        clusters: Clustering,
        reason: str,
        provenance: Provenance,
        *,
        previous: Partition | None = None,
        point: bool = False,
    ) -> tuple[State, Checkpoint]:
        """Publish the clusters of a stage, the state beside them, in one transaction.

        Parameters
        ----------
        previous : Partition, optional
            What the files hold now: files it shares are kept without being written again.
        point : bool
            Whether to keep the checkpoint as one to roll back to.

        Returns
        -------
        state : State
            As written, with its time and the digest of the files.
        checkpoint : Checkpoint
        """
        state = clusters.state.model_copy(deep=True)
        state.stage = clusters.stage.name
        state.entry(clusters.stage).files_digest = ""
        unchanged = self._unchanged(clusters.partition, previous)
        clusters = replace(clusters, state=state, unchanged=unchanged, keeps_later=False)
        checkpoint = self.checkpoints.save(state, clusters.partition, reason, point=point)
        place = Place("", clusters.stage.asset)
        receipt = self.archive.put(place, CLUSTERS_UNDER_LOCK, clusters, provenance)
        return clusters.published(receipt.version, provenance.as_json()).state, checkpoint

    def _unchanged(self, partition: Partition, previous: Partition | None) -> frozenset[str]:
        """The files that are published as they shall be."""
        if previous is None or previous.stage is not partition.stage:
            return frozenset()
        held, same = self.store.manifest(self.path, partition.stage.asset).files, previous.ids_by_file()
        named = partition.ids_by_file().items()
        return frozenset(file for file, ids in named if file in held and same.get(file) == ids)

    def save_state(self, state: State) -> State:
        """Write the state alone, where no file of a stage changes."""
        state = state.model_copy(deep=True)
        state.metadata.last_checkpoint = now()
        self.store.publish_bytes(self.path / STATE_FILE, format_document(state))
        return state

    def accept(self, stage: Stage, provenance: Provenance) -> None:
        """Make a hand edit the published version of a stage's files, as the person wrote them."""
        self.store.accept_set(self.path, stage.asset, provenance, owns=stage.patterns)

    def accept_whatever(self, stage: Stage) -> None:
        """Accept the files of a stage, damaged ones and all, because they are about to be replaced or were
        read and found good by other means than their manifest."""
        try:
            self.accept(stage, Provenance(what="files as they were found"))
        except DamagedError:
            self.set_aside(stage)

    def set_aside(self, stage: Stage) -> None:
        """Move the files of a stage that are not as they were written into ``set_aside/``."""
        try:
            differing = {file.name for file in self.store.classify_set(self.path, stage.asset).differing}
        except DamagedError:
            differing = {path.name for path in self.path.iterdir() if stage.owns(path.name)}
        for name in sorted(differing):
            if (self.path / name).exists() or (self.path / name).is_symlink():
                folder = self.path / SET_ASIDE_FOLDER / now().replace(":", "")
                folder.mkdir(parents=True, exist_ok=True)
                (self.path / name).replace(folder / name)
        self.store.accept_set(
            self.path, stage.asset, Provenance(what="files as they were found"), owns=stage.patterns
        )

    def recover_if_possible(self) -> None:
        """Finish what a killed writer began, unless its journal is damaged too."""
        with contextlib.suppress(StorageError):
            self.store.recover(self.path)

    def report(self, stage: Stage) -> Report | None:
        """The report of a stage; None where there is none, or it is damaged."""
        try:
            return self.archive.get(_report_of(stage), REPORT)
        except CytopipeError:
            return None

    def publish_report(self, stage: Stage, report: Report, provenance: Provenance) -> None:
        """Publish the report of a stage; an edit of it is not kept, since it is made from the stage."""
        self.archive.put(_report_of(stage), REPORT, report, provenance)

    def remove_stage(self, stage: Stage, provenance: Provenance) -> None:
        """Remove the files and the report of a stage; refused if they were edited by hand."""
        if stage in self.stages_on_disk():
            self.store.publish_set(self.path, stage.asset, {}, owns=stage.patterns, provenance=provenance)
        if (self.path / REPORT_FOLDER / stage.asset).is_dir():
            shutil.rmtree(self.path / REPORT_FOLDER / stage.asset)

    def remove_caches(self, *, search: bool = True, distances: bool = True) -> None:
        """Remove what can be computed again: the search database and the distances."""
        for wanted, name in ((search, SEARCH_FOLDER), (distances, DISTANCE_FOLDER)):
            if wanted and (self.path / name).is_dir():
                shutil.rmtree(self.path / name)

    def stages_on_disk(self) -> list[Stage]:
        """The stages that have files here, whatever the state says."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return [stage for stage in STAGES if any(map(stage.owns, names))]


def _no_state(path: Path) -> ResumeError:
    return ResumeError(
        "there is no decomposition here" if path.is_dir() else "there is no such directory",
        where=str(path),
        expected=f"a directory with {STATE_FILE}",
        next="Start one with `cytopipe decompose INPUT.fasta -o DIR`, or write a state from FASTA files "
        "with `cytopipe decompose rebuild DIR --input INPUT.fasta`.",
    )


def _used(checkpoint: Checkpoint) -> str:
    return f"going on from the checkpoint of {checkpoint.time} ({checkpoint.reason})"


def _partition_in(manifest: Manifest, stage: Stage) -> Partition:
    """What the files of a stage held when they were published."""
    ids = {file: list(entry.records or ()) for file, entry in manifest.files.items()}
    return Partition.from_ids_by_file(stage, ids)


def _report_of(stage: Stage) -> Place:
    return Place(f"{REPORT_FOLDER}/{stage.asset}", "report")
