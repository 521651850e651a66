"""The README's commands, run in the order they are read, from a copy of the project.

The blocks marked ``sh`` are taken as they stand. What sets up an environment, serves until it is stopped,
or is this very suite is proved elsewhere and named in `ELSEWHERE` with the place; the rest must exit 0.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe_tests.conftest import REPOSITORY

ENVIRONMENT = Path(sys.prefix)
ELSEWHERE = {
    "make test": "the run that this test is part of",
    "make test-long": "the long suite is a command of its own",
    "make bench": "benchmarks are a command of their own",
    "make lint": "cytopipe_tests/docs/test_readme.py::test_the_code_is_lint_free",
    "make ui": "cytopipe_tests/ui",
    ". .venv/bin/activate": "the tests run in that environment",
    "make parity GOLDEN=../shared/golden": "cytopipe_tests/parity/test_parity.py",
}


def readme_commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.M | re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not (ENVIRONMENT / ".run-ready").exists(), reason=f"{ENVIRONMENT} was not made by the Makefile"
)
def test_every_command_of_the_readme_runs(tmp_path):
    """From a copy of the project, in one shell, in order: nothing is left out silently."""
    environment = os.environ | {"PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}"}
    folder = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(folder)], check=True)
    # The environment is the one under test: a second installation would prove the package index only. It
    # counts as newer than what it was made from.
    (folder / ".venv").symlink_to(ENVIRONMENT)
    for name in ("pyproject.toml", "setup.cfg", "constraints.txt"):
        os.utime(folder / name, (0, 0))

    def said(command: str) -> str:
        outcome = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert outcome.returncode == 0, f"$ {command}\n{outcome.stdout[-3000:]}\n{outcome.stderr[-3000:]}"
        return outcome.stdout

    ran = 0
    for command in readme_commands():
        if command in ELSEWHERE:
            continue
        if command.startswith("cd "):
            folder = folder / shlex.split(command)[1]
            continue
        words = said(command)
        if command == "make demo":
            assert_demo_is_whole(words)
            assert "up to date" in said(command), "what is done is not done twice"
        ran += 1
    assert ran >= 9


def assert_demo_is_whole(said: str) -> None:
    """Everything is done, and told: what there is to count, what optional parts were found, where to look."""
    made = re.search(r"(\d+) of (\d+) done", said)
    assert made and made[1] == made[2] and int(made[1]) > 200, said
    for part in (
        "9 clusters, 60 records",
        "700 cells, 486,651 counts",
        "43 targets",
        "2 atlases",
        "BLAST",
        "GPU",
        "browser",
    ):
        assert part in said
    assert re.search(r"cytopipe --project \S*demo ui", said)


def test_links_between_documents_lead_somewhere():
    for document in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target} leads nowhere"


def test_the_code_is_lint_free():
    outcome = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "cytopipe", "cytopipe_tests", "data"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout


def test_no_file_names_this_machine():
    """A checkout's own path in a tracked file would tie the project to one machine."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0")[:-1]:
        path = REPOSITORY / name
        if path.is_file():
            assert str(REPOSITORY).encode() not in path.read_bytes(), name
