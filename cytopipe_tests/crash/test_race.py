"""Eight writers over one another, and readers meanwhile: every reading is whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from cytopipe.storage import Store
from cytopipe.testing import CONTRACTS, race


@pytest.mark.parametrize("name", CONTRACTS)
def test_readers_beside_eight_writers_read_whole_versions(name, tmp_path):
    figures = race(CONTRACTS[name], tmp_path, writers=8, readers=2, seconds=1.5)
    assert figures.clean, str(figures)
    assert figures.new > 0
    store = Store(tmp_path)
    CONTRACTS[name].read(store)
    assert store.verify() == []


WRITER = """
import itertools, sys
from cytopipe.storage import Store, Sync
from cytopipe.testing import CONTRACTS

store, names = Store(sys.argv[1], sync=Sync.NONE), sys.argv[2].split(",")
print("ready", flush=True)
for version in itertools.count(1):
    for name in names:
        CONTRACTS[name].publish(store, version)
    if version % 5 == 0:
        store.sweep(0)
"""


@pytest.fixture
def beside_a_writer(tmp_path):
    """A process that publishes new versions without a pause, and sweeps the old ones at once."""
    processes = []

    def start(*names: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER, str(tmp_path), ",".join(names)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "ready\n"
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("names", [("json",), ("zarr",), ("fasta set",), ("json", "zarr", "fasta set")])
def test_verify_beside_a_writer_reports_no_damage_where_there_is_none(names, tmp_path, beside_a_writer):
    store = Store(tmp_path)
    writer = beside_a_writer(*names)
    end, readings, told = time.monotonic() + 3, 0, []
    while time.monotonic() < end or readings < 20:
        told += store.verify()
        readings += 1
    assert writer.poll() is None
    assert told == [], f"{len(told)} differences in {readings} readings"


def test_verify_beside_writers_that_are_killed_reports_no_damage(tmp_path, beside_a_writer):
    """What a killed writer left half-way is finished first, also when it dies while we look."""
    store, told = Store(tmp_path), []
    for name in ("json", "zarr", "fasta set"):
        CONTRACTS[name].publish(store, 1)
    for turn in range(6):
        writer = beside_a_writer("fasta set", "json", "zarr")
        end = time.monotonic() + 0.15 + 0.03 * turn
        while time.monotonic() < end:
            told += store.verify()
        os.kill(writer.pid, signal.SIGKILL)
        told += store.verify()
    assert told == []


def test_damage_is_still_told_beside_a_writer(tmp_path, beside_a_writer):
    store = Store(tmp_path)
    store.publish_bytes("state/other.json", b"whole")
    (tmp_path / "state/other.json").write_bytes(b"wrong")
    beside_a_writer("json", "fasta set")
    assert {(one.kind, one.path.name) for _ in range(30) for one in store.verify()} == {
        ("changed", "other.json")
    }
