"""Whether a large input is still the one that was read, without reading all of it.

A file or directory comes in, a SHA-256 leaves. Up to 64 MB of content are read whole: the digest is of the
content alone. Beyond that, size, time of change and 64 windows spread over the file stand for it, since 45 GB
would take longer to digest than to aggregate; a copy with a new time of change then counts as new.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["input_identity"]

WHOLE_BYTES = 64_000_000
_WINDOWS, _WINDOW = 64, 65_536


def input_identity(path: Path) -> str:
    """SHA-256, in hexadecimal, that stands for the content of a file or directory tree.

    Parameters
    ----------
    path : Path
        Must exist.
    """
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    total = sum(one.stat().st_size for one in files)
    digest = hashlib.sha256()
    for one in files:
        status = one.stat()
        name = one.relative_to(path).as_posix() if path.is_dir() else ""
        digest.update(f"{name}\x00{status.st_size}\x00".encode())
        if total <= WHOLE_BYTES:
            _update_whole(digest, one)
        else:
            digest.update(f"{status.st_mtime_ns}\x00".encode())
            if not path.is_dir():
                _update_windows(digest, one, status.st_size)
    return digest.hexdigest()


def _update_whole(digest, path: Path) -> None:
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)


def _update_windows(digest, path: Path, size: int) -> None:
    with path.open("rb") as stream:
        for number in range(_WINDOWS):
            stream.seek((size - _WINDOW) * number // (_WINDOWS - 1))
            digest.update(stream.read(_WINDOW))
