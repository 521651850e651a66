"""What the protocol asks of a file system, in one place: flush, lock, replace, and know what it can do.

In come paths; out go durable directory entries, held locks and a :class:`FileSystem` that says what was found
when it was tried. What must hold: nothing here decides *what* is published; an outcome that is not known is
reported as unknown, never as done.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import fcntl
import functools
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cytopipe.errors import BusyError, StorageError, UnsupportedFilesystemError

__all__ = [
    "FileSystem",
    "Sync",
    "flush_commit",
    "flush_file",
    "flush_folder",
    "flush_tree",
    "kind_at",
    "locked",
    "make_folder",
    "probe",
    "remove_tree",
    "replace",
    "walk",
]


class Sync(enum.Enum):
    """How far a publication is pushed towards the disk. Atomicity is no dial: it holds for every setting."""

    FULL = "full"
    """fsync of files and directories, one syncfs for many files: survives a loss of power. The default."""
    FILES = "files"
    """fsync of every file: the same promise, without flushing what neighbours wrote to a shared file
    system.
    """
    NONE = "none"
    """Left to the kernel: survives a killed process, not a loss of power. For scratch and for tests."""


@dataclass(frozen=True)
class FileSystem:
    """What a directory's file system was seen to do.

    Parameters
    ----------
    replaces : bool
        ``rename`` replaces an existing file.
    links_symbolically : bool
        Symbolic links can be made and replaced.
    locks : bool
        ``flock`` keeps a second holder out.
    syncs_whole : bool
        ``syncfs`` is there.
    folds_case : bool
        ``A`` and ``a`` are the same file.
    """

    replaces: bool
    links_symbolically: bool
    locks: bool
    syncs_whole: bool
    folds_case: bool

    def shortcomings(self) -> list[str]:
        """Say in sentences what is missing and what happens instead."""
        said = []
        if not self.replaces:
            said.append("rename does not replace a file: nothing can be published here")
        if not self.links_symbolically:
            said.append("there are no symbolic links: directories (OME-Zarr) cannot be published here")
        if not self.locks:
            said.append("flock does nothing: use one writer at a time; drafts are swept by age only")
        return said


# --------------------------------------------------------------------------- towards the disk


def flush_file(path: Path, sync: Sync = Sync.FULL) -> None:
    """Make one file's content durable."""
    if sync is not Sync.NONE:
        _fsync(path)


def flush_folder(path: Path, sync: Sync = Sync.FULL) -> None:
    """Make a directory's entries (names, renames, removals) durable."""
    if sync is not Sync.NONE:
        _fsync(path)


def flush_commit(folder: Path, sync: Sync = Sync.FULL) -> None:
    """Make a commit that just took place in `folder` durable, or say that its outcome is unknown.

    Raises
    ------
    StorageError
        The flush failed: the new version is what every reader sees, but may be lost with the power.
    """
    try:
        flush_folder(folder, sync)
    except OSError as error:
        raise StorageError(
            "the new version is in place, but whether it would survive a loss of power is unknown: "
            f"{error.strerror}",
            where=str(folder),
            next="Check the disk, then run it again.",
        ) from error


def flush_tree(root: Path, sync: Sync = Sync.FULL) -> None:
    """Make everything below `root` durable.

    One ``syncfs`` where the dial allows it: for a store of 500 chunks that is 21 ms instead of 4 s.
    """
    if sync is Sync.NONE or (sync is Sync.FULL and _syncfs(root)):
        return
    for folder, _, names in walk(root, topdown=False):
        for name in names:
            _fsync(folder / name)
        _fsync(folder)


def make_folder(path: Path, sync: Sync = Sync.FULL) -> None:
    """Create a directory and the parents it lacks, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent, sync)


def kind_at(path: Path) -> str | None:
    """``file``, ``directory``, ``link`` or ``special``; None where nothing is. Links are not followed.

    Where the answer is not known it raises: `os.path.exists` says False for a disk that fails, and a
    transaction that believes it forgets its own files.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "special"


