"""Conditions on cells, as people write them: ``sample in ['a', 'b'] and CD3 > 1.5 and not (CD19 > 1)``.

Parsed, never run as Python: names of columns and markers, numbers, text, comparisons, ``in``, ``and``,
``or``, ``not`` and ``+ - * /``. A name that is none of Python's stands in backquotes: ```HLA-DR` > 1``.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Collection, Mapping

import numpy as np

from cytopipe.errors import InputError

__all__ = ["evaluate_expression", "names_in", "parse_expression"]

_LONGEST, _DEEPEST = 10_000, 60
_WHAT = "comparisons of columns and markers with numbers or text, joined by and, or, not"
_COMPARE: dict[type, Callable] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_COUNT: dict[type, Callable] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
}


def parse_expression(text: str) -> tuple[ast.expr, Mapping[str, str]]:
    """The tree of a condition, and the names in backquotes by what stands for them in the tree.

    Raises
    ------
    InputError
        It is no such condition.
    """
    if len(text) > _LONGEST:
        raise InputError("the expression is too long", expected=f"at most {_LONGEST} characters")
    quoted: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = f"_quoted_{len(quoted)}_"
        quoted[name] = found[1]
        return name

    plain = re.sub(r"`([^`\n]+)`", stand_in, text.strip().replace("\n", " "))
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        said = getattr(error, "msg", None) or str(error)
        raise InputError(f"is no condition: {said}", expected=_WHAT, found=text[:200]) from None
    _check(tree, 0)
    return tree, quoted


def names_in(text: str) -> list[str]:
    """The columns and markers that a condition names, in their order."""
    tree, quoted = parse_expression(text)
    found = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(quoted.get(one, one) for one in found))


def evaluate_expression(
    text: str, column: Callable[[str], np.ndarray], known: Collection[str], *, size: int
) -> np.ndarray:
    """Which rows meet a condition.

    Parameters
    ----------
    text : str
    column : callable
        The values of a column, asked for only if the condition names it.
    known : collection of str
        The names that there are.
    size : int
        Number of rows.

    Returns
    -------
    ndarray of bool
        (size,)

    Raises
    ------
    InputError
        It names something that is not there, or compares numbers with text.
    """
    tree, quoted = parse_expression(text)
    for name in names_in(text):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            shown = ", ".join(list(known)[:30])
            raise InputError(
                f"no column or marker {name!r}",
                where=f"expression {text[:100]!r}",
                expected=shown,
                next=f"Did you mean {close[0]!r}?" if close else "",
            )
    values = _Values(lambda name: column(quoted.get(name, name)), size, text)
    return np.broadcast_to(values.truth(tree), (size,)).copy()


def _check(node: ast.AST, depth: int) -> None:
    """Refuse everything but what a condition is made of."""
    allowed = (
        ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Compare, ast.In,
        ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple, *_COMPARE, *_COUNT,
    )  # fmt: skip
    if depth > _DEEPEST:
        raise InputError("the expression is nested too deeply", expected=f"at most {_DEEPEST} levels")
    if not isinstance(node, allowed):
        raise InputError(f"{type(node).__name__} has no place in a condition", expected=_WHAT)
    if isinstance(node, ast.Constant) and not isinstance(node.value, int | float | str):
        raise InputError(f"{node.value!r} has no place in a condition", expected="a number or text")
    for child in ast.iter_child_nodes(node):
        _check(child, depth + 1)


class _Values:
    """Evaluates a checked tree over columns."""

    def __init__(self, column: Callable[[str], np.ndarray], size: int, text: str) -> None:
        self._column, self._size, self._text = column, size, text

    def truth(self, node: ast.AST) -> np.ndarray:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            found = self.truth(node.values[0])
            for one in node.values[1:]:
                found = join(found, self.truth(one))
            return found
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return np.logical_not(self.truth(node.operand))
        if isinstance(node, ast.Compare):
            found, left = np.bool_(True), node.left
            for operator, right in zip(node.ops, node.comparators, strict=True):
                found = np.logical_and(found, self._compared(left, operator, right))
                left = right
            return found
        value = self.value(node)
        if np.asarray(value).dtype != bool:
            raise self._wrong("is not true or false", "a comparison, such as CD3 > 1.5")
        return value

    def value(self, node: ast.AST):
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return _plain(self._column(node.id))
        if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            value = self._number(node.operand)
            return np.negative(value) if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            with np.errstate(all="ignore"):
                return _COUNT[type(node.op)](self._number(node.left), self._number(node.right))
        return self.truth(node)

    def _number(self, node: ast.AST):
        value = self.value(node)
        if np.asarray(value).dtype.kind not in "ifu":
            raise self._wrong("counts with something that is no number", "numbers")
        return value

    def _compared(self, left: ast.AST, operator: ast.cmpop, right: ast.AST):
        if isinstance(operator, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple):
                raise self._wrong("'in' is not followed by a list", "sample in ['a', 'b']")
            value = self.value(left)
            found = np.zeros(np.shape(value), bool)
            for one in right.elts:
                found = found | self._equal(value, self.value(one))
            return np.logical_not(found) if isinstance(operator, ast.NotIn) else found
        one, other = self.value(left), self.value(right)
        if isinstance(operator, ast.Eq | ast.NotEq):
            same = self._equal(one, other)
            return np.logical_not(same) if isinstance(operator, ast.NotEq) else same
        if (np.asarray(one).dtype.kind in "UO") != (np.asarray(other).dtype.kind in "UO"):
            raise self._wrong("compares a number with text", "two numbers, or two texts")
        return _COMPARE[type(operator)](one, other)

    def _equal(self, one, other):
        """Equality; a number and the text that writes it are equal, since tables know no types."""
        first, second = np.asarray(one), np.asarray(other)
        if (first.dtype.kind in "UO") != (second.dtype.kind in "UO"):
            first, second = _as_text(first), _as_text(second)
        return first == second

    def _wrong(self, what: str, expected: str) -> InputError:
        return InputError(f"{what}", where=f"expression {self._text[:100]!r}", expected=expected)


def _plain(values) -> np.ndarray:
    """A column as an array of numbers, truth values or text; what is missing is empty text."""
    import pandas as pd

    series = pd.Series(values)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.fillna(False).to_numpy(bool)
    if pd.api.types.is_numeric_dtype(series.dtype):
        return series.to_numpy(np.float64 if series.dtype.kind != "f" else series.dtype)
    return series.astype(object).where(series.notna(), "").astype(str).to_numpy(object)


def _as_text(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "UO":
        return values.astype(str).astype(object)
    return np.array([f"{one:g}" for one in values.ravel()], object).reshape(values.shape)
