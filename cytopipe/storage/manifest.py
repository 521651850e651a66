"""What was published: names, sizes and SHA-256 digests, with who made it and from what.

A :class:`Manifest` is measured from files or bytes and written as JSON with a checksum of its own, so that a
damaged manifest is noticed. The digest of the content depends on names and bytes alone, never on time or
order. `compare_file` and `compare_tree` list every difference between a manifest and the disk.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import DamagedError, InputError, RefusedError
from cytopipe.faults import reason_of
from cytopipe.provenance import counted, sha256_bytes
from cytopipe.storage.filesystem import open_regular
from cytopipe.storage.state import MAX_JSON_BYTES, parse_json

if TYPE_CHECKING:
    from cytopipe.provenance import Provenance

__all__ = [
    "Difference",
    "Entry",
    "Manifest",
    "compare_file",
    "compare_tree",
    "digest_file",
    "digest_of_files",
    "manifest_of_tree",
]

FORMAT = "cytopipe-manifest/1"
_CHUNK_BYTES = 1 << 20
_CHECKSUM = b',\n  "checksum": "'


@dataclass(frozen=True)
class Entry:
    """One file of an artifact.

    Parameters
    ----------
    size_bytes : int
    sha256 : str
        64 hexadecimal digits.
    mtime_ns : int or None
        Time of modification when it was published (sets only): content that changed while this did not is
        damage, not an edit.
    records : mapping of str to str, or None
        For FASTA in a set: id to ``length:digest`` of each sequence, so that an edit can be told record by
        record.
    """

    size_bytes: int
    sha256: str
    mtime_ns: int | None = None
    records: Mapping[str, str] | None = field(default=None, compare=False)

    def ids(self) -> list[str]:
        """The records of a FASTA file, in their order."""
        return list(self.records or ())

    @functools.cached_property
    def text(self) -> str:
        """The entry as it stands in a manifest; kept, since most entries of a set outlive many versions of
        it.
        """
        found: dict[str, object] = {"size_bytes": self.size_bytes, "sha256": self.sha256}
        if self.mtime_ns is not None:
            found["mtime_ns"] = self.mtime_ns
        if self.records is not None:
            found["records"] = dict(self.records)
        return json.dumps(found, ensure_ascii=False)


@dataclass(frozen=True)
class Manifest:
    """One published version of an artifact.

    Parameters
    ----------
    kind : {'file', 'directory', 'set'}
    name : str
        File name, directory name, or name of the set.
    files : mapping of str to Entry
        By path relative to the artifact, with ``/``.
    version : int
        1 for the first publication, one more for each that followed.
    written_at : str
        UTC time, ISO 8601.
    provenance : mapping or None
        As :meth:`cytopipe.provenance.Provenance.as_json`.
    owns : tuple of str
        For a set: the patterns of the file names it owns.
    """

    kind: str
    name: str
    files: Mapping[str, Entry]
    version: int = 1
    written_at: str = ""
    provenance: Mapping[str, object] | None = None
    owns: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the content: of the file, or of the sorted list of names and digests."""
        if self.kind == "file":
            return next(iter(self.files.values())).sha256
        total = hashlib.sha256()
        for name in sorted(self.files):
            total.update(f"{self.files[name].sha256}  {name}\n".encode())
        return total.hexdigest()

    @property
    def size_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files.values())


@dataclass(frozen=True)
class Difference:
    """One way in which the disk differs from its manifest.

    Parameters
    ----------
    kind : {'missing', 'extra', 'changed', 'truncated', 'symlink', 'not a file', 'unreadable', 'manifest',
            'unfinished'}
    path : Path
    expected, found : str
        Sizes and digests, or what stands there instead.
    """

    kind: str
    path: Path
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.kind}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.found:
            text += f"; found {self.found}"
        return text


# --------------------------------------------------------------------------- measuring


def digest_file(path: Path) -> Entry:
    """Size and SHA-256 of one regular file, links not followed."""
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
            size += len(piece)
    return Entry(size, counted(digest.hexdigest()))


def read_regular(path: Path) -> bytes:
    """The content of one regular file, links not followed."""
    with open_regular(path) as stream:
        return stream.readall()


def digest_of_files(contents: Mapping[str, bytes]) -> str:
    """The digest that the manifest of a set of these files has."""
    return Manifest("set", "", {name: digest_bytes(data) for name, data in contents.items()}).sha256


def digest_bytes(data: bytes) -> Entry:
    """Size and SHA-256 of bytes."""
    return Entry(len(data), sha256_bytes(data))


def walk_files(root: Path) -> Iterator[tuple[str, os.DirEntry]]:
    """Every entry below `root` that is not a directory, sorted, by relative path with ``/``; links not
    followed.
    """
    pending = [("", root)]
    while pending:
        prefix, folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((f"{prefix}{entry.name}/", Path(entry.path)))
                else:
                    yield f"{prefix}{entry.name}", entry


def manifest_of_tree(root: Path, name: str, **fields) -> Manifest:
    """Measure a directory we wrote.

    Raises
    ------
    RefusedError
        It holds a symbolic link, a socket, a pipe or a device.
    """
    files = {}
    for relative, entry in walk_files(root):
        if not entry.is_file(follow_symlinks=False):
            raise RefusedError("an artifact may hold only files and directories", where=f"{name}/{relative}")
        files[relative] = digest_file(Path(entry.path))
    return Manifest("directory", name, dict(sorted(files.items())), **fields)


# --------------------------------------------------------------------------- comparing


