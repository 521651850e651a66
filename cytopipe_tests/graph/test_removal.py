"""Intermediates that were used and removed: they count as made until something needs them again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from cytopipe.defs.event import MADE, REMOVED
from cytopipe.defs.lineage import lineage
from cytopipe.defs.removal import remove, survey, want_again
from cytopipe.errors import BusyError
from cytopipe.storage import Store
from cytopipe_tests.graph.examples import screen
from cytopipe_tests.graph.examples.lab import Lab

ALIGNED, CORRECTED, CELLS = "example/aligned", "example/corrected", "example/cells"
ASSETS = list(screen.GRAPH.makers)
TILES = [f"P1-A1|{tile}" for tile in range(3)]


def file(lab: Lab, asset: str, key: str) -> Path:
    return lab.project.output / lab.ledger().places.place(asset, key).path


def clean(lab: Lab, asset: str, keys: list[str]) -> None:
    ledger = lab.ledger()
    found = survey(ledger, [(asset, key) for key in keys])
    assert found.refused == [] and [key for _, key in found.places] == keys
    assert remove(ledger, found.places, dict) == []


def not_done(lab: Lab) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for one in lab.ledger().statuses(ASSETS):
        if one.state != "done":
            found.setdefault(one.asset, {})[one.key] = one.state
    return found


def test_what_was_removed_after_use_counts_as_made_and_nothing_after_it_is_stale(lab: Lab) -> None:
    before = lab.events(CORRECTED, TILES[0])[-1]
    clean(lab, CORRECTED, TILES)
    for key in TILES:
        assert not file(lab, CORRECTED, key).exists()
        assert lab.reasons(CORRECTED, key) == (REMOVED,)
    assert not_done(lab) == {}
    assert lab.changes == [], "nothing is told as a change outside"
    assert lab.stale() == {}, "nor does Dagster call anything stale"
    made = lab.events(CORRECTED, TILES[0])[-1]
    assert (made.kind, made.version, made.metadata["removed"]) == (MADE, before.version, "after use")
    assert "path" not in made.metadata
    assert Store(lab.project.output).verify() == []
    assert [one.name for one in file(lab, CORRECTED, TILES[0]).parent.glob(".P1-A1*")] == []


def test_a_lost_ledger_knows_from_the_history_what_was_removed(lab: Lab) -> None:
    clean(lab, CORRECTED, TILES)
    (lab.project.home / "ledger.sqlite").unlink()
    assert not_done(lab) == {}
    assert lab.reasons(CORRECTED, TILES[0]) == (REMOVED,)


def test_lineage_leads_through_what_was_removed(lab: Lab) -> None:
    clean(lab, CORRECTED, TILES)
    node = next(one for one in lineage(lab.ledger(), CELLS, "P1-A1").inputs if one.key == TILES[0])
    assert (node.asset, node.path, node.now) == (CORRECTED, "", "removed")
    assert [one.asset for one in node.inputs] == [ALIGNED, "example/illumination"]


def test_what_is_needed_again_is_made_again_with_the_reason(lab: Lab) -> None:
    clean(lab, CORRECTED, TILES)
    clean(lab, ALIGNED, TILES[:1])
    shutil.rmtree(lab.project.output / "example/cells")
    assert not_done(lab) == {
        ALIGNED: {TILES[0]: "needed"},
        CORRECTED: dict.fromkeys(TILES, "needed"),
        CELLS: dict.fromkeys(["P1-A1", "P1-A2", "P2-A1"], "stale"),
        "example/summary": {"P1": "stale", "P2": "stale"},
        "example/overview": {"": "stale"},
    }
    assert lab.reasons(CORRECTED, TILES[1]) == (f"was {REMOVED}, and {CELLS} [P1-A1] is to be made from it",)
    assert lab.reasons(CELLS, "P1-A1") == ("its files are gone",), "it does not wait for what it needs"
    assert not lab.make(CELLS, keys=["P1-A1"]).success
    assert f"{CORRECTED} [{TILES[0]}]" in str(lab.ledger().status(CELLS, "P1-A1")) or not_done(lab)
    lab.make_all()
    assert not_done(lab) == {}
    assert file(lab, CORRECTED, TILES[0]).is_file() and file(lab, ALIGNED, TILES[0]).is_file()
    assert lab.reasons(CORRECTED, TILES[0]) == ()


def test_a_need_that_is_taken_back_is_forgotten(lab: Lab) -> None:
    clean(lab, CORRECTED, TILES)
    cells = file(lab, CELLS, "P1-A1")
    cells.rename(cells.with_suffix(".away"))
    assert not_done(lab)[CORRECTED] == dict.fromkeys(TILES, "needed")
    cells.with_suffix(".away").rename(cells)
    assert not_done(lab) == {}


def test_an_input_that_changed_makes_what_was_removed_stale_like_anything(lab: Lab) -> None:
    clean(lab, ALIGNED, TILES)
    (lab.directory / "images" / "P1-A1_T1").write_text("500")
    assert not_done(lab)[ALIGNED] == {TILES[0]: "needed", TILES[1]: "stale", TILES[2]: "needed"}
    lab.make_all()
    assert not_done(lab) == {}


def test_what_something_that_is_not_done_is_made_from_is_refused_and_all_is_told(lab: Lab) -> None:
    image = lab.directory / "images" / "P1-A1_T0"
    image.write_text("13")
    lab.make(ALIGNED, keys=TILES[:1])
    found = survey(lab.ledger(), [(ALIGNED, key) for key in [*TILES, "P2-A1|0"]])
    assert found.places == [(ALIGNED, "P2-A1|0")]
    told = [str(one) for one in found.refused]
    assert len(told) == 3 and "it is failed" in told[0]
    assert all("example/illumination [P1-A1] is stale" in one for one in told)


def test_a_run_that_is_live_keeps_everything(lab: Lab) -> None:
    ledger = lab.ledger()
    before = len(lab.events(CORRECTED))
    with pytest.raises(BusyError, match="12345678"):
        remove(ledger, [(CORRECTED, TILES[0])], lambda: {(CELLS, "P1-A1"): "1234567890"})
    assert file(lab, CORRECTED, TILES[0]).is_file()
    assert len(lab.events(CORRECTED)) == before
    assert not_done(lab) == {}


def test_what_is_put_back_by_hand_stands_again(lab: Lab) -> None:
    one = file(lab, CORRECTED, TILES[0])
    sidecar = one.with_name(f".{one.name}.manifest.json")
    kept = {path: path.read_bytes() for path in (one, sidecar)}
    clean(lab, CORRECTED, TILES)
    for path, data in kept.items():
        path.write_bytes(data)
    assert lab.reasons(CORRECTED, TILES[0]) == ()
    assert lab.changes == [f"{CORRECTED} [{TILES[0]}] stands again"]
    assert lab.reasons(CORRECTED, TILES[1]) == (REMOVED,)
    assert not_done(lab) == {}


def test_what_a_person_wants_again_is_made_again_with_what_it_needs(lab: Lab) -> None:
    clean(lab, CORRECTED, TILES)
    clean(lab, ALIGNED, TILES)
    want_again(lab.ledger(), [(CORRECTED, TILES[0]), (CELLS, "P1-A1")])
    assert not_done(lab) == {ALIGNED: {TILES[0]: "needed"}, CORRECTED: {TILES[0]: "needed"}}
    assert lab.reasons(CORRECTED, TILES[0]) == (f"was {REMOVED}, and is wanted again",)
    assert [one.asset for one in lineage(lab.ledger(), CORRECTED, TILES[0]).inputs] == [
        ALIGNED,
        "example/illumination",
    ]
    assert lab.make(ALIGNED, CORRECTED, keys=TILES[:1]).success
    assert file(lab, CORRECTED, TILES[0]).is_file()
    assert not_done(lab) == {}


def test_a_run_over_what_was_removed_says_it_again_and_makes_nothing(lab: Lab) -> None:
    clean(lab, ALIGNED, TILES)
    assert lab.make(ALIGNED, keys=TILES[:1]).success
    assert lab.make(ALIGNED, CORRECTED, keys=TILES).success
    assert not file(lab, ALIGNED, TILES[0]).exists()
    assert lab.reasons(ALIGNED, TILES[0]) == (REMOVED,)
    assert not_done(lab) == {}


KILLED = """
import os, signal, sys
from pathlib import Path
from dagster import DagsterInstance
from cytopipe.defs.removal import remove
from cytopipe.storage import filesystem, removal
from cytopipe_tests.graph.examples import screen
from cytopipe_tests.graph.examples.lab import Lab

