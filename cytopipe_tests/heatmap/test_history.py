"""The manifest of a folder is a memory: it never differs from the files, and hides nothing."""

from __future__ import annotations

import json
import time

import h5py
import numpy as np
import pytest

from cytopipe.errors import InputError
from cytopipe.heatmap.format import CHECKPOINT, CHECKPOINT_ZARR
from cytopipe.heatmap.index import MANIFEST, open_history
from cytopipe.heatmap.state import id_of_recipe
from cytopipe.views.checkpoints.data import nodes_of
from cytopipe_tests.heatmap.states import make_state


@pytest.fixture
def family(tmp_path):
    """root -> middle -> leaf, and a merge of middle and leaf in a sub-folder."""
    root = make_state(6, 3)
    middle = root.child(2, id=id_of_recipe("middle"), created_at="2026-11-25T03:00:00Z")
    leaf = middle.child(6, id=id_of_recipe("leaf"), created_at="2026-11-25T04:00:00Z")
    merge = middle.child("merge", beside=[leaf], id=id_of_recipe("merge"), created_at="2026-11-25T05:00:00Z")
    (tmp_path / "sub").mkdir()
    states = {"root": root, "middle": middle, "leaf": leaf, "sub/merge": merge}
    for name, state in states.items():
        CHECKPOINT.write(tmp_path / f"{name}.h5ad", state)
    return tmp_path, states


def told(folder):
    """What a history says, from its files alone and from its manifest: they have to be the same."""
    remembered = nodes_of(open_history(folder))
    (folder / MANIFEST).unlink()
    assert nodes_of(open_history(folder, remember=False)) == remembered
    assert not (folder / MANIFEST).exists()
    return remembered


def test_nodes_come_parents_first_with_their_children(family):
    folder, states = family
    history = open_history(folder)
    assert history.ids == tuple(state.id for state in states.values())
    assert history.children[states["middle"].id] == (states["leaf"].id, states["sub/merge"].id)
    assert history.roots == (states["root"].id,)
    assert history.findings() == () and history.deleted == {}
    again = open_history(folder)
    assert (history.read, again.read) == (4, 0)
    assert nodes_of(again) == nodes_of(history)
    assert {node["badges"][0]["text"] for node in told(folder)} == {"6 x 3"}


def test_deleting_a_parent_hides_nothing(family):
    folder, states = family
    open_history(folder)
    (folder / "middle.h5ad").unlink()
    nodes = {node["id"]: node for node in told(folder)}
    assert len(nodes) == 4
    gone = nodes[states["middle"].id]
    assert gone["badges"][0]["text"] == "deleted" and gone["step"] == "revise metaclusters"
    assert gone["parents"] == [states["root"].id]
    (folder / "root.h5ad").unlink()
    assert len(told(folder)) == 4
    with pytest.raises(InputError, match="was deleted"):
        open_history(folder).find(states["root"].id)


def test_what_nobody_was_made_from_is_forgotten_with_its_file(family):
    folder, _ = family
    open_history(folder)
    (folder / "sub/merge.h5ad").unlink()
    assert len(told(folder)) == 3


def test_a_changed_file_is_read_again_and_only_that(family):
    folder, states = family
    open_history(folder)
    CHECKPOINT.write(folder / "leaf.h5ad", states["leaf"].replace(description="another"))
    history = open_history(folder)
    assert history.read == 1
    assert history.find("leaf.h5ad").description == "another"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": [0, "1.0.0"], "files": [], "deleted": []}',
        b'{"version": [1, "1.0.0"], "files": [{"path": 1}], "deleted": []}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_wrong_manifest_is_made_again_from_the_files(content, family):
    folder, states = family
    (folder / MANIFEST).write_bytes(content)
    assert open_history(folder).ids == tuple(state.id for state in states.values())
    assert open_history(folder).read == 0


def test_a_manifest_with_damaged_entries_is_not_believed(family):
    folder, states = family
    open_history(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][0]["document"]["checkpoint"]["id"] = "<script>"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert open_history(folder).ids == tuple(state.id for state in states.values())


