"""Tables of cells as text or Parquet, one row per cell; and steinbock's, one file per image."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cytopipe.errors import InputError
from cytopipe.heatmap.cells.columns import columns_of_table
from cytopipe.heatmap.cells.names import clean, known_column
from cytopipe.heatmap.cells.source import Cells, Faults
from cytopipe.storage.filesystem import open_regular
from cytopipe.storage.formats.table import read_parquet
from cytopipe.storage.guard.budget import budget_bytes, read_bounded, require_budget

__all__ = ["SteinbockImage", "TableFile"]

_HEADER_BYTES = 1 << 20
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class TableFile:
    """A table of cells as CSV, TSV or Parquet.

    Its samples are the values of a column called sample or fov; without one, the file is one sample.

    Parameters
    ----------
    path : Path
    parquet : bool
    metadata : collection of str
        Columns that are no markers, whatever they hold.

    Raises
    ------
    InputError
        Not a table, columns without a name, or names that repeat; all findings at once.
    BudgetError
        More than fits into memory.
    """

    def __init__(self, path: Path, *, parquet: bool = False, metadata: Collection[str] = ()) -> None:
        self.path, self.sample = path, _stem(path)
        self.faults = Faults(path)
        self._table = _parquet(path, self.faults) if parquet else _text(path, self.faults)
        names = [str(name) for name in self._table]
        if twice := [name for name, count in Counter(map(clean, names)).items() if count > 1]:
            self.faults.add(f"several columns are called {', '.join(twice[:10])}", next="Rename them.")
        if not len(self._table) and not self.faults.findings:
            self.faults.add("holds no cells", expected="at least one", next="Leave this file out.")
        if self.faults.findings:
            raise InputError(self.faults.findings)
        numeric = [
            name not in metadata and _holds_numbers(self._table[column])
            for name, column in zip(map(clean, names), self._table, strict=True)
        ]
        self.columns = columns_of_table(names, numeric)

    def read(self, wanted: Sequence[int]) -> Cells:
        names = list(self._table)
        columns = [self._numbers(names[place]) for place in wanted]
        kind = np.result_type(np.float32, *(one.dtype for one in columns))
        values = np.empty((len(self._table), len(wanted)), kind)
        for place, column in enumerate(columns):
            values[:, place] = column
        known = {}
        for place, name in enumerate(names):
            if place in wanted or self.columns[place].is_marker:
                continue
            known[_known_name(clean(name), known)] = _plain(self._table[name])
        return Cells(values, pd.DataFrame(known, index=range(len(values))))

    def _numbers(self, name: str) -> np.ndarray:
        column = self._table[name]
        if column.dtype.kind in "iufb":
            numbers = column.to_numpy()
            numbers = numbers if numbers.dtype == np.float32 else numbers.astype(np.float64)
            text, what = np.zeros(len(column), bool), "without a finite value"
        else:
            numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
            text, what = np.isnan(numbers) & column.notna().to_numpy(), "without a number"
        bad = self.faults.bad(numbers) | text
        if bad.any():
            # A text says most of what is wrong; an empty field least.
            row = int(np.argmax(text if text.any() else bad))
            is_missing = not text.any() and bool(np.isnan(numbers[row]))
            next_step = self.faults.next_step(is_missing)
            if text.any():
                next_step = (
                    "Correct the value; or, if the column is a property of cells and no marker, "
                    f"declare it: metadata: [{clean(name)}] (--metadata)."
                )
            self.faults.add(
                f"marker {clean(name)} has {int(bad.sum()):,} of {len(bad):,} cells {what}",
                line=row + 2,
                expected="a finite number in every cell",
                found="nothing" if is_missing else clean(column.iloc[row])[:40],
                next=next_step,
            )
        return numbers


class SteinbockImage:
    """One image of a steinbock folder: ``intensities/NAME.csv``, and ``regionprops/NAME.csv`` where it is."""

    def __init__(self, intensities: Path, *, metadata: Collection[str] = ()) -> None:
        self._intensities = TableFile(intensities, metadata=metadata)
        self.path, self.sample, self.faults = intensities, intensities.stem, self._intensities.faults
        names = [column.channel for column in self._intensities.columns]
        if "Object" not in names:
            self.faults.add(
                "has no column Object", expected="a table of steinbock", found=", ".join(names[:8])
            )
            raise InputError(self.faults.findings)
        self.columns = self._intensities.columns

    def read(self, wanted: Sequence[int]) -> Cells:
        cells = self._intensities.read(wanted)
        known = cells.known.assign(fov=self.sample)
        path = self.path.parent.parent / "regionprops" / self.path.name
        if path.is_file():
            properties = TableFile(path)
            names = [column.channel for column in properties.columns]
            if "Object" not in names:
                self.faults.add(f"{path.name} of regionprops has no column Object")
                return Cells(cells.values, known)
            table = properties.read([]).known.drop_duplicates("label").set_index("label")
            known = known.join(table, on="label", rsuffix="_regionprops")
            if absent := int((~known["label"].isin(table.index)).sum()):
                self.faults.add(
                    f"{absent} objects are absent from regionprops/{path.name}",
                    next="Measure both from the same masks.",
                )
        return Cells(cells.values, known)


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".gz", ".bz2", ".xz", ".zst", ".csv", ".tsv", ".txt", ".parquet", ".pq"):
        name = name.removesuffix(ending)
    return name or path.name


def _known_name(name: str, taken: dict[str, Any]) -> str:
    """label, x, y, fov, sample and area by these names; others as they are called."""
    known = known_column(name)
    return known if known not in (None, "other") and known not in taken else name or "row"


def _plain(column: pd.Series) -> Any:
    return column.to_numpy() if column.dtype.kind in "iufb" else column.astype(object).to_numpy()


def _holds_numbers(column: pd.Series) -> bool:
    """Whether a column is taken for numbers: at least a tenth of what stands in it is one.

    A marker with a text in it must not become a property of cells in silence; whoever has names such as
    ``7`` among others declares the column.
    """
    if column.dtype.kind in "iuf":
        return True
    if column.dtype.kind == "b" or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    told = column.dropna()
    return len(told) > 0 and pd.to_numeric(told, errors="coerce").notna().mean() >= 0.1


def _parquet(path: Path, faults: Faults) -> pd.DataFrame:
    table = read_parquet(path)
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index()
    return table


def _text(path: Path, faults: Faults) -> pd.DataFrame:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    with open_regular(path, follow=True) as stream:
        head = stream.read(_HEADER_BYTES)
    if head.startswith(_PACKED):
        data = read_bounded(path, budget_bytes(0.25))
        head, source = data[:_HEADER_BYTES], io.BytesIO(data)
    else:
        require_budget(path.stat().st_size, None, what="the table", where=str(path))
        source = str(path)
    if not head.strip():
        raise InputError("is empty", where=str(path), expected="a table of cells")
    if b"\0" in head[:4096]:
        raise InputError(
            "is no text", where=str(path), expected="a table as CSV, TSV or Parquet; or FCS, h5ad"
        )
    first = head.decode("utf-8-sig", "replace").lstrip("\r\n").splitlines()[0]
    separator = max(",\t;", key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    numeric = sum(_is_number(one) for one in header)
    if len(header) < 2 or numeric > len(header) / 2:
        raise InputError(
            "does not begin with the names of columns",
            where=f"{path}:1",
            expected="names, separated by commas, tabs or semicolons",
            found=clean(first)[:80],
        )
    options = {
        "read_options": arrow_csv.ReadOptions(block_size=1 << 24),
        "parse_options": arrow_csv.ParseOptions(delimiter=separator),
    }
    missing = ["", "NA", "NaN", "nan", "N/A", "null", "None"]
    try:
        try:
            convert = arrow_csv.ConvertOptions(null_values=missing, strings_can_be_null=True)
            table = arrow_csv.read_csv(source, convert_options=convert, **options)
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
            # Something late in a column of numbers is none: it is looked for among all as text.
            if isinstance(source, io.BytesIO):
                source.seek(0)
            convert = arrow_csv.ConvertOptions(
                null_values=missing, strings_can_be_null=True, column_types=dict.fromkeys(header, pa.string())
            )
            table = arrow_csv.read_csv(source, convert_options=convert, **options)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(
            f"is no whole table: {clean(error)[:200]}",
            where=str(path),
            expected=f"{len(header)} columns in every row",
        ) from None
    columns = [_column_of(table.column(place)) for place in range(table.num_columns)]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    frame.columns = table.column_names
    return frame


def _column_of(column: Any) -> pd.Series:
    import pyarrow as pa

    if pa.types.is_integer(column.type) and column.null_count == 0:
        return pd.Series(column.to_numpy())
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return pd.Series(column.cast(pa.float64()).to_numpy())
    if pa.types.is_boolean(column.type) and column.null_count == 0:
        return pd.Series(column.to_numpy())
    if pa.types.is_binary(column.type):  # not UTF-8
        texts = [None if one is None else one.decode("utf-8", "replace") for one in column.to_pylist()]
        return pd.Series(texts, dtype=object)
    return pd.Series(column.cast(pa.string()).to_pylist(), dtype=object)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
