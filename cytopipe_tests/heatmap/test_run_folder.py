"""A run folder loses nothing, shares what is equal, and no checkpoint in it needs another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import CytopipeError, DamagedError, InputError, StorageError
from cytopipe.heatmap.artifact import save_heatmap_state
from cytopipe.heatmap.folder import RunFolder
from cytopipe.heatmap.state import HeatmapState, id_of_recipe
from cytopipe_tests.heatmap.states import make_state


def history(n_cells: int = 20_000) -> list[HeatmapState]:
    """A root, revisions of it, and a subset of its cells."""
    root = make_state(60, 12, n_cells=n_cells)
    states, rng = [root], np.random.default_rng(0)
    for number in range(4):
        revision = states[-1].revision.copy()
        revision[rng.integers(0, 60, 5)] = number
        states.append(states[-1].child(2, id=id_of_recipe(f"revised {number}"), revision=revision))
    rows = np.append(np.where(np.arange(60) < 25, np.arange(60), -1), -1)
    per_cluster = {name: getattr(root, name)[:25] for name in ("matrix", "median", "metacluster", "n_cells")}
    subset = states[-1].child(
        6,
        id=id_of_recipe("subset"),
        cluster_ids=root.cluster_ids[:25],
        **per_cluster,
        revision=states[-1].revision[:25],
        row_order=None,
        linkage=None,
        subset_lineage=["T"] * 25,
        obs={},
        embeddings={},
        cell_cluster=rows[root.cell_cluster],
    )
    return [*states, subset]


def test_every_field_comes_back_and_the_exported_file_is_the_same_in_every_byte(tmp_path):
    folder, states = RunFolder(tmp_path / "run"), history()
    for state in states:
        folder.put(state)
    assert folder.ids() == tuple(sorted(state.id for state in states))
    for state in states:
        assert folder.get(state.id).unlike(state) == ()
        save_heatmap_state(state, tmp_path / "direct.h5ad")
        folder.export(state.id, tmp_path / "exported.h5ad")
        assert (tmp_path / "exported.h5ad").read_bytes() == (tmp_path / "direct.h5ad").read_bytes()
    assert folder.verify() == ()


def test_a_history_takes_less_than_a_third_of_its_files(tmp_path):
    folder, states, files = RunFolder(tmp_path / "run"), history(), 0
    for number, state in enumerate(states):
        folder.put(state)
        files += save_heatmap_state(state, tmp_path / f"{number}.h5ad").stat().st_size
    assert folder.size_bytes() < files / 3


def test_the_same_states_give_the_same_bytes_in_any_order_that_puts_parents_first(tmp_path):
    states = history(500)
    for name, order in {"a": states, "b": [states[0], *states]}.items():
        for state in order:
            RunFolder(tmp_path / name).put(state)
    files = {
        name: {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file()
        }
        for name in "ab"
    }
    assert files["a"] == files["b"]


def test_no_checkpoint_needs_another_one(tmp_path):
    folder, states = RunFolder(tmp_path), history(500)
    for state in states:
        folder.put(state)
    for state in states[:-1]:
        folder.delete(state.id)
    freed = folder.sweep()
    assert freed > 0 and folder.ids() == (states[-1].id,)
    assert folder.get(states[-1].id).unlike(states[-1]) == () and folder.sweep() == 0


@given(seed=st.integers(0, 1000), n=st.integers(1, 9), m=st.integers(1, 5), flip=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_state_comes_back(seed, n, m, flip, tmp_path):
    state = make_state(max(n, 2), m, seed=seed, n_cells=seed)
    state = state.flipped() if flip else state
    folder = RunFolder(tmp_path)
    folder.put(state)
    assert folder.get(state.id).unlike(state) == ()


def test_damage_of_any_file_is_found_and_never_read_as_whole(tmp_path):
    state = make_state(40, 12, n_cells=3000)
    RunFolder(tmp_path / "whole").put(state)
    files = sorted(
        path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*") if path.is_file()
    )
    assert len(files) > 5
    rng = np.random.default_rng(0)
    for number, name in enumerate(files):
        for kind in ("flip", "cut", "missing", "zeros"):
            root = tmp_path / f"{number}{kind}"
            shutil.copytree(tmp_path / "whole", root)
            data = bytearray((root / name).read_bytes())
            if kind == "missing":
                (root / name).unlink()
            else:
                at = int(rng.integers(10, len(data)))  # the first ten bytes of gzip hold what is not read
                if kind == "flip":
                    data[at] ^= 16
                (root / name).write_bytes(
                    data[:at] if kind == "cut" else data if kind == "flip" else bytes(len(data))
                )
            folder = RunFolder(root)
            try:
                assert folder.get(state.id).unlike(state) == ()
            except CytopipeError:
                assert folder.verify() or not folder.ids()
            else:
                assert kind == "flip"  # of a bit that gzip does not read
            shutil.rmtree(root)


def _edit(path: Path, change) -> None:
    import hashlib

    from cytopipe.heatmap.artifact import canonical_json

    document = json.loads(path.read_text())
    change(document["fields"])
    document["sha256"] = hashlib.sha256(canonical_json(document["fields"]).encode()).hexdigest()
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update(matrix={"array": "../../../etc/passwd", "dtype": "<f4", "shape": [1, 1]}),
        lambda f: f["matrix"].update(shape=[1 << 40, 1 << 40]),
        lambda f: f["matrix"].update(dtype="|O8"),
        lambda f: f["matrix"].update(shape=[-1, 5]),
        lambda f: f.update(row_order={"inline": "eJzLSM3JyQcABiwCFQ==", "dtype": "<i4", "shape": [12]}),
        lambda f: f.update(matrix=5),
        lambda f: f.update(cell_cluster={"array": "0" * 64, "dtype": "<i4", "shape": [3]}),
        lambda f: f.update(ancestors={"value": [{"x": 1}]}),
        lambda f: f.pop("matrix"),
        lambda f: f["id"].update(value="no"),
    ],
)
def test_a_hostile_document_is_refused_in_words(change, tmp_path):
    folder, state = RunFolder(tmp_path), make_state()
    _edit(folder.put(state), change)
    with pytest.raises(CytopipeError):
        folder.get(state.id)
    assert folder.verify()


def test_what_is_not_there_is_told(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.ids() == () and folder.verify() == ()
    with pytest.raises(StorageError, match="no such checkpoint"):
        folder.get(id_of_recipe("x"))
    with pytest.raises(InputError, match="no identifier"):
        folder.get("../../x")
    state = make_state()
    path = folder.put(state)
    path.write_text(path.read_text().replace("first", "other"))
    with pytest.raises(DamagedError, match="not what was kept"):
        folder.get(state.id)
