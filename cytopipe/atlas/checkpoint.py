"""Where an interrupted pass stands: its accumulators and position, on disk, proved.

Accumulators and a position come in after a batch; one file leaves, published like any artifact, so a kill
while it is written leaves the one before. It names what it belongs to (cells, labels, settings, format); a
pass that differs in any of these starts over instead of continuing something else. Since sums are of whole
numbers, a pass that was killed and continued gives the bytes of one that was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cytopipe.atlas.accumulate import Accumulators
from cytopipe.errors import StorageError
from cytopipe.storage import Store

__all__ = ["Position", "discard", "load", "save"]

FORMAT = 2
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


def save(store: Store, path: Path, belongs_to: str, position: Position, accumulators: Accumulators) -> None:
    """Publish a checkpoint in place of the one before."""
    arrays = accumulators.arrays()
    header = {
        "format": FORMAT,
        "belongs_to": belongs_to,
        "stage": position.stage,
        "done": position.done,
        "arrays": {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()},
    }

    def write(draft: Path) -> None:
        with draft.open("wb") as stream:
            stream.write(_MAGIC + json.dumps(header, sort_keys=True).encode() + b"\n")
            for array in arrays.values():
                stream.write(memoryview(np.ascontiguousarray(array)).cast("B") if array.size else b"")

    store.publish_file(path, write)


def load(store: Store, path: Path, belongs_to: str, into: Accumulators) -> Position | None:
    """Fill `into` from a checkpoint of the same pass; None where there is none, or it is of another.

    A damaged checkpoint counts as none: starting over is always right.
    """
    if not path.is_file():
        return None
    try:
        store.open_file(path)
    except StorageError:
        return None
    with path.open("rb") as stream:
        if stream.readline() != _MAGIC:
            return None
        header = json.loads(stream.readline())
        if header.get("belongs_to") == belongs_to and header.get("format") == FORMAT:
            into.fit(header["arrays"])
        arrays = into.arrays()
        shapes = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
        expected = {"format": FORMAT, "belongs_to": belongs_to, "arrays": shapes}
        if any(header.get(key) != value for key, value in expected.items()):
            return None
        for array in arrays.values():
            if array.size:
                stream.readinto(memoryview(array).cast("B"))
    return Position(header["stage"], header["done"])


def discard(path: Path) -> None:
    """Remove a checkpoint that has served."""
    for one in (path, path.with_name(f".{path.name}.manifest.json")):
        one.unlink(missing_ok=True)


def pass_identity(parts: Mapping[str, object]) -> str:
    """SHA-256 over what a pass belongs to."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
