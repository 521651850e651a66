"""Numbers with units, as people write them: ``2 %``, ``7 days``, ``0.65 um``.

A bare number is taken in the field's own unit, which the field's name or description states. A unit of
another kind, or a number that is plausible only in another unit, is refused with the value that was
probably meant: a threshold of ``2`` is not two hundred percent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

__all__ = ["Duration_s", "Fraction", "Percentile", "quantity"]

_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s.][^\d]*)?\s*")

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


def _percentile(value: object) -> float:
    number = quantity({"": 1.0}, "95")(value)
    if 0 < number < 1:
        raise ValueError(f"expected a percentile from 50 to 100; did you mean {number * 100:g}?")
    if not 50 <= number <= 100:
        raise ValueError("expected a percentile from 50 to 100")
    return number


_PERCENT_PATTERN = r"^\s*[0-9.eE+-]+\s*%\s*$"

Fraction = Annotated[
    float,
    BeforeValidator(_fraction),
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
    BeforeValidator(_percentile),
    WithJsonSchema({"type": "number", "minimum": 50, "maximum": 100}),
]
Duration_s = Annotated[
    float,
    BeforeValidator(quantity(_TIME_S, "'7 days'")),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}),
]
