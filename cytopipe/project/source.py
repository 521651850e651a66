"""YAML that people write, read so that every value knows its line and nothing is guessed.

In comes the text of a project file, perhaps a hostile one; out come plain values and the line of each.
Refused: aliases and anchors (a few lines can expand to gigabytes), tags (they name Python objects),
duplicate keys, keys that are not text, and anything larger or deeper than a person would write.
Only ``true`` and ``false`` are booleans and only decimal numbers are numbers, as in YAML 1.2: a gene
named NO, a well named 1e3 in quotes or a time written 1:30 stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from cytopipe.errors import Finding, ProjectError

__all__ = ["Source", "read_source"]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 30
_MAX_TOKENS = 100_000

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Values of a YAML file, and the line on which each begins.

    `lines` maps the place of a value, ``("decompose", "russula", "input")``, to its line (from 1); a
    mapping's item counts from its key.
    """

    path: Path
    data: object
    lines: dict[Location, int] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """``cytopipe.yaml:12`` for a place, or for the nearest enclosing one that was written."""
        for length in range(len(location), -1, -1):
            if (line := self.lines.get(location[:length])) is not None:
                return f"{self.path}:{line}"
        return str(self.path)


def read_source(path: Path, text: bytes | None = None) -> Source:
    """Read `path` (or `text` as if it stood there).

    Raises
    ------
    ProjectError
        If it cannot be read, is not UTF-8, is not YAML, or holds something from the list above; every
        finding carries its line.
    """
    raw = _read(path) if text is None else text
    if len(raw) > _MAX_BYTES:
        raise ProjectError(
            "file is too large for a project file",
            where=str(path),
            expected=f"at most {_MAX_BYTES >> 20} MiB",
            found=f"{len(raw) / 2**20:.1f} MiB",
        )
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ProjectError(
            "not UTF-8 text", where=f"{path}:{line}", found=f"byte 0x{raw[error.start]:02x}"
        ) from error
    builder = _Builder(path)
    try:
        builder.refuse_tokens(decoded)
        node = yaml.compose(decoded, Loader=_CoreLoader)
        data = builder.value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ProjectError(
            f"not valid YAML: {error.problem or error.context}", where=f"{path}:{line}", next=_hint(error)
        ) from error
    except yaml.YAMLError as error:
        raise ProjectError(f"not valid YAML: {str(error).splitlines()[0]}", where=str(path)) from error
    if builder.findings:
        raise ProjectError(builder.findings)
    return Source(path, data, builder.lines)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ProjectError("no such file", where=str(path), next="Make one with: cytopipe init") from error
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _hint(error: yaml.MarkedYAMLError) -> str:
    if "\\t" in str(error.problem) or "tab" in str(error.problem):
        return "Indent with spaces; YAML takes no tabs."
    if "mapping values are not allowed" in str(error.problem):
        return "A ': ' inside a value needs quotes around the value."
    return ""


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema instead of 1.1's surprises."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012  (PyYAML's own class-level registry)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


class _Builder:
    """Turns nodes into values, noting lines and faults on the way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}
        self.findings: list[Finding] = []

    def refuse_tokens(self, text: str) -> None:
        """Refuse aliases, anchors, tags and excess before anything is composed from them."""
        depth = 0
        for number, token in enumerate(yaml.scan(text, Loader=_CoreLoader)):
            line = token.start_mark.line + 1
            depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
            if number > _MAX_TOKENS or depth > _MAX_DEPTH:
                raise ProjectError(
                    "too much for a project file",
                    where=f"{self.path}:{line}",
                    expected=f"at most {_MAX_TOKENS} signs and words, {_MAX_DEPTH} levels deep",
                )
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                sign = "*" if isinstance(token, yaml.AliasToken) else "&"
                self._fault(
                    line,
                    f"'{sign}{token.value}' is a YAML alias or anchor, which project files do not take",
                    next="Write the value out, or quote it if it should begin with that sign.",
                )
            elif isinstance(token, yaml.TagToken):
                self._fault(
                    line, "YAML tags ('!...') are refused", next="Remove the tag, or quote the value."
                )
        if self.findings:
            raise ProjectError(self.findings)

    def value(self, node: yaml.Node, location: Location) -> object:
        line = node.start_mark.line + 1
        self.lines.setdefault(location, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(one, (*location, number)) for number, one in enumerate(node.value)]
        return self._scalar(node, line)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(
                    line, "a key must be text", found=type(key_node).__name__.removesuffix("Node").lower()
                )
                continue
            key = key_node.value
            if key == "<<":
                self._fault(line, "merge keys ('<<') are refused", next="Write the values out.")
                continue
            if key in values:
                first = self.lines[(*location, key)]
                self._fault(line, f"key '{key}' appears twice", found=f"first on line {first}")
                continue
            self.lines[(*location, key)] = line
            values[key] = self.value(value_node, (*location, key))
        return values

    def _scalar(self, node: yaml.ScalarNode, line: int) -> object:
        text = node.value
        match node.tag.rsplit(":", 1)[-1]:
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
            case "int":
                if len(text) > 30:
                    self._fault(
                        line, "integer is too long", expected="at most 30 digits", found=f"{len(text)}"
                    )
                    return 0
                return int(text)
            case "float":
                return float(
                    text.replace(".inf", "inf")
                    .replace(".Inf", "inf")
                    .replace(".INF", "inf")
                    .replace(".nan", "nan")
                    .replace(".NaN", "nan")
                    .replace(".NAN", "nan")
                )
        return text

    def _fault(self, line: int, what: str, *, expected: str = "", found: str = "", next: str = "") -> None:
        where = f"{self.path}:{line}"
        self.findings.append(Finding(what=what, where=where, expected=expected, found=found, next=next))
