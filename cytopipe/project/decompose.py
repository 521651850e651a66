"""An entry of ``decompose:`` in the project file: sequences to split into species, and how.

The entry takes every field of `cytopipe.decompose.parameters.Parameters` under its own name and with
its own default, so that file, command line and library cannot drift apart. An input with a pattern
(``incoming/*.fasta``) stands for one data set per file, named ``<entry>.<file name without ending>``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, create_model

from cytopipe.decompose.parameters import GAP_METHODS, NEIGHBOUR_KINDS, Parameters
from cytopipe.errors import ParameterError
from cytopipe.project.dataclass_fields import fields_of
from cytopipe.project.entry import Entry, FilePath, Problem, absent_file, matches
from cytopipe.project.units import Fraction, Percentile

__all__ = ["SequenceSet"]

_STRICTER = {
    "min_split": Fraction,
    "max_lump": Fraction,
    "target_percentile": Percentile,
    "gap_method": Literal[GAP_METHODS],
    "neighbours": Literal[NEIGHBOUR_KINDS],
}


_ParameterFields = create_model("_ParameterFields", __base__=Entry, **fields_of(Parameters, _STRICTER))  # type: ignore[call-overload]


class SequenceSet(_ParameterFields):
    """Sequences of one barcode (ITS, COI, ...) that `decompose` splits into species-like clusters."""

    domain: ClassVar[str] = "decompose"

    input: FilePath
    """FASTA file, or a pattern such as incoming/*.fasta: every file it finds is a data set of its own."""

    truth: FilePath | None = None
    """Known species, with which the result is compared: a table with the columns record and cluster, or a
    FASTA file (the input itself, perhaps) whose headers carry name="..."."""

    targets: FilePath | None = None
    """FASTA of sequences from which clusters are grown (directed mode); none: all of them."""

    refine: list[Fraction] = Field(default_factory=list, max_length=20)
    """Thresholds of the close-cluster refinement, applied in this order; none: one, at max_lump."""

    max_clusters: int | None = Field(default=None, ge=1)
    """Stop the initial clustering when so many clusters exist (absolute, not per run)."""

    max_sequences: int | None = Field(default=None, ge=1)
    """Stop the initial clustering when so many sequences are in clusters (absolute, not per run)."""

    checkpoint_interval: int = Field(default=5, ge=1)
    """Save a checkpoint after so many iterations."""

    @property
    def parameters(self) -> Parameters:
        """The entry's parameters as the domain's own value."""
        return Parameters(
            **{name: getattr(self, name) for name in _ParameterFields.model_fields if name in _NAMES}
        )

    def expand(self, name: str, base: Path) -> Iterator[tuple[str, Self]]:
        if not _is_pattern(self.input):
            yield name, self
            return
        for path in matches(base, self.input):
            file = path.relative_to(base) if path.is_relative_to(base) else path
            yield f"{name}.{path.stem}", self.model_copy(update={"input": file.as_posix()})

    def problems(self, base: Path) -> Iterator[Problem]:
        if not _is_pattern(self.input):
            yield from absent_file(base, self.input, ("input",))
        for field in ("truth", "targets"):
            if (path := getattr(self, field)) is not None:
                yield from absent_file(base, path, (field,))
        try:
            _ = self.parameters
        except ParameterError as error:
            for finding in error.findings:
                place = finding.where.split(",")[0]
                yield Problem(
                    (place,) if place else (), finding.what, finding.expected, finding.found, finding.next
                )


_NAMES = frozenset(field.name for field in dataclasses.fields(Parameters))


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")
