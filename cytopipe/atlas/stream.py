"""Blocks of a stored matrix, read ahead of the arithmetic with bounded memory.

A matrix and a range along its stored axis come in (cells of a CSR or dense matrix, genes of a CSC one);
blocks of a few million stored values leave, in order, while the next ones are already being inflated by
other threads. How the range is cut into blocks never shows in a result, only in speed and memory: at most
``DEPTH`` blocks exist at a time, in buffers that are used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cytopipe.atlas.cells import Cells, Matrix
from cytopipe.atlas.kernels import dense_to_rows
from cytopipe.errors import DamagedError

__all__ = ["BLOCK_VALUES", "DEPTH", "Block", "block_bytes", "open_stream"]

BLOCK_VALUES = 3_000_000  # 24 MB of float32 counts and int32 indices: a few times the processor's cache
DEPTH = 3  # one being added, one decoded, one being decoded
_INDPTR_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Block:
    """Some consecutive rows (CSR, dense) or columns (CSC) of a matrix.

    Parameters
    ----------
    start, stop : int
        Range along the stored axis.
    indptr : ndarray, (stop - start + 1,) int64
        Relative to the block.
    indices : ndarray, (n_values,) int32 or int64
    data : ndarray, (n_values,) int32, int64, float32 or float64
        Valid until the next block is asked for.
    """

    start: int
    stop: int
    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray


def open_stream(cells: Cells, threads: int, longest: int = 1 << 62) -> CompressedStream | DenseStream:
    """A stream over the matrix that holds the counts, along the axis it is stored in.

    Parameters
    ----------
    cells : Cells
    threads : int
        That inflate.
    longest : int, optional
        Rows (or columns) of a block at most.
    """
    if cells.matrix.form == "dense":
        return DenseStream(cells.matrix, longest)
    return CompressedStream(cells, threads, longest)


def block_bytes(matrix: Matrix) -> int:
    """Memory the buffers of a stream take at most, in bytes."""
    values = _values_per_block(matrix)
    itemsize = max(matrix.dtype.itemsize, 4)
    if matrix.form == "dense":
        return values * (itemsize + 8 + itemsize)
    return DEPTH * values * (itemsize + np.dtype(matrix.node["indices"].dtype).itemsize)


class CompressedStream:
    """Blocks of a CSR or CSC matrix; a context manager."""

    def __init__(self, cells: Cells, threads: int, longest: int) -> None:
        matrix = cells.matrix
        self.length = matrix.shape[0] if matrix.form == "csr" else matrix.shape[1]
        self._where = f"{cells.path}, {matrix.where}"
        self._indptr, self._indices, self._data = (
            cells.vector(part) for part in ("indptr", "indices", "data")
        )
        self._target, self._longest = _values_per_block(matrix), longest
        self._minor = matrix.shape[1] if matrix.form == "csr" else matrix.shape[0]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inflate")
        self._free = [
            (np.empty(self._target, self._indices.dtype), np.empty(self._target, self._data.dtype))
            for _ in range(DEPTH)
        ]

    def __enter__(self) -> CompressedStream:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for vector in (self._indptr, self._indices, self._data):
            vector.close()

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """Blocks that cover ``start:stop``, in order."""
        ahead: deque[tuple[Block, tuple, list[Future]]] = deque()
        try:
            for first, last, pointers in self._cuts(start, stop):
                if len(ahead) == DEPTH:
                    yield from self._finish(ahead)
                ahead.append(self._begin(first, last, pointers))
            while ahead:
                yield from self._finish(ahead)
        finally:
            for _, buffers, futures in ahead:
                for future in futures:
                    future.cancel()
                self._settle(futures)
                self._free.append(buffers)

    def gather(self, places: np.ndarray) -> Block:
        """The given rows or columns, wherever they lie, as one block; for a few of them."""
        parts = []
        for place in places:
            begin, end = (int(value) for value in self._indptr.read(int(place), int(place) + 2))
            parts.append((self._indices.read(begin, end), self._data.read(begin, end)))
        indptr = np.concatenate([[0], np.cumsum([len(part[0]) for part in parts])]).astype(np.int64)
        indices = np.concatenate([part[0] for part in parts])
        data = np.concatenate([part[1] for part in parts])
        return Block(0, len(places), indptr, _plain_index(indices), _plain_values(data))

    def _cuts(self, start: int, stop: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Cut ``start:stop`` where a buffer is full."""
        for low in range(start, stop, _INDPTR_AT_ONCE):
            high = min(stop, low + _INDPTR_AT_ONCE)
            pointers = self._indptr.read(low, high + 1).astype(np.int64)
            self._check(pointers, low)
            first = 0
            while first < high - low:
                last = int(np.searchsorted(pointers, pointers[first] + self._target, side="right")) - 1
                last = min(max(last, first + 1), first + self._longest, high - low)
                yield low + first, low + last, pointers[first : last + 1]
                first = last

    def _check(self, pointers: np.ndarray, low: int) -> None:
        lengths = np.diff(pointers)
        bad = np.flatnonzero((lengths < 0) | (pointers[:-1] < 0) | (pointers[1:] > self._data.length))
        if len(bad):
            raise DamagedError(
                f"indptr runs outside the stored values at position {low + int(bad[0])}",
                where=self._where,
                expected=f"rising numbers up to {self._data.length}",
                found=f"{pointers[bad[0]]}, {pointers[bad[0] + 1]}",
            )
        longest = int(lengths.max(initial=0))
        if longest > 16 * self._minor + 1024:
            raise DamagedError(
                f"position {low + int(lengths.argmax())} stores far more values than the matrix is wide",
                where=self._where,
                expected=f"at most {self._minor}",
                found=str(longest),
            )

    def _begin(self, first: int, last: int, pointers: np.ndarray):
        begin, end = int(pointers[0]), int(pointers[-1])
        n = end - begin
        buffers = self._free.pop()
        if n > len(buffers[0]):  # one row longer than a block
            buffers = (np.empty(n, self._indices.dtype), np.empty(n, self._data.dtype))
        indices, data = buffers[0][:n], buffers[1][:n]
        tasks = [*self._indices.tasks(begin, end, indices), *self._data.tasks(begin, end, data)]
        futures = [self._pool.submit(task) for task in tasks]
        return Block(first, last, pointers - begin, indices, data), buffers, futures

    def _finish(self, ahead: deque) -> Iterator[Block]:
        block, buffers, futures = ahead.popleft()
        try:
            for future in futures:
                future.result()
            yield Block(
                block.start, block.stop, block.indptr, _plain_index(block.indices), _plain_values(block.data)
            )
        finally:
            self._settle(futures)
            self._free.append(buffers)

    @staticmethod
    def _settle(futures: list[Future]) -> None:
        """Wait for what is still writing into a buffer before the buffer is used again."""
        for future in futures:
            if not future.cancelled():
                future.exception()


