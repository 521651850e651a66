"""Every invalid attempt gets one clear message, an exit code, and leaves the directory as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytopipe.decompose import Decomposition, rebuild, restore
from cytopipe.decompose.layout import STATE_FILE
from cytopipe.errors import ResumeError
from cytopipe_tests.decompose_run.directory import clusters_in, contents
from cytopipe_tests.decompose_run.killing import KMER


@pytest.fixture
def run(fasta: Path, tmp_path: Path) -> Path:
    """Half an initial clustering: three of six clusters, several checkpoints."""
    found = Decomposition.create(tmp_path / "run", fasta, KMER, max_clusters=3)
    found.advance("initial", checkpoint_interval=1, report=False)
    return tmp_path / "run"


def snapshot(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage"),
        (("-q",), "there is nothing to decompose"),
        (("absent.fasta",), "the sequences cannot be read"),
        (("{fasta}", "--resume", "a", "-o", "b"), "--resume and --output name different directories"),
        (("{fasta}", "--cleanup"), "--cleanup needs --finalize"),
        (("{fasta}", "--force-input-change"), "--force-input-change needs --resume"),
        (
            ("{fasta}", "--max-clusters", "-3"),
            "--max-clusters: is not usable; expected a whole",
        ),
        (
            ("{fasta}", "--refine-close-clusters", "7"),
            "--refine-close-clusters: is not usable; expected",
        ),
        (("{fasta}", "--min-split", "0.5"), "min_split exceeds max_lump"),
        (("{fasta}", "--engine", "abacus"), "no such engine"),
        (("{fasta}", "--targets", "absent.fasta"), "the sequences cannot be read"),
        (("{fasta}", "--distances", "absent.tsv"), "the distances cannot be read"),
        (("--resume", "nowhere"), "there is no such directory"),
        (("--resume", "."), "there is no decomposition here"),
        (("{fasta}", "-o", "{fasta}"), "the output directory is a file"),
        (("status", "nowhere"), "there is no such directory"),
        (("rollback", "nowhere", "--to", "initial"), "there is no such directory"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(
    fasta: Path, tmp_path: Path, cytopipe, arguments: tuple[str, ...], said: str
) -> None:
    done = cytopipe("decompose", *(one.format(fasta=fasta) for one in arguments))
    assert done.returncode == 2 or not arguments
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"barcodes.fasta", ".staging"}


def test_all_contradictions_of_a_command_are_told_at_once(fasta: Path, cytopipe) -> None:
    done = cytopipe("decompose", fasta, "--cleanup", "--max-clusters", "-1", "--refine-close-clusters", "9")
    assert done.stderr.startswith("cytopipe: 3 problems")


def test_a_directory_that_holds_a_decomposition_is_not_begun_again(run: Path, fasta: Path, cytopipe) -> None:
    before = snapshot(run)
    done = cytopipe("decompose", fasta, "-o", run, "--max-lump", "0.03")
    assert done.returncode == 2
    assert "max_lump" in done.stderr and f"--resume {run}" in done.stderr
    assert snapshot(run) == before


def test_stage_files_of_unknown_origin_are_not_overwritten(fasta: Path, tmp_path: Path, cytopipe) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "cluster_001.fasta").write_text(">a\nACGT\n")
    done = cytopipe("decompose", fasta, "-o", "dir")
    assert done.returncode == 2
    assert "stage files without a state" in done.stderr and "rebuild" in done.stderr
    assert (tmp_path / "dir" / "cluster_001.fasta").read_text() == ">a\nACGT\n"


def test_the_input_must_be_there_and_can_be_named_anew(run: Path, fasta: Path, tmp_path: Path) -> None:
    moved = fasta.rename(tmp_path / "moved.fasta")
    with pytest.raises(ResumeError, match=r"the input is not there any more.*Put it back, or name it"):
        Decomposition.open(run)
    result = Decomposition.open(run, fasta=moved).advance("initial", max_clusters=0, report=False)
    assert result.n_clusters == 6
    assert Decomposition.open(run).state.input.fasta_path == str(moved)


def test_a_missing_file_and_a_changed_parameter_are_told_together(run: Path) -> None:
    (run / "initial.cluster_0002.fasta").unlink()
    with pytest.raises(ResumeError) as caught:
        Decomposition.open(run, parameters={"min_split": 0.001})
    assert "initial.cluster_0002.fasta: stage file is missing" in str(caught.value)
    assert "min_split may not change" in str(caught.value)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\x00" * 100, b'{"version": "1.0"}', b'{"version": "9.9"}', None]
)
def test_with_a_damaged_state_the_checkpoint_is_used_and_the_result_is_the_same(
    run: Path, fasta: Path, tmp_path: Path, damage: bytes | None
) -> None:
    if damage is None:
        (run / STATE_FILE).unlink()
    else:
        (run / STATE_FILE).write_bytes(damage)
    found = Decomposition.open(run)
    assert any("going on from the checkpoint" in message for message in found.messages)
    found.advance("final", max_clusters=0, report=False)
    Decomposition.create(tmp_path / "whole", fasta, KMER).advance("final", report=False)
    assert contents(run) == contents(tmp_path / "whole")
    assert found.verify() == []


def test_with_the_newest_checkpoint_damaged_too_the_previous_one_is_used(run: Path, cytopipe) -> None:
    slots = sorted((run / ".checkpoints").glob("checkpoint-?.json"), key=lambda path: path.stat().st_mtime_ns)
    slots[-1].write_bytes(slots[-1].read_bytes().replace(b"sp01", b"sp99"))
    (run / STATE_FILE).write_bytes(b"garbage")
    done = cytopipe("decompose", "--resume", run, "--max-clusters", "0", "--no-report")
    assert done.returncode == 0, done.stderr
    assert "is damaged" in done.stderr and "going on from the checkpoint" in done.stderr
    assert len(clusters_in(run, "initial")) == 6


def test_with_no_checkpoint_left_the_refusal_says_how_to_rebuild(run: Path, fasta: Path, cytopipe) -> None:
    (run / STATE_FILE).write_bytes(b"garbage")
    for path in (run / ".checkpoints").iterdir():
        path.write_bytes(b"garbage")
    refused = cytopipe("decompose", "--resume", run)
    assert refused.returncode == 2
    assert f"cytopipe decompose rebuild {run} --input INPUT.fasta" in refused.stderr
    held = clusters_in(run, "initial")
    rebuilt = cytopipe("decompose", "rebuild", run, "--input", fasta, "--neighbours", "kmer")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert clusters_in(run, "initial") == held
    done = cytopipe("decompose", "--resume", run, "--no-report")
    assert done.returncode == 0, done.stderr
    assert len(clusters_in(run, "initial")) == 6


def test_rebuild_without_stage_files_is_refused(fasta: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResumeError, match="there are no stage files to rebuild from"):
        rebuild(tmp_path / "empty", fasta)


def test_restore_writes_what_the_last_checkpoint_held_and_throws_nothing_away(run: Path) -> None:
    before = {name: data for name, data in snapshot(run).items() if name.endswith(".fasta")}
    (run / "initial.cluster_0001.fasta").unlink()
    (run / "initial.cluster_0002.fasta").write_bytes(b"\x00 damaged")
    (run / "initial.cluster_0009.fasta").write_text(">mine\nACGT\n")
    restore(run)
    assert {name: data for name, data in snapshot(run).items() if name.endswith(".fasta")} == before
    aside = {path.name for path in (run / "set_aside").rglob("*.fasta")}
    assert aside == {"initial.cluster_0002.fasta", "initial.cluster_0009.fasta"}


def test_a_journal_that_a_killed_writer_left_is_finished_first(run: Path) -> None:
    """The directory is opened by storage's own recovery before anything is read."""
    found = Decomposition.open(run)
    assert not (run / ".cytopipe-journal.json").exists()
    assert found.verify() == []


def test_hostile_sequences_are_refused_with_every_line(tmp_path: Path, cytopipe) -> None:
    bad = tmp_path / "bad.fasta"
    bad.write_bytes(b">a\nACGT\n>a\nACGT\n>b\nAC1GT\n>\nACGT\n>c\n>d\nAC-GT\n")
    done = cytopipe("decompose", bad)
    assert done.returncode == 2
    for line in (3, 6, 7, 9):
        assert f"bad.fasta:{line}:" in done.stderr
    assert not (tmp_path / "decompose_output").exists()
