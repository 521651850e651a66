"""Every command, on a project as a person has it, with what it says and the code it ends with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest

from cytopipe.cli import COMMANDS
from cytopipe_tests.cli.conftest import cytopipe, spawned
from cytopipe_tests.defs.example import edit_by_hand, fasta, make_project


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path):
    said = cytopipe("--help", at=tmp_path)
    assert said.code == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help[:40])}", said.out, re.MULTILINE), name
    assert "Exit codes" in said.out
    code = (
        "import sys\nfrom cytopipe.cli import run\nrun(['--help'])\n"
        "heavy = {'dagster', 'numpy', 'pandas', 'pydantic', 'numba', 'rich', 'yaml', 'matplotlib'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name, tmp_path):
    said = cytopipe(name, "--help", at=tmp_path)
    assert said.code == 0
    assert "Usage: cytopipe" in said.out
    assert len(said.out.splitlines()) > 4


def test_version(tmp_path):
    from cytopipe import __version__

    assert cytopipe("--version", at=tmp_path).out.strip().endswith(__version__)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["materialise"], 2, "Did you mean 'materialize'?"),
        (["check"], 2, "cytopipe init"),
        (["status"], 2, "no cytopipe.yaml here or above"),
        (["--project", "nowhere", "status"], 2, "nowhere"),
        (["materialize"], 2, "--all"),
        (["materialize", "--all"], 2, "cytopipe.yaml"),
        (["ui", "--port", "99999999"], 2, "--port"),
        (["init", "--nonsense"], 2, "No such option"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line_with_its_code(arguments, code, told, tmp_path):
    said = cytopipe(*arguments, at=tmp_path)
    assert said.code == code
    assert told in said.err


def test_init_check_and_schema(tmp_path):
    (tmp_path / "one.fasta").write_text(fasta("one"))
    assert cytopipe("init", at=tmp_path).code == 0
    said = cytopipe("check", at=tmp_path)
    assert (said.code, "no problems" in said.out, "one" in said.out) == (0, True, True)
    again = cytopipe("init", at=tmp_path)
    assert (again.code, "stays as it is" in again.err) == (2, True)
    assert "$defs" in json.loads(cytopipe("schema", at=tmp_path).out)
    written = cytopipe("schema", "--write", at=tmp_path).out.strip()
    assert written.endswith(".cytopipe/schema.json")
    file = tmp_path / "cytopipe.yaml"
    file.write_text(file.read_text().replace("input:", "inputt:").replace("engine: local", "engine: lokal"))
    said = cytopipe("check", at=tmp_path)
    assert said.code == 2 and "engine is not usable" in said.err


def test_materialize_says_what_was_made_and_where(materialized):
    folder, said = materialized
    assert said.code == 0, said.err
    assert "11 of 11 done in 2 runs" in said.out
    assert "outputs/decompose/meadow" in said.out
    assert "decompose/final [forest] (2 of 2)" in said.err and "[]" not in said.err
    table = (folder / "outputs/decompose/overview.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in table] == ["data_set", "forest", "meadow"]


def test_what_is_done_is_not_done_again(project):
    said = spawned("materialize", "--all", at=project)
    assert (said.code, "up to date" in said.out) == (0, True)
    again = cytopipe(
        "materialize", "decompose/final", "-p", "meadow", "--only", "--again", "--quiet", at=project
    )
    assert (again.code, "1 of 1 done" in again.out) == (0, True)


def test_the_plan_has_reasons_and_changes_nothing(project):
    (project / "meadow.fasta").write_text(fasta("meadow", (4, 4)))
    said = cytopipe("materialize", "--all", "--dry-run", at=project)
    assert said.code == 0
    assert re.search(r"decompose/initial +\[meadow\] +decompose/sequences changed: \w{8} -> \w{8}", said.out)
    assert "forest" not in said.out
    assert "6 partitions of assets in 2 runs" in said.out
    plan = json.loads(cytopipe("materialize", "--all", "-n", "--json", at=project).out)
    made = [one["asset"] for one in plan["steps"] if one["partition"]]
    assert plan["runs"] == [
        {"assets": made, "partitions": ["meadow"]},
        {"assets": ["decompose/overview"], "partitions": []},
    ]
    status = json.loads(cytopipe("status", "-p", "meadow", "--json", at=project).out)
    assert {one["state"] for one in status} == {"stale"}


def test_partitions_and_ranges_can_be_named(project):
    for key in ("meadow", "forest"):
        (project / f"{key}.fasta").write_text(fasta(key, (3, 3)))
    one = json.loads(cytopipe("materialize", "decompose", "-p", "forest", "-n", "--json", at=project).out)
    assert {step["partition"] for step in one["steps"]} == {"forest"}
    both = json.loads(cytopipe("materialize", "-p", "meadow..forest", "-n", "--json", at=project).out)
    assert {step["partition"] for step in both["steps"]} == {"forest", "meadow"}
    for arguments, told in (
        (["materialize", "-p", "medow"], "Did you mean 'meadow'?"),
        (["materialize", "decompose/finl"], "Did you mean 'decompose/final'?"),
        (["materialize"], "--all"),
    ):
        said = cytopipe(*arguments, at=project)
        assert (said.code, told in said.err) == (2, True), said


def test_a_failure_is_told_with_its_file_and_line_and_ends_with_1(tmp_path):
    folder = make_project(tmp_path / "p", "broken").directory
    (folder / "broken.fasta").write_text(">a\nACGT\n>b\nAC1T\n")
    said = cytopipe("materialize", "--all", at=folder)
    assert said.code == 1
    assert re.search(r"decompose/initial \[broken\]: .*broken\.fasta:4", said.err)
    status = cytopipe("status", at=folder)
    assert (status.code, "failed" in status.out) == (1, True)
    (folder / "broken.fasta").write_text(fasta("broken"))
    assert "retry" in cytopipe("resume", "-n", at=folder).out
    resumed = cytopipe("resume", at=folder)
    assert (resumed.code, "5 of 5 done" in resumed.out) == (0, True), resumed


def test_a_broken_entry_is_told_and_the_others_are_made(tmp_path):
    folder = make_project(tmp_path / "p", "meadow", entries="  gone:\n    input: gone.fasta\n").directory
    said = cytopipe("materialize", "--all", "--quiet", at=folder)
    assert said.code == 2
    assert "gone.fasta" in said.err and "6 of 6 done" in said.out


def test_history_and_lineage(project):
    said = cytopipe("history", "decompose/final", "-p", "meadow", at=project)
    assert re.search(r"made +decompose/final \[meadow\]  \w{12} +\w{8}", said.out)
    events = json.loads(cytopipe("history", "--json", "-n", "5", at=project).out)
    assert len(events) == 5 and events[0]["storage_id"] > events[-1]["storage_id"]
    assert cytopipe("history", "decompose/nothing", at=project).code == 2
    tree = cytopipe("lineage", "outputs/decompose/meadow/cluster_001.fasta", at=project).out.splitlines()
    assert tree[0].startswith("decompose/final [meadow]")
    assert any("decompose/sequences [meadow]" in line and "meadow.fasta" in line for line in tree)
    assert not any("since" in line for line in tree)
    document = json.loads(cytopipe("lineage", "decompose/refined:forest", "--json", at=project).out)
    assert [one["asset"] for one in document["inputs"]] == [
        f"decompose/{one}" for one in ("sequences", "deconflicted", "parameters", "thresholds")
    ]
    report = cytopipe("lineage", "decompose/final:meadow", "--html", "report.html", at=project)
    page = (project / "report.html").read_text()
    assert report.code == 0 and "All 8 artifacts and inputs are on disk as they were used" in page
    assert "http" not in page and "<script" not in page
    report = project / "outputs/decompose/meadow/report/final"
    assert cytopipe("lineage", str(report), at=project).out.startswith("decompose/report [meadow]")
    folder = cytopipe("lineage", "outputs/decompose/meadow", at=project).out
    assert folder.startswith("decompose/final [meadow]")
    for what, told in (
        ("decompose/final", "several"),
        ("nothing", "neither"),
        ("cytopipe.yaml", "lies outside"),
    ):
        said = cytopipe("lineage", what, at=project)
        assert (said.code, told in said.err) == (2, True), said


def test_names_from_users_files_are_no_markup_in_the_report(tmp_path):
    from cytopipe.commands.provenance_report import provenance_report
    from cytopipe.defs.lineage import Node
    from cytopipe.project import load_project

    project = load_project(make_project(tmp_path, "meadow").file)
    page = provenance_report(project, Node("decompose/final", "<script>alert(1)</script>", "0" * 64)).decode()
    assert "<script>" not in page


def test_verify_finds_damage_and_sweep_removes_what_is_dead(project):
    said = cytopipe("verify", at=project)
    assert (said.code, said.out.startswith("all as published (")) == (0, True), said
    file = project / "outputs/decompose/meadow/cluster_001.fasta"
    file.write_bytes(file.read_bytes()[:-10])
    said = cytopipe("verify", at=project)
    assert said.code == 3 and "cluster_001.fasta" in said.out
    found = json.loads(cytopipe("verify", "--json", at=project).out)
    assert found[0]["path"].endswith("cluster_001.fasta")
    assert "removed 0 dead drafts" in cytopipe("sweep", "--older-than", "3 days", at=project).out
    assert cytopipe("sweep", "--older-than", "3 parsecs", at=project).code == 2


def test_a_hand_edit_is_noticed_and_goes_on_from_there(project):
    edit_by_hand(project / "outputs/decompose/meadow", "refined")
    said = cytopipe("status", at=project)
    assert "noticed  decompose/refined [meadow]: edited by hand: refined.cluster_" in said.out
    assert re.search(r"stale +decompose/final \[meadow\] +decompose/refined changed", said.out)
    assert cytopipe("materialize", "--all", "-q", at=project).code == 0
    assert "11 done" in cytopipe("status", at=project).out


def test_reap_says_that_nothing_is_dead(project):
    assert cytopipe("reap", at=project).out.strip() == "no run is dead"


def test_the_demo_is_not_made_among_other_files(tmp_path):
    """The demo itself is made by the commands of the README (`cytopipe_tests/docs/test_readme.py`)."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    assert cytopipe("demo", "full", at=tmp_path).code == 2
    assert [one.name for one in (tmp_path / "full").iterdir()] == ["x"]


