"""Where an artifact is written before anybody can see it.

A draft is a directory ``.staging/<uuid>/`` whose lock its writer holds. Nobody reads it as an artifact. A
writer that dies leaves a free lock, by which the janitor knows that the draft is dead; the draft of a living
writer is never touched.
"""

from __future__ import annotations

import gc
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cytopipe.errors import StorageError
from cytopipe.storage.filesystem import kind_at, locked, remove_tree

__all__ = ["STAGING", "Draft", "drafting", "watched", "write_draft"]

STAGING = ".staging"


class Draft:
    """A locked directory to write in. `keep` leaves it in place for a journal that refers to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept = False

    def keep(self) -> None:
        self.kept = True

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@contextmanager
def drafting(staging: Path) -> Iterator[Draft]:
    """Open a draft below `staging` (created if absent) and remove it at the end, whatever happened."""
    with ExitStack() as held:
        draft = Draft(_new_locked_folder(staging, held))
        try:
            yield draft
        finally:
            if not draft.kept:
                remove_tree(draft.folder)


def _new_locked_folder(staging: Path, held: ExitStack) -> Path:
    while True:
        folder = staging / uuid.uuid4().hex
        try:
            folder.mkdir()
            held.enter_context(locked(folder))
        except FileNotFoundError:  # first use, or an empty staging was just tidied away
            with suppress(FileExistsError):
                staging.mkdir()
            continue
        if kind_at(folder) == "directory":  # a janitor may have come between mkdir and lock
            return folder
        held.close()


def write_draft(
    draft: Draft,
    name: str,
    kind: str,
    write: Callable[[Path], None],
    validate: Callable[[Path], None] | None,
) -> Path:
    """Let `write` write a ``file`` or ``directory`` under its own name in the draft, and validate it."""
    staged = draft / name
    with watched():
        write(staged)
    found = kind_at(staged)
    if found != kind:
        raise StorageError(
            f"the writer left no {kind} at the path it was given", where=name, found=found or "nothing"
        )
    if validate is not None:
        validate(staged)
    return staged


# --------------------------------------------------------------------------- errors that cannot be raised

_watching = threading.local()


@contextmanager
def watched() -> Iterator[None]:
    """Raise what a library could only mutter while it wrote.

    h5py closes datasets in destructors, from which nothing can be raised: a chunk that could not be written
    (EIO, full disk) is printed as `Exception ignored`, the file is closed without an error, and holds fill
    values instead. Such exceptions of this thread are collected, and the first is raised at the end.
    """
    if not isinstance(sys.unraisablehook, _Collector):
        sys.unraisablehook = _Collector(sys.unraisablehook)
    _watching.found = found = []
    try:
        yield
        gc.collect(0)  # a dataset in a reference cycle is closed only now
    finally:
        _watching.found = None
    if found:
        raise found[0]


class _Collector:
    """An unraisable hook that gives a watching thread its own exceptions, and all others to the hook
    before.
    """

    def __init__(self, before: Callable) -> None:
        self.before = before

    def __call__(self, unraisable) -> None:
        found = getattr(_watching, "found", None)
        if found is None or not isinstance(unraisable.exc_value, (OSError, RuntimeError)):
            self.before(unraisable)
        else:
            found.append(unraisable.exc_value)
