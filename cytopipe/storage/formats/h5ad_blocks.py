"""An AnnData whose matrices are made in blocks, while they are written.

The tables are given; X and the layers come block by block, in any order, each value once. Blocks are made and
compressed in threads and put into the file in their order: memory holds a few of them however long the file
is, and the bytes do not depend on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError
from cytopipe.storage.h5ad_elements import Frame, write_elements, write_frame

if TYPE_CHECKING:
    import h5py
    import pandas as pd

__all__ = ["AnnDataBlocks", "Block", "write_blocks"]

Block = Mapping[str, tuple[tuple[int, int], np.ndarray]]
"""Name of a matrix to the row and gene of the first value, and the values, (n_rows, n_genes)."""

_COMPRESSION = {"gzip": {"compression": "gzip", "compression_opts": 1, "shuffle": True}, None: {}}


@dataclass(frozen=True, eq=False)
class AnnDataBlocks:
    """What an h5ad file is to hold, its matrices still to be made.

    Parameters
    ----------
    obs, var : DataFrame or Frame
        Rows and genes, with their names as index. With `Frame` neither pandas nor anndata is imported.
    matrices : mapping of str to dtype
        ``X`` and ``layers/NAME``, all of shape (n_obs, n_vars), and the type of their values.
    blocks : iterable of Block or of callable
        Every value of every matrix once. A callable is called in a thread and returns the Block. A block
        begins at a multiple of `chunk` and ends at one or at the edge: whole rows, whole genes, or anything
        between.
    uns : mapping
    obsm : mapping of str to ndarray or DataFrame
    chunk : (int, int)
        Rows and genes that are compressed together.
    compression : {'gzip', None}
    """

    obs: pd.DataFrame | Frame
    var: pd.DataFrame | Frame
    matrices: Mapping[str, np.dtype | str]
    blocks: Iterable[Block | Callable[[], Block]]
    uns: Mapping[str, object] = field(default_factory=dict)
    obsm: Mapping[str, object] = field(default_factory=dict)
    chunk: tuple[int, int] = (64, 1024)
    compression: str | None = "gzip"

    def __post_init__(self) -> None:
        bad = [
            name for name in self.matrices if name != "X" and not name.removeprefix("layers/").isidentifier()
        ]
        if bad or "X" not in self.matrices:
            raise InputError(f"matrices {', '.join(self.matrices)}", expected="X, and layers/NAME")
        if self.compression not in _COMPRESSION:
            raise InputError(f"h5ad compression {self.compression!r} is not known", expected="gzip or None")

    @property
    def shape(self) -> tuple[int, int]:
        """(n_obs, n_vars)."""
        return len(self.obs), len(self.var)


def write_blocks(path: Path, value: AnnDataBlocks, threads: int) -> None:
    """Write an h5ad file, block by block.

    Raises
    ------
    InputError
        A block lies outside of its matrix or between chunks, or a part of a matrix never came or came twice.
    """
    import h5py

    with h5py.File(path, "w", libver="earliest", track_order=False) as file:
        file.attrs["encoding-type"], file.attrs["encoding-version"] = "anndata", "0.1.0"
        write = write_elements if isinstance(value.obs, Frame) else _write_by_anndata
        for name in ("obs", "var"):
            table = getattr(value, name)
            if isinstance(table, Frame):
                write_frame(file, name, table.index, table.columns)
            else:
                _write_by_anndata(file, name, table)
        write(file, "uns", dict(value.uns))
        for name in ("layers", "obsm", "obsp", "varm", "varp"):
            write(file, name, dict(value.obsm) if name == "obsm" else {})
        chunked = {
            name: _Chunked(_create(file, name, value), name) for name in sorted(value.matrices, key=_by_layer)
        }
        with ThreadPoolExecutor(threads, thread_name_prefix="blocks") as pool:
            for parts in _in_order(pool, value.blocks, chunked, threads):
                for name, offset, data in parts:
                    chunked[name].put(offset, data)
        for one in chunked.values():
            one.require_all()


def _write_by_anndata(file: h5py.File, name: str, element: object) -> None:
    from anndata.io import write_elem

    write_elem(file, name, element)


def _by_layer(name: str) -> tuple[bool, str]:
    return name != "X", name


def _create(file: h5py.File, name: str, value: AnnDataBlocks) -> h5py.Dataset:
    empty = 0 in value.shape
    chunk = None if empty else tuple(min(n, one) for n, one in zip(value.shape, value.chunk, strict=True))
    options = {} if empty else _COMPRESSION[value.compression]
    dataset = file.create_dataset(name, value.shape, value.matrices[name], chunks=chunk, **options)
    dataset.attrs["encoding-type"], dataset.attrs["encoding-version"] = "array", "0.2.0"
    return dataset


def _in_order(
    pool: ThreadPoolExecutor, blocks: Iterable, chunked: Mapping[str, _Chunked], threads: int
) -> Iterator[list[tuple[str, tuple[int, int], bytes]]]:
    """Encoded chunks of each block, in the order of the blocks; a few blocks are ahead."""

    def make(block) -> list[tuple[str, tuple[int, int], bytes]]:
        made = block() if callable(block) else block
        return [
            (name, offset, data)
            for name, (corner, values) in made.items()
            for offset, data in chunked[name].encoded(corner, np.asarray(values))
        ]

    ahead: deque = deque()
    try:
        for block in blocks:
            ahead.append(pool.submit(make, block))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


class _Chunked:
    """A dataset that is filled chunk by chunk, each once."""

    def __init__(self, dataset: h5py.Dataset, name: str) -> None:
        from cytopipe.storage.formats.hdf5_chunks import encoder

        self.dataset, self.name = dataset, name
        self.shape, self.chunk = dataset.shape, dataset.chunks
        self._encode = encoder(dataset) if self.chunk else None
        self._given: set[tuple[int, int]] = set()

    def encoded(self, corner: tuple[int, int], values: np.ndarray) -> Iterator[tuple[tuple[int, int], bytes]]:
        """The chunks of a block, each with the place of its first value."""
        ends = [at + n for at, n in zip(corner, values.shape, strict=True)]
        between = any(
            at % one or (end % one and end != n) or end > n
            for at, end, one, n in zip(corner, ends, self.chunk or self.shape, self.shape, strict=True)
            if n
        )
        if between or values.dtype.kind not in "biuf":
            raise InputError(
                f"a block of {self.name} does not fit",
                expected=f"numbers from multiples of {self.chunk} to others or to the edge of {self.shape}",
                found=f"{values.dtype} from {corner} to {tuple(ends)}",
            )
        for row, gene in product(
            *(range(0, n, one) for n, one in zip(values.shape, self.chunk or (1, 1), strict=True))
        ):
            part = values[row : row + self.chunk[0], gene : gene + self.chunk[1]]
            yield (corner[0] + row, corner[1] + gene), self._encode(part)

    def put(self, offset: tuple[int, int], data: bytes) -> None:
        if offset in self._given:
            raise InputError(f"row {offset[0]}, gene {offset[1]} of {self.name} came twice")
        self._given.add(offset)
        self.dataset.id.write_direct_chunk(offset, data)

    def require_all(self) -> None:
        if self.chunk is None:
            return
        wanted = product(*(range(0, n, one) for n, one in zip(self.shape, self.chunk, strict=True)))
        absent = next((offset for offset in wanted if offset not in self._given), None)
        if absent is not None:
            raise InputError(f"row {absent[0]}, gene {absent[1]} of {self.name} never came")
