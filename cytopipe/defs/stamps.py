"""Stamps: sizes, times and inodes of files, which tell that something was written without reading it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from cytopipe.storage.archive import Place
from cytopipe.storage.formats import Format, SetFormat

__all__ = ["stamp_of_file", "stamp_of_files", "stamp_of_place"]


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


def stamp_of_place(root: Path, place: Place, format: Format) -> str:
    """The stamp of an artifact: of the file, of the link to its directory, or of all files of the set."""
    if not isinstance(format, SetFormat):
        return stamp_of_file(root / place.path)
    patterns = format.owns(place.set_name)
    try:
        with os.scandir(root / place.path) as entries:
            found = sorted(
                f"{one.name} {_stamp(one.stat(follow_symlinks=False))}"
                for one in entries
                if any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)
            )
    except OSError:
        return ""
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:32] if found else ""


def _stamp(facts: os.stat_result) -> str:
    return f"{facts.st_size}-{facts.st_mtime_ns}-{facts.st_ino}"
