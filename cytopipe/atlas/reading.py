"""From the files under a results root to plain values, for whoever answers questions about them.

The functions take a catalogue and checked names, and return lists of plain values or raise a `NotFoundError`
that says what there is. Files are only read. A file of ours is compared with its manifest when it is first
used, and a table is parsed once per version of its file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cytopipe.atlas.catalogue import Catalogue, NotFoundError
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.errors import DamagedError
from cytopipe.storage.files import sidecar_of, verify_file
from cytopipe.storage.formats.table import read_parquet, read_tsv
from cytopipe.storage.state import read_json

__all__ = [
    "activities",
    "atlases",
    "comparison_rows",
    "expression_rows",
    "gene_names",
    "gene_profile",
    "groups",
    "levels",
    "quality_report",
    "scatter",
]

ACTIVITY_LAYERS = {"z": "X", "beta": "beta", "se": "se", "pvalue": "pvalue", "fdr": "fdr"}
TEXT_COLUMNS = ["target", "genes", "atlases", "atlas_a", "atlas_b", "conservation"]


def atlases(catalogue: Catalogue) -> list[dict]:
    """Every atlas and its levels."""
    return [{"name": name, "levels": catalogue.levels(name)} for name in catalogue.atlases()]


def levels(catalogue: Catalogue, atlas: str, names: Sequence[str]) -> list[dict]:
    """Levels `names` of an atlas, with their sizes."""
    return [
        {
            "name": name,
            "n_groups": len(_matrix(catalogue.pseudobulk(atlas, name)).groups),
            "n_genes": len(_matrix(catalogue.pseudobulk(atlas, name)).columns),
            "resampled": catalogue.pseudobulk(atlas, name, "resampled").is_file(),
            "signatures": catalogue.signatures(atlas, name),
        }
        for name in names
    ]


def groups(catalogue: Catalogue, atlas: str, level: str) -> list[dict]:
    """Cell types of a level and how many cells each has."""
    matrix = _matrix(catalogue.pseudobulk(atlas, catalogue.require_level(atlas, level)))
    return [{"cell_type": name, "n_cells": n} for name, n in zip(matrix.groups, matrix.n_cells, strict=True)]


def gene_names(catalogue: Catalogue, atlas: str, level: str, prefix: str = "") -> list[str]:
    """Genes of a level that begin with `prefix`, in order."""
    matrix = _matrix(catalogue.pseudobulk(atlas, catalogue.require_level(atlas, level)))
    return sorted(name for name in matrix.columns if name.startswith(prefix))


def gene_profile(catalogue: Catalogue, atlas: str, level: str, gene: str) -> list[dict]:
    """One gene in every group, from X and the layers that are there."""
    path = catalogue.pseudobulk(atlas, catalogue.require_level(atlas, level))
    matrix = _matrix(path)
    if gene not in matrix.place:
        near = [name for name in matrix.columns if name.upper() == gene.upper()]
        raise NotFoundError(
            f"no gene {gene}",
            where=f"atlas {atlas}, level {level}",
            found=", ".join(near) or f"{len(matrix.columns)} other genes",
        )
    column = np.array([matrix.place[gene]])
    with open_matrix(path) as file:
        layers = {"log1p_cpm": "X", "counts": "counts", "zscore": "zscore", "se": "se"}
        values = {
            name: file.read(layer, column)[:, 0] if layer == "X" or layer in file.layers else None
            for name, layer in layers.items()
        }
    return [
        {
            "cell_type": name,
            **{key: None if one is None else _number(one[row]) for key, one in values.items()},
        }
        for row, name in enumerate(matrix.groups)
    ]


def activities(
    catalogue: Catalogue,
    atlas: str,
    level: str,
    signature: str,
    target: str | None,
    cell_type: str | None,
    start: int,
    stop: int,
) -> tuple[list[dict], int]:
    """Items ``start:stop`` of the activities of a level, by group and then target, and how many there are."""
    path = _activity_path(catalogue, atlas, level, signature)
    matrix = _matrix(path)
    rows = _chosen(matrix.groups, cell_type, "cell type")
    columns = _chosen(matrix.columns, target, "target")
    total = len(rows) * len(columns)
    places = range(min(start, total), min(stop, total))
    if not places:
        return [], total
    with open_matrix(path) as file:
        wanted = sorted({columns[place % len(columns)] for place in places})
        at = {column: position for position, column in enumerate(wanted)}
        values = {name: file.read(layer, np.array(wanted)) for name, layer in ACTIVITY_LAYERS.items()}
    found = []
    for place in places:
        row, column = rows[place // len(columns)], columns[place % len(columns)]
        found.append(
            {"cell_type": matrix.groups[row], "target": matrix.columns[column]}
            | {name: _number(values[name][row, at[column]]) for name in ACTIVITY_LAYERS}
        )
    return found, total


def expression_rows(catalogue: Catalogue, atlas: str, level: str, signature: str) -> list[dict]:
    """The expression-activity correlation of every target."""
    table = _table(_validation_path(catalogue, atlas, level, signature, "expression.tsv"))
    return [_with_genes(row) for row in _rows(table)]


def scatter(
    catalogue: Catalogue, atlas: str, level: str, signature: str, target: str
) -> tuple[dict, list[dict]]:
    """Correlation and points of one target."""
    rows = expression_rows(catalogue, atlas, level, signature)
    chosen = [row for row in rows if row["target"] == target]
    if not chosen:
        raise NotFoundError(
            f"no target {target}",
            where=f"signature {signature}",
            found=", ".join(row["target"] for row in rows[:20]) or "none",
        )
    points = _points(*_version(_validation_path(catalogue, atlas, level, signature, "points.parquet")))
    part = points[points["target"] == target].drop(columns="target").rename(columns={"group": "cell_type"})
    return chosen[0], _rows(part)


def quality_report(catalogue: Catalogue, atlas: str, level: str, signature: str) -> dict:
    """The quality score of a level's activities."""
    path = _validation_path(catalogue, atlas, level, signature, "quality.json")
    _version(path)
    return read_json(path)


