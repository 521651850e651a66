"""The images of an acquisition, found on disk or listed in a table: which tile and cycle each file shows.

A pattern such as ``raw/P-{plate}_W-{well}_T-{tile}_C-{cycle}.tiff`` is walked folder by folder, each folder
once, so that a hundred thousand files take less than a second. What is wrong is told at once: files that do
not parse, two files of one image, cycles that a tile lacks.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cytopipe.errors import CytopipeError
from cytopipe.project.entry import Problem
from cytopipe.storage.guard.budget import read_bounded

__all__ = ["FIELDS", "Images", "TileName", "faults_of_pattern", "find_images", "natural", "read_samples"]

FIELDS = {"plate": r"[A-Za-z0-9.-]+", "well": r"[A-Za-z0-9.-]+", "tile": r"\d{1,6}", "cycle": r"\d{1,4}",
          "round": r"\d{1,4}", "channel": r"[A-Za-z0-9.+-]+"}  # fmt: skip
"""What may stand for each part of a name; neither ``_`` nor ``/``, which part them."""

_ONLY_PLATE = "1"  # where names tell no plate
_MOST_FILES = 2_000_000
_LARGEST_TABLE_BYTES = 1 << 29
_TOLD = 5
_FIELD = re.compile(r"\{(\w*)\}")

TileName = tuple[str, str, int]
"""Plate, well, tile."""


@dataclass
class Images:
    """The files of an acquisition.

    Parameters
    ----------
    tiles : mapping of (plate, well, tile) to mapping of (cycle, channel) to str
        Absolute paths; cycle 0 where there is one alone, channel "" where a file has all of them. Of the
        phenotype, rounds stand in the place of cycles.
    problems : list of (what, expected, found, next)
        Everything that is wrong with them.
    """

    tiles: dict[TileName, dict[tuple[int, str], str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, name: TileName, cycle: int, channel: str, path: str) -> str:
        """Add a file; returns the path of another one of the same image, if there is one."""
        known = self.tiles.setdefault(name, {})
        other = known.setdefault((cycle, channel), path)
        return other if other is not path else ""

    @property
    def cycles(self) -> tuple[int, ...]:
        """Every cycle that any tile has."""
        return tuple(sorted({cycle for files in self.tiles.values() for cycle, _ in files}))

    def lacking(self) -> Iterator[tuple[TileName, list[tuple[int, str]]]]:
        """Tiles without some cycle or channel that others of their plate have."""
        expected: dict[str, dict[tuple[int, str], None]] = {}
        for (plate, _, _), files in self.tiles.items():
            expected.setdefault(plate, {}).update(dict.fromkeys(files))
        for name, files in self.tiles.items():
            if len(files) < len(expected[name[0]]):
                yield name, sorted(set(expected[name[0]]) - set(files))

    def sort(self) -> None:
        """Bring tiles into the order in which people count: A2 before A10."""
        # Plates and wells are few, tiles are many: each name is taken apart once.
        names = {text for name in self.tiles for text in name[:2]}
        order = {text: natural(text) for text in names}
        self.tiles = {
            name: dict(sorted(self.tiles[name].items()))  # a folder lists its files in any order
            for name in sorted(self.tiles, key=lambda one: (order[one[0]], order[one[1]], one[2]))
        }


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts numbers within text by their value."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", text))


def faults_of_pattern(pattern: str, *, cycles: bool) -> Iterator[str]:
    """What is wrong with a pattern, as ``expected ...``."""
    names = _FIELD.findall(pattern)
    wanted = ("well", "tile", "cycle") if cycles else ("well", "tile")
    lacking = [name for name in wanted if name not in names]
    example = "P-{plate}_W-{well}_T-{tile}" + ("_C-{cycle}" if cycles else "") + ".tiff"
    if lacking:
        yield f"expected a pattern with {', '.join(f'{{{name}}}' for name in lacking)}; such as {example}"
    elif wrong := [name for name in names if name not in FIELDS or name == ("round" if cycles else "cycle")]:
        yield f"expected no {{{wrong[0]}}} in the pattern; such as {example}"
    elif {"round", "channel"} <= set(names):
        yield "expected {round} or {channel}: a file of a round has all of its channels"
    elif "**" in pattern:
        yield "expected no '**'; a '*' stands for any text within one folder's name"


def find_images(base: Path, pattern: str) -> Images:
    """Every file that a pattern finds.

    Parameters
    ----------
    base : Path
        From which a relative pattern counts.
    pattern : str
        With ``{plate}``, ``{well}``, ``{tile}``, ``{cycle}`` or ``{round}``, ``{channel}`` and ``*``.
    """
    found = Images()
    whole = (base / Path(pattern).expanduser()).as_posix()
    parts = [part for part in whole.split("/") if part]
    fixed = next(n for n, part in enumerate(parts) if _FIELD.search(part) or "*" in part)
    folder = "/" + "/".join(parts[:fixed])
    odd: list[str] = []
    twice: list[tuple[str, str]] = []
    levels = [_Level.of(part) for part in parts[fixed:]]
    try:
        for number, (path, values) in enumerate(_walk(folder, levels, {}, odd)):
            if number == _MOST_FILES:
                what = f"finds more than {_MOST_FILES:,} files"
                found.problems.append(Problem((), what, next="Name the folder more closely."))
                return found
            name = (values.get("plate", _ONLY_PLATE), values["well"], int(values["tile"]))
            cycle = int(values.get("cycle", values.get("round", 0)))
            other = found.add(name, cycle, values.get("channel", ""), path)
            if other:
                twice.append((other, path))
    except OSError as error:
        where = _shown(base, error.filename or folder)
        found.problems.append(Problem((), f"cannot be looked through: {error.strerror}", found=where))
    if not found.tiles and not found.problems:
        there = "" if Path(folder).is_dir() else f"The folder {_shown(base, folder)} does not exist."
        found.problems.append(Problem((), "finds no image", "at least one file", pattern, there))
    if odd:
        names = [_shown(base, path) for path in sorted(odd)]
        what = f"{_counted(len(odd), 'file')} of that kind cannot be read as a tile"
        more = (
            "A name holds letters, digits, '.' and '-' for plate and well, whole numbers for tile and cycle."
        )
        found.problems.append(Problem((), what, pattern, _listed(names), more))
    found.problems += _told_twice(base, twice)
    found.sort()
    return found


@dataclass(frozen=True)
class _Level:
    """One folder or file of a pattern: what its names are like, and those that can be read."""

    name: str
    alike: re.Pattern[str] | None
    exact: re.Pattern[str] | None

    @classmethod
    def of(cls, part: str) -> _Level:
        if not _FIELD.search(part) and "*" not in part:
            return cls(part, None, None)
        seen: set[str] = set()
        alike, exact = "", ""
        for piece in re.split(r"(\{\w+\}|\*)", part):
            if piece == "*":
                alike, exact = alike + ".*", exact + "[^/]*?"
            elif name := _FIELD.fullmatch(piece):
                alike += ".+"
                exact += f"(?P={name[1]})" if name[1] in seen else f"(?P<{name[1]}>{FIELDS[name[1]]})"
                seen.add(name[1])
            else:
                alike, exact = alike + re.escape(piece), exact + re.escape(piece)
        return cls(part, re.compile(alike), re.compile(exact))


def _walk(
    folder: str, levels: list[_Level], known: Mapping[str, str], odd: list[str]
) -> Iterator[tuple[str, Mapping[str, str]]]:
    level, is_last = levels[0], len(levels) == 1
    if level.exact is None:
        path = f"{folder}/{level.name}"
        if is_last and Path(path).is_file():
            yield path, known
        elif not is_last and Path(path).is_dir():
            yield from _walk(path, levels[1:], known, odd)
        return
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            name = entry.name
            if not level.alike.fullmatch(name) or name.startswith("."):
                continue
            if not (entry.is_file() if is_last else entry.is_dir()):
                continue
            match = level.exact.fullmatch(name)
            values = match.groupdict() if match else None
            if values is None or (
                known and any(known.get(one, value) != value for one, value in values.items())
            ):
                odd.append(entry.path)
            elif is_last:
                yield entry.path, {**known, **values} if known else values
            else:
                yield from _walk(entry.path, levels[1:], {**known, **values}, odd)


_COLUMNS = ("sample_fp", "plate", "well", "tile")


def read_samples(base: Path, table: str, *, cycles: bool) -> Images:
    """Every file that a table lists: ``sample_fp, plate, well, tile, cycle``, and ``channel`` if it likes; of
    the phenotype ``round`` in the place of ``cycle``, if it likes.

    Parameters
    ----------
    base : Path
        From which relative paths count, that of the table and those in it.
    table : str
        TSV or CSV with a header.
    cycles : bool
        Whether the column ``cycle`` is needed.
    """
    found = Images()
    try:
        text = read_bounded(base / Path(table).expanduser(), _LARGEST_TABLE_BYTES).decode()
    except (CytopipeError, OSError, UnicodeDecodeError) as error:
        found.problems.append(Problem((), f"cannot be read: {error}"))
        return found
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    rows = csv.DictReader(io.StringIO(text), delimiter=separator)
    wanted = (*_COLUMNS, "cycle") if cycles else _COLUMNS
    if absent := [name for name in wanted if name not in (rows.fieldnames or ())]:
        has = ", ".join(rows.fieldnames or ())
        found.problems.append(Problem((), f"has no column {', '.join(absent)}", ", ".join(wanted), has))
        return found
    odd, gone, twice = [], [], []
    for number, row in enumerate(rows, start=2):
        plate, well, tile = (row[name] or "" for name in _COLUMNS[1:])
        cycle = (row["cycle"] or "") if cycles else row.get("round") or "0"
        channel = row.get("channel") or ""
        given = {"plate": plate, "well": well, "tile": tile, "cycle": cycle}
        if not row["sample_fp"] or any(not re.fullmatch(FIELDS[one], text) for one, text in given.items()):
            odd.append(f"line {number}")
            continue
        path = os.path.join(base, os.path.expanduser(row["sample_fp"]))  # noqa: PTH111, PTH118 (many)
        if not os.path.isfile(path):  # noqa: PTH113
            gone.append(row["sample_fp"])
        if other := found.add((plate, well, int(tile)), int(cycle), channel, path):
            twice.append((other, path))
    if odd:
        what = f"{_counted(len(odd), 'line')} cannot be read as a tile"
        found.problems.append(Problem((), what, "a path, names, and whole numbers", _listed(odd)))
    if gone:
        what = f"{_counted(len(gone), 'file')} of the table {'does' if len(gone) == 1 else 'do'} not exist"
        found.problems.append(Problem((), what, found=_listed(gone)))
    found.problems += _told_twice(base, twice)
    if not found.tiles and not found.problems:
        found.problems.append(Problem((), "lists no image", "at least one line"))
    found.sort()
    return found


def _told_twice(base: Path, twice: list[tuple[str, str]]) -> Iterator[Problem]:
    if twice:
        what = f"{_counted(len(twice), 'image')} {'has' if len(twice) == 1 else 'have'} two files"
        names = [f"{_shown(base, one)} and {_shown(base, other)}" for one, other in twice]
        yield Problem((), what, "one file of each image", _listed(names))


def _listed(names: Iterable[str]) -> str:
    some = list(names)
    more = f" and {len(some) - _TOLD} more" if len(some) > _TOLD else ""
    return ", ".join(some[:_TOLD]) + more


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _shown(base: Path, path: str) -> str:
    return path.removeprefix(f"{base.as_posix()}/")
