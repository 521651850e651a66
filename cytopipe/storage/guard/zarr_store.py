"""Zarr stores of others, versions 2 and 3: we read the metadata before zarr or anndata sees the store.

A store passes only if its codecs cannot run code (a ``pickle`` filter could, in numcodecs before 0.16.6), its
consolidated metadata keep the same rules, and no array or chunk declares more than its budget. With
`inflate_chunks` no chunk holds more than it declares. The result is a :class:`ZarrSurvey`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path

from cytopipe.errors import BudgetError, CytopipeError, DamagedError, Finding, InputError, RefusedError
from cytopipe.storage.guard.budget import declared_bytes, require_budget
from cytopipe.storage.guard.inflate import CODECS, inflate
from cytopipe.storage.guard.trees import survey_tree
from cytopipe.storage.state import read_json

__all__ = ["ZarrSurvey", "check_chunks", "survey_zarr"]

MAX_CHUNK_BYTES = 1 << 30
MAX_METADATA_BYTES = 64 << 20
MAX_FINDINGS = 20
MAX_ABSENT = 1000

_COMPRESSORS = frozenset(CODECS)
_V3_CODECS = _COMPRESSORS | {"bytes", "transpose", "vlen-utf8", "vlen-bytes", "sharding_indexed"}
_V2_FILTERS = frozenset(
    {"vlen-utf8", "vlen-bytes", "delta", "shuffle", "fixedscaleoffset", "bitround", "quantize", "crc32c"}
)
_EMPTY = (1 << 64) - 1  # how a shard's index says that a chunk is absent


@dataclass
class ZarrSurvey:
    """What a store declares.

    Parameters
    ----------
    arrays : dict of str to int
        Declared bytes by path; of variable-length text, 16 bytes an element.
    files : int
    stored_bytes : int
        On disk.
    """

    arrays: dict[str, int] = field(default_factory=dict)
    files: int = 0
    stored_bytes: int = 0

    @property
    def declared_bytes(self) -> int:
        return sum(self.arrays.values())


@dataclass(frozen=True)
class _Array:
    """One array's metadata, of either version."""

    path: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    itemsize: int
    variable: bool
    compressors: tuple[str, ...]  # in the order in which they were applied
    shard: tuple[int, ...] | None = None
    index_at_end: bool = True
    index_crc: bool = True
    prefix: str = ""  # of the names of chunk files
    separator: str = "/"

    @property
    def chunk_limit(self) -> int:
        """Bytes one chunk may hold, decoded."""
        return MAX_CHUNK_BYTES if self.variable else declared_bytes(self.chunk, self.itemsize)


def survey_zarr(
    path: Path | str, *, budget: int | None = None, inflate_chunks: bool = False, complete: bool = False
) -> ZarrSurvey:
    """Check a store that others wrote.

    Parameters
    ----------
    path : Path or str
        Directory of a group or an array.
    budget : int, optional
        Bytes all arrays together may declare, where they are to be read whole. None: no limit, for reading in
        pieces; a chunk may never declare more than 1 GiB.
    inflate_chunks : bool, default False
        Decompress every chunk, counting, to prove that none holds more than declared.
    complete : bool, default False
        Demand every chunk, those that hold nothing but the fill value too; with `inflate_chunks`, none may
        hold less than declared either.

    Raises
    ------
    InputError
        Not a zarr store, or metadata that contradict themselves.
    RefusedError
        With every finding: links, special files, codecs, filters and data types that are not on the list.
    BudgetError
        An array, a chunk, or what a chunk inflates to is too large.
    DamagedError
        With `complete`: a chunk is absent or short.
    """
    root = Path(path)
    sizes = survey_tree(root)
    survey = ZarrSurvey(files=len(sizes), stored_bytes=sum(sizes.values()))
    arrays: dict[str, _Array] = {}
    findings: list[Finding] = []
    for place, document in _documents(root, sizes):
        try:
            array = _array(place, document)
        except CytopipeError as error:
            if not isinstance(error, RefusedError):
                raise
            findings += error.findings
            continue
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"has zarr metadata that cannot be used: {error!r}", where=place) from None
        if array is not None:
            arrays[place] = array
            survey.arrays[place] = declared_bytes(array.shape, array.itemsize)
            require_budget(array.chunk_limit, MAX_CHUNK_BYTES, what="a chunk", where=place)
    if findings:
        raise RefusedError(findings[:MAX_FINDINGS])
    if budget is not None:
        require_budget(survey.declared_bytes, budget, what="the store", where=str(root))
    for array in arrays.values():
        if complete:
            _require_chunks(root, array, sizes)
        if inflate_chunks:
            _inflate_array(root, array, sizes, complete)
    return survey


