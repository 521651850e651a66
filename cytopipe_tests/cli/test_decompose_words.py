"""What ``cytopipe decompose`` says when it is mistyped, looks, restores, or has nothing to do."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe_tests.cli.conftest import cytopipe
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    said = cytopipe("decompose", "in.fasta", "-o", "run", "--no-report", "-q", "--finalize", at=tmp_path)
    assert said.code == 0, said
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("word", "meant"), [("rolback", "rollback"), ("staus", "status"), ("verfy", "verify")]
)
def test_a_mistyped_command_is_no_input(tmp_path, word, meant):
    said = cytopipe("decompose", word, "run", at=tmp_path)
    assert (said.code, f"Did you mean '{meant}'?" in said.err) == (2, True), said


def test_a_file_named_nearly_like_a_command_is_an_input(tmp_path):
    write_fasta(tmp_path / "rolback", make_barcodes())
    assert "30 records" in cytopipe("decompose", "rolback", "--dry-run", at=tmp_path).out


def test_verify_says_how_much_it_looked_at(run):
    said = cytopipe("decompose", "verify", "run", at=run.parent)
    assert (said.code, "published files as published (" in said.out) == (0, True), said
    (run / "cluster_001.fasta").write_text(">a\nACGT\n")
    said = cytopipe("decompose", "verify", "run", at=run.parent)
    assert (said.code, "1 difference in " in said.out) == (3, True), said


def test_verify_and_status_beside_a_working_process_say_so(run):
    (run / "cluster_001.fasta").unlink()
    with (run / ".decompose.lock").open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write("4242\n")
        stream.flush()
        status = cytopipe("decompose", "status", "run", at=run.parent)
        verify = cytopipe("decompose", "verify", "run", at=run.parent)
    assert "at work    process 4242" in status.out and "deleted" not in status.out
    assert (verify.code, "process 4242" in verify.err) == (3, True)


def test_restore_says_what_it_restored_and_what_it_set_aside(run):
    assert "nothing had to be set aside" in cytopipe("decompose", "restore", "run", at=run.parent).out
    (run / "cluster_001.fasta").write_text(">a\nACGT\n")
    said = cytopipe("decompose", "restore", "run", at=run.parent).out
    assert "restored as the checkpoint of" in said and "1 file set aside" in said
    (aside,) = [
        line.removeprefix("set aside: ") for line in said.splitlines() if line.startswith("set aside:")
    ]
    assert Path(aside).read_text() == ">a\nACGT\n"


@pytest.mark.parametrize("dry", [["--dry-run"], ["-q"]])
def test_an_unreadable_truth_is_told_before_any_work(tmp_path, dry):
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    (tmp_path / "truth.tsv").write_text("nothing\tof\tuse\n")
    for truth in ("gone.tsv", "truth.tsv"):
        said = cytopipe("decompose", "in.fasta", "-o", "out", "--truth", truth, *dry, at=tmp_path)
        assert (said.code, truth in said.err) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_other_files_in_the_output_folder_are_spoken_of(tmp_path):
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    assert "in.fasta" in cytopipe("decompose", "in.fasta", "-o", ".", "--dry-run", at=tmp_path).out
    said = cytopipe("decompose", "in.fasta", "-o", ".", "--no-report", at=tmp_path)
    assert (said.code, "holds 1 other file (in.fasta): they stay" in said.err) == (0, True), said


def test_another_parameter_is_refused_where_nothing_is_left_to_be_made_with_it(run):
    before = (run / "state.json").read_bytes()
    said = cytopipe("decompose", "--resume", "run", "--max-lump", "5 %", at=run.parent)
    assert (said.code, "--max-lump: nothing is left to be made" in said.err) == (2, True), said
    assert (run / "state.json").read_bytes() == before
    again = cytopipe("decompose", "in.fasta", "-o", "run", "--no-report", "-q", "--finalize", at=run.parent)
    assert again.code == 0, again


def test_the_plain_command_imports_no_dagster_and_no_project_file(tmp_path):
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    code = (
        "import sys\nfrom cytopipe.cli import run\n"
        "code = run(['decompose', 'in.fasta', '-o', 'out', '--no-report', '-q'])\n"
        "print(code, [one for one in ('dagster', 'cytopipe.project.reading') if one in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "0 []\n", done.stderr
