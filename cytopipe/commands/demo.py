"""``demo``: the example project, made and run, and where to look afterwards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.cli import Options
from cytopipe.commands.paths import AbsolutePath, paste
from cytopipe.errors import MissingToolError, ProjectError

if TYPE_CHECKING:
    from cytopipe.commands.project_context import ProjectContext

__all__ = ["demo"]


@click.command()
@click.argument("directory", type=AbsolutePath(file_okay=False), default="demo")
@click.pass_obj
def demo(options: Options, directory: Path) -> int:
    """Make the example project in DIRECTORY (default: demo) and materialize its graph.

    Run again, it goes on with what is there: what is done is not done twice.
    """
    from cytopipe.commands.project_context import open_project

    file = _copy_example(directory)
    click.echo(f"example project: {file}")
    with open_project(Options(project=file, debug=options.debug)) as opened:
        from cytopipe.commands.execution import carry_out, verify_archive
        from cytopipe.defs.selection import choose

        click.echo("making every artifact of the example; this takes a minute or two")
        code = carry_out(opened, choose(opened.ledger), list_paths=False)
        click.echo("comparing every file with its manifest")
        verify_archive(opened)
        click.echo()
        for line in _what_was_made(opened):
            click.echo(line)
    click.echo()
    for line in _optional_parts():
        click.echo(line)
    command = f"{_this_command()} --project {paste(directory)}"
    click.echo(
        f"\nLook:  {command} status\n"
        f"       {command} lineage decompose/final:meadow\n"
        f"       {command} ui        (or: make ui), then open the address it prints"
    )
    return code


def _what_was_made(opened: ProjectContext) -> Iterator[str]:
    """One line per artifact: where it lies, and what there is to count in it."""
    ledger = opened.ledger
    rows = []
    stages = ("decompose/initial", "decompose/deconflicted", "decompose/refined")
    shown = [
        asset
        for asset, step in ledger.graph.makers.items()
        if asset not in stages and (step.by is None or step.by.dimensions is None)
    ]
    for one in ledger.statuses(shown, ("done",)):
        receipt = ledger.archive.receipt(ledger.places.place(one.asset, one.key))
        facts = receipt.provenance.facts if receipt and receipt.provenance else {}
        counts = [f"{value:,} {name[2:]}" for name, value in facts.items() if name.startswith("n_")]
        if receipt and counts:
            name = f"{one.asset} [{one.key}]" if one.key else one.asset
            rows.append((name, paste(receipt.path), ", ".join(counts).replace("_", " ")))
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, path, counts in rows:
        yield f"{name:{width}}  {path}\n{'':{width}}  {counts}"


def _copy_example(directory: Path) -> Path:
    """The example project in `directory`; a project that is there already stays as it is."""
    from cytopipe.project import PROJECT_FILE, write_schema

    file = directory / PROJECT_FILE
    if file.exists():
        return file
    example = Path(__file__).resolve().parents[2] / "data"
    if not (example / PROJECT_FILE).is_file():
        raise MissingToolError(
            "the example project is not beside this installation",
            where=str(example),
            next="It comes with the repository: clone it and say `make demo`, or begin with `cytopipe init`.",
        )
    if directory.exists() and any(directory.iterdir()):
        raise ProjectError(
            "holds other files and no project",
            where=str(directory),
            next="Name an empty or new directory.",
        )
    shutil.copytree(
        example, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    home = directory / ".cytopipe"
    home.mkdir(exist_ok=True)
    write_schema(home)
    _add_screen(directory, file)
    _add_cells(directory, file)
    _add_tissue(directory, file)
    return file


def _add_screen(directory: Path, file: Path) -> None:
    """Draw a small screen and name it in the project file: its images are too large for a repository."""
    from cytopipe.commands.screen_synthetic import entry_of
    from cytopipe.testing.screens import make_screen, write_screen

    made = make_screen(
        "easy",
        7,
        wells=("A1", "A2"),
        tile_grid=(2, 2),
        tile_size=256,
        cycles=5,
        n_barcodes=40,
        magnification=1.0,
        cells_per_megapixel=1000.0,
    )
    write_screen(directory / "screen", made)
    file.write_text(f"{file.read_text()}\nscreen:\n{entry_of('plate', made, 'screen/')}")


_BRANCHES = """\
# Branches of the heat maps. A step whose choice is missing waits for you: cytopipe status heatmap
main:
  steps: [1, 2, 3, 5]
  description: all cells
  revise: {}
  mixed: {exclusive: [[CD3, CD19], [CD3, CD14], [CD19, CD14]]}
