"""A checkpoint holds a heat map whole, in a file that others can read, and tells every fault at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import anndata
import h5py
import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import BudgetError, CytopipeError, InputError, RefusedError
from cytopipe.heatmap.artifact import (
    KEY,
    file_name,
    load_heatmap_state,
    save_heatmap_state,
    serialize_heatmap_state,
    state_of,
    validate_artifact,
    validate_file,
)
from cytopipe.heatmap.format import CHECKPOINT, CHECKPOINT_ZARR, read_document
from cytopipe.heatmap.schema import SCHEMA, schema_hash
from cytopipe.heatmap.state import MARKERS_BY_CLUSTERS, HeatmapState, cluster_ids, id_of_recipe
from cytopipe_tests.heatmap.states import HOSTILE, make_state

PUBLISHED = Path(__file__).parents[2] / "docs" / "formats" / "heatmap.checkpoint.schema.json"


def bare() -> HeatmapState:
    """The least that a heat map can be."""
    return HeatmapState(["only"], ["CD3"], np.zeros((1, 1)), np.zeros(1, int), id=id_of_recipe("bare"))


# ---------------------------------------------------------------------- round trips


@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
@pytest.mark.parametrize("state", [make_state(), make_state().flipped(), bare(), make_state(400, 3)])
def test_what_is_saved_is_loaded_in_every_field_dtype_and_order(state, suffix, tmp_path):
    path = save_heatmap_state(state, tmp_path / f"x{suffix}")
    assert state.unlike(load_heatmap_state(path)) == ()
    assert validate_file(path) == ()


def test_the_same_state_gives_the_same_bytes_and_a_flip_is_one_word(tmp_path):
    for name in "ab":
        save_heatmap_state(make_state(), tmp_path / f"{name}.h5ad")
    save_heatmap_state(make_state().flipped(), tmp_path / "flipped.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    flipped = load_heatmap_state(tmp_path / "flipped.h5ad")
    assert flipped.orientation == MARKERS_BY_CLUSTERS
    assert make_state().unlike(flipped) == ("orientation",)
    assert flipped.flipped().unlike(make_state()) == ()


def test_bytes_do_not_depend_on_the_hash_seed_or_the_process(tmp_path):
    code = (
        "import sys; from cytopipe.heatmap.artifact import save_heatmap_state as save\n"
        "from cytopipe_tests.heatmap.states import make_state; save(make_state(), sys.argv[1])"
    )
    for seed in "17":
        command = [sys.executable, "-c", code, str(tmp_path / f"{seed}.h5ad")]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)})
    assert (tmp_path / "1.h5ad").read_bytes() == (tmp_path / "7.h5ad").read_bytes()


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


@given(data=st.data(), n=st.integers(1, 5), m=st.integers(1, 4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_names_numbers_and_parameters_survive(data, n, m, tmp_path):
    def distinct(count):
        return data.draw(st.lists(names, min_size=count, max_size=count, unique=True))

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=6,
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    state = HeatmapState(
        distinct(n),
        distinct(m),
        rng.normal(size=(n, m)).astype(data.draw(st.sampled_from(["f4", "f8"]))),
        rng.integers(0, 9, n),
        revision=rng.integers(-2, 5, n),
        names={number: data.draw(names) for number in range(3)},
        labels=data.draw(st.lists(names, min_size=m, max_size=m)),
        row_order=rng.permutation(n),
        col_order=rng.permutation(m),
        description=data.draw(names),
        parameters=data.draw(st.dictionaries(names, json_values, max_size=3)),
        subset_filters_expr=data.draw(names),
        subset_cohort=data.draw(st.lists(st.none() | names, min_size=n, max_size=n)),
    )
    path = save_heatmap_state(state, tmp_path / "x.h5ad")
    assert state.unlike(load_heatmap_state(path)) == ()
    assert validate_file(path) == ()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_kept_as_they_are(name, tmp_path):
    state = make_state(
        cluster_ids=(name, *cluster_ids(11)), names={0: name}, description=name, subset_cohort=[name] * 12
    )
    assert state.unlike(load_heatmap_state(save_heatmap_state(state, tmp_path / "x.h5ad"))) == ()


def test_what_is_left_out_is_not_there_and_nothing_else_is_lost():
    state = make_state()
    small = state_of(
        serialize_heatmap_state(state, {}, ["fov"], include_embeddings=False, include_raw_medians=False)
    )
    assert set(state.unlike(small)) == {"obs", "embeddings", "median"}
    assert list(small.obs) == ["fov"] and small.embeddings == {} and small.median is None


def test_metadata_name_the_checkpoint_and_a_state_becomes_its_own_child():
    state = make_state()
    metadata = {"step_id": 6, "description": "T cells", "parent_id": state.id, "params": {"note": "x"}}
    child = state_of(serialize_heatmap_state(state, metadata, {"score": np.arange(12.0)}))
    assert child.id != state.id and child.parents == (state.id,)
    assert [one.id for one in child.ancestors] == [state.id]
    assert (child.step_id, child.description) == ("subset_lineage", "T cells")
    assert child.parameters["note"] == "x" and child.obs["score"].tolist() == list(range(12))
    with pytest.raises(InputError, match="metadata 'stepid' is unknown"):
        serialize_heatmap_state(state, {"stepid": 6})


# ---------------------------------------------------------------------- what others see


def test_anndata_reads_the_keys_of_the_design(tmp_path):
    parent = make_state(seed=1)
    state = make_state(parents=[parent.id], ancestors=parent.history_below())
    save_heatmap_state(state, tmp_path / "x.h5ad")
    adata = anndata.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(adata.X, state.matrix)
    np.testing.assert_array_equal(adata.layers["median"], state.median)
    assert adata.obs.index.name == "cluster_id" and adata.var.index.name == "marker_id"
    assert adata.obs["metacluster_revision_id"].tolist()[:2] == [-1, 3]
    assert adata.obs["metacluster_revision_id"].isna().sum() == 10
    assert isinstance(adata.obs["fov"].dtype, pd.CategoricalDtype)
    assert adata.uns["meta_cluster_colors"] == {str(key): value for key, value in state.colours.items()}
    assert adata.uns["checkpoint"]["parent_id"] == parent.id
    assert adata.uns["checkpoint"]["params"]["channels"].tolist() == list(state.selected_channels)
    assert adata.uns["lineage"]["root_id"] == parent.id
    assert adata.uns["lineage"][parent.id]["children"].tolist() == [state.id]
    assert adata.uns["orientation"] == "clusters_by_markers"
    assert adata.uns["row_order"].tolist() == state.row_order.tolist()
    assert adata.uns["flowsom"]["grid"].tolist() == [10, 10]


def test_a_file_written_again_by_anndata_is_the_same_checkpoint(tmp_path):
    state = make_state()
    save_heatmap_state(state, tmp_path / "x.h5ad")
    anndata.read_h5ad(tmp_path / "x.h5ad").write_h5ad(tmp_path / "y.h5ad", compression="gzip")
    assert state.unlike(load_heatmap_state(tmp_path / "y.h5ad")) == ()
    assert validate_file(tmp_path / "y.h5ad") == ()


def test_a_file_that_was_compressed_with_zstd_is_read(tmp_path):
    import hdf5plugin

    adata = serialize_heatmap_state(make_state())
    adata.write_h5ad(tmp_path / "x.h5ad", compression=hdf5plugin.FILTERS["zstd"])
    assert load_heatmap_state(tmp_path / "x.h5ad").unlike(make_state()) == ()
    assert validate_file(tmp_path / "x.h5ad") == ()


def test_nothing_is_written_that_older_releases_of_anndata_cannot_read(tmp_path):
    """None in uns (a null) makes a file unreadable before 0.12, nullable strings before 0.11."""
    save_heatmap_state(make_state(dendrogram_cut=None), tmp_path / "x.h5ad")
    kinds: set[str] = set()
    with h5py.File(tmp_path / "x.h5ad") as file:
        file.visititems(lambda name, element: kinds.add(element.attrs["encoding-type"]))
    known = {"array", "categorical", "dataframe", "dict", "nullable-integer", "numeric-scalar", "string"}
    assert kinds <= known | {"string-array"}


def test_labels_take_less_as_categories(tmp_path):
    rows = 2000
    labels = np.array([f"a long name of a field of view {number % 3}" for number in range(rows)])
    base = HeatmapState(cluster_ids(rows), ["CD3"], np.zeros((rows, 1)), np.zeros(rows, int))
    save_heatmap_state(base.replace(obs={"fov": labels}), tmp_path / "x.h5ad")
    adata = anndata.read_h5ad(tmp_path / "x.h5ad")
    adata.obs["fov"] = adata.obs["fov"].astype(str)
    with h5py.File(tmp_path / "text.h5ad", "w") as file:
        anndata.io.write_elem(file, "obs", adata.obs)
    with h5py.File(tmp_path / "categories.h5ad", "w") as file:
        anndata.io.write_elem(file, "obs", adata.obs.assign(fov=adata.obs["fov"].astype("category")))
    assert (tmp_path / "categories.h5ad").stat().st_size < 0.8 * (tmp_path / "text.h5ad").stat().st_size


def test_the_published_schema_is_the_one_in_every_file(tmp_path):
    assert PUBLISHED.read_text() == json.dumps(SCHEMA, indent=2) + "\n"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    save_heatmap_state(make_state(), tmp_path / "x.h5ad")
    document = read_document(tmp_path / "x.h5ad")
    jsonschema.validate(document, SCHEMA)
    assert document["schema_hash"] == schema_hash()


def test_large_arrays_are_compressed_and_small_ones_are_not(tmp_path):
    save_heatmap_state(make_state(600, 40), tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad") as file:
        assert file["X"].compression == "gzip" and file["X"].chunks
        assert file["uns/row_order"].chunks is None


def test_the_file_name_tells_step_and_time_and_is_safe():
    assert file_name(6, "2026-11-25T02:00:00Z") == "flowsom_subset_lineage_20261125T020000Z.h5ad"
    assert "/" not in file_name("../../x", "")


# ---------------------------------------------------------------------- validation


def broken(**changes):
    """The AnnData of a checkpoint after `changes` to it, each by its name."""
    adata = serialize_heatmap_state(make_state())
    for change in changes.values():
        change(adata)
    return adata


def _document(adata, **changes):
    document = json.loads(adata.uns[KEY])
    for path, value in changes.items():
        at = document
        *way, last = path.split("__")
        for part in way:
            at = at[part]
        at[last] = value
    adata.uns[KEY] = json.dumps(document)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: a.uns.pop(KEY), "no checkpoint"),
        (lambda a: a.uns.update({KEY: "{"}), "is not JSON"),
        (lambda a: a.uns.update({KEY: '{"a": 1, "a": 2}'}), "stands twice"),
        (lambda a: _document(a, view__row_order=[0, 0]), "non-unique"),
        (lambda a: _document(a, view__row_order=list(range(1, 13))), "row_order: is no permutation"),
        (lambda a: _document(a, view__col_order=[0, 1]), "col_order: has another shape"),
        (lambda a: _document(a, schema_hash="0" * 40), "another schema"),
        (lambda a: _document(a, checkpoint__id="../x"), "does not match"),
        (lambda a: _document(a, surprise=1), "unexpected"),
        (lambda a: _document(a, counts__n_clusters=7), r"X: has another shape; expected \(7, 5\)"),
        (lambda a: _document(a, counts__n_metaclusters=77), "counts: does not fit"),
        (lambda a: _document(a, cells__n=3), "cell_cluster.*another length"),
        (lambda a: a.X.__setitem__((0, 0), 9), "X: is not what was saved"),
        (lambda a: a.X.__setitem__((0, 0), np.nan), "not finite"),
        (lambda a: a.layers["median"].__setitem__((0, 0), 9), "median: is not what was saved"),
        (lambda a: a.layers.pop("median"), "median: is not what was saved"),
        (lambda a: a.uns.update(orientation="other"), r'uns\["orientation"\]: says something else'),
        (lambda a: a.uns["meta_cluster_colors"].update({"0": "#000000"}), "meta_cluster_colors"),
        (lambda a: a.uns.pop("lineage"), r'uns\["lineage"\]: is absent'),
        (lambda a: a.obs.pop("metacluster_id"), "column 'metacluster_id' is absent"),
        (lambda a: a.obs.pop("subset_lineage"), "column 'subset_lineage' is absent"),
        (lambda a: a.obs.__setitem__("metacluster_id", "x"), "holds no numbers"),
        (lambda a: a.obs.__setitem__("metacluster_id", 0.5), "decimals"),
        (lambda a: a.obs.__setitem__("metacluster_id", -4), "negative"),
        (lambda a: a.obsm.__setitem__("umap", np.zeros((12, 3))), r"embeddings\['umap'\]"),
        (lambda a: a.obsm.__setitem__("umap", np.zeros((12, 2), "i4")), "no table of decimals"),
        (lambda a: a.uns.update(cell_cluster=np.full(512, 12)), "clusters that are not there"),
        (lambda a: a.uns.update(linkage=np.zeros((3, 4))), "linkage: has another shape"),
    ],
)
def test_each_fault_is_told(change, told):
    findings = validate_artifact(broken(one=change))
    assert findings and re.search(told, "\n".join(map(str, findings)))


def test_all_faults_are_told_at_once():
    def many(adata):
        _document(adata, checkpoint__id="x", counts__n_clusters=-1, dendrogram_cut="high")

    assert len(validate_artifact(broken(one=many))) == 3
    damaged = broken(
        x=lambda a: a.X.__setitem__((0, 0), 9),
        median=lambda a: a.layers["median"].__setitem__((0, 0), 9),
        orientation=lambda a: a.uns.update(orientation="other"),
        timestamp=lambda a: a.uns.pop("timestamp"),
    )
    assert len(validate_artifact(damaged)) >= 4
    with pytest.raises(InputError) as caught:
        state_of(damaged, where="run/x.h5ad")
    assert "run/x.h5ad: X: is not what was saved" in str(caught.value)


def test_saved_palettes_are_the_truth_whatever_the_mirrors_say():
    state = state_of(broken(one=lambda a: a.uns["meta_cluster_colors"].update({"0": "#000000"})))
    assert state.unlike(make_state()) == ()


def test_a_label_that_a_person_changed_in_anndata_is_taken():
    """obs is a table people edit: it has no checksum."""
    adata = broken(one=lambda a: a.obs.__setitem__("metacluster_revision_id", [5] * 12))
    assert state_of(adata).label.tolist() == [5] * 12


# ---------------------------------------------------------------------- hostile files


def _external(file, folder):
    del file["uns"]
    file["uns"] = h5py.ExternalLink(folder / "other.h5", "/uns")


def _soft(file, folder):
    text = file[f"uns/{KEY}"][()]
    del file[f"uns/{KEY}"]
    file["elsewhere"] = text
    file[f"uns/{KEY}"] = h5py.SoftLink("/elsewhere")


def _array(file, folder):
    del file[f"uns/{KEY}"]
    file[f"uns/{KEY}"] = np.zeros(3)


def _nothing(file, folder):
    del file[f"uns/{KEY}"]


@pytest.mark.parametrize(
    ("make", "error"),
    [(_external, RefusedError), (_soft, RefusedError), (_array, InputError), (_nothing, InputError)],
)
def test_a_document_that_lies_elsewhere_is_not_read(make, error, tmp_path):
    path = save_heatmap_state(make_state(), tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        make(file, tmp_path)
    with pytest.raises(error):
        read_document(path)
    with pytest.raises(CytopipeError):
        load_heatmap_state(path)
    assert validate_file(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x89HDF\r\n\x1a\n" + b"\0" * 64])
def test_what_is_no_file_of_this_kind_is_told_in_words(content, tmp_path):
    path = tmp_path / "x.h5ad"
    path.write_bytes(content)
    for reader in (read_document, load_heatmap_state):
        with pytest.raises(InputError, match=r"x\.h5ad"):
            reader(path)
    assert len(validate_file(path)) == 1
    for absent in (tmp_path / "y.h5ad", tmp_path):
        with pytest.raises(CytopipeError):
            load_heatmap_state(absent)


def test_a_matrix_that_fills_the_memory_is_refused_before_it_is_read(tmp_path):
    path = save_heatmap_state(make_state(), tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        huge = file.create_dataset("X", (1 << 30, 1 << 20), "f4", chunks=(1 << 10, 1 << 10))
        huge.attrs["encoding-type"], huge.attrs["encoding-version"] = "array", "0.2.0"
    with pytest.raises(BudgetError):
        load_heatmap_state(path)


def test_a_document_of_another_size_than_it_may_have_is_refused(tmp_path, monkeypatch):
    path = save_heatmap_state(make_state(), tmp_path / "x.h5ad")
    monkeypatch.setattr("cytopipe.heatmap.artifact.MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(BudgetError):
        read_document(path)


def test_every_flipped_byte_of_a_file_is_a_clear_error_or_changes_nothing_that_is_summed(tmp_path):
    """Damage that HDF5 cannot see either: no traceback, and never another matrix than the one saved."""
    state = make_state(8, 4, n_cells=30)
    whole = bytearray(save_heatmap_state(state, tmp_path / "x.h5ad").read_bytes())
    rng = np.random.default_rng(0)
    path = tmp_path / "y.h5ad"
    for place in rng.integers(0, len(whole), 120):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = load_heatmap_state(path)
        except CytopipeError:
            continue
        summed = {"matrix", "median", "linkage", "col_linkage", "cell_cluster", "embeddings"}
        assert not summed & set(state.unlike(loaded))


@pytest.mark.parametrize("format", [CHECKPOINT, CHECKPOINT_ZARR], ids=lambda format: format.name)
def test_the_format_writes_a_state_or_its_anndata_and_tells_what_it_holds(format, tmp_path):
    state = make_state()
    for number, value in enumerate((state, serialize_heatmap_state(state))):
        path = tmp_path / f"{number}{format.suffix}"
        format.write(path, value)
        format.validate(path)
        assert format.read(path).unlike(state) == ()
        told = format.describe(path)
        assert (told["step"], told["n_clusters"], told["n_markers"]) == ("initial_clustering", 12, 5)
    with pytest.raises(InputError, match="not a dict"):
        format.write(tmp_path / "z", {})


def test_a_state_that_anndata_cannot_keep_is_refused_in_words(tmp_path):
    state = make_state(
        obs={"a/b": np.arange(12), "n_cells": np.arange(12)}, embeddings={"a/b": np.zeros((12, 2))}
    )
    with pytest.raises(InputError) as caught:
        save_heatmap_state(state, tmp_path / "x.h5ad")
    assert len(caught.value.findings) == 3 and not (tmp_path / "x.h5ad").exists()
    with pytest.raises(InputError, match=r"expected \.h5ad or \.zarr"):
        save_heatmap_state(make_state(), tmp_path / "x.csv")
