"""The cells of an atlas as a file stores them: which matrix holds counts, in what form, with which labels.

The file is an h5ad or zarr that others wrote, so it is checked for whatever leads outside of it before a
number is read. A `Cells` has the shape, gene names, obs columns and the one matrix that holds counts.
To tell counts from normalised values, values are sampled: all must be whole and not negative (streaming
checks every value again). All faults are reported at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cytopipe.atlas.decode import StoredVector, vector_of
from cytopipe.atlas.labels import Labels, join_labels, read_labels
from cytopipe.atlas.registry import Level
from cytopipe.errors import Finding, InputError
from cytopipe.storage.guard.hdf5 import open_hdf5, read_texts, require_texts
from cytopipe.storage.guard.zarr_store import survey_zarr

__all__ = ["Cells", "Matrix", "ValueKind", "look_at_values", "open_cells"]

_FORMS = {"csr_matrix": "csr", "csc_matrix": "csc", "array": "dense", "csr": "csr", "csc": "csc"}
_WINDOWS, _WINDOW = 16, 65_536
DUPLICATE_GENES = ("refuse", "sum", "number")


@dataclass(frozen=True)
class Matrix:
    """One matrix of the file.

    Parameters
    ----------
    where : str
        ``X``, ``layers/NAME`` or ``raw/X``.
    form : str
        ``csr``, ``csc`` or ``dense``.
    shape : tuple of int
        Cells, genes.
    dtype : numpy.dtype
    n_stored : int
        Stored values: non-zeros of a sparse matrix, all of a dense one.
    node : object
        The group or data set itself.
    """

    where: str
    form: str
    shape: tuple[int, int]
    dtype: np.dtype
    n_stored: int
    node: object


@dataclass(frozen=True)
class ValueKind:
    """What sampled values of a matrix look like.

    Parameters
    ----------
    kind : str
        ``counts``, ``negative``, ``fractions`` or ``not finite``.
    n_sampled : int
    fraction_whole : float
        Of the finite values.
    low, high : float
        Smallest and largest finite value sampled.
    n_not_finite : int
        NaN and infinite values.
    """

    kind: str
    n_sampled: int
    fraction_whole: float
    low: float
    high: float
    n_not_finite: int = 0

    def __str__(self) -> str:
        text = (
            f"{self.fraction_whole:.0%} whole numbers among {self.n_sampled:,} values, "
            f"{self.low:.4g} to {self.high:.4g}"
        )
        if self.n_not_finite:
            text += f", {self.n_not_finite:,} of them NaN or infinite"
        if self.fraction_whole < 1 and self.high < 30 and self.low >= 0:
            return text + " (looks log-normalised)"
        if self.kind == "negative":
            return text + " (looks scaled or centred)"
        return text


class Cells:
    """An opened atlas; a context manager.

    Attributes
    ----------
    path : Path
    matrix : Matrix
        The counts.
    genes : tuple of str
        Names of the profiles' columns, in file order, unique.
    gene_of_column : ndarray, (n_columns,) int32
        Index into `genes` of every column of the matrix.
    columns : tuple of str
        obs columns that exist.
    """

    def __init__(
        self,
        path: Path,
        root,
        matrix: Matrix,
        genes: Sequence[str],
        gene_of_column: np.ndarray,
        opened: ExitStack,
    ) -> None:
        self.path = path
        self.matrix = matrix
        self.genes = tuple(genes)
        self.gene_of_column = gene_of_column
        self._root = root
        self._opened = opened
        self.columns = tuple(sorted(_columns(root["obs"])))  # stores list them in orders of their own

    @cached_property
    def identity(self) -> str:
        """SHA-256 that stands for the content of the file; see :mod:`cytopipe.atlas.fingerprint`."""
        from cytopipe.atlas.fingerprint import input_identity

        return input_identity(self.path)

    n_cells = property(lambda self: self.matrix.shape[0])
    n_genes = property(lambda self: len(self.genes))
    obs = property(lambda self: self._root["obs"])

    def __enter__(self) -> Cells:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()

    def vector(self, part: str) -> StoredVector:
        """``data``, ``indices`` or ``indptr`` of a sparse matrix."""
        return vector_of(self.matrix.node[part], os.fspath(self.path))

    def cell_names(self):
        """The stored names of the cells, as a 1-D data set of strings."""
        obs = self.obs
        names = obs[_text(obs.attrs.get("_index", "_index"))]
        require_texts(names, str(self.path))
        return names

    def labels(self, column: str) -> Labels:
        """Labels of every cell in one obs column.

        Raises
        ------
        InputError
            If the column is not one value per cell.
        """
        require_texts(self.obs[column], str(self.path))
        found = read_labels(self.obs, column)
        if len(found.codes) != self.n_cells:
            raise InputError(
                f"column '{column}' has {len(found.codes):,} values for {self.n_cells:,} cells",
                where=f"{self.path}, obs",
            )
        return found

    def level_labels(self, level: Level) -> Labels:
        """Labels of every cell at `level`."""
        parts = [self.labels(column) for column in level.columns]
        return join_labels(parts, f"{self.path}, level {level.name}")

    def nonzero_fraction(self) -> float:
        """Share of sampled values of the matrix that are not zero."""
        sample = _sample_values(self.matrix, self.path)
        return float(np.count_nonzero(sample)) / max(1, len(sample))

    def check_columns(self, levels: Sequence[Level], sample: str | None) -> list[Finding]:
        """A finding for every column that is asked for and absent."""
        wanted = [(f"level {level.name}", column) for level in levels for column in level.columns]
        wanted += [("sample column", sample)] if sample else []
        return [
            Finding(
                what=f"column '{column}' is absent from obs",
                where=f"{self.path}, {what}",
                found=_some(self.columns) or "no columns",
                next=f"Name an existing column for the {what}.",
            )
            for what, column in wanted
            if column not in self.columns
        ]


def open_cells(path: str | Path, *, counts: str = "X", duplicate_genes: str = "refuse") -> Cells:
    """Open an atlas and settle which matrix holds its counts.

    Parameters
    ----------
    path : str or Path
        An ``.h5ad`` file or a ``.zarr`` directory.
    counts : str
        ``X``, ``layers/NAME`` or ``raw/X``: that matrix must hold counts. ``auto``: the first of X, layers
        and raw that does.
    duplicate_genes : {"refuse", "sum", "number"}
        What to do with genes that share a name: refuse, add up their counts per cell, or keep them apart as
        ``NAME``, ``NAME-1``, ...

    Raises
    ------
    InputError
        With every finding: no counts (saying what each matrix holds), unsound shapes, duplicate genes.
    RefusedError
        If the file holds links or codecs that we will not follow.
    """
    path = Path(path)
    if duplicate_genes not in DUPLICATE_GENES:
        raise InputError(
            "unknown value",
            where="duplicate_genes",
            expected=", ".join(DUPLICATE_GENES),
            found=duplicate_genes,
        )
    with ExitStack() as stack:
        root = _open_root(path, stack)
        matrix = _find_counts(root, path, counts)
        names = _gene_names(root, matrix, path)
        genes, gene_of_column, findings = _settle_genes(names, duplicate_genes, path)
        findings += _shape_findings(root, matrix, path)
        if findings:
            raise InputError(findings)
        return Cells(path, root, matrix, genes, gene_of_column, stack.pop_all())


def look_at_values(matrix: Matrix, path: Path) -> ValueKind:
    """Sample a matrix and say what its values are; up to a million values, spread evenly."""
    sample = _sample_values(matrix, path)
    if matrix.dtype.kind == "b":
        sample = sample.astype(np.int8)
    finite = sample[np.isfinite(sample)]
    whole = float(np.mean(finite == np.floor(finite))) if len(finite) else 1.0
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if len(finite) < len(sample):
        return ValueKind("not finite", len(sample), whole, low, high, len(sample) - len(finite))
    kind = "fractions" if whole < 1 else "negative" if low < 0 else "counts"
    if low < 0:
        kind = "negative"
    return ValueKind(kind, len(sample), whole, low, high)


def _open_root(path: Path, stack: ExitStack):
    if not path.exists():
        raise InputError("does not exist", where=str(path), expected="an .h5ad file or a .zarr directory")
    # nothing is read whole, so nothing counts against a budget: every piece is bounded where it is read
    root = _open_zarr(path) if path.is_dir() else stack.enter_context(open_hdf5(path, streamed=("/",)))
    for part in ("obs", "var"):
        if part not in root or hasattr(root[part], "shape"):
            found = ", ".join(root.keys()) or "nothing"
            raise InputError(
                f"has no {part} data frame",
                where=str(path),
                expected="an AnnData file written by anndata 0.7 or later",
                found=found,
                next="Read and write an older file once with a current anndata.",
            )
    return root


def _open_zarr(path: Path):
    """A zarr store, after its metadata was read by us; consolidated copies of it are not trusted."""
    import zarr

    survey_zarr(path)
    try:
        return zarr.open_group(path, mode="r", use_consolidated=False)
    except (ValueError, KeyError, FileNotFoundError, TypeError) as error:  # zarr's words for no group
        raise InputError(f"is not a zarr group: {error}", where=str(path)) from error


def _find_counts(root, path: Path, counts: str) -> Matrix:
    candidates = _matrices(root)
    if counts != "auto":
        if counts not in candidates:
            found = ", ".join(candidates) or "none"
            raise InputError(
                f"has no matrix '{counts}'", where=str(path), expected="an existing matrix", found=found
            )
        kind = look_at_values(candidates[counts], path)
        if kind.kind == "counts":
            return candidates[counts]
        others = {name: look_at_values(one, path) for name, one in candidates.items() if name != counts}
        usable = [name for name, other in others.items() if other.kind == "counts"]
        advice = (
            f"Counts lie in {', '.join(usable)}: pass --counts {usable[0]} (counts='{usable[0]}')."
            if usable
            else "Start from the unnormalised counts: sums of normalised values are not pseudobulk."
        )
        looks = "; ".join([f"{counts}: {kind}", *(f"{name}: {other}" for name, other in others.items())])
        raise InputError(
            f"{counts} does not hold counts",
            where=str(path),
            expected="whole numbers >= 0",
            found=looks,
            next=advice,
        )
    looks = {}
    for name, matrix in candidates.items():
        looks[name] = look_at_values(matrix, path)
        if looks[name].kind == "counts":
            return matrix
    raise InputError(
        "no matrix holds counts",
        where=str(path),
        expected="whole numbers >= 0 in X, a layer or raw/X",
        found="; ".join(f"{name}: {kind}" for name, kind in looks.items()) or "no matrix",
        next="Start from the unnormalised counts: sums of normalised values are not pseudobulk.",
    )


def _matrices(root) -> dict[str, Matrix]:
    """Every matrix over the cells: X, layers (one called counts first), raw."""
    found = {}
    layers = root.get("layers", {})
    names = sorted(layers.keys(), key=lambda name: (name.lower() not in ("counts", "raw_counts"), name))
    places = [("X", root, "X"), *((f"layers/{name}", layers, name) for name in names)]
    if "raw" in root and not hasattr(root["raw"], "shape"):
        places.append(("raw/X", root["raw"], "X"))
    for where, parent, name in places:
        if name in parent:
            matrix = _matrix(where, parent[name])
            if matrix:
                found[where] = matrix
    return found


def _matrix(where: str, node) -> Matrix | None:
    encoding = _text(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "")))
    if hasattr(node, "shape"):
        if len(node.shape) != 2 or node.dtype.kind not in "iufb":
            return None
        return Matrix(where, "dense", tuple(node.shape), node.dtype, int(np.prod(node.shape)), node)
    form = _FORMS.get(encoding)
    if form not in ("csr", "csc") or not all(part in node for part in ("data", "indices", "indptr")):
        return None
    shape = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
    if shape is None or len(shape) != 2:
        return None
    return Matrix(
        where, form, (int(shape[0]), int(shape[1])), np.dtype(node["data"].dtype), node["data"].shape[0], node
    )


def _sample_values(matrix: Matrix, path: Path) -> np.ndarray:
    if matrix.form == "dense":
        n_rows = matrix.shape[0]
        per_window = max(1, _WINDOW // max(1, matrix.shape[1]))
        pieces = [matrix.node[s : s + per_window] for s in _window_starts(n_rows, per_window)]
        return np.concatenate([np.asarray(piece).ravel() for piece in pieces]) if pieces else np.empty(0)
    vector = vector_of(matrix.node["data"], os.fspath(path))
    try:
        starts = _window_starts(vector.length, _WINDOW)
        pieces = [vector.read(s, min(s + _WINDOW, vector.length)) for s in starts]
    finally:
        vector.close()
    return np.concatenate(pieces) if pieces else np.empty(0)


def _window_starts(length: int, window: int) -> list[int]:
    if length <= window * _WINDOWS:
        return list(range(0, length, window))
    return [int(start) for start in np.linspace(0, length - window, _WINDOWS)]


def _gene_names(root, matrix: Matrix, path: Path) -> list[str]:
    var = root["raw"]["var"] if matrix.where == "raw/X" else root["var"]
    index = _text(var.attrs.get("_index", "_index"))
    if index not in var:
        raise InputError("var has no index", where=f"{path}, {matrix.where}", found=", ".join(var.keys()))
    n_names, n_genes = var[index].shape[0], matrix.shape[1]
    if n_names != n_genes:  # before the names are read: a file can declare any number of them
        what = "the matrix and var disagree on the number of genes"
        where = f"{path}, {matrix.where}"
        raise InputError(what, where=where, expected=f"{n_names:,}", found=f"{n_genes:,}")
    return read_texts(var[index], str(path))


def _settle_genes(names: list[str], rule: str, path: Path) -> tuple[list[str], np.ndarray, list[Finding]]:
    first: dict[str, int] = {}
    for name in names:
        first.setdefault(name, len(first))
    if len(first) == len(names):
        return names, np.arange(len(names), dtype=np.int32), []
    if rule == "sum":
        return list(first), np.array([first[name] for name in names], np.int32), []
    if rule == "number":
        return _numbered(names), np.arange(len(names), dtype=np.int32), []
    repeated = _repeated(names)
    finding = Finding(
        what=f"{len(repeated)} gene names occur more than once",
        where=str(path),
        expected="one column per gene",
        found=_some(repeated, 20),
        next="Pass --duplicate-genes sum to add up their counts, or number to keep them apart.",
    )
    return names, np.arange(len(names), dtype=np.int32), [finding]


def _repeated(names: list[str]) -> list[str]:
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name in names:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def _numbered(names: list[str]) -> list[str]:
    taken, next_number, numbered = set(names), {}, []
    seen: set[str] = set()
    for name in names:
        if name not in seen:
            seen.add(name)
            numbered.append(name)
            continue
        number = next_number.get(name, 1)
        while f"{name}-{number}" in taken:
            number += 1
        next_number[name] = number + 1
        taken.add(f"{name}-{number}")
        numbered.append(f"{name}-{number}")
    return numbered


def _shape_findings(root, matrix: Matrix, path: Path) -> list[Finding]:
    where = f"{path}, {matrix.where}"
    n_cells, n_genes = matrix.shape
    findings = []
    index = _text(root["obs"].attrs.get("_index", "_index"))
    n_obs = root["obs"][index].shape[0] if index in root["obs"] else None
    if n_obs != n_cells:
        what = "the matrix and obs disagree on the number of cells"
        findings.append(Finding(what=what, where=where, expected=str(n_obs), found=str(n_cells)))
    if n_cells == 0 or n_genes == 0:
        findings.append(Finding(what="is empty", where=where, found=f"{n_cells} cells x {n_genes} genes"))
    if matrix.form != "dense":
        findings.extend(_sparse_findings(matrix, where))
    return findings


def _sparse_findings(matrix: Matrix, where: str) -> list[Finding]:
    node = matrix.node
    major = matrix.shape[0] if matrix.form == "csr" else matrix.shape[1]
    n_stored = matrix.n_stored
    expected = {"indptr": major + 1, "indices": n_stored}
    findings = []
    for part, length in expected.items():
        if node[part].shape != (length,):
            what = f"{part} has the wrong length"
            findings.append(
                Finding(what=what, where=where, expected=str(length), found=str(node[part].shape))
            )
        if node[part].dtype.kind not in "iu":
            findings.append(
                Finding(what=f"{part} is not whole numbers", where=where, found=str(node[part].dtype))
            )
    for part in ("data", "indices", "indptr"):
        # zarr reads a chunk that is absent as zeros, and a stored sparse vector has no chunk of zeros
        absent = getattr(node[part], "nchunks", 0) - getattr(node[part], "nchunks_initialized", 0)
        if absent and not hasattr(node[part], "id"):
            what = f"{absent} chunks of {part} are absent"
            findings.append(Finding(what=what, where=where, expected=str(node[part].nchunks)))
    if not findings and int(node["indptr"][0]) != 0:
        found = str(int(node["indptr"][0]))
        what = "indptr does not begin at 0, so that values before it would not be counted"
        findings.append(Finding(what=what, where=where, expected="0", found=found))
    if not findings and int(node["indptr"][major]) != n_stored:
        what = "indptr does not end at the number of stored values"
        findings.append(
            Finding(what=what, where=where, expected=str(n_stored), found=str(int(node["indptr"][major])))
        )
    return findings


def _some(names: Sequence[str], n: int = 40) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def _columns(obs) -> list[str]:
    index = _text(obs.attrs.get("_index", "_index"))
    return [name for name in obs if name not in (index, "__categories")]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
