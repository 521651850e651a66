"""From ``cytopipe.yaml`` to a `Project`: found, read, checked, every fault reported with its line.

Two readings of the same file. `load_project` is for work: it refuses a file it cannot make sense of,
but a fault inside one entry only takes that entry out (`Project.broken`), so that one wrong path does
not stop a lab. `check_project` is for people: every finding of every entry, at once.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cytopipe.errors import CytopipeError, Finding, ProjectError, UnsafeNameError
from cytopipe.project.domains import DOMAINS, domain_of, entry_model
from cytopipe.project.entry import DataSet, Entry, Part
from cytopipe.project.findings import did_you_mean, explain
from cytopipe.project.settings import Settings
from cytopipe.storage.names import case_collisions, check_key, former_slug, slug
from cytopipe.storage.strict_yaml import Document, load_yaml

__all__ = ["PROJECT_FILE", "Project", "check_project", "find_project", "load_project", "read_project"]

PROJECT_FILE = "cytopipe.yaml"
PROJECT_VARIABLE = "CYTOPIPE_PROJECT"

# Dagster's selections give these a meaning (a|b, [a...b], a,b, *), so a key with one could not be asked for.
_TAKEN_BY_SELECTIONS = ("|", ",", "[", "]", "*", '"', "...", "/", "\\")
_LONGEST_KEY_BYTES = 200
_LARGEST_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class Project:
    """A directory with a project file, as typed values.

    Parameters
    ----------
    file : Path
        The project file, absolute.
    settings : Settings
        What holds for the whole project: output root, engine, retention.
    data_sets : mapping of set of partitions to mapping of key to DataSet
        Every data set that can be worked on, by the set of partitions that `Domain.sets` names; keys are
        partition keys.
    broken : mapping of (set of partitions, entry name or key) to findings
        Entries that cannot be used as they are written.
    findings : tuple of Finding
        Everything that is wrong, in the order of the file; those of `broken` included.
    also_declared_in : tuple of Path
        Files beside the project file in which parts of entries are declared.
    """

    file: Path
    settings: Settings
    data_sets: Mapping[str, Mapping[str, DataSet]] = field(default_factory=dict)
    broken: Mapping[tuple[str, str], tuple[Finding, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    also_declared_in: tuple[Path, ...] = ()

    @property
    def directory(self) -> Path:
        return self.file.parent

    @property
    def output(self) -> Path:
        """The output root, absolute."""
        return self.directory / Path(self.settings.output).expanduser()

    @property
    def home(self) -> Path:
        """Where the project keeps its own books: Dagster's history, the schema, locks."""
        return self.directory / ".cytopipe"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    def data_set(self, partitions: str, key: str) -> DataSet:
        """The data set (or the part of one) of a partition.

        Raises
        ------
        ProjectError
            If the file declares none of that key, or its entry is broken.
        """
        known = self.data_sets.get(partitions, {})
        if key in known:
            return known[key]
        domain = domain_of(partitions)
        for (owner, name), findings in self.broken.items():
            if owner in (partitions, domain) and (key == name or key.startswith(f"{name}.")):
                raise ProjectError(findings)
        raise ProjectError(
            f"{domain} has no data set '{key}'",
            where=str(self.file),
            expected=", ".join(known) or "an entry",
            next=did_you_mean(key, known) or f"Add it under {domain}: in {self.file.name}.",
        )

    def relative(self, path: Path) -> str:
        """`path` as it is written down: relative to the project, so that a moved project stays right."""
        return (
            path.relative_to(self.directory).as_posix() if path.is_relative_to(self.directory) else str(path)
        )


