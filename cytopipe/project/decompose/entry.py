"""An entry of ``decompose:`` in the project file: sequences to split into species, and how.

The entry inherits every field of `cytopipe.decompose.parameters.Parameters`. An input with a pattern
(``incoming/*.fasta``) stands for one data set per file, named ``<entry>.<file name without ending>``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field

from cytopipe.decompose.parameters import Parameters
from cytopipe.project.entry import Entry, FilePath, Problem, absent_file, matches
from cytopipe.storage.names import slug
from cytopipe.units import Fraction

__all__ = ["SequenceSet"]

_FASTA_ENDINGS = (".fasta", ".fa", ".fna", ".fas")


class SequenceSet(Entry, Parameters):
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
    """Thresholds of the close-cluster refinement, applied in this order; none: one, at max_lump or 0.02."""

    max_clusters: int | None = Field(default=None, ge=1)
    """Stop the initial clustering when so many clusters exist (absolute, not per run)."""

    max_sequences: int | None = Field(default=None, ge=1)
    """Stop the initial clustering when so many sequences are in clusters (absolute, not per run)."""

    checkpoint_interval: int = Field(default=5, ge=1)
    """Save a checkpoint after so many iterations."""

    @property
    def parameters(self) -> Parameters:
        """The entry's parameters as the domain's own value."""
        return Parameters.of(self)

    @classmethod
    def found(cls, directory: Path) -> Iterator[tuple[str, dict[str, object]]]:
        names: set[str] = set()
        for folder in (directory, directory / "data"):
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if (
                    path.suffix.lower() not in _FASTA_ENDINGS
                    or path.name.startswith(".")
                    or not path.is_file()
                ):
                    continue
                plain = path.stem.replace("_", "").replace("-", "").isalnum()
                name = path.stem if plain else slug(path.stem)
                if name not in names:
                    names.add(name)
                    yield name, {"input": path.relative_to(directory).as_posix()}

    def sets(self, name: str, base: Path) -> dict[str, list[tuple[str, Self]]]:
        if not _is_pattern(self.input):
            return {"decompose": [(name, self)]}
        found = []
        for path in matches(base, self.input):
            file = path.relative_to(base) if path.is_relative_to(base) else path
            found.append((f"{name}.{path.stem}", self.model_copy(update={"input": file.as_posix()})))
        return {"decompose": found}

    def problems(self, base: Path) -> Iterator[Problem]:
        if not _is_pattern(self.input):
            yield from absent_file(base, self.input, ("input",))
        for field in ("truth", "targets"):
            if (path := getattr(self, field)) is not None:
                yield from absent_file(base, path, (field,))


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")