def test_the_example_inputs_are_what_their_script_makes(tmp_path):
    import pathlib

    data = pathlib.Path(__file__).resolve().parents[2] / "data"
    done = subprocess.run(
        [sys.executable, data / "make_example.py", tmp_path], capture_output=True, check=True
    )
    assert b"60 sequences of 9 species" in done.stdout
    for path in sorted((data / "sequences").iterdir()):
        assert (tmp_path / "sequences" / path.name).read_bytes() == path.read_bytes()


def test_the_example_cells_are_those_that_scanpy_carries(tmp_path):
    import importlib.metadata
    import pathlib

    import anndata as ad

    try:
        listed = importlib.metadata.files("scanpy") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("scanpy is not installed: its wheel carries the cells")
    source = next(one.locate() for one in listed if one.name == "10x_pbmc68k_reduced.h5ad")
    data = pathlib.Path(__file__).resolve().parents[2] / "data"
    subprocess.run(
        [sys.executable, data / "make_blood.py", source, tmp_path], capture_output=True, check=True
    )
    made, standing = (ad.read_h5ad(folder / "atlas" / "blood.h5ad") for folder in (tmp_path, data))
    assert (made.X != standing.X).nnz == 0
    assert made.obs.equals(standing.obs) and list(made.var_names) == list(standing.var_names)


