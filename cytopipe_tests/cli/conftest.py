"""One finished project for the commands that ask, and the command line as a function."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cytopipe.cli import run
from cytopipe_tests.defs.example import make_project


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


def cytopipe(*arguments: str, at: Path) -> Said:
    """Run ``cytopipe ARGUMENTS`` in the directory `at`, in this process: importing Dagster takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    level = logging.getLogger("dagster").level
    with contextlib.chdir(at), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(arguments))
    logging.getLogger("dagster").setLevel(level)
    return Said(code, out.getvalue(), err.getvalue())


def spawned(*arguments: str, at: Path) -> Said:
    """The same in a process of its own, as a person does it."""
    done = subprocess.run(
        [sys.executable, "-m", "cytopipe.cli", *arguments],
        cwd=at,
        env={
            key: value for key, value in os.environ.items() if not key.startswith(("CYTOPIPE_", "DAGSTER_"))
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Said(done.returncode, done.stdout, done.stderr)


def spawned_bytes(*arguments: bytes, at: Path) -> subprocess.CompletedProcess[bytes]:
    """The same with arguments and output as bytes, for names that are no text."""
    command = [os.fsencode(sys.executable), b"-m", b"cytopipe.cli", *arguments]
    return subprocess.run(command, cwd=at, capture_output=True, timeout=240, check=False)


@pytest.fixture(scope="session")
def materialized(tmp_path_factory) -> tuple[Path, Said]:
    """A project made by ``cytopipe materialize --all``, and what that said; not to be changed."""
    folder = make_project(tmp_path_factory.mktemp("materialized"), "meadow", "forest").directory
    return folder, cytopipe("materialize", "--all", at=folder)


@pytest.fixture
def project(materialized: tuple[Path, Said], tmp_path: Path) -> Path:
    """A copy of the finished project, to change."""
    shutil.copytree(materialized[0], tmp_path / "project", symlinks=True)
    return tmp_path / "project"
