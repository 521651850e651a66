"""The same commit on object stores (S3 and what speaks its language): versions under a prefix, and one
pointer.

    <name>/.versions/<utc>-<id>/<part>          the parts, each with its SHA-256 checked by the server
    <name>/.versions/<utc>-<id>.manifest.json   what the version must hold
    <name>/.current.json                        which version is current: replacing it is the commit

The pointer is replaced by a conditional PUT (If-Match, If-None-Match), so that of two writers one is told.
What must hold: a reader gets one whole version, proved; an answer that was lost is never taken for a failure
or a success: the pointer is read again; versions are removed by age.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.errors import BusyError, DamagedError, Finding, MissingToolError, StorageError
from cytopipe.storage.janitor import Swept
from cytopipe.storage.manifest import (
    Difference,
    Manifest,
    digest_bytes,
    digest_file,
    format_manifests,
    now,
    parse_manifests,
    provenance_json,
)
from cytopipe.storage.names import check_file_name
from cytopipe.storage.state import format_json, parse_json

if TYPE_CHECKING:
    from cytopipe.provenance import Provenance

__all__ = ["ObjectStore", "ObjectVersion", "connect"]

ATTEMPTS = 30
HISTORY = 1000
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "404", "NotFound"}


@dataclass(frozen=True)
class ObjectVersion:
    """One version of an artifact in an object store.

    Parameters
    ----------
    name : str
    version : str
        ``<utc>-<id>``.
    prefix : str
        Where its parts are, with a final ``/``.
    manifest : Manifest
    """

    name: str
    version: str
    prefix: str
    manifest: Manifest


def connect(url: str, **settings: Any) -> ObjectStore:
    """Open the store at ``s3://bucket/prefix``.

    Parameters
    ----------
    url : str
    **settings
        Of ``boto3.client``: ``endpoint_url``, ``region_name`` ... Credentials come from where AWS tools find
        them.

    Raises
    ------
    MissingToolError
        boto3 is not installed.
    """
    try:
        import boto3
    except ImportError:
        raise MissingToolError("boto3 is not installed", next="pip install 'cytopipe[s3]'") from None
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return ObjectStore(boto3.client("s3", **settings), bucket, prefix)


class ObjectStore:
    """Artifacts published whole below one prefix of a bucket.

    Parameters
    ----------
    client
        A ``boto3.client('s3')``, or what has its methods.
    bucket, prefix : str
    """

    def __init__(self, client: Any, bucket: str, prefix: str = "") -> None:
        self.client, self.bucket = client, bucket
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def __repr__(self) -> str:
        return f"ObjectStore('s3://{self.bucket}/{self.prefix}')"

    # ----------------------------------------------------------------- publish

    def publish(
        self, name: str, parts: Mapping[str, bytes | Path], *, provenance: Provenance | None = None
    ) -> ObjectVersion:
        """Publish the parts as the new version of `name`; one part of the same name for a single file.

        Parameters
        ----------
        name : str
            Path below the prefix.
        parts : mapping of relative path to bytes or file
        provenance : Provenance, optional

        Raises
        ------
        StorageError
            The store cannot be reached or refuses; the version before stands, or the message says that it is
            not known which.
        BusyError
            Other writers replaced the pointer again and again.
        """
        self._check(name)
        for part in parts:
            self._check(part)
        version = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"
        prefix = f"{name}/.versions/{version}/"
        entries = {}
        for part, content in sorted(parts.items()):
            entries[part] = digest_bytes(content) if isinstance(content, bytes) else digest_file(content)
            self._put(prefix + part, content, sha256=entries[part].sha256)
        manifest = Manifest(
            "directory", name, entries, written_at=now(), provenance=provenance_json(provenance)
        )
        published = self._commit(name, version, manifest)
        return ObjectVersion(name, version, self.prefix + prefix, published)

    def _commit(self, name: str, version: str, manifest: Manifest) -> Manifest:
        """Point at the new version, on top of whatever is current when it succeeds."""
        for _ in range(ATTEMPTS):
            document, tag = self._pointer(name)
            manifest = Manifest(**{**vars(manifest), "version": document.get("number", 0) + 1})
            self._put(f"{name}/.versions/{version}.manifest.json", format_manifests([manifest]))
            history = [*document.get("retired", ())][-HISTORY:]
            if document:
                history.append({"version": document["version"], "at": now()})
            pointer = {"version": version, "number": manifest.version, "retired": history}
            if self._put_if(f"{name}/.current.json", format_json(pointer), tag, pointer):
                return manifest
        raise BusyError("other writers keep replacing it", where=self._where(name), next="Try again.")

    def _put_if(self, key: str, data: bytes, tag: str | None, ours: Mapping) -> bool:
        """A conditional PUT; True where `data` stands there now, False where somebody else was first."""
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        error: StorageError | None = None
        for _ in range(3):
            try:
                self._put(key, data, **condition)
                return True
            except _Conflict:
                return self._stands(key, ours)  # our own first answer may have been lost
            except StorageError as found:
                error = found
            try:
                if self._stands(key, ours):
                    return True
            except StorageError:
                break
        raise StorageError(
            f"whether the new version was published is unknown: {error}",
            where=self._where(key),
            next="Read it again before publishing once more.",
        )

    def _stands(self, key: str, ours: Mapping) -> bool:
        data, _ = self._get(key, absent_ok=True)
        return data is not None and parse_json(data, where=self._where(key)) == ours

    def claim(self, folder: str, data: bytes, *, prefix: str = "", suffix: str = ".json") -> int:
        """Put `data` under the next free number in `folder`; put-if-absent, so that none is given twice."""
        self._check(folder)
        start = f"{folder}/{prefix}"
        taken = [key[len(self.prefix) + len(start) : -len(suffix) or None] for key, _, _ in self._list(start)]
        number = 1 + max((int(text) for text in taken if text.isdigit()), default=0)
        mark = {"claim": uuid.uuid4().hex}
        while True:
            key = f"{start}{number:06d}{suffix}"
            try:
                self._put(key, data, IfNoneMatch="*", Metadata=mark)
                return number
            except _Conflict:
                if self._metadata(key) == mark:  # our first answer was lost, and the repetition met ourselves
                    return number
            number += 1

    # ----------------------------------------------------------------- read

    def resolve(self, name: str) -> ObjectVersion:
        """The version that is current now; it does not change under a reader."""
        document, tag = self._pointer(name)
        if tag is None:
            raise StorageError("there is no such artifact", where=self._where(name))
        version = document["version"]
        key = f"{name}/.versions/{version}.manifest.json"
        data, _ = self._get(key, absent_ok=True)
        if data is None:
            raise DamagedError("the manifest is not there", where=self._where(key))
        manifest = parse_manifests(data, Path(key))[0]
        return ObjectVersion(name, version, f"{self.prefix}{name}/.versions/{version}/", manifest)

    def read(self, name: str) -> dict[str, bytes]:
        """Every part of the current version, proved against its manifest.

        Raises
        ------
        StorageError
            There is none, or the store cannot be reached.
        DamagedError
            A part is missing or differs.
        """
        version = self.resolve(name)
        parts, differences = self._compare(version)
        if differences:
            raise DamagedError(
                Finding(
                    what=f"the artifact is not what was published ({difference.kind})",
                    where=str(difference.path),
                    expected=difference.expected,
                    found=difference.found,
                )
                for difference in differences
            )
        return parts

    def verify(self, name: str) -> list[Difference]:
        """Every difference between the current version and its manifest."""
        try:
            return self._compare(self.resolve(name))[1]
        except DamagedError as error:
            return [Difference("manifest", Path(name), "what was written", str(error))]

    def _compare(self, version: ObjectVersion) -> tuple[dict[str, bytes], list[Difference]]:
        parts, differences = {}, []
        for part, entry in version.manifest.files.items():
            path = Path(version.name, ".versions", version.version, part)
            expected = f"{entry.size_bytes} bytes, sha256 {entry.sha256}"
            data, _ = self._get(path.as_posix(), absent_ok=True)
            if data is None:
                differences.append(Difference("missing", path, expected, "nothing"))
            elif digest_bytes(data).sha256 != entry.sha256:
                kind = "truncated" if len(data) < entry.size_bytes else "changed"
                differences.append(Difference(kind, path, expected, f"{len(data)} bytes"))
            else:
                parts[part] = data
        for key, _, _ in self._list(version.prefix.removeprefix(self.prefix)):
            part = key.removeprefix(version.prefix)
            if part not in version.manifest.files:
                differences.append(Difference("extra", Path(key), "nothing", "an object"))
        return parts, differences

    # ----------------------------------------------------------------- look after

    def sweep(self, name: str, older_than_s: float) -> Swept:
        """Remove versions retired, or begun and never finished, longer ago than `older_than_s` seconds."""
        document, _ = self._pointer(name)
        retired = {
            entry["version"]: datetime.fromisoformat(entry["at"]) for entry in document.get("retired", ())
        }
        versions: dict[str, list[tuple[str, int, datetime]]] = {}
        start = f"{self.prefix}{name}/.versions/"
        for key, size, modified in self._list(f"{name}/.versions/"):
            version = key.removeprefix(start).split("/")[0].removesuffix(".manifest.json")
            versions.setdefault(version, []).append((key, size, modified))
        swept = Swept()
        for version, objects in sorted(versions.items()):
            if version == document.get("version"):
                continue
            since = retired.get(version, max(modified for _, _, modified in objects))
            if (datetime.now(UTC) - since).total_seconds() < older_than_s:
                swept += Swept(kept=1)
                continue
            for key, size, _ in objects:
                self._call(self.client.delete_object, Key=key)
                swept += Swept(size_bytes=size)
            swept += Swept(versions=1)
        return swept

    # ----------------------------------------------------------------- requests

    def _pointer(self, name: str) -> tuple[dict, str | None]:
        """The pointer's document and entity tag; ({}, None) where there is none."""
        self._check(name)
        key = f"{name}/.current.json"
        data, tag = self._get(key, absent_ok=True)
        return ({}, None) if data is None else (parse_json(data, where=self._where(key)), tag)

    def _get(self, key: str, *, absent_ok: bool = False) -> tuple[bytes | None, str | None]:
        try:
            answer = self._call(self.client.get_object, Key=self.prefix + key)
            return self._guarded(answer["Body"].read), answer["ETag"]
        except _Absent:
            if absent_ok:
                return None, None
            raise

    def _put(self, key: str, content: bytes | Path, *, sha256: str | None = None, **more: Any) -> None:
        if isinstance(content, bytes):
            digest = bytes.fromhex(sha256) if sha256 else hashlib.sha256(content).digest()
            self._send(key, content, digest, more)
        else:
            with content.open("rb") as stream:
                self._send(key, stream, bytes.fromhex(sha256), more)

    def _send(self, key: str, body: Any, digest: bytes, more: Mapping[str, Any]) -> None:
        checksum = base64.b64encode(digest).decode()
        self._call(self.client.put_object, Key=self.prefix + key, Body=body, ChecksumSHA256=checksum, **more)

    def _metadata(self, key: str) -> Mapping[str, str]:
        return self._call(self.client.head_object, Key=self.prefix + key).get("Metadata", {})

    def _list(self, start: str) -> Iterator[tuple[str, int, datetime]]:
        more: dict[str, str] = {}
        while True:
            page = self._call(self.client.list_objects_v2, Prefix=self.prefix + start, **more)
            for entry in page.get("Contents", ()):
                yield entry["Key"], entry["Size"], entry["LastModified"]
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _call(self, method: Callable, **arguments: Any) -> Any:
        return self._guarded(lambda: method(Bucket=self.bucket, **arguments), arguments.get("Key", ""))

    def _guarded(self, request: Callable, key: str = "") -> Any:
        """Make a request, and tell botocore's errors as ours."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        where = f"s3://{self.bucket}/{key}"
        try:
            return request()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            message = error.response.get("Error", {}).get("Message", str(error))
            kind = _Conflict if code in _CONFLICT else _Absent if code in _ABSENT else StorageError
            raise kind(f"the object store refused: {message}", where=where) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            raise StorageError(f"the object store cannot be reached: {error}", where=where) from error

    def _check(self, path: str) -> None:
        for part in path.split("/"):
            check_file_name(part)

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"


class _Conflict(StorageError):
    """The condition of a request did not hold."""


class _Absent(StorageError):
    """There is no such object."""
