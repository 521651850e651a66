"""One entry of the project file, and the data sets it stands for.

An entry is a frozen pydantic model; unknown keys are refused. It stands for one or several data sets (one
per file of a pattern), in one or several sets of partitions (an atlas, its levels, their signatures); each
is a `DataSet`, one partition of the domain's assets. What only the disk can tell (a file that is absent) an
entry reports as `Problem` values.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from cytopipe.storage.names import slug

__all__ = ["DataSet", "Entry", "FilePath", "Part", "Problem", "absent_file", "matches"]


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected the path of a file")
    if "\x00" in value or "\n" in value:
        raise ValueError("expected a path without NUL or line break")
    return value


FilePath = Annotated[
    str, BeforeValidator(_path), WithJsonSchema({"type": "string", "minLength": 1, "format": "path"})
]
"""A path as written; relative ones are relative to the project file."""


@dataclass(frozen=True)
class Problem:
    """A fault of one field that only the disk could tell; `loc` is the field's place in the entry."""

    loc: tuple[str | int, ...]
    what: str
    expected: str = ""
    found: str = ""
    next: str = ""


class Entry(BaseModel):
    """What every domain's entry has in common; domains derive from it.

    A domain overrides :meth:`sets` when one entry can stand for several data sets, :meth:`place` when they do
    not lie in folders of their own, and :meth:`problems` for what must be looked up on disk. Models are
    validated with the context ``{"name": NAME}`` of the entry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    domain: ClassVar[str]

    description: str = Field(default="", max_length=2000)
    """A sentence for people; shown beside the partition."""

    @property
    def names(self) -> dict[str, str]:
        """Names by which places of artifacts are made, besides the key: ``{"atlas": ..., "level": ...}``."""
        return {}

    @classmethod
    def found(cls, directory: Path) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield name and fields of entries for a new project file, from what lies in `directory` already."""
        yield from ()

    def sets(self, name: str, base: Path) -> Mapping[str, Iterable[tuple[str, Part]]]:
        """``(partition key, what it stands for)`` of every data set of this entry, by the set it belongs to.

        The sets are those of `Domain.sets`, coarser before finer. The key of a part begins with that of its
        whole, followed by ``.``, ``-`` or ``|``.
        """
        return {self.domain: [(name, self)]}

    def place(self, key: str) -> str:
        """The folder of data set `key`, relative to its domain's folder below the output root."""
        return slug(key)

    def declared_in(self, base: Path) -> Iterator[Path]:
        """Yield files beside the project file in which a part of this entry is declared."""
        yield from ()

    def problems(self, base: Path) -> Iterator[Problem]:
        """Yield what is wrong with this entry on disk, relative paths taken from `base`."""
        yield from ()


class Part(Protocol):
    """What a data set stands for: an entry, or the part of one."""

    description: str

    @property
    def names(self) -> dict[str, str]: ...

    def place(self, key: str) -> str: ...


@dataclass(frozen=True)
class DataSet:
    """One data set of a project, or a part of one: the partition `key` of assets of `domain`.

    `entry` is the declaration; `folder` the directory under the output root where its artifacts lie;
    `base` the directory from which the entry's relative paths count.
    """

    domain: str
    key: str
    entry: Any
    folder: Path
    base: Path

    @property
    def names(self) -> dict[str, str]:
        """What a place of an artifact may be named after: the key, and the names that the entry gives."""
        return {"key": self.key, **self.entry.names}

    def resolve(self, path: str) -> Path:
        """An entry's path as an absolute one."""
        return self.base / Path(path).expanduser()


def absent_file(base: Path, path: str, loc: tuple[str | int, ...]) -> Iterator[Problem]:
    """Yield a problem, with the nearest name in that folder, if `path` is no readable file."""
    full = base / Path(path).expanduser()
    if full.is_file():
        return
    if full.is_dir():
        yield Problem(loc, "is a directory", expected="a file", found=str(path))
        return
    yield Problem(
        loc,
        "no such file",
        expected="a readable file, relative to the project file",
        found=str(path),
        next=_nearest(full, Path(path)),
    )


def matches(base: Path, pattern: str) -> list[Path]:
    """Files that a pattern such as ``incoming/*.fasta`` finds, sorted by name; hidden ones never."""
    # Path.glob refuses absolute patterns, which people do write.
    found = glob.glob(str(Path(pattern).expanduser()), root_dir=base, recursive=True)  # noqa: PTH207
    return sorted(path for one in found if (path := base / one).is_file())


def _nearest(full: Path, written: Path) -> str:
    import difflib

    folder = full.parent
    if not folder.is_dir():
        return f"The folder {written.parent} does not exist."
    names = [one.name for one in folder.iterdir()]
    close = difflib.get_close_matches(full.name, names, n=1, cutoff=0.6)
    return f"Did you mean {written.parent / close[0]}?" if close else ""
