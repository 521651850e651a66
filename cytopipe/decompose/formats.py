"""The clusters of a stage as flat FASTA files that people may edit, and the files of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.decompose.layout import LOCK_FILE, STATE_FILE, stage_named
from cytopipe.errors import CytopipeError, DamagedError, ResumeError
from cytopipe.storage.filesystem import Sync, lock_file, make_folder
from cytopipe.storage.formats import SetFormat
from cytopipe.storage.formats.fasta_set import FastaSet

if TYPE_CHECKING:
    from cytopipe.decompose.clustering import Clustering
    from cytopipe.decompose.reports import Report
    from cytopipe.storage.edits import SetState
    from cytopipe.storage.manifest import Manifest

__all__ = ["CLUSTERS", "CLUSTERS_UNDER_LOCK", "REPORT", "REPORT_FILES", "alone_in"]

REPORT_FILES = (
    *("records.tsv", "clusters.tsv", "conflicts.tsv", "histogram.tsv", "thresholds.tsv", "partitions.tsv"),
    *("alternatives.tsv", "agreement.tsv", "histogram.png", "thresholds.png", "gaps.png", "summary.json"),
)


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Be the only one who works on a decomposition.

    Raises
    ------
    BusyError
        If another process does.
    """
    make_folder(directory, Sync.FULL)
    with lock_file(directory / LOCK_FILE, "another process works on this decomposition"):
        yield


class Clusters(FastaSet):
    """A file per cluster, one of unassigned records, one of deleted ones; ``state.json`` beside them.

    The name of the set is that of the stage.
    """

    name = "clusters"

    def owns(self, name: str) -> tuple[str, ...]:
        return stage_named(name).patterns

    def files(self, name: str, value: Clustering) -> Mapping[str, bytes | None]:
        return super().files(name, value.files())

    def beside(self, name: str, value: Clustering, manifest: Manifest, folder: Path) -> Mapping[str, bytes]:
        from cytopipe.decompose.state import format_document

        state = value.published(manifest.sha256, manifest.provenance).state
        if value.keeps_later:
            with suppress(CytopipeError):
                state = state.with_later(_state_in(folder))
        return {STATE_FILE: format_document(state), **value.beside}

    def counts(self, value: Clustering) -> Mapping[str, int]:
        partition = value.partition
        found = {
            "n_clusters": partition.n_clusters,
            "n_records": partition.n_clustered,
            "n_unassigned": len(partition.unassigned),
            "n_deleted": len(partition.deleted),
        }
        shared = {"n_in_several_clusters": len(partition.conflicts)} if partition.stage.overlaps else {}
        return found | shared

    def parse(self, name: str, contents: Mapping[str, bytes], folder: Path) -> Clustering:
        from cytopipe.decompose.clustering import Clustering
        from cytopipe.decompose.partition import Partition

        stage, found = stage_named(name), super().parse(name, contents, folder)
        ids = {
            file: [one.id for one in records]
            for file, records in found.items()
            if records or not stage.is_cluster(file)
        }
        records = {one.id: one for some in found.values() for one in some}
        return Clustering(Partition.from_ids_by_file(stage, ids), records, _state_in(folder))

    def alone(self, folder: Path) -> AbstractContextManager[None]:
        """A plain command keeps the state in mind while it works: nobody may change it meanwhile."""
        return alone_in(folder)

    def accepted(self, name: str, found: SetState, folder: Path) -> Mapping[str, bytes]:
        """The files as the person left them; what was taken out is kept in ``<stage>.deleted.fasta``.

        Raises
        ------
        ResumeError
            A record is in several clusters, unknown, or gone together with its file.
        DamagedError
            A sequence is not the one in the input.
        """
        from cytopipe.decompose.hand_edits import read_stage
        from cytopipe.decompose.partition import partition_in
        from cytopipe.decompose.workspace import SequenceFile
        from cytopipe.storage.fasta import format_fasta

        stage, facts = stage_named(name), _state_in(folder).input
        source = SequenceFile.read(folder / facts.fasta_path)
        if source.sha256 != facts.fasta_hash:
            raise ResumeError(
                f"stage {stage.asset} was edited by hand, but its input has changed since",
                where=str(source.path),
                expected=f"sha256 {facts.fasta_hash[:16]}",
                found=f"sha256 {source.sha256[:16]}",
                next="Put the old input back, or undo the edit.",
            )
        written = partition_in(found.manifest, stage)
        partition = read_stage(folder, stage, found, source.records, written).or_raise()
        files = dict(found.contents)
        if partition.deleted:
            files[stage.deleted_file] = format_fasta(source.records[one] for one in partition.deleted)
        else:
            files.pop(stage.deleted_file, None)
        return files


class _UnderLock(Clusters):
    """For a writer who is alone in the directory already."""

    def alone(self, folder: Path) -> AbstractContextManager[None]:
        return nullcontext()


class ReportFiles(SetFormat):
    """Tables for programs, figures for people, ``summary.json`` for both; the set is named ``report``."""

    name = "report"
    kinds = ("table", "figure")
    editable = False

    def owns(self, name: str) -> tuple[str, ...]:
        return REPORT_FILES

    def files(self, name: str, value: Report) -> Mapping[str, bytes]:
        return value.files

    def counts(self, value: Report) -> Mapping[str, int | float]:
        return value.metrics

    def parse(self, name: str, contents: Mapping[str, bytes], folder: Path) -> Report:
        from cytopipe.decompose.reports import Report

        return Report(contents)


def _state_in(folder: Path):
    from cytopipe.decompose.state import parse_document

    path = folder / STATE_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(
            f"the state beside the clusters cannot be read: {error.strerror}",
            where=str(path),
            next=f"Write it again with: cytopipe decompose rebuild {folder} --input INPUT.fasta",
        ) from error
    return parse_document(data, where=str(path))


CLUSTERS = Clusters()
CLUSTERS_UNDER_LOCK = _UnderLock()
REPORT = ReportFiles()
