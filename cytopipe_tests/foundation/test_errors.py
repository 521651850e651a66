"""The tree drawn in the docstring is the tree that is defined; errors print whole and travel whole."""

from __future__ import annotations

import pickle
import re

import pytest

from cytopipe import errors
from cytopipe.errors import CytopipeError, DamagedError, Finding, InputError

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value is not Finding]
CLASSES = [value for value in CLASSES if issubclass(value, CytopipeError)]


def test_the_drawn_tree_is_the_defined_tree():
    drawn = {}
    ancestors: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"^    ([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(found[1]) // 4
            ancestors[depth:] = [found[2]]
            drawn[found[2]] = ancestors[depth - 1] if depth else None
    defined = {cls.__name__: None if cls is CytopipeError else cls.__bases__[0].__name__ for cls in CLASSES}
    assert drawn == defined


def test_the_drawn_exit_codes_are_the_defined_ones():
    for name, code in re.findall(r"[─ ]([A-Z]\w+Error|Interrupted)(?: \(\w+\))? +(\d+) ", errors.__doc__):
        assert getattr(errors, name).exit_code == int(code)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_prints_its_findings_and_survives_a_process_boundary(cls):
    error = cls([Finding(what="torn", where="a.h5ad", expected="9 bytes", found="3 bytes", next="Rerun it.")])
    assert str(error) == "a.h5ad: torn; expected 9 bytes; found 3 bytes. Rerun it."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls and again.findings == error.findings


def test_errors_are_also_the_builtin_that_a_caller_would_catch():
    with pytest.raises(OSError, match="torn"):
        raise DamagedError("torn")
    with pytest.raises(ValueError, match="line 3"):
        raise InputError("bad letter", where="x.fasta, line 3")
