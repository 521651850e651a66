"""h5ad: checked before it is read, the same bytes for the same data, and its input left as it was.

`H5AD` writes an AnnData in memory, or an :class:`AnnDataBlocks` whose matrices are made while they are
written. A file of others is surveyed before anndata opens it, and everything that is wrong with its layout
is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.storage.formats.format import FileFormat
from cytopipe.storage.guard.hdf5 import open_hdf5

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

    from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks

__all__ = [
    "H5AD",
    "H5AD_IN_PARTS",
    "H5ad",
    "H5adFile",
    "H5adInParts",
    "Summary",
    "check_h5ad",
    "open_h5ad",
    "read_h5ad",
    "validate_h5ad",
    "write_h5ad",
]


@dataclass(frozen=True)
class Summary:
    """What an h5ad file declares, read from its metadata alone.

    Parameters
    ----------
    n_obs, n_vars : int
    x_encoding : str
        ``csr_matrix``, ``csc_matrix``, ``array``, or blank where there is no X.
    x_dtype : str
    n_stored : int
        Values stored in X; for a dense one, all of them.
    obs_columns, var_columns : tuple of str
    layers, obsm : tuple of str
    """

    n_obs: int
    n_vars: int
    x_encoding: str
    x_dtype: str
    n_stored: int
    obs_columns: tuple[str, ...]
    var_columns: tuple[str, ...]
    layers: tuple[str, ...]
    obsm: tuple[str, ...]


class H5ad(FileFormat):
    """An AnnData with the suffix ``.h5ad``.

    Parameters
    ----------
    compression : {'gzip', 'lzf'} or None
        Of an AnnData in memory; :class:`AnnDataBlocks` has its own.
    threads : int, optional
        That make and compress blocks; all cores by default. The bytes do not depend on it.
    decode : bool
        Whether validation decodes every value; otherwise it reads the layout and the last value of each
        matrix, which takes no time for a file of gigabytes.
    """

    name, suffix, kinds = "h5ad", ".h5ad", ("anndata", "hdf5")

    def __init__(
        self, compression: str | None = "gzip", threads: int | None = None, *, decode: bool = True
    ) -> None:
        self.compression, self.threads, self.decode = compression, threads, decode
        self.version = "1" if compression == "gzip" else f"1 compression={compression}"

    def write(self, draft: Path, value: AnnData | AnnDataBlocks) -> None:
        """Write an AnnData whole, or block by block; the value is not changed."""
        from cytopipe.engine import available_cores
        from cytopipe.storage.formats.h5ad_blocks import AnnDataBlocks, write_blocks

        if isinstance(value, AnnDataBlocks):
            write_blocks(draft, value, self.threads or available_cores())
            return
        from anndata import AnnData

        if isinstance(value, AnnData):
            write_h5ad(value, compression=self.compression)(draft)
        else:
            raise InputError(f"an h5ad holds an AnnData or AnnDataBlocks, not a {type(value).__name__}")

    def validate(self, draft: Path) -> None:
        """As :func:`validate_h5ad`, or the layout and last values only."""
        if self.decode:
            validate_h5ad(draft)
            return
        with open_h5ad(draft) as file:
            _decode_ends(file, str(draft))

    def read(self, path: Path) -> AnnData:
        """The whole AnnData in memory, when it fits; `open_h5ad` reads a larger one in pieces."""
        return read_h5ad(path)

    def describe(self, path: Path) -> Mapping[str, int | float | str]:
        """Rows, genes, type of X and names of the layers."""
        found = check_h5ad(path)
        told: dict[str, int | float | str] = {"n_obs": found.n_obs, "n_vars": found.n_vars}
        if found.x_encoding:
            told["X"] = f"{found.x_dtype}, {found.x_encoding}"
        return told | ({"layers": ", ".join(found.layers)} if found.layers else {})


H5AD = H5ad()
"""gzip, in as many threads as there are cores; every value is decoded before it is published."""


@dataclass(frozen=True, eq=False)
class H5adFile:
    """A published h5ad, read a part at a time; a path to whatever takes one.

    Parameters
    ----------
    path : Path
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def obs(self) -> pd.DataFrame:
        return self._read("obs")

    @cached_property
    def var(self) -> pd.DataFrame:
        return self._read("var")

    @cached_property
    def uns(self) -> Mapping[str, object]:
        return self._read("uns")

    def to_memory(self) -> AnnData:
        """The whole of it, if it fits into memory."""
        return read_h5ad(self.path)

    def _read(self, name: str):
        from anndata.io import read_elem

        with open_h5ad(self.path) as file:
            return read_elem(file[name])


class H5adInParts(H5ad):
    """An h5ad of gigabytes: written as any other, read as an :class:`H5adFile`.

    Validation reads the layout and the last value of each matrix.
    """

    name = "h5ad_in_parts"

    def __init__(self, threads: int | None = None) -> None:
        super().__init__(threads=threads, decode=False)

    def read(self, path: Path) -> H5adFile:
        """The file, to be read a part at a time."""
        return H5adFile(path)


H5AD_IN_PARTS = H5adInParts()
"""As `H5AD`, for artifacts that nobody wants in memory whole."""


