"""Reading a long stored vector fast: chunks straight from the file, inflated beside one another.

An h5ad keeps a sparse matrix as two vectors of hundreds of millions of numbers in compressed chunks. HDF5
inflates them one at a time under one lock; here each run of chunks is a task that reads its bytes by offset
and undoes the filters itself, without the lock and without Python's. What we cannot undo (lzf, szip, a
checksum, a virtual data set) goes through HDF5 or zarr as usual: the same numbers, only slower.
Every decoded chunk must have exactly the size its data set declares, so a file cannot inflate without bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock

import imagecodecs
import numpy as np
from numba import njit

from cytopipe.errors import DamagedError

__all__ = ["ChunkedVector", "inflate_exactly", "vector_of"]

Task = Callable[[], None]

_DEFLATE, _SHUFFLE, _BLOSC, _ZSTD = 1, 2, 32001, 32015
_TASK_BYTES = 1 << 20  # decoded bytes per task: large beside the cost of a task, small beside a block
_KEPT = 4  # chunks that lie in two blocks, of those no larger than a task


def vector_of(dataset, path: str) -> StoredVector:
    """The fastest reader for a 1-D data set of an h5ad or zarr.

    Parameters
    ----------
    dataset : h5py.Dataset or zarr.Array
        One-dimensional, numeric.
    path : str
        The file it lies in, for reading by offset.
    """
    decoder = _direct_decoder(dataset)
    return ChunkedVector(dataset, path, decoder) if decoder else StoredVector(dataset)


class StoredVector:
    """A vector read through its own library, one slice at a time."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset
        self.dtype = np.dtype(dataset.dtype)
        self.length = dataset.shape[0]
        self.direct = False

    def tasks(self, start: int, stop: int, out: np.ndarray) -> Iterator[Task]:
        """Tasks that together fill ``out`` with elements ``start:stop``; any order, any threads."""
        if stop > start:
            yield lambda: np.copyto(out, self.dataset[start:stop])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Elements ``start:stop``, now."""
        out = np.empty(stop - start, self.dtype)
        for task in self.tasks(start, stop, out):
            task()
        return out

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class _Decoder:
    """The filters of a data set, to be undone last to first."""

    filters: tuple[int, ...]
    itemsize: int
    chunk_bytes: int

    def __call__(self, raw: bytes, mask: int, out: np.ndarray) -> None:
        """Undo the filters of one chunk into `out`, `chunk_bytes` of uint8."""
        applied = [code for position, code in enumerate(self.filters) if not mask >> position & 1]
        for position in range(len(applied) - 1, -1, -1):
            target = np.empty_like(out) if position else out
            if applied[position] == _SHUFFLE:
                _unshuffle(np.frombuffer(raw, np.uint8), self.itemsize, target)
            else:
                _INFLATE[applied[position]](raw, target)
            raw = target
        if not applied:
            out[:] = np.frombuffer(raw, np.uint8)


class ChunkedVector(StoredVector):
    """A chunked HDF5 vector, read by offset and inflated here."""

    def __init__(self, dataset, path: str, decoder: _Decoder) -> None:
        super().__init__(dataset)
        self.direct = True
        self.chunk = dataset.chunks[0]
        self._decode = decoder
        self._where = f"{path}:{dataset.name}"
        n_chunks = -(-self.length // self.chunk)
        self._offset = np.full(n_chunks, -1, np.int64)
        self._size = np.zeros(n_chunks, np.int64)
        self._mask = np.zeros(n_chunks, np.uint32)
        dataset.id.chunk_iter(self._note)
        self._fill = np.asarray(dataset.fillvalue, self.dtype)
        self._kept: dict[int, np.ndarray] = {}
        self._lock = Lock()
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._file_bytes = os.fstat(self._descriptor).st_size

    def tasks(self, start: int, stop: int, out: np.ndarray) -> Iterator[Task]:
        if stop <= start:
            return
        per_task = max(1, _TASK_BYTES // (self.chunk * self.dtype.itemsize))
        last = (stop - 1) // self.chunk + 1
        for first in range(start // self.chunk, last, per_task):
            yield lambda first=first: self._fill_chunks(first, min(first + per_task, last), start, stop, out)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _note(self, info) -> None:
        number = info.chunk_offset[0] // self.chunk
        if number < len(self._offset):
            self._offset[number], self._size[number] = info.byte_offset, info.size
            self._mask[number] = info.filter_mask

    def _fill_chunks(self, first: int, last: int, start: int, stop: int, out: np.ndarray) -> None:
        for number in range(first, last):
            begin, end = number * self.chunk, (number + 1) * self.chunk
            if start <= begin and end <= stop:
                self._read_chunk(number, out[begin - start : end - start])
            else:
                whole = self._whole(number)
                low, high = max(start, begin), min(stop, end)
                out[low - start : high - start] = whole[low - begin : high - begin]

    def _whole(self, number: int) -> np.ndarray:
        """A chunk that lies in two blocks: inflated once, as the other block is read soon."""
        with self._lock:
            found = self._kept.get(number)
        if found is None:
            found = np.empty(self.chunk, self.dtype)
            self._read_chunk(number, found)
            if found.nbytes <= _TASK_BYTES:
                with self._lock:
                    while len(self._kept) >= _KEPT:
                        del self._kept[next(iter(self._kept))]
                    self._kept[number] = found
        return found

    def _read_chunk(self, number: int, out: np.ndarray) -> None:
        offset, size = int(self._offset[number]), int(self._size[number])
        if offset < 0:  # never written: HDF5 defines it as the fill value
            out[:] = self._fill
            return
        if offset + size > self._file_bytes:
            raise DamagedError(f"chunk {number} lies beyond the end of the file", where=self._where)
        raw = os.pread(self._descriptor, size, offset)
        try:
            self._decode(raw, int(self._mask[number]), out.view(np.uint8))
        except Exception as error:
            what = f"chunk {number} cannot be decoded"
            raise DamagedError(what, where=self._where, found=str(error)) from error


def inflate_exactly(raw: bytes, out: np.ndarray) -> None:
    """Inflate a zlib stream that must fill `out`, uint8, exactly; never allocates.

    Raises
    ------
    ValueError
        If it holds more, or ends early.
    """
    try:
        found = len(imagecodecs.deflate_decode(raw, out=out))
    except imagecodecs.DeflateError as error:
        more = "INSUFFICIENT_SPACE" in str(error)
        raise ValueError(f"inflates to more than {len(out)} bytes" if more else "is damaged") from error
    _require(found, len(out))


def _zstd(raw: bytes, out: np.ndarray) -> None:
    _require(len(imagecodecs.zstd_decode(raw, out=out)), len(out))


def _blosc(raw: bytes, out: np.ndarray) -> None:
    from numcodecs import blosc

    n_bytes, n_stored = (int.from_bytes(raw[at : at + 4], "little") for at in (4, 12))  # of Blosc's header
    if n_bytes != len(out) or n_stored != len(raw):
        raise ValueError(f"declares {n_bytes} bytes in {n_stored}, not {len(out)} in {len(raw)}")
    blosc.decompress(raw, out)


def _require(found: int, expected: int) -> None:
    if found != expected:
        raise ValueError(f"holds {found} bytes, not {expected}")


_INFLATE: dict[int, Callable[[bytes, np.ndarray], None]] = {
    _DEFLATE: inflate_exactly,
    _ZSTD: _zstd,
    _BLOSC: _blosc,
}


def _direct_decoder(dataset) -> _Decoder | None:
    """How to undo the filters of `dataset`, or None where HDF5 or zarr must do it."""
    if not hasattr(dataset, "id"):  # zarr: its own codec pipeline already runs in threads
        return None
    properties = dataset.id.get_create_plist()
    filters = tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))
    readable = (
        dataset.chunks is not None
        and not dataset.is_virtual
        and not dataset.external
        and dataset.dtype.isnative
        and dataset.dtype.kind in "iuf"
        and dataset.file.userblock_size == 0
        and dataset.file.driver in ("sec2", "core")  # core: a small file that was read whole when opened
        and all(code == _SHUFFLE or code in _INFLATE for code in filters)
    )
    if not readable:
        return None
    return _Decoder(filters, dataset.dtype.itemsize, dataset.chunks[0] * dataset.dtype.itemsize)


@njit(nogil=True, cache=True)
def _unshuffle(shuffled, itemsize, out):
    """Bytes 0 of all elements, then bytes 1, ... back to whole elements (HDF5's shuffle filter)."""
    n = len(shuffled) // itemsize
    for byte in range(itemsize):
        base = byte * n
        for element in range(n):
            out[element * itemsize + byte] = shuffled[base + element]
    for rest in range(n * itemsize, len(shuffled)):
        out[rest] = shuffled[rest]
