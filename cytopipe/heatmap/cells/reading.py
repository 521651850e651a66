"""From files of cells to one table: what kind of file it is, which markers are taken, cells put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.errors import Finding, InputError, UserError
from cytopipe.heatmap.cells.anndata_file import AnnDataFile
from cytopipe.heatmap.cells.columns import layout_of
from cytopipe.heatmap.cells.fcs import FcsFile
from cytopipe.heatmap.cells.source import Cells, CellSource, Faults
from cytopipe.heatmap.cells.table import CellTable
from cytopipe.heatmap.cells.tables import SteinbockImage, TableFile
from cytopipe.storage.filesystem import open_regular

__all__ = ["FORMATS", "read_cells"]

FORMATS = ("fcs", "csv", "parquet", "h5ad", "mcmicro", "ark", "steinbock")
"""Kinds of files that are read; ``auto`` finds out by content."""

_MOST_FINDINGS = 60


def read_cells(
    paths: Path | str | Sequence[Path | str],
    format: str = "auto",
    *,
    markers: Sequence[str] | None = None,
    compensate: bool = True,
    layer: str = "",
    metadata: Sequence[str] = (),
    missing: str = "error",
) -> CellTable:
    """Read the cells of one data set.

    Parameters
    ----------
    paths : path or sequence of paths
        FCS, CSV, TSV, Parquet or h5ad files, all of one kind; or folders of steinbock (with ``intensities``)
        or of such files. The order in which they are given does not matter.
    format : str
        ``auto``, or one of `FORMATS`.
    markers : sequence of str, optional
        Names of markers or channels, in the order wanted. By default all that are measured markers: time,
        scatter, DNA, barcodes, and channels without a stain are left out.
    compensate : bool
        Whether the matrix of spillover in an FCS file is used.
    layer : str
        Layer of an h5ad; empty: X.
    metadata : sequence of str
        Columns of tables that are properties of cells and no markers.
    missing : {"error", "drop"}
        What is done with cells in which a marker has no value.

    Returns
    -------
    CellTable
        `n_dropped` says how many cells were left out.
        Cells file by file, sorted by path. ``cells["sample"]`` is the name of the file where the file does
        not say it itself; time, scatter, labels and places stand beside it.

    Raises
    ------
    InputError
        Everything that is wrong in any of the files, at once.
    BudgetError, RefusedError
        A file declares more than fits into memory, or leads out of itself.
    """
    if format not in ("auto", *FORMATS):
        raise InputError(f"there is no format {format!r}", expected=", ".join(("auto", *FORMATS)))
    files = _files([paths] if isinstance(paths, str | Path) else paths)
    sources, findings = [], []
    for path, kind in _kinds(files, format):
        try:
            source = _open(path, kind, compensate=compensate, layer=layer, metadata=metadata)
            source.faults.missing_allowed = missing == "drop"
            sources.append(source)
        except UserError as error:
            findings += error.findings
    if findings:
        raise InputError(findings[:_MOST_FINDINGS])
    wanted = _wanted(sources, markers)
    names = [(sources[0].columns[place].marker, sources[0].columns[place].channel) for place in wanted[0]]
    parts: list[Cells] = []
    n_read = 0
    for number, places in enumerate(wanted):
        try:
            part = sources[number].read(places)
            parts.append(_whole(part, sources[number].faults) if missing == "drop" else part)
            n_read += len(part.values)
        except UserError as error:
            findings += error.findings
        findings += sources[number].faults.findings
        sources[number] = _Done(sources[number])  # the table of a file is not kept beside its values
    if findings:
        raise InputError(findings[:_MOST_FINDINGS])
    samples = _sample_names([source.path for source in sources], [source.sample for source in sources])
    known = [_with_sample(part.known, sample) for part, sample in zip(parts, samples, strict=True)]
    return CellTable(
        parts[0].values if len(parts) == 1 else np.concatenate([part.values for part in parts]),
        tuple(marker for marker, _ in names),
        tuple(channel for _, channel in names),
        known[0] if len(known) == 1 else pd.concat(known, ignore_index=True),
        n_dropped=n_read - sum(len(part.values) for part in parts),
    )


def _whole(part: Cells, faults: Faults) -> Cells:
    """The cells that have a value of every marker."""
    whole = ~np.isnan(part.values).any(axis=1)
    if whole.all():
        return part
    if not whole.any() and not faults.findings:
        faults.add(
            "has no cell with a value of every marker",
            expected="at least one",
            next="Choose other markers (columns), or leave this file out.",
        )
    return Cells(part.values[whole], part.known[whole].reset_index(drop=True))


class _Done:
    """What is remembered of a source that has been read."""

    def __init__(self, source: CellSource) -> None:
        self.path, self.sample = source.path, source.sample


# ---------------------------------------------------------------------- which files, of which kind


def _files(paths: Sequence[Path | str]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise InputError("is not there", where=str(path), expected="a file or folder of cells")
        if not path.is_dir():
            found[path] = None
            continue
        inside = path / "intensities" if (path / "intensities").is_dir() else path
        within = [one for one in inside.iterdir() if one.is_file() and _by_name(one)]
        if not within:
            raise InputError(
                "holds no files of cells",
                where=str(inside),
                expected="FCS, CSV, TSV, Parquet or h5ad files, or a folder of steinbock",
            )
        found |= dict.fromkeys(within)
    if not found:
        raise InputError("no file of cells is named", expected="at least one")
    return sorted(found, key=lambda path: path.as_posix())


def _by_name(path: Path) -> bool:
    name = path.name.lower()
    for packed in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(packed)
    return not name.startswith(".") and name.endswith(
        (".fcs", ".csv", ".tsv", ".txt", ".parquet", ".pq", ".h5ad")
    )


def _kinds(files: Sequence[Path], format: str) -> Iterator[tuple[Path, str]]:
    if format != "auto":
        yield from ((path, format) for path in files)
        return
    kinds = {path: _kind_of(path) for path in files}
    if len({*kinds.values()}) > 1:
        first = {kind: path for path, kind in reversed(kinds.items())}
        raise InputError(
            "the files of cells are of different kinds",
            expected="one kind",
            found=", ".join(f"{path.name} is {kind}" for kind, path in sorted(first.items())),
            next="Make an entry of its own for each kind.",
        )
    yield from kinds.items()


def _kind_of(path: Path) -> str:
    with open_regular(path, follow=True) as stream:
        head = stream.read(8)
    if head.startswith(b"FCS"):
        return "fcs"
    if head.startswith(b"\x89HDF"):
        return "h5ad"
    if head.startswith(b"PAR1"):
        return "parquet"
    if path.suffix.lower() == ".fcs":  # its reader says what is wrong
        return "fcs"
    return "steinbock" if path.parent.name == "intensities" else "csv"


def _open(path: Path, kind: str, *, compensate: bool, layer: str, metadata: Sequence[str]) -> CellSource:
    if metadata and kind in ("fcs", "h5ad"):
        raise InputError(
            "metadata names columns of tables, and this is none",
            where=str(path),
            found=kind,
            next="Name the markers to read (columns) instead.",
        )
    if kind == "fcs":
        return FcsFile(path, compensate=compensate)
    if kind == "h5ad":
        return AnnDataFile(path, layer=layer)
    if kind == "steinbock":
        return SteinbockImage(path, metadata=metadata)
    table = TableFile(path, parquet=kind == "parquet", metadata=metadata)
    names = [column.channel for column in table.columns]
    if absent := [name for name in metadata if name not in names]:
        raise InputError(
            f"has no column {', '.join(map(repr, absent[:20]))}",
            where=str(path),
            expected=f"one of {', '.join(names)[:400]}",
            next="Correct the names of metadata.",
        )
    found = layout_of(names)
    if kind in ("ark", "mcmicro") and found != kind:
        raise InputError(
            f"is no cell table of {kind}",
            where=str(path),
            expected="columns cell_size, label and fov"
            if kind == "ark"
            else "columns CellID, X_centroid and Y_centroid",
            next="Let the layout be found: format auto.",
        )
    return table


# ---------------------------------------------------------------------- which markers


def _wanted(sources: Sequence[CellSource], markers: Sequence[str] | None) -> list[list[int]]:
    """For each source, the places of the columns that are taken."""
    if markers is None:
        chosen = [column.marker for column in sources[0].columns if column.is_marker]
        findings = [
            Finding(
                what="has other markers than the first file",
                where=str(source.path),
                expected=f"{len(chosen)} markers as in {sources[0].path.name}",
                found=_difference(chosen, [one.marker for one in source.columns if one.is_marker]),
                next="Name the markers to take.",
            )
            for source in sources[1:]
            if {one.marker for one in source.columns if one.is_marker} != {*chosen}
        ]
        if not chosen:
            names = ", ".join(column.marker for column in sources[0].columns)[:300]
            findings.append(
                Finding(
                    what="has no column that is known as a marker",
                    where=str(sources[0].path),
                    found=names or "no columns",
                    next="Name the markers to take.",
                )
            )
    else:
        chosen, findings = list(markers), []
        if not chosen:
            findings.append(Finding(what="no marker is named", expected="at least one"))
        findings += [
            Finding(what=f"marker {name!r} is named twice", next="Name it once.")
            for name in sorted({one for one in chosen if chosen.count(one) > 1})
        ]
    places = []
    for source in sources:
        by_name = {column.channel: place for place, column in reversed(list(enumerate(source.columns)))}
        by_name |= {column.marker: place for place, column in enumerate(source.columns)}
        absent = [name for name in chosen if name not in by_name]
        if absent and markers is not None:
            findings.append(
                Finding(
                    what=f"has no marker {', '.join(map(repr, absent[:20]))}",
                    where=str(source.path),
                    expected=f"one of {', '.join(column.marker for column in source.columns)[:400]}",
                    next="Correct the name.",
                )
            )
        places.append([by_name[name] for name in chosen if name in by_name])
    if findings:
        raise InputError(findings[:_MOST_FINDINGS])
    return places


def _difference(expected: Sequence[str], found: Sequence[str]) -> str:
    lacking = [name for name in expected if name not in found]
    more = [name for name in found if name not in expected]
    parts = [
        f"{word} {', '.join(names)[:200]}" for word, names in (("without", lacking), ("with", more)) if names
    ]
    return "; ".join(parts)


# ---------------------------------------------------------------------- samples


def _sample_names(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Names of the files, with their folders where two files have one name."""
    if len({*names}) == len(names):
        return list(names)
    return [
        f"{path.parent.name}/{name}" if names.count(name) > 1 else name
        for path, name in zip(paths, names, strict=True)
    ]


def _with_sample(known: pd.DataFrame, sample: str) -> pd.DataFrame:
    if "sample" in known:
        return known
    known = known.copy(deep=False)
    known.insert(0, "sample", known.get("fov", sample))
    return known
