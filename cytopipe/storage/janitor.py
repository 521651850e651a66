"""What dead writers left behind, and versions nobody reads any more.

`sweep` removes only drafts whose lock is free, and finishes an unfinished transaction before its draft could
be removed. A version is removed by the time since it was retired, so that a reader that resolved it has that
long to finish.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cytopipe.errors import BusyError, CytopipeError
from cytopipe.storage.draft import STAGING
from cytopipe.storage.filesystem import Sync, kind_at, locked, remove_tree, walk
from cytopipe.storage.journal import JOURNAL, recover
from cytopipe.storage.trees import retire, retired_path

__all__ = ["Swept", "sweep"]


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Parameters
    ----------
    drafts, versions : int
        Dead drafts and aged versions that were removed.
    recovered : int
        Unfinished transactions that were finished.
    size_bytes : int
        Bytes that were freed.
    kept : int
        Drafts of living writers and versions that are not old enough.
    problems : tuple of str
        What could not be done, in sentences.
    """

    drafts: int = 0
    versions: int = 0
    recovered: int = 0
    size_bytes: int = 0
    kept: int = 0
    problems: tuple[str, ...] = ()

    def __add__(self, other: Swept) -> Swept:
        return Swept(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})


def sweep(root: Path, older_than_s: float, *, locks: bool = True, sync: Sync = Sync.FULL) -> Swept:
    """Sweep everything below `root`.

    Parameters
    ----------
    root : Path
    older_than_s : float
        Seconds since a version was retired after which it is removed. Where there are no locks, also the age
        of a draft.
    locks : bool, default True
        Whether the file system's locks tell a dead writer.
    """
    swept = Swept()
    for folder in _folders(root):
        try:
            if folder.name == STAGING:
                swept += sweep_staging(folder, 0.0 if locks else older_than_s, sync=sync)
            else:
                swept += _sweep_versions(folder, older_than_s)
        except OSError as error:
            swept += Swept(problems=(f"{folder}: {error}",))
    return swept


def sweep_staging(staging: Path, older_than_s: float = 0.0, *, sync: Sync = Sync.FULL) -> Swept:
    """Remove the dead drafts of one staging directory, after finishing the transaction of its folder."""
    swept = Swept()
    folder = staging.parent
    if kind_at(folder / JOURNAL) is not None:
        try:
            swept += Swept(recovered=int(recover(folder, sync)))
        except CytopipeError as error:
            return swept + Swept(problems=(str(error),))
    with suppress(FileNotFoundError), os.scandir(staging) as entries:
        for entry in list(entries):
            path = Path(entry.path)
            try:
                if time.time() - entry.stat(follow_symlinks=False).st_mtime < older_than_s:
                    swept += Swept(kept=1)
                    continue
                with locked(path, wait=False):
                    if kind_at(folder / JOURNAL) is not None:  # its writer died after we looked
                        swept += Swept(kept=1)
                        continue
                    size = _size(path)
                    remove_tree(path)
                swept += Swept(drafts=1, size_bytes=size)
            except BusyError:
                swept += Swept(kept=1)
            except (FileNotFoundError, NotADirectoryError):
                continue
    return swept


def _folders(root: Path) -> Iterator[Path]:
    """Every ``.staging`` and ``.<name>.versions`` below `root`; versions are not entered, links not
    followed.
    """
    for folder, names, _ in walk(root, may_vanish=True):
        for name in names:
            if name == STAGING or (name.startswith(".") and name.endswith(".versions")):
                yield folder / name
        names[:] = [name for name in names if name != STAGING and not name.endswith(".versions")]


def _sweep_versions(versions: Path, older_than_s: float) -> Swept:
    swept = Swept()
    link = versions.parent / versions.name[1 : -len(".versions")]
    with locked(versions.parent):  # so that no version is between its rename and its link
        current = link.readlink().name if kind_at(link) == "link" else ""
        aged = []
        for version in sorted(versions.iterdir()):
            if kind_at(version) != "directory" or version.name == current:
                continue
            mark = retired_path(version)
            if kind_at(mark) is None:
                retire(version)
            if kind_at(mark) is not None and time.time() - mark.stat().st_mtime >= older_than_s:
                aged.append(version)
            else:
                swept += Swept(kept=1)
        grave = versions.parent / STAGING / f"grave-{uuid.uuid4().hex}"
        if aged:
            grave.mkdir(parents=True)
        for version in aged:  # out of sight at once, removed off the hot path
            version.rename(grave / version.name)
        _remove_orphans(versions)
    if aged:
        size = _size(grave)
        remove_tree(grave)
        with suppress(OSError):
            grave.parent.rmdir()
        swept += Swept(versions=len(aged), size_bytes=size)
    return swept


def _remove_orphans(versions: Path) -> None:
    """Manifests and marks whose version is gone, or never came because its writer died."""
    for left in versions.glob("*.manifest.json"):
        if kind_at(left.with_name(left.name.removesuffix(".manifest.json"))) is None:
            left.unlink()
    for left in versions.glob("*.retired"):
        if kind_at(left.with_name(left.name.removesuffix(".retired"))) is None:
            left.unlink()


def _size(path: Path) -> int:
    return sum(os.lstat(Path(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
