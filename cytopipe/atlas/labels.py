"""Labels of cells: from obs columns to the units that counts are summed in.

Columns come in as h5ad or zarr store them (categories, strings, numbers, masks); each leaves as codes into
sorted names, -1 where a label is missing. Levels join columns; a *leaf* is one tuple of labels over all
levels, a *unit* one leaf in one sample. Summing once per unit and rolling up serves every level, and since
names are sorted and not met in file order, the order of cells never shows in a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cytopipe.atlas.registry import Level
from cytopipe.errors import Finding, InputError

__all__ = ["Grouping", "Labels", "Units", "join_labels", "joint_units", "label_codes", "read_labels"]

MISSING_LABELS = frozenset({"", "nan", "NaN", "None", "<NA>"})
_STRINGS_AT_ONCE = 100_000
# Ranks through a table of flags up to so many possible tuples, then by sorting: a table far longer than the
# cells costs more to fill than the cells to sort.
_DENSE_KEYS, _FEW_KEYS, _KEYS_PER_CELL = 1 << 27, 1 << 20, 16


@dataclass(frozen=True)
class Labels:
    """One label per cell.

    Parameters
    ----------
    codes : ndarray, (n_cells,) int32
        Index into `names`, -1 where the label is missing.
    names : tuple of str
        Sorted; every name is borne by at least one cell.
    """

    codes: np.ndarray
    names: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """One level's groups over the units.

    Parameters
    ----------
    level : Level
    names : tuple of str
        Sorted labels of the groups.
    group_of_unit : ndarray, (n_units,) int32
        -1 where the label is missing.
    n_cells : ndarray, (n_groups,) int64
    """

    level: Level
    names: tuple[str, ...]
    group_of_unit: np.ndarray
    n_cells: np.ndarray


@dataclass(frozen=True)
class Units:
    """The finest tuples of labels that occur, in lexicographic order of their names.

    Parameters
    ----------
    of_cell : ndarray, (n_cells,) int32
    leaf_of_unit, sample_of_unit : ndarray, (n_units,) int32
        The leaf and the sample of each unit; sample -1 where it is missing.
    n_cells : ndarray, (n_units,) int64
    samples : tuple of str
        Sorted sample names; empty where no sample column is used.
    groupings : tuple of Grouping
        One per level, in the order they were asked for.
    """

    of_cell: np.ndarray
    leaf_of_unit: np.ndarray
    sample_of_unit: np.ndarray
    n_cells: np.ndarray
    samples: tuple[str, ...]
    groupings: tuple[Grouping, ...]

    @property
    def n_units(self) -> int:
        return len(self.n_cells)

    @property
    def n_leaves(self) -> int:
        return int(self.leaf_of_unit.max()) + 1 if len(self.leaf_of_unit) else 0


def joint_units(levels: Sequence[tuple[Level, Labels]], samples: Labels | None) -> Units:
    """Number the joint label tuples that occur.

    Parameters
    ----------
    levels : sequence of (Level, Labels)
        Labels of every cell per level.
    samples : Labels or None
        Sample of every cell, where units are to be told apart by sample.
    """
    n_cells = len(levels[0][1].codes)
    leaf = np.zeros(n_cells, np.int32)
    for _, labels in levels:
        leaf, _ = _rank(leaf, labels)
    if samples is None:
        unit, n_units = leaf, int(leaf.max(initial=-1)) + 1
    else:
        unit, n_units = _rank(leaf, samples)
    first = np.full(n_units, n_cells, np.int64)
    first[unit[::-1]] = np.arange(n_cells - 1, -1, -1)  # any cell of a unit speaks for all of it
    cells_of_unit = np.bincount(unit, minlength=n_units).astype(np.int64)
    groupings = []
    for level, labels in levels:
        group = labels.codes[first]
        known = group >= 0
        per_group = np.zeros(len(labels.names), np.int64)
        np.add.at(per_group, group[known], cells_of_unit[known])
        groupings.append(Grouping(level, labels.names, group, per_group))
    return Units(
        of_cell=unit,
        leaf_of_unit=leaf[first],
        sample_of_unit=np.full(n_units, -1, np.int32) if samples is None else samples.codes[first],
        n_cells=cells_of_unit,
        samples=() if samples is None else samples.names,
        groupings=tuple(groupings),
    )


def join_labels(parts: Sequence[Labels], where: str, separator: str = "_") -> Labels:
    """Join the labels of several columns: ``Lung`` and ``T cell`` become ``Lung_T cell``.

    A cell that lacks one of the labels lacks the joined one.

    Raises
    ------
    InputError
        If two different tuples would read the same.
    """
    if len(parts) == 1:
        return parts[0]
    codes = np.zeros(len(parts[0].codes), np.int32)
    missing = np.zeros(len(codes), bool)
    for part in parts:
        codes, n_tuples = _rank(codes, part)
        missing |= part.codes < 0
    first = np.zeros(n_tuples, np.int64)
    first[codes] = np.arange(len(codes))
    tuples = [
        tuple(part.names[part.codes[cell]] if part.codes[cell] >= 0 else "" for part in parts)
        for cell in first
    ]
    complete = [bool(not missing[cell]) for cell in first]
    joined = [separator.join(one) if ok else "" for one, ok in zip(tuples, complete, strict=True)]
    seen: dict[str, tuple[str, ...]] = {}
    findings = []
    for text, one, ok in zip(joined, tuples, complete, strict=True):
        if ok and seen.setdefault(text, one) != one:
            findings.append(
                Finding(
                    what=f"{seen[text]} and {one} would both be called '{text}'",
                    where=where,
                    next="Rename one of the labels in obs.",
                )
            )
    if findings:
        raise InputError(findings)
    names = tuple(sorted(seen))
    position = {name: number for number, name in enumerate(names)}
    renumber = np.array(
        [position[text] if ok else -1 for text, ok in zip(joined, complete, strict=True)], np.int32
    )
    return Labels(renumber[codes], names)


def read_labels(obs, column: str) -> Labels:
    """Read one obs column, whatever way anndata stored it, as labels.

    Parameters
    ----------
    obs : h5py.Group or zarr.Group
        The data frame as anndata encodes it.
    column : str
        Must be there.

    Raises
    ------
    InputError
        If the column is stored in a way anndata does not document, or codes point outside categories.
    """
    node = obs[column]
    encoding = node.attrs.get("encoding-type", "")
    if encoding == "categorical" or (_is_group(node) and "codes" in node):
        names = _texts(node["categories"][...])
        return label_codes(node["codes"][...], names, column)
    if _is_group(node) and "mask" in node:  # nullable integers, booleans, strings
        values, mask = node["values"], node["mask"][...]
        labels = _factorise(values, column)
        return label_codes(np.where(mask, -1, labels.codes), labels.names, column)
    if _is_group(node):
        raise InputError(f"column '{column}' is stored as {encoding or 'a group'!r}", where="obs")
    if "categories" in node.attrs and "__categories" in obs:  # anndata before 0.8
        return label_codes(node[...], _texts(obs["__categories"][column][...]), column)
    return _factorise(node, column)


def label_codes(codes: np.ndarray, names: Sequence[str], column: str = "") -> Labels:
    """Labels from codes into `names`: sorted, with unused names dropped and missing ones at -1."""
    if codes.ndim != 1:
        raise InputError(f"column '{column}' is not one value per cell", where="obs", found=str(codes.shape))
    if len(codes) and int(codes.max()) >= len(names):
        raise InputError(
            f"column '{column}' has codes outside its categories",
            where="obs",
            expected=f"codes below {len(names)}",
            found=str(int(codes.max())),
        )
    used = np.zeros(len(names), bool)
    used[np.unique(codes[codes >= 0])] = True
    kept = sorted({name for name, ok in zip(names, used, strict=True) if ok and name not in MISSING_LABELS})
    position = {name: number for number, name in enumerate(kept)}
    renumber = np.array([*(position.get(name, -1) for name in names), -1], np.int32)
    return Labels(renumber[np.where(codes < 0, len(names), codes)], tuple(kept))


def _factorise(values, column: str) -> Labels:
    """Labels of plain values, read in pieces: six million Python strings at once would be a gigabyte."""
    if len(values.shape) != 1:
        raise InputError(f"column '{column}' is not one value per cell", where="obs", found=str(values.shape))
    n_cells = values.shape[0]
    codes = np.empty(n_cells, np.int32)
    number: dict[str, int] = {}
    for start in range(0, n_cells, _STRINGS_AT_ONCE):
        piece = np.asarray(values[start : start + _STRINGS_AT_ONCE])
        unique, inverse = np.unique(
            piece.astype(object if piece.dtype.kind in "OSUT" else piece.dtype), return_inverse=True
        )
        numbers = [number.setdefault(text, len(number)) for text in _texts(unique)]
        codes[start : start + len(piece)] = np.asarray(numbers, np.int32)[inverse]
    return label_codes(codes, list(number), column)


def _texts(values: Iterable[object]) -> list[str]:
    """Values as people read them: bytes decoded, 1.0 as 1, True as True."""
    texts = []
    for value in values:
        if isinstance(value, bytes):
            texts.append(value.decode("utf-8", "replace"))
        elif isinstance(value, (float, np.floating)) and float(value).is_integer():
            texts.append(str(int(value)))
        else:
            texts.append(str(value))
    return texts


def _is_group(node) -> bool:
    return not hasattr(node, "shape")


def _rank(codes: np.ndarray, labels: Labels) -> tuple[np.ndarray, int]:
    """Rank the pairs (code, label) that occur, missing labels first."""
    width = len(labels.names) + 1
    keys = codes.astype(np.int64) * width + (labels.codes.astype(np.int64) + 1)
    n_keys = (int(codes.max(initial=0)) + 1) * width
    if n_keys > min(_DENSE_KEYS, max(_FEW_KEYS, _KEYS_PER_CELL * len(keys))):
        unique, ranks = np.unique(keys, return_inverse=True)
        return ranks.astype(np.int32), len(unique)
    present = np.zeros(n_keys, bool)
    present[keys] = True
    occurring = np.flatnonzero(present)
    rank_of_key = np.empty(n_keys, np.int32)  # only where keys occur: untouched memory costs nothing
    rank_of_key[occurring] = np.arange(len(occurring), dtype=np.int32)
    return rank_of_key[keys], len(occurring)
