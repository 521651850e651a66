"""A run folder: checkpoints that share what is equal, so that a history takes a fraction of its files.

``shared/<xx>/<sha256>.gz`` holds every array and every longer text once; ``checkpoints/<id>.json`` says of
which a checkpoint is made. Cells whose clusters follow from those of another checkpoint, as after a revision
or of a subset, are kept as a map from row to row. Nothing is lost: `RunFolder.get` gives the state that was
put, equal in every field, and `RunFolder.export` the h5ad of it, equal in every byte. No checkpoint needs
another one: any can be deleted.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cytopipe.errors import DamagedError, Finding, InputError, StorageError
from cytopipe.heatmap.artifact import canonical_json, save_heatmap_state
from cytopipe.heatmap.state import UUID, Ancestor, HeatmapState

__all__ = ["RunFolder"]

_FORMAT = {"format": "cytopipe run folder", "version": 1}
_INLINE = 512  # bytes: a file of its own would take more
_MAX_TEXT = 64 << 20
_DTYPES = frozenset(
    {"<f4", "<f8", "<i2", "<i4", "<i8", "<u1", "|b1", "|i1", "|u1", "<u2", "<u4", "<u8", "<f2"}
)


class RunFolder:
    """Checkpoints in one folder.

    Parameters
    ----------
    root : Path or str
        Created when the first one is put.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    # ------------------------------------------------------------------ putting and getting

    def put(self, state: HeatmapState) -> Path:
        """Keep a checkpoint; one of the same identifier is replaced.

        Returns
        -------
        Path
            Of its document.
        """
        cells = self._through(state)
        fields: dict[str, Any] = {}
        for one in dataclasses.fields(state):
            value = getattr(state, one.name)
            known = cells if one.name == "cell_cluster" else None
            fields[one.name] = known or _encoded(value, self._keep)
        text = canonical_json(fields)
        document = {**_FORMAT, "sha256": hashlib.sha256(text.encode()).hexdigest(), "fields": fields}
        path = self._document(state.id)
        _write(path, (canonical_json(document) + "\n").encode())
        return path

    def get(self, id: str) -> HeatmapState:
        """The checkpoint of an identifier.

        Raises
        ------
        StorageError
            There is none.
        DamagedError
            A part is missing, or is not what was kept.
        InputError
            Its document is no such document.
        """
        fields = self._fields(id)
        where = str(self._document(id))
        try:
            values = {name: _decoded(value, self._kept) for name, value in fields.items()}
            values["ancestors"] = tuple(
                Ancestor(**{**one, "parents": tuple(one["parents"])}) for one in values["ancestors"]
            )
            for name in ("names", "colours"):
                values[name] = {int(key): value for key, value in values[name].items()}
            return HeatmapState(**values)
        except InputError as error:
            raise InputError(
                Finding(what=one.what, where=f"{where}: {one.where}", expected=one.expected, found=one.found)
                for one in error.findings
            ) from None
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"says what cannot be: {error!r}"[:300], where=where) from None

    def export(self, id: str, path: Path | str) -> Path:
        """Save a checkpoint as a file that needs no other: h5ad, or Zarr."""
        return save_heatmap_state(self.get(id), path)

    def ids(self) -> tuple[str, ...]:
        """Identifiers of the checkpoints that are kept, sorted."""
        folder = self.root / "checkpoints"
        names = (path.stem for path in folder.glob("*.json")) if folder.is_dir() else ()
        return tuple(sorted(name for name in names if UUID.fullmatch(name)))

    def delete(self, id: str) -> None:
        """Take a checkpoint away; what only it had goes with `sweep`."""
        self._fields(id)
        self._document(id).unlink()

    # ------------------------------------------------------------------ care

    def size_bytes(self) -> int:
        """What all files take together."""
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def verify(self) -> tuple[Finding, ...]:
        """Everything that is missing or damaged."""
        findings: list[Finding] = []
        for one in self.ids():
            try:
                self.get(one)
            except (InputError, StorageError) as error:
                findings += error.findings
        return tuple(findings)

    def sweep(self) -> int:
        """Remove shared parts that no checkpoint has any more; returns the bytes that became free.

        Not while another process puts: a part is written before the document that names it.
        """
        used = {digest for one in self.ids() for digest in _digests(self._fields(one))}
        freed = 0
        for path in (self.root / "shared").rglob("*.gz"):
            if path.name.removesuffix(".gz") not in used:
                freed += path.stat().st_size
                path.unlink()
        return freed

    # ------------------------------------------------------------------ parts

    def _document(self, id: str) -> Path:
        if not UUID.fullmatch(id):
            raise InputError("is no identifier of a checkpoint", found=id[:80], expected="a UUID")
        return self.root / "checkpoints" / f"{id}.json"

    def _fields(self, id: str) -> dict[str, Any]:
        from cytopipe.storage.state import read_json

        path = self._document(id)
        if not path.is_file():
            raise StorageError("there is no such checkpoint", where=str(path))
        document = read_json(path, max_bytes=_MAX_TEXT)
        expected = {one.name for one in dataclasses.fields(HeatmapState)}
        if not isinstance(document, dict) or {**document, **_FORMAT} != document:
            raise InputError("is no checkpoint of a run folder", where=str(path))
        fields = document.get("fields")
        if not isinstance(fields, dict) or set(fields) != expected:
            raise InputError("has other fields than a checkpoint", where=str(path))
        if hashlib.sha256(canonical_json(fields).encode()).hexdigest() != document.get("sha256"):
            raise DamagedError("is not what was kept", where=str(path))
        return fields

    def _blob(self, digest: str) -> Path:
        return self.root / "shared" / digest[:2] / f"{digest}.gz"

    def _keep(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        path = self._blob(digest)
        if not path.is_file():
            _write(path, gzip.compress(data, 6, mtime=0))
        return digest

    def _kept(self, digest: str, size: int) -> bytes:
        """The content of a shared part, of a size that is known."""
        from cytopipe.storage.guard.budget import read_bounded, require_budget

        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise InputError("names a part by what is no digest", found=str(digest)[:80])
        path = self._blob(digest)
        require_budget(size, None, what="a shared part", where=str(path))
        try:
            data = read_bounded(path, size)
        except (InputError, StorageError) as error:
            raise DamagedError(error.findings) from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError("is not what was kept", where=str(path))
        return data

    def _through(self, state: HeatmapState) -> dict[str, Any] | None:
        """The clusters of cells as a map over those of a parent that is kept here, where they follow."""
        cells = state.cell_cluster
        if cells is None:
            return None
        for parent in state.parents:
            if not self._document(parent).is_file():
                continue
            source = self._fields(parent)["cell_cluster"]
            source = {key: value for key, value in source.items() if key != "map"}
            if "array" not in source:
                continue
            base = _decoded(source, self._kept)
            if len(base) != len(cells):
                continue
            rows = np.full(int(base.max(initial=-1)) + 2, -1, np.int32)
            rows[base] = cells  # -1 is the last place: cells that are in no cluster of the parent
            if np.array_equal(rows[base], cells):
                return {**source, "map": _encoded(rows, self._keep)}
        return None


# ---------------------------------------------------------------------- values as JSON with shared parts


def _encoded(value: Any, keep: Callable[[bytes], str]) -> dict[str, Any]:
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _encoded_array(value, keep)
    if isinstance(value, np.ndarray):
        return {"texts": _encoded(value.tolist(), keep)}
    if isinstance(value, Mapping) and any(isinstance(one, np.ndarray) for one in value.values()):
        return {"columns": [[key, _encoded(one, keep)] for key, one in value.items()]}
    text = canonical_json(_plain(value))
    if len(text) <= _INLINE:
        return {"value": json.loads(text)}
    data = text.encode()
    return {"json": keep(data), "size": len(data)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _encoded_array(array: np.ndarray, keep: Callable[[bytes], str]) -> dict[str, Any]:
    kind = array.dtype.newbyteorder("<")
    # bytes of the same weight beside each other: neighbours are alike, and compress better
    raw = np.ascontiguousarray(array, kind).reshape(-1).view(np.uint8)
    data = raw.reshape(-1, kind.itemsize).T.tobytes() if array.size else b""
    about = {"dtype": kind.str, "shape": list(array.shape)}
    if len(data) <= _INLINE:
        return {"inline": base64.b64encode(zlib.compress(data)).decode(), **about}
    return {"array": keep(data), **about}


def _decoded(value: Mapping[str, Any], kept: Callable[[str, int], bytes]) -> Any:
    if "value" in value:
        return value["value"]
    if "json" in value:
        from cytopipe.storage.state import parse_json

        return parse_json(kept(value["json"], min(int(value["size"]), _MAX_TEXT)))
    if "texts" in value:
        texts = _decoded(value["texts"], kept)
        found = np.empty(len(texts), object)
        found[:] = texts
        return found
    if "columns" in value:
        return {key: _decoded(one, kept) for key, one in value["columns"]}
    array = _decoded_array(value, kept)
    if "map" in value:
        return _decoded(value["map"], kept)[array]
    return array


def _decoded_array(value: Mapping[str, Any], kept: Callable[[str, int], bytes]) -> np.ndarray:
    from cytopipe.storage.guard.budget import declared_bytes

    if value["dtype"] not in _DTYPES or any(not isinstance(n, int) or n < 0 for n in value["shape"]):
        raise InputError("declares an array that cannot be", found=f"{value['dtype']} {value['shape']}"[:80])
    kind = np.dtype(value["dtype"])
    size = declared_bytes(tuple(value["shape"]), kind.itemsize)
    if "inline" in value:
        if size > _INLINE:
            raise InputError("declares an array that cannot be", found=f"{size:,} bytes in a document")
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(value["inline"], validate=True), size + 1)
    else:
        data = kept(value["array"], size)
    if len(data) != size:
        raise InputError("has an array of another size", expected=f"{size:,} bytes", found=f"{len(data):,}")
    raw = np.frombuffer(data, np.uint8).reshape(kind.itemsize, -1).T
    array = np.ascontiguousarray(raw).view(kind).reshape(value["shape"])
    return array.astype(kind.newbyteorder("="))


def _digests(value: Any) -> Iterator[str]:
    """Every shared part that a document names."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key in ("array", "json") and isinstance(one, str):
                yield one
            elif key != "value":
                yield from _digests(one)
    elif isinstance(value, list):
        for one in value:
            yield from _digests(one)


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    from cytopipe.faults import reason_of
    from cytopipe.storage.filesystem import flush_file, replace

    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(data)
        flush_file(draft)
        replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"cannot be written: {reason_of(error)}", where=str(path)) from None
