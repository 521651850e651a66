"""Elements of an h5ad, written by h5py alone: as anndata writes them, without two seconds of importing it.

Only what our results hold is written: data frames of numbers, texts, truth values and categories; nested
mappings of texts, numbers and arrays. The layout is that of anndata's on-disk specification, versions named
below; a test compares every attribute and value with what anndata writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

__all__ = ["Categories", "Frame", "write_elements", "write_frame"]

_TEXT = h5py.string_dtype()


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of labels.

    Parameters
    ----------
    codes : ndarray of int
        Positions in `names`; -1 where a label is missing.
    names : sequence of str
        Sorted.
    """

    codes: np.ndarray
    names: Sequence[str]

    @classmethod
    def of(cls, labels: Iterable[str | None]) -> Categories:
        """From one label per row; None is a missing one."""
        labels = list(labels)
        names = sorted({label for label in labels if label is not None})
        place = {name: code for code, name in enumerate(names)}
        return cls(np.array([-1 if label is None else place[label] for label in labels], np.int64), names)


@dataclass(frozen=True, eq=False)
class Frame:
    """A data frame: names of the rows, and columns."""

    index: Sequence[str]
    columns: Mapping[str, np.ndarray | Categories]

    def __len__(self) -> int:
        return len(self.index)


def write_frame(
    parent: h5py.Group, name: str, index: Sequence[str], columns: Mapping[str, np.ndarray | Categories]
) -> None:
    """Write a data frame.

    Parameters
    ----------
    parent : h5py.Group
    name : str
        ``obs`` or ``var``.
    index : sequence of str
    columns : mapping of str to ndarray or Categories
    """
    group = _group(parent, name, "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    group.attrs["column-order"] = np.array(list(columns), object) if columns else np.array([])
    _write(group, "_index", np.array(list(index), object))
    for column, values in columns.items():
        _write(group, column, values)


def write_elements(parent: h5py.Group, name: str, elements: Mapping[str, object]) -> None:
    """Write a mapping (``uns``, or an empty ``layers``), in its own order."""
    group = _group(parent, name, "dict", "0.1.0")
    for key, value in elements.items():
        _write(group, key, value)


def _write(group: h5py.Group, name: str, value: object) -> None:
    if isinstance(value, Mapping):
        write_elements(group, name, value)
    elif isinstance(value, Categories):
        labels = _group(group, name, "categorical", "0.2.0")
        labels.attrs["ordered"] = False
        _write(labels, "codes", value.codes.astype(_code_type(len(value.names))))
        _write(labels, "categories", np.array(list(value.names), object))
    elif isinstance(value, str):
        _mark(group.create_dataset(name, data=value, dtype=_TEXT), "string", "0.2.0")
    elif np.isscalar(value):
        _mark(group.create_dataset(name, data=value), "numeric-scalar", "0.2.0")
    elif value.dtype == object:
        _mark(group.create_dataset(name, data=value, dtype=_TEXT), "string-array", "0.2.0")
    else:
        _mark(group.create_dataset(name, data=value), "array", "0.2.0")


def _code_type(n_names: int) -> type[np.signedinteger]:
    """The type pandas gives the codes of so many categories."""
    return next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if n_names <= np.iinfo(kind).max)


def _group(parent: h5py.Group, name: str, encoding: str, version: str) -> h5py.Group:
    group = parent.create_group(name)
    _mark(group, encoding, version)
    return group


def _mark(element: h5py.Group | h5py.Dataset, encoding: str, version: str) -> None:
    element.attrs["encoding-type"], element.attrs["encoding-version"] = encoding, version
