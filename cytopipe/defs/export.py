"""The asset graph of exports: pictures of whole fields of view, of cells and of regions, and galleries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Check, CheckResult, Described, Graph, Nothing, artifact
from cytopipe.defs.export_reading import plan_of
from cytopipe.defs.export_sources import CELLS, FOVS, IMAGES, JOBS, ROIS, ROWS, SOURCES, files_of_field
from cytopipe.defs.overview import overview_of
from cytopipe.export.items import CODE
from cytopipe.storage.formats import FORMATS

if TYPE_CHECKING:
    from cytopipe.defs.artifact import Partitions
    from cytopipe.export.gallery import GalleryItem
    from cytopipe.export.items import Plan
    from cytopipe.project import DataSet
    from cytopipe.project.export.entry import ExportJob
    from cytopipe.storage.archive import Handle

__all__ = ["EXPORT"]


def _all_made(value: Mapping[str, Any], data: DataSet) -> CheckResult:
    planned = _plan(data).by_fov.get(data.entry.fov, ())
    names = [one.file.rpartition("/")[2] for one in planned]
    missing = [f"{name}: {one.fault}".rstrip(": ") for name, one in zip(names, planned, strict=True)
               if name not in value]  # fmt: skip
    return CheckResult(tuple(missing), {"n_pictures": len(value), "n_planned": len(planned)})


ALL_MADE = Check(
    name="all_pictures_made",
    description="Every picture that the job asks of this field of view was made.",
    evaluate=_all_made,
    blocking=False,
)


def _plan(data: DataSet) -> Plan:
    return plan_of(data.entry.settings.settings(data.base), data.entry.fov, files_of_field(data))


def _pictures(data: DataSet) -> Described:
    from cytopipe.export.fields import make_pictures
    from cytopipe.export.galleries import gallery_items, montage

    fov, plan = data.entry.fov, _plan(data)
    if not plan.items:
        return Described(Nothing("the job asks nothing of this field of view"))
    made = make_pictures(plan, fov)
    counts = {"n_pictures": len(made.pictures), "n_failed": len(made.failed)}
    notes = {"failed": dict(list(made.failed.items())[:50])} if made.failed else {}
    picture = montage(gallery_items(plan, fovs=[fov])) or None
    return Described(list(made.pictures.items()), counts=counts, notes=notes, picture=picture)


def _of_fields(name: str, by: Partitions) -> Any:
    return artifact(
        f"export/{name}",
        FORMATS["field_pictures"],
        by=by,
        version=CODE,
        place="export/{job}/{fov}",
        inputs={"pixels": IMAGES[by].asset, "rows": ROWS[by].asset},
        checks=(ALL_MADE,),
    )


@_of_fields("images", FOVS)
def images(data: DataSet, pixels: Any, rows: Any, style: Any, marker_sets: Any) -> Described:
    """Whole fields of view: channels in their colours, overlays, a scale bar."""
    return _pictures(data)


@_of_fields("cells", CELLS)
def cells(data: DataSet, pixels: Any, rows: Any, style: Any, marker_sets: Any) -> Described:
    """Single cells of a field of view, one picture each: those that the condition of the job chooses."""
    return _pictures(data)


@_of_fields("rois", ROIS)
def rois(data: DataSet, pixels: Any, rows: Any, regions: Any, style: Any, marker_sets: Any) -> Described:
    """Regions of interest of a field of view, one picture each, as they were seen or with shared settings."""
    return _pictures(data)


def _of_job(asset: str, format: str, place: str) -> Any:
    pictures = ("images", "cells", "rois")
    return artifact(
        asset,
        FORMATS[format],
        by=JOBS,
        version=CODE,
        place=place,
        optional=pictures,
        dispensable=pictures,
    )


def _of_all(
    data: DataSet, made: Mapping[str, Handle], draw: Callable[[Plan], tuple[Any, bytes | None]]
) -> Described:
    """What `draw` makes of the fields of view that have pictures: a value, and a picture of it."""
    from cytopipe.defs.export_reading import cells_of
    from cytopipe.export.fields import plan_fields

    job: ExportJob = data.entry
    fovs = [fov for plain, fov in job.fields(data.base).items() if f"{data.key}.{plain}" in made]
    if not fovs:
        return Described(Nothing("no field of view has pictures"))
    settings = job.settings(data.base)
    changed = settings.model_copy(update={"output": str(data.folder), "fovs": fovs})
    plan = plan_fields(changed, cells_of(settings))
    value, picture = draw(plan)
    return Described(value, counts={"n_pictures": sum(not one.fault for one in plan.items)}, picture=picture)


@_of_job("export/gallery", "gallery_pdf", "export/{key}/gallery.pdf")
def gallery(
    data: DataSet,
    images: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    rois: Mapping[str, Handle],
    style: Any,
    marker_sets: Any,
    pages: Any,
) -> Described:
    """All pictures of a job on pages, with captions that can be searched; press `open` below."""
    from cytopipe.export.galleries import MOST_SHOWN, gallery_bytes, gallery_items, montage

    first: list[GalleryItem] = []

    def noted(plan: Plan) -> Iterator[GalleryItem]:
        for one in gallery_items(plan):
            if len(first) < MOST_SHOWN:
                first.append(one)
            yield one

    def draw(plan: Plan) -> tuple[bytes, bytes]:
        return gallery_bytes(noted(plan), "pdf", plan, data.key), montage(first)

    return _of_all(data, {**images, **cells, **rois}, draw)


@_of_job("export/contact_sheet", "html", "export/{key}/index.html")
def contact_sheet(
    data: DataSet,
    images: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    rois: Mapping[str, Handle],
    style: Any,
    marker_sets: Any,
) -> Described:
    """All pictures of a job as a page of thumbnails that can be searched; press `open` below."""
    from cytopipe.export.galleries import gallery_bytes, gallery_items

    def draw(plan: Plan) -> tuple[str, None]:
        items = gallery_items(plan, folder=data.folder)
        return gallery_bytes(items, "html", plan, data.key).decode(), None

    return _of_all(data, {**images, **cells, **rois}, draw)


EXPORT = Graph(*SOURCES, images, cells, rois, gallery, contact_sheet, overview_of("export/gallery"))
