"""A small synthetic screen as a project, with its history open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dagster import DagsterInstance

from cytopipe.defs.screen import SCREEN
from cytopipe.project import Project, read_project
from cytopipe.testing.screens import make_screen, write_screen
from cytopipe_tests.graph.examples.lab import Lab

ENTRY = """\
engine: serial
screen:
  s:
    library: library.tsv
    library_columns: {barcode_column: barcode, gene_columns: [gene]}
    missing_tiles: refuse
    sbs:
      images: sbs/P-{plate}_W-{well}_T-{tile}_C-{cycle}__image.tiff
      channels: [DAPI, G, T, A, C]
      pixel_size_um: 1.3
      positions: sbs_metadata.tsv
      alignment: {model: translation}
      segmentation: {threshold_dapi: 2500}
      reads: {method: median}
"""
WELLS = ["s.1-A1", "s.1-A2"]
TILES = [f"{well}|{tile}" for well in WELLS for tile in range(2)]


def declared(directory: Path) -> Project:
    return read_project(directory / "cytopipe.yaml")


def written(directory: Path, *, phenotype: bool = False, **given: object) -> Path:
    """A screen of two wells of two tiles, three cycles, and its project file."""
    wanted = {"wells": ("A1", "A2"), "tile_grid": (1, 2), "tile_size": 160, "cycles": 3, "n_barcodes": 16}
    write_screen(directory, make_screen("easy", 5, **{**wanted, **given}), phenotype=phenotype)
    (directory / "cytopipe.yaml").write_text(ENTRY)
    return directory


def lab(directory: Path, instance: DagsterInstance) -> Lab:
    return Lab(directory, SCREEN, declared, instance)


@contextlib.contextmanager
def fresh_lab(folder: Path, **given: object) -> Iterator[Lab]:
    """A screen as `written` makes it, in a folder of its own; nothing of it is made."""
    (folder / "history").mkdir()
    with DagsterInstance.local_temp(str(folder / "history")) as instance:
        yield lab(written(folder / "project", **given), instance)


def edit(one: Lab, *pairs: tuple[str, str]) -> None:
    """Change text of the project file."""
    file = one.directory / "cytopipe.yaml"
    text = file.read_text()
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    file.write_text(text)


def wanted(one: Lab) -> dict[str, list[str]]:
    """What the ledger would make, by asset."""
    found: dict[str, list[str]] = {}
    for status in one.ledger().statuses(one.graph.makers):
        if status.state != "done":
            found.setdefault(status.asset.removeprefix("screen/"), []).append(status.key)
    return found