folder, at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(name, real):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    return call

with DagsterInstance.local_temp(str(folder / "history")) as instance:
    lab = Lab(folder / "screen", screen.GRAPH, screen.screen_project, instance)
    ledger = lab.ledger()
    for name in ("put_sidecar", "flush_folder", "flush_commit"):
        setattr(removal, name, counted(name, getattr(removal, name)))
    Path.unlink = counted("unlink", Path.unlink)
    remove(ledger, [("example/corrected", f"P1-A1|{tile}") for tile in range(3)], dict)
"""


@pytest.mark.parametrize("at", [1, 3, 4, 8])
def test_a_kill_leaves_files_that_count_or_a_removal_that_counts(lab: Lab, at: int) -> None:
    folder = lab.directory.parent
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(at)], env={**os.environ})
    assert done.returncode == -signal.SIGKILL
    assert Store(lab.project.output).verify() == []
    assert not_done(lab) == {}
    ledger = lab.ledger()
    assert remove(ledger, survey(ledger, [(CORRECTED, key) for key in TILES]).places, dict) == []
    assert not_done(lab) == {}
    assert [lab.reasons(CORRECTED, key) for key in TILES] == [(REMOVED,)] * 3
    assert list(file(lab, CORRECTED, TILES[0]).parent.glob(".*P1*A1*")) == []
    lab.declare = partial(screen.screen_project, P1=2)
    assert set(not_done(lab)) == {"example/summary"}
