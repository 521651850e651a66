"""Parity with the reference implementations, case by case, over any folder of golden cases.

A domain's module turns its golden files into `Case`s: a name and a function that compares. A comparison
returns a `Verdict`: agrees, differs on purpose (with the reason), fails, or could not be evaluated since
a thing that it needs is absent. The runner prints one line per case; the suite proves the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Case", "Outcome", "Verdict", "agrees", "differs", "fails", "unevaluated"]


class Outcome(StrEnum):
    """What came of one case."""

    AGREES = "agrees"
    DIFFERS = "differs on purpose"
    FAILS = "fails"
    UNEVALUATED = "not evaluated"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one case and the sentence that explains it."""

    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Case:
    """One golden case: `name` says file and parameters, `evaluate` compares."""

    domain: str
    name: str
    evaluate: Callable[[], Verdict]


def agrees(detail: str = "") -> Verdict:
    """The result equals the reference's, as closely as `detail` says."""
    return Verdict(Outcome.AGREES, detail)


def differs(reason: str) -> Verdict:
    """The result differs where the reference has a fault that we do not copy."""
    return Verdict(Outcome.DIFFERS, reason)


def fails(detail: str) -> Verdict:
    """The result differs, and should not."""
    return Verdict(Outcome.FAILS, detail)


def unevaluated(reason: str) -> Verdict:
    """Something that the comparison needs is absent."""
    return Verdict(Outcome.UNEVALUATED, reason)