def find_project(start: Path | str | None = None) -> Path:
    """The project file at or above `start` (a directory or a project file).

    Without `start`: the environment variable CYTOPIPE_PROJECT, then the working directory.

    Raises
    ------
    ProjectError
        If there is none.
    """
    named = start or os.environ.get(PROJECT_VARIABLE)
    begin = Path(named).expanduser().absolute() if named else Path.cwd()
    if begin.is_file():
        return begin
    for folder in (begin, *begin.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder / PROJECT_FILE
    raise ProjectError(
        f"no {PROJECT_FILE} here or above",
        where=str(begin),
        next="Make a project with: cytopipe init, or name one with --project DIR.",
    )


def load_project(start: Path | str | None = None) -> Project:
    """Find and read a project for work.

    Raises
    ------
    ProjectError
        If there is none, or its file as a whole makes no sense. Broken entries are kept apart instead.
    """
    return read_project(find_project(start))


def check_project(start: Path | str | None = None) -> Project:
    """Find and read a project for people.

    Raises
    ------
    ProjectError
        With every finding of every entry, if there is any.
    """
    project = load_project(start)
    if project.findings:
        raise ProjectError(project.findings)
    return project


def read_project(file: Path) -> Project:
    """Read one project file; see :func:`load_project` for what it raises."""
    source = _source(file)
    if not isinstance(source.data, dict):
        raise ProjectError(
            "a project file is a mapping",
            where=f"{file}:1",
            expected="lines such as 'output: outputs' and 'decompose:'",
            found="nothing" if source.data is None else type(source.data).__name__,
            next="Write a commented one with: cytopipe init",
        )
    settings = _settings(source)
    reader = _Entries(source, settings, file.parent)
    reader.read()
    order = {name: number for number, name in enumerate(source.data)}
    broken = dict(sorted(reader.broken.items(), key=lambda item: order[domain_of(item[0][0])]))
    findings = tuple(finding for group in broken.values() for finding in group)
    return Project(file, settings, reader.data_sets, broken, findings, tuple(dict.fromkeys(reader.files)))


def _source(file: Path) -> Document:
    """The file as values that know their lines; what keeps it from being read is a fault of the project."""
    try:
        return load_yaml(file, max_bytes=_LARGEST_FILE_BYTES)
    except FileNotFoundError as error:
        raise ProjectError("no such file", where=str(file), next="Make one with: cytopipe init") from error
    except CytopipeError as error:
        raise ProjectError(error.findings) from error
    except OSError as error:
        raise ProjectError(f"cannot be read: {error.strerror}", where=str(file)) from error


def _settings(source: Document) -> Settings:
    """The project-wide settings; unknown top-level keys and wrong values are findings of the file."""
    assert isinstance(source.data, dict)
    known = (*Settings.model_fields, *DOMAINS)
    findings = [
        Finding(
            what=f"unknown key '{name}'",
            where=source.at((name,)),
            expected=f"one of {', '.join(known)}",
            next=did_you_mean(name, known),
        )
        for name in source.data
        if name not in known
    ]
    written = {name: value for name, value in source.data.items() if name in Settings.model_fields}
    try:
        settings = Settings.model_validate(written)
    except ValidationError as error:
        findings += [explain(one, source, (), Settings) for one in error.errors()]
    if findings:
        raise ProjectError(findings)
    return settings


class _Entries:
    """Reads the entries of every domain, setting aside the broken ones."""

    def __init__(self, source: Document, settings: Settings, base: Path) -> None:
        self.source = source
        self.base = base
        self.output = base / Path(settings.output).expanduser()
        self.data_sets: dict[str, dict[str, DataSet]] = {}
        self.broken: dict[tuple[str, str], tuple[Finding, ...]] = {}
        self.files: list[Path] = []
        self._known_keys: dict[tuple[str, str], tuple[Finding, ...]] = {}

    def read(self) -> None:
        assert isinstance(self.source.data, dict)
        for domain in DOMAINS:
            entries = self.source.data.get(domain)
            if entries is None:
                continue
            if not isinstance(entries, dict):
                self._break(domain, "", _not_a_mapping(self.source.at((domain,)), domain, entries))
                continue
            model = entry_model(domain)
            for name, written in entries.items():
                self._entry(domain, name, written, model)
            self._refuse_case_collisions(domain)

    def _refuse_case_collisions(self, domain: str) -> None:
        """Break data sets whose folders would be one and the same on macOS, Windows or a network share."""
        for partitions in DOMAINS[domain].all_sets:
            if partitions in DOMAINS[domain].grids:
                continue
            for names in case_collisions(self.data_sets.get(partitions, ())):
                for name in names:
                    self._remove(domain, partitions, name)
                    two = f"the names {' and '.join(map(repr, names))} differ only in case"
                    where = self.source.at((domain, name))
                    self._break(domain, name, Finding(what=two, where=where, next="Rename one of them."))

    def _remove(self, domain: str, partitions: str, name: str) -> None:
        """Take a data set out, with all of its parts."""
        del self.data_sets[partitions][name]
        sets = DOMAINS[domain].all_sets
        for finer in sets[sets.index(partitions) + 1 :]:
            data_sets = self.data_sets.get(finer, {})
            for key in [key for key in data_sets if _is_part(key, name)]:
                del data_sets[key]

    def _entry(self, domain: str, name: str, written: object, model: type[Entry]) -> None:
        place = (domain, name)
        where = self.source.at(place)
        findings = list(_key_findings(name, where))
        if not isinstance(written, dict):
            self._break(domain, name, *findings, _not_a_mapping(where, f"{domain}.{name}", written))
            return
        entry, faults = _validated(model, written, name)
        findings += [explain(one, self.source, place, model) for one in faults]
        self.files += entry.declared_in(self.base) if entry is not None else ()
        for problem in entry.problems(self.base) if entry is not None else ():
            findings.append(
                Finding(
                    what=f"{'.'.join(map(str, (*place, *problem.loc)))}: {problem.what}",
                    where=self.source.at((*place, *problem.loc)),
                    expected=problem.expected,
                    found=problem.found,
                    next=problem.next,
                )
            )
        if findings:
            self._break(domain, name, *sorted(findings, key=_line))
        elif entry is not None:
            self._add(domain, name, entry, where)

    def _add(self, domain: str, name: str, entry: Entry, where: str) -> None:
        """The entry's data sets, coarser before finer: where two have one key, the coarser one keeps it."""
        refused: list[str] = []
        places: dict[str, Path] = {}  # a screen has 100,000 parts in one folder
        for partitions, members in entry.sets(name, self.base).items():
            known = self.data_sets.setdefault(partitions, {})
            for key, part in members:
                if refused and any(_is_part(key, whole) for whole in refused):
                    continue
                if faults := tuple(self._faults(domain, partitions, key, part, where)):
                    self._break(partitions, key, *faults)
                    refused.append(key)
                else:
                    place = part.place(key)
                    if place not in places:
                        places[place] = self.output / domain / place
                    known[key] = DataSet(domain, key, part, places[place], self.base)

    def _faults(self, domain: str, partitions: str, key: str, part: Part, where: str) -> Iterator[Finding]:
        """Why a data set cannot be added: its key cannot be used or is taken, or its folder is misnamed."""
        registered = DOMAINS[domain]
        is_grid = partitions in registered.grids
        dimensions = key.split("|", 1) if is_grid else [key]
        faults = [fault for one in dimensions for fault in self._findings_of_key(one, where)]
        yield from faults
        alone = is_grid or partitions == registered.all_sets[0]
        rivals = (partitions,) if alone else registered.all_sets[1:]
        known = [self.data_sets[taken].get(key) for taken in rivals if taken in self.data_sets]
        # One part may be a partition of several sets: a branch of all its steps.
        if not faults and any(one is not None and one.entry is not part for one in known):
            two = f"{domain} has two data sets '{key}'"
            yield Finding(what=two, where=where, next="Rename one of them.")
        place = part.place(key)
        if not faults and not is_grid and place == slug(key):
            former, folder = (self.output / domain / one for one in (former_slug(key), place))
            if former != folder and former.is_dir() and not folder.exists():
                yield _renamed(former, folder, where)

    def _findings_of_key(self, key: str, where: str) -> tuple[Finding, ...]:
        """As `_key_findings`; the tiles of a grid share the names of its wells."""
        if (key, where) not in self._known_keys:
            self._known_keys[key, where] = tuple(_key_findings(key, where))
        return self._known_keys[key, where]

    def _break(self, partitions: str, name: str, *findings: Finding) -> None:
        self.broken[partitions, name] = (*self.broken.get((partitions, name), ()), *findings)


def _validated(
    model: type[Entry], written: dict[str, object], name: str
) -> tuple[Entry | None, list[Mapping[str, Any]]]:
    """The entry and pydantic's errors; with errors, the entry without the fields that have them.

    So what only the disk, or two fields together, can tell of the other fields is told in the same breath.
    """
    faults: list[Mapping[str, Any]] = []
    dropped: set[str] = set()
    while True:
        try:
            return model.model_validate(written, context={"name": name}), faults
        except ValidationError as error:
            new = [one for one in error.errors() if not _is_of_dropped(one, dropped)]
        wrong = {str(fault["loc"][0]) for fault in new if fault["loc"]} & set(written)
        faults += new
        if not wrong:
            return None, faults
        dropped |= wrong
        written = {field: value for field, value in written.items() if field not in wrong}


def _is_of_dropped(fault: Mapping[str, Any], dropped: set[str]) -> bool:
    """Whether a fault is there only because fields were dropped, whose own faults are told already.

    A field is also missed where its name was misspelt, and dropped as unknown.
    """
    absent = fault.get("ctx", {}).get("absent", ())
    if any(did_you_mean(one, absent) for one in dropped):
        return True
    return bool(fault["loc"]) and fault["loc"][0] in dropped


def _renamed(former: Path, folder: Path, where: str) -> Finding:
    return Finding(
        what=f"the folder {former.name!r} has the name that an earlier version gave it",
        where=where,
        expected=folder.name,
        next=f"Rename it: mv {shlex.quote(str(former))} {shlex.quote(str(folder))}",
    )


def _is_part(key: str, whole: str) -> bool:
    """Whether a key is that of a part of another data set of the same domain."""
    return key.startswith(whole) and key[len(whole) : len(whole) + 1] in (".", "-", "|")


def _line(finding: Finding) -> int:
    number = finding.where.rpartition(":")[2]
    return int(number) if number.isdigit() else 0


def _key_findings(key: str, where: str) -> Iterator[Finding]:
    try:
        check_key(key)
    except UnsafeNameError as error:
        for finding in error.findings:
            yield Finding(
                what=f"name {key!r}: {finding.what}",
                where=where,
                expected=finding.expected,
                found=finding.found,
            )
        return
    if taken := [sign for sign in _TAKEN_BY_SELECTIONS if sign in key]:
        yield Finding(
            what=f"name {key!r} holds {' '.join(taken)}, which selections of partitions use",
            where=where,
            expected="letters, digits, '_', '-', '.'",
        )
    elif key != key.strip() or len(key.encode()) > _LONGEST_KEY_BYTES:
        yield Finding(
            what=f"name {key[:40]!r} cannot be a partition key",
            where=where,
            expected=f"at most {_LONGEST_KEY_BYTES} bytes, no space at either end",
        )


def _not_a_mapping(where: str, name: str, found: object) -> Finding:
    return Finding(
        what=f"{name} is not a mapping",
        where=where,
        expected="'name:' lines, each with its fields indented below",
        found="nothing" if found is None else repr(found)[:60],
    )
