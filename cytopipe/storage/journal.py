"""The redo journal of a folder of sets: what a writer has promised, and whoever comes first finishes.

A journal is put in place atomically: that is the commit of a set. From then on the folder belongs to the
journal until it is finished: files are renamed out of the draft one by one, stale ones removed, the journal
dropped. `settled` is how a reader looks at a folder: with writers kept out and no journal in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cytopipe.errors import DamagedError, Finding, ResumeError
from cytopipe.storage.draft import STAGING
from cytopipe.storage.filesystem import Sync, flush_folder, kind_at, locked, replace
from cytopipe.storage.manifest import digest_file, read_regular
from cytopipe.storage.names import check_file_name
from cytopipe.storage.state import format_json, parse_json

__all__ = ["JOURNAL", "finish", "recover", "roll_forward", "sealed", "settled"]

JOURNAL = ".cytopipe-journal.json"


@contextmanager
def settled(folder: Path, sync: Sync = Sync.FULL) -> Iterator[None]:
    """Keep writers out of `folder`, with no transaction unfinished: what is read here belongs together.

    A writer may be killed between the recovery and the lock, so both are repeated until no journal is there.
    Errors as :func:`recover`.
    """
    while True:
        recover(folder, sync)
        with locked(folder, shared=True):
            if kind_at(folder / JOURNAL) is None:
                yield
                return


def recover(folder: Path, sync: Sync = Sync.FULL) -> bool:
    """Finish the transaction a dead writer left in `folder`; True where there was one.

    Raises
    ------
    ResumeError
        A file of the unfinished transaction was edited by hand since; nothing is touched.
    DamagedError
        The journal is not what was written, or a file it names is nowhere.
    """
    if kind_at(folder / JOURNAL) is None:
        return False
    with locked(folder):
        return roll_forward(folder, sync)


def roll_forward(folder: Path, sync: Sync) -> bool:
    """As :func:`recover`, for whoever holds the lock of the folder."""
    try:
        raw = read_regular(folder / JOURNAL)
    except FileNotFoundError:
        return False
    journal = _read_journal(raw, folder)
    draft = folder / STAGING / journal["draft"]
    edited, lost = [], []
    for file, digests in journal["replace"].items():
        present = _digest_or_none(folder / file)
        if kind_at(draft / file) is not None:
            if digests["editable"] and present not in (digests["old"], digests["new"], None):
                edited.append(file)
        elif present is None:
            lost.append(file)
    for file, digest in journal["remove"].items():
        if _digest_or_none(folder / file) not in (digest, None):
            edited.append(file)
    if lost:
        raise DamagedError(
            Finding(what="is in an unfinished checkpoint, but nowhere on disk", where=str(folder / file))
            for file in lost
        )
    if edited:
        raise ResumeError(
            Finding(
                what="was edited by hand while a checkpoint was unfinished",
                where=str(folder / file),
                next="Move your version aside, open the folder again, then put your edit back.",
            )
            for file in edited
        )
    finish(folder, journal, sync)
    with suppress(OSError):
        for left in draft.iterdir():
            left.unlink()
        draft.rmdir()
        draft.parent.rmdir()
    return True


def finish(folder: Path, journal: Mapping, sync: Sync) -> None:
    """Rename, remove, drop the journal. Repeatable: what was done is not found in the draft any more."""
    draft = folder / STAGING / journal["draft"]
    for file in journal["replace"]:
        with suppress(FileNotFoundError):
            replace(draft / file, folder / file)
    for file in journal["remove"]:
        with suppress(FileNotFoundError):
            (folder / file).unlink()
    flush_folder(folder, sync)
    (folder / JOURNAL).unlink()
    flush_folder(folder, sync)


def sealed(journal: Mapping) -> bytes:
    """The journal with a digest of itself, since a journal misread would be worse than none."""
    body = format_json(journal)
    return body + hashlib.sha256(body).hexdigest().encode() + b"\n"


def _read_journal(raw: bytes, folder: Path) -> Mapping:
    where = str(folder / JOURNAL)
    body, digest = raw[:-65], raw[-65:-1]
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise DamagedError("the journal is not what was written", where=where)
    journal = parse_json(body, where=where)
    check_file_name(journal["draft"])
    for file in [*journal["replace"], *journal["remove"]]:
        check_file_name(file, hidden=True)
    return journal


def _digest_or_none(path: Path) -> str | None:
    try:
        return digest_file(path).sha256
    except FileNotFoundError:
        return None
    except DamagedError:  # a link, a directory, a pipe: no version of ours
        return "not a file"
