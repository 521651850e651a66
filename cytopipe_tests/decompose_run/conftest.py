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
def cytopipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Callable[..., subprocess.CompletedProcess]:
    """Run the command line in `tmp_path`: in this process, or in one of its own if it gets an environment.

    Starting a process costs two seconds of CPU for the compiled kernels; most tests need none of their own.
    """
    from cytopipe.cli import run as run_here

    monkeypatch.chdir(tmp_path)

    def run(*given: object, **environment: str) -> subprocess.CompletedProcess:
        arguments = list(map(str, given))
        if environment:
            return subprocess.run(
                [sys.executable, "-m", "cytopipe.cli", *arguments],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=120,
            )
        monkeypatch.setattr(sys, "argv", ["cytopipe", *arguments])
        capfd.readouterr()
        code = run_here(arguments)
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return run
