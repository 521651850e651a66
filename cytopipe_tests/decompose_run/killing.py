"""A run in a process that can be killed: forked from a server that has its imports done.

So a kill falls into the work rather than into start-up, and costs milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

from cytopipe.decompose import Decomposition, Parameters
from cytopipe.decompose.checkpoints import Checkpoint

__all__ = ["KMER", "finish", "run_and_kill_after", "run_and_kill_at_checkpoint"]

KMER = Parameters(neighbours="kmer")


def finish(directory: Path, fasta: Path, *, report: bool = False) -> None:
    """Begin or continue a decomposition and take it to its end."""
    Decomposition.adopt(directory, fasta, KMER).advance(
        "final", checkpoint_interval=2, thresholds=(0.02, 0.03), report=report
    )


def run_and_kill_after(seconds: float, directory: Path, fasta: Path, *, report: bool = False) -> bool:
    """Run in a process and kill it after some time; True if it was still running."""
    ready = _context().Event()
    process = _context().Process(target=_run, args=(ready, directory, fasta, report))
    process.start()
    ready.wait(60)
    time.sleep(seconds)
    process.kill()
    process.join(60)
    return process.exitcode == -signal.SIGKILL


def run_and_kill_at_checkpoint(number: int, directory: Path, fasta: Path) -> bool:
    """Run in a process that kills itself once its `number`-th checkpoint is on disk."""
    process = _context().Process(target=_run_until, args=(number, directory, fasta))
    process.start()
    process.join(120)
    return process.exitcode == -signal.SIGKILL


def _run(ready, directory: Path, fasta: Path, report: bool) -> None:
    ready.set()
    finish(directory, fasta, report=report)


def _run_until(number: int, directory: Path, fasta: Path) -> None:
    seen = 0

    def count(checkpoint: Checkpoint) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Decomposition.adopt(directory, fasta, KMER).advance(
        "final", checkpoint_interval=2, thresholds=(0.02, 0.03), report=False, on_checkpoint=count
    )


def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["cytopipe_tests.decompose_run.killing", "cytopipe.decompose.directory.advance"]
    )
    return context
