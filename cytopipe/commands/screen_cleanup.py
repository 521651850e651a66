"""``cytopipe screen cleanup``: intermediates that were used are removed; they count as made until something
needs them again.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from cytopipe.cli import Options
from cytopipe.commands.words import counted

__all__ = ["cleanup"]

_SHOWN = 20


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe screen cleanup --dry-run                 what could go, and what is still needed\n"
    "  cytopipe screen cleanup --stage log_filter -p crop.1-A1\n"
    "  cytopipe screen cleanup --stage align_sbs --yes   keep the OME-Zarr, remove the TIFFs\n"
    "  cytopipe screen cleanup --format omezarr --stage find_peaks"
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME",
    help="A stage of `cytopipe screen stages`; repeatable [default: those needed only on the way].",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["tiff", "omezarr", "both"]),
    default="tiff",
    show_default=True,
    help="TIFFs, OME-Zarr exports, or both.",
)
@click.option(
    "-p", "--partition", "partitions", multiple=True, help="A screen, plate, well or tile. Repeatable."
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cleanup(
    options: Options,
    stages: tuple[str, ...],
    form: str,
    partitions: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> int:
    """Remove images that were needed only on the way, when all that is made from them was made.

    What a later stage, or an export that is switched on, has not consumed yet is refused and listed; the rest
    can go, also exports that were switched off since. What is removed counts as made. If something needs it
    again, it is made again before that, by the same command as everything else. Exit code 1 if anything was
    refused.
    """
    from cytopipe.commands.project_context import open_project

    assets = list(_assets(stages, form))
    with open_project(options) as opened:
        from cytopipe.defs.removal import remove, survey
        from cytopipe.defs.selection import select, switched_off

        known = [asset for asset in assets if asset in opened.ledger.graph.makers]
        chosen = [(one.asset, one.key) for one in select(opened.ledger, known, partitions)]
        chosen += switched_off(opened.ledger, known, partitions)
        found = survey(opened.ledger, chosen)
        for one in found.refused[:_SHOWN]:
            click.echo(f"kept     {one.what}: {one.found}")
        if len(found.refused) > _SHOWN:
            click.echo(f"kept     and {len(found.refused) - _SHOWN:,} more")
        code = 1 if found.refused else 0
        if not found.places:
            click.echo("nothing to remove")
            return code
        frees = f"{counted(found.n_files, 'file')}, {found.size_bytes:,} bytes"
        click.echo(f"{'would remove' if dry_run else 'removes'}  {_told(found.places)}: {frees}")
        if dry_run or not (yes or click.confirm("Remove them?")):
            return code
        problems = remove(opened.ledger, found.places, opened.running)
        for problem in problems:
            click.echo(f"cytopipe: {problem}", err=True)
        gone = len(found.places) - len(problems)
        click.echo(f"removed {counted(gone, 'artifact')}; each counts as made, and is made again if needed")
        return problems[0].exit_code if problems else code


def _assets(names: tuple[str, ...], form: str) -> Iterator[str]:
    """The assets whose files are meant, each once, in the order of the flow."""
    from cytopipe.defs.screen import SCREEN
    from cytopipe.defs.screen_omezarr import export_of
    from cytopipe.errors import Finding, ParameterError
    from cytopipe.screen.stages import STAGES, stage_named

    chosen = [stage_named(name) for name in names] or [one for one in STAGES.values() if one.is_temporary]
    if without := [one.name for one in chosen if not one.is_image]:
        images = ", ".join(name for name, one in STAGES.items() if one.is_image)
        raise ParameterError(
            Finding(what=f"{name} makes no images", where="--stage", expected=images) for name in without
        )
    found: dict[str, None] = {}
    for stage in chosen:
        if form != "omezarr":
            makers = ((asset, SCREEN.makers[asset].makes[asset]) for asset in stage.assets)
            found |= dict.fromkeys(asset for asset, format in makers if "tiff" in format.kinds)
        if form != "tiff":
            found[export_of(stage)] = None
    yield from found


def _told(places: list[tuple[str, str]]) -> str:
    numbers: dict[str, int] = {}
    for asset, _ in places:
        numbers[asset] = numbers.get(asset, 0) + 1
    return ", ".join(f"{number:,} of {asset}" for asset, number in numbers.items())
