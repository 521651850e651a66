"""CSV that people and other programs wrote: panels, marker lists, regions of interest."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from cytopipe.errors import Finding, InputError
from cytopipe.storage.guard.budget import read_bounded

__all__ = ["parse_csv", "read_csv"]

MAX_BYTES = 64 << 20
MAX_ROWS = 1_000_000
_MOST_FINDINGS = 20


def read_csv(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a CSV file as text by column; errors as :func:`parse_csv`."""
    return parse_csv(read_bounded(path, MAX_BYTES), columns, where=str(path))


def parse_csv(data: bytes, columns: Sequence[str] = (), *, where: str = "") -> list[dict[str, str]]:
    """Rows of a CSV as text by column. Empty lines are passed over.

    Parameters
    ----------
    data : bytes
        UTF-8, with or without a byte order mark.
    columns : sequence of str
        That must be there; others may be.
    where : str
        For messages.

    Raises
    ------
    InputError
        With every finding: not UTF-8, no header, a column that is missing or stands twice, rows of another
        length than the header, with their lines.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8", where=where, found=str(error), next="Save it as UTF-8.") from None
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))  # states of a mask painter are long
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    findings: list[Finding] = []
    rows: list[dict[str, str]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise InputError("is empty", where=where, expected="a header line")
        findings += [
            Finding(what=f"the column {name!r} stands twice", where=where)
            for name in sorted({one for one in header if header.count(one) > 1})
        ]
        findings += [
            Finding(
                what=f"has no column {name!r}", where=where, found=f"the columns {', '.join(header)[:300]}"
            )
            for name in columns
            if name not in header
        ]
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                findings.append(
                    Finding(
                        what="a row has another length than the header",
                        where=f"{where}:{reader.line_num}",
                        expected=f"{len(header)} values",
                        found=str(len(row)),
                    )
                )
                if len(findings) >= _MOST_FINDINGS:
                    break
                continue
            rows.append(dict(zip(header, row, strict=True)))
            if len(rows) > MAX_ROWS:
                raise InputError(f"has more than {MAX_ROWS:,} rows", where=where)
    except csv.Error as error:
        raise InputError(f"is not CSV: {error}", where=f"{where}:{reader.line_num}") from None
    if findings:
        raise InputError(findings)
    return rows
