"""The corners of the protocol: journals met half-way, drafts of the dead and the living, what a place can
do.
"""

from __future__ import annotations

import ast
import dataclasses
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cytopipe.storage as door
from cytopipe.errors import (
    BusyError,
    DamagedError,
    ResumeError,
    StorageError,
    UnsupportedFilesystemError,
)
from cytopipe.faults import explained
from cytopipe.storage import Store, Sync, filesystem, sets
from cytopipe.storage.draft import drafting, watched
from cytopipe.storage.filesystem import FileSystem, kind_at, locked, make_folder
from cytopipe.storage.journal import JOURNAL

OWNS = "initial.*.fasta"
OLD = {"initial.1.fasta": b">a\nAC\n", "initial.2.fasta": b">b\nGG\n"}
NEW = {"initial.1.fasta": b">a\nACC\n", "initial.3.fasta": b">c\nTT\n"}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "out", sync=Sync.NONE)


@pytest.fixture
def interrupted(store, monkeypatch) -> Store:
    """A store whose set `initial` was being replaced when its writer died, right after the commit."""
    store.publish_set("d", "initial", OLD, owns=OWNS, extra={"state.json": b"1"})

    class Died(BaseException):
        pass

    def die(*arguments):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(sets, "finish", die)
        with pytest.raises(Died):
            store.publish_set("d", "initial", NEW, owns=OWNS, extra={"state.json": b"2"})
    assert (store.root / "d" / JOURNAL).exists()
    return store


# --------------------------------------------------------------------------- journals


@pytest.mark.parametrize(
    "opener",
    [
        lambda store: store.recover("d"),
        lambda store: store.read_set("d", "initial"),
        lambda store: store.read_bytes("d/state.json"),
        lambda store: store.open_file("d/state.json"),
        lambda store: store.classify_set("d", "initial"),
        lambda store: store.manifest("d", "initial"),
        lambda store: store.verify(),
        lambda store: store.sweep(0),
        lambda store: store.accept_set("d", "initial"),
        lambda store: store.publish_set("d", "initial", NEW, owns=OWNS),
    ],
    ids=[
        "recover",
        "read_set",
        "read",
        "open",
        "classify",
        "manifest",
        "verify",
        "sweep",
        "accept",
        "publish",
    ],
)
def test_whoever_opens_a_folder_first_rolls_its_journal_forward(interrupted, opener):
    opener(interrupted)
    assert interrupted.read_set("d", "initial", extra="state.json") == NEW | {"state.json": b"2"}
    assert interrupted.verify() == []
    assert not (interrupted.root / "d" / ".staging").exists()


def test_an_edit_made_while_a_checkpoint_was_unfinished_is_not_lost(interrupted):
    edited = interrupted.root / "d/initial.1.fasta"
    edited.write_bytes(b">mine\nACGT\n")
    with pytest.raises(ResumeError, match=r"initial\.1\.fasta: was edited by hand while"):
        interrupted.read_set("d", "initial")
    assert edited.read_bytes() == b">mine\nACGT\n"
    assert interrupted.sweep(0).problems
    edited.rename(interrupted.root / "d" / "mine.fasta")
    assert interrupted.read_set("d", "initial") == NEW


def test_a_stale_file_edited_meanwhile_is_not_removed(interrupted):
    (interrupted.root / "d/initial.2.fasta").write_bytes(b">mine\nACGT\n")
    with pytest.raises(ResumeError, match=r"initial\.2\.fasta"):
        interrupted.recover("d")


def test_a_damaged_journal_is_told_and_nothing_is_touched(interrupted):
    journal = interrupted.root / "d" / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(b"initial.3", b"initial.9"))
    before = sorted(path.name for path in (interrupted.root / "d").iterdir())
    with pytest.raises(DamagedError, match="journal is not what was written"):
        interrupted.recover("d")
    assert sorted(path.name for path in (interrupted.root / "d").iterdir()) == before


def test_a_folder_with_an_unfinished_checkpoint_can_be_moved_and_opened_elsewhere(interrupted, tmp_path):
    (interrupted.root / "d").rename(tmp_path / "elsewhere")
    assert Store(tmp_path / "elsewhere").read_set(".", "initial") == NEW


def test_a_file_kept_as_it_was_needs_no_bytes(store):
    store.publish_set("d", "initial", OLD, owns=OWNS)
    store.publish_set("d", "initial", {"initial.1.fasta": None, "initial.3.fasta": b">c\nA\n"}, owns=OWNS)
    assert store.read_set("d", "initial") == {
        "initial.1.fasta": OLD["initial.1.fasta"],
        "initial.3.fasta": b">c\nA\n",
    }


