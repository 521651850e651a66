"""The library as the read model walks it: sorted sequences of bases, by numbers in the channels' order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.screen.library import check_barcodes
from cytopipe.screen.model import kernels

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Entries"]

#: Columns that hold barcodes, the first that a library has.
COLUMNS = ("barcode", "prefix", "sgRNA")


class Entries:
    """Barcodes of a library as codes, sorted.

    Parameters
    ----------
    library : DataFrame or None
        With a column `barcode` (or `prefix`, or `sgRNA`) of A, C, G and T. None: no entries.
    cycles : int
        Barcodes are cut to so many letters.
    bases : str
        Order of the channels.

    Attributes
    ----------
    codes : array (m, T), uint8
    row : array (m,)
        The library's row of each entry.
    names : array (m,) of str
    constant : bool
        Whether a barcode has (nearly) the same base in all cycles, or might have: there is no library.

    Raises
    ------
    InputError
        Barcodes are absent, repeated, too short or of other letters: all findings at once.
    """

    def __init__(self, library: pd.DataFrame | None, cycles: int, bases: str) -> None:
        self.library, self.cycles = library, cycles
        self.codes, self.row = np.zeros((0, cycles), np.uint8), np.zeros(0, np.int64)
        self.names = np.zeros(0, object)
        if library is not None:
            column = next((one for one in COLUMNS if one in library.columns), COLUMNS[0])
            check_barcodes(library, column, cycles)
            names = library[column].str[:cycles].to_numpy(object)
            number = np.zeros(256, np.uint8)
            number[[ord(base) for base in bases]] = np.arange(len(bases))
            codes = number[np.frombuffer("".join(names).encode(), np.uint8)].reshape(-1, cycles)
            self.row = np.lexsort(codes.T[::-1])
            self.codes, self.names = np.ascontiguousarray(codes[self.row]), names[self.row]
        often = [(self.codes == base).sum(axis=1) for base in range(len(bases))]
        # What is the same in more than two thirds of the cycles goes with the static part of the image.
        self.constant = library is None or bool((np.max(often, axis=0) > cycles - (cycles + 1) // 6).any())
        self.skip = kernels.skips(self.codes)

    @property
    def size(self) -> int:
        """Number of barcodes."""
        return len(self.codes)

    def log_share(self, counts: Mapping[str, int] | None) -> np.ndarray:
        """Logarithm of the abundance of each entry: the cells that carry it, and two for all."""
        if not self.size:
            return np.zeros(0)
        seen = np.full(self.size, 2.0)
        if counts:
            seen += np.array([counts.get(name, 0) for name in self.names], float)
        return np.log(seen / seen.sum())
