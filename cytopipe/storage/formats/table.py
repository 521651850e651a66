"""Tables that leave and enter: TSV for people, Parquet for programs.

In comes a pandas DataFrame; out go bytes that are the same for the same table, or a table whose columns were
checked. What must hold: a value never breaks a row (no tab or line break inside one), a missing value is an
empty field, numbers survive the round trip exactly, text columns stay text.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import Finding, InputError
from cytopipe.storage.guard.budget import read_bounded, require_budget

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
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
    import pandas as pd

    table = pd.DataFrame(table)
    names = [str(name) for name in table.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two columns share the name {twice[0]!r}")
    columns = [_checked(name, _as_text(table[name])) for name in table.columns]
    lines = ["\t".join(_checked("header", names))]
    lines += ["\t".join(row) for row in zip(*columns, strict=True)]
    return ("\n".join(lines) + "\n").encode()


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


def format_parquet(table: pd.DataFrame) -> bytes:
    """Write a table as Parquet (zstd, page checksums), the same bytes for the same table and pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pandas(table), sink, compression="zstd", write_page_checksum=True, version="2.6"
    )
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
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        raise InputError(f"is not a whole Parquet file: {error}", where=where) from None


def validate_parquet(columns: Sequence[str] = ()) -> Callable[[Path], None]:
    """A validator for :meth:`Store.publish_file`: the file is Parquet, every page whole, with `columns`."""

    def validate(path: Path) -> None:
        read_parquet(path, columns=columns)

    return validate


def check_columns(found: Sequence[str], required: Sequence[str], where: str) -> None:
    """Raise one InputError that names every required column that is absent."""
    absent = [name for name in required if name not in found]
    if absent:
        raise InputError(
            Finding(what=f"column {name!r} is absent", where=where, found=", ".join(map(str, found))[:400])
            for name in absent
        )


def _as_text(column: pd.Series) -> list[str]:
    import numpy as np

    missing = column.isna().to_numpy()
    texts = []
    for value, absent in zip(column.to_numpy(), missing, strict=True):
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
