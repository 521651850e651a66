"""Checkpoints are told to the history now and then; the last one before a stop always."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe.defs import batch
from cytopipe.defs.artifact import Graph, Work, artifact
from cytopipe.defs.event import CHECKPOINT
from cytopipe.errors import Interrupted
from cytopipe.project import DataSet
from cytopipe_tests.graph.examples.formats import JSON
from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.graph.examples.measures import RAW, SAMPLES, measures_project

ROUNDS = "example/rounds"
INTERRUPTED_AT = 4


@artifact("example/rounds", JSON, by=SAMPLES)
def rounds(sample: DataSet, raw: int, work: Work) -> int:
    """Ten rounds with a checkpoint after each; a sample of -1 is interrupted in the fourth."""
    for number in range(1, 11):
        if raw < 0 and number == INTERRUPTED_AT:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # Python calls the handler between two steps
        work.saved("round", number, 10)
        if work.stop():
            raise Interrupted(f"stopped after round {number}")
    return raw


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """An hour has to pass between two checkpoints that are told, however slow the machine is."""
    monkeypatch.setattr(batch, "_SECONDS_BETWEEN_CHECKPOINT_EVENTS", 3600.0)
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield Lab(tmp_path / "rounds", Graph(RAW, rounds), measures_project, instance)


def told(lab: Lab, key: str) -> list[str]:
    return [one.words for one in lab.events(ROUNDS, key) if one.kind == CHECKPOINT]


def test_checkpoints_that_follow_each_other_closely_are_told_once(lab: Lab) -> None:
    lab.ledger()
    assert lab.make(ROUNDS, keys=["a"]).success
    assert told(lab, "a") == ["round: 1 of 10"]


def test_the_last_checkpoint_before_a_stop_is_told_however_soon_it_follows(lab: Lab) -> None:
    (lab.project.directory / "a.txt").write_text("-1")
    lab.ledger()
    assert not lab.make(ROUNDS, keys=["a"]).success
    assert told(lab, "a") == ["round: 1 of 10", f"round: {INTERRUPTED_AT} of 10"]
    status = lab.ledger().status(ROUNDS, "a")
    assert (status.state, status.reasons) == ("interrupted", (f"round: {INTERRUPTED_AT} of 10",))
