"""A decomposition from one end to the other: the files of every stage, and what they must hold."""

from __future__ import annotations

from pathlib import Path

from cytopipe.decompose import Decomposition, Parameters
from cytopipe.decompose.layout import STAGES
from cytopipe.storage.fasta import read_fasta

KMER = Parameters(neighbours="kmer")


def ids_in(directory: Path, pattern: str) -> list[str]:
    return [one.id for path in sorted(directory.glob(pattern)) for one in read_fasta(path, allow_empty=True)]


def test_every_stage_holds_every_record_exactly_once(fasta: Path, tmp_path: Path) -> None:
    wanted = sorted(one.id for one in read_fasta(fasta))
    found = Decomposition.create(tmp_path / "run", fasta, KMER)
    for stage in STAGES:
        result = found.advance(stage.asset, report=False)
        held = ids_in(tmp_path / "run", stage.cluster_file_pattern)
        held += ids_in(tmp_path / "run", stage.unassigned_file)
        assert sorted(held) == wanted, f"stage {stage.asset}"
        assert result.n_clusters == 6
        assert not result.resumed
    assert found.state.status == "completed"
    assert found.verify() == []


def test_adopting_a_finished_directory_does_nothing_again(fasta: Path, tmp_path: Path) -> None:
    first = Decomposition.adopt(tmp_path / "run", fasta, KMER).advance("final")
    again = Decomposition.adopt(tmp_path / "run", fasta, KMER).advance("final")
    assert again.resumed
    assert again.sha256 == first.sha256
    assert set(again.tables) >= {"records", "clusters", "thresholds", "histogram", "partitions"}
    assert set(again.figures) == {"histogram", "thresholds", "gaps"}
