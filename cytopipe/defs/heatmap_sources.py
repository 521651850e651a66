"""What heat maps are made from: sets of partitions, the files of cells, and what a person chose.

Choices are declared by branch and kept apart by the step that uses them, so that another name of a
metacluster makes stale what is made from the revision, and no clustering.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Partitions, Source
from cytopipe.heatmap.parameters import ReadingSettings
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests

if TYPE_CHECKING:
    from cytopipe.project.heatmap.entry import BranchPart, CellData

__all__ = ["BRANCHES", "DATA_SETS", "FINALS", "MERGES", "SOURCES", "STEPS"]

DATA_SETS = Partitions(name="heatmap", title="data set of cells")
BRANCHES = Partitions(
    name="heatmap_branches",
    title="branch of a data set",
    within={DATA_SETS: lambda branch: branch.entry.data_set},
)


def _of_branches(name: str, title: str) -> Partitions:
    return Partitions(
        name=name,
        title=title,
        within={
            BRANCHES: lambda branch: branch.key,
            DATA_SETS: lambda branch: branch.entry.data_set,
        },
    )


STEPS: Mapping[int, Partitions] = {
    number: _of_branches(f"heatmap_step_{number:02d}", f"branch with step {number}")
    for number in (1, 2, 3, 5, 6, 7, 8, 9, 10, 11)
}
MERGES = _of_branches("heatmap_merged", "merge of finals")
FINALS = _of_branches("heatmap_finals", "branch with a final")


def _files(data: DataSet) -> list[Path]:
    """The files of cells; of a folder, all in it."""
    found: list[Path] = []
    for one in data.entry.files(data.base):
        inside = sorted(path for path in one.rglob("[!.]*") if path.is_file()) if one.is_dir() else [one]
        found += inside
    return found


def _digest(project: Project, data: DataSet) -> str | None:
    return Digests(project.home).sha256_of_all(_files(data))


def _about_files(project: Project, data: DataSet) -> Mapping[str, object]:
    files = _files(data)
    return {
        "files": len(files),
        "first": project.relative(files[0]) if files else "",
        "size_bytes": sum(path.stat().st_size for path in files),
    }


CELL_FILES = Source(
    asset="heatmap/cell_files",
    by=DATA_SETS,
    description="The files of cells that the project file names (FCS, CSV, h5ad, ...); never written.",
    load=lambda data: data.entry.files(data.base),
    files=_files,
    digest=_digest,
    describe=_about_files,
    kinds=("fcs", "table"),
)


def _of_data_set(name: str, description: str, values: Callable[[CellData], Mapping[str, Any]]) -> Source:
    return Source(
        asset=f"heatmap/{name}",
        by=DATA_SETS,
        description=description,
        load=lambda data: data.entry,
        values=lambda data: values(data.entry),
        kinds=("yaml",),
    )


def _of_branch(name: str, description: str, values: Callable[[BranchPart], Mapping[str, Any]]) -> Source:
    return Source(
        asset=f"heatmap/{name}",
        by=BRANCHES,
        description=description,
        load=lambda data: data.entry,
        values=lambda data: values(data.entry),
        kinds=("yaml",),
    )


def _named(name: str, value: Any) -> dict[str, Any]:
    """The fields of a set of values under their own names, so that a reason tells the one that changed."""
    if value is None:
        return {name: None}
    return {f"{name}.{field}": one for field, one in value.as_json().items()}


READING = _of_data_set(
    "reading",
    "How the files of cells are read.",
    lambda entry: {name: getattr(entry, name) for name in ReadingSettings.model_fields},
)
TRANSFORM = _of_data_set(
    "transform", "How measured values are transformed.", lambda entry: entry.transform.as_json()
)
CLUSTERING = _of_branch(
    "clustering",
    "How a branch clusters its cells: settings of FlowSOM, and the markers.",
    lambda part: {
        **_named("flowsom", part.settings.flowsom_of(part.branch)),
        "markers": part.settings.markers_of(part.branch),
    },
)
DISPLAY = _of_branch(
    "display",
    "How the heat maps of a branch are computed (z-scores, tree, cut), and what is said of it.",
    lambda part: {
        **_named("heatmap", part.settings.heatmap_of(part.branch)),
        "description": part.branch.description,
    },
)
REVISION = _of_branch(
    "revision",
    "How a person revises the metaclusters of a branch: merges, names, moved clusters, colours.",
    lambda part: _named("revise", part.branch.revise),
)
MIXED = _of_branch(
    "mixed",
    "Which clusters a person calls mixed, by list or by rule.",
    lambda part: _named("mixed", part.branch.mixed),
)
SUBSET = _of_branch(
    "subset",
    "Which cells a person takes into a lineage: metaclusters, clusters, gates, an expression.",
    lambda part: _named("subset", part.branch.subset),
)
FINALIZATION = _of_branch(
    "finalization",
    "How the result of a branch is told.",
    lambda part: _named("finalize", part.branch.finalize),
)
MERGING = _of_branch(
    "merging",
    "Which finals a person puts together, and how.",
    lambda part: {"merge": list(part.branch.merge), **_named("merging", part.branch.merging)},
)

SOURCES = (
    CELL_FILES,
    READING,
    TRANSFORM,
    CLUSTERING,
    DISPLAY,
    REVISION,
    MIXED,
    SUBSET,
    FINALIZATION,
    MERGING,
)
"""All of them."""
