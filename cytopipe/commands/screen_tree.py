"""``cytopipe screen tree | export-tree``: what a Brieflow output folder holds, and its images as OME-Zarr."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from cytopipe.commands.options import parameter_options, said
from cytopipe.commands.paths import PATH, paste
from cytopipe.commands.words import counted
from cytopipe.screen.parameters import OmeZarrSettings

__all__ = ["export_tree", "tree"]


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe screen export-tree brieflow_output zarr --stage align_sbs --sbs-channels DAPI,G,T,A,C\n"
    "  cytopipe screen export-tree brieflow_output brieflow_output --dry-run"
)
@click.argument("tree", type=PATH, metavar="TREE")
@click.argument("output", type=PATH, metavar="OUT")
@click.option(
    "--stage",
    "stages",
    multiple=True,
    metavar="NAME",
    help="A stage of `cytopipe screen stages`; repeatable [default: all that are found].",
)
@click.option("--sbs-channels", default="", metavar="A,B,...", help="Channels of the sequencing images.")
@click.option("--phenotype-channels", default="", metavar="A,B,...", help="Channels of the stained images.")
@click.option(
    "--sbs-pixel-size-um", type=click.FloatRange(0, min_open=True), help="Where TIFFs do not say it."
)
@click.option(
    "--phenotype-pixel-size-um", type=click.FloatRange(0, min_open=True), help="Where TIFFs do not say it."
)
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be written; write nothing.")
@parameter_options(OmeZarrSettings)
def export_tree(
    tree: Path,
    output: Path,
    stages: tuple[str, ...],
    sbs_channels: str,
    phenotype_channels: str,
    sbs_pixel_size_um: float | None,
    phenotype_pixel_size_um: float | None,
    dry_run: bool,
    **chosen,
) -> int:
    """Write the images of TREE, an output folder of Brieflow, as OME-Zarr below OUT.

    TREE has preprocess, sbs and phenotype in it, with files named P-1_W-A1_T-2__aligned.tiff; it is only
    read. Masks become labels of the image they were found on. A file that cannot be exported is told at the
    end, and the others go on (exit code 1). The same command goes on where it was stopped, and writes again
    what has changed.
    """
    from cytopipe.errors import ParameterError
    from cytopipe.project.digests import Digests
    from cytopipe.provenance import sha256_file
    from cytopipe.screen.stages import STAGES, stage_named
    from cytopipe.screen.tree import read_tree
    from cytopipe.screen.tree_export import export_tree as exported
    from cytopipe.storage.formats.ome_zarr import OmeZarr

    for name in stages:
        if not stage_named(name).is_image:
            images = ", ".join(one for one, stage in STAGES.items() if stage.is_image)
            raise ParameterError(f"{name} makes no images", where="--stage", expected=images)
    settings = OmeZarrSettings(**said(OmeZarrSettings, chosen))
    layout = OmeZarr(
        ngff=settings.ngff_version,
        chunk_shape=settings.chunk_shape,
        factor=settings.coarsening_factor,
        max_levels=settings.max_levels,
        shard=settings.shard,
    )
    found = read_tree(tree, stages)
    findings = list(found.findings)
    numbers = Counter(group.stage.name for group in found.groups)
    for name, number in numbers.items():
        click.echo(f"{name:28}  {counted(number, 'image')}")
    outcomes: Counter[str] = Counter()
    if not dry_run and found.groups:
        output.mkdir(parents=True, exist_ok=True)
        known = Digests(output.absolute() / ".cytopipe")
        for one in exported(
            found,
            output,
            layout,
            channels={"sbs": _names(sbs_channels), "phenotype": _names(phenotype_channels)},
            pixel_size_um={
                of: size
                for of, size in (("sbs", sbs_pixel_size_um), ("phenotype", phenotype_pixel_size_um))
                if size is not None
            },
            digest=lambda path: known.sha256(path) or sha256_file(path),
        ):
            outcomes[one.outcome] += 1
            findings += one.findings
        told = ", ".join(
            f"{outcomes[name]:,} {name}" for name in ("written", "kept", "failed") if outcomes[name]
        )
        click.echo(f"{told}: {paste(output)}")
    elif not found.groups:
        click.echo("no image was found")
    for finding in findings:
        click.echo(f"cytopipe: {finding}", err=True)
    return 1 if findings or not found.groups else 0


@click.command(
    epilog="\b\nExamples:\n"
    "  cytopipe screen tree brieflow_output\n\n"
    "\b\nTo use it in a project, name it in an entry of the project file:\n"
    "  brieflow: brieflow_output"
)
@click.argument("folder", type=PATH, metavar="TREE")
def tree(folder: Path) -> int:
    """Say what TREE, an output folder of Brieflow, holds of our assets, and which tiles it lacks.

    No file is opened. Exit code 1 if names of files cannot be made out.
    """
    from cytopipe.screen.tree import ACQUISITIONS, find_files

    found = find_files(folder)
    rows = [row for of in (*ACQUISITIONS, "merge") for row in found.told(of)]
    width = max((len(row[0]) for row in rows), default=0)
    for asset, there, lacking in rows:
        click.echo(f"{asset:{width}}  {there:>16}" + (f"  lacks {lacking}" if lacking else ""))
    for finding in found.findings:
        click.echo(f"cytopipe: {finding}", err=True)
    if not rows:
        click.echo("no file of an asset was found")
    return 1 if found.findings or not rows else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for one in text.split(",") if (name := one.strip()))
