"""Damage as disks, networks and people make it: one function per kind, each aimed by a seeded generator.

Each function damages a file, or a part of a directory, and returns the sentence that says what was done. It
changes the content or the names for certain, so that a verification that stays silent is wrong.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DAMAGES", "Damage", "extra", "flip_bit", "missing", "symlink", "truncate", "zeros"]


@dataclass(frozen=True)
class Damage:
    """A named kind of damage; ``apply(path, rng)`` does it to one file and says what was done."""

    name: str
    apply: Callable[[Path, random.Random], str]


def flip_bit(path: Path, rng: random.Random) -> str:
    """Invert one bit."""
    data = bytearray(path.read_bytes())
    at, bit = rng.randrange(len(data)), rng.randrange(8)
    data[at] ^= 1 << bit
    _overwrite(path, bytes(data))
    return f"bit {bit} of byte {at} of {path.name} inverted"


def truncate(path: Path, rng: random.Random) -> str:
    """Cut off the end, by at least one byte."""
    size = path.stat().st_size
    keep = rng.randrange(size)
    os.truncate(path, keep)
    return f"{path.name} cut off after {keep} of {size} bytes"


def zeros(path: Path, rng: random.Random) -> str:
    """Overwrite a block that holds something with zeros, as a lost write does."""
    data = bytearray(path.read_bytes())
    at = rng.choice([i for i, byte in enumerate(data) if byte])
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    _overwrite(path, bytes(data))
    return f"512 bytes of {path.name} zeroed from byte {at}"


def missing(path: Path, rng: random.Random) -> str:
    """Remove a part."""
    path.unlink()
    return f"{path.name} removed"


def extra(path: Path, rng: random.Random) -> str:
    """Add a copy of a part under a name like its own."""
    copy = path.with_name(f"{path.stem}{rng.randrange(10**6)}{path.suffix}")
    copy.write_bytes(path.read_bytes())
    return f"{copy.name} added"


def symlink(path: Path, rng: random.Random) -> str:
    """Put a link to the same content in the place of a part."""
    elsewhere = path.with_name(f".elsewhere-{rng.randrange(10**6)}")
    path.rename(elsewhere)
    path.symlink_to(elsewhere.name)
    return f"{path.name} made a link"


def _overwrite(path: Path, data: bytes) -> None:
    """Change content in place and keep the times, as a disk does that changes it by itself."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


DAMAGES = {
    function.__name__: Damage(function.__name__, function)
    for function in (flip_bit, truncate, zeros, missing, extra, symlink)
}
"""Every kind of damage by name."""
