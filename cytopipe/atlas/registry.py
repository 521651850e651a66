"""Which atlases there are: their annotation levels, sample column and size.

Six public atlases come with the package (``registry.yaml``); a project adds its own or overrides a field
of these under ``atlas:`` in ``cytopipe.yaml``. A level is a name for one obs column, or for several joined
ones (``tissue+cellType1``). Every problem of an entry is reported at once, before a byte of cells is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import yaml

from cytopipe.atlas.settings import Settings
from cytopipe.errors import Finding, ParameterError

__all__ = [
    "AtlasEntry",
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


@dataclass(frozen=True)
class AtlasEntry:
    """One atlas, as it is declared.

    Parameters
    ----------
    name : str
        Key of the entry, first part of every file name.
    levels : tuple of Level
        In the order they are declared.
    sample : str
        obs column of the samples, which are the clusters of the bootstrap. May be empty.
    path : str
        The h5ad or zarr, absolute or relative to the project; empty where only the shape is known.
    counts : str
        Where counts lie: ``X``, ``layers/NAME``, ``raw/X`` or ``auto``.
    n_cells, n_genes : int
        Size as published, 0 where unknown; for listings and SLURM requests only.
    description : str
        One line for people.
    duplicate_genes : str
        As for :func:`cytopipe.atlas.open_cells`.
    settings : Settings
        Everything that decides the bytes of the outputs; its fields stand in the entry by their own names.
    """

    name: str
    levels: tuple[Level, ...]
    sample: str = ""
    path: str = ""
    counts: str = "X"
    n_cells: int = 0
    n_genes: int = 0
    description: str = ""
    duplicate_genes: str = "refuse"
    settings: Settings = field(default_factory=Settings)

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
        ``levels`` (mapping of level name to column, ``a+b``, or list of columns), ``sample``, ``path``,
        ``counts``, ``duplicate_genes``, ``n_cells``, ``n_genes``, ``description``, and any field of
        :class:`cytopipe.atlas.Settings`.
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
    given: dict[str, object] = {}
    chosen: dict[str, object] = {}
    for key, value in declared.items():
        if key == "levels":
            levels, problems = _levels_from(value, where)
            findings.extend(problems)
            given["levels"] = levels
        elif key in _SETTINGS:
            chosen[key] = value
        elif key in _OF_THE_PROJECT:
            continue
        elif key in _FIELD_TYPES:
            kind = _FIELD_TYPES[key]
            if not isinstance(value, kind) or isinstance(value, bool):
                found = f"{value!r} ({type(value).__name__})"
                findings.append(
                    Finding(
                        what=f"{key} has the wrong type", where=where, expected=kind.__name__, found=found
                    )
                )
            given[key] = value
        else:
            known = ", ".join(["levels", *_FIELD_TYPES, *_SETTINGS])
            findings.append(Finding(what=f"unknown field '{key}'", where=where, expected=known))
    if chosen:
        try:
            given["settings"] = (base.settings if base else Settings()).replace(**chosen)  # type: ignore[arg-type]
        except ParameterError as error:
            findings += [replace(one, where=f"{where}, {one.where}") for one in error.findings]
    if base is None and not given.get("levels"):
        findings.append(Finding(what="declares no levels", where=where, expected="levels: {L1: column}"))
    if findings:
        raise ParameterError(findings)
    return replace(base, **given) if base else AtlasEntry(name=name, **given)  # type: ignore[arg-type]


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


_FIELD_TYPES: dict[str, type] = {
    "sample": str,
    "path": str,
    "counts": str,
    "duplicate_genes": str,
    "n_cells": int,
    "n_genes": int,
    "description": str,
}
_SETTINGS = tuple(Settings.model_fields)
# What an entry of a project file says of the way to its profiles and beyond them; it is checked there.
_OF_THE_PROJECT = (
    *("batch_size", "checkpoint_every", "use_gpu"),
    *("signatures", "activity", "cell_types", "compare_at"),
)


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
