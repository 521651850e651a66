"""Faults of the operating system, told in words: what failed, where, why, and what to do next.

`explained` wraps a piece of work; `in_words` translates one exception, for the command line. An error that is
not of this kind (a domain's own mistake, an input that is not there) is left as it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cytopipe.errors import BudgetError, CytopipeError, StorageError

__all__ = ["explained", "in_words", "reason_of"]

_ELSEWHERE = "Choose another output folder."
_REASONS = {
    errno.ENOSPC: ("the disk is full", "Free some space and run it again."),
    errno.EDQUOT: ("the quota is used up", "Free some space or ask for more, and run it again."),
    errno.EFBIG: ("the file is larger than it may be here", "Raise the limit (ulimit -f) and run it again."),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.EACCES: ("permission is denied", "Check who owns the directory."),
    errno.EPERM: ("the operation is not permitted", "Check who owns the directory."),
    errno.EIO: ("the disk reported an input/output error", "Check the disk, then run it again."),
    errno.ENAMETOOLONG: (
        "the name or the path is too long for this file system",
        "Choose a shorter name: at most 255 bytes for a name, 4,095 for a path.",
    ),
    errno.ENOTDIR: ("a file stands where a folder is needed", _ELSEWHERE),
    errno.EISDIR: ("a folder stands where a file is needed", "Move the folder away and run it again."),
    errno.ELOOP: ("a link stands there, or links lead in a circle", "Remove the link and run it again."),
    errno.EXDEV: (
        "the output root spans two file systems, between which nothing can be renamed",
        "Set the output root to a directory on the same file system as the artifact.",
    ),
    errno.ESTALE: ("the network file system lost the file", "Run it again."),
    errno.EMFILE: ("too many files are open", "Raise the limit (ulimit -n) and run it again."),
    errno.ENFILE: ("too many files are open on this machine", "Close some programs and run it again."),
    errno.ENOMEM: ("there is not enough memory", "Close other programs, or use a larger machine."),
}


@contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn a fault of the operating system, or a library's disguise of one, into a StorageError.

    HDF5 reports a full disk as ``RuntimeError: Can't decrement id ref count`` or as an OSError whose errno is
    only in its text; both are told as what they are. A MemoryError becomes a BudgetError.
    """
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        told = in_words(error, doing, path)
        if told is None:
            raise
        raise told from error


def in_words(error: BaseException, doing: str, path: Path | None = None) -> StorageError | None:
    """The error to raise in the place of `error`; None where it is clear already or no fault of this kind."""
    if isinstance(error, CytopipeError):
        return None
    if isinstance(error, MemoryError):
        return BudgetError(
            f"{doing} failed: there is not enough memory",
            where="" if path is None else str(path),
            found=str(error),
            next="Use a smaller input, a larger machine, or raise the memory limit of this process.",
        )
    code = _errno_of(error, path or Path())
    if code not in _REASONS:
        return None
    reason, advice = _REASONS[code]
    named = getattr(error, "filename", None)
    where = os.fsdecode(named) if isinstance(named, (str, bytes)) and named else str(path or "")
    return StorageError(f"{doing} failed: {reason}", where=_shortened(where), next=advice)


def reason_of(error: OSError) -> str:
    """Why a file could not be read, in a clause."""
    if isinstance(error, CytopipeError):
        finding = error.findings[0]
        return f"{finding.what}, found {finding.found}" if finding.found else finding.what
    if error.errno == errno.ENOENT:
        return "there is no such file"
    return _REASONS.get(error.errno, (error.strerror or str(error),))[0]


def _shortened(where: str, most: int = 300) -> str:
    return where if len(where) <= most else f"{where[: most // 2]} ... {where[-most // 2 :]}"


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
