"""Which atlases there are: their annotation levels, sample column and size.

Six public atlases come with the package (``registry.yaml``); a project adds its own or overrides a field
of these under ``atlas:`` in ``cytopipe.yaml``. A level is a name for one obs column, or for several joined
ones (``tissue+cellType1``). Every problem of an entry is reported at once, before a byte of cells is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field

from cytopipe.atlas.settings import Settings
from cytopipe.errors import Finding, ParameterError

__all__ = [
    "AtlasEntry",
    "AtlasFields",
    "Level",
    "check_levels",
    "entry_from_mapping",
    "get_atlas",
    "load_registry",
    "resolve_path",
]

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, order=True)
class Level:
    """One way to group the cells.

    Parameters
    ----------
    name : str
        How people and file names call it: ``L1``, ``organ_celltype``.
    columns : tuple of str
        The obs column, or the columns whose labels are joined with ``_``.
    """

    name: str
    columns: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read ``NAME=column`` or ``NAME=column+column``.

        Raises
        ------
        ParameterError
            If the name is unsafe in a file name, or a column is missing.

        Examples
        --------
        >>> Level.parse("organ_celltype=tissue+cellType1").columns
        ('tissue', 'cellType1')
        """
        name, _, columns = text.partition("=")
        findings = list(_level_findings(name, columns, f"level '{text}'"))
        if findings:
            raise ParameterError(findings)
        return cls(name, tuple(columns.split("+")))

    @property
    def file_part(self) -> str:
        """The level as it stands in file names: lower case, as the field's files are named."""
        return self.name.lower()

    def __str__(self) -> str:
        return f"{self.name}={'+'.join(self.columns)}"


def _counts(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"X|auto|raw/X|layers/[^/\x00]+", value):
        raise ValueError("expected X, raw/X, layers/NAME or auto")
    return value


class AtlasFields(Settings):
    """What is declared of an atlas besides its file and its levels, in the registry and in a project."""

    sample: str = ""
    """obs column of the samples, which are the clusters of the bootstrap."""

    counts: Annotated[str, BeforeValidator(_counts)] = "X"
    """Where counts lie: X, raw/X, layers/NAME, or auto for the first of them that holds counts."""

    duplicate_genes: Literal["refuse", "sum", "number"] = "refuse"
    """What to do with genes that share a name: refuse, add up their counts, or number them."""

    n_cells: Annotated[int, Field(ge=0)] = 0
    """Size as published, for listings; 0 where unknown."""

    n_genes: Annotated[int, Field(ge=0)] = 0
    """Size as published, for listings; 0 where unknown."""


class AtlasEntry(AtlasFields):
    """One atlas, as it is declared."""

    name: str
    """Key of the entry, first part of every file name."""

    levels: tuple[Level, ...]
    """In the order they are declared."""

    path: str = ""
    """The h5ad or zarr, absolute or relative to the project; empty where only the shape is known."""

    description: str = ""
    """One line for people."""

    @property
    def settings(self) -> Settings:
        """Everything that decides the bytes of the profiles and resamples."""
        return Settings.of(self)

    def level(self, name: str) -> Level:
        """The level called `name`, whatever its case.

        Raises
        ------
        ParameterError
            If the atlas has no such level; those it has are listed.
        """
        for level in self.levels:
            if level.file_part == name.lower():
                return level
        raise ParameterError(
            f"level '{name}' is not declared",
            where=f"atlas {self.name}",
            expected=", ".join(level.name for level in self.levels),
            next="Declare it under levels: in the atlas entry.",
        )


def load_registry(extra: Mapping[str, Mapping[str, object]] | None = None) -> dict[str, AtlasEntry]:
    """The atlases that come with the package, extended by those of a project.

    Parameters
    ----------
    extra : mapping of str to mapping, optional
        Entries as under ``atlas:`` in ``cytopipe.yaml``. An entry named like a packaged one overrides the
        fields it gives and keeps the rest.

    Returns
    -------
    dict of str to AtlasEntry
        Packaged ones first, then the project's, each in the order of declaration.

    Raises
    ------
    ParameterError
        With every finding of every entry.
    """
    packaged = yaml.safe_load(files(__package__).joinpath("registry.yaml").read_text(encoding="utf-8"))
    findings: list[Finding] = []
    registry: dict[str, AtlasEntry] = {}
    for source in (packaged, extra or {}):
        for name, declared in source.items():
            try:
                registry[name] = entry_from_mapping(name, declared, base=registry.get(name))
            except ParameterError as error:
                findings.extend(error.findings)
    if findings:
        raise ParameterError(findings)
    return registry


