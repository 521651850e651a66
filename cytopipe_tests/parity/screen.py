"""Golden cases of `screen`: calls of the reference's functions, with their inputs and outputs.

``manifest.json`` lists the cases. A case says its call as text, and names its arrays (``CASE.npz``), tables
(Parquet) or document (JSON): ``in_raw`` goes in, ``out_aligned`` comes out. A case is compared by the first
function of its call that one of the modules below knows.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe_tests.parity import Case, Verdict, unevaluated

#: Each exports ``COMPARE: dict[str, Callable[[GoldenCase], Verdict]]``, keyed by the reference's function.
COMPARISONS = ("screen_images", "screen_calls", "screen_features")

#: Names that calls use for values which no array holds.
CONSTANTS = {"chn": ["DAPI", "G", "T", "A", "C"]}


@dataclass(frozen=True)
class Call:
    """One call of a reference function, as its text says.

    A value is evaluated where it consists of literals (and of `CONSTANTS`); otherwise, such as ``raw[0]``,
    it stands here as `Source`, its own text.
    """

    function: str
    positional: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


class Source(str):
    """The text of a value that is no literal; the array it means is among those of the case."""


@dataclass(frozen=True)
class GoldenCase:
    """One case: the call as text, and what goes in and comes out.

    ``case["raw"]`` is the array ``in_raw``, or ``raw``, or ``out_raw``, whichever there is first;
    ``case["out_raw"]`` is that very one. `table` finds tables the same way.
    """

    folder: Path
    name: str
    call: str
    note: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    @classmethod
    def of(cls, folder: Path, entry: Mapping[str, Any]) -> GoldenCase:
        """The case that one entry of the manifest describes."""
        note, file = str(entry.get("note") or ""), str(entry.get("file") or "")
        return cls(folder, entry["case"], entry["call"], note, dict(entry.get("tables") or {}), file)

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """The calls that the text tells, in their order."""
        return tuple(_calls(self.call))

    @property
    def function(self) -> str:
        """Name of the first function that the text tells, without its module."""
        return next(iter(self.functions), "")

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of all functions that the text tells, calls first."""
        words = re.findall(r"[A-Za-z_][\w.]*", self.call.split("(")[0])
        return (*(one.function for one in self.calls), *(word.rpartition(".")[2] for word in words))

    @property
    def positional(self) -> tuple[Any, ...]:
        """Positional arguments of the first call."""
        return self.calls[0].positional if self.calls else ()

    @property
    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of the first call whose values are known, also those of ``**{...}``."""
        words = self.calls[0].keywords if self.calls else {}
        return {name: value for name, value in words.items() if not isinstance(value, Source)}

    def __contains__(self, name: str) -> bool:
        return any(one in self._archive for one in _spellings(name))

    def __getitem__(self, name: str) -> np.ndarray:
        """The array called `name`, with or without ``in_`` or ``out_``; read when it is asked for."""
        for one in _spellings(name):
            if one in self._archive:
                return self._archive[one]
        raise KeyError(f"{self.name}.npz holds no array {name}; it holds {', '.join(self._archive)}")

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Every array ``in_NAME``, by NAME, in the order of the file."""
        return {one[3:]: self._archive[one] for one in self._archive if one.startswith("in_")}

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """Every array ``out_NAME``, by NAME, in the order of the file."""
        return {one[4:]: self._archive[one] for one in self._archive if one.startswith("out_")}

    def table(self, name: str) -> Any:
        """The table called `name`, with or without ``in_`` or ``out_``, as a DataFrame."""
        import pandas as pd

        for one in _spellings(name):
            if one in self.tables:
                return pd.read_parquet(self.folder / self.tables[one])
        raise KeyError(f"{self.name} has no table {name}; it has {', '.join(self.tables) or 'none'}")

    def has_table(self, name: str) -> bool:
        """Whether `table` finds that name."""
        return any(one in self.tables for one in _spellings(name))

    @cached_property
    def document(self) -> Any:
        """The JSON document of a case that has one instead of arrays."""
        return json.loads((self.folder / (self.file or f"{self.name}.json")).read_text())

    @cached_property
    def _archive(self) -> Mapping[str, np.ndarray]:
        path = self.folder / f"{self.name}.npz"
        return np.load(path, allow_pickle=False) if path.is_file() else {}


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``screen`` golden folder, in the order of its manifest."""
    compare = comparisons()
    for entry in json.loads((folder / "manifest.json").read_text())["cases"]:
        case = GoldenCase.of(folder, entry)
        yield Case("screen", case.name, partial(_evaluate, case, compare))


def comparisons() -> dict[str, Callable[[GoldenCase], Verdict]]:
    """The comparison of every reference function that is evaluated."""
    compare: dict[str, Callable[[GoldenCase], Verdict]] = {}
    for name in COMPARISONS:
        compare |= importlib.import_module(f"cytopipe_tests.parity.{name}").COMPARE
    return compare


def equal(name: str, ours: Any, expected: np.ndarray) -> str:
    """How an array differs from the one it should be, in shape, dtype or a value; "" where it does not."""
    ours = np.asarray(ours)
    if ours.shape != expected.shape or ours.dtype != expected.dtype:
        return f"{name} is {ours.dtype} {ours.shape}, expected {expected.dtype} {expected.shape}"
    nan = np.issubdtype(ours.dtype, np.inexact)
    if np.array_equal(ours, expected, equal_nan=nan):
        return ""
    unlike = (ours != expected) & ~((ours != ours) & (expected != expected))
    off = np.abs(np.subtract(ours, expected, dtype=np.float64)).max(where=unlike, initial=0)
    return f"{name} differs in {unlike.sum()} of {unlike.size} values, by {off:.3g} at most"


def _evaluate(case: GoldenCase, compare: Mapping[str, Callable[[GoldenCase], Verdict]]) -> Verdict:
    for function in case.functions:
        if function in compare:
            return compare[function](case)
    return unevaluated(f"nothing here compares {case.function or case.call}")


def _spellings(name: str) -> tuple[str, ...]:
    return (name,) if name.startswith(("in_", "out_")) else (f"in_{name}", name, f"out_{name}")


# ---------------------------------------------------------------------- the text of a call


def _calls(text: str) -> Iterator[Call]:
    """Top-level calls in a text that is almost Python: comments, remarks and open brackets are left out."""
    start = 0
    while found := re.compile(r"([A-Za-z_][\w.]*)\s*\(").search(text, start):
        source, start = _bracketed(text, found.end() - 1)
        try:
            node = ast.parse(f"f{source}", mode="eval").body
        except SyntaxError:  # a remark in brackets
            continue
        if isinstance(node, ast.Call):
            keywords: dict[str, Any] = {}
            for one in node.keywords:
                value = _value(one.value)
                keywords |= {one.arg: value} if one.arg else (value if isinstance(value, dict) else {})
            yield Call(found[1].rpartition(".")[2], tuple(map(_value, node.args)), keywords)


def _bracketed(text: str, start: int) -> tuple[str, int]:
    """The bracket that opens at `start`, closed where a comment hides its end; and the place after it."""
    closing, stack, quote = {"(": ")", "[": "]", "{": "}"}, "", ""
    for place in range(start, len(text)):
        letter = text[place]
        if quote:
            quote = "" if letter == quote and text[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#":
            return text[start:place] + stack[::-1], len(text)
        elif letter in closing:
            stack += closing[letter]
        elif stack and letter == stack[-1]:
            stack = stack[:-1]
            if not stack:
                return text[start : place + 1], place + 1
    return text[start:] + stack[::-1], len(text)


def _value(node: ast.expr) -> Any:
    """The value of an expression of literals, constants, sums and repetitions; otherwise its text."""
    try:
        return _computed(node)
    except (ValueError, KeyError, TypeError):
        return Source(ast.unparse(node))


def _computed(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return (list if isinstance(node, ast.List) else tuple)(map(_computed, node.elts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _computed(node.left) + _computed(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _computed(node.left) * _computed(node.right)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant | ast.Slice):
        bounds = node.slice
        if isinstance(bounds, ast.Constant):
            return _computed(node.value)[bounds.value]
        ends = (bounds.lower, bounds.upper, bounds.step)
        return _computed(node.value)[slice(*(one and _computed(one) for one in ends))]
    return ast.literal_eval(node)
