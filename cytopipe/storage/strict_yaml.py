"""YAML without its traps, and with the line of every key.

No aliases or anchors (they can expand without bound), no tags, no key twice, one document, bounded size and
depth. Only ``true`` and ``false`` are booleans, so that the country ``NO`` and the answer ``yes`` stay text,
as do ``007``, ``1:30`` and dates. Every fault is reported at once, with its line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cytopipe.errors import Finding, InputError
from cytopipe.storage.guard.budget import read_bounded

__all__ = ["Document", "load_yaml", "parse_yaml"]

MAX_YAML_BYTES = 4 << 20
MAX_DEPTH = 50

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|(0|[1-9][0-9]*)(?=[eE]))([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """What a YAML file says, and where.

    Parameters
    ----------
    data : object
        Mappings with text keys, lists, text, bool, int, float, None. None for an empty document.
    lines : mapping of key path to int
        1-based line of the key (or list item) at each path; ``()`` is the document itself.
    where : str
        The file, for messages.
    """

    data: object
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    where: str = ""

    def line(self, path: KeyPath) -> int:
        """Line of the key at `path`, or of its nearest ancestor that is there."""
        path = tuple(path)
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def at(self, path: KeyPath) -> str:
        """``file:line`` of the key at `path`, for a finding."""
        return f"{self.where}:{self.line(path)}"


def load_yaml(path: Path | str, *, max_bytes: int = MAX_YAML_BYTES) -> Document:
    """Read a YAML file strictly; errors as :func:`parse_yaml`, and BudgetError beyond `max_bytes`."""
    return parse_yaml(read_bounded(Path(path), max_bytes), where=str(path))


def parse_yaml(data: bytes | str, *, where: str = "YAML") -> Document:
    """Parse YAML strictly.

    Parameters
    ----------
    data : bytes or str
    where : str
        File name for messages.

    Returns
    -------
    Document

    Raises
    ------
    InputError
        With every finding: an anchor, alias, tag or merge key, a key given twice or not plain text, NaN or an
        infinity, a second document, deeper than 50, not UTF-8; or the first syntax error.
    """
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise InputError("is not UTF-8 text", where=f"{where}:{line}") from None
    builder = _Builder(where)
    try:
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            builder.take(event)
            if builder.hopeless:
                break
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        context = f", {error.context}" if error.context else ""
        if error.context_mark is not None and error.context_mark.line + 1 != line:
            context += f" that begins in line {error.context_mark.line + 1}"
        builder.findings.append(Finding(what=f"{error.problem}{context}", where=f"{where}:{line}"))
    except yaml.YAMLError as error:  # a character YAML does not allow
        line = data[: getattr(error, "position", 0) or 0].count("\n") + 1
        builder.findings.append(
            Finding(what=f"a character that YAML does not allow: {error.reason}", where=f"{where}:{line}")
        )
    if builder.findings:
        raise InputError(builder.findings)
    return Document(builder.root, builder.lines, where)


class _Builder:
    """Turns parser events into data with a stack of its own, so that depth is bounded before Python's is."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.root: object = None
        self.lines: dict[KeyPath, int] = {(): 1}
        self.findings: list[Finding] = []
        self.hopeless = False
        self._stack: list[list | dict] = []
        self._path: list[str | int] = []
        self._key: list[str | None] = []  # the pending key of each open mapping
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse(line, "a second document begins", "Keep one document in the file.")
                self.hopeless = True
        elif isinstance(event, yaml.AliasEvent):
            self._refuse(line, f"alias '*{event.anchor}'", "Write the value out; aliases are not read.")
            self._put(None, line)
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                self._refuse(line, f"anchor '&{event.anchor}'", "Remove it; aliases are not read.")
            if event.tag not in (None, "!"):
                self._refuse(line, f"tag {event.tag!r}", "Remove it; values are read as they are written.")
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            else:
                self._open([] if isinstance(event, yaml.SequenceStartEvent) else {}, line)
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            self._stack.pop()
            self._key.pop()
            if self._path:
                self._path.pop()

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if self._awaits_key():
            self._take_key(event.value, line)
            return
        value: object = event.value
        if event.implicit[0]:  # plain, neither quoted nor a block
            value = self._resolve(event.value, line)
        self._put(value, line)

    def _resolve(self, text: str, line: int) -> object:
        if text in ("", "~", "null", "Null", "NULL"):
            return None
        if text in ("true", "True", "TRUE"):
            return True
        if text in ("false", "False", "FALSE"):
            return False
        if _INT.fullmatch(text) and len(text) < 400:
            return int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number in (float("inf"), float("-inf")):
                self._refuse(line, f"{text} is too large for a number", "")
            return number
        if _NOT_FINITE.fullmatch(text):
            self._refuse(line, f"{text} is not a number", "Leave the key out instead.")
        return text

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1], dict) and self._key[-1] is None

    def _take_key(self, key: str, line: int) -> None:
        mapping = self._stack[-1]
        if key == "<<":
            self._refuse(line, "merge key '<<'", "Write the keys out.")
        elif key in mapping:
            first = self.lines.get((*self._path, key), 0)
            self._refuse(line, f"key {key!r} stands already in line {first}", "Keep one of them.")
        else:
            self.lines[(*self._path, key)] = line
        self._key[-1] = key

    def _put(self, value: object, line: int) -> None:
        """Place a finished value, or an opened container, where the parser stands."""
        if not self._stack:
            self.root = value
        elif isinstance(self._stack[-1], list):
            self.lines[(*self._path, len(self._stack[-1]))] = line
            self._stack[-1].append(value)
        elif self._key[-1] is None:
            self._refuse(line, "a key that is not text", "Quote it, or use a list.")
            self._key[-1] = ""
        else:
            self._stack[-1].setdefault(self._key[-1], value)
            self._key[-1] = None

    def _open(self, container: list | dict, line: int) -> None:
        if self._awaits_key():  # a list or mapping as a key: nothing sensible can follow
            self._refuse(line, "a list or mapping stands where a key should", "Use text for keys.")
            self.hopeless = True
            return
        if self._stack:
            step = len(self._stack[-1]) if isinstance(self._stack[-1], list) else self._key[-1]
            self._put(container, line)
            self._path.append(step)
        else:
            self.root = container
        self._stack.append(container)
        self._key.append(None)
        if len(self._stack) > MAX_DEPTH:
            self._refuse(line, f"nested deeper than {MAX_DEPTH}", "")
            self.hopeless = True

    def _refuse(self, line: int, what: str, advice: str) -> None:
        self.findings.append(Finding(what=what, where=f"{self.where}:{line}", next=advice))
        if len(self.findings) >= 50:
            self.hopeless = True
