"""Receipts are read from manifests alone, cheaply, and are never old; no content is digested twice."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cytopipe.errors import DamagedError, StorageError
from cytopipe.provenance import Input, Provenance, counting_digests
from cytopipe.storage import Store, Sync
from cytopipe.storage.fasta import format_fasta

MADE = Provenance(what="a test", inputs=(Input(path="in.fasta", sha256="0" * 64),), parameters={"k": 3})
PLACES = {"file": ("f/x.json", None), "directory": ("t/p.zarr", None), "set": ("s", "initial")}


def publish(store: Store, kind: str, version: int, provenance: Provenance | None = MADE) -> str:
    text = format_fasta([(f"v{version}", "ACGT" * 100)])
    if kind == "file":
        return store.publish_bytes("f/x.json", text, provenance=provenance).sha256
    if kind == "set":
        files = {f"initial.{i}.fasta": format_fasta([(f"v{version}", "ACGT" * (i + 1))]) for i in range(30)}
        owns, extra = "initial.*.fasta", {"state.json": b"%d" % version}
        return store.publish_set("s", "initial", files, owns=owns, extra=extra, provenance=provenance).sha256

    def write(path: Path) -> None:
        path.mkdir()
        for i in range(30):
            (path / f"{i}").write_bytes(text + b"%d" % i)

    return store.publish_directory("t/p.zarr", write, provenance=provenance).sha256


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "out", sync=Sync.NONE)


@pytest.mark.parametrize("kind", PLACES)
def test_a_receipt_says_who_made_it_from_what(store, kind):
    sha256 = publish(store, kind, 1)
    receipt = store.receipt(*PLACES[kind])
    assert receipt.version == sha256 and receipt.provenance == MADE and receipt.inputs == MADE.inputs
    assert receipt.n_files == (1 if kind == "file" else 30)
    assert receipt.size_bytes == store.manifest(*PLACES[kind]).size_bytes


@pytest.mark.parametrize("kind", PLACES)
def test_a_receipt_is_never_that_of_an_older_version(store, kind):
    for version in range(20):
        sha256 = publish(store, kind, version)
        assert store.receipt(*PLACES[kind]).version == sha256
        if version % 7 == 0:
            time.sleep(0.06)
            assert store.receipt(*PLACES[kind]).version == sha256


@pytest.mark.parametrize("kind", PLACES)
def test_a_receipt_that_was_read_before_is_cheap_and_digests_nothing(store, kind):
    publish(store, kind, 1)
    time.sleep(0.06)
    with counting_digests() as digests:
        first = store.receipt(*PLACES[kind])
        began = time.process_time()
        for _ in range(2000):
            assert store.receipt(*PLACES[kind]) is first
        each_us = (time.process_time() - began) / 2000 * 1e6
    assert not digests
    assert each_us < 100, f"{each_us:.0f} us"


@pytest.mark.parametrize("kind", PLACES)
def test_where_nothing_was_published_there_is_no_receipt(store, kind):
    with pytest.raises(StorageError):
        store.receipt(*PLACES[kind])


def test_a_damaged_manifest_has_no_receipt(store):
    publish(store, "file", 1)
    time.sleep(0.06)
    store.receipt("f/x.json")
    sidecar = store.root / "f/.x.json.manifest.json"
    sidecar.write_bytes(sidecar.read_bytes().replace(b"a test", b"a jest"))
    with pytest.raises(DamagedError):
        store.receipt("f/x.json")


@pytest.mark.parametrize("kind", PLACES)
def test_no_content_is_digested_twice_by_its_publication(store, kind):
    with counting_digests() as digests:
        publish(store, kind, 1)
        store.receipt(*PLACES[kind])
    assert len(digests) >= (1 if kind == "file" else 30)
    assert set(digests.values()) == {1}


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_the_next_version_digests_nothing_of_the_old_one(store, kind):
    publish(store, kind, 1)
    with counting_digests() as digests:
        publish(store, kind, 2)
    assert set(digests.values()) == {1}
    assert not set(digests) & {entry.sha256 for entry in _entries(store, kind, 1)}


def _entries(store: Store, kind: str, version: int):
    other = Store(store.root / f"again{version}", sync=Sync.NONE)
    publish(other, kind, version)
    return other.manifest(*PLACES[kind]).files.values()
