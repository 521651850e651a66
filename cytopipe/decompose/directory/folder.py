"""The directory of a decomposition on disk: one writer at a time, every change one transaction.

Stage files and state.json are committed together, after the checkpoint they could be written again from.
Whoever opens the directory first finishes what a killed writer began.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Mapping
from pathlib import Path

from cytopipe.decompose.checkpoints import Checkpoint, Checkpoints
from cytopipe.decompose.formats import REPORT, alone_in
from cytopipe.decompose.hand_edits import Edits, read_stage
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
from cytopipe.decompose.partition import Partition, partition_in
from cytopipe.decompose.reports import Report
from cytopipe.decompose.state import State, format_document, now, parse_document
from cytopipe.errors import CytopipeError, DamagedError, InputError, ResumeError, StorageError
from cytopipe.provenance import Provenance
from cytopipe.storage import SetState
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.fasta import FastaRecord
from cytopipe.storage.manifest import digest_of_files

__all__ = ["Folder"]

_AS_FOUND = Provenance(what="files as they were found")


class Folder:
    """One directory; created when something is first written."""

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

    # ------------------------------------------------------------------ read

    def recover_if_possible(self) -> None:
        """Finish what a killed writer began, unless its journal is damaged too."""
        with contextlib.suppress(StorageError):
            self.store.recover(self.path)

    def read_state(self) -> tuple[State, str]:
        """The state, and a sentence about what had to be done to get it ("" where nothing had).

        Raises
        ------
        ResumeError
            If there is no state, or it is damaged and so are the checkpoints.
        """
        self.store.recover(self.path)
        path = self.path / STATE_FILE
        try:
            return parse_document(path.read_bytes(), where=str(path)), ""
        except (FileNotFoundError, IsADirectoryError):
            said = f"{path} was missing"
            refusal = ResumeError(
                "there is no decomposition here",
                where=str(self.path),
                expected=f"a directory with {STATE_FILE}",
                next="Start one with `cytopipe decompose INPUT.fasta -o DIR`, or write a state from FASTA "
                "files with `cytopipe decompose rebuild DIR --input INPUT.fasta`.",
            )
        except (InputError, ResumeError) as error:
            said = f"{path} is damaged ({error})"
            refusal = ResumeError(
                f"the state is damaged and no checkpoint is left ({error})",
                where=str(path),
                next=f"The clusters are in the FASTA files: `cytopipe decompose rebuild {self.path} "
                "--input INPUT.fasta` writes a new state from them.",
            )
        checkpoint = self.newest_checkpoint()
        if checkpoint is None:
            raise refusal
        how = f"going on from the checkpoint of {checkpoint.time} ({checkpoint.reason})"
        return checkpoint.state, f"{said}: {how}"

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
                if partition_in(manifest, one.stage) == one.partition:
                    one.state.entry(one.stage).files_digest = manifest.sha256
                    return one
        return checkpoints[0] if checkpoints else None

    def read(self, stage: Stage, records: Mapping[str, FastaRecord]) -> Edits:
        """The files of a stage as they are now, against what was last written."""
        written = self.written(stage)
        with contextlib.suppress(DamagedError):
            found = self.store.classify_set(self.path, stage.asset)
            if found.manifest is not None:
                return read_stage(self.path, stage, found, records, written)
        return read_stage(self.path, stage, self.files_of(stage), records, written)

    def files_of(self, stage: Stage) -> SetState:
        """The files of a stage, whatever their manifest says of them."""
        return self.store.classify_set(self.path, stage.asset, owns=stage.patterns)

    def written(self, stage: Stage) -> Partition | None:
        """What the files of a stage held when they were last written or accepted; None if unknown."""
        with contextlib.suppress(StorageError):
            return partition_in(self.store.manifest(self.path, stage.asset), stage)
        return next((one.partition for one in self.checkpoints.newest_first() if one.stage == stage), None)

    def digest(self, stage: Stage) -> str:
        """Digest over the names and bytes of a stage's files as they are now; "" where there are none."""
        paths = [path for path in self.path.iterdir() if stage.owns(path.name) and path.is_file()]
        return digest_of_files({path.name: path.read_bytes() for path in paths}) if paths else ""

    def stages_on_disk(self) -> list[Stage]:
        """The stages that have files here, whatever the state says."""
        names = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        return [stage for stage in STAGES if any(map(stage.owns, names))]

    def report(self, stage: Stage) -> Report | None:
        """The report of a stage; None where there is none, or it is damaged."""
        try:
            return self.archive.get(_report_of(stage), REPORT)
        except CytopipeError:
            return None

    # ------------------------------------------------------------------ write

    def unchanged(self, partition: Partition) -> frozenset[str]:
        """The files that are published with just the records they shall hold."""
        with contextlib.suppress(StorageError):
            held = self.store.manifest(self.path, partition.stage.asset).files
            named = partition.ids_by_file().items()
            return frozenset(file for file, ids in named if file in held and held[file].ids() == ids)
        return frozenset()

    def save_state(self, state: State) -> State:
        """Write the state alone, where no file of a stage changes."""
        state = state.model_copy(deep=True)
        state.metadata.last_checkpoint = now()
        self.store.publish_bytes(self.path / STATE_FILE, format_document(state))
        return state

    def publish_report(self, stage: Stage, report: Report, provenance: Provenance) -> None:
        """Publish the report of a stage; an edit of it is not kept, since it is made from the stage."""
        self.archive.put(_report_of(stage), REPORT, report, provenance)

    # ------------------------------------------------------------------ what a person did

    def accept(self, stage: Stage, provenance: Provenance = _AS_FOUND) -> None:
        """Make a hand edit the published version of a stage's files, as the person wrote them."""
        self.store.accept_set(self.path, stage.asset, provenance, owns=stage.patterns)

    def accept_whatever(self, stage: Stage) -> None:
        """Accept the files of a stage, damaged ones and all, because they are about to be replaced or were
        read and found good by other means than their manifest."""
        try:
            self.accept(stage)
        except DamagedError:
            self.set_aside(stage)

    def set_aside(self, stage: Stage) -> None:
        """Move the files of a stage that are not as they were written into ``set_aside/``."""
        try:
            found = self.store.classify_set(self.path, stage.asset)
        except DamagedError:
            found = self.files_of(stage)
        for file in found.differing:
            if file.kind != "removed":
                folder = self.path / SET_ASIDE_FOLDER / now().replace(":", "")
                folder.mkdir(parents=True, exist_ok=True)
                (self.path / file.name).replace(folder / file.name)
        self.accept(stage)

    # ------------------------------------------------------------------ remove

    def remove_stage(self, stage: Stage, provenance: Provenance) -> None:
        """Remove the files and the report of a stage; refused if they were edited by hand."""
        if stage in self.stages_on_disk():
            self.store.publish_set(self.path, stage.asset, {}, owns=stage.patterns, provenance=provenance)
        if (self.path / REPORT_FOLDER / stage.asset).is_dir():
            shutil.rmtree(self.path / REPORT_FOLDER / stage.asset)

    def remove_caches(self, *, distances: bool = True) -> None:
        """Remove what can be computed again: the search database and the distances."""
        for folder in (self.path / SEARCH_FOLDER, *([self.path / DISTANCE_FOLDER] if distances else [])):
            if folder.is_dir():
                shutil.rmtree(folder)


def _report_of(stage: Stage) -> Place:
    return Place(f"{REPORT_FOLDER}/{stage.asset}", "report")
