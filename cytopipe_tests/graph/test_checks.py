"""Checks: one that blocks keeps the version before, one that warns is a reason, and both can run alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import AssetCheckKey, DagsterInstance
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation

from cytopipe.defs.event import MADE
from cytopipe.defs.history import asset_key
from cytopipe_tests.graph.examples import measures
from cytopipe_tests.graph.examples.lab import Lab

MEASURE = "example/measure"
SAMPLES = ["a", "b", "c"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Three samples, each with its measure of 10."""
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        lab = Lab(tmp_path / "measures", measures.GRAPH, measures.measures_project, instance)
        lab.ledger()
        assert lab.make(MEASURE, keys=SAMPLES).success
        yield lab


def stands(lab: Lab, key: str) -> Path:
    """The file of a measure."""
    return lab.directory / "out" / lab.ledger().places.place(MEASURE, key).path


def put(lab: Lab, key: str, number: int) -> None:
    (lab.directory / f"{key}.txt").write_text(str(number))
    lab.ledger()


def made(lab: Lab, key: str) -> int:
    """How often a measure was made."""
    return len([one for one in lab.events(MEASURE, key) if one.kind == MADE])


def check_alone(lab: Lab, *names: str, key: str | None = None) -> list[AssetCheckEvaluation]:
    """Execute checks and no asset: for one partition, or for none by name."""
    job = lab.definitions().resolve_implicit_global_asset_job_def()
    wanted = {AssetCheckKey(asset_key(MEASURE), name) for name in names}
    subset = job.get_subset(asset_selection=set(), asset_check_selection=wanted)
    result = subset.execute_in_process(
        instance=lab.instance, tags={"dagster/partition": key} if key else {}, raise_on_error=False
    )
    assert result.success
    return result.get_asset_check_evaluations()


# ---------------------------------------------------------------------- checks alone


def test_a_check_alone_for_one_partition_evaluates_that_one_and_makes_nothing(lab: Lab) -> None:
    (found,) = check_alone(lab, "in_range", key="b")
    assert (found.check_name, found.partition, found.passed) == ("in_range", "b", True)
    assert [made(lab, key) for key in SAMPLES] == [1, 1, 1]


def test_a_check_alone_names_the_file_that_was_damaged_in_its_partition(lab: Lab) -> None:
    stands(lab, "b").write_text("99")
    (found,) = check_alone(lab, "in_range", key="b")
    assert (found.partition, found.passed) == ("b", False)
    assert stands(lab, "b").name in found.description
    assert check_alone(lab, "in_range", key="a")[0].passed


def test_checks_without_a_partition_evaluate_all_that_stand_and_name_the_failing_one(lab: Lab) -> None:
    stands(lab, "b").write_text("99")
    found = check_alone(lab, "in_range", "not_negative")
    assert [(one.partition, one.check_name, one.passed) for one in found] == [
        ("a", "not_negative", True),
        ("a", "in_range", True),
        ("b", "not_negative", False),
        ("b", "in_range", False),
        ("c", "not_negative", True),
        ("c", "in_range", True),
    ]
    assert [made(lab, key) for key in SAMPLES] == [1, 1, 1]


def test_checks_without_a_partition_leave_out_what_was_never_made(lab: Lab) -> None:
    lab.declare = lambda directory: measures.measures_project(directory, (*SAMPLES, "d"))
    assert lab.states(MEASURE)["d"] == "missing"
    assert [one.partition for one in check_alone(lab, "in_range")] == SAMPLES


def test_a_file_that_is_gone_fails_its_check_and_no_other(lab: Lab) -> None:
    stands(lab, "c").unlink()
    found = {one.partition: one.passed for one in check_alone(lab, "in_range")}
    assert found == {"a": True, "b": True, "c": False}


# ---------------------------------------------------------------------- checks of a run


@pytest.mark.parametrize("keys", [["b"], SAMPLES], ids=["single", "range"])
def test_a_check_that_only_warns_publishes_and_its_words_are_the_reason(lab: Lab, keys: list[str]) -> None:
    put(lab, "b", 500)
    result = lab.make(MEASURE, keys=keys)
    assert result.success
    assert json.loads(stands(lab, "b").read_text()) == 500
    assert lab.states(MEASURE) == dict.fromkeys(SAMPLES, "done")
    assert lab.reasons(MEASURE, "b") == ("a check failed: in_range: 500 is above 100",)
    assert lab.reasons(MEASURE, "a") == ()
    evaluations = {
        one.check_name: one for one in result.get_asset_check_evaluations() if one.partition in (None, "b")
    }
    assert not evaluations["in_range"].passed and not evaluations["in_range"].blocking
    assert evaluations["not_negative"].passed


def test_what_a_warning_check_passes_again_has_no_reason_any_more(lab: Lab) -> None:
    put(lab, "b", 500)
    lab.make(MEASURE, keys=["b"])
    put(lab, "b", 50)
    assert lab.make(MEASURE, keys=["b"]).success
    status = lab.ledger().status(MEASURE, "b")
    assert (status.state, status.reasons) == ("done", ())


@pytest.mark.parametrize("keys", [["b"], SAMPLES], ids=["single", "range"])
def test_a_check_that_blocks_leaves_the_version_before_in_place(lab: Lab, keys: list[str]) -> None:
    before = lab.ledger().status(MEASURE, "b").record.version
    put(lab, "b", -5)
    put(lab, "a", 11)
    assert not lab.make(MEASURE, keys=keys).success
    assert json.loads(stands(lab, "b").read_text()) == 10
    assert lab.ledger().archive.look(lab.ledger().places.place(MEASURE, "b"), measures.JSON).kind == "whole"
    status = lab.ledger().status(MEASURE, "b")
    assert status.state == "failed"
    assert status.reasons == ("a check failed: not_negative: the measure is -5",)
    assert status.record.version == before
    if "a" in keys:
        assert json.loads(stands(lab, "a").read_text()) == 11, "the others of the run are made"
