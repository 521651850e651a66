"""``cytopipe export rois``: regions of interest listed, put together, and taken out, as UELer keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.commands.paths import FILE, PATH, publish
from cytopipe.commands.words import counted

if TYPE_CHECKING:
    from cytopipe.export.rois import Roi

__all__ = ["rois"]

_FOV = click.option("--fov", "fovs", multiple=True, metavar="NAME", help="Of this field of view. Repeatable.")
_TAG = click.option("--tag", "tags", multiple=True, metavar="TAG", help="With this tag. Repeatable.")
_NAME = click.option("--name", "names", multiple=True, metavar="NAME", help="Of this name. Repeatable.")
_OUTPUT = click.option(
    "-o", "--output", type=PATH, required=True, metavar="FILE.csv", help="File of regions that is written."
)


@click.group(
    epilog="\b\nExamples:\n"
    "  cytopipe export rois list rois.csv\n"
    "  cytopipe export rois import .UELer/roi_manager.csv -o rois.csv\n"
    "  cytopipe export rois export rois.csv --tag fig1 -o fig1.csv"
)
def rois() -> None:
    """Regions of interest: a CSV file of 24 columns, which UELer reads and writes, too."""


@rois.command("list", epilog="\b\nExamples:\n  cytopipe export rois list rois.csv --fov fov1 --json")
@click.argument("file", type=FILE, metavar="FILE.csv")
@_FOV
@_TAG
@_NAME
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(
    file: Path, fovs: tuple[str, ...], tags: tuple[str, ...], names: tuple[str, ...], as_json: bool
) -> None:
    """List the regions of a FILE: name, field of view, size, marker set, tags."""
    from dataclasses import asdict

    chosen = _chosen(file, fovs, tags, names)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in chosen], indent=2, ensure_ascii=False))
        return
    rows = [("name", "field of view", "box (px)", "kind", "marker set", "tags", "id")]
    rows += [
        (
            one.name,
            one.fov or f"map {one.map_id}",
            _box(one),
            ("polygon" if one.closed else "line") if one.is_shape else "view",
            one.marker_set,
            ",".join(one.tags),
            one.roi_id[:8],
        )
        for one in chosen
    ]
    widths = [max(len(_one_line(row[at])) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = (_one_line(value).ljust(width) for value, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@rois.command(
    "import",
    epilog="\b\nExamples:\n  cytopipe export rois import .UELer/roi_manager.csv more.csv -o rois.csv",
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="FILE.csv...")
@_OUTPUT
def import_(files: tuple[Path, ...], output: Path) -> None:
    """Check the regions of FILES and put them together into one; regions that are there already stay.

    Missing columns are filled in, and a region without an identifier gets one. A region that stands in
    several files is taken once; of two that differ, the one that was updated last.
    """
    from cytopipe.export.rois import format_rois

    found: dict[str, Roi] = {}
    for file in ([output] if output.exists() else []) + list(files):
        for one in _read(file):
            before = found.get(one.roi_id)
            if before is None or one.updated_at >= before.updated_at:
                found[one.roi_id] = one
    publish(output, format_rois(found.values()))
    click.echo(f"{counted(len(found), 'region')}\n  {output}")


@rois.command(
    "export", epilog="\b\nExamples:\n  cytopipe export rois export rois.csv --fov fov1 --tag fig1 -o fig1.csv"
)
@click.argument("file", type=FILE, metavar="FILE.csv")
@_OUTPUT
@_FOV
@_TAG
@_NAME
def export(
    file: Path, output: Path, fovs: tuple[str, ...], tags: tuple[str, ...], names: tuple[str, ...]
) -> None:
    """Write some regions of a FILE as a CSV file that UELer reads."""
    from cytopipe.errors import InputError
    from cytopipe.export.rois import format_rois

    chosen = _chosen(file, fovs, tags, names)
    if not chosen:
        raise InputError(
            "no region fits", where=str(file), next="Look at them: cytopipe export rois list FILE"
        )
    publish(output, format_rois(chosen))
    click.echo(f"{counted(len(chosen), 'region')}\n  {output}")


def _read(file: Path) -> list[Roi]:
    from cytopipe.export.rois import read_rois

    return read_rois(file)


def _chosen(file: Path, fovs: tuple[str, ...], tags: tuple[str, ...], names: tuple[str, ...]) -> list[Roi]:
    return [
        one
        for one in _read(file)
        if (not fovs or one.fov in fovs)
        and (not tags or set(tags) & set(one.tags))
        and (not names or one.name in names)
    ]


def _box(roi: Roi) -> str:
    box = roi.box
    sides = [box[name] for name in ("x_min", "x_max", "y_min", "y_max")]
    if None in sides:
        return ""
    x0, x1, y0, y1 = sides
    return f"x {x0:g} to {x1:g}, y {y0:g} to {y1:g}"


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)
