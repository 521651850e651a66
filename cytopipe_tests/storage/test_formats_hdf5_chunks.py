"""Chunks that we shuffle and deflate ourselves: zlib and HDF5 must read what was put in."""

from __future__ import annotations

import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytopipe.storage.formats.hdf5_chunks import encoder, zlib_stream


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 100, 2048, 5000, 70_000]),
    st.lists(st.sampled_from(["noise", "zeros", "few"]), min_size=1, max_size=8),
)
def test_any_planes_are_one_zlib_stream(seed, n, kinds):
    random = np.random.default_rng(seed)
    draw = {
        "noise": lambda: random.integers(0, 256, n),
        "zeros": lambda: 0,
        "few": lambda: random.integers(0, 3, n),
    }
    planes = np.empty((len(kinds), n), np.uint8)
    for row, kind in enumerate(kinds):
        planes[row] = draw[kind]()
    stored = np.array([kind == "noise" for kind in kinds])
    stream = zlib_stream(planes, stored)
    assert zlib.decompress(stream) == planes.tobytes()
    assert len(stream) < planes.nbytes * 1.01 + 200
    assert zlib_stream(planes.copy(), stored) == stream


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8"])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_hdf5_reads_a_chunk_that_was_encoded_here(dtype, compression, tmp_path):
    random = np.random.default_rng(0)
    whole = (random.normal(0, 1, (90, 700)) * 1000).astype(dtype)
    options = {"compression": "gzip", "shuffle": True} if compression else {}
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("x", whole.shape, dtype, chunks=(60, 512), **options)
        encode = encoder(dataset)
        for row in (0, 60):
            for column in (0, 512):
                part = whole[row : row + 60, column : column + 512]
                dataset.id.write_direct_chunk((row, column), encode(part))
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["x"][:], whole)


def test_noise_is_stored_and_the_rest_is_compressed(tmp_path):
    """Floats between 1 and 2: the sign and exponent are one byte, the rest has no pattern."""
    values = np.random.default_rng(0).uniform(1, 2, (100, 1000)).astype(np.float32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset(
            "x", values.shape, "float32", chunks=values.shape, compression="gzip", shuffle=True
        )
        assert 300_000 < len(encoder(dataset)(values)) < 302_000
        assert len(encoder(dataset)(np.zeros_like(values))) < 4_000