# --------------------------------------------------------------------------- writing


def write_h5ad(adata: AnnData, *, compression: str | None = "gzip") -> Callable[[Path], None]:
    """A writer for :meth:`Store.publish_file`.

    Parameters
    ----------
    adata : AnnData, in memory
        Not changed: anndata's own writer turns text columns of its argument into categories, so it is given a
        shallow twin. Mappings (`uns`, `obsm`, `layers` ...) are written in the order of their keys, so that
        the bytes do not depend on the order in which they were filled.
    compression : {'gzip', 'lzf'} or None
        gzip notices most damage on reading; none is fastest.

    Returns
    -------
    callable
        Takes the path to write.

    Examples
    --------
    >>> store.publish_file("pbmc.h5ad", write_h5ad(adata), validate=validate_h5ad)  # doctest: +SKIP
    """

    def write(path: Path) -> None:
        _twin(adata).write_h5ad(path, compression=compression)

    return write


def _twin(adata: AnnData) -> AnnData:
    """A new AnnData around the same arrays, with its own tables."""
    from anndata import AnnData

    if adata.isbacked:
        raise InputError(
            "an AnnData that is backed by a file cannot be written", next="Call its to_memory() first."
        )
    raw = None
    if adata.raw is not None:
        raw = {"X": adata.raw.X, "var": adata.raw.var.copy(), "varm": _sorted(adata.raw.varm)}
    return AnnData(
        X=adata.X,
        obs=adata.obs.copy(),
        var=adata.var.copy(),
        uns=_sorted(adata.uns),
        obsm=_sorted(adata.obsm),
        varm=_sorted(adata.varm),
        layers=_sorted(adata.layers),
        obsp=_sorted(adata.obsp),
        varp=_sorted(adata.varp),
        raw=raw,
    )


def _sorted(mapping: Mapping) -> dict:
    return {
        key: _sorted(mapping[key]) if isinstance(mapping[key], Mapping) else mapping[key]
        for key in sorted(mapping)
    }


def validate_h5ad(path: Path) -> None:
    """A validator for :meth:`Store.publish_file`: the layout is whole and every stored value can be
    decoded.
    """
    with open_h5ad(path) as file:
        _decode_all(file, str(path))


# --------------------------------------------------------------------------- reading


@contextmanager
def open_h5ad(path: Path | str, *, budget: int | None = None) -> Iterator[h5py.File]:
    """Open a file of others for reading in pieces, after surveying it and checking its layout.

    Parameters
    ----------
    path : Path or str
    budget : int, optional
        Bytes that everything but X and the layers, which are there to be streamed, may declare.

    Yields
    ------
    h5py.File

    Raises
    ------
    InputError, RefusedError, BudgetError
        As :func:`cytopipe.storage.guard.hdf5.open_hdf5`; and InputError with every fault of the layout.
    """
    with open_hdf5(path, budget=budget, streamed=("/X", "/layers/", "/raw/X")) as file:
        _summary(file, str(path))
        yield file


def check_h5ad(path: Path | str) -> Summary:
    """Say what a file declares, without reading its values; errors as :func:`open_h5ad`."""
    with open_hdf5(path, streamed=("/",)) as file:
        return _summary(file, str(path))


def read_h5ad(path: Path | str, *, budget: int | None = None) -> AnnData:
    """Read a whole file into memory, when what it declares fits the budget; errors as :func:`open_h5ad`."""
    import anndata

    where = str(path)
    with open_hdf5(path, budget=budget) as file:
        _summary(file, where)
        try:
            return anndata.read_h5ad(file.id)  # the file that was surveyed, not opened a second time
        except CytopipeError:
            raise
        except Exception as error:  # anndata wraps what h5py, pandas and NumPy raise for damaged content
            raise InputError(f"cannot be read: {_first_line(error)}", where=where) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --------------------------------------------------------------------------- layout


def _summary(file: h5py.File, where: str) -> Summary:
    try:
        return _layout(file, where)
    except CytopipeError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # h5py's words for damage
        raise InputError(f"is a damaged HDF5 file: {_first_line(error)}", where=where) from None


def _layout(file: h5py.File, where: str) -> Summary:
    findings: list[Finding] = []
    obs, obs_columns = _table(file, "obs", where, findings)
    var, var_columns = _table(file, "var", where, findings)
    shape, encoding, dtype, stored = _matrix(file, "X", where, findings)
    if shape is not None and obs is not None and var is not None and shape != (obs, var):
        findings.append(
            Finding(
                what="X has another shape than obs and var",
                where=where,
                expected=f"({obs}, {var})",
                found=str(shape),
            )
        )
    layers = _names(file, "layers")
    for layer in layers:
        other = _matrix(file, f"layers/{layer}", where, findings)[0]
        if other is not None and obs is not None and var is not None and other != (obs, var):
            findings.append(
                Finding(
                    what=f"layer {layer!r} has another shape than obs and var",
                    where=where,
                    expected=f"({obs}, {var})",
                    found=str(other),
                )
            )
    if findings:
        raise InputError(findings)
    return Summary(obs, var, encoding, dtype, stored, obs_columns, var_columns, layers, _names(file, "obsm"))


