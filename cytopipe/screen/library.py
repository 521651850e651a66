"""The library of barcodes: read, checked, cut to what is read of it, and its near neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.screen.parameters import LibrarySettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_barcodes", "library_prefixes", "near_neighbours", "read_library"]

#: So many examples of one fault are told.
EXAMPLES = 5


def read_library(path: Path, settings: LibrarySettings | None = None) -> pd.DataFrame:
    """A library from a table in UTF-8, separated by tabs or by commas, with a row of names.

    Parameters
    ----------
    path : Path
    settings : LibrarySettings, optional

    Returns
    -------
    pandas.DataFrame
        All columns of the file; barcodes as text.

    Raises
    ------
    InputError
        The file cannot be read as a table, a column is absent, or barcodes are empty, repeated, of unequal
        length or of other letters than A, C, G and T: all findings at once.
    """
    import pandas as pd

    settings = settings or LibrarySettings()
    column = settings.prefix_column or settings.barcode_column
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = "\t" if header.count("\t") >= header.count(",") else ","
        # A gene may be called NAN or NA: only an empty field is missing.
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            library = pd.read_csv(
                path,
                sep=separator,
                encoding="utf-8-sig",
                dtype={column: str, settings.barcode_column: str},
                index_col=False,  # a row with too many fields would become an index otherwise
                keep_default_na=False,
                na_values=[""],
            )
    except (
        UnicodeDecodeError,
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
    ) as error:
        raise InputError(
            "is no table of barcodes",
            where=str(path),
            expected="UTF-8, columns separated by tabs or commas, a first row of names",
            found=f"{error}".strip().splitlines()[0],
        ) from error
    check_barcodes(library, column, where=str(path))
    return library


def check_barcodes(library: pd.DataFrame, column: str, length: int | None = None, where: str = "") -> None:
    """Refuse a library whose barcodes cannot be told apart or compared with reads.

    Parameters
    ----------
    library : pandas.DataFrame
    column : str
        The column that holds the barcodes.
    length : int, optional
        Only so many first letters count: those that are read. A longer barcode is no fault then.
    where : str
        The file, for the findings; rows are counted from 1, below the names.

    Raises
    ------
    InputError
        With one finding per kind of fault.
    """
    if column not in library.columns:
        raise InputError(
            f"the library has no column {column!r}",
            where=where,
            expected=column,
            found=", ".join(map(str, library.columns)) or "no column",
        )
    if findings := list(_faults(library[column], length, where)):
        raise InputError(findings)


def _faults(barcodes: pd.Series, length: int | None, where: str) -> Iterator[Finding]:
    column = barcodes.name
    if len(barcodes) == 0:
        yield Finding(what="the library is empty", where=where, expected="one barcode or more")
        return
    row = np.arange(1, len(barcodes) + 1)
    filled = barcodes.map(lambda one: isinstance(one, str) and one != "").to_numpy(dtype=bool)
    if not filled.all():
        yield Finding(
            what=f"column {column!r} lacks barcodes",
            where=where,
            found=_told(f"row {one}" for one in row[~filled]),
        )
    text, row = barcodes.to_numpy(dtype=object)[filled].astype(str), row[filled]
    other = np.array([bool(set(one) - set("ACGT")) for one in text], dtype=bool)
    if other.any():
        yield Finding(
            what=f"column {column!r} has other letters than those of bases",
            where=where,
            expected="A, C, G, T",
            found=_told(
                f"{one!r} in row {at}" for one, at in zip(text[other].tolist(), row[other], strict=True)
            ),
        )
    sizes = np.array([len(one) for one in text], dtype=np.int64)
    wanted = length if length is not None else int(np.bincount(sizes).argmax()) if len(sizes) else 0
    wrong = sizes < wanted if length is not None else sizes != wanted
    if wrong.any():
        yield Finding(
            what=f"barcodes of column {column!r} are of unequal length"
            if length is None
            else f"barcodes of column {column!r} are shorter than reads",
            where=where,
            expected=f"{wanted} letters",
            found=_told(
                f"{one!r} in row {at}" for one, at in zip(text[wrong].tolist(), row[wrong], strict=True)
            ),
        )
    short = np.array([one[:length] for one in text], dtype=object)
    _, group, size = np.unique(short.astype(str), return_inverse=True, return_counts=True)
    if (size > 1).any():
        rows = (
            f"{short[group == one][0]!r} in rows {', '.join(map(str, row[group == one][:EXAMPLES]))}"
            for one in np.flatnonzero(size > 1)
        )
        yield Finding(
            what=f"barcodes of column {column!r} are not unique"
            + (f" in their first {length} letters" if length is not None else ""),
            where=where,
            expected="every barcode once",
            found=_told(rows, int((size > 1).sum())),
            next="Sequence more cycles, or leave out what cannot be told apart."
            if length is not None
            else "",
        )


def _told(examples: Iterator[str], total: int | None = None) -> str:
    every = list(examples)
    total = len(every) if total is None else total
    more = f" and {total - EXAMPLES:,} more" if total > EXAMPLES else ""
    return ", ".join(every[:EXAMPLES]) + more


def library_prefixes(
    library: pd.DataFrame, length: int | None = None, settings: LibrarySettings | None = None
) -> pd.Series:
    """What is read of each barcode: the prefix column, or the first `length` letters.

    Parameters
    ----------
    library : pandas.DataFrame
    length : int, optional
        Cycles that are read; none: all letters.
    settings : LibrarySettings, optional

    Raises
    ------
    InputError
        As `check_barcodes`: these prefixes must differ, too.
    """
    settings = settings or LibrarySettings()
    column = settings.prefix_column or settings.barcode_column
    check_barcodes(library, column, None if settings.prefix_column else length)
    return library[column] if settings.prefix_column else library[column].str[:length]


def near_neighbours(barcodes: pd.Series, max_distance: int = 1) -> pd.DataFrame:
    """Pairs of barcodes that few miscalled bases turn into each other.

    Parameters
    ----------
    barcodes : pandas.Series of str
    max_distance : int
        Hamming distance up to which a pair is told.

    Returns
    -------
    pandas.DataFrame
        ``barcode, neighbour, distance``; every pair once, in the library's order.
    """
    import pandas as pd

    from cytopipe.screen.distance import pairs_within

    names = barcodes.to_numpy(dtype=object)
    first, second, distance = pairs_within(list(names), max_distance)
    return pd.DataFrame({"barcode": names[first], "neighbour": names[second], "distance": distance})
