"""Publishing one file: h5ad, TIFF, JSON, Parquet, PDF, PNG.

The eight steps, in the order in which the code takes them:

1. open a draft and lock it; 2. write the file there under its own name; 3. reopen and validate it;
4. measure size and SHA-256; 5. fsync it; 6. under the lock of the folder, replace the sidecar by one that
lists {new, old}; 7. replace the file: *the commit*; 8. replace the sidecar by one that lists {new}.

Killed between any two of them, the file is the old one or the new one, whole, and its sidecar lists it.

A reader beside writers may read the sidecar of one version and the file of the next. So whatever does not
agree is looked at again with the writers kept out (`journal.settled`), and only that answer counts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cytopipe.errors import DamagedError, Finding, RefusedError, StorageError
from cytopipe.faults import reason_of
from cytopipe.storage.draft import Draft
from cytopipe.storage.filesystem import Sync, flush_commit, flush_file, flush_folder, kind_at, locked, replace
from cytopipe.storage.journal import settled
from cytopipe.storage.manifest import (
    Difference,
    Entry,
    Manifest,
    compare_file,
    digest_bytes,
    digest_file,
    format_manifests,
    now,
    read_manifests,
    read_regular,
)

__all__ = [
    "commit_file",
    "current_manifest",
    "match_bytes",
    "published_manifest",
    "put_sidecar",
    "sidecar_of",
    "verified_bytes",
    "verified_file",
    "verify_file",
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
        old = None
        with suppress(DamagedError):  # what is published now replaces a damaged sidecar
            old = published_manifest(target)
        new = Manifest(
            "file",
            target.name,
            {target.name: entry},
            version=1 if old is None else old.version + 1,
            written_at=now(),
            provenance=provenance,
        )
        put_sidecar(draft, target, [new, old], sync)
        flush_folder(target.parent, sync)
        replace(staged, target)
        flush_commit(target.parent, sync)
        put_sidecar(draft, target, [new], sync)
    return new


def published_manifest(target: Path) -> Manifest | None:
    """The version that is on disk now, as its sidecar says; None where there is no sidecar, or where the file
    is none of the versions that the sidecar of an interrupted publication lists.

    Raises
    ------
    DamagedError
        The sidecar is not what was written, or that of another file.
    """
    try:
        versions = _versions(target)
    except FileNotFoundError:
        return None
    if len(versions) == 1:
        return versions[0]
    found = _try_digest(target)  # a writer is, or died, between steps 6 and 8
    for version in versions:
        if (version is None and found is None) or (
            version is not None and version.files[target.name] == found
        ):
            return version
    return None


def current_manifest(target: Path, sync: Sync = Sync.FULL) -> Manifest | None:
    """As :func:`published_manifest`, beside writers."""
    manifest = published_manifest(target)
    if manifest is None and kind_at(sidecar_of(target)) is not None:
        with settled(target.parent, sync):
            manifest = published_manifest(target)
    return manifest


def _versions(target: Path) -> list[Manifest | None]:
    return read_manifests(sidecar_of(target), "file", target.name)


def put_sidecar(draft: Draft, target: Path, versions: list[Manifest | None], sync: Sync) -> None:
    """Replace a sidecar by one that lists these versions."""
    sidecar = sidecar_of(target)
    staged = draft / sidecar.name
    staged.write_bytes(format_manifests(versions))
    flush_file(staged, sync)
    replace(staged, sidecar)


def _try_digest(path: Path):
    with suppress(OSError):
        return digest_file(path)
    return None


# --------------------------------------------------------------------------- reading


def verified_bytes(target: Path, sync: Sync = Sync.FULL) -> tuple[bytes, Manifest]:
    """Read a published file whole and prove it against its sidecar, while writers may be replacing it.

    Raises
    ------
    DamagedError
        The content is neither of the versions its sidecar lists.
    StorageError
        There is no such artifact.
    """
    manifest, data = _verified(target, _read_bytes, sync)
    return data, manifest


def match_bytes(target: Path) -> bytes | None:
    """The content of a published file where it is one of the versions its sidecar lists, read once; else
    None.
    """
    return _match(target, _read_bytes)[1]


def verified_file(target: Path, sync: Sync = Sync.FULL) -> Manifest:
    """Prove a published file against its sidecar without holding it in memory; errors as `verified_bytes`."""
    return _verified(target, lambda path: (digest_file(path), None), sync)[0]


def _verified(target: Path, read: Callable, sync: Sync) -> tuple[Manifest, object]:
    """Three readings beside the writers, then one with the writers kept out, which is final."""
    for _ in range(3):
        manifest, content = _match(target, read)
        if manifest is not None:
            return manifest, content
    if kind_at(target.parent) is None:
        raise StorageError("there is no such artifact", where=str(target))
    with settled(target.parent, sync):
        manifest, content = _match(target, read)
        if manifest is not None:
            return manifest, content
        differences = _differences(target)
    if not differences:
        raise StorageError("there is no such artifact", where=str(target))
    raise DamagedError(_finding(target, differences[0]))


def _read_bytes(path: Path) -> tuple[Entry, bytes]:
    data = read_regular(path)
    return digest_bytes(data), data


def _match(target: Path, read: Callable) -> tuple[Manifest | None, object]:
    """The listed version that is on disk, and its content; None where they do not agree."""
    try:
        versions = _versions(target)
        entry, content = read(target)
    except (FileNotFoundError, DamagedError):
        return None, None
    for version in versions:
        if version is not None and version.files[target.name].sha256 == entry.sha256:
            return version, content
    return None, None


def _finding(target: Path, difference: Difference) -> Finding:
    if difference.kind == "missing" and kind_at(sidecar_of(target)) is None:
        raise StorageError("there is no such artifact", where=str(target))
    return Finding(
        what=f"the file is not what was published ({difference.kind})",
        where=str(difference.path),
        expected=difference.expected,
        found=difference.found,
        next="Publish it again, or restore it from a copy.",
    )


def verify_file(target: Path, sync: Sync = Sync.FULL) -> list[Difference]:
    """Differences between a published file and its sidecar; empty where one of the listed versions is there.

    A difference that was seen beside writers is looked at again with the writers kept out.
    """
    differences = _differences(target)
    if differences and kind_at(target.parent) is not None:
        with settled(target.parent, sync):
            differences = _differences(target)
    return differences


def _differences(target: Path) -> list[Difference]:
    sidecar = sidecar_of(target)
    try:
        versions = _versions(target)
    except FileNotFoundError:
        kind = "missing" if kind_at(target) is None else "manifest"
        return [Difference(kind, target, "a manifest beside it", "none")]
    except OSError as error:
        return [Difference("manifest", sidecar, "what was written", reason_of(error))]
    differences = []
    for version in versions:
        if version is None:
            difference = None if kind_at(target) is None else Difference("extra", target, "nothing", "a file")
        else:
            difference = compare_file(target, version.files[target.name])
        if difference is None:
            return []
        differences.append(difference)
    return differences[:1]
