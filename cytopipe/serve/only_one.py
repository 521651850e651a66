"""One web UI for a project: two would start two daemons, and each would start every scheduled run.

The web UI holds a lock on ``.cytopipe/ui.lock`` as long as it lives, and the kernel frees it when it dies, in
whatever way. The file says who it is. Where a file system has no locks, the process that the file names is
looked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from cytopipe.errors import BusyError

__all__ = ["only_one"]


@contextlib.contextmanager
def only_one(home: Path, address: str) -> Iterator[None]:
    """Be the one web UI of the project whose folder ``.cytopipe`` is `home`.

    Parameters
    ----------
    home : Path
    address : str
        Where this one will answer; the file that holds it can be read by this user only.

    Raises
    ------
    BusyError
        If there is one already; the message names its address.
    """
    home.mkdir(parents=True, exist_ok=True)
    path = home / "ui.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _lock(descriptor):
            raise _busy(path, _read(descriptor))
        _write(descriptor, {"address": address, "host": socket.gethostname(), "pid": os.getpid()})
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here
        return not _lives(_read(descriptor))
    return True


def _lives(holder: dict) -> bool:
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True  # we cannot look there
    try:
        os.kill(int(holder["pid"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _read(descriptor: int) -> dict:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _write(descriptor: int, holder: dict[str, object]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _busy(path: Path, holder: dict) -> BusyError:
    where = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return BusyError(
        "the web UI of this project is open already",
        where=str(path),
        found=where,
        next=f"Open {holder.get('address', 'its address')} or stop that one.",
    )
