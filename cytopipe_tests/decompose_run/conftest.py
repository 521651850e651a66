"""Barcodes, runs over them, and what a directory holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    """Six species of five records each."""
    return write_fasta(tmp_path / "barcodes.fasta", make_barcodes())


@pytest.fixture
def cytopipe(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run the command line in a process of its own, in `tmp_path`."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "cytopipe.cli", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