t_cells:
  from: main.3
  steps: [6, 7, 8, 9]
  description: T cells, clustered by the markers of T cells
  subset: {gates: {CD3: {above: 2.5}}}
  markers: [CD4, CD8, CD25, FoxP3, CD45RA, CCR7, CD27, TCRgd]
  flowsom: {x_dim: 5, y_dim: 5, n_metaclusters: 6}
  revise: {}
all:
  merge: [main.5, t_cells.9]
  description: everything, T cells in detail
"""


def _add_cells(directory: Path, file: Path) -> None:
    """Draw cells of a cytometer and name them in the project file, with a branch and a merge."""
    from cytopipe.testing.cytometry import make_cytometry, write_cytometry

    write_cytometry(make_cytometry(seed=7, n_samples=2, cells_per_sample=2_000), directory / "cytometry")
    (directory / "cytometry" / "branches.yaml").write_text(_BRANCHES)
    entry = (
        "  pbmc:\n    cells: cytometry/*.fcs\n    flowsom: {n_metaclusters: 12}\n"
        "    branches: cytometry/branches.yaml\n"
    )
    file.write_text(f"{file.read_text()}\nheatmap:\n{entry}")


_MARKERS = """\
    pixel_size_um: 0.5
    marker_sets:
      immune:
        DNA: {color: blue, high: 700}
        PanCK: {color: "#808080", high: 500}
        CD8: {color: red, high: 300}
        CD20: {color: green, high: 350}
"""
_TISSUE = f"""\
  fields:
    source: tissue
{_MARKERS}    overlays: [{{mask: whole_cell, color_by: cell_type, palette: {{CD8 T cell: yellow}}}}]
    cells: {{table: tissue/cells.csv}}
  t_cells:
    source: tissue
    mode: cells
{_MARKERS}    cells: {{table: tissue/cells.csv, where: cell_type == 'CD8 T cell', size_px: 48}}
    overlays: [{{mask: whole_cell, only_own: true}}]
  nests:
    source: tissue
    mode: rois
{_MARKERS}    rois: {{file: tissue/rois.csv, settings: shared}}
"""
_REGIONS = """\
roi_id,name,fov,x_min,x_max,y_min,y_max,tags
1,upper left,fov1,20,140,20,120,border
2,centre,fov1,90,190,90,190,
3,centre,fov2,90,190,90,190,
"""


def _add_tissue(directory: Path, file: Path) -> None:
    """Draw multiplexed tissue and name it in the project file: whole fields, T cells, regions."""
    from cytopipe.testing.tissue import make_tissue, write_tissue

    write_tissue(make_tissue(seed=7, n_fovs=2, shape=(256, 256)), directory / "tissue", "ark")
    (directory / "tissue" / "rois.csv").write_text(_REGIONS)
    file.write_text(f"{file.read_text()}\nexport:\n{_TISSUE}")


def _this_command() -> str:
    """How this command was called: its plain name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    if called.name != "cytopipe" or shutil.which("cytopipe"):
        return "cytopipe"
    return os.path.relpath(called)


def _optional_parts() -> list[str]:
    """What of the optional parts this machine has, one line each."""
    blast = shutil.which("blastn")
    gpu = shutil.which("nvidia-smi")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return [
        f"BLAST    {blast or 'not found: the embedded k-mer search is used instead'}",
        f"GPU      {'found' if gpu else 'not found: everything runs on the CPU'}",
        f"browser  {browser or 'none found here: from another machine, open the address through ssh -L'}",
    ]
