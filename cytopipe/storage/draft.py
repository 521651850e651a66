"""Where an artifact is written before anybody can see it.

A draft is a directory ``.staging/<uuid>/`` whose lock its writer holds. What must hold: a draft is never
readable as an artifact; a writer that dies leaves a free lock, by which the janitor knows the draft is dead;
a living writer's draft is never touched.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cytopipe.errors import CytopipeError, StorageError
from cytopipe.storage.filesystem import kind_at, locked, remove_tree

__all__ = ["STAGING", "Draft", "drafting", "explained", "watched", "write_draft"]

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


# --------------------------------------------------------------------------- what a library only muttered

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


# --------------------------------------------------------------------------- what went wrong, in words

_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space and run it again."),
    errno.EDQUOT: ("the quota is used up", "Free some space or ask for more, and run it again."),
    errno.EFBIG: ("the file is larger than it may be here", "Raise the limit (ulimit -f) and run it again."),
    errno.EROFS: ("the file system is read-only", "Choose another output root."),
    errno.EACCES: ("permission is denied", "Check who owns the directory."),
    errno.EPERM: ("the operation is not permitted", "Check who owns the directory."),
    errno.EIO: ("the disk reported an input/output error", "Check the disk, then run it again."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter name."),
    errno.EXDEV: (
        "the output root spans two file systems, between which nothing can be renamed",
        "Set the output root to a directory on the same file system as the artifact.",
    ),
    errno.ESTALE: ("the network file system lost the file", "Run it again."),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n) and run it again."),
}


@contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn a fault of the operating system, or a library's disguise of one, into a StorageError.

    HDF5 reports a full disk as ``RuntimeError: Can't decrement id ref count`` or as an OSError whose errno is
    only in its text; both are told as what they are.
    """
    try:
        yield
    except CytopipeError:
        raise
    except (OSError, RuntimeError) as error:
        code = _errno_of(error, path)
        if code not in _REASONS:  # a domain's own mistake, such as an input that is not there, stays as it is
            raise
        reason, advice = _REASONS[code]
        raise StorageError(f"{doing} failed: {reason}", where=str(path), next=advice) from error


def _errno_of(error: BaseException, path: Path) -> int | None:
    """The errno behind an error: its own, the one HDF5 prints, or a full disk found by looking."""
    text = str(error)
    if isinstance(error, OSError) and error.errno:
        return error.errno
    for code in _REASONS:
        if f"errno = {code}," in text or f"Errno {code}]" in text:
            return code
    if "decrement id ref count" in text or "unable to" in text.lower():
        return _starved(path)
    return None


def _starved(path: Path) -> int | None:
    """ENOSPC or EFBIG where the place is full or limited, as HDF5 does not say."""
    import resource

    folder = path if path.is_dir() else path.parent
    with suppress(OSError):
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < 1 << 20 or (room.f_files and room.f_favail == 0):
            return errno.ENOSPC
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return errno.EFBIG
    return None
