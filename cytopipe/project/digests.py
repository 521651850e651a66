"""Digests of input files, taken once per content instead of once per question.

Inputs reach tens of gigabytes and are asked about every half minute; a SHA-256 runs at 0.3-1 GB/s. So a
digest is remembered with the file's size, time of change and inode, and taken again when any of them
differs. A file that changed within the last seconds is not remembered: a second write within the
clock's resolution would go unseen. Losing the memory loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from cytopipe.provenance import sha256_file

__all__ = ["Digests"]

_SETTLED_S = 3.0

_TABLE = """
create table if not exists digest (
    path text primary key, size integer, mtime_ns integer, ctime_ns integer, inode integer, sha256 text
)
"""


class Digests:
    """The memory of one project.

    Parameters
    ----------
    home : Path
        The project's ``.cytopipe`` folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._book = home / "digests.sqlite"

    def sha256(self, path: Path) -> str | None:
        """SHA-256 of a file's content; None where there is no file to read."""
        return self.of(path, sha256_file)

    def sha256_of_all(self, paths: Iterable[Path]) -> str | None:
        """One digest of the names and contents of several files; None where one of them cannot be read."""
        total = hashlib.sha256()
        for path in paths:
            if (found := self.sha256(path)) is None:
                return None
            total.update(f"{path.name} {found}\n".encode())
        return total.hexdigest()

    def of(self, path: Path, take: Callable[[Path], str], kind: str = "") -> str | None:
        """A digest of any kind of a file, remembered in the same way; None where there is no file to read.

        Parameters
        ----------
        path : Path
        take : callable
            Takes the digest of a file.
        kind : str
            What tells its digests from those of others: ``inflated``.
        """
        try:
            resolved = path.resolve(strict=True)
            before = resolved.stat()
            facts = (before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino)
            name = f"{kind}:{self._name(resolved)}" if kind else self._name(resolved)
            if known := self._known(name, facts):
                return known
            digest = take(resolved)
            after = resolved.stat()
        except OSError:
            return None
        settled = time.time() - max(after.st_mtime, after.st_ctime) > _SETTLED_S
        if settled and facts == (after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino):
            self._remember(name, facts, digest)
        return digest

    def _name(self, path: Path) -> str:
        project = self._home.parent.resolve()
        return path.relative_to(project).as_posix() if path.is_relative_to(project) else str(path)

    def _known(self, name: str, facts: tuple[int, ...]) -> str | None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._open()) as book:
            row = book.execute(
                "select sha256 from digest where path=? and size=? and mtime_ns=? and ctime_ns=? and inode=?",
                (name, *facts),
            ).fetchone()
            return row[0] if row else None
        return None

    def _remember(self, name: str, facts: tuple[int, ...], digest: str) -> None:
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._open()) as book, book:
            book.execute("insert or replace into digest values (?, ?, ?, ?, ?, ?)", (name, *facts, digest))

    def _open(self) -> sqlite3.Connection:
        self._home.mkdir(exist_ok=True)
        book = sqlite3.connect(self._book, timeout=5)
        book.execute(_TABLE)
        return book
