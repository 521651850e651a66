"""Every kind of edge between sets of partitions, asked of the ledger and of Dagster itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe.defs import batch
from cytopipe.defs.event import MADE
from cytopipe.defs.lineage import lineage, walk
from cytopipe.defs.selection import choose, plan_runs
from cytopipe.provenance import Input, Provenance, counting_digests, sha256_file
from cytopipe_tests.graph.examples import branches, screen
from cytopipe_tests.graph.examples.formats import JSON
from cytopipe_tests.graph.examples.lab import Lab

WELLS = ["P1-A1", "P1-A2", "P2-A1"]
ASSETS = [
    f"example/{one}" for one in ("aligned", "illumination", "corrected", "cells", "summary", "overview")
]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield instance


@pytest.fixture
def lab(tmp_path: Path, instance: DagsterInstance) -> Lab:
    return Lab(tmp_path / "screen", screen.GRAPH, screen.screen_project, instance)


@pytest.fixture
def tree(tmp_path: Path, instance: DagsterInstance) -> Lab:
    return Lab(tmp_path / "tree", branches.GRAPH, branches.branches_project, instance)


def image(lab: Lab, well: str, tile: int) -> Path:
    return lab.directory / "images" / f"{well}_T{tile}"


def wanted(lab: Lab, asset: str) -> list[str]:
    """What the ledger would make of an asset."""
    return [key for key, state in lab.states(asset).items() if state != "done"]


def test_a_screen_is_made_through_all_its_sets(lab: Lab) -> None:
    lab.make_all()
    assert lab.ledger().counts() == {
        "example/aligned": {"done": 9},
        "example/illumination": {"done": 3},
        "example/corrected": {"done": 9},
        "example/cells": {"done": 3},
        "example/summary": {"done": 2},
        "example/overview": {"done": 1},
    }
    assert lab.stale() == {}


def test_a_changed_tile_makes_stale_its_own_descendants_edge_by_edge_for_dagster_too(lab: Lab) -> None:
    """Dagster marks what is made from another version now; the ledger also what will be."""
    lab.make_all()
    image(lab, "P1-A2", 1).write_text("700")
    own = {
        "example/aligned": ["P1-A2|1"],
        "example/illumination": ["P1-A2"],
        "example/corrected": ["P1-A2|0", "P1-A2|1", "P1-A2|2"],
        "example/cells": ["P1-A2"],
        "example/summary": ["P1"],
        "example/overview": [""],
    }
    marks = [
        {"example/aligned": ["P1-A2|1"]},
        {"example/illumination": ["P1-A2"], "example/corrected": ["P1-A2|1"]},  # tile to well, tile to tile
        {"example/corrected": own["example/corrected"]},  # well to its tiles
        {"example/cells": ["P1-A2"]},
        {"example/summary": ["P1"], "example/overview": [""]},  # well to plate, and to the whole project
        {"example/overview": [""]},
        {},
    ]
    for number, marked in enumerate(marks):
        left = ASSETS[number:]
        assert {asset: wanted(lab, asset) for asset in ASSETS} == {
            asset: own[asset] if asset in left else [] for asset in ASSETS
        }
        assert lab.stale() == marked
        if left:
            assert lab.make(left[0], keys=[one for one in own[left[0]] if one]).success
    assert lab.events("example/overview")[-1].metadata["how"] == "made"


def test_reasons_name_the_parts_that_changed_and_what_is_to_be_made_first(lab: Lab) -> None:
    lab.make_all()
    image(lab, "P1-A2", 1).write_text("700")
    (reason,) = lab.reasons("example/aligned", "P1-A2|1")
    assert reason.startswith("example/raw changed: ")
    assert lab.reasons("example/illumination", "P1-A2") == ("example/aligned [P1-A2|1] is stale",)
    assert lab.reasons("example/summary", "P1") == ("example/cells [P1-A2] is stale",)
    lab.make("example/aligned", keys=["P1-A2|1"])
    assert lab.reasons("example/illumination", "P1-A2") == ("example/aligned changed: P1-A2|1",)


def test_settings_of_a_plate_make_stale_that_plate_alone(lab: Lab) -> None:
    lab.make_all()
    lab.declare = partial(screen.screen_project, P2=3)
    assert {asset: wanted(lab, asset) for asset in ASSETS if wanted(lab, asset)} == {
        "example/summary": ["P2"]
    }
    assert lab.reasons("example/summary", "P2") == ("example/settings changed: gain: 1 -> 3",)
    assert lab.stale() == {"example/summary": ["P2"]}


def test_a_broken_tile_fails_alone_and_its_well_says_so(lab: Lab) -> None:
    lab.make_all()
    image(lab, "P1-A2", 1).write_text("13")
    lab.ledger()
    result = lab.make("example/aligned", keys=[f"{well}|{tile}" for well in WELLS for tile in range(3)])
    assert not result.success
    assert wanted(lab, "example/aligned") == ["P1-A2|1"]
    assert lab.reasons("example/aligned", "P1-A2|1") == ("tile P1-A2|1 cannot be aligned",)
    assert wanted(lab, "example/illumination") == ["P1-A2"]
    assert lab.reasons("example/illumination", "P1-A2") == ("example/aligned [P1-A2|1] is failed",)
    assert wanted(lab, "example/summary") == ["P1"]


def test_of_a_screen_with_a_broken_tile_all_the_rest_is_made_and_then_only_what_failed(lab: Lab) -> None:
    lab.declare(lab.directory)
    image(lab, "P1-A1", 0).write_text("13")
    lab.make_all()
    states = {asset: lab.states(asset) for asset in ASSETS}
    assert [key for key, state in states["example/aligned"].items() if state == "failed"] == ["P1-A1|0"]
    assert [key for key, state in states["example/cells"].items() if state == "done"] == WELLS[1:]
    assert [key for key, state in states["example/summary"].items() if state == "done"] == ["P2"]
    image(lab, "P1-A1", 0).write_text("14")
    ledger = lab.ledger()
    runs = plan_runs(ledger, choose(ledger))
    assert [(run.assets, run.keys) for run in runs] == [
        (("example/aligned",), ("P1-A1|0",)),
        (("example/illumination",), ("P1-A1",)),
        (("example/corrected",), ("P1-A1|0", "P1-A1|1", "P1-A1|2")),
        (("example/cells",), ("P1-A1",)),
        (("example/summary",), ("P1",)),
    ]
    assert lab.states("example/overview") == {"": "done"}  # of the wells there are; stale when one comes
    before = len(lab.events("example/aligned"))
    lab.make_all()  # as a backfill over everything, or a run that is executed again
    again = [one for one in lab.events("example/aligned")[before:] if one.kind == MADE]
    assert [one.key for one in again if one.metadata["how"] == "made"] == ["P1-A1|0"]
    assert {one.metadata["how"] for one in again if one.key != "P1-A1|0"} == {"up to date, not made again"}
    assert {asset for asset in ASSETS if wanted(lab, asset)} == set()
    assert lab.stale() == {}


@pytest.mark.parametrize(
    ("asset", "keys", "first"),
    [
        ("example/illumination", ["P1-A1"], "example/aligned [P1-A1|0]"),
        ("example/corrected", ["P1-A1|0"], "example/aligned [P1-A1|0]"),
        ("example/summary", ["P1"], "example/cells [P1-A1]"),
    ],
)
def test_what_is_selected_alone_with_nothing_made_before_it_fails_and_says_what_to_make(
    lab: Lab, asset: str, keys: list[str], first: str
) -> None:
    result = lab.make(asset, keys=keys)
    assert not result.success
    failed = [one for one in result.all_events if one.is_step_failure]
    assert f"Materialize {first} first" in failed[0].step_failure_data.user_failure_data.description
    assert [one for one in lab.events(asset) if one.kind == MADE] == []
    assert lab.states(asset)[keys[0]] == "missing"


def test_an_optional_part_that_was_never_made_is_left_out_and_makes_stale_when_it_comes(lab: Lab) -> None:
    lab.make("example/aligned", "example/corrected", keys=["P1-A1|0", "P1-A1|2"])
    assert lab.make("example/overview").success
    assert lab.states("example/overview") == {"": "done"}
    lab.make_all()
    assert lab.events("example/overview")[-1].metadata["how"] == "made"
    assert [one["partition"] for one in lab.events("example/overview")[-1].metadata["inputs"]] == WELLS


def test_a_gap_in_the_grid_is_answered_with_nothing_and_the_well_is_made_of_the_tiles_there_are(
    lab: Lab,
) -> None:
    lab.declare = partial(screen.screen_project, without=("P1-A2|1",))
    assert lab.make("example/aligned", keys=["P1-A2|0", "P1-A2|2"]).success  # as a backfill of the grid
    (gap,) = lab.events("example/aligned", "P1-A2|1")
    assert gap.metadata["nothing"] == "the project has no such partition"
    lab.make_all()
    counts = lab.ledger().counts()
    assert counts["example/aligned"] == counts["example/corrected"] == {"done": 8}
    made_from = lab.events("example/cells", "P1-A2")[-1].metadata["inputs"]
    assert [one["partition"] for one in made_from] == ["P1-A2|0", "P1-A2|2"]
    lab.declare = screen.screen_project  # the tile comes
    assert wanted(lab, "example/aligned") == ["P1-A2|1"]
    assert wanted(lab, "example/cells") == ["P1-A2"]


def test_tiles_that_take_long_are_made_by_workers_and_one_that_fails_there_fails_alone(
    lab: Lab, monkeypatch
) -> None:
    tiles = [f"P1-A2|{tile}" for tile in range(3)]
    assert lab.make("example/aligned", keys=tiles).success
    here = {key: lab.events("example/aligned", key)[-1].version for key in tiles}
    lab.ledger()
    shutil.rmtree(lab.directory / "out")
    image(lab, "P1-A2", 1).write_text("13")
    sent: list[str] = []
    monkeypatch.setattr(batch, "_WORTH_A_WORKER_S", 0.0)
    monkeypatch.setattr(
        batch.Call,
        "of",
        lambda step, data, given, of=batch.Call.of: sent.append(data.key) or of(step, data, given),
    )
    assert not lab.make("example/aligned", keys=tiles).success
    assert sent == tiles[1:]  # the first told how long one takes
    assert lab.reasons("example/aligned", tiles[1]) == (f"tile {tiles[1]} cannot be aligned",)
    assert {lab.events("example/aligned", key)[-1].version for key in (tiles[0], tiles[2])} == {
        here[tiles[0]],
        here[tiles[2]],
    }


def test_a_lineage_tells_once_what_tiles_of_a_well_share(lab: Lab) -> None:
    lab.make_all()
    told = [
        (node.asset, node.key, again)
        for _, node, again in walk(lineage(lab.ledger(), "example/cells", "P1-A1"))
    ]
    wells = [again for asset, _, again in told if asset == "example/illumination"]
    assert wells == [False, True, True]
    assert len([1 for asset, _, again in told if asset == "example/aligned" and not again]) == 3


def test_no_artifact_is_digested_twice_by_the_run_that_makes_it(lab: Lab) -> None:
    for number, well in enumerate(WELLS):
        lab.declare(lab.directory)
        for tile in range(3):
            image(lab, well, tile).write_text(str(3 ** (3 * number + tile)))  # no two artifacts are equal
    lab.ledger()
    for asset in ASSETS:
        by = lab.graph.by_asset[asset].by
        with counting_digests() as digests:
            assert lab.make(asset, keys=by.keys(lab.project) if by else None).success
            lab.ledger()
        files = sorted((lab.directory / "out" / asset).rglob("*.json")) or [
            lab.directory / "out" / f"{asset}.json"
        ]
        made = {path.name: digests[sha256_file(path)] for path in files if "manifest" not in path.name}
        assert made == dict.fromkeys(made, 1), asset


# ---------------------------------------------------------------------- parents that are chosen


def save(lab: Lab, key: str, cells: list[str]) -> None:
    """What a person does who saves a checkpoint of step 2: no run of Dagster's makes it."""
    ledger = lab.ledger()
    step = lab.graph.makers["branches/step_2"]
    (read,) = [ledger.read(step, "step_1", key)]
    inputs = tuple(
        Input(path="", sha256=version, asset="branches/step_1", partition=part)
        for part, version in read.parts.items()
    )
    ledger.archive.put(
        ledger.places.place("branches/step_2", key), JSON, cells, Provenance(what=key, inputs=inputs)
    )


