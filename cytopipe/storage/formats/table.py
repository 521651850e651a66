"""Tables: TSV for people, Parquet for programs. The same table gives the same bytes.

In a TSV a value never breaks a row (no tab or line break inside one), a missing value is an empty field,
numbers survive the round trip exactly, and columns named as text stay text. Both are written whole, or in
pieces for a table larger than memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.guard.budget import read_bounded, require_budget

if TYPE_CHECKING:
    import pandas as pd

    Table = pd.DataFrame | Mapping[str, Sequence] | Iterable[pd.DataFrame]

__all__ = [
    "PARQUET",
    "TSV",
    "Parquet",
    "Tsv",
    "check_columns",
    "format_parquet",
    "format_tsv",
    "read_parquet",
    "read_tsv",
    "validate_parquet",
    "validate_tsv",
]

MAX_TSV_BYTES = 2 << 30


def format_tsv(table: pd.DataFrame | Mapping[str, Sequence]) -> bytes:
    """Write a table as tab-separated UTF-8 text with a header line and ``\\n`` line ends.

    Floats are written with the fewest digits that read back exactly, booleans as ``true`` and ``false``,
    missing values as nothing. The index is not written.

    Raises
    ------
    InputError
        A column name or value holds a tab or a line break, or two columns share a name.
    """
    return _header(table) + _rows(table)


def _header(table: pd.DataFrame | Mapping[str, Sequence]) -> bytes:
    names = [str(name) for name in table]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two columns share the name {twice[0]!r}")
    return ("\t".join(_checked("header", names)) + "\n").encode()


def _rows(table: pd.DataFrame | Mapping[str, Sequence]) -> bytes:
    columns = [_checked(str(name), _as_text(table[name])) for name in table]
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True)).encode()


def read_tsv(
    path: Path | str,
    *,
    columns: Sequence[str] = (),
    text: Sequence[str] = (),
    max_bytes: int = MAX_TSV_BYTES,
) -> pd.DataFrame:
    """Read a TSV (plain or ``.gz``), checking that it is rectangular and has `columns`.

    Parameters
    ----------
    path : Path or str
    columns : sequence of str
        Columns that must be there; others may be.
    text : sequence of str
        Columns never read as numbers (identifiers such as ``007``).
    max_bytes : int
        Largest text, after decompression.

    Raises
    ------
    InputError
        Not UTF-8, empty, rows of differing length (with their lines), a missing or repeated column.
    """
    import pandas as pd

    data = read_bounded(Path(path), max_bytes)
    _check_rectangle(data, str(path), columns)
    return pd.read_csv(
        io.BytesIO(data),
        sep="\t",
        dtype=dict.fromkeys(text, str),
        keep_default_na=False,
        na_values=[""],
        quoting=3,
        float_precision="round_trip",
    )


def validate_tsv(columns: Sequence[str] = ()) -> Callable[[Path], None]:
    """A validator for :meth:`Store.publish_file`: the file is a rectangular TSV with `columns`."""

    def validate(path: Path) -> None:
        _check_rectangle(read_bounded(path, MAX_TSV_BYTES), str(path), columns)

    return validate


_PARQUET = {"compression": "zstd", "write_page_checksum": True, "version": "2.6"}


def format_parquet(table: pd.DataFrame) -> bytes:
    """Write a table as Parquet (zstd, page checksums), the same bytes for the same table and pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table), sink, **_PARQUET)
    return sink.getvalue()


def read_parquet(path: Path | str, *, columns: Sequence[str] = (), budget: int | None = None) -> pd.DataFrame:
    """Read a Parquet file whose declared size fits the budget and whose page checksums hold.

    Raises
    ------
    InputError
        Not Parquet, damaged, or without one of `columns`.
    BudgetError
        It declares more bytes than `budget`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = str(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            needed = sum(group.total_byte_size for group in groups)
            require_budget(needed, budget, what="the table", where=where)
            check_columns(file.schema_arrow.names, columns, where)
            return file.read().to_pandas()
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        # Beside Arrow's own, errors of Python where what pandas noted in the file is damaged.
        if isinstance(error, MemoryError | CytopipeError):
            raise
        raise InputError(f"is not a whole Parquet file: {error}", where=where) from None


def validate_parquet(columns: Sequence[str] = ()) -> Callable[[Path], None]:
    """A validator for :meth:`Store.publish_file`: the file is Parquet, every page whole, with `columns`."""

    def validate(path: Path) -> None:
        read_parquet(path, columns=columns)

    return validate


class _Table(FileFormat):
    def __init__(self, columns: Sequence[str] = (), text: Sequence[str] = ()) -> None:
        self.columns, self.text = tuple(columns), tuple(text)

    def _pieces(self, value: Table) -> Iterator[pd.DataFrame]:
        """The table in pieces that have the same columns, the first of them checked."""
        import pandas as pd

        if isinstance(value, Mapping):
            value = pd.DataFrame(value)
        pieces = iter((value,) if isinstance(value, pd.DataFrame) else value)
        first = next(pieces, None)
        if first is None:
            raise InputError("a table without pieces has no columns", next="Give one piece without rows.")
        for number, piece in enumerate(chain((first,), pieces)):
            if not isinstance(piece, pd.DataFrame):
                raise InputError(f"a table is made of DataFrames, not of {type(piece).__name__}")
            if list(piece.columns) != list(first.columns):
                raise InputError(
                    f"piece {number + 1} has other columns than the first",
                    expected=", ".join(map(str, first.columns)),
                    found=", ".join(map(str, piece.columns)),
                )
            if not number:
                check_columns(list(map(str, piece.columns)), self.columns, "table")
            yield piece


class Tsv(_Table):
    """A table with the suffix ``.tsv``: a DataFrame, a mapping of columns, or an iterable of DataFrames.

    Parameters
    ----------
    columns : sequence of str
        That must be there.
    text : sequence of str
        Columns never read as numbers (identifiers such as ``007``).
    """

    name, suffix, kinds = "tsv", ".tsv", ("tsv", "table")

    def write(self, draft: Path, value: Table) -> None:
        """Write piece by piece; the index is not written."""
        with draft.open("xb") as stream:
            for number, piece in enumerate(self._pieces(value)):
                if not number:
                    stream.write(_header(piece))
                stream.write(_rows(piece))

    def validate(self, draft: Path) -> None:
        """Demand a rectangle of text with the columns."""
        validate_tsv(self.columns)(draft)

    def read(self, path: Path) -> pd.DataFrame:
        """The table in memory."""
        return read_tsv(path, columns=self.columns, text=self.text)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Numbers of rows and columns."""
        with path.open("rb") as stream:
            columns = stream.readline().count(b"\t") + 1
            return {"rows": sum(1 for _ in stream), "columns": columns}