def _names(file: h5py.File, group: str) -> tuple[str, ...]:
    return tuple(sorted(file[group])) if group in file else ()


def _table(
    file: h5py.File, name: str, where: str, findings: list[Finding]
) -> tuple[int | None, tuple[str, ...]]:
    """Length and columns of obs or var."""
    import h5py

    def fault(what: str, next: str = "") -> tuple[None, tuple]:
        findings.append(Finding(what=what, where=f"{where}/{name}", next=next))
        return None, ()

    if name not in file:
        return fault(f"there is no {name}: not an h5ad file")
    table = file[name]
    if not isinstance(table, h5py.Group):
        return fault(
            "is a compound dataset, as anndata wrote before 0.7",
            "Read and write it once with a current anndata.",
        )
    index = _text(table.attrs.get("_index", ""))
    if not index or index not in table:
        return fault("has no index")
    length = _length(table[index])
    if length is None:
        return fault("has an index that is no one-dimensional dataset")
    columns = tuple(_text(column) for column in table.attrs.get("column-order", ()))
    for column in columns:
        if column not in table:
            fault(f"column {column!r} is listed, but not there")
        elif _length(table[column]) != length:
            fault(f"column {column!r} has {_length(table[column])} values for {length} rows")
    return length, columns


def _length(element) -> int | None:
    """Rows of a column: plain, categorical (its codes) or nullable (its values)."""
    import h5py

    if isinstance(element, h5py.Group):
        for part in ("codes", "values"):
            if part in element:
                return _length(element[part])
        return None
    return element.shape[0] if element.shape is not None and len(element.shape) == 1 else None


def _matrix(
    file: h5py.File, name: str, where: str, findings: list[Finding]
) -> tuple[tuple[int, int] | None, str, str, int]:
    """Shape, encoding, dtype and number of stored values of X or a layer."""
    import h5py

    if name not in file:
        return None, "", "", 0
    matrix = file[name]
    if isinstance(matrix, h5py.Dataset):
        if len(matrix.shape or ()) != 2:
            if matrix.shape is not None and _text(matrix.attrs.get("encoding-type", "")) != "null":
                findings.append(Finding(what="is not two-dimensional", where=f"{where}/{name}"))
            return None, "", "", 0
        return tuple(map(int, matrix.shape)), "array", str(matrix.dtype), int(matrix.size)
    encoding = _text(matrix.attrs.get("encoding-type", ""))
    missing = [part for part in ("data", "indices", "indptr") if part not in matrix]
    if encoding not in ("csr_matrix", "csc_matrix") or "shape" not in matrix.attrs or missing:
        findings.append(
            Finding(
                what="is not a matrix that is read here",
                where=f"{where}/{name}",
                expected="a dense array, csr_matrix or csc_matrix",
                found=encoding or "a group without an encoding",
            )
        )
        return None, "", "", 0
    shape = tuple(int(n) for n in matrix.attrs["shape"])
    rows = shape[0] if encoding == "csr_matrix" else shape[-1]
    sizes = {part: matrix[part].shape for part in ("data", "indices", "indptr")}
    if len(shape) != 2 or sizes["indptr"] != (rows + 1,) or sizes["data"] != sizes["indices"]:
        findings.append(
            Finding(
                what="has sparse parts that do not fit together",
                where=f"{where}/{name}",
                expected=f"indptr ({rows + 1},), data and indices of one length",
                found=", ".join(f"{part} {size}" for part, size in sizes.items()),
            )
        )
    return shape, encoding, str(matrix["data"].dtype), int(matrix["data"].shape[0])


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _decode_all(file: h5py.File, where: str) -> None:
    """Read every dataset through its filters, a bounded piece at a time."""
    import h5py

    def visit(name: str, element: object) -> None:
        if not isinstance(element, h5py.Dataset) or element.shape is None:
            return
        try:
            if not element.shape or element.size == 0:
                element[()]
                return
            row = max(1, element.dtype.itemsize * element.size // element.shape[0])
            step = max(1, (32 << 20) // row)
            if element.chunks:
                step = -(-step // element.chunks[0]) * element.chunks[0]
            for start in range(0, element.shape[0], step):
                element[start : start + step]
        except (OSError, RuntimeError) as error:
            raise InputError(f"cannot be decoded: {_first_line(error)}", where=f"{where}/{name}") from None

    file.visititems(visit)


def _decode_ends(file: h5py.File, where: str) -> None:
    """Read the last value of X and of each layer."""
    import h5py

    for name in ("X", *(f"layers/{layer}" for layer in _names(file, "layers"))):
        matrix = file.get(name)
        data = matrix["data"] if isinstance(matrix, h5py.Group) and "data" in matrix else matrix
        if isinstance(data, h5py.Dataset) and data.size:
            try:
                data[tuple(n - 1 for n in data.shape)]
            except (OSError, RuntimeError) as error:
                raise InputError(
                    f"cannot be decoded: {_first_line(error)}", where=f"{where}/{name}"
                ) from None
