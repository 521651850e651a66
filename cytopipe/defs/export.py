"""The asset graph of exports: pictures of whole fields of view, of cells and of regions, and galleries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Check, CheckResult, Described, Graph, Nothing, artifact
from cytopipe.defs.export_sources import CELLS, FOVS, IMAGES, JOBS, ROIS, SOURCES
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
    from cytopipe.export.fields import plan_field

    return plan_field(data.entry.settings.settings(data.base), data.entry.fov)


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
        inputs={"pixels": IMAGES[by].asset},
        checks=(ALL_MADE,),
    )


@_of_fields("images", FOVS)
def images(data: DataSet, pixels: Any, style: Any, tables: Any) -> Described:
    """Whole fields of view: channels in their colours, overlays, a scale bar."""
    return _pictures(data)


@_of_fields("cells", CELLS)
def cells(data: DataSet, pixels: Any, style: Any, tables: Any) -> Described:
    """Single cells of a field of view, one picture each: those that the condition of the job chooses."""
    return _pictures(data)


@_of_fields("rois", ROIS)
def rois(data: DataSet, pixels: Any, regions: Any, style: Any, tables: Any) -> Described:
    """Regions of interest of a field of view, one picture each, with their own or shared settings."""
    return _pictures(data)


def _whole_plan(data: DataSet, made: Mapping[str, Handle]) -> Plan | None:
    """The plan of the fields of view that have pictures; None where there is none."""
    from cytopipe.export.fields import plan_fields

    job: ExportJob = data.entry
    fovs = [fov for plain, fov in job.fields(data.base).items() if f"{data.key}.{plain}" in made]
    if not fovs:
        return None
    settings = job.settings(data.base)
    return plan_fields(settings.model_copy(update={"output": str(data.folder), "fovs": fovs}))


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


@_of_job("export/gallery", "gallery_pdf", "export/{key}/gallery.pdf")
def gallery(
    data: DataSet,
    images: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    rois: Mapping[str, Handle],
    style: Any,
    tables: Any,
    pages: Any,
) -> Described:
    """All pictures of a job on pages, with captions that can be searched; press `open` below."""
    from cytopipe.export.galleries import MOST_SHOWN, gallery_bytes, gallery_items, montage

    plan = _whole_plan(data, {**images, **cells, **rois})
    if plan is None:
        return Described(Nothing("no field of view has pictures"))
    n_pictures = sum(not one.fault for one in plan.items)
    first: list[GalleryItem] = []

    def noted() -> Iterator[GalleryItem]:
        for one in gallery_items(plan):
            if len(first) < MOST_SHOWN:
                first.append(one)
            yield one

    pdf = gallery_bytes(noted(), "pdf", plan, data.key)
    return Described(pdf, counts={"n_pictures": n_pictures}, picture=montage(first))


@_of_job("export/contact_sheet", "html", "export/{key}/index.html")
def contact_sheet(
    data: DataSet,
    images: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    rois: Mapping[str, Handle],
    style: Any,
    tables: Any,
) -> Described:
    """All pictures of a job as a page of thumbnails that can be searched; press `open` below."""
    from cytopipe.export.galleries import gallery_bytes, gallery_items

    plan = _whole_plan(data, {**images, **cells, **rois})
    if plan is None:
        return Described(Nothing("no field of view has pictures"))
    page = gallery_bytes(gallery_items(plan, folder=data.folder), "html", plan, data.key).decode()
    return Described(page, counts={"n_pictures": sum(not one.fault for one in plan.items)})


EXPORT = Graph(*SOURCES, images, cells, rois, gallery, contact_sheet, overview_of("export/gallery"))
