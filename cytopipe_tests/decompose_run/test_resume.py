"""Killed or stopped at any point and continued, a run gives the files of one that was never stopped."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from cytopipe.decompose import Decomposition
from cytopipe.errors import Interrupted
from cytopipe_tests.decompose_run.barcodes import make_barcodes, write_fasta
from cytopipe_tests.decompose_run.directory import contents, state_apart_from_times
from cytopipe_tests.decompose_run.killing import KMER, finish, run_and_kill_after, run_and_kill_at_checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ten species decomposed in one go, with its report: the input and the directory."""
    home = tmp_path_factory.mktemp("uninterrupted")
    fasta = write_fasta(home / "barcodes.fasta", make_barcodes(10, 4))
    finish(home / "run", fasta, report=True)
    return fasta, home / "run"


def assert_same_run(one: Path, other: Path, *, report: bool = False) -> None:
    mine, theirs = contents(one), contents(other)
    if not report:
        mine = {name: data for name, data in mine.items() if not name.startswith("report/")}
        theirs = {name: data for name, data in theirs.items() if not name.startswith("report/")}
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []
    assert state_apart_from_times(one) == state_apart_from_times(other)


def test_killed_after_every_single_checkpoint_and_continued_it_is_the_same(
    uninterrupted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Each process gets exactly one checkpoint further than the one before it."""
    fasta, whole = uninterrupted
    kills = sum(
        1
        for _ in itertools.takewhile(
            lambda _: run_and_kill_at_checkpoint(1, tmp_path / "run", fasta), range(50)
        )
    )
    assert kills >= 8, "5 checkpoints of the initial clustering, 1 conflict resolution, 2 refinements"
    finish(tmp_path / "run", fasta)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("checkpoint", [1, 3, 6, 7, 8])
def test_killed_after_a_checkpoint_and_continued_it_is_the_same(
    uninterrupted: tuple[Path, Path], tmp_path: Path, checkpoint: int
) -> None:
    fasta, whole = uninterrupted
    assert run_and_kill_at_checkpoint(checkpoint, tmp_path / "run", fasta)
    finish(tmp_path / "run", fasta)
    assert_same_run(tmp_path / "run", whole)


def kill_at_random_points(
    uninterrupted: tuple[Path, Path], tmp_path: Path, seed: int, *, report: bool
) -> None:
    """Up to three kills at random moments, then the end; everything is compared byte for byte."""
    fasta, whole = uninterrupted
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 3)):
        if not run_and_kill_after(chance.uniform(0, 0.6), tmp_path / "run", fasta, report=report):
            break
    finish(tmp_path / "run", fasta, report=report)
    assert_same_run(tmp_path / "run", whole, report=report)
    assert Decomposition.open(tmp_path / "run").verify() == []


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_point_and_continued_it_is_the_same(
    uninterrupted: tuple[Path, Path], tmp_path: Path, seed: int
) -> None:
    kill_at_random_points(uninterrupted, tmp_path, seed, report=seed == 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 160))
def test_killed_at_many_random_points_and_continued_it_is_the_same(
    uninterrupted: tuple[Path, Path], tmp_path: Path, seed: int
) -> None:
    kill_at_random_points(uninterrupted, tmp_path, seed, report=seed % 5 == 0)


@pytest.mark.parametrize("asked_at", [1, 2, 5, 11, 12, 13, 14, 20])
def test_stopped_on_request_and_continued_it_is_the_same(
    uninterrupted: tuple[Path, Path], tmp_path: Path, asked_at: int
) -> None:
    """Wherever the stop is noticed: in growth, between components, between alignments, before the report."""
    fasta, whole = uninterrupted
    questions = itertools.count(1)
    found = Decomposition.adopt(tmp_path / "run", fasta, KMER)
    try:
        found.advance(
            "final",
            checkpoint_interval=2,
            thresholds=(0.02, 0.03),
            report=False,
            stop=lambda: next(questions) >= asked_at,
        )
    except Interrupted as stopped:
        assert "--resume" in str(stopped)
    finish(tmp_path / "run", fasta)
    assert_same_run(tmp_path / "run", whole)


def test_a_checkpoint_is_made_every_n_iterations(fasta: Path, tmp_path: Path) -> None:
    reasons: list[str] = []
    Decomposition.create(tmp_path / "run", fasta, KMER).advance(
        "initial", checkpoint_interval=2, report=False, on_checkpoint=lambda one: reasons.append(one.reason)
    )
    assert reasons == [
        "after 2 iterations",
        "after 4 iterations",
        "after 6 iterations",
        "stage initial finished",
    ]


def test_the_directory_is_the_same_whatever_the_order_of_the_input(fasta: Path, tmp_path: Path) -> None:
    records = make_barcodes()
    turned = write_fasta(tmp_path / "turned.fasta", records[::-1])
    finish(tmp_path / "one", fasta, report=True)
    finish(tmp_path / "other", turned, report=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")
