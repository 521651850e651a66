"""What the atlas domain is made from: sets of partitions, the cells, tables, and what the project file
declares.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.atlas.harmonise import Harmonisation, default_harmonisation, read_harmonisation
from cytopipe.atlas.recipe import inference_recipe, level_recipe
from cytopipe.defs.artifact import Partitions, Source
from cytopipe.errors import CytopipeError
from cytopipe.project import DataSet, Project

if TYPE_CHECKING:
    from cytopipe.atlas.cells import Cells
    from cytopipe.atlas.signatures import Signature

__all__ = [
    "ATLASES",
    "CELLS",
    "CELL_TYPES",
    "INFERENCE",
    "INFERENCE_RESAMPLED",
    "LEVELS",
    "RECIPE",
    "SIGNATURE",
    "SIGNATURES",
]

ATLASES = Partitions(name="atlases", title="atlas")
LEVELS = Partitions(
    name="atlas",
    title="level of an atlas",
    within={ATLASES: lambda level: level.entry.atlas},
    # The levels of an atlas must come into one run, or its cells are read again for the rest of them.
    per_run=100,
)
SIGNATURES = Partitions(
    name="atlas_signatures",
    title="signature at a level of an atlas",
    within={
        LEVELS: lambda part: f"{part.entry.atlas}.{part.entry.level.name}",
        ATLASES: lambda part: part.entry.atlas,
    },
)


def _cells_of(atlas: DataSet) -> Cells:
    """The cells, open; to be used as a context manager."""
    from cytopipe.atlas.cells import open_cells

    entry = atlas.entry
    return open_cells(atlas.resolve(entry.path), counts=entry.counts, duplicate_genes=entry.duplicate_genes)


def _files_of(path: Path) -> list[Path]:
    """What to watch of the cells: a file, or of a zarr store the folders, in which every writing leaves a
    time.

    A store may have a hundred thousand chunks, too many to look at every half minute.
    """
    if not path.is_dir():
        return [path]
    return sorted(one for one in (path, *path.rglob("*")) if one.is_dir() or one.suffix == ".json")


def _digest_of_cells(project: Project, atlas: DataSet) -> str | None:
    from cytopipe.atlas.fingerprint import input_identity

    path = atlas.resolve(atlas.entry.path)
    return input_identity(path) if path.exists() else None


def _about_cells(project: Project, atlas: DataSet) -> Mapping[str, object]:
    about: dict[str, object] = {"path": project.relative(atlas.resolve(atlas.entry.path))}
    try:
        with _cells_of(atlas) as cells:
            columns = ", ".join(cells.columns)
            return about | {
                "n_cells": cells.n_cells,
                "n_genes": cells.n_genes,
                "counts": cells.matrix.where,
                "columns": columns,
            }
    except CytopipeError as error:
        return about | {"not_usable": str(error)}


CELLS = Source(
    asset="atlas/cells",
    by=ATLASES,
    description="The cells of an atlas, an h5ad or zarr that the project file names; never written.",
    load=_cells_of,
    files=lambda atlas: _files_of(atlas.resolve(atlas.entry.path)),
    digest=_digest_of_cells,
    describe=_about_cells,
    kinds=("hdf5", "anndata"),
)


def _recipe_of(level: DataSet) -> dict[str, object]:
    entry = level.entry
    return level_recipe(
        entry.level,
        entry.sample,
        entry.settings,
        counts=entry.counts,
        duplicate_genes=entry.duplicate_genes,
    )


RECIPE = Source(
    asset="atlas/recipe",
    by=LEVELS,
    description="How the project file says a level is added up: columns, samples, resamples, limits, where "
    "counts lie.",
    load=lambda level: level.entry,
    values=_recipe_of,
    kinds=("yaml",),
)


_PACKAGED = Path(str(files("cytopipe.atlas") / "cell_types.tsv"))


def _vocabulary_of(atlas: DataSet) -> Harmonisation:
    table = atlas.entry.cell_types
    return read_harmonisation(atlas.resolve(table)) if table else default_harmonisation()


def _digest_of_vocabulary(project: Project, atlas: DataSet) -> str | None:
    try:
        return _vocabulary_of(atlas).sha256
    except CytopipeError:
        return None


CELL_TYPES = Source(
    asset="atlas/cell_types",
    by=ATLASES,
    description="The table that brings the labels of an atlas to one vocabulary of cell types.",
    load=_vocabulary_of,
    files=lambda atlas: [atlas.resolve(atlas.entry.cell_types) if atlas.entry.cell_types else _PACKAGED],
    digest=_digest_of_vocabulary,
    describe=lambda project, atlas: {"table": atlas.entry.cell_types or "packaged"},
    kinds=("table",),
)


def _source_of(part: DataSet) -> Path | None:
    table = part.entry.signature_table
    return part.resolve(table) if table else None


def _signature_of(part: DataSet) -> Signature:
    from cytopipe.atlas.signatures import load_signature

    return load_signature(part.entry.signature, _source_of(part))


def _files_of_signature(part: DataSet) -> list[Path]:
    from cytopipe.atlas.signatures import find_signature

    try:
        return [find_signature(part.entry.signature, _source_of(part)).path]
    except CytopipeError:
        return []


def _digest_of_signature(project: Project, part: DataSet) -> str | None:
    from cytopipe.atlas.signatures import find_signature, table_digest

    try:
        return table_digest(find_signature(part.entry.signature, _source_of(part)))
    except CytopipeError:
        return None


SIGNATURE = Source(
    asset="atlas/signatures",
    by=SIGNATURES,
    description="The table of a signature that an entry names: effects of cytokines or secreted proteins on "
    "genes.",
    load=_signature_of,
    files=_files_of_signature,
    digest=_digest_of_signature,
    describe=lambda project, part: {"table": part.entry.signature_table or "by name"},
    kinds=("table",),
)

INFERENCE = Source(
    asset="atlas/inference",
    by=SIGNATURES,
    description="How the project file says the activity of a signature is inferred.",
    load=lambda part: part.entry.activity,
    values=lambda part: inference_recipe(part.entry.signature, part.entry.activity),
    kinds=("yaml",),
)

INFERENCE_RESAMPLED = Source(
    asset="atlas/inference_resampled",
    by=SIGNATURES,
    description="The same for resamples, of which z alone is kept: other permutations change nothing there.",
    load=lambda part: part.entry.activity.of_resamples(),
    values=lambda part: inference_recipe(part.entry.signature, part.entry.activity.of_resamples()),
    kinds=("yaml",),
)
