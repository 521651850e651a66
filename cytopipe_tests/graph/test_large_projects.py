"""What a large project would pay for: nothing is looked at, listed or told one by one that need not be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cytopipe.defs import ledger as ledger_module
from cytopipe.defs.selection import choose, held, select
from cytopipe.defs.stamps import Listing, stamp_of_place
from cytopipe.screen.quality.files import MONTAGES
from cytopipe.storage.archive import Place
from cytopipe_tests.graph.examples.lab import Lab


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files at which the ledger looks."""
    found: list[str] = []
    look = ledger_module.stamp_of_file

    def noted(path: Path | str) -> str:
        found.append(os.path.basename(path))  # noqa: PTH119
        return look(path)

    monkeypatch.setattr(ledger_module, "stamp_of_file", noted)
    return found


def change(lab: Lab, well: str, tile: int) -> None:
    (lab.directory / "images" / f"{well}_T{tile}").write_text("701")


def test_after_a_run_a_refresh_looks_at_none_of_the_files_beside_those_it_wrote(
    lab: Lab, looked_at: list[str]
) -> None:
    change(lab, "P1-A2", 1)
    assert lab.make("example/aligned", keys=["P1-A2|0", "P1-A2|1", "P1-A2|2"]).success
    looked_at.clear()
    ledger = lab.ledger()
    assert [name for name in looked_at if name.endswith(".json")] == []
    assert ledger.status("example/aligned", "P1-A2|1").state == "done"


def test_what_another_writer_did_in_the_folder_of_a_run_is_noticed(lab: Lab) -> None:
    ledger = lab.ledger()
    own, other = (ledger.places.place("example/aligned", f"P1-A2|{tile}") for tile in (0, 1))
    root = ledger.archive.root
    (root / other.path).unlink()
    with ledger.publishing(own) as told:
        data = (root / own.path).read_bytes()
        (root / own.path).unlink()
        (root / own.path).write_bytes(data)
    told()
    assert lab.states("example/aligned")["P1-A2|1"] == "stale"
    assert "its files are gone" in lab.reasons("example/aligned", "P1-A2|1")[0]


def test_what_a_killed_run_published_and_did_not_tell_is_looked_at(lab: Lab, looked_at: list[str]) -> None:
    ledger = lab.ledger()
    place = ledger.places.place("example/aligned", "P1-A2|0")
    path = ledger.archive.root / place.path
    with ledger.publishing(place):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    looked_at.clear()
    lab.ledger()
    assert path.name in looked_at


def test_sets_of_one_folder_are_found_in_one_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for well in ("A1", "A10", "A2"):
        for end in ("cells.tsv", "gene.png", "gene.tiff"):
            (tmp_path / f"P-1_W-{well}__{end}").write_text(f"{well} {end}")
    places = [Place("", f"P-1_W-{well}_") for well in ("A1", "A10", "A2", "A3")]
    alone = [stamp_of_place(tmp_path, one, MONTAGES) for one in places]
    listed: list[object] = []
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or list_folder(path))
    listing = Listing()
    assert [stamp_of_place(tmp_path, one, MONTAGES, listing) for one in places] == alone
    assert len(listed) == 1 and len(set(alone)) == 4 and alone[3] == ""


def test_what_is_done_is_left_out_of_a_selection_but_for_what_has_a_note(lab: Lab) -> None:
    change(lab, "P1-A2", 1)
    ledger = lab.ledger()
    every = choose(ledger, ["example/cells"], again=True)
    noted = choose(ledger, ["example/cells"], again=True, noted=True)
    assert noted == [one for one in every if one.state != "done" or one.reasons]
    assert len(every) > len(noted) > 0
    assert select(ledger, ["example/cells"], noted=True) == [
        one for one in select(ledger, ["example/cells"]) if one.state != "done"
    ]
    assert held(ledger) == []


def test_what_a_choice_is_made_from_is_chosen_with_it_across_sets_of_partitions(lab: Lab) -> None:
    ledger = lab.ledger()
    found: dict[str, list[str]] = {}
    for one in choose(ledger, ["example/cells"], ["P1-A2"], again=True):
        found.setdefault(one.asset.removeprefix("example/"), []).append(one.key)
    tiles = [f"P1-A2|{tile}" for tile in range(3)]
    assert found == {
        "aligned": tiles,
        "illumination": ["P1-A2"],
        "corrected": tiles,
        "cells": ["P1-A2"],
    }
