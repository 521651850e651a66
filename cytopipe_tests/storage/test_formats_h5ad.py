"""h5ad in and out: same bytes, input untouched, layout faults all at once."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from anndata import AnnData

from cytopipe.errors import BudgetError, InputError
from cytopipe.storage import Store, Sync
from cytopipe.storage.formats.h5ad import check_h5ad, open_h5ad, read_h5ad, validate_h5ad, write_h5ad


def small(order: str = "ab") -> AnnData:
    counts = sp.random(30, 20, 0.3, format="csr", dtype="float32", random_state=0)
    obs = pd.DataFrame({"donor": ["d1", "d2", "d3"] * 10}, index=[f"cell{i}" for i in range(30)])
    adata = AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(20)]))
    for key in order:
        adata.obsm[key] = np.arange(60.0).reshape(30, 2)
        adata.uns[key] = {"x": 1}
    adata.layers["counts"] = counts.copy()
    adata.raw = adata.copy()
    return adata


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, sync=Sync.NONE)


def test_the_same_data_gives_the_same_bytes_whatever_order_it_was_filled_in(store):
    one = store.publish_file("1.h5ad", write_h5ad(small("ab")), validate=validate_h5ad)
    two = store.publish_file("2.h5ad", write_h5ad(small("ba")), validate=validate_h5ad)
    assert one.sha256 == two.sha256


def test_writing_leaves_the_input_as_it_was(store):
    adata = small()
    store.publish_file("1.h5ad", write_h5ad(adata))
    assert adata.obs["donor"].dtype == object
    assert not adata.isbacked


def test_what_was_written_is_read_back(store):
    store.publish_file("1.h5ad", write_h5ad(small()))
    back = read_h5ad(store.open_file("1.h5ad"))
    assert (back.X != small().X).nnz == 0
    assert list(back.obs["donor"]) == list(small().obs["donor"])
    assert back.raw.shape == (30, 20)
    summary = check_h5ad(store.open_file("1.h5ad"))
    assert (summary.n_obs, summary.n_vars, summary.x_encoding) == (30, 20, "csr_matrix")
    assert (summary.obs_columns, summary.layers) == (("donor",), ("counts",))


def test_a_view_and_a_dense_matrix_are_written_too(store):
    dense = AnnData(np.ones((4, 3), dtype="float32"))
    store.publish_file("1.h5ad", write_h5ad(dense[:2]), validate=validate_h5ad)
    assert read_h5ad(store.root / "1.h5ad").shape == (2, 3)


def test_every_fault_of_the_layout_is_told_at_once(tmp_path):
    small().write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        del file["var"]
        del file["X/indptr"]
        del file["obs/donor"]
    with pytest.raises(InputError) as caught:
        check_h5ad(tmp_path / "x.h5ad")
    told = str(caught.value)
    assert "there is no var" in told and "'donor' is listed" in told and "X: is not a matrix" in told


def test_shapes_that_contradict_are_told(tmp_path):
    small().write_h5ad(tmp_path / "x.h5ad")
    with h5py.File(tmp_path / "x.h5ad", "r+") as file:
        file["X"].attrs["shape"] = [30, 21]
    with pytest.raises(InputError, match="another shape"):
        check_h5ad(tmp_path / "x.h5ad")


def test_a_flipped_bit_in_compressed_data_fails_validation(store):
    made = store.publish_file("1.h5ad", write_h5ad(small()))
    with h5py.File(made.path) as file:
        chunk = file["X/data"].id.get_chunk_info(0)
    raw = bytearray(made.path.read_bytes())
    raw[chunk.byte_offset + chunk.size // 2] ^= 0x10
    (store.root / "2.h5ad").write_bytes(raw)
    with pytest.raises(InputError, match="cannot be decoded"):
        validate_h5ad(store.root / "2.h5ad")


def test_a_file_larger_than_its_budget_is_not_read(store):
    made = store.publish_file("1.h5ad", write_h5ad(small()))
    with pytest.raises(BudgetError, match="at most 100 bytes"):
        read_h5ad(made.path, budget=100)
    with open_h5ad(made.path, budget=10_000) as file:
        assert file["X/data"].shape


@pytest.mark.parametrize("content", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_hdf5_is_told_in_one_line(tmp_path, content):
    (tmp_path / "x.h5ad").write_bytes(content)
    with pytest.raises(InputError, match="not a whole HDF5 file"):
        check_h5ad(tmp_path / "x.h5ad")
