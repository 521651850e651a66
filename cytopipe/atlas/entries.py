"""The counts of all cells in memory, as narrow as they are exact: the store where samples are many and small.

A sum per (leaf, sample) wastes memory where such a unit has few cells: most genes of it are zero. Here every
stored count of the atlas is kept instead, 2 bytes for the gene (4 above 65,536 genes) and 2 for the count
(4 once one is larger), cell after cell, genes of a cell ascending, each once. 50,000 cells of 1,000 samples
take 0.2 GB where their sums would take 6.4. What is derived from it is equal to the bit.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np
from numba import njit

from cytopipe.atlas.kernels import merge
from cytopipe.atlas.stream import Block

__all__ = ["Entries", "gene_dtype", "room"]

_NARROW, _WIDE = np.uint16, np.uint32
_GROWTH = 1.125


def gene_dtype(n_genes: int) -> np.dtype:
    """The narrowest type that numbers `n_genes` genes."""
    return np.dtype(_NARROW if n_genes <= 1 << 16 else _WIDE)


@dataclass
class Entries:
    """Counts of cells, entry by entry.

    Parameters
    ----------
    start, stop : ndarray, (n_cells,) int64
        Entries of each cell are ``start:stop``; there may be a gap before those of the next.
    genes : ndarray, (n_entries,) uint16 or uint32
    counts : ndarray, (n_entries,) uint16 or uint32
    """

    start: np.ndarray
    stop: np.ndarray
    genes: np.ndarray
    counts: np.ndarray

    @classmethod
    def empty(cls, n_cells: int, n_entries: int, n_genes: int) -> Entries:
        """Room for `n_entries`, of no cell yet; more room is made when it is needed."""
        none = np.zeros(n_cells, np.int64)
        return cls(none, none.copy(), room(n_entries, gene_dtype(n_genes)), room(n_entries, _NARROW))

    def begin(self, block: Block) -> int:
        """Where the entries of a block (CSR or dense) begin; there is room for them afterwards."""
        begin = int(self.stop[block.start - 1]) if block.start else 0
        self._make_room(begin + len(block.data))
        return begin

    def widen(self) -> None:
        """Go on with counts that hold any value."""
        self.counts = self.counts.astype(_WIDE)

    def place_cells(self, lengths: np.ndarray) -> None:
        """Lay out cells whose numbers of stored values are known, before :meth:`keep_columns`."""
        self._make_room(int(lengths.sum()))
        self.start[1:] = np.cumsum(lengths)[:-1]
        self.stop[:] = self.start

    def keep_columns(self, block: Block, genes: np.ndarray, columns: np.ndarray, starts: np.ndarray) -> None:
        """Keep genes of a block of a matrix stored by gene; parameters as of the kernel for sums."""
        stop = self.stop.copy()
        while _keep_columns(
            genes, columns, starts, block.indptr, block.indices, block.data, stop, self.genes, self.counts
        ):
            self.widen()
            stop = self.stop.copy()
        self.stop = stop

    def finish_columns(self, n_genes: int) -> None:
        """After the last gene: bring the entries of every cell into ascending order, each gene once."""
        while _merge_cells(self.start, self.stop, n_genes, self.genes, self.counts):
            self.widen()

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name, for a checkpoint."""
        return {f"entries_{name}": getattr(self, name) for name in ("start", "stop", "genes", "counts")}

    def fit(self, shapes: dict[str, list]) -> None:
        """Take the lengths and types of a checkpoint's arrays, before they are read."""
        for name in ("genes", "counts"):
            if wanted := shapes.get(f"entries_{name}"):
                setattr(self, name, room(wanted[1][0], wanted[0]))

    def _make_room(self, n_entries: int) -> None:
        for name in ("genes", "counts"):
            array = getattr(self, name)
            if n_entries > len(array):
                larger = room(int(n_entries * _GROWTH), array.dtype)
                larger[: len(array)] = array
                setattr(self, name, larger)


def room(n: int, dtype) -> np.ndarray:
    """Zeros in pages of their own, which the system clears at once: a fault for each takes twice as long.

    NumPy would ask for huge pages, whose clearing takes a third of the pass where memory is in pieces.
    """
    n_bytes = n * np.dtype(dtype).itemsize
    if not n_bytes or not hasattr(mmap, "MAP_POPULATE"):
        return np.zeros(n, dtype)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    return np.frombuffer(mmap.mmap(-1, n_bytes, flags=private), dtype)


@njit(nogil=True, cache=True)
def _keep_columns(which, columns, starts, indptr, indices, data, stop, genes, counts):
    """Append genes to their cells; True where a count does not fit."""
    most = np.int64(np.iinfo(counts.dtype).max)
    for i in range(len(which)):
        for j in range(starts[i], starts[i + 1]):
            for k in range(indptr[columns[j]], indptr[columns[j] + 1]):
                if np.int64(data[k]) > most:
                    return True
                n = stop[indices[k]]
                genes[n], counts[n] = which[i], np.int64(data[k])
                stop[indices[k]] = n + 1
    return False


@njit(nogil=True, cache=True)
def _merge_cells(start, stop, n_genes, genes, counts):
    most = np.int64(np.iinfo(counts.dtype).max)
    buffer = np.zeros(n_genes, np.int64)
    for cell in range(len(start)):
        rising = True
        for n in range(start[cell] + 1, stop[cell]):
            rising = rising and genes[n] > genes[n - 1]
        if not rising:
            n = merge(start[cell], stop[cell], buffer, most, genes, counts)
            if n < 0:
                return True
            stop[cell] = n
    return False