def test_what_is_no_checkpoint_is_told_beside_the_others(family):
    folder, states = family
    (folder / "other.h5ad").write_bytes(b"x")
    with h5py.File(folder / "plain.h5ad", "w") as file:
        file["X"] = np.zeros(3)
    for name, text in {"list": "[]", "bad": "{", "deep": "[" * 100_000, "no": "{}"}.items():
        with h5py.File(folder / f"{name}.h5ad", "w") as file:
            file["uns/cytopipe"] = text
    CHECKPOINT.write(folder / "copy.h5ad", states["leaf"])
    history = open_history(folder)
    assert len(history.faults) == 6 and len(history.entries) == 5 and len(history.ids) == 4
    assert any("again" in finding.what for finding in history.findings())
    assert len(open_history(folder).faults) == 6 and open_history(folder).read == 0
    (folder / "link.h5ad").symlink_to(folder / "leaf.h5ad")
    assert len(open_history(folder).entries) == 5


def test_a_zarr_checkpoint_is_in_the_history_as_its_h5ad_would_be(family):
    folder, states = family
    before = told(folder)
    (folder / "leaf.h5ad").unlink()
    CHECKPOINT_ZARR.write(folder / "leaf.zarr", states["leaf"])
    after = told(folder)
    assert [node["id"] for node in after] == [node["id"] for node in before]
    (one,) = [node for node in after if node["id"] == states["leaf"].id]
    assert one["file"] == "leaf.zarr" and one["thumbnail"]
    assert open_history(folder).read == 4 and open_history(folder).read == 0
    (folder / "empty.zarr").mkdir()
    (folder / "leaf.zarr/zarr.json").write_text("{")
    assert sorted(entry.path for entry in open_history(folder).faults) == ["empty.zarr", "leaf.zarr"]


def test_a_circle_is_cut_and_told(tmp_path):
    one, other = id_of_recipe("1"), id_of_recipe("2")
    CHECKPOINT.write(tmp_path / "1.h5ad", make_state(4, 3, id=one, parents=[other]))
    CHECKPOINT.write(tmp_path / "2.h5ad", make_state(4, 3, id=other, parents=[one]))
    history = open_history(tmp_path)
    assert sorted(history.ids) == sorted([one, other])
    assert [finding.what for finding in history.findings()] == ["is made from itself"]


def test_a_checkpoint_is_found_by_path_and_by_the_beginning_of_its_identifier(family):
    folder, states = family
    history = open_history(folder)
    assert history.find("sub/merge.h5ad").id == states["sub/merge"].id
    assert history.find(states["leaf"].id[:10]).path == "leaf.h5ad"
    with pytest.raises(InputError, match="no checkpoint 'zzz'"):
        history.find("zzz")
    with pytest.raises(InputError, match="is not a folder"):
        open_history(folder / "leaf.h5ad")


def test_a_folder_that_is_read_only_is_listed_all_the_same(family, monkeypatch):
    folder, states = family

    def refuse(source, target):
        raise PermissionError(13, "read only")

    monkeypatch.setattr("cytopipe.storage.filesystem.replace", refuse)
    assert len(open_history(folder).ids) == len(states)
    assert not list(folder.glob(".checkpoints*"))


def test_five_hundred_checkpoints_are_listed_from_their_manifest_in_no_time(tmp_path):
    """Budget 150 ms; the time of this process, since other work runs beside the tests."""
    state = make_state(20, 5)
    CHECKPOINT.write(tmp_path / "0.h5ad", state)
    content = (tmp_path / "0.h5ad").read_bytes()
    old = state.id.encode()
    for number in range(1, 500):
        path = tmp_path / f"{number}.h5ad"
        path.write_bytes(content.replace(old, id_of_recipe(str(number)).encode()))
    assert len(open_history(tmp_path).ids) == 500
    times = []
    for _ in range(3):
        start = time.process_time()
        history = open_history(tmp_path)
        assert len(history.ids) == 500 and history.read == 0
        times.append(time.process_time() - start)
    assert min(times) < 0.15
