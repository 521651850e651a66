"""The command line: help, plans, what it says and where, and real data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe_tests.decompose_run.directory import clusters_in, contents


def test_help_names_every_verb_and_imports_nothing_heavy(cytopipe) -> None:
    done = cytopipe("decompose", "--help")
    assert done.returncode == 0
    for word in ("INPUT.fasta", "--resume DIR", "rollback", "restore", "rebuild", "Examples:", "--dry-run"):
        assert word in done.stdout
    heavy = "numba", "scipy", "pandas", "matplotlib", "dagster", "sklearn"
    code = f"import sys, cytopipe.commands.decompose; print([one for one in {heavy} if one in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(fasta: Path, tmp_path: Path, cytopipe) -> None:
    done = cytopipe("decompose", fasta, "--dry-run", "--finalize", "--cleanup")
    assert done.returncode == 0, done.stderr
    for word in ("30 records", "initial clustering", "conflict resolution", "finalize and clean up", "MiB"):
        assert word in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [fasta.name]
    assert cytopipe("decompose", fasta, "-q", "--no-report").returncode == 0
    before = contents(tmp_path / "decompose_output")
    left = cytopipe("decompose", "--resume", "decompose_output", "--finalize", "--dry-run")
    assert "step       finalize" in left.stdout and "initial clustering" not in left.stdout
    assert contents(tmp_path / "decompose_output") == before


def test_a_plain_run_resolves_and_refines_and_says_what_comes_next(
    fasta: Path, tmp_path: Path, cytopipe
) -> None:
    done = cytopipe("decompose", fasta, "--neighbours", "kmer")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "decompose_output"
    assert "refined: 6 clusters of 30 records, 0 unassigned" in done.stdout
    assert f"--resume {run} --finalize" in done.stdout
    assert "initial clustering: records: 30 of 30" in done.stderr
    assert len(clusters_in(run, "refined")) == 6
    quiet = cytopipe("decompose", "--resume", run, "--finalize", "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    again = cytopipe("decompose", "--resume", run)
    assert "(nothing was left to do)" in again.stdout


def test_typed_again_the_same_command_goes_on_and_another_is_refused(
    fasta: Path, tmp_path: Path, cytopipe
) -> None:
    command = ("decompose", fasta, "-o", "run", "--no-report", "--neighbours", "kmer")
    assert cytopipe(*command).returncode == 0
    again = cytopipe(*command)
    assert again.returncode == 0 and "nothing was left to do" in again.stdout
    other = cytopipe(*command, "--refine-close-clusters", "0.04")
    assert other.returncode == 2 and "asked for other steps" in other.stderr


def test_status_and_edits_tell_what_a_person_did(fasta: Path, tmp_path: Path, cytopipe) -> None:
    assert cytopipe("decompose", fasta, "-o", "run", "--no-report", "-q").returncode == 0
    run = tmp_path / "run"
    text = (run / "refined.cluster_0001.fasta").read_text()
    (run / "refined.cluster_0001.fasta").write_text(text.split(">", 2)[0] + ">" + text.split(">", 2)[2])
    status = cytopipe("decompose", "status", run)
    assert "by hand    edited" in status.stdout and "(deleted)" in status.stdout
    assert "point      0001-initial" in status.stdout
    assert "refined: edited" in cytopipe("decompose", "edits", run).stdout
    assert cytopipe("decompose", "verify", run).returncode == 3


def test_edits_says_what_follows_from_an_edit_of_an_earlier_stage(
    fasta: Path, tmp_path: Path, cytopipe
) -> None:
    run, plain = tmp_path / "run", ("--no-report", "-q")
    assert cytopipe("decompose", fasta, "-o", run, "--finalize", *plain).returncode == 0
    before = clusters_in(run, "final")
    one, two = run / "refined.cluster_0001.fasta", run / "refined.cluster_0002.fasta"
    one.write_text(one.read_text() + two.read_text())
    two.unlink()
    said = cytopipe("decompose", "edits", run).stdout
    assert said.startswith("final: whole\nrefined: edited\n"), said
    assert f"final was made before that: `cytopipe decompose --resume {run}`" in said
    assert "refined: edited" in cytopipe("decompose", "status", run).stdout
    assert cytopipe("decompose", "--resume", run, *plain).returncode == 0
    assert len(clusters_in(run, "final")) == len(before) - 1
    assert cytopipe("decompose", "edits", run).stdout == "final: whole\n"


def test_the_hash_seed_does_not_matter(fasta: Path, tmp_path: Path, cytopipe) -> None:
    for seed in ("0", "1"):
        done = cytopipe("decompose", fasta, "-o", f"run{seed}", "--finalize", "-q", PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "run0") == contents(tmp_path / "run1")


def test_the_number_of_workers_does_not_matter(fasta: Path, tmp_path: Path, cytopipe) -> None:
    for engine in ("serial", "local:2"):
        name = engine.partition(":")[0]
        done = cytopipe("decompose", fasta, "-o", name, "--engine", engine, "--finalize", "-q", "--no-report")
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "serial") == contents(tmp_path / "local")


def test_a_missing_blast_is_told_with_exit_code_4(fasta: Path, tmp_path: Path, cytopipe) -> None:
    done = cytopipe(
        "decompose", fasta, "-o", "run", "--neighbours", "blast", PATH=str(Path(sys.executable).parent)
    )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists(), "nothing was begun"


@pytest.mark.parametrize("name", ["russula_diverse_50", "russula_diverse_100", "collybia_nuda_test"])
def test_real_barcodes_are_clustered_and_conserved(
    real_data: Path, tmp_path: Path, cytopipe, name: str
) -> None:
    fasta = real_data / "decompose" / f"{name}.fasta"
    done = cytopipe("decompose", fasta, "-o", "run", "--finalize", "--neighbours", "kmer", "-q")
    assert done.returncode == 0, done.stderr
    held = sorted(record for ids in clusters_in(tmp_path / "run", "final").values() for record in ids)
    wanted = sorted(line[1:].split()[0] for line in fasta.read_text().splitlines() if line.startswith(">"))
    assert held == wanted
    if name.startswith("russula"):
        seen = cytopipe("decompose", "compare", "run", fasta)
        index = float(next(line for line in seen.stdout.splitlines() if "rand" in line).split("\t")[1])
        assert index > 0.9
