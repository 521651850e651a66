"""``cytopipe export run | preview | gallery | images``: the pictures of a job file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import FILE, PATH, paste, publish
from cytopipe.commands.words import counted
from cytopipe.export.parameters import CellSettings, JobSettings, PictureSettings, RoiSettings
from cytopipe.parameters import ParameterSet

if TYPE_CHECKING:
    from cytopipe.export.job import Event
    from cytopipe.export.writing import ExportResult

__all__ = ["gallery", "images", "preview", "run"]

_QUIET = click.option("-q", "--quiet", is_flag=True, help="Say only what has to be known.")
_FOV = click.option("--fov", "fovs", multiple=True, metavar="NAME", help="This field of view. Repeatable.")


_CHOSEN: dict[type[ParameterSet], tuple[str, ...]] = {
    JobSettings: ("mode", "marker_set"),
    CellSettings: ("where",),
    RoiSettings: ("settings",),
}


def _what_is_shown(command: Callable) -> Callable:
    """Options that choose what is shown, in place of what the file says."""
    for model, names in reversed(_CHOSEN.items()):
        command = parameter_options(model, only=names)(command)
    return command


def _settings(job: Path, fovs: tuple[str, ...], given: dict[str, Any], **changes: Any) -> JobSettings:
    from cytopipe.export.job_file import read_job

    changes |= said(JobSettings, {name: given.pop(name, None) for name in _CHOSEN[JobSettings]})
    for name, model in (("cells", CellSettings), ("rois", RoiSettings)):
        if chosen := said(model, {one: given.pop(one, None) for one in _CHOSEN[model]}):
            changes[name] = chosen
    changes |= said(PictureSettings, given)
    if fovs:
        changes["fovs"] = list(fovs)
    return read_job(job, **{name: value for name, value in changes.items() if value is not None})


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe export run job.yaml --dry-run          what would be made, and where\n"
    "  cytopipe export run job.yaml\n"
    "  cytopipe export run job.yaml --fov fov1 --file-format tiff --dpi 600 -o figures\n"
    "  cytopipe export run job.yaml --where \"phenotype == 'B cell'\" -o b_cells\n"
    "  cytopipe export run job.yaml --mode rois --settings shared --marker-set immune\n"
    "  cytopipe export run job.yaml --engine local:8 --log export.jsonl\n"
    "\b\nExit codes: 0 all is made; 1 some pictures failed (see manifest.csv); 2 the job is wrong;\n"
    "3 the folder cannot be written; 130 interrupted: the same command goes on."
)
@click.argument("job", type=FILE, metavar="JOB.yaml")
@click.option("-o", "--output", type=PATH, metavar="FOLDER", help="Folder for the pictures.")
@_FOV
@_what_is_shown
@parameter_options(PictureSettings)
@click.option("--engine", metavar="SPEC", help="Where pictures are made: serial, local, local:N, dask.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be made; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON.")
@click.option("--log", type=PATH, metavar="FILE.jsonl", help="Add a JSON line for each picture to this file.")
@_QUIET
def run(
    job: Path,
    output: Path | None,
    fovs: tuple[str, ...],
    engine: str | None,
    dry_run: bool,
    as_json: bool,
    log: Path | None,
    quiet: bool,
    **given: Any,
) -> int:
    """Make the pictures of a JOB: those that are missing or stale.

    A picture is kept where the images, the marker set and all settings that decide it are the same. Options
    go before what the file says. A picture that fails does not stop the others.
    """
    from cytopipe.commands.progress import open_display
    from cytopipe.errors import Interrupted
    from cytopipe.export.job import Job, log_to
    from cytopipe.interrupts import stop_on_signals

    with open_display(quiet=quiet) as display:
        display.step("planning", 0, 0)
        settings = _settings(job, fovs, given, output=str(output) if output else None, engine=engine)
        work = Job(settings)
        if dry_run:
            planned = work.dry_run()
            display.end("planning")
            _tell_plan(planned, as_json)
            return 1 if any(one.state == "failed" for one in planned) else 0
        total = len(work.plan.items)
        display.end("planning")
        if not quiet:
            display.say(
                f"{counted(total, 'picture')} of {counted(len(work.plan.by_fov), 'field')} of view "
                f"-> {settings.output}"
            )
        display.step("pictures", 0, total)

        def progress(event: Event) -> None:
            display.step("pictures", event.done, event.total)

        work.observe(progress)
        if log is not None:
            work.observe(log_to(log))
        with stop_on_signals(display.say) as stop, work:
            work.start()
            while not work.wait(0.1):
                if stop():
                    work.cancel()
    results = work.results()
    if as_json:
        click.echo(json.dumps([one.as_json() for one in results], indent=2, ensure_ascii=False))
    else:
        click.echo(f"{settings.output}: {_counts(results)}")
    _tell_failures(results)
    if work.status().phase == "cancelled":
        raise Interrupted(
            "the export was interrupted; what was made is kept",
            next=f"Go on: cytopipe export run {paste(job)}",
        )
    return 1 if any(one.state == "failed" for one in results) else 0


def _counts(results: list[ExportResult]) -> str:
    numbers = Counter(one.state for one in results)
    return ", ".join(f"{numbers[state]:,} {state}" for state in _STATES if numbers[state])


_STATES = ("planned", "exported", "kept", "failed", "cancelled")


def _tell_plan(planned: list[ExportResult], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([one.as_json() for one in planned], indent=2, ensure_ascii=False))
        return
    for one in planned:
        if one.state != "failed":
            click.echo(f"{one.state:8} {one.path}")
    click.echo(_counts(planned))
    _tell_failures(planned)


def _tell_failures(results: list[ExportResult], most: int = 10) -> None:
    """Failures by their reason: a missing channel fails the thousand cells of a field for one reason."""
    reasons: dict[str, list[ExportResult]] = {}
    for one in results:
        if one.state == "failed":
            reasons.setdefault(one.error, []).append(one)
    for words, some in list(reasons.items())[:most]:
        more = f" and {len(some) - 1:,} more" if len(some) > 1 else ""
        click.echo(f"cytopipe: {some[0].file}{more}: {words}", err=True)
    if len(reasons) > most:
        click.echo(f"cytopipe: and {len(reasons) - most:,} more reasons; see manifest.csv", err=True)


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe export preview job.yaml -o look.png\n"
    '  cytopipe export preview job.yaml -o look.png --item "cell 12" --fov fov2'
)
@click.argument("job", type=FILE, metavar="JOB.yaml")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.png", help="Of the picture.")
@click.option("--item", default="", metavar="NAME", help="Name or file of the picture [default: the first].")
@_FOV
@_what_is_shown
@parameter_options(PictureSettings, only=("downsample", "scale_bar", "bar_fraction", "bar_um"))
def preview(job: Path, output: Path, item: str, fovs: tuple[str, ...], **given: Any) -> None:
    """Make one picture of a JOB as a PNG, to look at before thousands are made."""
    from cytopipe.errors import ParameterError
    from cytopipe.export.encoding import encode
    from cytopipe.export.job import Job

    if output.suffix.lower() != ".png":
        raise ParameterError("a preview is a PNG", where=str(output), expected="a name that ends with .png")
    work = Job(_settings(job, fovs, given))
    chosen, drawn = work.preview(item)
    publish(output, encode(drawn.picture, "png", dpi=work.settings.dpi))
    height, width = drawn.picture.shape[:2]
    bar = f", bar {drawn.bar.label}" if drawn.bar is not None else ""
    click.echo(f"{chosen.name} of {chosen.fov}: {width} x {height} px{bar}\n  {output}")


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe export gallery job.yaml -o gallery.pdf\n"
    "  cytopipe export gallery job.yaml -o gallery.html        thumbnails that link to the pictures\n"
    "  cytopipe export gallery job.yaml -o pages.pdf --rows 1 --columns 1"
)
@click.argument("job", type=FILE, metavar="JOB.yaml")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="The gallery: .pdf or .html.")
@click.option("--rows", type=click.IntRange(1, 20), help="Rows of a page.")
@click.option("--columns", type=click.IntRange(1, 20), help="Columns of a page.")
@click.option("--title", default="", help="Title [default: the name of the job file].")
@_FOV
@_what_is_shown
@_QUIET
def gallery(
    job: Path,
    output: Path,
    rows: int | None,
    columns: int | None,
    title: str,
    fovs: tuple[str, ...],
    quiet: bool,
    **given: Any,
) -> int:
    """All pictures of a JOB in one document, with captions and scale bars; its text can be searched."""
    from cytopipe.commands.progress import open_display
    from cytopipe.errors import Interrupted, ParameterError
    from cytopipe.export.galleries import gallery_bytes, gallery_items
    from cytopipe.export.job import Job
    from cytopipe.interrupts import stop_on_signals

    kind = output.suffix.lower().removeprefix(".")
    if kind not in ("pdf", "html"):
        raise ParameterError(
            "is no gallery", where=str(output), expected="a name that ends with .pdf or .html"
        )
    settings = _settings(job, fovs, given)
    pages = {name: value for name, value in (("rows", rows), ("columns", columns)) if value is not None}
    settings = settings.model_copy(update={"gallery": settings.gallery.replace(**pages)})
    failures: list[str] = []
    with open_display(quiet=quiet) as display, stop_on_signals(display.say) as stop:
        display.step("planning", 0, 0)
        plan = Job(settings).plan
        display.end("planning")
        items = gallery_items(
            plan,
            folder=output.parent,
            failed=lambda item, error: failures.append(f"{item.file}: {error}"),
            progress=lambda done, total: display.step("pictures", done, total),
            stop=stop,
        )
        data = gallery_bytes(items, kind, plan, title or job.stem)
        if stop():
            raise Interrupted("the gallery was interrupted; nothing was written")
    publish(output, data)
    for one in failures[:10]:
        click.echo(f"cytopipe: {one}", err=True)
    if len(failures) > 10:
        click.echo(f"cytopipe: and {len(failures) - 10:,} more", err=True)
    made = len(plan.items) - len(failures)
    click.echo(f"{counted(made, 'picture')}{f', {len(failures):,} failed' if failures else ''}\n  {output}")
    return 1 if failures else 0


@click.command(
    epilog="\b\nExamples:\n  cytopipe export images data\n  cytopipe export images data --fov fov1 --json"
)
@click.argument("source", type=PATH, metavar="FOLDER")
@_FOV
@click.option("--kind", default="auto", show_default=True, help="Layout of the images.")
@click.option("--masks", type=PATH, metavar="FOLDER", help="Folder of the masks.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def images(source: Path, fovs: tuple[str, ...], kind: str, masks: Path | None, as_json: bool) -> int:
    """Tell what a FOLDER of images holds: fields of view, their size, channels and masks."""
    from cytopipe.errors import CytopipeError
    from cytopipe.export.sources import open_source

    opened = open_source(source, kind, None, masks)
    found, faults = [], []
    for fov in fovs or opened.fov_names():
        try:
            info = opened.describe(fov)
        except CytopipeError as error:
            faults.append(str(error))
            continue
        found.append(
            {
                "fov": fov,
                "height_px": info.height,
                "width_px": info.width,
                "pixel_size_um": info.pixel_size_um,
                "dtype": str(info.dtype),
                "channels": list(info.channels),
                "masks": list(info.masks),
            }
        )
    if as_json:
        click.echo(json.dumps({"kind": opened.kind, "fovs": found}, indent=2, ensure_ascii=False))
    else:
        click.echo(f"{opened.kind}: {counted(len(opened.fov_names()), 'field')} of view")
        for one in found:
            pixel = f"{one['pixel_size_um']:g} µm" if one["pixel_size_um"] else "size unknown"
            click.echo(
                f"{one['fov']}: {one['width_px']} x {one['height_px']} px of {pixel}, {one['dtype']}\n"
                f"  channels: {', '.join(one['channels'])}\n"
                f"  masks: {', '.join(one['masks']) or 'none'}"
            )
    for words in faults:
        click.echo(f"cytopipe: {words}", err=True)
    return 2 if faults else 0
