"""Every command from another directory, with paths as people type them: what it prints is there."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from cytopipe_tests.atlas.atlases import small_cells, write
from cytopipe_tests.cli.conftest import cytopipe, spawned_bytes
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.defs.atlas_example import write_signature

STYLES = ("relative", "dotted", "absolute")


class Lab:
    """A directory with a space and an umlaut in its name, and a way to write the paths in it."""

    def __init__(self, root: Path, style: str) -> None:
        self.root, self.style = root, style
        self.here = root / "somewhere" / "deep"
        self.here.mkdir(parents=True)
        if style == "relative":
            self.here = root

    def path(self, name: str) -> str:
        """`name` of the lab, as it is typed from where we stand."""
        full = self.root / name
        return str(full) if self.style == "absolute" else os.path.relpath(full, self.here)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command; everything that it prints as a path must be there, and nothing may be nested."""
        said = cytopipe(*words, at=self.here)
        assert said.code == code, said
        printed = (said.out + said.err).replace(str(self.root), "@")
        for path in re.findall(r"@(/[^\s'`,;:]*)", printed):
            assert "*" in path or (self.root / path[1:]).exists(), (path, said)
        for path in self.root.rglob("*"):
            parts = path.relative_to(self.root).parts
            assert len(set(parts)) == len(parts), f"{path} is nested"
        return said.out


@pytest.fixture(params=STYLES)
def lab(request, tmp_path: Path) -> Lab:
    return Lab(tmp_path / "mein Labor ü", request.param)


def test_decompose(lab):
    write_fasta(lab.root / "in.fasta", make_barcodes())
    (lab.root / "new.fasta").write_text(">new\n" + "ACGT" * 100 + "\n")
    fasta, out = lab.path("in.fasta"), lab.path("clusters")
    assert cytopipe("decompose", fasta, "-o", out, "--dry-run", at=lab.here).code == 0
    assert not (lab.root / "clusters").exists()
    lab.run("decompose", fasta, "-o", out, "--neighbours", "kmer", "--no-report")
    assert (lab.root / "clusters/refined.cluster_0001.fasta").is_file()
    lab.run("decompose", "--resume", out, "--finalize", "--no-report")
    shutil.copytree(lab.root / "clusters", lab.root / "copy")
    (lab.root / "copy/state.json").unlink()
    lab.run("decompose", "rebuild", lab.path("copy"), "--input", fasta)
    shutil.rmtree(lab.root / "copy")
    lab.run("decompose", "add", out, lab.path("new.fasta"))
    for verb in ("status", "edits", "verify", "restore"):
        lab.run("decompose", verb, out)
    lab.run("decompose", "compare", out, fasta)
    lab.run("decompose", "export", out, "--format", "uc", "-o", lab.path("exported"))
    assert [one.suffix for one in (lab.root / "exported").glob("*.uc")] == [".uc"]
    lab.run("decompose", "rollback", out, "--list")
    lab.run("decompose", "rollback", out, "--to", "refined")


def test_atlas(lab):
    write(small_cells(150, 120), lab.root / "blood.h5ad")
    write_signature(lab.root / "mine.tsv")
    profiles, results = lab.path("profiles"), lab.path("results")
    level = ("--level", "fine=fine", "--sample", "sample", "--n-bootstrap", "2")
    lab.run("atlas", "aggregate", lab.path("blood.h5ad"), *level, "-o", profiles)
    assert (lab.root / "profiles/blood_pseudobulk_fine.h5ad").is_file()
    lab.run("atlas", "verify", profiles)
    file = lab.path("profiles/blood_pseudobulk_fine.h5ad")
    lab.run("atlas", "qc", file, "--figure", lab.path("figures/sizes.png"), "--table", lab.path("sizes.tsv"))
    assert (lab.root / "figures/sizes.png").is_file() and (lab.root / "sizes.tsv").is_file()
    (lab.root / "cytopipe.yaml").write_text(
        "atlas:\n  blood:\n    path: blood.h5ad\n    levels: {fine: fine}\n    sample: sample\n"
    )
    project = ("--project", lab.path("."))
    lab.run(*project, "atlas", "run", "--atlas", "blood", "--n-bootstrap", "2", "-o", results)
    assert (lab.root / "results/blood/pseudobulk/blood_pseudobulk_fine.h5ad").is_file()
    assert str(lab.root / "blood.h5ad") in lab.run(*project, "atlas", "list")
    script = cytopipe(*project, "atlas", "submit", "--slurm", "--dry-run", "-o", results, at=lab.here).out
    assert f"{lab.root / 'results'}" in script
    lab.run("atlas", "signatures", "--source", lab.path("mine.tsv"), "--table", lab.path("types.tsv"))
    assert (lab.root / "types.tsv").is_file()
    signature = ("-s", "mine", "--source", lab.path("mine.tsv"))
    lab.run("atlas", "activity", results, *signature, "--permutations", "5")
    assert list((lab.root / "results/blood/activity").rglob("*.h5ad"))
    lab.run("atlas", "validate", results, *signature, "--cell-types", lab.path("types.tsv"), "--no-figures")


def test_a_project(lab):
    (lab.root / "new").mkdir()
    write_fasta(lab.root / "new/in.fasta", make_barcodes())
    said = lab.run("init", lab.path("new"))
    assert (lab.root / "new/.cytopipe/schema.json").is_file() and "--project" in said
    project = ("--project", lab.path("new"))
    lab.run(*project, "check")
    lab.run(*project, "schema", "--write")
    lab.run(*project, "verify")
    lab.run(*project, "materialize", "--all", "--quiet")
    final = lab.path("new/outputs/decompose/in/cluster_001.fasta")
    assert lab.run(*project, "lineage", final, "--html", lab.path("reports/one.html"))
    assert (lab.root / "reports/one.html").is_file()
    lab.run(*project, "verify", lab.path("new/outputs/decompose/in"))
    lab.run(*project, "sweep")


def test_init_here(tmp_path):
    (tmp_path / "lab").mkdir()
    assert cytopipe("init", ".", at=tmp_path / "lab").code == 0
    assert sorted(one.name for one in (tmp_path / "lab/.cytopipe").iterdir() if "." not in one.name[:1]) == [
        "schema.json"
    ]


def test_an_output_that_the_system_refuses_is_told_in_one_line(tmp_path):
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    for output in ("x" * 256, "/".join(["deep"] * 900), "dangling", "file/below"):
        said = cytopipe("decompose", "in.fasta", "-o", output, at=tmp_path)
        assert (said.code in (2, 3), len(said.err.splitlines())) == (True, 1), said


def test_a_name_that_is_not_utf8_is_refused_before_anything_is_made(tmp_path):
    """It could not stand in state.json, in a manifest or in a project file."""
    write_fasta(tmp_path / "in.fasta", make_barcodes())
    (tmp_path / os.fsdecode(b"caf\xe9.fasta")).write_text(">a\nACGT\n")
    before = sorted(one.name for one in tmp_path.iterdir())
    for words in ((b"in.fasta", b"-o", b"caf\xe9"), (b"caf\xe9.fasta",), (b"caf\xe9.fasta", b"--dry-run")):
        done = spawned_bytes(b"decompose", *words, at=tmp_path)
        assert (done.returncode, b"is not UTF-8" in done.stderr) == (2, True), done
    assert sorted(one.name for one in tmp_path.iterdir()) == before
