"""A folder as a ZIP archive that is sent while it is read: nothing is written to disk, memory stays flat.

Files are stored, not compressed: h5ad, zarr, TIFF and PNG are compressed already. Entries have the ZIP64
form, so that a file may have any size.
"""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from cytopipe.serve.output_root import open_below, walk_files

__all__ = ["zip_of_folder"]

_BLOCK_BYTES = 1 << 18


class _Outbox:
    """What was written to the archive and not sent yet. It cannot seek, so `zipfile` never tries."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data, self.pieces = b"".join(self.pieces), []
        return data


def zip_of_folder(root: Path, relative: str) -> Iterator[bytes]:
    """The bytes of a ZIP archive of a folder below `root`, piece by piece.

    Names in the archive begin with the name of the folder. What may not be seen is not in it.
    """
    outbox = _Outbox()
    top = relative.rpartition("/")[2] or "results"
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED) as archive:
        for path in walk_files(root, relative):
            opened = open_below(root, path)
            if opened is None:
                continue  # it went away meanwhile
            descriptor, state, _ = opened
            name = f"{top}/{path.removeprefix(relative).lstrip('/')}"
            moment = max(time.localtime(state.st_mtime)[:6], (1980, 1, 1, 0, 0, 0))
            entry = zipfile.ZipInfo(name.encode("utf-8", "replace").decode(), moment)
            entry.external_attr = 0o644 << 16
            with os.fdopen(descriptor, "rb") as file, archive.open(entry, "w", force_zip64=True) as target:
                while block := file.read(_BLOCK_BYTES):
                    target.write(block)
                    yield outbox.take()
            yield outbox.take()
    yield outbox.take()
