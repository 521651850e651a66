"""A JSON document: what JSON can say, without NaN, the same bytes for the same value, keys in their order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.state import format_json, read_json

__all__ = ["JSON", "Json"]


class Json(FileFormat):
    """A document with the suffix ``.json``: mappings, sequences, text, numbers, NumPy arrays and paths."""

    name, suffix, kinds = "json", ".json", ("json",)

    def write(self, draft: Path, value: object) -> None:
        """Write the document; InputError where JSON cannot say it."""
        draft.write_bytes(format_json(value, where=draft.name))

    def validate(self, draft: Path) -> None:
        """Parse it strictly."""
        read_json(draft)

    def read(self, path: Path) -> object:
        """The document as dicts, lists, text and numbers."""
        return read_json(path)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """How many entries its outermost mapping or list has."""
        value = read_json(path)
        return {"entries": len(value)} if isinstance(value, (dict, list)) else {}


JSON = Json()
"""JSON documents."""