def test_a_file_that_rots_is_damage_and_not_an_edit(store):
    """Content that changed while its time of modification did not was changed by no person."""
    store.publish_set("d", "initial", OLD, owns=OWNS)
    path = store.root / "d/initial.1.fasta"
    times = path.stat()
    path.write_bytes(b">a\nAG\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert store.classify_set("d", "initial").kind == "damaged"


# --------------------------------------------------------------------------- drafts and locks


def test_a_dead_draft_is_swept_and_a_living_one_is_not(store):
    dead = store.root / ".staging" / "dead"
    dead.mkdir(parents=True)
    (dead / "half.h5ad").write_bytes(b"x" * 100)
    with drafting(store.root / ".staging") as living:
        (living / "half.json").write_bytes(b"x")
        swept = store.sweep(0)
        assert (swept.drafts, swept.kept, swept.size_bytes) == (1, 1, 100)
        assert (living / "half.json").exists()
    assert not dead.exists()


def test_opening_a_store_sweeps_what_the_dead_left(store):
    (store.root / ".staging" / "dead").mkdir(parents=True)
    Store(store.root)
    assert not (store.root / ".staging" / "dead").exists()


def test_a_version_that_was_never_linked_is_swept_by_age(store):
    store.publish_directory("p.zarr", lambda path: path.mkdir())
    orphan = store.root / ".p.zarr.versions" / "20200101T000000.000000Z-00000000"
    orphan.mkdir()
    assert store.sweep(3600).versions == 0 and orphan.exists()
    assert store.sweep(0).versions == 1 and not orphan.exists()
    assert store.verify() == []


def test_a_lock_is_refused_while_somebody_holds_it(tmp_path):
    with locked(tmp_path), pytest.raises(BusyError), locked(tmp_path, wait=False):
        pass
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True, wait=False):
        pass


# --------------------------------------------------------------------------- places


def test_a_place_is_probed_and_nothing_is_left(tmp_path):
    found = Store(tmp_path).filesystem
    assert found.replaces and found.links_symbolically and found.locks
    assert found.shortcomings() == []
    assert list(tmp_path.rglob("*")) == [tmp_path / ".staging"]


def test_a_place_without_links_or_locks_says_what_happens_instead():
    poor = FileSystem(True, False, False, False, True)
    assert len(poor.shortcomings()) == 2
    assert "nothing can be published" in dataclasses.replace(poor, replaces=False).shortcomings()[0]


def test_a_place_where_rename_does_not_replace_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "_try_replace", lambda scratch: False)
    with pytest.raises(UnsupportedFilesystemError, match="rename does not replace"):
        Store(tmp_path / "poor")


@pytest.mark.parametrize("sync", Sync)
def test_every_setting_of_the_dial_publishes_every_kind(sync, tmp_path):
    store = Store(tmp_path, sync=sync)
    store.publish_bytes("a.json", b"1")
    store.publish_directory("p.zarr", lambda path: make_folder(path / "c"))
    store.publish_set("d", "initial", {f"initial.{i}.fasta": b">a\nA\n" for i in range(20)}, owns=OWNS)
    assert store.verify() == []


def test_a_fault_is_not_taken_for_absence(tmp_path, monkeypatch):
    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "lstat", fail)
    with pytest.raises(OSError, match="Input/output"):
        kind_at(tmp_path / "x")


# --------------------------------------------------------------------------- faults in words


def test_what_hdf5_prints_about_a_full_disk_is_told_as_that(tmp_path):
    with pytest.raises(StorageError, match="the disk is full"), explained("publishing", tmp_path):
        raise RuntimeError(
            "Can't decrement id ref count (file write failed: errno = 28, error message = 'x')"
        )
    with pytest.raises(RuntimeError, match="mine"), explained("publishing", tmp_path):
        raise RuntimeError("mine")
    with pytest.raises(FileNotFoundError), explained("publishing", tmp_path):
        Path(tmp_path / "nothing").read_bytes()


def test_what_a_destructor_could_not_raise_is_raised():
    class Dataset:
        def __del__(self):
            raise RuntimeError("Can't decrement id ref count")

    with pytest.raises(RuntimeError, match="decrement"), watched():
        dataset = Dataset()
        del dataset


# --------------------------------------------------------------------------- the door


def test_the_door_names_what_it_holds():
    assert all(hasattr(door, name) for name in door.__all__)


def test_the_room_opens_without_heavy_libraries():
    script = (
        "import sys, cytopipe.storage, cytopipe.storage.fasta, cytopipe.storage.state, "
        "cytopipe.storage.formats.table, cytopipe.storage.formats.figure, cytopipe.storage.formats.h5ad, "
        "cytopipe.storage.formats, "
        "cytopipe.storage.guard.hdf5, cytopipe.storage.guard.zarr_store, cytopipe.storage.guard.tiff\n"
        "heavy = {'numpy', 'pandas', 'h5py', 'anndata', 'zarr', 'pyarrow', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_module_of_the_room_opens_a_published_file_for_change():
    """Modes `r+` and `a` do not occur; what is published is replaced, never changed."""
    for path in Path(door.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in ("r+", "r+b", "a", "ab"):
                pytest.fail(f"{path.name}:{node.lineno}")


def test_an_unchanged_checkpoint_is_not_read_again(store, monkeypatch):
    """What a process has published or read itself is known by its status, as in git's index."""
    files = {f"initial.{i}.fasta": b">a\nACGT\n" for i in range(30)}
    store.publish_set("d", "initial", files, owns=OWNS)
    time.sleep(0.06)
    store.publish_set("d", "initial", files, owns=OWNS)
    read = []
    monkeypatch.setattr(sets, "digest_file", lambda path: read.append(path) or pytest.fail(str(path)))
    store.publish_set("d", "initial", files | {"initial.99.fasta": b">b\nA\n"}, owns=OWNS)
    assert read == []
