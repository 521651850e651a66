"""What the protocol asks of a file system: open, flush, lock, replace, and find out what it can do.

Nothing here decides *what* is published. An outcome that is not known is reported as unknown, never as done.
Whatever is opened for reading is looked at first, so that a pipe or a link put in the place of a file is an
error and not a hang.
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
from typing import BinaryIO

from cytopipe.errors import BusyError, DamagedError, StorageError, UnsupportedFilesystemError

__all__ = [
    "FileSystem",
    "Sync",
    "flush_commit",
    "flush_file",
    "flush_folder",
    "flush_tree",
    "kind_at",
    "lock_file",
    "locked",
    "make_folder",
    "open_regular",
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
        try:
            folder.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StorageError(
                "a folder cannot be made: something else stands in its way",
                where=str(folder),
                found=", ".join(_in_the_way(folder)),
                next="Choose another output folder, or move that away.",
            ) from None
        flush_folder(folder.parent, sync)


def _in_the_way(folder: Path) -> Iterator[str]:
    for path in (folder, *folder.parents):
        kind = kind_at(path)
        if kind == "link" and not path.exists():
            yield f"a link to nothing at {path} ({path.readlink()})"
        elif kind in ("file", "special"):
            yield f"a {kind}{' file' * (kind == 'special')} at {path}"


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


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or touching a device.

    Parameters
    ----------
    path : Path
    follow : bool, default False
        Whether `path` may be a link.

    Raises
    ------
    FileNotFoundError
    DamagedError
        A directory, link, pipe, socket or device stands there.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket, or a device without its driver
            raise _not_a_file(path, path.lstat().st_mode) from None
        raise
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(fd, "rb", buffering=0)
    os.close(fd)
    raise _not_a_file(path, mode)


_KINDS = {
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}


def _not_a_file(path: Path, mode: int) -> DamagedError:
    return DamagedError(
        "is not a file",
        where=str(path),
        found=f"a {_KINDS.get(stat.S_IFMT(mode), 'device')}",
        next="Move it away, and restore the file or make it again.",
    )


def walk(root: Path, *, topdown: bool = True, may_vanish: bool = False) -> Iterator[tuple[Path, list, list]]:
    """`os.walk` that raises where a directory cannot be read, instead of passing over it.

    With `may_vanish`, a directory that others removed meanwhile is passed over.
    """

    def fail(error: OSError) -> None:
        if not (may_vanish and isinstance(error, FileNotFoundError)):
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
    fd = _open_lock(folder / ".lock")
    try:
        fcntl.flock(fd, how)
        return fd
    except OSError as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise BusyError("another process is writing here", where=str(folder)) from None
        raise


@contextmanager
def lock_file(path: Path, busy: str = "another process is working here") -> Iterator[None]:
    """Hold the lock file `path`, created if absent, with the process id of its holder in it.

    `busy` is what is said where another process holds it.

    Raises
    ------
    BusyError
        Another process holds it; `found` names the process.
    DamagedError
        Something else than a file of its own stands there: a link, also a hard one, a pipe, a directory. It
        is left alone.
    """
    fd = _open_lock(path)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            raise BusyError(
                busy,
                where=str(path.parent),
                found=f"process {holder or 'unknown'}",
                next="Wait for it to finish, or stop it: it saves before it ends.",
            ) from None
        os.pwrite(fd, f"{os.getpid():<19}\n".encode(), 0)  # always as long, so that nothing is truncated
        yield
    finally:
        with suppress(OSError):  # explicit, since a forked child may hold a copy of the descriptor
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _open_lock(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _not_a_file(path, path.lstat().st_mode) from None
        raise
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return fd
    os.close(fd)
    if stat.S_ISREG(status.st_mode):
        raise DamagedError(
            "the lock is a hard link to another file", where=str(path), next="Remove it and run it again."
        )
    raise _not_a_file(path, status.st_mode)


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
