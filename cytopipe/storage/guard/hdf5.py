"""HDF5 files of others: every object is visited before anything is read from them.

The file is opened only if all its objects lie in it and their declared sizes are known. Nothing is read
from another file, by any way that HDF5 offers (external links, external storage, virtual datasets), no cycle
or web of links makes a reader run for ever, and no dataset or chunk is larger than the budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import BudgetError, CytopipeError, Finding, InputError, RefusedError
from cytopipe.storage.guard.budget import budget_bytes, declared_bytes, require_budget
from cytopipe.storage.guard.hdf5_heaps import require_sound_heaps
from cytopipe.storage.guard.inflate import inflate

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Survey", "open_hdf5", "read_one_text", "read_texts", "require_texts", "survey_hdf5"]

MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MAX_CHUNK_BYTES = 1 << 30
MAX_FINDINGS = 20
_HELD = 64 << 20  # bytes of a file that is read whole when HDF5 opens it
_SEARCHED = 1 << 30  # bytes of a file that is searched for damaged heaps: a larger one would be read twice
_BYTES_PER_TEXT = 64  # a str and a reference to it, without its characters
_REFERENCE = 16  # bytes of a stored reference to a text: length (4), place in the file (8), number there (4)
_UNKNOWN_TEXT = 64  # characters of a text whose reference cannot be looked at
_GZIP, _SHUFFLE = 1, 2


@dataclass
class Hdf5Survey:
    """What a file declares.

    Parameters
    ----------
    datasets : dict of str to int
        Declared bytes by path; of variable-length text, what its strings take in memory.
    objects : int
        Groups and datasets, counted once for each name they have.
    """

    datasets: dict[str, int] = field(default_factory=dict)
    objects: int = 0


@contextmanager
def open_hdf5(
    path: Path | str, *, budget: int | None = None, streamed: tuple[str, ...] = ()
) -> Iterator[h5py.File]:
    """Open a file for reading after surveying it.

    Parameters
    ----------
    path : Path or str
    budget : int, optional
        Bytes that all datasets together may declare; half of the available memory by default.
    streamed : tuple of str
        Beginnings of paths (``/X``, ``/layers/``) that are going to be read in pieces and do not count.

    Raises
    ------
    InputError
        Not an HDF5 file, cut off, or damaged.
    RefusedError
        It holds an external link, external storage, a virtual dataset, a user-defined link, a cycle, or more
        than 200,000 objects.
    BudgetError
        The datasets, or a single chunk, declare more than allowed.
    """
    import h5py
    import hdf5plugin  # noqa: F401  registers zstd, blosc, lz4 and bitshuffle with HDF5

    where = str(path)
    if not Path(path).is_file():
        raise InputError("is not a file", where=where)
    if Path(path).stat().st_size <= _SEARCHED:
        require_sound_heaps(Path(path))
    try:
        file = _open(Path(path))
    except OSError as error:
        raise InputError(f"is not a whole HDF5 file: {error}", where=where) from None
    with file:
        try:
            survey = survey_hdf5(file, where)
            counted = {name: size for name, size in survey.datasets.items() if not name.startswith(streamed)}
            for name in counted:
                if h5py.check_string_dtype(file[name].dtype) is not None:
                    counted[name] = text_bytes(file[name])
        except CytopipeError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's words for damage
            raise InputError(f"is a damaged HDF5 file: {error}", where=where) from None
        allowed = budget_bytes() if budget is None else budget
        if sum(counted.values()) > allowed:
            raise BudgetError(
                "declares more than may be read",
                where=where,
                expected=f"at most {allowed:,} bytes",
                found=f"{sum(counted.values()):,} bytes, most of it in {max(counted, key=counted.get)}",
                next="Read it in pieces, or raise the budget if the file is to be trusted.",
            )
        yield file


def _open(path: Path) -> h5py.File:
    """The file, read whole first where it is small.

    A disk that fails does so while nothing is open yet. HDF5 does not survive every error of a read in the
    middle of its work: it has ended the whole process.
    """
    import h5py

    whole = {"driver": "core", "backing_store": False} if path.stat().st_size <= _HELD else {}
    return h5py.File(path, "r", locking=False, **whole)


def read_one_text(path: Path | str, name: str, *, max_bytes: int) -> str:
    """One text of a file, given by its path inside of it, without looking at the rest.

    Only hard links are followed, so that the text lies in this file.

    Raises
    ------
    InputError
        Not an HDF5 file, or none that holds one text there.
    RefusedError
        A link on the way leads elsewhere.
    BudgetError
        The text is longer than `max_bytes`.
    """
    import h5py

    where = str(path)
    if not Path(path).is_file():
        raise InputError("is not a file", where=where)
    try:
        with h5py.File(path, "r", locking=False) as file:
            at = file.id  # h5py's own objects take as long as all of the reading
            for part in map(str.encode, name.split("/")):
                if not isinstance(at, h5py.h5g.GroupID) or not at.links.exists(part):
                    raise InputError(f"holds no {name}", where=where)
                if at.links.get_info(part).type != h5py.h5l.TYPE_HARD:
                    raise RefusedError(f"holds a link to {name}, not the text itself", where=where)
                at = h5py.h5o.open(at, part)
            plain = isinstance(at, h5py.h5d.DatasetID) and at.shape == ()
            if not plain or not isinstance(at.get_type(), h5py.h5t.TypeStringID):
                raise InputError(f"has something else than one text in {name}", where=where)
            at = h5py.Dataset(at)
            if at.is_virtual or at.external:
                raise InputError(f"has something else than one text in {name}", where=where)
            size = _stored_lengths(at) if at.dtype.kind == "O" else at.dtype.itemsize
            require_budget(size, max_bytes, what=name, where=where)
            return at.asstr(errors="replace")[()]
    except CytopipeError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's words for damage
        raise InputError(f"is not a whole HDF5 file: {error}", where=where) from None


def read_texts(dataset, where: str, *, budget: int | None = None) -> list[str]:
    """Every text of a one-dimensional data set, once it is known that they fit into the memory.

    Parameters
    ----------
    dataset : h5py.Dataset or zarr.Array
    where : str
        For messages.
    budget : int, optional
        Bytes; half of the available memory by default.

    Raises
    ------
    BudgetError
        If they do not.
    """
    require_texts(dataset, where, budget=budget)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[...]]


def require_texts(element, where: str, *, budget: int | None = None) -> None:
    """Refuse texts, or a group of data sets, that would not fit into memory; errors as :func:`read_texts`."""
    parts = [element] if hasattr(element, "shape") else [element[name] for name in element]
    for part in parts:
        if hasattr(part, "shape"):
            needed = text_bytes(part)
            require_budget(needed, budget, what=f"{part.name.strip('/')}", where=where)


def text_bytes(dataset) -> int:
    """Memory the elements of a data set take as Python reads them.

    Of variable-length text the file holds references of (length, place), and any number of them may lead to
    one string: the lengths are added up as they are stored, before a string is read.
    """
    length = prod(dataset.shape or ())
    declared = declared_bytes(dataset.shape or (), dataset.dtype.itemsize)
    if dataset.dtype.kind not in "OSTU":
        return declared
    declared = max(declared, length * _BYTES_PER_TEXT)
    if not hasattr(dataset, "id") or dataset.dtype.kind != "O" or declared > budget_bytes(1.0):
        return declared
    return declared + _stored_lengths(dataset)


def _stored_lengths(dataset: h5py.Dataset) -> int:
    """The sum of all lengths of variable-length text, from the references alone."""
    import os

    if dataset.chunks is None:
        offset, count = dataset.id.get_offset(), prod(dataset.shape or ())
        if offset is None:  # never written
            return 0
        file = dataset.file
        with open(file.filename, "rb") as stream:  # noqa: PTH123 - HDF5 names files by text
            stream.seek(offset + file.userblock_size)
            return _lengths(stream.read(count * _REFERENCE))
    total, size = 0, prod(dataset.chunks) * _REFERENCE
    for number in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(number)
        mask, raw = dataset.id.read_direct_chunk(info.chunk_offset)
        content = _unfiltered(dataset, raw, mask, size)
        if content is None:  # by a filter that is not undone here: as long as the file may hold
            largest = os.path.getsize(dataset.file.filename)  # noqa: PTH202
            total += prod(dataset.chunks) * min(largest, _UNKNOWN_TEXT)
        else:
            total += _lengths(content)
    return total


def _lengths(references: bytes) -> int:
    import numpy as np

    whole = len(references) // _REFERENCE * _REFERENCE
    return int(np.frombuffer(references[:whole], "<u4")[:: _REFERENCE // 4].sum(dtype=np.int64))


def _unfiltered(dataset: h5py.Dataset, raw: bytes, mask: int, size: int) -> bytes | None:
    """A chunk with gzip and shuffle undone; None where another filter was used."""
    import numpy as np

    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    for place in range(len(numbers) - 1, -1, -1):
        if mask >> place & 1:
            continue
        if numbers[place] == _GZIP:
            raw = inflate(raw, "zlib", size, where=dataset.name)
        elif numbers[place] == _SHUFFLE:
            raw = np.frombuffer(raw, np.uint8).reshape(_REFERENCE, -1).T.tobytes()
        else:
            return None
    return raw


def survey_hdf5(file: h5py.File, where: str) -> Hdf5Survey:
    """Walk every link of an open file without following one out of it; errors as :func:`open_hdf5`."""
    walk = _Walk(where)
    walk.group(file, "", ())
    if walk.findings:
        raise RefusedError(walk.findings[:MAX_FINDINGS])
    return walk.survey


class _Walk:
    def __init__(self, where: str) -> None:
        self.where = where
        self.survey = Hdf5Survey()
        self.findings: list[Finding] = []
        self.groups: set[int] = set()  # addresses in the file

    def group(self, group: h5py.Group, path: str, above: tuple[int, ...]) -> None:
        import h5py

        here = h5py.h5o.get_info(group.id).addr
        self.groups.add(here)
        if len(above) > MAX_DEPTH:
            raise RefusedError(f"groups are nested deeper than {MAX_DEPTH}", where=f"{self.where}{path}")
        for name in group:
            full = f"{path}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                self._refuse(full, f"an external link to {link.filename!r}")
            elif not isinstance(link, (h5py.HardLink, h5py.SoftLink)):
                self._refuse(full, "a user-defined link")
            else:
                self._object(group, name, link, full, (*above, here))

    def _object(self, group: h5py.Group, name: str, link, full: str, above: tuple[int, ...]) -> None:
        import h5py

        self.survey.objects += 1
        if self.survey.objects > MAX_OBJECTS:
            raise RefusedError(f"holds more than {MAX_OBJECTS:,} objects", where=self.where)
        if isinstance(link, h5py.SoftLink) and not self._stays(group, link, full):
            return
        found = group.get(name)
        if found is None:
            self._refuse(full, "a link that leads nowhere")
        elif isinstance(found, h5py.Group):
            at = h5py.h5o.get_info(found.id).addr
            if at in above:
                self._refuse(full, "a cycle of groups")
            elif at in self.groups:  # a web of n groups has 2^n paths, and a reader takes them all
                self._refuse(full, "a group that has another name already")
            else:
                self.group(found, full, above)
        elif isinstance(found, h5py.Dataset):
            self._dataset(found, full)

    def _stays(self, group: h5py.Group, link: h5py.SoftLink, full: str) -> bool:
        """Whether a soft link reaches its target without passing an external one.

        Each step of its path is looked at as a link, never opened through one; a path through another soft
        link is refused, which no writer we know of makes.
        """
        import h5py

        at = group.file if link.path.startswith("/") else group
        for part in [part for part in link.path.split("/") if part not in ("", ".")]:
            step = at.get(part, getlink=True) if isinstance(at, h5py.Group) else None
            if not isinstance(step, h5py.HardLink):
                self._refuse(full, f"a link through {link.path!r}, which leads to another link or nowhere")
                return False
            at = at[part]
        return True

    def _dataset(self, dataset: h5py.Dataset, full: str) -> None:
        if dataset.is_virtual:
            self._refuse(full, "a virtual dataset, whose content lies in other files")
        elif dataset.external:
            self._refuse(full, f"external storage in {dataset.external[0][0]!r}")
        else:
            size = declared_bytes(dataset.shape or (), dataset.dtype.itemsize)
            self.survey.datasets[full] = size
            if dataset.chunks:
                chunk = declared_bytes(dataset.chunks, dataset.dtype.itemsize)
                if chunk > MAX_CHUNK_BYTES:
                    raise BudgetError(
                        "a chunk declares more than may be read at once",
                        where=f"{self.where}{full}",
                        expected=f"at most {MAX_CHUNK_BYTES:,} bytes",
                        found=f"{chunk:,} bytes",
                    )
                for number in _absent_filters(dataset):
                    self._refuse(full, f"data compressed by HDF5 filter {number}, which is not installed")

    def _refuse(self, full: str, what: str) -> None:
        where = f"{self.where}{full}"
        self.findings.append(
            Finding(what=f"holds {what}", where=where, next="Write a file that holds its own data.")
        )


def _absent_filters(dataset: h5py.Dataset) -> list[int]:
    import h5py

    plist = dataset.id.get_create_plist()
    numbers = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    return [number for number in numbers if not h5py.h5z.filter_avail(number)]
