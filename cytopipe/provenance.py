"""Who made an artifact, from what, with which parameters and versions.

A `Provenance` is written into the manifest beside every artifact and into the metadata of its
materialization, so either can be lost and the other still tells the whole story. Inputs are named by
content (SHA-256) first, by path and asset second: a path may move, the digest may not.
What depends on the moment (time, command, run) is kept apart from what decides the bytes: `recipe()`
is the same for two runs that must give the same artifact.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cytopipe import __version__
from cytopipe.errors import Finding, InputError

__all__ = [
    "Input",
    "Provenance",
    "counting_digests",
    "digest_of",
    "library_versions",
    "sha256_bytes",
    "sha256_file",
]

_CHUNK_BYTES = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, as 64 lower-case hexadecimal digits."""
    return counted(hashlib.sha256(data).hexdigest())


def sha256_file(path: str | Path) -> str:
    """SHA-256 of a regular file's content, read in pieces of 1 MiB, as 64 lower-case hexadecimal digits.

    Raises
    ------
    InputError
        A directory, a pipe or a device, which may never end.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise InputError("is not a file", where=str(path), found="a directory, pipe or device")
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            digest.update(piece)
    return counted(digest.hexdigest())


_counters: list[Counter[str]] = []


@contextmanager
def counting_digests() -> Iterator[Counter[str]]:
    """Count how often each content is digested by this process meanwhile, by its SHA-256.

    A test asserts with it that no artifact is digested twice by the command that makes it.
    """
    counter: Counter[str] = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def counted(sha256: str) -> str:
    """Note that a content was digested, for whoever is counting."""
    for counter in _counters:
        counter[sha256] += 1
    return sha256


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, allow_nan=False).encode())


@functools.cache
def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of the distributions `names`; those not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Input:
    """One thing an artifact was made from.

    Parameters
    ----------
    path : str
        Where it was read, relative to the project where there is one.
    sha256 : str
        Digest of its content (for trees and sets: of their manifest).
    asset, partition : str, optional
        The asset and partition it was, when it was one.
    storage_id : int, optional
        Dagster's id of the materialization that was read. Recorded by us, since Dagster's own
        pointer names the latest partition of the asset rather than the one that was read.
    run_id : str, optional
        The Dagster run that made it.
    """

    path: str
    sha256: str
    asset: str = ""
    partition: str = ""
    storage_id: int | None = None
    run_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How one artifact came to be.

    Parameters
    ----------
    what : str
        The artifact in the field's words: ``refined clusters of russula``.
    parameters : mapping of str to JSON value
        Every parameter that decides the bytes.
    inputs : tuple of Input
        What it was made from.
    code_version : str, optional
        Version of the algorithm, raised when its result changes.
    asset, partition, run_id : str, optional
        The Dagster asset, partition and run, when one made it.
    command : str, optional
        The command line, when one made it.
    libraries : mapping of str to str, optional
        Versions of the libraries that decide the bytes.
    facts : mapping of str to number, optional
        What there was to count in it: ``n_clusters``.
    made_at : str
        UTC time, ISO 8601, to the second.
    """

    what: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()
    code_version: str = ""
    asset: str = ""
    partition: str = ""
    run_id: str = ""
    command: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, int | float] = field(default_factory=dict)
    made_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    cytopipe_version: str = __version__
    python: str = field(default_factory=platform.python_version)
    platform: str = field(default_factory=lambda: f"{sys.platform}-{platform.machine()}")

    def as_json(self) -> dict[str, object]:
        """The whole of it as JSON values, keys in the order of the fields."""
        return asdict(self) | {
            "parameters": dict(self.parameters),
            "inputs": [asdict(one) for one in self.inputs],
            "libraries": dict(self.libraries),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Provenance:
        """Read back what :meth:`as_json` wrote.

        Raises
        ------
        InputError
            If fields are unknown or of a wrong type; all of them are listed.
        """
        findings = list(_type_findings(document))
        if findings:
            raise InputError(findings)
        inputs = tuple(Input(**one) for one in document.get("inputs", ()))  # type: ignore[attr-defined]
        return cls(**{**document, "inputs": inputs})  # type: ignore[arg-type]

    def recipe(self) -> str:
        """SHA-256 over all that decides the bytes: equal recipes must give equal artifacts."""
        decisive = {
            "what": self.what,
            "parameters": dict(self.parameters),
            "inputs": sorted(one.sha256 for one in self.inputs),
            "code_version": self.code_version,
        }
        return sha256_bytes(json.dumps(decisive, sort_keys=True, allow_nan=False).encode())


_FIELD_TYPES: dict[str, type] = {
    "parameters": Mapping,
    "inputs": list,
    "libraries": Mapping,
    "facts": Mapping,
}
_INPUT_TYPES: dict[str, tuple[type, ...]] = {"storage_id": (int, type(None))}


def _type_findings(document: Mapping[str, object]) -> Iterable[Finding]:
    known = Provenance.__dataclass_fields__
    for name, value in document.items():
        if name not in known:
            yield Finding(what=f"unknown field '{name}'", where="provenance", expected=", ".join(known))
        elif not isinstance(value, _FIELD_TYPES.get(name, str)):
            yield _wrong_type(f"provenance.{name}", _FIELD_TYPES.get(name, str).__name__, value)
    if "what" not in document:
        yield Finding(what="field 'what' is missing", where="provenance")
    entries = document.get("inputs", [])
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"provenance.inputs[{number}]"
        if not isinstance(entry, Mapping):
            yield _wrong_type(where, "an object", entry)
            continue
        for name in {"path", "sha256"} - set(entry):
            yield Finding(what=f"field '{name}' is missing", where=where)
        for name, value in entry.items():
            if name not in Input.__dataclass_fields__:
                yield Finding(what=f"unknown field '{name}'", where=where)
            elif not isinstance(value, _INPUT_TYPES.get(name, (str,))):
                yield _wrong_type(f"{where}.{name}", "str", value)


def _wrong_type(where: str, expected: str, value: object) -> Finding:
    return Finding(what="wrong type", where=where, expected=expected, found=type(value).__name__)
