"""SIGINT and SIGTERM: once saves and exits 130, twice exits at once; either way nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import contents


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Enough species for a run that lasts a while: 60 of 3."""
    return write_fasta(tmp_path / "many.fasta", make_barcodes(60, 3, length_bp=300))


def start(fasta: Path, directory: Path, *options: str, neighbours: str = "kmer") -> subprocess.Popen:
    """A run, in a process group of its own, that has made its second checkpoint."""
    quick = ("--neighbours", neighbours, "--engine", "serial", "--checkpoint-interval", "1", "--no-report")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cytopipe.cli",
            "decompose",
            str(fasta),
            "-o",
            str(directory),
            *quick,
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    deadline = time.monotonic() + 120
    while not any(directory.glob("initial.cluster_0002.fasta")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_saves_and_exits_130_and_the_rest_of_the_one_shot_run_is_done_on_resume(
    many: Path, tmp_path: Path, cytopipe, number: signal.Signals
) -> None:
    process = start(many, tmp_path / "run", "--refine-close-clusters", "0.03", "--finalize")
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert f"{number.name}: finishing this iteration, then saving" in said
    assert "cytopipe decompose --resume" in said
    assert not (tmp_path / "run" / "cluster_001.fasta").exists()

    resumed = cytopipe("decompose", "--resume", tmp_path / "run", "--no-report", "-q")
    assert resumed.returncode == 0, resumed.stderr
    whole = cytopipe(
        *("decompose", many, "-o", tmp_path / "whole", "--neighbours", "kmer", "--no-report", "-q"),
        *("--refine-close-clusters", "0.03", "--finalize"),
    )
    assert whole.returncode == 0, whole.stderr
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_two_signals_end_at_once_with_130_and_the_last_checkpoint_is_whole(
    many: Path, tmp_path: Path, cytopipe
) -> None:
    process = start(many, tmp_path / "run")
    process.send_signal(signal.SIGSTOP)  # so that both arrive before either is looked at
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "stopped at once" in said
    resumed = cytopipe("decompose", "--resume", tmp_path / "run", "--no-report", "-q")
    assert resumed.returncode == 0, resumed.stderr


def test_ctrl_c_reaches_the_search_program_too_and_still_everything_is_saved(
    many: Path, tmp_path: Path
) -> None:
    """A terminal sends SIGINT to the whole process group, blastn included."""
    if shutil.which("blastn") is None:
        pytest.skip("no blastn: BLAST+ is not installed")
    process = start(many, tmp_path / "run", neighbours="blast")
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "failed" not in said


def test_a_second_process_is_told_that_the_directory_is_in_use(many: Path, tmp_path: Path, cytopipe) -> None:
    process = start(many, tmp_path / "run")
    second = cytopipe("decompose", "--resume", tmp_path / "run")
    process.kill()
    process.communicate()
    assert second.returncode == 3, second.stderr
    assert f"another process works on this decomposition; found process {process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
