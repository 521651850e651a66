"""Numbers with units, as people write them: ``2 %``, ``7 days``, ``0.65 um``.

A bare number is taken in the field's own unit, which the field's name or description states. A unit of
another kind, or a number that is plausible only in another unit, is refused with the value that was
probably meant: a threshold of ``2`` is not two hundred percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

__all__ = ["Duration_s", "Fraction", "Percent", "Percentile", "Words", "quantity"]

_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s.][^\d]*)?\s*")


@dataclass(frozen=True)
class Words:
    """How a type with a unit is called: what is expected, and the name of a value in help."""

    expected: str
    metavar: str


_FRACTION = {"": 1.0, "%": 0.01}
_TIME_S = {
    "": 1.0,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
    "days": 86400.0,
    "weeks": 604800.0,
}


def quantity(units: dict[str, float], example: str) -> Callable[[object], float]:
    """A parser of numbers in any of `units` (name to factor; ``""`` is a bare number)."""

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(f"expected a number such as {example}")
        if not isinstance(value, str):
            number, unit = float(value), ""
        else:
            match = _NUMBER_AND_UNIT.fullmatch(value)
            if match is None:
                raise ValueError(f"expected a number such as {example}")
            number, unit = float(match[1]), (match[2] or "").strip()
        if unit not in units:
            known = ", ".join(repr(one) for one in units if one)
            raise ValueError(f"unit '{unit}' does not fit here; expected one of {known}, as in {example}")
        if not math.isfinite(number):
            raise ValueError(f"expected a finite number such as {example}")
        # 0.9 % must be 0.009 and not 0.009000000000000001: digests are taken of what is parsed here.
        return float(f"{number * units[unit]:.15g}")

    return parse


def _fraction(value: object) -> float:
    number = quantity(_FRACTION, "0.02 or '2 %'")(value)
    if 1 < number <= 100:
        raise ValueError(f"expected a fraction from 0 to 1; for {number:g} percent write '{number:g} %'")
    if not 0 <= number <= 1:
        raise ValueError("expected a fraction from 0 to 1")
    return number


def _of_hundred(name: str, lowest: float) -> Callable[[object], float]:
    """A parser of numbers from `lowest` to 100 that takes one below 1 for a fraction, and says so."""
    expected = f"expected {name} from {lowest:g} to 100"

    def parse(value: object) -> float:
        number = quantity({"": 1.0, "%": 1.0}, "95 or '95 %'")(value)
        if 0 < number <= 1:
            raise ValueError(f"{expected}; did you mean {number * 100:g}?")
        if not lowest <= number <= 100:
            raise ValueError(expected)
        return number

    return parse


def _schema_of_hundred(lowest: float) -> WithJsonSchema:
    number = {"type": "number", "minimum": lowest, "maximum": 100}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": _PERCENT_PATTERN}]})


_PERCENT_PATTERN = r"^\s*[0-9.eE+-]+\s*%\s*$"

Fraction = Annotated[
    float,
    BeforeValidator(_fraction),
    Words("a fraction from 0 to 1, or percent such as '2 %'", "FRACTION"),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": _PERCENT_PATTERN},
            ]
        }
    ),
]
Percentile = Annotated[
    float,
    BeforeValidator(_of_hundred("a percentile", 50)),
    Words("a percentile from 50 to 100", "PERCENTILE"),
    _schema_of_hundred(50),
]
Percent = Annotated[
    float,
    BeforeValidator(_of_hundred("percent", 0)),
    Words("percent from 0 to 100", "PERCENT"),
    _schema_of_hundred(0),
]
Duration_s = Annotated[
    float,
    BeforeValidator(quantity(_TIME_S, "'7 days'")),
    Field(ge=0),
    Words("seconds, or a time such as '5 min'", "TIME"),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