def saved(tree: Lab) -> None:
    tree.make("branches/step_1", keys=["a", "b"])
    for key in ("a-t", "a-b", "b-t"):
        save(tree, key, [f"{key[0]}1"] if key.endswith("t") else [f"{key[0]}2"])


def test_what_a_person_makes_is_awaited_and_never_planned(tree: Lab) -> None:
    tree.make("branches/step_1", keys=["a", "b"])
    ledger = tree.ledger()
    assert choose(ledger) == []
    assert {one.state for one in ledger.statuses(["branches/step_2", "branches/step_3"])} == {"waiting"}
    assert tree.reasons("branches/step_2", "a-t") == ("made by a person",)
    assert tree.reasons("branches/step_3", "t") == (
        "branches/step_2 [a-t] is waiting",
        "branches/step_2 [b-t] is waiting",
    )
    save(tree, "a-b", ["a2"])
    assert [(one.asset, one.key) for one in choose(tree.ledger())] == [("branches/step_3", "b")]


def test_a_merge_is_made_from_its_two_parents_and_no_other(tree: Lab) -> None:
    saved(tree)
    assert tree.states("branches/step_3") == {"t": "missing", "b": "missing"}
    assert tree.make("branches/step_3", keys=["t", "b"]).success
    assert tree.states("branches/step_3") == {"t": "done", "b": "done"}
    merged = tree.events("branches/step_3", "t")[-1]
    assert [one["partition"] for one in merged.metadata["inputs"]] == ["a-t", "b-t"]
    assert (tree.directory / "out/branches/step_3/t.json").read_text() == '["a1", "b1"]'


