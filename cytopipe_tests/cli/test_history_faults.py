"""A history whose databases are damaged: told in one line, and lost without losing an artifact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cytopipe_tests.cli.conftest import cytopipe, spawned
from cytopipe_tests.defs.example import fasta

HISTORY = Path(".cytopipe/dagster/history")
DATABASES = {"events": HISTORY / "runs" / "index.db", "runs": HISTORY / "runs.db"}


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def _fill_with_garbage(file: Path) -> None:
    file.write_bytes(b"this is no database at all. " * 2000)


HARMS = {"truncated": _truncate, "garbage": _fill_with_garbage}


def harm_history(project: Path, database: str, harm: Callable[[Path], None]) -> None:
    """Damage one database as a disk does: its journals are gone too."""
    file = project / DATABASES[database]
    assert file.stat().st_size > 5000
    for journal in file.parent.glob(f"{file.name}-*"):
        journal.unlink()
    harm(file)


def written(project: Path) -> dict[Path, int]:
    """When each result was written."""
    return {path: path.stat().st_mtime_ns for path in (project / "outputs").rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", [("status",), ("materialize", "--all")], ids=lambda one: one[0])
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("database", DATABASES)
def test_a_damaged_history_is_told_in_one_message_that_says_where_and_what_to_do(
    project: Path, database: str, harm: str, command: tuple[str, ...]
) -> None:
    harm_history(project, database, HARMS[harm])
    before = written(project)
    said = spawned(*command, at=project)  # asserts that there is no traceback
    assert said.code == 3, said
    assert said.err.count("the history of this project cannot be read") == 1
    assert str(project / HISTORY) in said.err
    assert "Move that folder away" in said.err
    assert written(project) == before


def states(project: Path) -> list[tuple[str, str, str]]:
    """Asset, partition and state of everything."""
    told = json.loads(cytopipe("status", "--json", at=project).out)
    return [(one["asset"], one["partition"], one["state"]) for one in told]


def assert_nothing_is_lost(project: Path) -> None:
    """The results are in the new history, done, and were not written again."""
    before = written(project)
    said = cytopipe("status", at=project)
    assert said.code == 0, said
    assert said.out.count("made outside Dagster, taken up as it is") == 11
    assert [state for _, _, state in states(project)] == ["done"] * 11
    said = cytopipe("materialize", "--all", at=project)
    assert (said.code, "up to date" in said.out) == (0, True), said
    told = json.loads(cytopipe("history", "--json", at=project).out)
    made = {(one["asset"], one["partition"]) for one in told if one["event"] == "made"}
    assert made == {(asset, key) for asset, key, _ in states(project)}
    assert written(project) == before


@pytest.mark.parametrize("database", DATABASES)
def test_a_damaged_history_that_is_moved_away_costs_no_artifact(project: Path, database: str) -> None:
    harm_history(project, database, _fill_with_garbage)
    assert cytopipe("status", at=project).code == 3
    (project / HISTORY).rename(project / "damaged")
    assert_nothing_is_lost(project)


def test_an_event_database_of_no_bytes_is_a_new_history_into_which_everything_is_taken_up(
    project: Path,
) -> None:
    """SQLite calls a file of no bytes a database without tables, and Dagster makes them."""
    harm_history(project, "events", lambda file: file.write_bytes(b""))
    assert_nothing_is_lost(project)


def test_a_run_database_of_no_bytes_costs_the_list_of_runs_alone(project: Path) -> None:
    before = states(project)
    harm_history(project, "runs", lambda file: file.write_bytes(b""))
    assert states(project) == before
    (project / "meadow.fasta").write_text(fasta("meadow", (3, 3)))
    said = cytopipe("materialize", "--all", "--quiet", at=project)
    assert said.code == 0, said
    assert states(project) == before


def test_status_and_materialize_end_with_1_where_a_check_that_only_warns_failed(project: Path) -> None:
    """The known species are declared such that they cannot be found: every second record of each."""
    records = fasta("meadow").split(">")[1:]
    wrong = [
        f'>{one.split()[0]} name="{number % 2}"\n{one.splitlines()[1]}' for number, one in enumerate(records)
    ]
    (project / "known.fasta").write_text("\n".join(wrong) + "\n")
    file = project / "cytopipe.yaml"
    file.write_text(file.read_text().replace("truth: meadow.fasta", "truth: known.fasta"))
    said = cytopipe("materialize", "decompose/report", "-p", "meadow", "--quiet", at=project)
    assert (said.code, "1 of 1 done" in said.out) == (1, True), said
    assert said.err.count("a check failed: agrees_with_truth: adjusted Rand index") == 1
    again = cytopipe("materialize", "decompose/report", "-p", "meadow", "--quiet", at=project)
    assert (again.code, "nothing to do" in again.out) == (1, True), again
    assert cytopipe("materialize", "decompose/report", "-p", "forest", "--quiet", at=project).code == 0
    said = cytopipe("status", "decompose/report", at=project)
    assert said.code == 1, said
    assert "a check failed: agrees_with_truth: adjusted Rand index" in said.out
    assert {state for _, _, state in states(project)} == {"done"}
    assert cytopipe("status", "decompose/report", "-p", "forest", at=project).code == 0
