"""The ledger is driven by change: what it looks at, what it takes up, and that losing it loses nothing."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from dagster import AssetRecordsFilter, DagsterInstance
from dagster._core.definitions import data_version
from dagster._core.storage.event_log import SqliteEventLogStorage

from cytopipe.defs import history
from cytopipe.defs.artifact import Artifact, Graph
from cytopipe.defs.event import MADE, SEEN, Event
from cytopipe.defs.history import History, as_dagster, asset_key, newest_storage_id, one_connection
from cytopipe.defs.ledger import Ledger
from cytopipe.provenance import Input, Provenance
from cytopipe_tests.graph.examples import screen
from cytopipe_tests.graph.examples.formats import JSON
from cytopipe_tests.graph.examples.lab import Lab

ALIGNED, CELLS, SUMMARY = "example/aligned", "example/cells", "example/summary"
ASSETS = list(screen.GRAPH.makers)


class Counting(Ledger):
    """A ledger that tells what it judged, and what it compared with the disk."""

    def __init__(self, lab: Lab, graph: Graph = screen.GRAPH) -> None:
        super().__init__(lab.project, graph, History(lab.instance))
        self.judged: list[str] = []

    def judge(self, asset: str, key: str):
        self.judged.append(f"{asset} {key}")
        return super().judge(asset, key)


def put(lab: Lab, asset: str, key: str, value: object) -> None:
    """Make an artifact as a plain command does: with its receipt, outside of Dagster."""
    ledger = lab.ledger()
    step = lab.graph.makers[asset]
    reads = {name: ledger.read(step, name, key) for name in step.inputs}
    inputs = tuple(
        Input(path="", sha256=version, asset=step.inputs[name], partition=part)
        for name, read in reads.items()
        for part, version in read.parts.items()
    )
    ledger.archive.put(ledger.places.place(asset, key), JSON, value, Provenance(what=asset, inputs=inputs))


def artifact(lab: Lab, asset: str, key: str) -> Path:
    return lab.directory / "out" / lab.ledger().places.place(asset, key).path


def image(lab: Lab, key: str) -> Path:
    return lab.directory / "images" / key.replace("|", "_T")


def not_done(lab: Lab) -> dict[str, list[str]]:
    """The partitions of each asset that are not done."""
    found: dict[str, list[str]] = {}
    for one in lab.ledger().statuses(ASSETS):
        if one.state != "done":
            found.setdefault(one.asset, []).append(one.key)
    return found


@pytest.mark.parametrize(("limit", "page"), [(1, 512), (7, 512), (7, 2), (10_000, 5)])
def test_the_history_of_several_assets_is_that_of_each_put_together(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, limit: int, page: int
) -> None:
    monkeypatch.setattr("cytopipe.defs.history._PAGE", page)
    history = History(lab.instance)
    for assets in ([ALIGNED, CELLS], list(lab.graph.by_asset)):
        alone = [one for asset in assets for one in history.events(asset, limit=10_000)]
        together = history.newest_events(assets, limit=limit)
        assert together == sorted(alone, key=lambda one: -one.storage_id)[:limit] != []


# ---------------------------------------------------------------------- driven by change


def test_where_nothing_changed_nothing_is_judged_read_or_written(lab: Lab) -> None:
    newest = History(lab.instance).newest()
    ledger = Counting(lab)
    asked: list[str] = []
    ledger.book._db.set_trace_callback(asked.append)
    assert ledger.refresh() == []
    assert ledger.judged == []
    assert History(lab.instance).newest() == newest
    written = [one for one in asked if one.split()[0] in ("insert", "update", "delete")]
    assert written == []
    assert len(asked) < 20, "questions do not grow with partitions"


def test_one_changed_file_judges_its_own_descendants_only(lab: Lab) -> None:
    image(lab, "P2-A1|1").write_text("500")
    ledger = Counting(lab)
    assert [(one.asset, one.key) for one in ledger.refresh()] == [("example/raw", "P2-A1|1")]
    assert set(ledger.judged) == {
        "example/aligned P2-A1|1",
        "example/illumination P2-A1",
        *(f"example/corrected P2-A1|{tile}" for tile in range(3)),
        "example/cells P2-A1",
        "example/summary P2",
        "example/overview ",
    }
    assert len(ledger.judged) == 8


def test_only_events_after_the_watermark_are_read(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = lab.ledger()
    before = int(ledger.book.get("watermark") or 0)
    lab.instance.report_runless_asset_event(
        as_dagster(Event(asset=ALIGNED, key="P1-A1|0", kind=MADE, version="new", code_version="1"))
    )
    asked = []
    read = History.after

    def after(self: History, storage_id: int, assets) -> Iterator[Event]:
        found = list(read(self, storage_id, assets))
        asked.append((storage_id, [one.key for one in found]))
        return iter(found)

    monkeypatch.setattr(History, "after", after)
    ledger.refresh()
    assert asked == [(before, ["P1-A1|0"])]
    assert ledger.book.record(ALIGNED, "P1-A1|0", MADE).version == "new"
    ledger.refresh()
    assert len(asked) == 1


def test_a_file_that_was_touched_but_holds_the_same_is_no_change(lab: Lab) -> None:
    file = image(lab, "P1-A1|0")
    file.write_text(file.read_text())
    assert lab.ledger() and lab.changes == []
    assert not_done(lab) == {}


# ---------------------------------------------------------------------- declared values and code


def test_declared_values_are_named_in_reasons(lab: Lab) -> None:
    lab.declare = partial(screen.screen_project, P1=2)
    assert not_done(lab) == {SUMMARY: ["P1"]}
    assert lab.reasons(SUMMARY, "P1") == ("example/settings changed: gain: 1 -> 2",)


def test_declared_values_that_are_taken_back_leave_all_as_it_was(lab: Lab) -> None:
    lab.declare = partial(screen.screen_project, P1=2)
    lab.ledger()
    lab.declare = screen.screen_project
    assert not_done(lab) == {}


def test_a_raised_code_version_makes_stale_what_that_code_makes_and_all_that_follows(lab: Lab) -> None:
    graph = Graph(
        *(
            replace(one, version="2") if isinstance(one, Artifact) and one.asset == CELLS else one
            for one in screen.GRAPH.members
        )
    )
    ledger = Counting(lab, graph)
    ledger.refresh()
    stale = {one.asset for one in ledger.statuses(ASSETS) if one.state == "stale"}
    assert stale == {CELLS, SUMMARY, "example/overview"}
    assert ledger.status(CELLS, "P1-A1").reasons == ("code version 1 -> 2",)


def test_a_key_that_leaves_the_project_file_is_forgotten_and_known_again_when_it_returns(lab: Lab) -> None:
    lab.declare = partial(screen.screen_project, wells=("P1-A1", "P2-A1"))
    assert list(lab.states(CELLS)) == ["P1-A1", "P2-A1"]
    assert lab.ledger().counts()[ALIGNED] == {"done": 6}
    assert not_done(lab) == {SUMMARY: ["P1"], "example/overview": [""]}
    assert lab.reasons(SUMMARY, "P1") == ("example/cells changed: P1-A2",)
    lab.declare = screen.screen_project
    assert not_done(lab) == {}


# ---------------------------------------------------------------------- what happened on disk


def test_files_that_are_gone_make_stale_and_are_made_again(lab: Lab) -> None:
    artifact(lab, ALIGNED, "P1-A1|1").unlink()
    assert lab.states(ALIGNED)["P1-A1|1"] == "stale"
    assert "gone" in lab.reasons(ALIGNED, "P1-A1|1")[0] or "missing" in lab.reasons(ALIGNED, "P1-A1|1")[0]
    assert lab.make(ALIGNED, keys=["P1-A1|1"]).success
    assert not_done(lab) == {}  # the same bytes: nothing that follows is made again


def test_a_folder_that_is_gone_makes_stale_all_that_lay_in_it(lab: Lab) -> None:
    shutil.rmtree(lab.directory / "out" / "example" / "cells")
    assert set(lab.states(CELLS).values()) == {"stale"}
    assert lab.states(ALIGNED)["P1-A1|1"] == "done"


def test_a_folder_that_is_gone_is_noticed_also_where_the_project_file_changed_meanwhile(lab: Lab) -> None:
    shutil.rmtree(lab.directory / "out" / "example" / "cells")
    lab.declare = partial(screen.screen_project, P1=2)
    assert set(lab.states(CELLS).values()) == {"stale"}


def test_files_that_vanish_before_the_first_look_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        lab = Lab(tmp_path / "screen", screen.GRAPH, screen.screen_project, instance)
        lab.make(ALIGNED, keys=["P1-A1|0"])
        file = (
            tmp_path
            / "screen/out"
            / Ledger(lab.project, lab.graph, History(instance)).places.place(ALIGNED, "P1-A1|0").path
        )
        file.unlink()
        assert lab.states(ALIGNED)["P1-A1|0"] == "stale"


def test_a_file_that_was_replaced_by_hand_is_told_and_not_believed(lab: Lab) -> None:
    """Only formats that people edit take up edits; of others the bytes must be those of the manifest."""
    file = artifact(lab, ALIGNED, "P1-A1|1")
    draft = file.with_name("draft")
    draft.write_text('{"signal": 7}')
    draft.replace(file)
    assert not_done(lab)[ALIGNED] == ["P1-A1|1"]
    reason = lab.reasons(ALIGNED, "P1-A1|1")[0]
    assert reason.startswith("not whole on disk: ") and file.name in reason
    assert lab.make(ALIGNED, keys=["P1-A1|1"]).success
    assert not_done(lab) == {}
    assert json.loads(file.read_text()) == {"signal": 101}


def test_damage_inside_a_file_is_never_read_into_what_follows(lab: Lab) -> None:
    file = artifact(lab, "example/corrected", "P1-A1|1")
    file.write_text(file.read_text() + " ")
    lab.declare = partial(screen.screen_project)
    image(lab, "P1-A1|0").write_text("5")
    lab.make(ALIGNED, keys=["P1-A1|0"])
    lab.make("example/illumination", keys=["P1-A1"])
    lab.make("example/corrected", keys=["P1-A1|0"])
    assert not lab.make(CELLS, keys=["P1-A1"]).success
    assert file.name in lab.reasons(CELLS, "P1-A1")[0]


def test_outside_work_is_taken_up_with_what_its_receipt_says(lab: Lab) -> None:
    put(lab, ALIGNED, "P1-A1|1", {"signal": 500})
    assert not_done(lab) == {
        "example/illumination": ["P1-A1"],
        "example/corrected": ["P1-A1|0", "P1-A1|1", "P1-A1|2"],
        CELLS: ["P1-A1"],
        SUMMARY: ["P1"],
        "example/overview": [""],
    }
    made = [one for one in lab.events(ALIGNED, "P1-A1|1") if one.kind == MADE][-1]
    assert (made.run_id, made.words) == ("", "made outside Dagster, taken up as it is")
    raw = [one for one in lab.events("example/raw", "P1-A1|1") if one.kind == SEEN][-1]
    assert made.inputs == {"example/raw": raw.version}


def test_dagster_sees_outside_work_become_stale_when_its_input_changes(lab: Lab) -> None:
    put(lab, ALIGNED, "P1-A1|1", {"signal": 500})
    lab.ledger()
    assert lab.stale(ALIGNED, "example/illumination") == {"example/illumination": ["P1-A1"]}
    image(lab, "P1-A1|1").write_text("1")
    lab.ledger()
    assert lab.stale(ALIGNED) == {ALIGNED: ["P1-A1|1"]}


# ---------------------------------------------------------------------- losing it loses nothing


@pytest.mark.parametrize("loss", ["deleted", "garbage", "of another version", "truncated"])
def test_a_lost_database_is_filled_again_from_the_history(lab: Lab, loss: str) -> None:
    image(lab, "P1-A1|0").write_text("5")
    lab.declare = partial(screen.screen_project, P2=2)
    before = [(one.asset, one.key, one.state, one.reasons) for one in lab.ledger().statuses(ASSETS)]
    newest = History(lab.instance).newest()
    ledger = lab.ledger()
    file = ledger.book.path
    if loss == "of another version":
        ledger.book.set("book", "0")
    ledger.book.close()
    for path in file.parent.glob(f"{file.name}-*"):
        path.unlink()
    if loss == "deleted":
        file.unlink()
    elif loss == "garbage":
        file.write_bytes(b"not a database at all" * 1000)
    elif loss == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    after = [(one.asset, one.key, one.state, one.reasons) for one in lab.ledger().statuses(ASSETS)]
    assert after == before
    assert lab.changes == []
    assert History(lab.instance).newest() == newest


def test_a_history_that_was_lost_is_filled_from_what_stands(lab: Lab, tmp_path: Path) -> None:
    """The ledger's records are those of the old history: their storage ids mean nothing in the new one."""
    image(lab, "P1-A1|0").write_text("13")
    lab.ledger()
    lab.make(ALIGNED, keys=["P1-A1|0"])
    image(lab, "P1-A1|0").write_text("100")
    assert lab.states(ALIGNED)["P1-A1|0"] == "failed"
    (tmp_path / "anew").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "anew")) as instance:
        lab.instance = instance
        assert not_done(lab) == {}
        made = {(one.asset, one.key) for asset in ASSETS for one in lab.events(asset) if one.kind == MADE}
        assert made == {(one.asset, one.key) for one in lab.ledger().statuses(ASSETS)}
        image(lab, "P1-A1|1").write_text("5")
        lab.ledger()
        assert lab.make(ALIGNED, keys=["P1-A1|0", "P1-A1|1"]).success
        assert lab.states(ALIGNED) == dict.fromkeys(lab.states(ALIGNED), "done")
        lab.ledger()
        assert lab.changes == []