def test_a_parent_saved_again_makes_stale_its_own_branch_for_dagster_too(tree: Lab) -> None:
    saved(tree)
    tree.make("branches/step_3", keys=["t", "b"])
    tree.ledger()
    assert tree.stale("branches/step_3", "branches/step_2") == {}
    save(tree, "b-t", ["b1", "b2"])
    assert tree.states("branches/step_3") == {"t": "stale", "b": "done"}
    assert tree.reasons("branches/step_3", "t") == ("branches/step_2 changed: b-t",)
    assert tree.stale("branches/step_3") == {"branches/step_3": ["t"]}
    tree.make("branches/step_3", keys=["t"])
    assert tree.states("branches/step_3") == {"t": "done", "b": "done"}
    assert tree.stale("branches/step_3") == {}


def test_a_changed_sample_makes_stale_the_checkpoints_below_it_only(tree: Lab) -> None:
    saved(tree)
    tree.make("branches/step_3", keys=["t", "b"])
    (tree.directory / "b.txt").write_text("b1 b2 b3")
    assert tree.states("branches/step_1") == {"a": "done", "b": "stale"}
    assert tree.states("branches/step_2") == {"a-t": "done", "a-b": "done", "b-t": "stale"}
    assert tree.states("branches/step_3") == {"t": "stale", "b": "done"}
    tree.make("branches/step_1", keys=["b"])
    tree.ledger()
    assert tree.stale("branches/step_2") == {"branches/step_2": ["b-t"]}


def test_another_choice_of_parents_makes_a_checkpoint_stale(tree: Lab) -> None:
    saved(tree)
    tree.make("branches/step_3", keys=["t", "b"])
    tree.declare = partial(branches.branches_project, step_3={"b": ("a-b", "b-t")})
    assert tree.states("branches/step_3") == {"t": "done", "b": "stale"}
    assert tree.reasons("branches/step_3", "b") == ("branches/step_2 changed: b-t",)


def test_a_new_checkpoint_is_a_new_partition_and_touches_no_other(tree: Lab) -> None:
    saved(tree)
    tree.make("branches/step_3", keys=["t", "b"])
    tree.declare = partial(branches.branches_project, step_3={"both": ("a-t", "a-b")})
    assert tree.states("branches/step_3") == {"t": "done", "b": "done", "both": "missing"}