class DenseStream:
    """Blocks of a dense matrix, its zeros dropped; a context manager."""

    def __init__(self, matrix: Matrix, longest: int) -> None:
        self.length, self._width = matrix.shape
        self._node = matrix.node
        self._rows = max(1, min(longest, _values_per_block(matrix) // max(1, self._width)))

    def __enter__(self) -> DenseStream:
        return self

    def __exit__(self, *_) -> None:
        pass

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """Blocks that cover ``start:stop``, in order; cut where the file's chunks are, for one read each."""
        first = start
        while first < stop:
            last = min(stop, (first // self._rows + 1) * self._rows)
            values = _plain_values(np.ascontiguousarray(self._node[first:last]))
            indptr = np.empty(last - first + 1, np.int64)
            indices, data = np.empty(values.size, np.int32), np.empty(values.size, values.dtype)
            n = dense_to_rows(values, indptr, indices, data)
            yield Block(first, last, indptr, indices[:n], data[:n])
            first = last


def _values_per_block(matrix: Matrix) -> int:
    """Stored values per block: never less than a chunk, so that no chunk is inflated again and again."""
    if matrix.form == "dense":
        chunks = getattr(matrix.node, "chunks", None) or (1, matrix.shape[1])
        rows = max(chunks[0], BLOCK_VALUES // max(1, matrix.shape[1]) // chunks[0] * chunks[0])
        return rows * matrix.shape[1]
    chunks = [getattr(matrix.node[part], "chunks", None) or (1,) for part in ("data", "indices")]
    return max(BLOCK_VALUES, *(chunk[0] for chunk in chunks))


def _plain_index(indices: np.ndarray) -> np.ndarray:
    if indices.dtype in (np.int32, np.int64):
        return indices
    return indices.astype(np.int64 if indices.dtype.itemsize >= 4 else np.int32)


def _plain_values(values: np.ndarray) -> np.ndarray:
    """Values in one of the four types the kernels are compiled for, none of them changed."""
    if values.dtype in (np.float32, np.float64, np.int32, np.int64):
        return values
    if values.dtype.kind == "f":
        return values.astype(np.float32 if values.dtype.itemsize <= 4 else np.float64)
    return values.astype(np.int32 if values.dtype.itemsize <= 2 else np.int64)