def test_a_reader_that_goes_away_is_no_error(project):
    """`cytopipe schema | head -1` ends quietly."""
    done = subprocess.run(
        f"{sys.executable} -m cytopipe.cli schema | head -1",
        shell=True,
        cwd=project,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert b"Error" not in done.stderr and b"Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cytopipe.cli", "--debug", "check"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" in done.stderr and b"ProjectError" in done.stderr


def test_read_only_interface_answers_on_loopback_and_ends_on_ctrl_c(project):
    import signal

    import httpx

    process = subprocess.Popen(
        [sys.executable, "-m", "cytopipe.cli", "ui", "--read-only", "--token"],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    address = ""
    for line in process.stdout:
        if line.startswith("open "):
            address = line.split()[1]
            break
    base, token = address.split("?token=")
    assert httpx.get(base).status_code == 401
    headers = {"authorization": f"Bearer {token}"}
    assert "cytopipe" not in httpx.get(base, headers=headers).headers.get("server", "")
    mutation = "mutation { setNuxSeen }"
    answer = httpx.post(f"{base}graphql", json={"query": mutation}, headers=headers)
    assert answer.status_code == 200
    wiped = '[{assetKey: {path: ["decompose", "final"]}}]'
    delete = f"mutation {{ wipeAssets(assetPartitionRanges: {wiped}) {{ __typename }} }}"
    answer = httpx.post(f"{base}graphql", json={"query": delete}, headers=headers).json()
    assert answer["data"]["wipeAssets"]["__typename"] == "UnauthorizedError"
    picture = "artifacts/decompose/meadow/report/final/gaps.png"
    assert httpx.get(f"{base}{picture}", headers=headers).headers["content-type"] == "image/png"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - began < 45
