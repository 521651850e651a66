"""Read an h5ad of profiles or activities in parts, after a check of the whole file.

The file may come from others. So no link is followed out of it, what is read into memory fits the budget,
and shapes that contradict each other are refused. A `MatrixFile` gives the rows (obs), the column names,
and parts of X and of the layers as NumPy arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cytopipe.errors import CytopipeError, InputError

if TYPE_CHECKING:
    import h5py

__all__ = ["MatrixFile", "open_matrix"]

BLOCK_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class MatrixFile:
    """An open h5ad.

    Parameters
    ----------
    path : Path
    obs : DataFrame
        Indexed by row name.
    columns : tuple of str
        Names of the columns (genes or targets).
    layers : tuple of str
        Besides X.
    uns : mapping
        Texts and numbers of ``uns``, one level deep.
    file : h5py.File
    """

    path: Path
    obs: pd.DataFrame
    columns: tuple[str, ...]
    layers: tuple[str, ...]
    uns: Mapping[str, object]
    file: h5py.File

    @property
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""
        return len(self.obs), len(self.columns)

    @property
    def cell_types(self) -> list[str]:
        """The group of every row."""
        if "cell_type" not in self.obs:
            raise InputError(
                "column 'cell_type' is absent from obs",
                where=str(self.path),
                found=", ".join(map(str, self.obs.columns)) or "no column",
            )
        return self.obs["cell_type"].astype(str).tolist()

    def blocks(self, columns: np.ndarray, n_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, np.ndarray]]:
        """Rows of X in their order, some at a time, of the columns numbered: first row, values.

        Parameters
        ----------
        columns : ndarray of int
        n_bytes : int
            Of whole rows in memory at a time, about; never less than a chunk of rows.
        """
        node = self._node("X")
        if not hasattr(node, "shape"):  # a sparse matrix is read whole
            yield 0, self.read("X", columns)
            return
        chunk = (node.chunks or (1,))[0]
        rows = max(1, n_bytes // max(self.shape[1] * node.dtype.itemsize, 1) // chunk) * chunk
        for first in range(0, self.shape[0], rows):
            yield first, node[first : first + rows][:, columns]

    def read(self, layer: str = "X", columns: np.ndarray | None = None) -> np.ndarray:
        """X or a layer, all rows, all columns or those numbered.

        Parameters
        ----------
        layer : str
        columns : ndarray of int, optional

        Returns
        -------
        ndarray, (rows, columns), dtype as stored

        Raises
        ------
        InputError
            If there is no such layer.
        BudgetError
            If it does not fit into memory.
        """
        from cytopipe.storage.guard.budget import declared_bytes, require_budget

        node = self._node(layer)
        width = self.shape[1] if columns is None else len(columns)
        dtype = (node["data"] if not hasattr(node, "shape") else node).dtype
        needed = declared_bytes((self.shape[0], width), dtype.itemsize)
        if not hasattr(node, "shape"):  # a sparse matrix is read whole before its columns are picked
            needed += sum(declared_bytes(node[part].shape, node[part].dtype.itemsize) for part in node)
        require_budget(needed, None, what=f"{layer} of this file", where=str(self.path))
        if not hasattr(node, "shape"):
            return _dense_part(node, self.shape, columns)
        if columns is None:
            return node[...]
        if 0 < len(columns) <= 4:
            return np.stack([node[:, int(column)] for column in columns], axis=1)
        found = np.empty((self.shape[0], width), dtype)
        rows = max(1, BLOCK_BYTES // max(self.shape[1] * dtype.itemsize, 1))
        for first in range(0, self.shape[0], rows):  # whole rows inflate once; picking columns later is cheap
            found[first : first + rows] = node[first : first + rows][:, columns]
        return found

    def _node(self, layer: str):
        name = "X" if layer == "X" else f"layers/{layer}"
        if name not in self.file:
            raise InputError(
                f"has no layer {layer!r}",
                where=str(self.path),
                expected=", ".join(("X", *self.layers)),
                found=layer,
            )
        return self.file[name]


@contextmanager
def open_matrix(path: str | Path) -> Iterator[MatrixFile]:
    """Open an h5ad of ours or of others.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.formats.h5ad.open_h5ad`, or if there is no X.
    """
    from cytopipe.storage.formats.h5ad import open_h5ad

    path = Path(path)
    with open_h5ad(path) as file:
        try:
            found = _look_over(path, file)
        except CytopipeError:
            raise
        except Exception as error:  # anndata and h5py answer damage with many types
            raise InputError(f"is no readable AnnData file: {error}", where=str(path)) from error
        yield found


def _look_over(path: Path, file: h5py.File) -> MatrixFile:
    from anndata.io import read_elem

    if "X" not in file:
        raise InputError("holds no matrix X", where=str(path), found=", ".join(file))
    obs = read_elem(file["obs"])
    names = read_elem(file["var"]).index.astype(str)
    layers = tuple(sorted(file["layers"])) if "layers" in file else ()
    uns = _plain(read_elem(file["uns"])) if "uns" in file else {}
    return MatrixFile(path=path, obs=obs, columns=tuple(names), layers=layers, uns=uns, file=file)


def _plain(value: Mapping) -> dict[str, object]:
    kept = {}
    for name, entry in value.items():
        if isinstance(entry, np.generic):
            entry = entry.item()
        if isinstance(entry, Mapping):
            entry = {k: v.item() if isinstance(v, np.generic) else v for k, v in entry.items()}
        kept[str(name)] = entry
    return kept


def _dense_part(node: h5py.Group, shape: tuple[int, int], columns: np.ndarray | None) -> np.ndarray:
    from anndata.io import read_elem

    matrix = read_elem(node)
    if not hasattr(matrix, "tocsc") or matrix.shape != shape:
        raise InputError("is a matrix of no known encoding", where=node.name)
    return (matrix if columns is None else matrix[:, columns]).toarray()