def test_a_newest_run_that_was_deleted_from_the_history_costs_no_artifact(lab: Lab) -> None:
    image(lab, "P1-A1|1").write_text("5")
    lab.ledger()
    lab.make(ALIGNED, keys=["P1-A1|1"])
    before = {one: lab.states(one) for one in ASSETS}
    newest = History(lab.instance).newest()
    lab.instance.delete_run(lab.instance.get_runs(limit=1)[0].run_id)
    assert History(lab.instance).newest() < newest
    assert {one: lab.states(one) for one in ASSETS} == before
    assert lab.events(ALIGNED, "P1-A1|1")[-1].kind == MADE


def test_a_moved_project_watches_its_files_where_they_are_now(lab: Lab, tmp_path: Path) -> None:
    lab.directory.rename(tmp_path / "moved")
    lab.directory = tmp_path / "moved"
    assert not_done(lab) == {}
    image(lab, "P1-A1|0").write_text("5")
    assert not_done(lab)[ALIGNED] == ["P1-A1|0"]


def _refresh(directory: Path, home: str, ready, results) -> None:
    with DagsterInstance.local_temp(home) as instance:
        lab = Lab(directory, screen.GRAPH, screen.screen_project, instance)
        ready.wait()
        lab.ledger()
        results.put(lab.changes)


