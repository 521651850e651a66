"""The store's verbs, one example each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cytopipe.errors import DamagedError, RefusedError, ResumeError, StorageError, UnsafeNameError
from cytopipe.provenance import Provenance
from cytopipe.storage import Store, Sync

OWNS = "initial.*.fasta"
A = b">a one\nACGT\n>b\nGGCC\n"
B = b">c\nTTTT\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "out", sync=Sync.NONE)


def grow(folder: Path, content: bytes = b"chunk") -> None:
    (folder / "c").mkdir(parents=True)
    (folder / "zarr.json").write_bytes(b"{}")
    (folder / "c" / "0").write_bytes(content)


def test_a_published_file_is_read_back_with_its_provenance(store):
    made = store.publish_bytes("a/b.json", b"{}", provenance=Provenance(what="a test"))
    assert store.read_bytes("a/b.json") == b"{}"
    assert store.manifest("a/b.json").provenance["what"] == "a test"
    assert made.sha256 == store.manifest("a/b.json").sha256
    assert json.loads(made.manifest_path.read_bytes())["kind"] == "file"


def test_a_second_publication_is_the_next_version(store):
    first = store.publish_bytes("x.json", b"1")
    second = store.publish_bytes("x.json", b"2")
    assert (first.version, second.version) == (1, 2)
    assert store.read_bytes("x.json") == b"2"


def test_what_fails_validation_is_not_published(store):
    store.publish_bytes("x.json", b"old")

    def refuse(path):
        raise RefusedError("no")

    with pytest.raises(RefusedError):
        store.publish_bytes("x.json", b"new", validate=refuse)
    assert store.read_bytes("x.json") == b"old"
    assert list((store.root / ".staging").iterdir()) == []


def test_a_writer_that_leaves_no_file_is_told(store):
    with pytest.raises(StorageError, match="left no file"):
        store.publish_file("x.h5ad", lambda path: None)


def test_a_changed_file_is_damage_for_every_reader(store):
    store.publish_bytes("x.json", b"old")
    (store.root / "x.json").write_bytes(b"odd")
    with pytest.raises(DamagedError, match="changed"):
        store.read_bytes("x.json")
    with pytest.raises(DamagedError):
        store.open_file("x.json")
    assert [difference.kind for difference in store.verify()] == ["changed"]


def test_a_file_nobody_published_is_not_read_as_published(store):
    (store.root / "x.json").write_bytes(b"mine")
    with pytest.raises(StorageError):
        store.read_bytes("x.json")


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\0b", "a\nb", ""])
def test_no_path_leaves_the_root(store, path):
    with pytest.raises(UnsafeNameError):
        store.publish_bytes(path or " ", b"")


def test_a_link_that_leads_out_is_not_followed(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (store.root / "in").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeNameError, match="leaves its root"):
        store.publish_bytes("in/x.json", b"")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_directory_is_published_as_a_link_to_a_version(store):
    made = store.publish_directory("plate.zarr", grow)
    assert (store.root / "plate.zarr").is_symlink()
    assert (store.open_directory("plate.zarr") / "c" / "0").read_bytes() == b"chunk"
    assert made.files == 2
    assert store.verify() == []


def test_a_reader_that_resolved_once_keeps_its_version(store):
    store.publish_directory("plate.zarr", grow)
    old = store.open_directory("plate.zarr")
    store.publish_directory("plate.zarr", lambda path: grow(path, b"new"))
    assert (old / "c" / "0").read_bytes() == b"chunk"
    assert (store.open_directory("plate.zarr") / "c" / "0").read_bytes() == b"new"


def test_versions_retire_by_age(store):
    store.publish_directory("plate.zarr", grow)
    old = store.open_directory("plate.zarr")
    store.publish_directory("plate.zarr", lambda path: grow(path, b"new"))
    assert store.sweep(3600).versions == 0 and old.exists()
    assert store.sweep(0).versions == 1 and not old.exists()
    assert store.verify() == []


def test_a_directory_of_others_is_not_replaced(store):
    grow(store.root / "plate.zarr")
    with pytest.raises(RefusedError, match="something else"):
        store.publish_directory("plate.zarr", grow)


def test_a_tree_with_a_link_is_not_published(store, tmp_path):
    def write(path):
        grow(path)
        (path / "out").symlink_to(tmp_path)

    with pytest.raises(RefusedError):
        store.publish_directory("plate.zarr", write)


def test_a_set_holds_exactly_what_was_given(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": B}, owns=OWNS)
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.3.fasta": B}, owns=OWNS)
    assert store.read_set("d", "initial") == {"initial.1.fasta": A, "initial.3.fasta": B}
    assert sorted(path.name for path in (store.root / "d").iterdir()) == [
        ".initial.manifest.json",
        "initial.1.fasta",
        "initial.3.fasta",
    ]


def test_unchanged_files_of_a_set_are_not_rewritten(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": B}, owns=OWNS)
    before = (store.root / "d/initial.1.fasta").stat()
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": A}, owns=OWNS)
    after = (store.root / "d/initial.1.fasta").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_extra_is_committed_with_the_set_and_can_be_verified(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A}, owns=OWNS, extra={"state.json": b"{}"})
    assert store.read_bytes("d/state.json") == b"{}"
    assert store.verify() == []


def test_two_sets_share_a_folder(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A}, owns=OWNS)
    store.publish_set("d", "final", {"cluster_1.fasta": A}, owns=("cluster_*.fasta", "unassigned.fasta"))
    store.publish_set("d", "initial", {}, owns=OWNS)
    assert store.read_set("d", "final") == {"cluster_1.fasta": A}


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: (folder / "initial.1.fasta").write_bytes(A + B),
        lambda folder: (folder / "initial.1.fasta").unlink(),
        lambda folder: (folder / "initial.9.fasta").write_bytes(B),
    ],
    ids=["changed", "removed", "added"],
)
def test_a_hand_edit_is_not_overwritten_until_it_is_accepted(store, edit):
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": B}, owns=OWNS)
    edit(store.root / "d")
    before = {path.name: path.read_bytes() for path in (store.root / "d").iterdir()}
    with pytest.raises(ResumeError, match=r"by hand|not written by cytopipe"):
        store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": A}, owns=OWNS)
    assert {path.name: path.read_bytes() for path in (store.root / "d").iterdir()} == before
    assert store.classify_set("d", "initial").kind == "edited"
    store.accept_set("d", "initial")
    assert store.classify_set("d", "initial").kind == "whole"
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": A}, owns=OWNS)
    assert store.read_set("d", "initial") == {"initial.1.fasta": A, "initial.2.fasta": A}


def test_files_of_others_in_the_way_of_a_first_publication_are_kept(store):
    (store.root / "d").mkdir()
    (store.root / "d/initial.7.fasta").write_bytes(B)
    with pytest.raises(ResumeError, match="not written by cytopipe"):
        store.publish_set("d", "initial", {"initial.1.fasta": A}, owns=OWNS)
    assert (store.root / "d/initial.7.fasta").read_bytes() == B


def test_an_edit_is_told_record_by_record(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A, "initial.2.fasta": B}, owns=OWNS)
    (store.root / "d/initial.1.fasta").write_bytes(b">a one\nACGA\n>new\nAA\n>z\nA\n")
    (store.root / "d/initial.2.fasta").unlink()
    first, second = store.classify_set("d", "initial").differing
    assert (first.kind, first.added, first.removed, first.changed) == ("edited", ("new", "z"), ("b",), ("a",))
    assert (second.kind, second.removed) == ("removed", ("c",))


def test_a_damaged_set_names_file_and_line_and_is_not_accepted(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A}, owns=OWNS)
    (store.root / "d/initial.1.fasta").write_bytes(b">a one\nAC\0T\n")
    state = store.classify_set("d", "initial")
    assert state.kind == "damaged"
    assert "initial.1.fasta:2: NUL" in str(state.findings[0])
    with pytest.raises(DamagedError, match="NUL"):
        store.accept_set("d", "initial")


def test_a_set_cut_off_is_damage(store):
    store.publish_set("d", "initial", {"initial.1.fasta": A}, owns=OWNS)
    (store.root / "d/initial.1.fasta").write_bytes(A[:9])
    assert store.classify_set("d", "initial").kind == "damaged"


def test_a_wide_pattern_is_no_claim_on_the_sets_own_manifest(tmp_path):
    """``*.json`` owns what a shell's ``*.json`` finds: publishing twice leaves a whole set, nothing extra."""
    store = Store(tmp_path)
    for data in (b"1", b"2"):
        store.publish_set("report", "report", {"summary.json": data}, owns=("*.json", "*.tsv"))
    assert store.verify() == []
