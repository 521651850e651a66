"""A small screen: plates of wells of tiles, as a dense grid of wells and tiles.

raw -> aligned -+-> corrected -> reads -> cells -> summary
                +-> illumination ---^     (wells)  (plates)
"""

from collections.abc import Mapping
from pathlib import Path

from cytopipe.defs.artifact import Check, CheckResult, Described, Graph, Partitions, Source, artifact
from cytopipe.project import DataSet, Project
from cytopipe.project.entry import Entry
from cytopipe.project.settings import Settings
from cytopipe.provenance import sha256_file
from cytopipe.storage.archive import Handle
from cytopipe_tests.graph.examples.formats import JSON


class Screen(Entry):
    """Where the images of a screen lie, and what to do with them."""

    folder: str
    gain: int = 1


PLATES = Partitions(name="screen_plates", title="plate")
WELLS = Partitions(name="screen_wells", title="well", within={PLATES: lambda well: well.key.split("-")[0]})
TILES = Partitions(
    name="tiles",
    title="tile",
    within={WELLS: lambda tile: tile.key.split("|")[0]},
    dimensions=("screen_wells", "tile"),
    per_run=100,
)

RAW = Source(
    asset="example/raw",
    by=TILES,
    description="Images of the microscope.",
    load=lambda tile: int(_image(tile).read_text()),
    files=lambda tile: [_image(tile)],
    digest=lambda project, tile: sha256_file(_image(tile)) if _image(tile).is_file() else None,
)
SETTINGS = Source(
    asset="example/settings",
    by=PLATES,
    description="What the project file says.",
    load=lambda plate: plate.entry,
    values=lambda plate: {"gain": plate.entry.gain},
)


def _image(tile: DataSet) -> Path:
    return tile.base / tile.entry.folder / tile.key.replace("|", "_T")


def _not_negative(value: dict) -> CheckResult:
    return CheckResult(() if value["signal"] >= 0 else (f"signal {value['signal']}",))


NOT_NEGATIVE = Check(name="not_negative", description="The signal is not negative.", evaluate=_not_negative)


@artifact("example/aligned", JSON, by=TILES, checks=(NOT_NEGATIVE,))
def aligned(tile: DataSet, raw: int) -> dict:
    """Cycles of a tile brought onto each other."""
    if raw == 13:
        raise ValueError(f"tile {tile.key} cannot be aligned")
    return {"signal": raw}


@artifact("example/illumination", JSON, by=WELLS)
def illumination(well: DataSet, aligned: Mapping[str, Handle]) -> float:
    """Mean of the tiles of a well."""
    return sum(one.load()["signal"] for one in aligned.values()) / len(aligned)


@artifact("example/corrected", JSON, by=TILES)
def corrected(tile: DataSet, aligned: dict, illumination: float) -> float:
    """A tile over the mean of its well."""
    return aligned["signal"] - illumination


@artifact("example/cells", JSON, by=WELLS)
def cells(well: DataSet, corrected: Mapping[str, Handle]) -> Described:
    """All tiles of a well."""
    values = [one.load() for one in corrected.values()]
    return Described(values, counts={"n_cells": len(values)})


@artifact("example/summary", JSON, by=PLATES)
def summary(plate: DataSet, cells: Mapping[str, Handle], settings: Screen) -> dict:
    """A line per well of a plate."""
    return {key: sum(one.load()) * settings.gain for key, one in cells.items()}


@artifact("example/overview", JSON, inputs={"cells": "example/cells"}, optional=("cells",))
def overview(cells: Mapping[str, Handle]) -> list:
    """Every well there is."""
    return sorted(cells)


GRAPH = Graph(RAW, SETTINGS, aligned, illumination, corrected, cells, summary, overview)


def screen_project(
    directory: Path,
    *,
    wells: tuple[str, ...] = ("P1-A1", "P1-A2", "P2-A1"),
    tiles: int = 3,
    without: tuple[str, ...] = (),
    **gains: int,
) -> Project:
    """A project with a grid of tiles, `without` some, and a gain per plate (``P1=2``); images are written
    where they are absent.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "cytopipe.yaml"
    file.write_text(f"# gains {gains} without {without}\n")
    (directory / "images").mkdir(exist_ok=True)

    def sets(name: str, keys: list[str]) -> dict[str, DataSet]:
        folder = directory / "out"
        return {
            key: DataSet(
                domain=name,
                key=key,
                entry=Screen(folder="images", gain=gains.get(key, 1)),
                folder=folder,
                base=directory,
            )
            for key in keys
        }

    keys = [f"{well}|{tile}" for well in wells for tile in range(tiles)]
    keys = [key for key in keys if key not in without]
    for number, key in enumerate(keys):
        image = directory / "images" / key.replace("|", "_T")
        if not image.exists():
            image.write_text(str(100 + number))
    return Project(
        file=file,
        settings=Settings(output="out"),
        data_sets={
            "screen_plates": sets("screen_plates", list(dict.fromkeys(well.split("-")[0] for well in wells))),
            "screen_wells": sets("screen_wells", list(wells)),
            "tiles": sets("tiles", keys),
        },
    )
