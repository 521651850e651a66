"""``cytopipe heatmap diff | render | validate``: checkpoints compared, drawn, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cytopipe.cli import Options
from cytopipe.commands.heatmap_places import checkpoint_file
from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import PATH, publish
from cytopipe.heatmap.parameters import RenderSettings

__all__ = ["diff", "render", "validate"]

_KINDS = ("png", "svg", "pdf")


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap diff runs/blood/main.3 runs/blood/t_cells.6\n"
    "  cytopipe heatmap diff blood.main.1 blood.main.2        checkpoints of a project\n"
    "  cytopipe heatmap diff A.h5ad B.h5ad --json\n"
    "  cytopipe heatmap diff A.h5ad B.h5ad --picture diff.png"
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--picture", type=PATH, metavar="FILE", help="Draw it as well: .png, .svg or .pdf.")
@click.option("--lines", type=click.IntRange(1), default=20, show_default=True, help="Lines of each kind.")
@click.pass_obj
def diff(options: Options, a: str, b: str, as_json: bool, picture: Path | None, lines: int) -> int:
    """Tell what differs between the checkpoints A and B.

    Parameters, channels, markers and filters as sets, statistics of the matrix, cells whose label moved,
    medians that shifted. Exit code 0 where nothing differs, 1 where something does.
    """
    from cytopipe.heatmap.artifact import load_heatmap_state
    from cytopipe.heatmap.diff import diff_states, draw_diff

    kind = _kind_of(picture) if picture is not None else ""
    before, after = (load_heatmap_state(checkpoint_file(options, one)) for one in (a, b))
    found = diff_states(before, after)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        click.echo(found.as_text(lines), nl=False)
    if picture is not None:
        from cytopipe.storage.formats.figure import figure_bytes

        publish(picture, figure_bytes(draw_diff(found), kind))
        if not as_json:
            click.echo(f"  {picture}")
    return 1 if found else 0


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap render runs/blood/main.3 -o main.png\n"
    "  cytopipe heatmap render blood.all -o all.pdf --no-dendrograms\n"
    "  cytopipe heatmap render A.h5ad -o A.svg --z-limit 2 --palette viridis"
)
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="FILE", help="Of the picture: .png, .svg or .pdf."
)
@parameter_options(RenderSettings)
@click.pass_obj
def render(options: Options, checkpoint: str, output: Path, **given: Any) -> None:
    """Draw the heat map of a checkpoint as it was saved: orders, colours, trees, side bars."""
    from cytopipe.heatmap.artifact import load_heatmap_state
    from cytopipe.heatmap.render import render_heatmap

    kind = _kind_of(output)
    state = load_heatmap_state(checkpoint_file(options, checkpoint))
    publish(output, render_heatmap(state, kind, RenderSettings(**said(RenderSettings, given))))
    click.echo(f"  {output}")


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap validate runs/blood/main.3\n"
    "  cytopipe heatmap validate runs/blood/*/*.h5ad\n"
    "  cytopipe heatmap validate A.h5ad B.zarr --json"
)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT...")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def validate(options: Options, checkpoints: tuple[str, ...], as_json: bool) -> int:
    """Tell everything that is wrong with checkpoints: shapes, fields, orders, schema, checksums.

    Exit code 0 where all are whole, 2 where one is not.
    """
    from dataclasses import asdict

    from cytopipe.errors import UserError
    from cytopipe.heatmap.artifact import validate_file

    found: dict[str, list[dict[str, str]]] = {}
    for text in checkpoints:
        try:
            findings = validate_file(checkpoint_file(options, text))
        except UserError as error:
            findings = error.findings
        found[text] = [asdict(one) for one in findings]
        if as_json:
            continue
        click.echo(f"{text}: {'whole' if not findings else f'{len(findings)} findings'}")
        for one in findings:
            click.echo(f"  {one}")
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    return 2 if any(found.values()) else 0


def _kind_of(picture: Path) -> str:
    from cytopipe.errors import ParameterError

    kind = picture.suffix.removeprefix(".").lower()
    if kind not in _KINDS:
        raise ParameterError(
            "is no picture that can be drawn", where=str(picture), expected=".png, .svg or .pdf"
        )
    return kind
