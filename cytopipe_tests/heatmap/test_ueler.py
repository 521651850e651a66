"""A history of UELer comes whole, wherever its folder lies, and what UELer lost is named."""

from __future__ import annotations

import json
import shutil

import anndata
import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.heatmap.artifact import load_heatmap_state, save_heatmap_state
from cytopipe.heatmap.state import MARKERS_BY_CLUSTERS, UNASSIGNED
from cytopipe.heatmap.ueler import import_ueler
from cytopipe_tests.heatmap.states import golden
from cytopipe_tests.parity.heatmap import ueler_case


def project(tmp_path, **files):
    """A project of UELer; every file is its `checkpoint` mapping, with `obs` and `drop` beside it."""
    folder = tmp_path / "project" / ".UELer" / "dataset_0123456789ab" / "checkpoints"
    folder.mkdir(parents=True)
    for name, about in files.items():
        obs = about.pop("obs", {"meta_cluster": [0, 0, 1]})
        uns = {
            "checkpoint": {"id": name, "parent_id": "", "op": "initial", "step_id": "1", **about},
            "palette": {"colors": {"-1": "#9e9e9e", "0": "#d8a282", "x": "red"}, "names": {"0": "T $cells$"}},
            "dendrogram_cut": 1.0,
        }
        table = pd.DataFrame(obs, index=["1", "2", "13"])
        anndata.AnnData(np.eye(3, 2, dtype="f4"), obs=table, uns=uns).write_h5ad(folder / f"{name}.h5ad")
    return tmp_path / "project"


def test_the_golden_history_agrees_with_its_files():
    verdict = ueler_case(golden("ueler_project"))
    assert verdict.outcome == "agrees", verdict.detail


def test_the_golden_history_says_what_it_lost_and_is_kept_by_our_files(tmp_path):
    imported = import_ueler(golden("ueler_project"))
    for one in imported:
        assert any(lost.startswith("raw medians") for lost in one.lost)
        assert any("class column" in lost for lost in one.lost)
        assert one.state.parameters["ueler"]["class_column"] == "node"
        path = save_heatmap_state(one.state, tmp_path / f"{one.state.id}.h5ad")
        assert one.state.unlike(load_heatmap_state(path)) == ()
    subset = imported[-1].state
    assert subset.subset_filters == ({"column": "lineage", "op": "in", "values": ["T"]},)
    assert subset.obs["ueler_cluster"].dtype == np.int64
    assert [one.id for one in subset.ancestors] == [one.state.id for one in imported[:2]]


def test_a_moved_history_without_its_manifest_is_the_same(tmp_path):
    whole = golden("ueler_project")
    moved = tmp_path / "elsewhere"
    shutil.copytree(whole, moved)
    for path in moved.rglob("*"):
        path.chmod(0o755)
    next(moved.glob(".UELer/*/manifest.json")).unlink()
    expected = import_ueler(whole)
    for folder in (moved, moved / ".UELer", next(moved.glob(".UELer/dataset_*"))):
        found = import_ueler(folder)
        assert [one.state.unlike(other.state) for one, other in zip(found, expected, strict=True)] == [()] * 3


def test_a_deleted_parent_is_remembered_from_the_manifest(tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(golden("ueler_project"), moved)
    for path in moved.rglob("*"):
        path.chmod(0o755)
    manifest = json.loads(next(moved.glob(".UELer/*/manifest.json")).read_text())
    middle = manifest["checkpoints"][1]
    next(moved.glob(f".UELer/*/checkpoints/{middle['id']}*")).unlink()
    found = import_ueler(moved)
    assert len(found) == 2
    assert [one.description for one in found[-1].state.ancestors] == ["initial avg_euc", "recluster ward"]


def test_labels_that_are_missing_negative_or_texts_keep_their_meaning(tmp_path):
    folder = project(
        tmp_path,
        a={"obs": {"meta_cluster": [0, 1, 1], "meta_cluster_revised": [0.0, -1.0, np.nan]}},
        b={"obs": {"meta_cluster": ["T", "B", "T"], "meta_cluster_revised": ["T", "T", "NK"]}},
        c={"obs": {"meta_cluster": [-1, 5, 5]}, "parent_id": "a", "op": "subset"},
    )
    states = {one.state.parameters["ueler"]["id"]: one.state for one in import_ueler(folder)}
    assert states["a"].label.tolist() == [0, UNASSIGNED, 1]
    assert [states["b"].name_of(one) for one in states["b"].label] == ["T", "T", "NK"]
    assert states["c"].label.tolist() == [UNASSIGNED, 5, 5]
    assert states["c"].parents == (states["a"].id,)
    assert states["a"].cluster_ids == ("cluster_001", "cluster_002", "cluster_013")
    assert states["a"].names[0] == "T $cells$" and states["a"].colours[0] == "#d8a282"


def test_a_project_that_was_moved_has_two_folders_and_one_history(tmp_path):
    """UELer names its folder by the absolute path: after a move it begins another one beside it."""
    folder = project(tmp_path, a={}, b={"parent_id": "a", "op": "subset"})
    first = next(folder.glob(".UELer/dataset_*"))
    second = first.with_name("dataset_ffffffffffff")
    shutil.copytree(first, second)
    (second / "checkpoints" / "a.h5ad").rename(second / "checkpoints" / "other name.h5ad")
    assert [one.state.parameters["ueler"]["id"] for one in import_ueler(folder)] == ["a", "b"]
    changed = anndata.read_h5ad(second / "checkpoints" / "b.h5ad")
    changed.X[0, 0] = 9
    changed.write_h5ad(second / "checkpoints" / "b.h5ad")
    with pytest.raises(InputError, match="is another checkpoint"):
        import_ueler(folder)


def test_a_flipped_view_and_a_merge_are_kept(tmp_path):
    folder = project(tmp_path, a={}, b={}, c={"parents": np.array(["a", "b"], object), "op": "union"})
    path = next(folder.glob(".UELer/*/checkpoints/c.h5ad"))
    adata = anndata.read_h5ad(path)
    adata.uns["ui"] = {"horizontal_layout": True}
    adata.write_h5ad(path)
    states = {one.state.parameters["ueler"]["id"]: one.state for one in import_ueler(folder)}
    assert states["c"].orientation == MARKERS_BY_CLUSTERS
    assert states["c"].parents == (states["a"].id, states["b"].id) and len(states["c"].ancestors) == 2


def test_what_is_no_history_of_ueler_is_told(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint of UELer"):
        import_ueler(tmp_path)
    folder = project(tmp_path, a={}, b={"obs": {"other": [1, 2, 3]}})
    (next(folder.glob(".UELer/*/checkpoints")) / "c.h5ad").write_bytes(b"x")
    with pytest.raises(InputError) as caught:
        import_ueler(folder)
    assert len(caught.value.findings) == 2
    with pytest.raises(InputError, match="is not a folder"):
        import_ueler(tmp_path / "nowhere")
