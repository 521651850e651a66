"""``screen synthetic`` and ``screen stages``: a screen to try things on, and what there is to be made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.commands.paths import AbsolutePath, paste
from cytopipe.errors import ProjectError

if TYPE_CHECKING:
    from cytopipe.testing.screens import Screen

__all__ = ["entry_of", "stages", "synthetic"]

_ENTRY = """\
  {name}:
    description: {description}
    library: {folder}library.tsv
    library_columns: {{barcode_column: barcode, gene_columns: [gene]}}
    aggregate: {{min_cells: 1, min_control_cells: 3}}  # so few cells as a small screen has
    sbs:
      images: {folder}sbs/P-{{plate}}_W-{{well}}_T-{{tile}}_C-{{cycle}}__image.tiff
      channels: [DAPI, G, T, A, C]
      pixel_size_um: 1.3
      positions: {folder}sbs_metadata.tsv
      segmentation: {{threshold_dapi: 2500}}
      omezarr_export: true
      omezarr_stages: [segment_sbs]  # images with nuclei and cells, which a viewer shows as a plate
"""
_PHENOTYPE = """\
    phenotype:
      images: {folder}phenotype/P-{{plate}}_W-{{well}}_T-{{tile}}__image.tiff
      channels: [DAPI, TUBULIN, GH2AX, PHALLOIDIN]
      pixel_size_um: {pixel}
      positions: {folder}phenotype_metadata.tsv
      segmentation: {{threshold_dapi: 2500, threshold_cell: 900, radius_px: {radius},
                     nucleus_area_min_px: {least}, nucleus_area_max_px: {most}}}
      stitching: {{same_cell_px: {same}, cell_radius_px: {cell}}}
"""


def entry_of(name: str, screen: Screen, folder: str = "", *, phenotype: bool = True) -> str:
    """The entry of a synthetic screen that was written into `folder` (with ``/`` at its end)."""
    described = f"Synthetic, preset {screen.preset}, seed {screen.seed}; the truth lies in {folder}truth."
    zoom = screen.magnification
    given = {
        "name": json.dumps(name),
        "description": json.dumps(described),
        "folder": folder,
        "pixel": f"{1.3 / zoom:g}",
        "radius": round(15 * zoom),
        "least": round(45 * zoom**2),
        "most": round(450 * zoom**2),
        "same": round(10 * zoom),
        "cell": round(14 * zoom),
    }
    return (_ENTRY + (_PHENOTYPE if phenotype else "")).format(**given)


class _Grid(click.ParamType):
    name = "ROWSxCOLUMNS"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        rows, _, columns = value.partition("x")
        if not (rows.isdecimal() and columns.isdecimal() and 0 < int(rows) * int(columns) <= 10_000):
            self.fail(f"expected two whole numbers such as 2x2; found {value!r}", param, ctx)
        return int(rows), int(columns)


@click.command()
@click.argument("directory", type=AbsolutePath(file_okay=False))
@click.option(
    "--preset", default="easy", show_default=True, help="How hard the images are: easy, dim, mixed ..."
)
@click.option("--wells", default="A1,A2", show_default=True, help="Names of the wells.")
@click.option("--grid", type=_Grid(), default="2x2", show_default=True, help="Rows and columns of tiles.")
@click.option("--tile-size", type=click.IntRange(64, 4096), default=256, show_default=True, help="Side (px).")
@click.option(
    "--cycles", type=click.IntRange(2, 30), default=9, show_default=True, help="Cycles of sequencing."
)
@click.option(
    "--barcodes", type=click.IntRange(8, 100_000), default=200, show_default=True, help="In the library."
)
@click.option(
    "--magnification",
    type=click.FloatRange(0.5, 4),
    default=2.0,
    show_default=True,
    help="Of the phenotype images, against those of sequencing.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same screen.")
@click.option(
    "--phenotype/--no-phenotype", default=True, show_default=True, help="Images of stained cells, too."
)
def synthetic(
    directory: Path,
    preset: str,
    wells: str,
    grid: tuple[int, int],
    tile_size: int,
    cycles: int,
    barcodes: int,
    seed: int,
    magnification: float,
    phenotype: bool,
) -> None:
    """Write a synthetic screen into DIRECTORY, with the truth, and a project file that names it.

    \b
      cytopipe screen synthetic trial --preset mixed --wells A1,A2,B1 --grid 3x3
      cytopipe --project trial materialize screen
    """
    from cytopipe.project import PROJECT_FILE, check_project, start_project
    from cytopipe.testing.screens import make_screen, write_screen

    if (directory / PROJECT_FILE).exists():
        raise ProjectError(
            "has a project already",
            where=str(directory),
            next="Name a new directory.",
        )
    made = make_screen(
        preset,
        seed,
        wells=[one.strip() for one in wells.split(",") if one.strip()],
        tile_grid=grid,
        tile_size=tile_size,
        cycles=cycles,
        n_barcodes=barcodes,
        magnification=magnification,
    )
    write_screen(directory, made, phenotype=phenotype)
    file = start_project(directory)
    name = directory.name if directory.name.replace("-", "").replace("_", "").isalnum() else "trial"
    head, key, rest = file.read_text().partition("\nscreen:\n")
    file.write_text(head + key + entry_of(name, made, phenotype=phenotype) + rest)
    project = check_project(file)
    tiles = len(project.data_sets["sbs_tiles"])
    click.echo(f"{file} written: {tiles} tiles of {cycles} cycles in {len(made.wells)} wells")
    click.echo(f"Next: cytopipe --project {paste(directory)} materialize screen")


@click.command()
def stages() -> None:
    """List every stage in the order of the flow: its name, the assets it makes, what its file names say."""
    from cytopipe.screen.stages import STAGES

    rows = [("STAGE", "ASSETS", "FILES")]
    for one in STAGES.values():
        rows.append((one.name, ", ".join(one.assets), f"...__{one.info}"))
    widths = [max(len(row[n]) for row in rows) for n in range(2)]
    for row in rows:
        click.echo(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}")
