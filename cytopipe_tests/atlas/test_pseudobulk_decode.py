"""Chunks read by offset and inflated here equal what HDF5 itself reads, for every filter."""

from __future__ import annotations

import os

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.atlas.decode import vector_of
from cytopipe.errors import DamagedError

N = 10_007
STORAGE = {
    "gzip": ({"compression": "gzip"}, True),
    "gzip and shuffle": ({"compression": "gzip", "shuffle": True}, True),
    "shuffle alone": ({"shuffle": True}, True),
    "no filter": ({}, True),
    "zstd": (dict(hdf5plugin.Zstd()), True),
    "blosc": (dict(hdf5plugin.Blosc(cname="zstd", shuffle=2)), True),
    "lzf": ({"compression": "lzf"}, False),
    "gzip and checksum": ({"compression": "gzip", "fletcher32": True}, False),
    "contiguous": ({"chunks": None}, False),
    "szip-free bitshuffle": (dict(hdf5plugin.Bitshuffle()), False),
}


@pytest.fixture(scope="module", params=STORAGE)
def stored(request, tmp_path_factory):
    """A vector stored one way: the open data set, its values, and whether it is read directly."""
    options, direct = STORAGE[request.param]
    path = tmp_path_factory.mktemp("vector") / "v.h5"
    values = np.random.default_rng(0).geometric(0.4, N).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=values, **({"chunks": (997,)} | options))
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
        yield vector, values, direct
        vector.close()


@given(st.integers(0, N), st.integers(0, N))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_window_equals_the_values(stored, one, other):
    """Whole chunks, parts of them, nothing at all."""
    vector, values, direct = stored
    start, stop = sorted((one, other))
    assert vector.direct == direct
    assert np.array_equal(vector.read(start, stop), values[start:stop])


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path):
    """HDF5 defines an absent chunk; so do we."""
    path = tmp_path / "v.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("v", (1000,), "i4", chunks=(100,), fillvalue=7, compression="gzip")
        data[250:350] = 1
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
        assert vector.direct
        assert np.array_equal(vector.read(0, 1000), file["v"][...])
        vector.close()


def test_a_chunk_whose_filter_was_skipped_is_read_as_it_lies(tmp_path):
    """HDF5 may leave a chunk uncompressed, and says so in a mask."""
    path, values = tmp_path / "v.h5", np.arange(200, dtype="<i4")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("v", (200,), "i4", chunks=(100,), compression="gzip")
        data.id.write_direct_chunk((0,), values[:100].tobytes(), filter_mask=1)
        data[100:] = values[100:]
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
        assert np.array_equal(vector.read(0, 200), values)
        vector.close()


@pytest.mark.parametrize("dtype", [">f4", ">i8"])
def test_numbers_of_the_other_byte_order_go_through_hdf5(tmp_path, dtype):
    """Slower, and right."""
    path, values = tmp_path / "v.h5", np.arange(500).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=values, chunks=(100,), compression="gzip")
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
        assert not vector.direct
        assert np.array_equal(vector.read(3, 499), values[3:499])


@pytest.mark.parametrize("harm", ["short", "long", "garbage"])
def test_a_chunk_that_is_not_what_it_should_be_is_told_with_its_number(tmp_path, harm):
    """Too few bytes, too many, or no stream at all."""
    import zlib

    path = tmp_path / "v.h5"
    content = {"short": zlib.compress(bytes(10)), "long": zlib.compress(bytes(10**6)), "garbage": b"xxxx"}[
        harm
    ]
    with h5py.File(path, "w") as file:
        data = file.create_dataset("v", (200,), "i4", chunks=(100,), compression="gzip")
        data[:100] = 1
        data.id.write_direct_chunk((100,), content)
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
        with pytest.raises(DamagedError, match="chunk 1"):
            vector.read(0, 200)
        vector.close()


def test_a_chunk_that_lies_in_two_blocks_is_inflated_once(tmp_path):
    path = tmp_path / "v.h5"
    values = np.arange(1000, dtype=np.int32)
    with h5py.File(path, "w") as file:
        file.create_dataset("v", data=values, chunks=(100,), compression="gzip")
    with h5py.File(path) as file:
        vector = vector_of(file["v"], os.fspath(path))
    inflated, read = [], vector._read_chunk
    vector._read_chunk = lambda number, out: (inflated.append(number), read(number, out))
    found = [vector.read(start, min(start + 130, 1000)) for start in range(0, 1000, 130)]
    vector.close()
    assert np.array_equal(np.concatenate(found), values)
    assert sorted(inflated) == list(range(10))
    assert len(vector._kept) <= 4
