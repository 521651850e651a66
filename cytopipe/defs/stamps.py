"""Stamps: sizes, times and inodes of files, which tell that something was written without reading it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

from cytopipe.storage.archive import Place
from cytopipe.storage.formats import Format, SetFormat

__all__ = ["Listing", "stamp_of_file", "stamp_of_files", "stamp_of_place"]


def stamp_of_file(path: Path | str) -> str:
    """The stamp of one file, links not followed; empty where there is none."""
    try:
        facts = os.lstat(path)
    except OSError:
        return ""
    return _stamp(facts)


def stamp_of_files(paths: Iterable[str]) -> str:
    """The stamp of the files a source consists of, links followed; empty where one is absent."""
    try:
        # os.stat of a text: for 100,000 files, objects of paths would cost more than the look itself
        return " ".join([_stamp(os.stat(path)) for path in paths])  # noqa: PTH116
    except OSError:
        return ""


class Listing:
    """Names of the files in folders, each folder listed once: the sets of a thousand wells lie in one."""

    _WILD = re.compile(r"[*?\[]")

    def __init__(self) -> None:
        self._names: dict[Path, list[str]] = {}

    def find(self, folder: Path, patterns: Iterable[str]) -> Iterator[str]:
        """The files of a folder that fit any of some patterns, by name, each once."""
        if folder not in self._names:
            try:
                self._names[folder] = sorted(os.listdir(folder))  # noqa: PTH208
            except OSError:
                self._names[folder] = []
        names, found = self._names[folder], set()
        for pattern in patterns:
            head = self._WILD.split(pattern, maxsplit=1)[0]
            for at in range(bisect_left(names, head), len(names)):
                if not names[at].startswith(head):
                    break
                if fnmatch.fnmatchcase(names[at], pattern):
                    found.add(names[at])
        yield from sorted(found)


def stamp_of_place(root: Path, place: Place, format: Format, listing: Listing | None = None) -> str:
    """The stamp of an artifact: of the file, of the link to its directory, or of all files of the set.

    Names in the folder of a set are those of `listing`, where one is given.
    """
    folder = root / place.path
    if not isinstance(format, SetFormat):
        return stamp_of_file(folder)
    names = (listing or Listing()).find(folder, format.owns(place.set_name))
    found = [f"{name} {stamp}" for name in names if (stamp := stamp_of_file(f"{folder}/{name}"))]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:32] if found else ""


def _stamp(facts: os.stat_result) -> str:
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}"
