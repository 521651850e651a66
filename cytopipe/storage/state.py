"""State files: JSON that a person can read and a machine cannot misread.

There is no NaN or infinity in it, no key twice, and no document is larger or deeper than its budget. The same
value gives the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from cytopipe.errors import BudgetError, DamagedError, InputError
from cytopipe.faults import reason_of
from cytopipe.storage.filesystem import open_regular

__all__ = ["format_json", "parse_json", "read_json"]

MAX_JSON_BYTES = 256 << 20


def format_json(value: object, *, where: str = "") -> bytes:
    """Write a value as indented JSON with a final newline, keys in their order.

    Mappings, sequences, sets (sorted), paths, NumPy scalars and arrays are taken; anything else is an error.

    Raises
    ------
    InputError
        The value holds NaN, an infinity, a key that is not text, or something JSON has no word for.
    """
    try:
        text = json.dumps(_plain(value, where), indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be written as JSON: {error}", where=where) from None


def read_json(path: Path, *, max_bytes: int = MAX_JSON_BYTES) -> object:
    """Read a JSON file strictly; see :func:`parse_json`."""
    try:
        with open_regular(Path(path), follow=True) as stream:
            size = os.fstat(stream.fileno()).st_size  # read(n) takes n bytes of memory at once
            data = stream.read(min(size, max_bytes) + 1)
    except DamagedError as error:
        raise InputError(error.findings) from None
    except OSError as error:
        raise InputError(f"cannot be read: {reason_of(error)}", where=str(path)) from None
    return parse_json(data, where=str(path), max_bytes=max_bytes)


def parse_json(data: bytes, *, where: str = "", max_bytes: int = MAX_JSON_BYTES) -> object:
    """Parse JSON strictly.

    Raises
    ------
    InputError
        Not UTF-8, not JSON, NaN or an infinity (also as ``1e999``), a key given twice, nested deeper than
        100, or a number too long to be one.
    BudgetError
        Larger than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise BudgetError(
            "JSON is larger than it may be", where=where, expected=f"at most {max_bytes} bytes", found="more"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError("is not UTF-8 text", where=f"{where}:{line}") from None
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", where=f"{where}:{error.lineno}") from None
    except RecursionError:
        raise InputError("JSON is nested too deeply", where=where) from None
    except ValueError as error:
        raise InputError(f"JSON that is refused: {error}", where=where) from None


def _plain(value: object, where: str) -> object:
    """The same value in the types the json module knows."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"a JSON key must be text, found {key!r}", where=where)
        return {key: _plain(item, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item, where) for item in value)
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist(), where)
    raise InputError(f"JSON has no word for {type(value).__name__}", where=where)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number