# --------------------------------------------------------------------------- metadata


def _documents(root: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, Mapping]]:
    """Metadata of every array or group, with where it stands; consolidated copies included."""
    found = False
    for relative in sizes:
        folder, _, name = relative.rpartition("/")
        if name not in ("zarr.json", ".zarray", ".zgroup", ".zmetadata"):
            continue
        found = True
        document = read_json(root / relative, max_bytes=MAX_METADATA_BYTES)
        if not isinstance(document, Mapping):
            raise InputError("is no zarr metadata", where=str(root / relative))
        yield str(root / folder), document
        consolidated = document.get("consolidated_metadata") or {}
        inner = document if name == ".zmetadata" else consolidated
        for key, part in (inner.get("metadata") or {}).items():
            if isinstance(part, Mapping):
                yield f"{root / relative}: {key}", part
    if not found:
        raise InputError("is not a zarr store", where=str(root), next="Give a directory with zarr.json.")


def _array(place: str, document: Mapping) -> _Array | None:
    if document.get("node_type") == "array":
        return _array_v3(place, document)
    if "chunks" in document and "dtype" in document:
        return _array_v2(place, document)
    return None


def _array_v3(place: str, document: Mapping) -> _Array:
    if document.get("storage_transformers"):
        raise RefusedError("has storage transformers", where=place)
    grid = document["chunk_grid"]
    if grid["name"] != "regular":
        raise RefusedError(f"has a chunk grid {grid['name']!r}", where=place, expected="regular")
    itemsize, variable = _size_v3(place, document["data_type"])
    shape, chunk = _extent(document["shape"]), _extent(grid["configuration"]["chunk_shape"])
    codecs, keys = document["codecs"], _chunk_keys(document.get("chunk_key_encoding", {}))
    names = [_codec_name(place, codec) for codec in codecs]
    if "sharding_indexed" not in names:
        return _Array(place, shape, chunk, itemsize, variable, _compressors(names), **keys)
    shard = codecs[names.index("sharding_indexed")]["configuration"]
    inner = [_codec_name(place, codec) for codec in shard["codecs"]]
    index = [_codec_name(place, codec) for codec in shard.get("index_codecs", [])]
    if "sharding_indexed" in inner or len(names) > 1 or not set(index) <= {"bytes", "crc32c"}:
        raise RefusedError("has shards within shards, or around them", where=place)
    return _Array(
        place,
        shape,
        _extent(shard["chunk_shape"]),
        itemsize,
        variable,
        _compressors(inner),
        shard=chunk,
        index_at_end=shard.get("index_location", "end") == "end",
        index_crc="crc32c" in index,
        **keys,
    )


def _chunk_keys(encoding: Mapping) -> dict[str, str]:
    default = encoding.get("name", "default") == "default"
    separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
    return {"prefix": f"c{separator}" if default else "", "separator": separator}


def _codec_name(place: str, codec: Mapping) -> str:
    name = codec["name"]
    if name not in _V3_CODECS:
        raise RefusedError(
            f"uses the codec {name!r}", where=place, expected=f"one of {', '.join(sorted(_V3_CODECS))}"
        )
    return name


def _compressors(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name in _COMPRESSORS)


def _size_v3(place: str, data_type: object) -> tuple[int, bool]:
    """Bytes an element takes, and whether they vary."""
    if isinstance(data_type, Mapping):
        sizes = data_type.get("configuration", {})
        if data_type["name"] in ("fixed_length_utf32", "null_terminated_bytes", "raw_bytes"):
            return int(sizes["length_bytes"]), False
        if data_type["name"] in ("numpy.datetime64", "numpy.timedelta64"):
            return 8, False
    elif data_type == "bool":
        return 1, False
    elif data_type in ("string", "bytes", "variable_length_bytes"):
        return 16, True
    elif match := re.fullmatch(r"(?:int|uint|float|complex|r)(8|16|32|64|128)", str(data_type)):
        return int(match.group(1)) // 8, False
    raise RefusedError(f"has the data type {data_type!r}, which is not read", where=place)


