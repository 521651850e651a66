"""Receipts: what was published at a place, who made it and from what, told from its manifest alone.

No content is read or digested. A receipt that was read before is known by the status of its manifest, so that
asking again costs a few microseconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cytopipe.provenance import Input, Provenance
from cytopipe.storage import trees
from cytopipe.storage.files import sidecar_of
from cytopipe.storage.journal import JOURNAL
from cytopipe.storage.manifest import Manifest
from cytopipe.storage.remembered import Remembered, is_quiet, status_key
from cytopipe.storage.sets import set_manifest_path

__all__ = ["Receipt"]


@dataclass(frozen=True)
class Receipt:
    """What was published at a place: its version, its size, and how it was made.

    Parameters
    ----------
    path : Path
        Absolute: the file, the link to the directory, or the folder of the set.
    version : str
        SHA-256 of the content, independent of time: the asset's data version.
    size_bytes, n_files : int
    provenance : Provenance or None
        None where the manifest holds none.
    """

    path: Path
    version: str
    size_bytes: int
    n_files: int
    provenance: Provenance | None

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.provenance.inputs if self.provenance else ()


_known: Remembered[Receipt] = Remembered(20_000)


def of_manifest(path: Path, manifest: Manifest) -> Receipt:
    provenance = Provenance.from_json(manifest.provenance) if manifest.provenance else None
    return Receipt(path, manifest.sha256, manifest.size_bytes, len(manifest.files), provenance)


def known(path: str, name: str | None) -> tuple[Receipt | None, tuple | None]:
    """The receipt of an unchanged artifact that was read before, and the key under which to keep a new one.

    Both are None where the receipt must be read: no manifest, one of this moment, or an unfinished
    transaction.
    """
    try:
        folder = path if name is not None else os.path.dirname(path)  # noqa: PTH120 (five times faster)
        if _stands(f"{folder}/{JOURNAL}"):
            return None, None
        status = os.lstat(_manifest_of(path, name))
    except OSError:
        return None, None
    key = (path, name, *status_key(status))
    return _known.get(key), key if is_quiet(status) else None


def keep(key: tuple | None, receipt: Receipt) -> Receipt:
    if key is not None:
        _known.put(key, receipt)
    return receipt


def _manifest_of(path: str, name: str | None) -> str | Path:
    if name is not None:
        return set_manifest_path(Path(path), name)
    try:
        named = os.readlink(path)  # noqa: PTH115 (five times faster)
    except OSError:
        return sidecar_of(Path(path))
    return trees.manifest_path(Path(path).parent / named)


def _stands(path: str) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
