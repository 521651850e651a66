"""Cells in an h5ad: X or a layer, names of markers from var, what else is known from obs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.errors import CytopipeError, InputError
from cytopipe.heatmap.cells.names import clean, known_column, named_columns
from cytopipe.heatmap.cells.source import Cells, Faults
from cytopipe.storage.guard.budget import require_budget
from cytopipe.storage.guard.hdf5 import open_hdf5

__all__ = ["AnnDataFile"]

#: Columns of var that hold the name which people know, where the index holds the channel.
_LABELS = ("pns", "marker", "markers", "marker_name", "antigen", "desc")
_CHANNELS = ("channel", "channels", "pnn")
_NOT_COUNTED = ("/X", "/layers/", "/raw", "/obsm/", "/obsp/", "/varm/", "/varp/", "/uns/")


class AnnDataFile:
    """An h5ad of cells x markers.

    Parameters
    ----------
    path : Path
    layer : str
        The layer to take; empty: X, or the only layer where X is absent.

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.guard.hdf5.open_hdf5`, and where no matrix of numbers is found.
    """

    def __init__(self, path: Path, *, layer: str = "") -> None:
        from anndata.io import read_elem

        self.path, self.sample = path, path.stem
        self.faults = Faults(path)
        with open_hdf5(path, streamed=_NOT_COUNTED) as file:
            try:
                self._matrix = self._choose(file, layer)
                self._obs, var = read_elem(file["obs"]), read_elem(file["var"])
                self._places = self._places_of(file, read_elem)
            except CytopipeError:
                raise
            except Exception as error:  # whatever anndata stumbles over in a file of others
                told = clean(error)[:200] or type(error).__name__
                raise InputError(f"is no h5ad that can be read: {told}", where=str(path)) from None
        if not isinstance(self._obs, pd.DataFrame) or not isinstance(var, pd.DataFrame):
            raise InputError("is no h5ad: obs and var are no tables", where=str(path))
        names = [str(name) for name in var.index]
        column = next((one for one in _LABELS if one in var), None)
        if column is not None:
            labels = ["" if pd.isna(one) else str(one) for one in var[column]]
            self.columns = named_columns(names, labels)
        elif channel := next((one for one in _CHANNELS if one in var), None):
            self.columns = named_columns([str(one) for one in var[channel]], names)
        else:
            self.columns = named_columns(names)

    def read(self, wanted: Sequence[int]) -> Cells:
        from anndata.io import read_elem

        n_cells = len(self._obs)
        require_budget(
            n_cells * (len(self.columns) + len(wanted)) * 4, None, what="the matrix", where=str(self.path)
        )
        with open_hdf5(self.path, streamed=_NOT_COUNTED) as file:
            try:
                matrix = read_elem(file[self._matrix])
                if hasattr(matrix, "toarray"):
                    matrix = matrix[:, list(wanted)].toarray()
                else:
                    matrix = np.asarray(matrix)[:, list(wanted)]
            except Exception as error:  # damaged chunks, indices beyond the matrix, types that are no numbers
                told = clean(error)[:200] or type(error).__name__
                raise InputError(f"{self._matrix} cannot be read: {told}", where=str(self.path)) from None
        if matrix.dtype.kind not in "iufb" or matrix.shape != (n_cells, len(wanted)):
            raise InputError(
                f"{self._matrix} is no matrix of numbers, cells x markers",
                where=str(self.path),
                expected=f"({n_cells}, {len(self.columns)})",
                found=f"{matrix.dtype} {matrix.shape}",
            )
        kind = np.float32 if matrix.dtype == np.float32 else np.float64
        values = np.ascontiguousarray(matrix, kind)
        self.faults.check_values(values, [self.columns[place].marker for place in wanted])
        return Cells(values, self._known(wanted))

    def _choose(self, file, layer: str) -> str:
        layers = sorted(file["layers"]) if "layers" in file else []
        if layer:
            if layer not in layers:
                raise InputError(
                    f"has no layer {layer!r}",
                    where=str(self.path),
                    expected=", ".join(layers) or "no layer: the file has none",
                )
            return f"layers/{layer}"
        if "X" in file and file["X"].attrs.get("encoding-type") != "null":
            return "X"
        if len(layers) == 1:
            return f"layers/{layers[0]}"
        raise InputError(
            "has no X",
            where=str(self.path),
            found=f"layers {', '.join(layers)}" if layers else "no layer either",
            next="Name the layer to take." if layers else "Save the file with its values.",
        )

    def _places_of(self, file, read_elem) -> np.ndarray | None:
        """Columns x and y of ``obsm["spatial"]``, if it is there."""
        if "obsm" not in file or "spatial" not in file["obsm"] or not hasattr(file["obsm/spatial"], "shape"):
            return None
        shape = file["obsm/spatial"].shape
        require_budget(int(np.prod(shape)) * 8, None, what="obsm/spatial", where=str(self.path))
        places = read_elem(file["obsm/spatial"])
        return places[:, :2] if places.ndim == 2 and places.shape[1] >= 2 else None

    def _known(self, wanted: Sequence[int]) -> pd.DataFrame:
        known: dict[str, object] = {}
        for name in self._obs:
            column = self._obs[name]
            plain = known_column(str(name))
            key = plain if plain not in (None, "other") and plain not in known else clean(name)
            known[key] = (
                column.to_numpy() if column.dtype.kind in "iufb" else column.astype(object).to_numpy()
            )
        if self._places is not None:
            known.setdefault("x", self._places[:, 0])
            known.setdefault("y", self._places[:, 1])
        names = self._obs.index.astype(str)
        if not names.equals(pd.Index([str(number) for number in range(len(names))])):
            known.setdefault("cell", names.to_numpy())
        return pd.DataFrame(known, index=range(len(self._obs)))