def _array_v2(place: str, document: Mapping) -> _Array:
    import numpy as np

    filters = [entry["id"] for entry in document.get("filters") or ()]
    compressor = (document.get("compressor") or {}).get("id")
    bad = [name for name in filters if name not in _V2_FILTERS]
    if compressor is not None and compressor not in _COMPRESSORS:
        bad.append(compressor)
    if bad:
        raise RefusedError(
            Finding(what=f"uses the filter {name!r}", where=place, next="Write it without that filter.")
            for name in bad
        )
    dtype = document["dtype"]
    if isinstance(dtype, list):
        dtype = np.dtype([(entry[0], entry[1], *map(tuple, entry[2:])) for entry in dtype])
    else:
        dtype = np.dtype(str(dtype))
    if dtype.hasobject and not {"vlen-utf8", "vlen-bytes"} & set(filters):
        raise RefusedError("holds Python objects", where=place)
    return _Array(
        place,
        _extent(document["shape"]),
        _extent(document["chunks"]),
        16 if dtype.hasobject else dtype.itemsize,
        dtype.hasobject,
        () if compressor is None else (compressor,),
        separator=document.get("dimension_separator", "."),
    )


def _extent(values: object) -> tuple[int, ...]:
    extent = tuple(values)
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in extent):
        raise ValueError(f"shape {extent}")
    return extent


# --------------------------------------------------------------------------- chunks


