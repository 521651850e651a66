"""h5ad in blocks: the same values as anndata writes, the same bytes with any threads, flat memory, no gap."""

from __future__ import annotations

import os
import subprocess
import sys

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import InputError
from cytopipe.storage.formats.h5ad import H5AD, H5ad
from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks


def tables(n_obs: int, n_vars: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    kinds = pd.Categorical.from_codes(np.arange(n_obs) % 3, ["B", "NK", "T"])
    obs = pd.DataFrame(
        {"kind": kinds, "n_cells": np.arange(n_obs)}, index=[f"group{i}" for i in range(n_obs)]
    )
    return obs, pd.DataFrame(index=[f"GENE{i}" for i in range(n_vars)])


def blocks_of(matrices: dict[str, np.ndarray], chunk: tuple[int, int], how: str) -> AnnDataBlocks:
    """Matrices cut into rows, genes, chunks, or all matrices at once; some made in threads."""
    obs, var = tables(*matrices["X"].shape)
    n_obs, n_vars = matrices["X"].shape
    step = {
        "rows": (chunk[0], n_vars),
        "genes": (n_obs, chunk[1]),
        "chunks": chunk,
        "whole": (n_obs, n_vars),
    }[how]

    def cut():
        for row in range(0, n_obs, max(step[0], 1)):
            for gene in range(0, n_vars, max(step[1], 1)):
                block = {
                    name: ((row, gene), values[row : row + step[0], gene : gene + step[1]])
                    for name, values in matrices.items()
                }
                yield (lambda block=block: block) if (row + gene) % 2 else block

    types = {name: values.dtype for name, values in matrices.items()}
    return AnnDataBlocks(
        obs, var, types, cut(), {"atlas": "x", "stats": {"mean": np.arange(3.0)}}, chunk=chunk
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    chunk=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    how=st.sampled_from(["rows", "genes", "chunks", "whole"]),
    seed=st.integers(0, 9),
)
def test_anndata_reads_what_was_given_in_blocks(shape, chunk, how, seed, tmp_path):
    rng = np.random.default_rng(seed)
    matrices = {
        "X": rng.normal(size=shape).astype(np.float32),
        "layers/counts": rng.integers(0, 1 << 40, shape),
        "layers/n": rng.integers(0, 9, shape, np.int32),
    }
    path = tmp_path / "x.h5ad"
    path.unlink(missing_ok=True)
    H5AD.write(path, blocks_of(matrices, chunk, how))
    H5AD.validate(path)
    H5ad(decode=False).validate(path)
    read = anndata.read_h5ad(path)
    for name, values in matrices.items():
        found = read.X if name == "X" else read.layers[name.removeprefix("layers/")]
        assert found.dtype == values.dtype and np.array_equal(found, values)
    obs, var = tables(*shape)
    pd.testing.assert_frame_equal(read.obs, obs, check_categorical=False, check_index_type=False)
    assert list(read.var_names) == list(var.index)
    assert read.uns["atlas"] == "x" and list(read.uns["stats"]["mean"]) == [0, 1, 2]
    assert H5AD.describe(path)["layers"] == "counts, n"


def test_the_bytes_depend_neither_on_threads_nor_on_how_the_blocks_are_cut(tmp_path):
    rng = np.random.default_rng(0)
    matrices = {"X": rng.normal(size=(200, 300)).astype("f4")}
    made = []
    for n, (threads, how) in enumerate([(1, "rows"), (4, "rows"), (2, "chunks"), (3, "whole")]):
        H5ad(threads=threads).write(tmp_path / f"{n}.h5ad", blocks_of(matrices, (64, 128), how))
        made.append((tmp_path / f"{n}.h5ad").read_bytes())
    assert made[0] == made[1] == made[2] == made[3]


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        ([{"X": ((0, 0), np.ones((4, 6)))}], "row 4, gene 0 of X never came"),
        (
            [{"X": ((0, 0), np.ones((8, 6)))}, {"X": ((4, 0), np.ones((4, 6)))}],
            "row 4, gene 0 of X came twice",
        ),
        ([{"X": ((2, 0), np.ones((6, 6)))}], "does not fit"),
        ([{"X": ((0, 0), np.ones((6, 6)))}], "does not fit"),
        ([{"X": ((0, 0), np.ones((12, 6)))}], "does not fit"),
        ([{"X": ((0, 0), np.full((8, 6), "x"))}], "does not fit"),
    ],
    ids=["absent", "twice", "between", "short", "outside", "text"],
)
def test_a_block_that_is_absent_twice_or_does_not_fit_is_told(blocks, told, tmp_path):
    obs, var = tables(8, 6)
    with pytest.raises(InputError, match=told):
        H5AD.write(tmp_path / "x.h5ad", AnnDataBlocks(obs, var, {"X": "f4"}, blocks, chunk=(4, 3)))


def test_an_error_in_a_block_comes_through(tmp_path):
    obs, var = tables(8, 6)

    def broken():
        raise ZeroDivisionError("in a thread")

    with pytest.raises(ZeroDivisionError, match="in a thread"):
        H5AD.write(tmp_path / "x.h5ad", AnnDataBlocks(obs, var, {"X": "f4"}, [broken]))


@pytest.mark.parametrize("matrices", [{}, {"layers/counts": "i8"}, {"X": "f4", "obsm/pca": "f4"}], ids=str)
def test_matrices_that_cannot_be_are_refused(matrices):
    with pytest.raises(InputError, match="expected X, and layers/NAME"):
        AnnDataBlocks(*tables(8, 6), matrices, [])


def test_a_value_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a DataFrame"):
        H5AD.write(tmp_path / "x.h5ad", pd.DataFrame())


def test_every_reader_of_gzip_reads_the_chunks(tmp_path):
    matrices = {"X": np.random.default_rng(0).normal(size=(100, 50)).astype("f4")}
    H5AD.write(tmp_path / "x.h5ad", blocks_of(matrices, (64, 16), "rows"))
    with h5py.File(tmp_path / "x.h5ad") as file:
        assert (file["X"].compression, file["X"].shuffle) == ("gzip", True)
        assert np.array_equal(file["X"][...], matrices["X"])


def test_a_large_file_is_written_with_flat_memory(tmp_path):
    """400 MB of values; what the process holds more than after a small file is measured."""
    code = """
import sys, numpy as np, pandas as pd
from pathlib import Path
from cytopipe.storage.formats.h5ad import H5ad
from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

def write(name, n):
    obs, var = (pd.DataFrame(index=[f"i{i}" for i in range(k)]) for k in (n, 4096))
    made = (lambda row=row: {"X": ((row, 0), np.full((64, 4096), row, "f4"))} for row in range(0, n, 64))
    H5ad(threads=2).write(Path(sys.argv[1]) / name, AnnDataBlocks(obs, var, {"X": "f4"}, made))
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

before = write("small.h5ad", 640)
print(write("large.h5ad", 25600) - before)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, env=environment
    )
    assert float(done.stdout) < 40
