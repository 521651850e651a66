"""The text of a golden call is read for its function and its parameters, and never run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cytopipe_tests.parity import Outcome
from cytopipe_tests.parity.__main__ import evaluate
from cytopipe_tests.parity.screen import GoldenCase, Source, cases, equal


def case(call, folder="."):
    return GoldenCase.of(folder, {"case": "one", "call": call})


@pytest.mark.parametrize(
    ("call", "function", "positional", "keywords"),
    [
        ("lib.a.f(list(raw), x=[1, -2], y=None)", "f", ("list(raw)",), {"x": [1, -2], "y": None}),
        (
            "f(raw, order=chn[1:]  # 5 ch, others 4 (none) -> rest)",
            "f",
            ("raw",),
            {"order": ["G", "T", "A", "C"]},
        ),
        ("f(raw, m=[chn]+[['G']]*2)", "f", ("raw",), {"m": [["DAPI", "G", "T", "A", "C"], ["G"], ["G"]]}),
        ("f(img, **{'how': 'x)('}) with `g` patched (in)", "f", ("img",), {"how": "x)("}),
        ("f(a, key=table, n=2); (…,10)", "f", ("a",), {"n": 2}),
        ("f(a, n=__import__('os').getpid())", "f", ("a",), {}),
        ("get / parse", "get", (), {}),
    ],
)
def test_function_and_literal_arguments_are_read(call, function, positional, keywords):
    found = case(call)
    assert (found.function, found.positional, found.keywords) == (function, positional, keywords)
    assert all(isinstance(one, Source) for one in found.positional)


def test_several_calls_are_told_in_their_order():
    found = case("crop(ph, (-5, 15)); crop(ph,(240, 260)) # out of bounds")
    assert [one.positional[1] for one in found.calls] == [(-5, 15), (240, 260)]


def test_arrays_are_found_with_and_without_their_prefix(tmp_path):
    np.savez(tmp_path / "one.npz", in_a=[1], out_a=[2], out_b=[3])
    found = case("f(a)", tmp_path)
    assert [int(found[name][0]) for name in ("a", "in_a", "out_a", "b", "out_b")] == [1, 1, 2, 3, 3]
    assert list(found.inputs) == ["a"] and list(found.outputs) == ["a", "b"]
    assert "in_b" not in found
    with pytest.raises(KeyError, match="holds no array c"):
        found["c"]


def test_a_function_without_comparison_is_not_evaluated(tmp_path):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"cases": [{"case": "one", "call": "nobody_knows(x)"}]})
    )
    (verdict,) = map(evaluate, cases(tmp_path))
    assert verdict.outcome is Outcome.UNEVALUATED and "nobody_knows" in verdict.detail


def test_one_pixel_that_differs_is_told():
    expected = np.zeros((2, 3), np.uint16)
    ours = expected.copy()
    assert equal("x", ours, expected) == ""
    ours[1, 1] = 2
    assert equal("x", ours, expected) == "x differs in 1 of 6 values, by 2 at most"
    assert "uint8" in equal("x", ours.astype(np.uint8), expected)
    assert equal("x", np.array([np.nan, 1]), np.array([np.nan, 1])) == ""
    assert equal("x", np.array([np.nan, 1]), np.array([0, 1.0])) != ""