def get_atlas(name: str, registry: Mapping[str, AtlasEntry] | None = None) -> AtlasEntry:
    """The entry called `name`.

    Raises
    ------
    ParameterError
        If there is none; the known names are listed.
    """
    registry = load_registry() if registry is None else registry
    if name not in registry:
        raise ParameterError(
            f"no atlas is called '{name}'",
            expected=", ".join(registry),
            next="Declare it under atlas: in cytopipe.yaml, or use `cytopipe atlas aggregate FILE`.",
        )
    return registry[name]


def entry_from_mapping(name: str, declared: object, *, base: AtlasEntry | None = None) -> AtlasEntry:
    """Turn one declaration into an entry.

    Parameters
    ----------
    name : str
        Key of the entry.
    declared : mapping
        ``levels`` (mapping of level name to column, ``a+b``, or list of columns) and any other field of
        :class:`AtlasEntry`.
    base : AtlasEntry, optional
        Supplies the fields that are not given.

    Raises
    ------
    ParameterError
        With every finding at once.
    """
    where = f"atlas {name}"
    if not isinstance(declared, Mapping):
        raise ParameterError("is not a mapping", where=where, found=type(declared).__name__)
    findings = [] if _SAFE_NAME.fullmatch(str(name)) else [_unsafe(str(name), where)]
    given = {key: getattr(base, key) for key in _DECLARED} if base else {}
    given |= {key: value for key, value in declared.items() if key != "levels"}
    levels = base.levels if base else ()
    if "levels" in declared:
        levels, problems = _levels_from(declared["levels"], where)
        findings.extend(problems)
    elif base is None:
        findings.append(Finding(what="declares no levels", where=where, expected="levels: {L1: column}"))
    try:
        entry = AtlasEntry(**given | {"name": str(name), "levels": levels})
    except ParameterError as error:
        findings += [replace(one, where=f"{where}, {one.where}".rstrip(", ")) for one in error.findings]
    if findings:
        raise ParameterError(findings)
    return entry


def resolve_path(entry: AtlasEntry, root: Path | None = None) -> Path:
    """The file of an atlas, relative paths taken from `root` (the project, or the working directory).

    Raises
    ------
    ParameterError
        If the entry names no file.
    """
    if not entry.path:
        raise ParameterError(
            "no path is declared",
            where=f"atlas {entry.name}",
            next=f"Set atlas: {{{entry.name}: {{path: FILE}}}} in cytopipe.yaml, or pass --input FILE.",
        )
    path = Path(entry.path)
    return path if path.is_absolute() else (root or Path.cwd()) / path


_DECLARED = tuple(name for name in AtlasEntry.model_fields if name not in ("name", "levels"))


def _levels_from(value: object, where: str) -> tuple[tuple[Level, ...], list[Finding]]:
    if not isinstance(value, Mapping) or not value:
        found = type(value).__name__
        return (), [Finding(what="levels is not a mapping of name to column", where=where, found=found)]
    levels, findings = [], []
    for name, columns in value.items():
        joined = "+".join(map(str, columns)) if isinstance(columns, list) else columns
        problems = list(_level_findings(name, joined, f"{where}, level {name}"))
        findings.extend(problems)
        if not problems:
            levels.append(Level(name, tuple(joined.split("+"))))
    findings.extend(check_levels(levels, where))
    return tuple(levels), findings


def check_levels(levels: Iterable[Level], where: str) -> list[Finding]:
    """Findings for levels whose files would overwrite each other."""
    seen: dict[str, str] = {}
    findings = []
    for level in levels:
        if level.file_part in seen:
            what = f"levels '{seen[level.file_part]}' and '{level.name}' would write the same files"
            findings.append(Finding(what=what, where=where, next="Rename one of them."))
        seen[level.file_part] = level.name
    return findings


def _level_findings(name: object, columns: object, where: str) -> Iterable[Finding]:
    if not isinstance(name, str) or not _SAFE_NAME.fullmatch(name):
        yield _unsafe(str(name), where)
    if not isinstance(columns, str) or not all(columns.split("+")):
        yield Finding(
            what="no obs column is named",
            where=where,
            expected="NAME=column or NAME=column+column",
            found=repr(columns),
        )


def _unsafe(name: str, where: str) -> Finding:
    return Finding(
        what=f"name {name!r} cannot stand in a file name",
        where=where,
        expected="letters, digits, '.', '_' or '-', at most 100, not starting with a mark",
    )
