"""What pictures are made from: sets of partitions, images, tables, and what the project file says of a job.

Images and cells are watched field by field: what changed makes stale the pictures of its own field alone.
Settings of galleries are kept apart, so that another layout of pages draws no picture anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from cytopipe.defs.artifact import Partitions, Source
from cytopipe.defs.export_reading import (
    cell_files,
    cells_of,
    images_of,
    regions_of,
    sets_in_file,
)
from cytopipe.errors import CytopipeError
from cytopipe.export.items import CURRENT, presets_of
from cytopipe.export.parameters import JobSettings
from cytopipe.export.styles import MarkerSet
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.project.export.entry import SETS, FieldPart
from cytopipe.provenance import digest_of

__all__ = ["CELLS", "FOVS", "JOBS", "ROIS", "SOURCES", "files_of_field"]

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


def _settings(data: DataSet) -> JobSettings:
    """Of a job or of one of its fields of view, with absolute paths."""
    job = data.entry.settings if isinstance(data.entry, FieldPart) else data.entry
    return job.settings(data.base)


def _read_first(read: Callable[[JobSettings, str], object]) -> Callable[[DataSet], Any]:
    """Load the entry of a job or field, after `read` could say what is wrong with its files."""

    def load(data: DataSet) -> Any:
        read(_settings(data), getattr(data.entry, "fov", ""))
        return data.entry

    return load


def _shown_channels(settings: JobSettings, fov: str) -> set[str] | None:
    """The channels that pictures of a field of view show; None where that cannot be said."""
    sets: dict[str, Collection[str]] = {name: list(one) for name, one in settings.marker_sets.items()}
    sets |= {name: [style.channel for style in one.channels] for name, one in sets_in_file(settings).items()}
    shared = settings.marker_set or (next(iter(sets)) if len(sets) == 1 else "")
    names = {shared}
    if settings.shows_own:
        names = {one.marker_set or shared for one in regions_of(settings, fov)}
    listed = [name.removeprefix(CURRENT).split(",") for name in names if name.startswith(CURRENT)]
    if not listed and not names & sets.keys():
        return None
    shown = {channel for name in names for channel in sets.get(name, ())}
    return shown | {channel.strip() for channels in listed for channel in channels}


def _image_files(data: DataSet) -> list[Path]:
    """The files of the channels that the field shows, and the masks; none where they cannot be listed."""
    settings, fov = _settings(data), data.entry.fov
    try:
        shown = _shown_channels(settings, fov)
        return list(images_of(settings, fov).files(fov, None if shown is None else sorted(shown)))
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
        load=_read_first(lambda settings, fov: images_of(settings, fov).describe(fov)),
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


def _marker_file(settings: JobSettings) -> list[Path]:
    return [Path(settings.marker_set_file)] if settings.marker_set_file else []


def _as_values(marker_set: MarkerSet) -> list[list[Any]]:
    return [[one.channel, *one.colour, one.low, one.high] for one in marker_set.channels]


def _marker_files(data: DataSet) -> list[Path]:
    settings = _settings(data)
    return [] if settings.shows_own else _marker_file(settings)


def _marker_digest(project: Project, data: DataSet) -> str | None:
    """Of the marker sets in a file, the one that is shown counts."""
    settings = _settings(data)
    if settings.shows_own:
        return digest_of({})
    try:
        sets = {name: _as_values(one) for name, one in sets_in_file(settings).items()}
    except (CytopipeError, OSError):
        return None
    return digest_of({"marker_set": sets.get(settings.marker_set, [] if settings.marker_set else sets)})


MARKERS = Source(
    asset="export/marker_sets",
    by=JOBS,
    description="The marker set that a job shows, where it stands in a file; never written.",
    load=_read_first(lambda settings, fov: sets_in_file(settings)),
    files=_marker_files,
    digest=_marker_digest,
    describe=lambda project, data: {
        "files": ", ".join(project.relative(one) for one in _marker_files(data)) or "none"
    },
    kinds=("table",),
)


def _row_files(data: DataSet) -> list[Path]:
    settings = _settings(data)
    is_used = settings.mode == "cells" or settings.shows_own or any(one.color_by for one in settings.overlays)
    return cell_files(settings) if is_used else []


def _row_digest(project: Project, data: DataSet) -> str | None:
    """The cells of this field alone; and the names of all groups where colours are given to them in order."""
    settings, fov = _settings(data), data.entry.fov
    if not _row_files(data):
        return digest_of({})
    try:
        cells = cells_of(settings)
        assert cells is not None
        ordered = sorted({one.color_by for one in settings.overlays if one.color_by and not one.palette})
        return digest_of({"cells": cells.revision(fov, [*ordered, *_spread_columns(settings, fov)])})
    except (CytopipeError, OSError):
        return None


def _spread_columns(settings: JobSettings, fov: str) -> list[str]:
    """Columns of numbers that regions of a field show between limits of all cells."""
    presets, found = presets_of(settings), set()
    for one in regions_of(settings, fov) if presets is not None else ():
        with contextlib.suppress(CytopipeError):  # the region fails, and says why
            found.update(presets.spread_columns(one))
    return sorted(found)


def _rows(name: str, by: Partitions) -> Source:
    return Source(
        asset=f"export/{name}",
        by=by,
        description="The cells of a field of view in the cell table and the checkpoint; never written.",
        load=_read_first(lambda settings, fov: cells_of(settings)),
        files=_row_files,
        digest=_row_digest,
        kinds=("table",),
    )


ROWS = {
    FOVS: _rows("field_rows", FOVS),
    CELLS: _rows("cell_rows", CELLS),
    ROIS: _rows("roi_rows", ROIS),
}


def _drawn(data: DataSet) -> Mapping[str, Any]:
    settings = JobSettings.of(data.entry)
    values = {name: value for name, value in settings.as_json().items() if name not in _NOT_DRAWN}
    sets = {name: settings.as_json()["marker_sets"][name] for name in settings.marker_sets}
    if settings.marker_set and not settings.shows_own:
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


def _region_files(data: DataSet) -> list[Path]:
    settings = _settings(data)
    found = [Path(settings.rois.file), *(_marker_file(settings) if settings.shows_own else [])]
    presets = presets_of(settings)
    try:
        seen = regions_of(settings, data.entry.fov) if presets is not None else ()
    except (CytopipeError, OSError):
        return found
    return [*found, *sorted({path for one in seen for path in presets.files_for(one)})]


def _region_digest(project: Project, data: DataSet) -> str | None:
    """The regions of this field alone, and what they were seen with."""
    settings = _settings(data)
    try:
        regions = regions_of(settings, data.entry.fov)
        sets = {name: _as_values(one) for name, one in sets_in_file(settings).items()}
    except (CytopipeError, OSError):
        return None
    own = sets if settings.shows_own else {}
    presets, digests = presets_of(settings), Digests(project.home)
    return digest_of(
        {
            one.roi_id: [
                one.name,
                list(one.tags),
                one.box,
                [one.roi_kind, one.closed, *map(list, one.geometry)],
                one.marker_set,
                own if one.marker_set.startswith(CURRENT) else own.get(one.marker_set or settings.marker_set),
                [one.annotation_palette, one.mask_color_set, one.mask_visibility, one.mask_painter_state],
                [f"{path.name} {digests.sha256(path)}" for path in presets.files_for(one)] if presets else [],
            ]
            for one in regions
        }
    )


REGIONS = Source(
    asset="export/regions",
    by=ROIS,
    description="The regions of interest of a field of view, and what they were seen with; never written.",
    load=_read_first(lambda settings, fov: (regions_of(settings, fov), sets_in_file(settings))),
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

SOURCES = (*IMAGES.values(), *ROWS.values(), MARKERS, STYLE, REGIONS, PAGES)


def files_of_field(data: DataSet) -> list[Path]:
    """All files on which the plan of a field of view depends."""
    regions = _region_files(data) if _settings(data).rois is not None else []
    return [*_image_files(data), *_row_files(data), *_marker_file(_settings(data)), *regions]
