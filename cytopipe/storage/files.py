"""Publishing one file: h5ad, TIFF, JSON, Parquet, PDF, PNG.

The eight steps, in the order in which the code takes them:

1. open a draft and lock it; 2. write the file there under its own name; 3. reopen and validate it;
4. measure size and SHA-256; 5. fsync it; 6. under the lock of the folder, replace the sidecar by one that
lists {new, old}; 7. replace the file: *the commit*; 8. replace the sidecar by one that lists {new}.

What must hold: killed between any two of them, the file is the old one or the new one, whole, and its
sidecar vouches for it.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cytopipe.errors import DamagedError, RefusedError, StorageError
from cytopipe.storage.draft import Draft
from cytopipe.storage.filesystem import Sync, flush_commit, flush_file, flush_folder, kind_at, locked, replace
from cytopipe.storage.manifest import (
    Difference,
    Entry,
    Manifest,
    compare_file,
    digest_bytes,
    digest_file,
    format_manifests,
    now,
    parse_manifests,
    read_manifests,
    read_regular,
)

__all__ = [
    "commit_file",
    "match_bytes",
    "sidecar_of",
    "verify_file",
    "vouched_bytes",
    "vouched_file",
]


def sidecar_of(path: Path) -> Path:
    """Where the manifest of a single file stands: ``.<name>.manifest.json`` beside it."""
    return path.with_name(f".{path.name}.manifest.json")


# --------------------------------------------------------------------------- writing


def commit_file(draft: Draft, staged: Path, target: Path, provenance, sync: Sync) -> Manifest:
    """Steps 4 to 8: make the staged file the published one."""
    if (kind := kind_at(target)) not in ("file", None):
        raise RefusedError(
            "a file is to be published where something else stands", where=str(target), found=f"a {kind}"
        )
    entry = digest_file(staged)
    flush_file(staged, sync)
    with locked(target.parent):
        old = standing_manifest(target)
        new = Manifest(
            "file",
            target.name,
            {target.name: entry},
            version=1 if old is None else old.version + 1,
            written_at=now(),
            provenance=provenance,
        )
        _put_sidecar(draft, target, [new, old], sync)
        flush_folder(target.parent, sync)
        replace(staged, target)
        flush_commit(target.parent, sync)
        _put_sidecar(draft, target, [new], sync)
    return new


def standing_manifest(target: Path) -> Manifest | None:
    """The version that stands on disk now, by what its sidecar says; None where there is none it vouches
    for.
    """
    try:
        versions = read_manifests(sidecar_of(target))
    except (FileNotFoundError, DamagedError):
        return None
    if len(versions) == 1:
        return versions[0]
    found = _try_digest(target)  # a writer died between steps 6 and 8
    for version in versions:
        if (version is None and found is None) or (
            version is not None and version.files[target.name] == found
        ):
            return version
    return None


def _put_sidecar(draft: Draft, target: Path, versions: list[Manifest | None], sync: Sync) -> None:
    sidecar = sidecar_of(target)
    staged = draft / sidecar.name
    staged.write_bytes(format_manifests(versions))
    flush_file(staged, sync)
    replace(staged, sidecar)


def _try_digest(path: Path):
    with suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            return digest_file(path)
    return None


# --------------------------------------------------------------------------- reading


def vouched_bytes(target: Path) -> tuple[bytes, Manifest]:
    """Read a published file whole and prove it against its sidecar, while writers may be replacing it.

    Raises
    ------
    DamagedError
        The content is neither of the versions its sidecar lists.
    StorageError
        There is no such artifact.
    """

    manifest, data = _vouched(target, _read_bytes)
    return data, manifest


def match_bytes(target: Path) -> bytes | None:
    """The content of a published file where it is one of the versions its sidecar lists, read once; else
    None.
    """
    return _match(target, _read_bytes)[1]


def vouched_file(target: Path) -> Manifest:
    """Prove a published file against its sidecar without holding it in memory; errors as `vouched_bytes`."""
    manifest, _ = _vouched(target, lambda path: (digest_file(path), None))
    return manifest


def _vouched(target: Path, read: Callable) -> tuple[Manifest, object]:
    """Three readings beside the writers, then one with the writers kept out, which is final."""
    for _ in range(3):
        manifest, content = _match(target, read)
        if manifest is not None:
            return manifest, content
    with locked(target.parent, shared=True):
        manifest, content = _match(target, read)
    if manifest is not None:
        return manifest, content
    raise DamagedError(_finding(target))


def _read_bytes(path: Path) -> tuple[Entry, bytes]:
    data = read_regular(path)
    return digest_bytes(data), data


def _match(target: Path, read: Callable) -> tuple[Manifest | None, object]:
    if kind_at(target) == "link":
        raise DamagedError("a link stands where a file was published", where=str(target))
    try:
        raw = sidecar_of(target).read_bytes()
        entry, content = read(target)
    except (FileNotFoundError, IsADirectoryError):
        return None, None
    for version in parse_manifests(raw, sidecar_of(target)):
        if version is not None and version.files[target.name].sha256 == entry.sha256:
            return version, content
    return None, None


def _finding(target: Path):
    differences = verify_file(target)
    if not differences:  # became whole while we looked
        raise StorageError(
            "the file was being replaced while it was read", where=str(target), next="Read it again."
        )
    difference = differences[0]
    if difference.kind == "missing" and kind_at(sidecar_of(target)) is None:
        raise StorageError("there is no such artifact", where=str(target))
    from cytopipe.errors import Finding

    return Finding(
        what=f"the file is not what was published ({difference.kind})",
        where=str(difference.path),
        expected=difference.expected,
        found=difference.found,
        next="Publish it again, or restore it from a copy.",
    )


def verify_file(target: Path) -> list[Difference]:
    """Differences between a published file and its sidecar; empty where one of the listed versions stands."""
    sidecar = sidecar_of(target)
    try:
        versions = read_manifests(sidecar)
    except FileNotFoundError:
        kind = "missing" if kind_at(target) is None else "manifest"
        return [Difference(kind, target, "a manifest beside it", "none")]
    except (DamagedError, OSError) as error:
        return [Difference("manifest", sidecar, "what was written", str(error))]
    differences = []
    for version in versions:
        if version is None:
            difference = None if kind_at(target) is None else Difference("extra", target, "nothing", "a file")
        elif target.name not in version.files:
            difference = Difference("manifest", sidecar, f"an entry for {target.name}", "none")
        else:
            difference = compare_file(target, version.files[target.name])
        if difference is None:
            return []
        differences.append(difference)
    return differences[:1]
