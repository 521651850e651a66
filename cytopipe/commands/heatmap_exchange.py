"""``cytopipe heatmap palette | import``: names and colours as a file, and the history of UELer."""

from __future__ import annotations

from pathlib import Path

import click

from cytopipe.cli import Options
from cytopipe.commands.heatmap_places import checkpoint_file
from cytopipe.commands.paths import PATH, publish
from cytopipe.commands.words import counted

__all__ = ["import_", "palette"]


@click.group(
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap palette export runs/blood/main.2 colours.json\n"
    "  cytopipe heatmap palette import colours.json runs/other/main.2 -o coloured.h5ad"
)
def palette() -> None:
    """Names and colours of metaclusters as a theme: exported from one checkpoint, imported into another."""


@palette.command(
    "export",
    epilog="\b\nExamples:\n  cytopipe heatmap palette export runs/blood/main.2 colours.json",
)
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.argument("output", type=PATH, metavar="FILE.json")
@click.pass_obj
def export(options: Options, checkpoint: str, output: Path) -> None:
    """Write names and colours of a CHECKPOINT as JSON."""
    from cytopipe.heatmap.artifact import load_heatmap_state
    from cytopipe.heatmap.palettes import export_palette, palette_of

    state = load_heatmap_state(checkpoint_file(options, checkpoint))
    publish(output, export_palette(palette_of(state)))
    click.echo(f"{counted(len(state.colours), 'colour')}\n  {output}")


@palette.command(
    "import",
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap palette import colours.json runs/blood/main.2 -o coloured.h5ad\n"
    "  cytopipe heatmap palette import other.h5ad runs/blood/main.2 -o coloured.h5ad --by number",
)
@click.argument("theme", type=PATH, metavar="PALETTE")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE.h5ad", help="The new checkpoint.")
@click.option(
    "--by",
    type=click.Choice(["name", "number"]),
    default="name",
    show_default=True,
    help="Which metacluster gets which colour.",
)
@click.pass_obj
def import_palette(options: Options, theme: Path, checkpoint: str, output: Path, by: str) -> None:
    """Give a CHECKPOINT the colours of a PALETTE (JSON, or another checkpoint), as its child."""
    from cytopipe.errors import InputError
    from cytopipe.heatmap.artifact import load_heatmap_state, save_heatmap_state
    from cytopipe.heatmap.palettes import read_palette, with_palette
    from cytopipe.heatmap.state import new_id, now

    if output.exists():
        raise InputError("is there already", where=str(output), next="Choose another name.")
    before = load_heatmap_state(checkpoint_file(options, checkpoint))
    state, absent = with_palette(before, read_palette(theme), by)  # type: ignore[arg-type]
    state = state.replace(
        id=new_id(), parents=(before.id,), ancestors=before.history_below(), created_at=now()
    )
    save_heatmap_state(state, output)
    if absent:
        click.echo(f"keep their colour: {', '.join(absent)}")
    click.echo(f"  {output}")


@click.command(
    "import",
    epilog="\b\nExamples:\n"
    "  cytopipe heatmap import my_ueler_project -o imported\n"
    "  cytopipe heatmap import my_ueler_project/.UELer/dataset_1 -o imported",
)
@click.argument("folder", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="FOLDER", help="For the checkpoints.")
def import_(folder: Path, output: Path) -> None:
    """Import the history of checkpoints of a UELer project; what UELer had not saved is told."""
    from cytopipe.errors import InputError
    from cytopipe.heatmap.artifact import save_heatmap_state
    from cytopipe.heatmap.ueler import import_ueler
    from cytopipe.storage.names import slug

    found = import_ueler(folder)
    names = [f"{slug(one.path.stem)}_{one.state.id[:8]}.h5ad" for one in found]
    if taken := [name for name in names if (output / name).exists()]:
        raise InputError("is there already", where=str(output / taken[0]), next="Choose another folder.")
    for name, one in zip(names, found, strict=True):
        save_heatmap_state(one.state, output / name)
        click.echo(f"{one.state.step_id}  {output / name}")
        for words in one.lost:
            click.echo(f"  lost: {words}")
    click.echo(f"{counted(len(found), 'checkpoint')} imported")
