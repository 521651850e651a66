"""What of the output root may be seen, and how it is opened.

A path is made of plain names below the root. Hidden names (manifests, drafts, checkpoints, kept versions)
are not shown. A symbolic link is followed if it ends below the root: published folders are such links into
``.<name>.versions``. Anything else has no answer but "not there".
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Shown", "list_folder", "open_below", "walk_files"]

_VERSIONS = ".versions"


@dataclass(frozen=True)
class Shown:
    """An entry of a folder.

    Parameters
    ----------
    name : str
    is_folder : bool
    size_bytes : int
        Zero for a folder.
    modified : float
        Seconds since 1970.
    """

    name: str
    is_folder: bool
    size_bytes: int
    modified: float


def open_below(root: Path, relative: str) -> tuple[int, os.stat_result, Path] | None:
    """Open a file or a folder below `root`.

    Parameters
    ----------
    root : Path
    relative : str
        Names joined by ``/``; empty for the root itself.

    Returns
    -------
    (descriptor, state, real path), or None
        None for whatever may not be seen. The caller closes the descriptor.
    """
    parts = relative.split("/") if relative else []
    if "\x00" in relative or any(part.startswith(".") or not part for part in parts):
        return None
    try:
        base = root.resolve(strict=True)
        path = base.joinpath(*parts).resolve(strict=True)
        if not _may_be_seen(base, path):
            return None
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError):
        return None
    state = os.fstat(descriptor)
    if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        os.close(descriptor)
        return None
    return descriptor, state, path


def list_folder(root: Path, folder: Path) -> list[Shown]:
    """What is seen in a folder below `root`: folders first, each kind by name."""
    base = root.resolve()
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_symlink() and not _may_be_seen(base, Path(entry.path).resolve(strict=True)):
                    continue
                state = entry.stat()
            except (OSError, RuntimeError):  # it went away, leads nowhere or in a circle
                continue
            if stat.S_ISDIR(state.st_mode):
                found.append(Shown(entry.name, True, 0, state.st_mtime))
            elif stat.S_ISREG(state.st_mode):
                found.append(Shown(entry.name, False, state.st_size, state.st_mtime))
    return sorted(found, key=lambda entry: (not entry.is_folder, entry.name.lower(), entry.name))


def walk_files(root: Path, relative: str) -> Iterator[str]:
    """Relative paths of every file that is seen in a folder, at any depth.

    A folder that was entered already, by way of a link, is not entered again.
    """
    opened = open_below(root, relative)
    if opened is None:
        return
    os.close(opened[0])
    pending, entered = [(relative, opened[2])], set()
    while pending:
        at, folder = pending.pop()
        if folder in entered:
            continue
        entered.add(folder)
        try:
            entries = list_folder(root, folder)
        except OSError:
            continue
        for entry in reversed(entries):
            below = f"{at}/{entry.name}" if at else entry.name
            if entry.is_folder:
                pending.append((below, (folder / entry.name).resolve()))
            else:
                yield below


def _may_be_seen(base: Path, path: Path) -> bool:
    """Whether a real path is below `base` and passes no hidden folder but those of versions."""
    if not path.is_relative_to(base):
        return False
    hidden = [part for part in path.relative_to(base).parts if part.startswith(".")]
    return all(part.endswith(_VERSIONS) for part in hidden)
