"""Taking a publication back: an intermediate that was used, or what is kept in another form.

A file: 1. its sidecar lists {nothing, the file}; 2. the file is removed: *the commit*; 3. so is the sidecar.
A directory: 1. its versions are marked as retired; 2. the link is removed: *the commit*; 3. so are they.
Killed between any two of them, what was published stands whole or nothing does, and no verification finds a
difference.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from cytopipe.errors import RefusedError
from cytopipe.storage.draft import STAGING, Draft
from cytopipe.storage.files import published_manifest, put_sidecar, sidecar_of
from cytopipe.storage.filesystem import Sync, flush_commit, flush_folder, kind_at, locked, remove_tree
from cytopipe.storage.trees import current_version, retire, versions_of

__all__ = ["files_of", "remove_directory", "remove_file"]


def remove_file(draft: Draft, target: Path, sync: Sync) -> None:
    """Remove a published file; one that is removed already, or half removed, is no error.

    Raises
    ------
    RefusedError
        What stands there was not published by us.
    DamagedError
        Its sidecar is not what was written.
    """
    kind, sidecar = kind_at(target), sidecar_of(target)
    if kind not in ("file", None):
        raise RefusedError("is no published file", where=str(target), found=f"a {kind}")
    with locked(target.parent):
        if kind is not None:
            present = published_manifest(target)
            if present is None:
                raise RefusedError("was not published here, so it is left", where=str(target))
            put_sidecar(draft, target, [None, present], sync)
            flush_folder(target.parent, sync)
            target.unlink(missing_ok=True)
            flush_commit(target.parent, sync)
        sidecar.unlink(missing_ok=True)


def remove_directory(target: Path, sync: Sync) -> None:
    """Remove a published directory with all its versions; errors as :func:`remove_file`."""
    versions = versions_of(target)
    grave = target.parent / STAGING / f"grave-{uuid.uuid4().hex}"
    with locked(target.parent):
        current = current_version(target)
        if kind_at(versions) == "directory":
            for version in versions.iterdir():
                if kind_at(version) == "directory":
                    retire(version)
            flush_folder(versions, sync)
        if current is not None:
            target.unlink()
            flush_commit(target.parent, sync)
        if kind_at(versions) != "directory":
            return
        grave.parent.mkdir(exist_ok=True)
        versions.rename(grave)
    remove_tree(grave)
    with suppress(OSError):
        grave.parent.rmdir()


def files_of(target: Path) -> list[Path]:
    """The files that would go with a published file or directory."""
    versions = versions_of(target)
    inside = [Path(folder, name) for folder, _, names in os.walk(versions) for name in names]
    return [one for one in (target, sidecar_of(target)) if kind_at(one) == "file"] + inside
