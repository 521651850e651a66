"""Golden cases of `screen`: the image stages."""

from __future__ import annotations

from collections.abc import Callable

from cytopipe_tests.parity import Verdict
from cytopipe_tests.parity.screen import GoldenCase

COMPARE: dict[str, Callable[[GoldenCase], Verdict]] = {}
