"""Tables, documents and figures of one result, side by side in a folder, published in one transaction.

The end of a name says how a value is written: ``.tsv`` and ``.parquet`` a table, ``.json`` a document,
``.png`` a figure. People read such files and do not edit them: a change by hand is damage, and the next
publication replaces it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from cytopipe.errors import InputError
from cytopipe.storage.formats.format import SetFormat

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FilesFormat", "ResultFiles"]


class ResultFiles(Mapping[str, object]):
    """What was published, by the end of each file's name; parsed when it is asked for.

    Examples
    --------
    >>> results["expression.tsv"]  # doctest: +SKIP
    """

    def __init__(self, contents: Mapping[str, bytes], folder: Path) -> None:
        self._contents, self.folder = contents, folder

    def __getitem__(self, end: str) -> object:
        data = self._contents[end]
        match PurePath(end).suffix:
            case ".tsv":
                return _table(data)
            case ".parquet":
                import pandas as pd

                return pd.read_parquet(io.BytesIO(data))
            case ".json":
                import json

                return json.loads(data)
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self._contents)

    def __len__(self) -> int:
        return len(self._contents)


class FilesFormat(SetFormat):
    """Files of one kind of result.

    Parameters
    ----------
    name : str
        Of its IO manager.
    ends : tuple of str
        Ends of the files' names, patterns allowed: ``expression.tsv``, ``scatter_*.png``.
    prefixed : bool
        Whether a file is named after the set: ``{set}_{end}``. Otherwise the end is the whole name.
    """

    kinds = ("table",)
    editable = False

    def __init__(self, name: str, ends: tuple[str, ...], *, prefixed: bool = True) -> None:
        self.name, self.ends, self.prefixed = name, ends, prefixed

    def owns(self, name: str) -> tuple[str, ...]:
        return tuple(self._file(name, end) for end in self.ends)

    def files(self, name: str, value: Mapping[str, object]) -> Mapping[str, bytes | None]:
        """`value` holds tables, JSON values, figures, bytes, or None for a file that stays as it stands."""
        return {self._file(name, end): _encoded(end, one) for end, one in value.items()}

    def parse(self, name: str, contents: Mapping[str, bytes], folder: Path) -> ResultFiles:
        head = f"{name}_" if self.prefixed else ""
        return ResultFiles({file.removeprefix(head): data for file, data in contents.items()}, folder)

    def _file(self, name: str, end: str) -> str:
        return f"{name}_{end}" if self.prefixed else end


def _encoded(end: str, value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    match PurePath(end).suffix:
        case ".tsv":
            from cytopipe.storage.formats.table import format_tsv

            return format_tsv(value)
        case ".parquet":
            from cytopipe.storage.formats.table import format_parquet

            return format_parquet(value)
        case ".json":
            from cytopipe.storage.state import format_json

            return format_json(value)
        case ".png":
            from cytopipe.storage.formats.figure import figure_bytes

            return figure_bytes(value)
    raise InputError("no format is known for this end of a file name", where=end)


def _table(data: bytes) -> pd.DataFrame:
    """A table as :func:`cytopipe.storage.formats.table.read_tsv` reads it."""
    import pandas as pd

    return pd.read_csv(
        io.BytesIO(data),
        sep="\t",
        keep_default_na=False,
        na_values=[""],
        quoting=3,
        float_precision="round_trip",
    )