def check_chunks(folder: Path | str, part: Sequence[slice]) -> None:
    """Raise where a chunk that holds pixels of `part` would inflate beyond what its array declares.

    Parameters
    ----------
    folder : Path or str
        Of one array, in a store that was surveyed.
    part : sequence of slice
        One for each axis, with a start and a stop.

    Raises
    ------
    BudgetError, InputError
        As :func:`survey_zarr` with `inflate_chunks`.
    """
    folder = Path(folder)
    name = "zarr.json" if (folder / "zarr.json").is_file() else ".zarray"
    document = read_json(folder / name, max_bytes=MAX_METADATA_BYTES)
    array = _array(str(folder), document) if isinstance(document, Mapping) else None
    if array is None:
        raise InputError("is not a zarr array", where=str(folder))
    whole = array.shard or array.chunk
    spans = [range(one.start // n, -(-one.stop // n)) for one, n in zip(part, whole, strict=True)]
    for index in product(*spans):
        file = folder / f"{array.prefix}{array.separator.join(map(str, index))}"
        if not file.is_file():
            continue
        if array.shard is None and set(array.compressors) <= {"blosc", "crc32c"}:
            _check_length(array, file)
        else:
            _check_file(array, file, file.stat().st_size, complete=False)


def _check_length(array: _Array, file: Path) -> None:
    """The length of a chunk that says it: uncompressed by its file, of Blosc in the first bytes."""
    with file.open("rb") as stream:
        head = stream.read(16)
        declared = stream.seek(0, os.SEEK_END)
    if "blosc" in array.compressors:
        declared = int.from_bytes(head[4:8], "little")  # numcodecs allocates this and writes no more
    if declared > array.chunk_limit + 64:
        raise BudgetError(
            "a chunk holds more than it declares",
            where=str(file),
            expected=f"at most {array.chunk_limit:,} bytes",
            found=f"{declared:,} bytes",
        )


def _require_chunks(root: Path, array: _Array, sizes: Mapping[str, int]) -> None:
    """Raise where a chunk file of an array is absent, or a chunk in the index of a shard."""
    place = Path(array.path)
    under = "" if place == root else f"{place.relative_to(root).as_posix()}/"
    whole = array.shard or array.chunk
    absent = []
    for index in product(*(range(-(-n // one)) for n, one in zip(array.shape, whole, strict=True))):
        name = f"{under}{array.prefix}{array.separator.join(map(str, index))}"
        if not index:
            name = f"{under}{array.prefix.rstrip('/.') or '0'}"
        if name not in sizes or (array.shard and not _shard_is_full(array, index, root / name)):
            absent.append(name)
            if len(absent) == MAX_ABSENT:
                break
    if absent:
        many = "at least " if len(absent) == MAX_ABSENT else ""
        raise DamagedError(
            f"{many}{len(absent)} chunks are absent",
            where=str(root),
            found=", ".join(absent[:5]),
            next="Make or copy the store again: absent chunks would be read as zeros.",
        )


def _shard_is_full(array: _Array, index: tuple[int, ...], file: Path) -> bool:
    """Whether a shard has every chunk that lies inside the array."""
    counts = [whole // part for whole, part in zip(array.shard, array.chunk, strict=True)]
    length = 16 * prod(counts) + (4 if array.index_crc else 0)
    with file.open("rb", buffering=0) as stream:
        size = os.fstat(stream.fileno()).st_size
        table = os.pread(stream.fileno(), length, max(0, size - length) if array.index_at_end else 0)
    if len(table) < length:
        return False
    for at, inner in enumerate(product(*map(range, counts))):
        inside = all(
            i * whole + k * part < n
            for i, k, whole, part, n in zip(index, inner, array.shard, array.chunk, array.shape, strict=True)
        )
        if inside and table[16 * at : 16 * at + 16] == b"\xff" * 16:
            return False
    return True


def _inflate_array(root: Path, array: _Array, sizes: Mapping[str, int], complete: bool) -> None:
    """Undo the compression of every chunk file of one array, counting."""
    prefix = Path(array.path)
    if not prefix.is_relative_to(root) or not prefix.is_dir():
        return  # metadata that was only listed in a consolidated copy
    under = "" if prefix == root else f"{prefix.relative_to(root).as_posix()}/"
    for relative in sizes:
        name = relative.removeprefix(under)
        if not relative.startswith(under) or not re.fullmatch(r"(c/)?\d+([./]\d+)*|c", name):
            continue
        _check_file(array, root / relative, sizes[relative], complete=complete)


def _check_file(array: _Array, file: Path, size: int, *, complete: bool) -> None:
    """Undo the compression of one chunk file, counting."""
    if size > 2 * MAX_CHUNK_BYTES:
        raise BudgetError("a chunk file is too large", where=str(file), found=f"{size:,} bytes")
    data = file.read_bytes()
    for part in [data] if array.shard is None else _shard_parts(array, data, str(file)):
        for codec in reversed(array.compressors):
            limit = array.chunk_limit + 64  # what checksums and headers inside may add
            part = inflate(part, codec, limit, where=str(file))
        if len(part) > array.chunk_limit:
            raise BudgetError(
                "a chunk holds more than it declares",
                where=str(file),
                expected=f"at most {array.chunk_limit:,} bytes",
                found=f"{len(part):,} bytes",
            )
        if complete and len(part) < array.chunk_limit and not array.variable:
            raise DamagedError(
                "a chunk is short",
                where=str(file),
                expected=f"{array.chunk_limit:,} bytes",
                found=f"{len(part):,} bytes",
            )


def _shard_parts(array: _Array, data: bytes, where: str) -> Iterator[bytes]:
    """The chunks of one shard, by its index."""
    count = 1
    for whole, part in zip(array.shard, array.chunk, strict=True):
        if part == 0 or whole % part:
            raise InputError("has chunks that do not divide its shards", where=where)
        count *= whole // part
    length = 16 * count + (4 if array.index_crc else 0)
    if len(data) < length:
        raise InputError("is a shard that is cut off", where=where)
    index = data[-length:] if array.index_at_end else data[:length]
    if array.index_crc:
        index = inflate(index, "crc32c", length, where=where)
    for at in range(0, 16 * count, 16):
        offset = int.from_bytes(index[at : at + 8], "little")
        size = int.from_bytes(index[at + 8 : at + 16], "little")
        if (offset, size) == (_EMPTY, _EMPTY):
            continue
        if offset + size > len(data):
            raise InputError("is a shard whose index points outside of it", where=where)
        yield data[offset : offset + size]
