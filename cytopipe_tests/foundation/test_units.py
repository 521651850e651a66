"""Numbers with units mean what a person meant, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cytopipe.units import Duration_s, Fraction, Percentile


@pytest.mark.parametrize(
    ("written", "meant"),
    [("2 %", 0.02), ("0.9%", 0.009), (0.02, 0.02), (1, 1.0), ("0.5", 0.5), ("1e-3", 0.001)],
)
def test_fractions(written, meant):
    assert TypeAdapter(Fraction).validate_python(written) == meant


@pytest.mark.parametrize("written", [2, "200 %", -0.1, "2 um", True, None, "two", "nan", [0.1], "1e400"])
def test_what_is_no_fraction_is_refused(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Fraction).validate_python(written)


@pytest.mark.parametrize(
    ("written", "seconds"), [("7 days", 604800), ("2 h", 7200), (30, 30), ("1.5 min", 90)]
)
def test_durations(written, seconds):
    assert TypeAdapter(Duration_s).validate_python(written) == seconds


def test_a_percentile_below_one_is_taken_for_a_fraction_and_said_so():
    with pytest.raises(ValidationError, match="did you mean 95"):
        TypeAdapter(Percentile).validate_python(0.95)


@given(st.decimals(min_value=0, max_value=100, places=4))
def test_percent_and_fraction_of_the_same_number_are_the_same_float(percent):
    """0.9 % must not become 0.009000000000000001: digests are taken of parameters."""
    assert TypeAdapter(Fraction).validate_python(f"{percent} %") == float(percent / 100)
