"""Publishing a directory (an OME-Zarr): a version directory, and a link that names the current one.

    plate.zarr -> .plate.zarr.versions/20260101T120000.000000Z-1f2e3d4c
    .plate.zarr.versions/20260101T120000.000000Z-1f2e3d4c/                 the payload, nothing else
    .plate.zarr.versions/20260101T120000.000000Z-1f2e3d4c.manifest.json    what it must hold
    .plate.zarr.versions/20260101T110000.000000Z-9a8b7c6d.retired          since when nobody should need it

Replacing the link is the commit. A version never changes once its link was made. A reader resolves the link
once and reads one version to the end. A version is removed by age after it was retired, never because a newer
one exists.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cytopipe.errors import DamagedError, Finding, RefusedError, StorageError
from cytopipe.faults import reason_of
from cytopipe.storage.draft import Draft
from cytopipe.storage.filesystem import (
    Sync,
    flush_commit,
    flush_file,
    flush_folder,
    flush_tree,
    kind_at,
    locked,
    make_folder,
    replace,
)
from cytopipe.storage.manifest import (
    Difference,
    Manifest,
    compare_tree,
    format_manifests,
    manifest_of_tree,
    now,
    read_manifests,
)

__all__ = [
    "commit_tree",
    "current_version",
    "resolve_tree",
    "retire",
    "tree_manifest",
    "verified_tree",
    "verify_tree",
    "versions_of",
]


def versions_of(target: Path) -> Path:
    """Where the versions of a published directory stand."""
    return target.with_name(f".{target.name}.versions")


def manifest_path(version: Path) -> Path:
    """The manifest of one version: beside it, so that the payload holds nothing foreign to its format."""
    return version.with_name(f"{version.name}.manifest.json")


def retired_path(version: Path) -> Path:
    """The mark whose time says since when a version is retired."""
    return version.with_name(f"{version.name}.retired")


# --------------------------------------------------------------------------- writing


def commit_tree(draft: Draft, staged: Path, target: Path, provenance, sync: Sync) -> Manifest:
    """Measure, flush, move the version into place, and replace the link."""
    manifest = manifest_of_tree(staged, target.name, provenance=provenance, written_at=now())
    flush_tree(staged, sync)
    versions = versions_of(target)
    version = versions / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"
    with locked(target.parent):
        old = current_version(target)
        if old is not None:
            with suppress(DamagedError):
                before = tree_manifest(old)
                manifest = Manifest(**{**vars(manifest), "version": before.version + 1})
        make_folder(versions, sync)
        note, link = draft / "manifest.json", draft / "link"
        note.write_bytes(format_manifests([manifest]))
        link.symlink_to(Path(versions.name, version.name))
        flush_file(note, sync)
        replace(note, manifest_path(version))
        replace(staged, version)
        flush_folder(versions, sync)
        replace(link, target)
        flush_commit(target.parent, sync)
        if old is not None:
            retire(old)
    return manifest


def retire(version: Path) -> None:
    """Note that a version is no longer current; its age counts from now."""
    with suppress(OSError):  # an unmarked version is marked by the next sweep
        retired_path(version).touch(exist_ok=True)


def current_version(target: Path) -> Path | None:
    """The version a link of ours names; refuse to replace anything that is not one."""
    kind = kind_at(target)
    if kind is None:
        return None
    if kind == "link":
        named = target.readlink()
        if len(named.parts) == 2 and named.parts[0] == versions_of(target).name:
            return target.parent / named
        raise RefusedError(
            "a link that is not ours stands here", where=str(target), found=f"a link to {named}"
        )
    raise RefusedError(
        "a directory is to be published where something else stands",
        where=str(target),
        found=f"a {kind}",
        next="Move it away first.",
    )


# --------------------------------------------------------------------------- reading


def resolve_tree(target: Path) -> Path:
    """The version that is current now. Resolve once and keep the answer: it will not change under a reader.

    Raises
    ------
    StorageError
        Nothing is published there.
    RefusedError
        What stands there is not a link of ours.
    """
    version = current_version(target)
    if version is None:
        raise StorageError("there is no such artifact", where=str(target))
    if kind_at(version) != "directory":
        raise DamagedError("the current version is not there", where=str(version), expected="a directory")
    return version


def tree_manifest(version: Path) -> Manifest:
    """The manifest of one version."""
    name = version.parent.name[1 : -len(".versions")]
    try:
        return read_manifests(manifest_path(version), "directory", name)[0]
    except FileNotFoundError:
        raise DamagedError("the manifest is not there", where=str(manifest_path(version))) from None


def verified_tree(target: Path) -> tuple[Path, Manifest]:
    """Resolve, and prove every file against the manifest.

    Raises
    ------
    DamagedError
        With one finding per difference (at most 50).
    StorageError
        Nothing is published there.
    """
    version, manifest, differences = _examined(target)
    if differences:
        raise DamagedError(
            Finding(
                what=f"the directory is not what was published ({difference.kind})",
                where=str(difference.path),
                expected=difference.expected,
                found=difference.found,
            )
            for difference in differences[:50]
        )
    return version, manifest


def verify_tree(target: Path) -> list[Difference]:
    """Differences between the current version and its manifest; none where all versions are retired and no
    link is left, as after a removal.
    """
    try:
        return _examined(target)[2]
    except OSError as error:
        if kind_at(target) is None and _is_retired(target):
            return []
        kind = "manifest" if "manifest" in str(error) else "missing"
        return [Difference(kind, target, "a published directory", reason_of(error))]


def _is_retired(target: Path) -> bool:
    versions = versions_of(target)
    present = list(versions.iterdir()) if kind_at(versions) == "directory" else []
    return all(kind_at(retired_path(one)) is not None for one in present if kind_at(one) == "directory")


def _examined(target: Path) -> tuple[Path, Manifest, list[Difference]]:
    """The version that is current, its manifest, and how they differ.

    Beside writers the link may come, or move on and its version be swept, while we look. What is wrong counts
    only if the same version is still the current one with the writers kept out; else we look again.
    """
    while True:
        named, fault = _named(target), None
        try:
            version = resolve_tree(target)
            manifest = tree_manifest(version)
            differences = compare_tree(version, manifest)
            if not differences:
                return version, manifest, []
        except StorageError as error:
            fault = error
        if kind_at(target.parent) is not None:
            with locked(target.parent, shared=True):
                if _named(target) != named:
                    continue
        if fault is not None:
            raise fault
        return version, manifest, differences


def _named(target: Path) -> Path | None:
    """What the link names, ours or not; None where there is no link."""
    return target.readlink() if kind_at(target) == "link" else None
