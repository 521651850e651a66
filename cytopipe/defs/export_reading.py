"""Files of export jobs, read once for the many fields of view of a job, and again when they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.export.parameters import JobSettings, RoiSettings

if TYPE_CHECKING:
    from cytopipe.export.cells import Cells
    from cytopipe.export.items import Plan
    from cytopipe.export.rois import Roi
    from cytopipe.export.sources import ImageSource
    from cytopipe.export.styles import MarkerSet

__all__ = [
    "cell_files",
    "cells_of",
    "images_of",
    "plan_of",
    "regions_of",
    "sets_in_file",
]

Stamp = tuple[str, int, int, int]


def _stamp(path: Path | str) -> Stamp:
    """Path, size, time of change and inode of a file; zeros where it is not there."""
    try:
        facts = Path(path).stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino


def images_of(settings: JobSettings, fov: str = "") -> ImageSource:
    """The images of a job; looked up anew where the field of view is not among those that are known."""
    wanted = settings.source, settings.kind, settings.masks
    if fov and fov not in _images(*wanted).fov_names():
        _images.cache_clear()  # the field was added later
    return _images(*wanted)


@lru_cache(32)
def _images(path: str, kind: str, masks: str) -> ImageSource:
    from cytopipe.export.sources import open_source

    return open_source(path, kind, None, masks or None)


def cell_files(settings: JobSettings) -> list[Path]:
    """The cell table and the checkpoint, where they are named."""
    named = [settings.cells.table, settings.cells.checkpoint] if settings.cells is not None else []
    return [Path(path) for path in named if path]


def cells_of(settings: JobSettings) -> Cells | None:
    """The cell table of a job; None where it names none."""
    files = cell_files(settings)
    return _cells(*(_stamp(one) for one in files)) if files else None


@lru_cache(1)
def _cells(table: Stamp, checkpoint: Stamp | None = None) -> Cells:
    from cytopipe.export.cells import read_cell_table

    return read_cell_table(Path(table[0]), Path(checkpoint[0]) if checkpoint else None)


def regions_of(settings: JobSettings, fov: str) -> tuple[Roi, ...]:
    """The regions of interest of a field of view that a job chooses."""
    if settings.rois is None:
        return ()
    return _regions(_stamp(settings.rois.file), settings.rois.model_dump_json()).get(fov, ())


@lru_cache(8)
def _regions(file: Stamp, settings: str) -> Mapping[str, tuple[Roi, ...]]:
    """By field of view."""
    from cytopipe.export.items import chosen_rois
    from cytopipe.export.rois import read_rois

    found: dict[str, list[Roi]] = {}
    for one in chosen_rois(read_rois(Path(file[0])), RoiSettings.model_validate_json(settings)):
        found.setdefault(one.fov, []).append(one)
    return {fov: tuple(some) for fov, some in found.items()}


def sets_in_file(settings: JobSettings) -> Mapping[str, MarkerSet]:
    """Marker sets that stand in a file of their own, without those that the job names itself."""
    if not settings.marker_set_file:
        return {}
    known = _sets(_stamp(settings.marker_set_file))
    return {name: one for name, one in known.items() if name not in settings.marker_sets}


@lru_cache(8)
def _sets(file: Stamp) -> Mapping[str, MarkerSet]:
    from cytopipe.export.markers import read_marker_sets

    return read_marker_sets(Path(file[0]))


def plan_of(settings: JobSettings, fov: str, files: Iterable[Path]) -> Plan:
    """The plan of one field of view: made once for what draws it and for what checks it.

    Parameters
    ----------
    settings : JobSettings
        With absolute paths.
    fov : str
    files : iterable of Path
        All that the plan depends on; where one of them changed, the plan is made anew.
    """
    return _plan(settings.model_dump_json(), fov, tuple(_stamp(one) for one in files))


@lru_cache(16)
def _plan(settings: str, fov: str, files: tuple[Stamp, ...]) -> Plan:
    from cytopipe.export.fields import plan_field

    job = JobSettings.model_validate_json(settings)
    return plan_field(job, fov, cells_of(job))