def comparison_rows(catalogue: Catalogue, signature: str, granularity: str, what: str) -> list[dict]:
    """Rows of one table of a cross-atlas comparison."""
    known = [f"{name} ({kind})" for name, kind in catalogue.comparisons()]
    path = catalogue.require(
        catalogue.comparison(signature, granularity, f"{what}.tsv"),
        f"comparison of {signature} ({granularity})",
        known,
    )
    rows = _rows(_table(path))
    if what == "meta":
        return [row | {"atlases": row["atlases"].split(";")} for row in rows]
    return rows


# --------------------------------------------------------------------------- files


class _Look:
    """Row and column names of an h5ad, kept while its version stands."""

    def __init__(self, path: Path) -> None:
        with open_matrix(path) as file:
            self.groups = tuple(file.cell_types)
            self.columns = file.columns
            cells = file.obs.get("n_cells")
            self.n_cells = [None] * len(self.groups) if cells is None else [int(n) for n in cells.to_numpy()]
        self.place = {name: place for place, name in enumerate(self.columns)}


def _matrix(path: Path) -> _Look:
    return _look(*_version(path))


@functools.lru_cache(maxsize=64)
def _look(path: Path, version: tuple[int, int]) -> _Look:
    return _Look(path)


def _table(path: Path) -> pd.DataFrame:
    return _tsv(*_version(path))


@functools.lru_cache(maxsize=32)
def _tsv(path: Path, version: tuple[int, int]) -> pd.DataFrame:
    return read_tsv(path, text=TEXT_COLUMNS)


@functools.lru_cache(maxsize=8)
def _points(path: Path, version: tuple[int, int]) -> pd.DataFrame:
    return read_parquet(path, columns=["target", "group", "expression", "activity"])


def _version(path: Path) -> tuple[Path, tuple[int, int]]:
    """A path and what tells one version of its file from the next; the file proved once per version."""
    try:
        state = path.stat()
    except OSError as error:
        raise NotFoundError(f"there is no {path.name}") from error
    version = (state.st_mtime_ns, state.st_size)
    _prove(path, version)
    return path, version


@functools.lru_cache(maxsize=1024)
def _prove(path: Path, version: tuple[int, int]) -> None:
    if sidecar_of(path).is_file() and (differences := verify_file(path)):
        raise DamagedError(f"{path.name} differs from its manifest: {differences[0]}")


def _activity_path(catalogue: Catalogue, atlas: str, level: str, signature: str) -> Path:
    part = catalogue.require_level(atlas, level)
    return catalogue.require(
        catalogue.activity(atlas, part, signature),
        f"activity of {signature} for {atlas} {part}",
        catalogue.signatures(atlas, part),
    )


def _validation_path(catalogue: Catalogue, atlas: str, level: str, signature: str, what: str) -> Path:
    part = catalogue.require_level(atlas, level)
    return catalogue.require(
        catalogue.validation(atlas, part, signature, what),
        f"validation of {signature} for {atlas} {part}",
        catalogue.signatures(atlas, part),
    )


# --------------------------------------------------------------------------- values


def _chosen(names: Sequence[str], name: str | None, what: str) -> list[int]:
    if name is None:
        return list(range(len(names)))
    found = [place for place, one in enumerate(names) if one == name]
    if not found:
        shown = ", ".join(names[:20])
        raise NotFoundError(f"no {what} {name}", found=shown + (" ..." if len(names) > 20 else ""))
    return found


def _rows(table: pd.DataFrame) -> list[dict]:
    return [{key: _number(value) for key, value in row.items()} for row in table.to_dict(orient="records")]


def _number(value: object) -> object:
    """A plain value; what is no finite number becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_genes(row: dict) -> dict:
    return row | {"genes": [gene for gene in str(row["genes"] or "").split(";") if gene]}
