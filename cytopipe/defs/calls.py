"""Calls of artifacts' functions that run at workers of an engine.

A call carries names and places, not pixels: the worker finds the function by its module and name, opens the
inputs where they lie, and gives the value back. Whoever sent it publishes the value; only there is anything
written. What the function raised comes back as a value, so that one partition fails alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from cytopipe.defs.artifact import Artifact, Outside
from cytopipe.project import DataSet
from cytopipe.storage.formats import Format

__all__ = ["Call", "Elsewhere", "Stored", "carry_out", "is_sendable"]


@dataclass(frozen=True)
class Stored:
    """An input that lies at a path, compared with its manifest by the sender; the worker reads it."""

    format: Format
    path: Path

    def load(self) -> Any:
        return self.format.read(self.path)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Elsewhere:
    """An input that lies outside of the project; the worker reads it."""

    outside: Outside

    def load(self) -> Any:
        return self.outside.load()


@dataclass(frozen=True)
class Call:
    """One call: the artifact by the module and name of its function, the partition, the inputs by name."""

    module: str
    name: str
    data: DataSet | None
    given: Mapping[str, Any]

    @classmethod
    def of(cls, step: Artifact, data: DataSet | None, given: Mapping[str, Any]) -> Call:
        return cls(step.function.__module__, step.function.__qualname__, data, given)


def is_sendable(step: Artifact) -> bool:
    """Whether a worker finds the function by its name, and it needs nothing of the run."""
    return not step.wants_work and "<locals>" not in step.function.__qualname__


def carry_out(call: Call) -> Any:
    """Call the function; what it raises is returned."""
    step: Artifact = getattr(import_module(call.module), call.name)
    try:
        given = {
            name: value.load() if isinstance(value, Stored | Elsewhere) else value
            for name, value in call.given.items()
        }
        return step.function(call.data, **given) if step.by else step.function(**given)
    except Exception as error:
        return error
