"""h5ad: annotated matrices, written whole or a chunk at a time, read back a part at a time.

An `AnnData` is written whole. `LazyMatrices` is written in blocks: chunks are made and compressed in threads
and put into the file in order, so that an artifact of gigabytes needs the memory of a few chunks and its
bytes do not depend on the number of threads. An artifact is read as an `H5adFile`, which opens the file when
a part of it is asked for; `H5adFile.to_memory` gives the AnnData.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import DamagedError, InputError
from cytopipe.storage.formats.format import FileFormat

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pandas as pd
    from anndata import AnnData

__all__ = ["H5AD", "Block", "H5adFile", "H5adFormat", "LazyMatrices"]

Block = Callable[[], Mapping[str, tuple[tuple[int, int], "np.ndarray"]]]
"""Called in a thread; gives, for some of the matrices, the offset (row, column) of a chunk and its values."""

ROWS_PER_CHUNK, COLUMNS_PER_CHUNK = 64, 1024


@dataclass(frozen=True, eq=False, kw_only=True)
class LazyMatrices:
    """An AnnData of which the matrices are made while they are written.

    Parameters
    ----------
    obs : DataFrame
    var_names : sequence of str
    uns : mapping
    matrices : mapping of str to (shape, dtype)
        ``X`` and ``layers/NAME``.
    blocks : callable
        ``blocks()`` iterates over every chunk, each once. Blocks are called a few ahead, in `threads`
        threads.
    rows_per_chunk, columns_per_chunk : int
        A block starts at a multiple of these and is not larger.
    compression : {'gzip', 'none'}
    threads : int
        The bytes do not depend on it.
    """

    obs: pd.DataFrame
    var_names: Iterable[str]
    uns: Mapping[str, object]
    matrices: Mapping[str, tuple[tuple[int, int], np.dtype]]
    blocks: Callable[[], Iterable[Block]]
    rows_per_chunk: int = ROWS_PER_CHUNK
    columns_per_chunk: int = COLUMNS_PER_CHUNK
    compression: str = "gzip"
    threads: int = 1


@dataclass(frozen=True, eq=False)
class H5adFile:
    """A published h5ad, read a part at a time; a path to whatever takes one.

    Parameters
    ----------
    path : Path
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @contextmanager
    def open(self) -> Iterator[h5py.File]:
        """The file, surveyed and open for reading."""
        from cytopipe.storage.h5ad import open_h5ad

        with open_h5ad(self.path) as file:
            yield file

    @cached_property
    def obs(self) -> pd.DataFrame:
        return self._read("obs")

    @cached_property
    def var_names(self) -> tuple[str, ...]:
        return tuple(map(str, self._read("var").index))

    @cached_property
    def uns(self) -> Mapping[str, object]:
        return self._read("uns")

    def to_memory(self) -> AnnData:
        """The whole of it, if it fits into memory."""
        from cytopipe.storage.h5ad import read_h5ad

        return read_h5ad(self.path)

    def _read(self, name: str) -> object:
        from anndata.io import read_elem

        with self.open() as file:
            return read_elem(file[name])


class H5adFormat(FileFormat):
    """See the module."""

    name = "h5ad"
    suffix = ".h5ad"
    kinds = ("hdf5", "anndata")

    def write(self, draft: Path, value: AnnData | LazyMatrices) -> None:
        from anndata import AnnData

        if isinstance(value, LazyMatrices):
            _write_lazy(draft, value)
        elif isinstance(value, AnnData):
            from cytopipe.storage.h5ad import write_h5ad

            write_h5ad(value)(draft)
        else:
            raise InputError(
                "is no annotated matrix", expected="AnnData or LazyMatrices", found=type(value).__name__
            )

    def validate(self, draft: Path) -> None:
        """Check the layout, and that the last chunk of every matrix can be decoded."""
        import h5py

        with H5adFile(draft).open() as file:
            matrices = [file["X"]] if "X" in file else []
            matrices += list(file["layers"].values()) if "layers" in file else []
            for matrix in matrices:
                if isinstance(matrix, h5py.Dataset) and matrix.size:
                    try:
                        matrix[-1, -1]
                    except (OSError, RuntimeError) as error:
                        raise DamagedError(f"{matrix.name} was not written whole: {error}") from error

    def read(self, path: Path) -> H5adFile:
        return H5adFile(path)

    def describe(self, path: Path) -> Mapping[str, int | str]:
        import h5py

        with h5py.File(path, "r", locking=False) as file:
            matrix = file["X"]
            shape = matrix.shape if isinstance(matrix, h5py.Dataset) else matrix.attrs["shape"]
            return {"n_rows": int(shape[0]), "n_columns": int(shape[1])}


H5AD = H5adFormat()


# --------------------------------------------------------------------------- writing in blocks


def _write_lazy(draft: Path, value: LazyMatrices) -> None:
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    with h5py.File(draft, "w", libver="earliest", track_order=False) as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        write_elem(file, "obs", value.obs)
        write_elem(file, "var", pd.DataFrame(index=list(value.var_names)))
        write_elem(file, "uns", dict(value.uns))
        for empty in ("layers", "obsm", "obsp", "varm", "varp"):
            write_elem(file, empty, {})
        _write_blocks({name: _create(file, name, value) for name in value.matrices}, value)


def _create(file: h5py.File, name: str, value: LazyMatrices) -> h5py.Dataset:
    shape, dtype = value.matrices[name]
    chunks, options = None, {}
    if min(shape):
        chunks = (min(value.rows_per_chunk, shape[0]), min(value.columns_per_chunk, shape[1]))
        if value.compression == "gzip":
            options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    dataset = file.create_dataset(name, shape, dtype, chunks=chunks, **options)
    dataset.attrs["encoding-type"], dataset.attrs["encoding-version"] = "array", "0.2.0"
    return dataset


def _write_blocks(datasets: Mapping[str, h5py.Dataset], value: LazyMatrices) -> None:
    """Make and compress chunks in threads, a few ahead; write them in order."""
    from threadpoolctl import threadpool_limits

    from cytopipe.storage.formats.hdf5_chunks import encoder

    encode = {name: encoder(dataset) for name, dataset in datasets.items()}

    def make(block: Block) -> list[tuple[str, tuple[int, int], bytes]]:
        return [(name, offset, encode[name](values)) for name, (offset, values) in block().items()]

    def write(made: list[tuple[str, tuple[int, int], bytes]]) -> None:
        for name, offset, data in made:
            datasets[name].id.write_direct_chunk(offset, data)

    # A product of small matrices gains nothing from more threads inside each of ours.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(value.threads, "deflate") as pool:
        ahead: deque = deque()
        for block in value.blocks():
            ahead.append(pool.submit(make, block))
            if len(ahead) > 2 * value.threads:
                write(ahead.popleft().result())
        while ahead:
            write(ahead.popleft().result())
