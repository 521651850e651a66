"""The stages as functions of values: they publish nothing, can be stopped, and are read as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytopipe.decompose.checkpoints import Kept
from cytopipe.decompose.clustering import Clustering
from cytopipe.decompose.formats import CLUSTERS, REPORT
from cytopipe.decompose.parameters import Parameters
from cytopipe.decompose.reports import Truth, report
from cytopipe.decompose.stages import begun, deconflicted, final, initial_clusters, refined
from cytopipe.decompose.workspace import SequenceFile, Work
from cytopipe.errors import CytopipeError, Interrupted, ParameterError
from cytopipe.storage.archive import Archive, Place
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta

KMER = Parameters(neighbours="kmer")


@pytest.fixture
def sequences(tmp_path: Path) -> SequenceFile:
    """Six species of five records each."""
    return SequenceFile.read(write_fasta(tmp_path / "barcodes.fasta", make_barcodes()))


def through(sequences: SequenceFile, work: Work) -> dict[str, Clustering]:
    """The clusters of every stage."""
    initial = initial_clusters(sequences, begun(sequences, KMER), work)
    disjoint = deconflicted(sequences, initial, work)
    close = refined(sequences, disjoint, (0.02, 0.03), work)
    return {one.stage.asset: one for one in (initial, disjoint, close, final(sequences, close, work))}


def test_the_stages_write_nothing_but_their_cache(sequences: SequenceFile, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    stages = through(sequences, Work(cache=tmp_path / "cache"))
    assert list(stages) == ["initial", "deconflicted", "refined", "final"]
    assert all(one.partition.n_clusters == 6 for one in stages.values())
    report(sequences, stages["final"], Work(cache=tmp_path / "cache"))
    assert {path.name for path in tmp_path.iterdir()} == before | {"cache"}
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {".distances", ".staging"}


def test_a_stage_says_what_it_was_made_from(sequences: SequenceFile, tmp_path: Path) -> None:
    stages = through(sequences, Work(cache=tmp_path / "cache"))
    entries = stages["final"].state.stages
    assert entries.conflict_resolution.source_digest == stages["initial"].files_digest
    assert entries.close_cluster_refinement.source_digest == stages["deconflicted"].files_digest
    assert entries.finalized.source_digest == stages["refined"].files_digest
    assert [one.threshold for one in entries.close_cluster_refinement.refinement_history] == [0.02, 0.03]


def test_clusters_are_read_back_as_they_were_written(sequences: SequenceFile, tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    for stage, clusters in through(sequences, Work(cache=tmp_path / "cache")).items():
        place = Place("meadow", stage)
        receipt = archive.put(place, CLUSTERS, clusters)
        found = archive.get(place, CLUSTERS)
        assert found.partition == clusters.partition
        assert {one: record.sequence for one, record in found.records.items()} == {
            one: record.sequence for one, record in clusters.records.items()
        }
        assert found.files_digest == receipt.version == clusters.files_digest
        assert archive.put(place, CLUSTERS, found).version == receipt.version
    assert archive.store.verify() == []


def test_a_report_is_read_back_as_it_was_written(sequences: SequenceFile, tmp_path: Path) -> None:
    work = Work(cache=tmp_path / "cache")
    clusters = through(sequences, work)["final"]
    truth = Truth("0" * 64, {one: one[:4] for one in sequences.records})
    made = report(sequences, clusters, work, truth=truth)
    assert made.summary["adjusted_rand_index"] == 1.0
    assert made.is_of(clusters.files_digest, truth) and not made.is_of("other")
    archive = Archive(tmp_path / "archive")
    archive.put(Place("meadow/report", "report"), REPORT, made)
    assert archive.get(Place("meadow/report", "report"), REPORT).files == made.files


@pytest.mark.parametrize("asked_at", range(1, 6))
def test_stopped_after_any_iteration_the_clusters_that_were_kept_lead_to_the_same(
    sequences: SequenceFile, tmp_path: Path, asked_at: int
) -> None:
    whole = initial_clusters(sequences, begun(sequences, KMER), Work(cache=tmp_path / "cache"))
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == asked_at

    (tmp_path / "scratch").mkdir()
    kept = Kept(tmp_path / "scratch", sequences)
    with pytest.raises(Interrupted, match=f"stopped after {asked_at} iterations"):
        initial_clusters(
            sequences, begun(sequences, KMER), Work(cache=tmp_path / "cache", stop=stop), keep=kept.save
        )
    start = Kept(tmp_path / "scratch", sequences).newest()
    assert start is not None and start.partition.n_clusters == asked_at
    again = initial_clusters(sequences, start, Work(cache=tmp_path / "cache"))
    assert again.partition == whole.partition
    assert again.state.stages == whole.state.stages


def test_a_refinement_goes_on_after_the_thresholds_that_are_made(
    sequences: SequenceFile, tmp_path: Path
) -> None:
    work = Work(cache=tmp_path / "cache")
    disjoint = through(sequences, work)["deconflicted"]
    kept: list[Clustering] = []
    whole = refined(sequences, disjoint, (0.02, 0.03), work, keep=lambda one, why: kept.append(one))
    assert len(kept) == 2
    assert refined(sequences, kept[0], (0.02, 0.03), work).partition == whole.partition
    assert refined(sequences, whole, (0.02, 0.03), work) is whole
    with pytest.raises(ParameterError, match="were refined with other thresholds"):
        refined(sequences, whole, (0.01,), work)


def test_in_directed_mode_only_targets_are_grown(sequences: SequenceFile, tmp_path: Path) -> None:
    chosen = [one for one in make_barcodes() if one[0].startswith("sp03")][:1]
    targets = SequenceFile.read(write_fasta(tmp_path / "targets.fasta", chosen))
    start = begun(sequences, KMER, targets=targets)
    found = initial_clusters(sequences, start, Work(cache=tmp_path / "cache"), targets=targets)
    assert {one[:4] for members in found.partition.clusters.values() for one in members} == {"sp03"}
    assert len(found.partition.unassigned) == 25


def test_a_record_that_no_file_holds_is_told_by_the_next_stage(
    sequences: SequenceFile, tmp_path: Path
) -> None:
    work = Work(cache=tmp_path / "cache")
    initial = through(sequences, work)["initial"]
    gone = next(records[0].id for records in sequences.unique().records if len(records) == 1)
    broken = Clustering(initial.partition.without([gone]), initial.records, initial.state)
    with pytest.raises(CytopipeError, match=f"record '{gone}' is in no file"):
        deconflicted(sequences, broken, work)