def compare_file(path: Path, entry: Entry) -> Difference | None:
    """The one difference between a file and its entry, or None."""
    expected = f"{entry.size_bytes} bytes, sha256 {entry.sha256}"
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return Difference("symlink", path, expected, f"a link to {path.readlink()}")
        if not stat.S_ISREG(status.st_mode):
            return Difference("not a file", path, expected, "a directory or special file")
        if status.st_size < entry.size_bytes:
            return Difference("truncated", path, expected, f"{status.st_size} bytes")
        found = digest_file(path)
    except FileNotFoundError:
        return Difference("missing", path, expected, "nothing")
    except OSError as error:
        return Difference("unreadable", path, expected, reason_of(error))
    if found.sha256 == entry.sha256:
        return None
    return Difference("changed", path, expected, f"{found.size_bytes} bytes, sha256 {found.sha256}")


def compare_tree(root: Path, manifest: Manifest) -> list[Difference]:
    """Every difference between a directory and its manifest: content, absence, and what should not be
    there.
    """
    differences = [
        difference
        for name, entry in manifest.files.items()
        if (difference := compare_file(root / name, entry)) is not None
    ]
    try:
        for relative, entry in walk_files(root):
            if relative not in manifest.files:
                link = entry.is_symlink()
                found = "a link" if link else "a file that was not published"
                differences.append(
                    Difference("symlink" if link else "extra", root / relative, "nothing", found)
                )
    except OSError as error:
        differences.append(Difference("unreadable", root, "a directory", reason_of(error)))
    return differences


# --------------------------------------------------------------------------- on disk


def format_manifests(versions: Iterable[Manifest | None]) -> bytes:
    """One JSON document for the versions that may stand on disk, newest first; None stands for `nothing
    there`.

    A publication of a single file lists {new, old} just before the file is replaced and {new} after, so that
    a reader can verify either. The last line is a SHA-256 of all before it.
    """
    versions = tuple(versions)
    first = next(version for version in versions if version is not None)
    body = ",\n".join("null" if version is None else _format_version(version) for version in versions)
    head = {"format": FORMAT, "kind": first.kind, "name": first.name}
    text = json.dumps(head, indent=2, ensure_ascii=False)[:-2] + ',\n  "versions": [\n' + body + "\n  ]"
    raw = text.encode()
    return raw + _checksum(raw)


def _checksum(body: bytes) -> bytes:
    """The end of the document: a last key with the SHA-256 of all that stands before it."""
    return _CHECKSUM + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def _format_version(manifest: Manifest) -> str:
    """Header on one line and one line per file: a person can read it, and a diff shows which files
    changed.
    """
    head = {
        "version": manifest.version,
        "written_at": manifest.written_at,
        "sha256": manifest.sha256,
        "size_bytes": manifest.size_bytes,
        "owns": list(manifest.owns),
        "provenance": manifest.provenance,
    }
    rows = ",\n".join(
        f"      {json.dumps(name, ensure_ascii=False)}: {entry.text}"
        for name, entry in sorted(manifest.files.items())
    )
    lines = ",\n".join(
        f"    {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()
    )
    return "   {\n" + lines + ',\n    "files": {\n' + rows + "\n    }}"


def read_manifests(path: Path, kind: str | None = None, name: str = "") -> list[Manifest | None]:
    """Read the document written by :func:`format_manifests`.

    Parameters
    ----------
    path : Path
    kind, name : str, optional
        What it must be the manifest of.

    Raises
    ------
    FileNotFoundError
        There is none.
    DamagedError
        It is not what was written, or of another artifact, or no file at all.
    """
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > MAX_JSON_BYTES:
            raise DamagedError("the manifest is not what was written", where=str(path), found="a huge file")
        return parse_manifests(stream.readall(), path, kind, name)


def parse_manifests(raw: bytes, path: Path, kind: str | None = None, name: str = "") -> list[Manifest | None]:
    """Parse a manifest document; parameters and errors as :func:`read_manifests`."""
    body, mark, _ = raw.rpartition(_CHECKSUM)
    if not mark or raw != body + _checksum(body):
        raise DamagedError(
            "the manifest is not what was written",
            where=str(path),
            next="Publish the artifact again, or restore the manifest.",
        )
    try:
        document = parse_json(raw, where=str(path))
        if document["format"] != FORMAT:
            raise DamagedError(
                "the manifest has a format this version does not read",
                where=str(path),
                expected=FORMAT,
                found=str(document["format"]),
            )
        versions = [
            None if version is None else _parse_version(document["kind"], document["name"], version)
            for version in document["versions"]
        ]
    except (InputError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"the manifest cannot be read: {error}", where=str(path)) from None
    if kind is not None and not all(_is_of(version, kind, name) for version in versions):
        raise DamagedError(
            "the manifest is that of something else",
            where=str(path),
            expected=f"the manifest of the {kind} {name!r}",
            found=f"that of the {document['kind']} {document['name']!r}",
            next="Put it back to its own artifact, or publish this one again.",
        )
    return versions


def _is_of(version: Manifest | None, kind: str, name: str) -> bool:
    if version is None:  # 'nothing there', which only the sidecar of a single file says
        return kind == "file"
    return (version.kind, version.name) == (kind, name) and (kind != "file" or set(version.files) == {name})


def _parse_version(kind: str, name: str, version: Mapping) -> Manifest:
    files = {
        file: Entry(entry["size_bytes"], entry["sha256"], entry.get("mtime_ns"), entry.get("records"))
        for file, entry in version["files"].items()
    }
    return Manifest(
        kind,
        name,
        files,
        version=version["version"],
        written_at=version["written_at"],
        provenance=version["provenance"],
        owns=tuple(version["owns"]),
    )


def now() -> str:
    """UTC time to the millisecond, ISO 8601."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


def provenance_json(provenance: Provenance | Mapping[str, object] | None) -> Mapping[str, object] | None:
    """A provenance as it stands in a manifest."""
    if provenance is None or isinstance(provenance, Mapping):
        return provenance
    return provenance.as_json()