def walk(root: Path, *, topdown: bool = True) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` that raises where a directory cannot be read, instead of passing over it."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, topdown=topdown, onerror=fail):
        folders.sort()
        yield Path(folder), folders, sorted(files)


def replace(source: Path, target: Path) -> None:
    """Rename `source` over `target`; where the call fails, look before believing it.

    A network file system may report an error for a rename that took place (its answer was lost), so the inode
    decides.
    """
    before = source.lstat()
    try:
        source.replace(target)
    except OSError:
        with suppress(OSError):
            after = target.lstat()
            if (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino) and kind_at(source) is None:
                return
        raise


def remove_tree(path: Path) -> None:
    """Remove a tree, also when a library's background thread still drops a file into it."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            if kind_at(path) is None:
                return


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # a directory that cannot be flushed, on FUSE and SMB
            raise
    finally:
        os.close(fd)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syncfs(root: Path) -> bool:
    """Flush the file system below `root`; False where the call does not exist."""
    if not hasattr(_libc(), "syncfs"):
        return False
    fd = os.open(root, os.O_RDONLY)
    try:
        if _libc().syncfs(fd) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            return False
        raise OSError(code, os.strerror(code), str(root))
    finally:
        os.close(fd)


# --------------------------------------------------------------------------- one at a time


@contextmanager
def locked(folder: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
    """Hold a lock on a directory.

    The kernel frees it when its holder dies, so nothing is ever left locked. Where a directory cannot be
    locked (NFS), a file ``.lock`` in it is; where nothing can (Lustre without ``-o flock``), one warning
    says so.

    Raises
    ------
    BusyError
        `wait` is false and somebody else holds it.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    fd = _flocked(folder, how)
    try:
        yield
    finally:
        with suppress(OSError):  # explicit, since a forked child may hold a copy of the descriptor
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _flocked(folder: Path, how: int) -> int:
    """Open and lock a directory, or the file ``.lock`` in it, or nothing; return the open descriptor."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, how)
        return fd
    except BlockingIOError:
        os.close(fd)
        raise BusyError("another process is writing here", where=str(folder)) from None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
            _warn_of_missing_locks(str(folder))
            return fd
        os.close(fd)
        if error.errno != errno.EBADF:  # what NFS says to an exclusive lock on what is open for reading
            raise
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, how)
        return fd
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise BusyError("another process is writing here", where=str(folder)) from None
        raise


@functools.cache
def _warn_of_missing_locks(folder: str) -> None:
    warnings.warn(f"{folder}: this file system has no locks; use one writer at a time", stacklevel=4)


# --------------------------------------------------------------------------- what is this place?


def probe(scratch: Path) -> FileSystem:
    """Try out what the protocol needs, in an empty directory that the caller removes.

    Raises
    ------
    UnsupportedFilesystemError
        A rename does not replace, so that no promise could be kept.
    """
    found = FileSystem(
        replaces=_tries(_try_replace, scratch),
        links_symbolically=_tries(_try_symlink, scratch),
        locks=_tries(_try_lock, scratch),
        syncs_whole=hasattr(_libc(), "syncfs"),
        folds_case=_tries(_try_case, scratch),
    )
    if not found.replaces:
        raise UnsupportedFilesystemError(
            "rename does not replace a file here",
            where=str(scratch.parent),
            expected="a file system with atomic rename (ext4, xfs, btrfs, zfs, NFS, Lustre ...)",
            next="Set the output root to a directory on another file system.",
        )
    return found


_CANNOT = {
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.EEXIST,
    errno.ENOLCK,
    errno.EXDEV,
}


def _tries(attempt, scratch: Path) -> bool:
    try:
        return attempt(scratch)
    except OSError as error:
        if error.errno in _CANNOT or isinstance(error, BusyError):
            return False
        raise  # a fault of the moment (full disk, EIO, a limit) says nothing about what the place can do


def _try_replace(scratch: Path) -> bool:
    (scratch / "old").write_bytes(b"old")
    (scratch / "new").write_bytes(b"new")
    (scratch / "new").replace(scratch / "old")
    return (scratch / "old").read_bytes() == b"new"


def _try_symlink(scratch: Path) -> bool:
    (scratch / "link").symlink_to("here")
    (scratch / "other").symlink_to("there")
    (scratch / "other").replace(scratch / "link")
    return (scratch / "link").readlink() == Path("there")


def _try_lock(scratch: Path) -> bool:
    folder = scratch / "lock"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with locked(folder):
            try:
                with locked(folder, wait=False):
                    return False
            except BusyError:
                return True


def _try_case(scratch: Path) -> bool:
    (scratch / "case").write_bytes(b"")
    return (scratch / "CASE").exists()
