"""What pictures are made from: sets of partitions, images, tables, and what the project file says of a job.

Images are watched field by field: one that changed makes stale the pictures of its own field alone. Settings
of galleries are kept apart, so that another layout of pages draws no picture anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Partitions, Source
from cytopipe.errors import CytopipeError
from cytopipe.export.parameters import JobSettings
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.project.export.entry import SETS
from cytopipe.provenance import digest_of

if TYPE_CHECKING:
    from cytopipe.export.rois import Roi
    from cytopipe.export.sources import ImageSource
    from cytopipe.project.export.entry import ExportJob

__all__ = ["CELLS", "FOVS", "JOBS", "ROIS", "SOURCES"]

JOBS = Partitions(name="export", title="export job")


def _fields(mode: str, title: str) -> Partitions:
    return Partitions(name=SETS[mode], title=title, within={JOBS: lambda part: part.entry.job}, per_run=20)


FOVS = _fields("fov", "field of view that is shown whole")
CELLS = _fields("cells", "field of view whose cells are shown")
ROIS = _fields("rois", "field of view whose regions are shown")

_NOT_DRAWN = {
    "source", "kind", "masks", "output", "fovs", "engine", "retries", "backoff", "fovs_per_s", "gallery",
    "marker_sets", "marker_set_file",
}  # fmt: skip
"""Settings that decide no pixel: where things lie and how work is done. Of marker sets, those count that are
shown."""


@lru_cache(32)
def _source(path: str, kind: str, masks: str) -> ImageSource:
    """Opened once for the many fields of a job."""
    from cytopipe.export.sources import open_source

    return open_source(path, kind, None, masks or None)


def _image_files(data: DataSet) -> list[Path]:
    """The files of the channels that the job may show, and the masks; none where they cannot be listed."""
    settings = data.entry.settings.settings(data.base)
    known: list[str] | None = None
    if not settings.marker_set_file:
        known = [channel for channels in settings.marker_sets.values() for channel in channels]
    try:
        if data.entry.fov not in _source(settings.source, settings.kind, settings.masks).fov_names():
            _source.cache_clear()  # the field was added later
        return list(_source(settings.source, settings.kind, settings.masks).files(data.entry.fov, known))
    except (CytopipeError, OSError):
        return []


def _image_digest(project: Project, data: DataSet) -> str | None:
    files = _image_files(data)
    return Digests(project.home).sha256_of_all(files) if files else None


def _images(name: str, by: Partitions) -> Source:
    return Source(
        asset=f"export/{name}",
        by=by,
        description="The channels and masks of a field of view; never written.",
        load=lambda data: data.entry,
        files=_image_files,
        digest=_image_digest,
        describe=lambda project, data: {"files": len(_image_files(data))},
        kinds=("tiff",),
    )


IMAGES = {
    FOVS: _images("field_images", FOVS),
    CELLS: _images("cell_images", CELLS),
    ROIS: _images("roi_images", ROIS),
}


def _shows_own(entry: ExportJob) -> bool:
    """Whether each region is shown with the marker set that it names."""
    return entry.mode == "rois" and entry.rois is not None and entry.rois.settings == "own"


def _marker_file(data: DataSet, entry: ExportJob) -> list[Path]:
    return [data.resolve(entry.marker_set_file)] if entry.marker_set_file else []


def _sets_in_file(data: DataSet, entry: ExportJob) -> dict[str, list[list[Any]]]:
    """Channels with colours and limits by marker set, of those that stand in a file of their own."""
    from cytopipe.export.markers import read_marker_sets

    return {
        name: [[one.channel, *one.colour, one.low, one.high] for one in known.channels]
        for path in _marker_file(data, entry)
        for name, known in read_marker_sets(path).items()
        if name not in entry.marker_sets  # those of the job go before
    }


def _table_files(data: DataSet) -> list[Path]:
    entry = data.entry
    return [*entry.cell_files(data.base), *([] if _shows_own(entry) else _marker_file(data, entry))]


def _table_digest(project: Project, data: DataSet) -> str | None:
    """Of the marker sets in a file, the one that is shown counts."""
    cells = Digests(project.home).sha256_of_all(data.entry.cell_files(data.base))
    if cells is None or _shows_own(data.entry):
        return cells
    try:
        sets = _sets_in_file(data, data.entry)
    except (CytopipeError, OSError):
        return None
    shown = sets.get(data.entry.marker_set, [] if data.entry.marker_set else sets)
    return digest_of({"cells": cells, "marker_set": shown})


TABLES = Source(
    asset="export/tables",
    by=JOBS,
    description="The cell table, the checkpoint and the marker set that a job names in files; never written.",
    load=lambda data: data.entry,
    files=_table_files,
    digest=_table_digest,
    describe=lambda project, data: {
        "files": ", ".join(project.relative(one) for one in _table_files(data)) or "none"
    },
    kinds=("table",),
)


def _drawn(data: DataSet) -> Mapping[str, Any]:
    settings = JobSettings.of(data.entry)
    values = {name: value for name, value in settings.as_json().items() if name not in _NOT_DRAWN}
    sets = {name: settings.as_json()["marker_sets"][name] for name in settings.marker_sets}
    if settings.marker_set and not _shows_own(data.entry):
        sets = {settings.marker_set: sets.get(settings.marker_set)}
    return values | {f"marker_sets.{name}": said for name, said in sets.items()}


STYLE = Source(
    asset="export/style",
    by=JOBS,
    description="How a job draws: its marker set, overlays, scale bar, format, which cells and regions.",
    load=lambda data: data.entry,
    values=_drawn,
    kinds=("yaml",),
)


@lru_cache(8)
def _regions_in(path: str, when: int) -> Mapping[str, tuple[Roi, ...]]:
    from cytopipe.export.rois import read_rois

    found: dict[str, tuple[Roi, ...]] = {}
    for one in read_rois(Path(path)):
        found[one.fov] = (*found.get(one.fov, ()), one)
    return found


def _region_files(data: DataSet) -> list[Path]:
    entry = data.entry.settings
    return [data.resolve(entry.rois.file), *(_marker_file(data, entry) if _shows_own(entry) else [])]


def _region_digest(project: Project, data: DataSet) -> str | None:
    """The regions of this field alone, and the marker sets in a file that they name."""
    entry, path = data.entry.settings, _region_files(data)[0]
    try:
        regions = _regions_in(str(path), path.stat().st_mtime_ns).get(data.entry.fov, ())
        sets = _sets_in_file(data, entry) if _shows_own(entry) else {}
    except (CytopipeError, OSError):
        return None
    return digest_of(
        {
            one.roi_id: [
                one.name,
                list(one.tags),
                one.box,
                [one.roi_kind, one.closed, *map(list, one.geometry)],
                one.marker_set,
                sets.get(one.marker_set or entry.marker_set),
            ]
            for one in regions
        }
    )


REGIONS = Source(
    asset="export/regions",
    by=ROIS,
    description="The regions of interest of a field of view, and their marker sets in a file; never written.",
    load=lambda data: data.entry,
    files=_region_files,
    digest=_region_digest,
    kinds=("table",),
)
PAGES = Source(
    asset="export/pages",
    by=JOBS,
    description="Rows, columns and size of the pages of a gallery.",
    load=lambda data: data.entry,
    values=lambda data: data.entry.gallery.as_json(),
    kinds=("yaml",),
)

SOURCES = (*IMAGES.values(), TABLES, STYLE, REGIONS, PAGES)
