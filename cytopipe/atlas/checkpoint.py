"""Where an interrupted pass stands: its accumulators and position, on disk, proved.

A checkpoint replaces the one before it whole, so a kill while it is written leaves the one before. It names
what it belongs to (cells, labels, settings, format): a pass that differs in any of these starts over instead
of continuing something else. Since sums are of whole numbers, a pass that was killed and continued gives the
bytes of one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.atlas.registry import Level
from cytopipe.errors import ParameterError

__all__ = ["Position", "digest_of_names", "levels_of", "load", "pass_identity", "save"]

FORMAT = 3
_MAGIC = b"cytopipe pass\n"


@dataclass(frozen=True)
class Position:
    """How far a pass has come.

    Parameters
    ----------
    stage : {"rows", "totals", "columns"}
        ``rows`` of a matrix stored by cell; the first and second pass over one stored by gene.
    done : int
        Cells or genes that are in the accumulators.
    """

    stage: str
    done: int


def save(
    path: Path,
    belongs_to: str,
    levels: Sequence[Level],
    position: Position,
    accumulators: Accumulators,
) -> None:
    """Put a checkpoint in place of the one before."""
    arrays = accumulators.arrays()
    header = {
        "format": FORMAT,
        "belongs_to": belongs_to,
        "levels": [str(level) for level in levels],
        "stage": position.stage,
        "done": position.done,
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, total = path.with_name(f".{path.name}.{os.getpid()}"), hashlib.sha256()
    try:
        with draft.open("wb") as stream:
            for piece in (_MAGIC, json.dumps(header, sort_keys=True).encode() + b"\n", *_bytes_of(arrays)):
                total.update(piece)
                stream.write(piece)
            stream.write(total.digest())
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def levels_of(path: Path) -> tuple[Level, ...]:
    """The levels for which a checkpoint adds up; none where there is no checkpoint that can be read."""
    try:
        with path.open("rb") as stream:
            header = _header(stream)
        return tuple(Level.parse(text) for text in header["levels"]) if header else ()
    except (OSError, KeyError, TypeError, AttributeError, ParameterError):
        return ()


def load(path: Path, belongs_to: str, into: Accumulators) -> Position | None:
    """Fill `into` from a checkpoint of the same pass; None where there is none, or it is of another.

    A damaged checkpoint counts as none: starting over is always right. `into` is spoiled then.
    """
    try:
        with path.open("rb") as stream:
            header = _header(stream)
            if header is None or (header.get("format"), header.get("belongs_to")) != (FORMAT, belongs_to):
                return None
            into.fit(header["arrays"])
            arrays = into.arrays()
            shapes = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
            if header["arrays"] != shapes:
                return None
            total = hashlib.sha256(_MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n")
            for array in arrays.values():
                if array.size:
                    stream.readinto(memoryview(array).cast("B"))
                    total.update(memoryview(array).cast("B"))
            if stream.read() == total.digest():
                return Position(header["stage"], header["done"])
    except OSError:
        pass
    return None


def _header(stream) -> dict | None:
    if stream.readline() != _MAGIC:
        return None
    try:
        header = json.loads(stream.readline())
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _bytes_of(arrays: Mapping[str, np.ndarray]) -> Iterable[memoryview]:
    for array in arrays.values():
        if array.size:
            yield memoryview(np.ascontiguousarray(array)).cast("B")


def pass_identity(parts: Mapping[str, object]) -> str:
    """SHA-256 over what a pass belongs to."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest_of_names(names: Iterable[str]) -> str:
    """SHA-256 over names in their order."""
    return hashlib.sha256("\x00".join(names).encode()).hexdigest()