def test_of_two_processes_that_refresh_at_once_one_notices_each_change(lab: Lab) -> None:
    for tile in range(3):
        image(lab, f"P1-A1|{tile}").write_text(f"5{tile}")
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(2), context.Queue()
    home = lab.instance.root_directory
    processes = [
        context.Process(target=_refresh, args=(lab.directory, home, ready, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    noticed = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(map(len, noticed)) == [0, 3]
    seen = [one for tile in range(3) for one in lab.events("example/raw", f"P1-A1|{tile}")]
    assert len(seen) == 6, "first seen, and changed: once each"
    assert not_done(lab)[ALIGNED] == [f"P1-A1|{tile}" for tile in range(3)]


# ---------------------------------------------------------------------- names of Dagster's that we rely on


def test_the_names_of_version_tags_are_dagsters() -> None:
    assert history.DATA_VERSION == data_version.DATA_VERSION_TAG
    assert history.GIVEN_BY_USER == data_version.DATA_VERSION_IS_USER_PROVIDED_TAG
    assert history.CODE_VERSION == data_version.CODE_VERSION_TAG
    assert f"{data_version.INPUT_DATA_VERSION_TAG_PREFIX}/" == history.INPUT_VERSION
    assert f"{data_version.INPUT_EVENT_POINTER_TAG_PREFIX}/" == history.INPUT_POINTER
    assert data_version.get_input_event_pointer_tag(asset_key("a/b")) == f"{history.INPUT_POINTER}a/b"


def test_the_newest_storage_id_is_the_same_asked_of_dagster_and_of_its_file(lab: Lab) -> None:
    storage = lab.instance.event_log_storage
    newest = storage.get_maximum_record_id()
    assert newest == History(lab.instance).newest() == newest_storage_id(Path(lab.instance.root_directory))
    lab.instance.report_runless_asset_event(as_dagster(Event(asset=ALIGNED, key="P1-A1|0", kind=SEEN)))
    assert storage.get_maximum_record_id() > newest


def test_events_written_over_one_connection_are_those_written_one_by_one(lab: Lab) -> None:
    """`SqliteEventLogStorage._connect` is private: where Dagster renames it, this test says so."""
    assert isinstance(lab.instance.event_log_storage, SqliteEventLogStorage)
    assert callable(lab.instance.event_log_storage._connect)
    events = [
        Event(asset=ALIGNED, key=f"P1-A1|{number}", kind=MADE, version=hashlib.md5(b"x").hexdigest())
        for number in range(3)
    ]
    with one_connection(lab.instance):
        for event in events:
            lab.instance.report_runless_asset_event(as_dagster(event))
        found = lab.instance.fetch_materializations(AssetRecordsFilter(asset_key(ALIGNED)), limit=3)
        assert [one.partition_key for one in found.records] == ["P1-A1|2", "P1-A1|1", "P1-A1|0"]
    assert "_connect" not in vars(lab.instance.event_log_storage)
    assert [one.version for one in lab.events(ALIGNED)[-3:]] == [one.version for one in events]


def test_threads_take_turns_on_the_one_connection(lab: Lab) -> None:
    """A signal is logged from a thread of its own while the runner tells what it made."""
    errors: list[Exception] = []

    def report(of: int) -> None:
        try:
            for number in range(25):
                event = Event(asset=ALIGNED, key=f"P1-A1|{of}", kind=MADE, version=f"{of}.{number}")
                lab.instance.report_runless_asset_event(as_dagster(event))
        except Exception as error:
            errors.append(error)

    with one_connection(lab.instance):
        threads = [threading.Thread(target=report, args=(of,)) for of in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert errors == []
    for of in range(4):
        told = [one.version for one in lab.events(ALIGNED, f"P1-A1|{of}")]
        assert told[-25:] == [f"{of}.{number}" for number in range(25)]