class Parquet(_Table):
    """A table with the suffix ``.parquet``; its value is a DataFrame or an iterable of DataFrames.

    Parameters
    ----------
    columns : sequence of str
        That must be there.
    """

    name, suffix, kinds = "parquet", ".parquet", ("parquet", "table")

    def __init__(self, columns: Sequence[str] = ()) -> None:
        super().__init__(columns)

    def write(self, draft: Path, value: Table) -> None:
        """Write with the index; each piece becomes a row group, in the types of the first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pieces = self._pieces(value)
        first = pa.Table.from_pandas(next(pieces))
        try:
            with pq.ParquetWriter(draft, first.schema, **_PARQUET) as file:
                file.write_table(first)
                for piece in pieces:
                    file.write_table(pa.Table.from_pandas(piece, schema=first.schema))
        except pa.ArrowInvalid as error:
            raise InputError(f"a piece has other types than the first: {error}") from None

    def validate(self, draft: Path) -> None:
        """Decode every page against its checksum."""
        validate_parquet(self.columns)(draft)

    def read(self, path: Path) -> pd.DataFrame:
        """The table in memory, when it fits."""
        return read_parquet(path, columns=self.columns)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Numbers of rows and columns."""
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
        index = [
            name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)
        ]
        return {"rows": pq.read_metadata(path).num_rows, "columns": len(schema.names) - len(index)}


TSV, PARQUET = Tsv(), Parquet()


def check_columns(found: Sequence[str], required: Sequence[str], where: str) -> None:
    """Raise one InputError that names every required column that is absent."""
    absent = [name for name in required if name not in found]
    if absent:
        raise InputError(
            Finding(what=f"column {name!r} is absent", where=where, found=", ".join(map(str, found))[:400])
            for name in absent
        )


def _as_text(column: pd.Series | Sequence) -> list[str]:
    """Texts of a column; numbers of a list are floats where one of them is, or is missing."""
    import numpy as np

    if hasattr(column, "isna"):
        values, missing = column.to_numpy(), column.isna().to_numpy()
    else:  # importing pandas for a few lists costs more than writing them
        values = list(column)
        missing = [one is None or (isinstance(one, (float, np.floating)) and one != one) for one in values]
        kinds = {type(one) for one, absent in zip(values, missing, strict=True) if not absent}
        numbers = all(issubclass(kind, (int, float, np.number)) and kind is not bool for kind in kinds)
        broken = any(missing) or any(issubclass(kind, (float, np.floating)) for kind in kinds)
        if isinstance(column, (list, tuple)) and numbers and broken:
            values = [0.0 if absent else float(one) for one, absent in zip(values, missing, strict=True)]
    texts = []
    for value, absent in zip(values, missing, strict=True):
        if absent:
            texts.append("")
        elif isinstance(value, (bool, np.bool_)):
            texts.append("true" if value else "false")
        elif isinstance(value, (float, np.float64)):
            texts.append(repr(float(value)))
        else:
            texts.append(str(value))
    return texts


def _checked(name: str, texts: list[str]) -> list[str]:
    for row, text in enumerate(texts, start=1):
        if "\t" in text or "\n" in text or "\r" in text or "\0" in text:
            raise InputError(
                f"row {row}, {name}: a tab or line break cannot stand in a TSV", found=repr(text[:60])
            )
    return texts


def _check_rectangle(data: bytes, where: str, columns: Sequence[str]) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError("is not UTF-8 text", where=f"{where}:{line}") from None
    if not text.strip():
        raise InputError("is empty", where=where, expected="a header line")
    lines = text.removesuffix("\n").split("\n")
    header = lines[0].rstrip("\r").split("\t")
    findings = [
        Finding(what=f"column {name!r} stands twice", where=f"{where}:1")
        for name in sorted({name for name in header if header.count(name) > 1})
    ]
    for number, line in enumerate(lines[1:], start=2):
        fields = line.count("\t") + 1
        if fields != len(header) and (line.strip() or len(header) > 1):
            findings.append(
                Finding(
                    what="a row of another length than the header",
                    where=f"{where}:{number}",
                    expected=f"{len(header)} fields",
                    found=str(fields),
                )
            )
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        findings.append(Finding(what="NUL in a text file", where=f"{where}:{line}"))
    if findings:
        raise InputError(findings[:50])
    check_columns(header, columns, where)
