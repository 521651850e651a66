"""The workflows a person follows from the command line: limits, chains, directed mode, finalizing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cytopipe.decompose import Decomposition
from cytopipe.errors import ParameterError, ResumeError
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import clusters_in, contents
from cytopipe_tests.decompose_run.killing import KMER


def state(run: Path) -> dict:
    return json.loads((run / "state.json").read_text())


def test_limits_are_absolute_and_clusters_are_added_to_those_that_exist(fasta: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = Decomposition.create(run, fasta, KMER, max_clusters=2)
    assert found.advance("initial", report=False).n_clusters == 2
    first = clusters_in(run, "initial")
    assert not state(run)["stages"]["initial_clustering"]["completed"]
    assert found.advance("initial", report=False).resumed, "2 means until 2 exist"
    assert found.advance("initial", max_clusters=4, report=False).n_clusters == 4
    assert clusters_in(run, "initial").items() >= first.items()
    assert found.advance("initial", max_sequences=21, report=False).n_clusters == 4, (
        "the stricter limit holds"
    )
    assert found.advance("initial", max_clusters=0, max_sequences=21, report=False).n_records >= 21
    assert found.advance("initial", max_sequences=0, report=False).n_clusters == 6
    assert state(run)["stages"]["initial_clustering"]["completed"]


def test_a_run_in_parts_is_the_same_as_one_in_one_go(fasta: Path, tmp_path: Path) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    found = Decomposition.create(parts, fasta, KMER, max_clusters=1)
    for limit in (1, 3, 0):
        found.advance("initial", max_clusters=limit, report=False)
    found.advance("final", report=False)
    Decomposition.create(whole, fasta, KMER).advance("final", report=False)
    assert contents(parts) == contents(whole)


def test_raising_a_limit_after_conflicts_were_resolved_makes_the_later_stages_again(
    fasta: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    found = Decomposition.create(run, fasta, KMER, max_clusters=2)
    assert found.advance("refined", report=False).n_clusters == 2
    assert found.advance("refined", max_clusters=0, report=False).n_clusters == 6


def test_refinements_chain_and_each_applies_to_the_newest_state(
    fasta: Path, tmp_path: Path, cytopipe
) -> None:
    run = tmp_path / "run"
    first = cytopipe("decompose", fasta, "-o", run, "--refine-close-clusters", "0.02", "--no-report", "-q")
    assert first.returncode == 0, first.stderr
    second = cytopipe("decompose", "--resume", run, "--refine-close-clusters", "0.05", "--no-report", "-q")
    assert second.returncode == 0, second.stderr
    entry = state(run)["stages"]["close_cluster_refinement"]
    assert [one["threshold"] for one in entry["refinement_history"]] == [0.02, 0.05]
    assert entry["threshold"] == 0.05
    assert (
        entry["refinement_history"][0]["clusters_after"] == entry["refinement_history"][1]["clusters_before"]
    )
    commands = [one["command"] for one in state(run)["metadata"]["command_history"]]
    assert len(commands) == 2 and "--resume" in commands[1], "every command is kept"
    together = cytopipe(
        *("decompose", fasta, "-o", tmp_path / "together", "--no-report", "-q"),
        *("--refine-close-clusters", "0.02", "--refine-close-clusters", "0.05"),
    )
    assert together.returncode == 0, together.stderr
    assert contents(run) == contents(tmp_path / "together")


def test_directed_mode_grows_from_the_targets_only(fasta: Path, tmp_path: Path) -> None:
    records = make_barcodes()
    wanted = [one for one in records if one[0].startswith(("sp01_m00", "sp04_m00"))]
    targets = write_fasta(tmp_path / "targets.fasta", wanted)
    run = tmp_path / "run"
    result = Decomposition.create(run, fasta, KMER, targets=targets).advance("final", report=False)
    assert result.n_clusters == 2
    assert result.n_unassigned == 20
    members = {record for ids in clusters_in(run, "final").values() for record in ids}
    assert {record[:4] for record in members} == {"sp01", "sp04"}
    assert state(run)["stages"]["initial_clustering"]["completed"], "every target was used"


def test_a_target_that_is_not_in_the_input_is_an_error(fasta: Path, tmp_path: Path) -> None:
    targets = write_fasta(tmp_path / "targets.fasta", [("foreign", "ACGT" * 50), ("other", "GGCC" * 50)])
    with pytest.raises(ValueError) as caught:
        Decomposition.create(tmp_path / "run", fasta, KMER, targets=targets)
    assert "target 'foreign' is not in the input" in str(caught.value)
    assert "target 'other' is not in the input" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_finalize_numbers_the_newest_stage_by_size_and_completes(fasta: Path, tmp_path: Path) -> None:
    records = [one for one in make_barcodes() if not one[0].startswith(("sp02_m04", "sp03_m04", "sp03_m03"))]
    run = tmp_path / "run"
    Decomposition.create(run, write_fasta(tmp_path / "in.fasta", records), KMER).advance(
        "final", report=False
    )
    sizes = [len(ids) for ids in clusters_in(run, "final").values()]
    assert sizes == sorted(sizes, reverse=True)
    assert list(clusters_in(run, "final")) == [f"cluster_{number:03d}.fasta" for number in range(1, 7)]
    assert (run / "unassigned.fasta").read_bytes() == b""
    assert state(run)["status"] == "completed"
    assert state(run)["stage"] == "finalized"


def test_cleanup_leaves_the_result_only_and_rollback_brings_the_stages_back(
    fasta: Path, tmp_path: Path, cytopipe
) -> None:
    run = tmp_path / "run"
    done = cytopipe("decompose", fasta, "-o", run, "--finalize", "--cleanup", "-q")
    assert done.returncode == 0, done.stderr
    shown = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    clusters = {f"cluster_{number:03d}.fasta" for number in range(1, 7)}
    assert shown == {"state.json", "unassigned.fasta", "report", *clusters}
    assert not (run / ".blast").exists()
    again = cytopipe("decompose", "--resume", run)
    assert again.returncode == 0 and "nothing was left to do" in again.stdout
    more = cytopipe("decompose", "--resume", run, "--refine-close-clusters", "0.05", "--no-report")
    assert more.returncode in (0, 2)
    back = cytopipe("decompose", "rollback", run, "--to", "initial")
    assert back.returncode == 0, back.stderr
    assert len(clusters_in(run, "initial")) == 6
    assert clusters_in(run, "final") == {}


def test_the_search_database_is_kept_unless_it_is_not_wanted(fasta: Path, tmp_path: Path, cytopipe) -> None:
    import shutil

    if shutil.which("blastn") is None:
        pytest.skip("no blastn: BLAST+ is not installed")
    for option, kept in ((("--keep-blast-db",), True), (("--no-keep-blast-db",), False)):
        run = tmp_path / f"run{kept}"
        done = cytopipe("decompose", fasta, "-o", run, "--neighbours", "blast", "-q", "--no-report", *option)
        assert done.returncode == 0, done.stderr
        assert (run / ".blast").is_dir() == kept


def test_a_changed_input_is_refused_and_can_be_forced(fasta: Path, tmp_path: Path, cytopipe) -> None:
    run = tmp_path / "run"
    assert cytopipe("decompose", fasta, "-o", run, "--no-report", "-q").returncode == 0
    records = make_barcodes()
    gone, altered = records[0][0].split()[0], records[1][0].split()[0]
    changed = [(records[1][0], records[1][1][5:]), *records[2:], ("newcomer", "ACGTTGCA" * 40)]
    write_fasta(fasta, changed)
    refused = cytopipe("decompose", "--resume", run)
    assert refused.returncode == 2
    assert "the input has changed" in refused.stderr and "--force-input-change" in refused.stderr
    forced = cytopipe("decompose", "--resume", run, "--force-input-change", "--no-report")
    assert forced.returncode == 0, forced.stderr
    assert "2 records left their clusters, 2 are to be clustered" in forced.stderr
    held = sorted(record for ids in clusters_in(run, "refined").values() for record in ids)
    assert held == sorted(header.split()[0] for header, _ in changed)
    assert gone not in held and altered in held
    assert cytopipe("decompose", "verify", run).returncode == 0


def test_parameters_that_shape_the_clusters_may_not_change_in_the_middle(fasta: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER, max_clusters=2).advance("initial", report=False)
    with pytest.raises(ResumeError) as caught:
        Decomposition.open(run, parameters={"min_split": 0.001, "max_lump": 0.05, "blast_evalue": 1e-8})
    text = str(caught.value)
    assert "min_split may not change" in text and "max_lump may not change" in text
    assert "blast_evalue" not in text, "search settings may change for new work"
    found = Decomposition.open(run, parameters={"blast_evalue": 1e-8})
    found.advance("initial", max_clusters=0, report=False)
    assert state(run)["parameters"]["blast_evalue"] == 1e-8
    Decomposition.open(run, parameters={"max_lump": 0.05}).advance("refined", report=False)
    assert state(run)["parameters"]["max_lump"] == 0.05, "a finished clustering may be refined with others"


def test_a_parameter_that_changes_nothing_that_is_made_is_said_to(fasta: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER).advance("deconflicted", report=False)
    assert Decomposition.open(run, parameters={"max_lump": KMER.max_lump}).messages == []
    (said,) = Decomposition.open(run, parameters={"max_lump": 0.05}).messages
    assert "max_lump None -> 0.05; the stages that exist keep" in said and "--to initial" in said


def test_contradictions_of_parameters_are_told_on_resume(fasta: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    Decomposition.create(run, fasta, KMER).advance("initial", report=False)
    with pytest.raises(ResumeError, match="min_split exceeds max_lump"):
        Decomposition.open(run, parameters={"min_split": 0.5})


def test_adopting_another_decomposition_says_what_differs(fasta: Path, tmp_path: Path) -> None:
    Decomposition.adopt(tmp_path / "run", fasta, KMER).advance("final", report=False)
    with pytest.raises(ResumeError, match=r"max_lump: .*expected None; found 0\.05"):
        Decomposition.adopt(tmp_path / "run", fasta, KMER.replace(max_lump=0.05))


def test_limits_and_thresholds_out_of_range_are_errors(fasta: Path, tmp_path: Path) -> None:
    found = Decomposition.create(tmp_path / "run", fasta, KMER)
    with pytest.raises(ParameterError, match="--max-clusters is out of range"):
        found.advance("initial", max_clusters=-1)
    with pytest.raises(ParameterError, match="a refinement distance is out of range"):
        found.advance("refined", thresholds=(2.0,))
