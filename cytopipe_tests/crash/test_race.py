"""Eight writers over one another, and readers meanwhile: every reading is whole."""

from __future__ import annotations

import multiprocessing

import pytest

from cytopipe.storage import Store, Sync
from cytopipe.testing import CONTRACTS, race


@pytest.mark.parametrize("name", CONTRACTS)
def test_readers_beside_eight_writers_read_whole_versions(name, tmp_path):
    figures = race(CONTRACTS[name], tmp_path, writers=8, readers=2, seconds=1.5)
    assert figures.clean, str(figures)
    assert figures.new > 0
    store = Store(tmp_path)
    CONTRACTS[name].read(store)
    assert store.verify() == []


def _claim(root, results) -> None:
    store = Store(root, sync=Sync.NONE)
    results.put([store.claim("log", b"{}")[0] for _ in range(25)])


def test_eight_claimants_never_get_the_same_number(tmp_path):
    context = multiprocessing.get_context("forkserver")
    results = context.Queue()
    processes = [context.Process(target=_claim, args=(tmp_path, results)) for _ in range(8)]
    for process in processes:
        process.start()
    claimed = [number for _ in processes for number in results.get(timeout=60)]
    for process in processes:
        process.join()
    assert sorted(claimed) == list(range(1, 201))
