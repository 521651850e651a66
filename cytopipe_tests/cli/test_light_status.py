"""What only looks at a project in which nothing changed is answered without Dagster, whose import costs
seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe_tests.cli.conftest import cytopipe

RUN = """
import sys
from cytopipe.cli import run
code = run(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"dagster", "sqlalchemy"}), file=sys.stderr)
sys.exit(code)
"""


def run_apart(project: Path, *command: str) -> tuple[str, set[str]]:
    """What a command says in a process of its own, and what it imported of Dagster."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command],
        cwd=project,
        env={
            key: value for key, value in os.environ.items() if not key.startswith(("CYTOPIPE_", "DAGSTER_"))
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("status", "11 done"),
        ("materialize --all --dry-run", "nothing to do"),
        ("resume --dry-run", "nothing to do"),
        ("lineage decompose/final:meadow", "decompose/sequences"),
    ],
)
def test_where_nothing_changed_no_dagster_is_imported(project: Path, command: str, expected: str) -> None:
    cytopipe("status", at=project)  # a copied project has other inodes: its bytes are looked at once
    said, imported = run_apart(project, *command.split())
    assert expected in said
    assert imported == set()


def test_status_imports_dagster_where_there_is_something_to_write_down(project: Path) -> None:
    cytopipe("status", at=project)
    (project / "meadow.fasta").write_text((project / "meadow.fasta").read_text() + "\n")
    said, imported = run_apart(project, "status")
    assert "noticed  decompose/sequences [meadow]" in said
    assert "dagster" in imported


def test_what_is_done_is_counted_and_not_listed_where_it_is_much(project: Path, monkeypatch) -> None:
    from cytopipe.commands import history

    (project / "meadow.fasta").write_text((project / "meadow.fasta").read_text() + "\n")
    every = cytopipe("status", "--all", at=project)
    monkeypatch.setattr(history, "_ROWS", 2)
    short = cytopipe("status", at=project)
    assert (short.out.splitlines()[-1], short.code) == (every.out.splitlines()[-1], every.code)
    open_lines = [line for line in every.out.splitlines()[:-1] if not line.startswith(("done", "noticed"))]
    told = [line.split() for line in short.out.splitlines()]
    assert len(open_lines) > 2
    assert [line.split() for line in open_lines[:2]] == [line for line in told if line[0] == "stale"]
    assert "9 lines not shown" in short.out
