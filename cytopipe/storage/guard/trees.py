"""List the files of a directory that others wrote: no link leads out, and no special file is in it.

Symbolic links, pipes, sockets and devices are refused before anything below the directory is opened. Its
depth and its number of entries are bounded.
"""

from __future__ import annotations

import os
from pathlib import Path

from cytopipe.errors import Finding, InputError, RefusedError
from cytopipe.storage.manifest import walk_files

__all__ = ["survey_tree"]

MAX_FILES = 5_000_000
MAX_DEPTH = 64


def survey_tree(root: Path | str) -> dict[str, int]:
    """Size in bytes of every file below `root`, by relative path.

    Raises
    ------
    InputError
        `root` is not a directory.
    RefusedError
        It holds a symbolic link or a special file (all are named, up to 20), is nested deeper than 64, or has
        more than 5 million files.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError("is not a directory", where=str(root))
    sizes: dict[str, int] = {}
    findings = []
    for relative, entry in walk_files(root):
        if entry.is_symlink():
            target = os.fspath(Path(entry.path).readlink())
            findings.append(Finding(what="holds a symbolic link", where=entry.path, found=f"to {target!r}"))
        elif not entry.is_file(follow_symlinks=False):
            findings.append(Finding(what="holds a pipe, socket or device", where=entry.path))
        elif relative.count("/") > MAX_DEPTH:
            raise RefusedError(f"is nested deeper than {MAX_DEPTH}", where=str(root))
        else:
            sizes[relative] = entry.stat(follow_symlinks=False).st_size
        if len(sizes) > MAX_FILES:
            raise RefusedError(f"holds more than {MAX_FILES:,} files", where=str(root))
        if len(findings) >= 20:
            break
    if findings:
        raise RefusedError(findings)
    return sizes
