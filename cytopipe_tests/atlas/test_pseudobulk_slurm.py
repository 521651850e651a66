"""One SLURM job per atlas: the scripts as text, and the jobs on a real SLURM of one machine."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from cytopipe.atlas import load_registry
from cytopipe.commands.atlas import atlas
from cytopipe.commands.atlas_slurm import Resources, job_script
from cytopipe.errors import EngineError, MissingToolError, ParameterError
from cytopipe_tests.atlas.atlases import bytes_of, small_cells, write
from cytopipe_tests.atlas.slurm_on_one_machine import missing_for_slurm, one_node


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of two small atlases."""
    path = write(small_cells(150, 20), tmp_path / "a.h5ad")
    entry = f"{{path: {path}, levels: {{coarse: coarse}}, sample: sample, n_bootstrap: 3}}"
    (tmp_path / "cytopipe.yaml").write_text(f"atlas:\n  a: {entry}\n  b: {entry}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object):
    """Run ``cytopipe atlas submit ...``; errors surface as raised."""
    return CliRunner().invoke(atlas, ["submit", *map(str, arguments)], catch_exceptions=False)


def test_a_dry_run_prints_one_sound_script_per_atlas_and_submits_nothing(project):
    """Directives, the plain command, quoting: bash itself finds the scripts whole."""
    done = call(
        "--slurm", "--dry-run", "--cpus", 3, "--time", "1-00:00:00", "--gres", "gpu:1", "--", "--seed", 7
    )
    scripts = done.output.split("#!/bin/bash")[1:]
    assert len(scripts) == 2
    for name, script in zip("ab", scripts, strict=True):
        for line in (f"--job-name=cytopipe-{name}", "--cpus-per-task=3", "--time=1-00:00:00", "--gres=gpu:1"):
            assert f"#SBATCH {line}\n" in script
        assert f"atlas run --atlas {name} --output" in script
        assert "--seed 7" in script
        assert "partition" not in script
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert not (project / "outputs").exists()


def test_names_and_times_that_could_break_out_of_a_directive_are_refused():
    """Nothing a user gives can add a line or a command to a script."""
    with pytest.raises(ParameterError) as error:
        Resources(cpus=0, time="1:00\n#SBATCH x", partition="p q", account="$(id)", gres="gpu;1")
    assert len(error.value.findings) == 5
    entry = load_registry()["cima"]
    script = job_script(entry, Path("/data/with space's"), Resources(), ["--carry", "a; rm -rf $HOME"])
    assert "'a; rm -rf $HOME'" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_without_slurm_and_without_paths_the_error_says_what_to_do(project, monkeypatch):
    """No sbatch, no scheduler named, no atlas with a path."""
    with pytest.raises(ParameterError, match="--slurm"):
        call()
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="--dry-run"):
        call("--slurm")
    (project / "cytopipe.yaml").write_text("atlas: {}\n")
    with pytest.raises(ParameterError, match="no atlas has a path"):
        call("--slurm")


@pytest.mark.long  # SLURM holds a requeued job back for two minutes
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(missing_for_slurm()), reason=f"real SLURM: {missing_for_slurm()}")
def test_jobs_run_on_a_real_slurm_and_one_that_is_warned_is_requeued_and_ends_the_same(
    project, tmp_path_factory, monkeypatch
):
    """Two atlases submitted; one is warned like before its time limit; both end with the same bytes."""
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        submitted = call("--slurm", "--cpus", 1, "--memory-gb", 1, "--", "--batch-size", 10)
        job_of = dict(line.split()[:2] for line in submitted.output.splitlines())
        assert sorted(job_of) == ["a", "b"]
        _until(lambda: _states().get("b") == "RUNNING")
        subprocess.run(["scancel", "--batch", "--signal=TERM", job_of["b"]], check=True, env=environment)
        _until(lambda: set(_states().values()) == {"DONE"}, why=lambda: _logs(project))
        collected = json.loads(call("--collect").output)
    assert [one["state"] for one in collected] == ["DONE", "DONE"]
    assert all(one["outcome"]["levels"]["coarse"]["n_groups"] == 3 for one in collected)
    made = [list(bytes_of(project / f"outputs/atlas/{name}/pseudobulk").values()) for name in "ab"]
    assert [len(one) for one in made[0]] == [len(one) for one in made[1]]


def test_a_job_that_failed_is_told_at_collection(project):
    """The outcome a job wrote decides, also after SLURM has forgotten it."""
    folder = project / "outputs/atlas/slurm"
    folder.mkdir(parents=True)
    from cytopipe.storage import Store

    Store(folder.parent).publish_bytes(folder / "jobs.json", b'{"a": "7", "b": "8"}')
    (folder / "a.json").write_text('{"exit_code": 2}')
    assert [line.split()[-1] for line in call("--status").output.splitlines()] == ["FAILED", "UNKNOWN"]
    with pytest.raises(EngineError, match="job 7 is FAILED"):
        call("--collect")


def _states() -> dict[str, str]:
    return {line.split()[0]: line.split()[-1] for line in call("--status").output.splitlines()}


def _until(true, *, seconds: float = 400, why=str) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{_states()} {why()}"
        time.sleep(0.3)


def _logs(project: Path) -> str:
    return "\n".join(path.read_text() for path in (project / "outputs/atlas/slurm").glob("*.log"))
