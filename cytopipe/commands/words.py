"""Counts in words, for what commands say."""

from __future__ import annotations

from pathlib import Path

__all__ = ["counted", "published_in"]


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``1 difference``; the last word of `noun` takes the plural."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def published_in(folder: Path) -> tuple[int, int]:
    """How many published files the manifests below `folder` name, and their size in bytes."""
    from cytopipe.errors import StorageError
    from cytopipe.storage.draft import STAGING
    from cytopipe.storage.filesystem import walk
    from cytopipe.storage.manifest import read_manifests

    number = size = 0
    for here, folders, names in walk(folder):
        documents = [
            here / name for name in names if name.startswith(".") and name.endswith(".manifest.json")
        ]
        for document in documents:
            try:
                manifest = next(one for one in read_manifests(document) if one is not None)
            except (StorageError, StopIteration):
                continue  # `verify` tells what is wrong with it
            number += len(manifest.files)
            size += manifest.size_bytes
        folders[:] = [name for name in folders if name != STAGING]
    return number, size
