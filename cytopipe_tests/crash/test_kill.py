"""kill -9 at random moments: every read afterwards is old or new, whole, and what was acknowledged is
there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cytopipe.storage import Store
from cytopipe.testing import CONTRACTS, Contract, Torn, inject_faults, kill_writers

ORDINARY = 50
LONG = int(os.environ.get("CYTOPIPE_KILLS", "500"))


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_killed_writer_leaves_the_old_or_the_new_version(name, tmp_path):
    figures = kill_writers(CONTRACTS[name], tmp_path, ORDINARY)
    assert figures.clean, str(figures)
    assert figures.old + figures.new == ORDINARY


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", CONTRACTS)
def test_hundreds_of_killed_writers_leave_nothing_torn_and_nothing_lost(name, tmp_path):
    figures = kill_writers(CONTRACTS[name], tmp_path, LONG, seed=1)
    print(f"\n{name}: {figures}")
    assert figures.clean, str(figures)


def test_killed_writers_leave_nothing_that_a_sweep_does_not_remove(tmp_path):
    contract = CONTRACTS["zarr"]
    kill_writers(contract, tmp_path, 10, seed=2)
    store = Store(tmp_path)
    before = contract.read(store)
    store.sweep(0)
    assert contract.read(store) == before
    assert list(tmp_path.rglob(".staging/*")) == []
    assert len([path for path in tmp_path.glob("plates/.plate.zarr.versions/*") if path.is_dir()]) == 1
    assert store.verify() == []


# --------------------------------------------------------------------------- does the harness see anything?


def _publish_plainly(store: Store, version: int) -> None:
    """What a plain writer does: open the final path and write."""
    with (store.root / "state.json").open("w") as stream:
        for part in (f'{{"version": {version}, ', f'"body": {[version] * 400}', "}"):
            stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())


def _read_plainly(store: Store) -> int:
    document = json.loads((store.root / "state.json").read_text())
    if document["body"] != [document["version"]] * 400:
        raise Torn("two versions")
    return document["version"]


PLAIN = Contract("plain json", _publish_plainly, _read_plainly)


def test_the_harness_sees_a_plain_writer_tear(tmp_path: Path):
    """Control: the same kills, on a writer without the protocol."""
    figures = kill_writers(PLAIN, tmp_path, 20)
    assert figures.torn > 0


def test_the_harness_sees_a_plain_writer_fail_at_the_kth_call(tmp_path: Path):
    pytest.importorskip("shutil").which("strace") or pytest.skip("strace is not installed")
    assert inject_faults(PLAIN, tmp_path, "EIO", stride=4).torn > 0
