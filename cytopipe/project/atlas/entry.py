"""An entry of ``atlas:`` in the project file: an atlas of single cells, and what is to be made of it.

Entries named like an atlas of the packaged registry (``cima``, ``scatlas_normal``, ...) have its levels,
columns and sizes already and need only a path; whatever they declare themselves goes before it. Every
field of `cytopipe.atlas.registry.AtlasFields` stands here under its own name and default, and those of
`cytopipe.atlas.ActivitySettings` under ``activity``. Each level is a data set of its own, named
``<atlas>.<level>``: ``cima.L1``. Its parts are the signatures whose activity is inferred there:
``cima.L1.cytosig``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from cytopipe.atlas.registry import AtlasFields, Level, check_levels, load_registry
from cytopipe.atlas.settings import ActivitySettings, Settings
from cytopipe.errors import ParameterError
from cytopipe.project.entry import Entry, FilePath, Problem, absent_file
from cytopipe.units import Duration_s

__all__ = ["Atlas"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TAKEN = ("validation",)  # folders of the results root that are no atlas


def _levels(value: object) -> dict[str, str]:
    """``{name: column}`` with several columns joined by ``+``; every fault in one sentence."""
    if not isinstance(value, dict) or not value:
        raise ValueError("expected a mapping of level to obs column, such as {L1: cell_type}")
    declared, faults = {}, []
    for name, columns in value.items():
        joined = "+".join(map(str, columns)) if isinstance(columns, list) else columns
        try:
            level = Level.parse(f"{name}={joined if isinstance(joined, str) else ''}")
            declared[level.name] = "+".join(level.columns)
        except ParameterError as error:
            faults += [f"{one.where}: {one.what}, expected {one.expected}" for one in error.findings]
    faults += [one.what for one in check_levels([Level(name, ()) for name in declared], "")]
    if faults:
        raise ValueError("; ".join(faults))
    return declared


def _signatures(value: object) -> dict[str, str | None]:
    """Names, or names with the path of a table; None where the table is to be found by name."""
    named = dict.fromkeys(value) if isinstance(value, list) and _all_text(value) else value
    if not isinstance(named, dict) or not _all_text(named):
        raise ValueError("expected names such as [cytosig, secact], or {mine: tables/mine.tsv}")
    if wrong := [name for name in named if not _NAME.fullmatch(name)]:
        raise ValueError(f"expected names of letters, digits, '.', '_' or '-'; {wrong[0]!r} is none")
    if wrong := [name for name, path in named.items() if path is not None and not _is_path(path)]:
        raise ValueError(f"expected the path of a table; that of '{wrong[0]}' is none")
    return named


def _all_text(values: object) -> bool:
    return all(isinstance(one, str) for one in values)  # type: ignore[attr-defined]


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not set(value) & {"\x00", "\n"}


_COLUMNS = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}]}
Levels = Annotated[
    dict[str, str],
    BeforeValidator(_levels),
    WithJsonSchema({"type": "object", "minProperties": 1, "additionalProperties": _COLUMNS}),
]
Signatures = Annotated[
    dict[str, str | None],
    BeforeValidator(_signatures),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
            ]
        }
    ),
]


def _only_the_path_is_required(schema: dict[str, object]) -> None:
    """A schema cannot know which names the packaged registry completes."""
    schema["required"] = ["path"]


class Atlas(Entry, AtlasFields):
    """An atlas of single cells: profiles per level, activity of signatures, comparison with others."""

    model_config = ConfigDict(json_schema_extra=_only_the_path_is_required)

    domain: ClassVar[str] = "atlas"

    path: FilePath
    """The cells: an .h5ad file or a .zarr directory."""

    levels: Levels
    """Ways to group the cells: level to obs column, or to columns joined with '+' (tissue+cellType1). Atlases
    of the packaged registry have theirs already."""

    batch_size: Annotated[int, Field(ge=1)] = 50_000
    """Cells between two checkpoints of a pass at least; no byte of the result depends on it."""

    checkpoint_every: Duration_s = Field(default=60.0)
    """Time between two checkpoints of a pass at least, in seconds or as '5 min'."""

    use_gpu: bool = True
    """Use a GPU where there is one."""

    signatures: Signatures = Field(default_factory=dict)
    """Signatures whose activity is inferred at every level: names (cytosig, secact), or names with the path
    of a table of genes x targets; none: no activity."""

    activity: ActivitySettings = Field(default_factory=ActivitySettings)
    """How activity is inferred."""

    cell_types: FilePath | None = None
    """Table that brings the atlas's labels to one vocabulary (atlas, pattern, coarse, fine); none: the
    packaged one."""

    compare_at: str = ""
    """Level that stands for the atlas when atlases are compared; none: the first."""

    _atlas: str = PrivateAttr("")
    _level: str = PrivateAttr("")
    _signature: str = PrivateAttr("")

    @model_validator(mode="before")
    @classmethod
    def _with_the_registry(cls, written: object, info: ValidationInfo) -> object:
        """What the packaged registry knows of an atlas of this name, under what is written."""
        name = str((info.context or {}).get("name", ""))
        if name in _TAKEN:
            raise ValueError(f"the name '{name}' is that of a folder among the results; rename the atlas")
        if name and not _NAME.fullmatch(name):
            raise ValueError("expected a name of letters, digits, '.', '_' or '-', at most 64")
        known = load_registry().get(name)
        if known is None or not isinstance(written, dict):
            return written
        of_registry = {
            "levels": {level.name: "+".join(level.columns) for level in known.levels},
            "sample": known.sample,
            "n_cells": known.n_cells,
            "n_genes": known.n_genes,
            "description": known.description,
        }
        return of_registry | written

    @property
    def atlas(self) -> str:
        """The atlas's name, first part of its files' names; of a part of an entry."""
        return self._atlas

    @property
    def level(self) -> Level:
        """The level of this data set; of a level and of its signatures."""
        return self.level_named(self._level)

    @property
    def signature(self) -> str:
        """The signature of this data set; of a signature at a level."""
        return self._signature

    @property
    def signature_table(self) -> str | None:
        """The path of that signature's table, as written; None where it is to be found by name."""
        return self.signatures[self._signature]

    @property
    def settings(self) -> Settings:
        """Everything that decides the bytes of the profiles, as the domain's own value."""
        return Settings.of(self)

    @property
    def compared_level(self) -> str:
        """The level that stands for the atlas in comparisons."""
        return self.compare_at or next(iter(self.levels))

    def level_named(self, name: str) -> Level:
        """A level as the domain's own value."""
        return Level(name, tuple(self.levels[name].split("+")))

    def sets(self, name: str, base: Path) -> dict[str, list[tuple[str, Self]]]:
        return {
            "atlases": [(name, self._part(name))],
            "atlas": [(f"{name}.{level}", self._part(name, level)) for level in self.levels],
            "atlas_signatures": [
                (f"{name}.{level}.{signature}", self._part(name, level, signature))
                for level in self.levels
                for signature in self.signatures
            ],
        }

    def _part(self, atlas: str, level: str = "", signature: str = "") -> Self:
        one = self.model_copy()
        one._atlas, one._level, one._signature = atlas, level, signature
        return one

    @property
    def names(self) -> dict[str, str]:
        level = self.level.file_part if self._level else ""
        return {"atlas": self._atlas, "level": level, "signature": self._signature}

    def place(self, key: str) -> str:
        return ""  # files of every atlas lie where the plain commands put them, below one results root

    def problems(self, base: Path) -> Iterator[Problem]:
        full = base / Path(self.path).expanduser()
        if not (full.is_dir() and full.suffix == ".zarr"):
            yield from absent_file(base, self.path, ("path",))
        for name, path in self.signatures.items():
            if path is not None and not (base / Path(path).expanduser()).is_dir():
                yield from absent_file(base, path, ("signatures", name))
        yield from self._shared_files()
        if self.cell_types is not None:
            yield from absent_file(base, self.cell_types, ("cell_types",))
        if self.compare_at and self.compare_at not in self.levels:
            yield Problem(("compare_at",), "is no level", ", ".join(self.levels), self.compare_at)
        needs_samples = self.sample_profiles or (self.n_bootstrap and self.bootstrap != "cells")
        if needs_samples and not self.sample:
            yield Problem(
                ("sample",),
                "is needed to resample samples",
                "the obs column of the samples",
                "none",
                "Name it, or set bootstrap: cells, or n_bootstrap: 0.",
            )

    def _shared_files(self) -> Iterator[Problem]:
        """Pairs of signature and level whose files would have the same name: ``a_b`` at c, ``a`` at b_c."""
        seen: dict[str, str] = {}
        for signature in self.signatures:
            for level in self.levels:
                pair = f"'{signature}' at level '{level}'"
                names = [f"{signature}_{level}{kind}".lower() for kind in ("", "_resampled")]
                if other := next((seen[name] for name in names if name in seen), ""):
                    what = f"{other} and {pair} would write the same files"
                    yield Problem(("signatures",), what, next="Rename one of them.")
                seen |= dict.fromkeys(names, pair)
