"""What the screen domain is made from: five sets of partitions, raw images, tables, and declared values.

Values are declared once for a screen and kept by well, since the edge from a well to its tiles is exact for
Dagster, too. A parameter of one stage makes stale what uses that stage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Partitions, Source
from cytopipe.errors import InputError
from cytopipe.project import DataSet, Project
from cytopipe.project.digests import Digests
from cytopipe.provenance import digest_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from cytopipe.project.screen.entry import Screen

__all__ = [
    "LIBRARY",
    "PHENOTYPE_TILES",
    "PLATES",
    "SBS_TILES",
    "SCREENS",
    "WELLS",
    "Files",
    "identity_of",
    "raw",
    "settings_in",
    "settings_of",
    "stage_of",
]

Files = Mapping[tuple[int, str], Path]
"""The images of a tile by cycle and channel; cycle 0 where there is one alone, channel "" where a file has
all of them."""

SCREENS = Partitions(name="screens", title="screen")
PLATES = Partitions(
    name="screen_plates", title="plate of a screen", within={SCREENS: lambda plate: plate.entry.screen}
)
WELLS = Partitions(
    name="screen_wells",
    title="well of a screen",
    within={PLATES: lambda well: well.entry.plate_key, SCREENS: lambda well: well.entry.screen},
)


def _tiles(name: str, title: str) -> Partitions:
    return Partitions(
        name=name,
        title=title,
        within={
            WELLS: lambda tile: tile.entry.well_key,
            PLATES: lambda tile: tile.entry.plate_key,
            SCREENS: lambda tile: tile.entry.screen,
        },
        dimensions=("screen_wells", "tile"),
        per_run=100,
    )


SBS_TILES = _tiles("sbs_tiles", "tile of a well, sequenced")
PHENOTYPE_TILES = _tiles("phenotype_tiles", "tile of a well, stained")

_WHOLE_BYTES, _WINDOWS, _WINDOW = 1 << 20, 4, 1 << 16


def identity_of(path: Path) -> str:
    """Stands for a file of others: all of a small one; else size, time of change and four windows.

    A screen has terabytes. An image that was only touched is converted again to the same bytes, and nothing
    after that.
    """
    status = path.stat()
    total = hashlib.sha256(f"{status.st_size}\n".encode())
    with path.open("rb") as stream:
        if status.st_size <= _WHOLE_BYTES:
            total.update(stream.read())
        else:
            total.update(f"{status.st_mtime_ns}\n".encode())
            for number in range(_WINDOWS):
                stream.seek((status.st_size - _WINDOW) * number // (_WINDOWS - 1))
                total.update(stream.read(_WINDOW))
    return total.hexdigest()


def _digest_of_tile(project: Project, tile: DataSet) -> str | None:
    if not tile.entry.files:
        return None
    total = hashlib.sha256()
    try:
        for (cycle, channel), path in sorted(tile.entry.files.items()):
            total.update(f"{cycle} {channel} {identity_of(Path(path))}\n".encode())
    except OSError:
        return None
    return total.hexdigest()


def _files_of(tile: DataSet) -> Files:
    files = {place: Path(path) for place, path in tile.entry.files.items()}
    if gone := [path for path in files.values() if not path.is_file()]:
        raise InputError("no such file", where=str(gone[0]), expected="an image of the microscope")
    return files


def _no_files(tile: DataSet) -> str:
    """Why a tile has no image of the microscope: the folder of Brieflow alone has it."""
    return "" if tile.entry.files else f"{tile.entry.settings.brieflow} does not have it"


def raw(asset: str, by: Partitions, description: str) -> Source:
    """The source of an acquisition's images: loaded as a mapping of (cycle, channel) to Path."""
    return Source(
        asset=asset,
        by=by,
        description=description,
        load=_files_of,
        files=lambda tile: [Path(path) for path in tile.entry.files.values()],
        digest=_digest_of_tile,
        describe=lambda project, tile: {
            "files": len(tile.entry.files),
            "first": project.relative(Path(next(iter(tile.entry.files.values())))),
        },
        absent=_no_files,
        kinds=("tiff",),
    )


def settings_of(
    asset: str,
    description: str,
    read: Callable[[Screen], BaseModel | None],
    *names: str,
    without: tuple[str, ...] = (),
) -> Source:
    """A source of declared values, by well: the fields `names` of what the entry has there; all but those
    `without`.
    """

    def values(well: DataSet) -> Mapping[str, Any]:
        found = read(well.entry.settings)
        if found is None:  # the well was not imaged in this way
            return {}
        return found.model_dump(mode="json", include=set(names) or None, exclude=set(without))

    return Source(
        asset=asset,
        by=WELLS,
        description=description,
        load=lambda well: read(well.entry.settings),
        values=values,
        kinds=("yaml",),
    )


def settings_in(of: str) -> Callable[..., Source]:
    """`settings_of` for one acquisition: its field, or what it declares itself where none is named."""

    def declared(
        name: str, description: str, field: str, *names: str, without: tuple[str, ...] = ()
    ) -> Source:
        def read(screen: Screen) -> BaseModel | None:
            one = screen.acquisitions.get(of)
            return getattr(one, field) if one is not None and field else one

        return settings_of(f"screen/{of}/{name}", description, read, *names, without=without)

    return declared


_STAGE = ("plate", "well", "tile", "y_pos", "x_pos")


def _rows_of_well(path: Path, well: DataSet) -> Any:
    """The rows of one well in a table of stage positions."""
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            from cytopipe.storage.formats.table import read_parquet

            table = (
                read_parquet(path)
                .drop_duplicates("tile")
                .assign(plate=well.entry.plate, well=well.entry.well)
            )
        else:
            table = pd.read_csv(path, sep=None, engine="python", dtype={"plate": str, "well": str})
    except (KeyError, ValueError, OSError) as error:
        raise InputError(f"is no table: {error}", where=str(path)) from error
    if absent := [name for name in _STAGE if name not in table]:
        raise InputError(f"has no column {', '.join(absent)}", where=str(path), expected=", ".join(_STAGE))
    mine = (table["plate"] == well.entry.plate) & (table["well"] == well.entry.well)
    return table.loc[mine, ["tile", "y_pos", "x_pos"]].reset_index(drop=True)


def stage_of(of: str) -> Source:
    """The table of where the stage stood for the tiles of an acquisition: loaded as the rows of a well, or
    None where the project file names none.
    """

    def file(well: DataSet) -> list[Path]:
        acquisition = well.entry.settings.acquisitions.get(of)
        if acquisition is None:
            return []
        if acquisition.positions is not None:
            return [well.resolve(acquisition.positions)]
        tree = well.entry.settings.tree(well.base)
        table = tree and tree.stage_table(of, well.entry.plate, well.entry.well)
        return [] if table is None else [table]

    def load(well: DataSet) -> Any:
        files = file(well)
        return _rows_of_well(files[0], well) if files else None

    def digest(project: Project, well: DataSet) -> str | None:
        files = file(well)
        return Digests(project.home).sha256(files[0]) if files else digest_of("no table")

    return Source(
        asset=f"screen/{of}/stage",
        by=WELLS,
        description="Where the stage stood for each tile, from the table that the project file names, or "
        "that an output folder of Brieflow has.",
        load=load,
        files=file,
        digest=digest,
        kinds=("table",),
    )


def _library_of(well: DataSet) -> Any:
    from cytopipe.screen.library import read_library

    settings = well.entry.settings
    if settings.library is None:
        return None
    return read_library(well.resolve(settings.library), settings.library_columns)


def _library_file(well: DataSet) -> list[Path]:
    library = well.entry.settings.library
    return [] if library is None else [well.resolve(library)]


def _digest_of_library(project: Project, well: DataSet) -> str | None:
    files = _library_file(well)
    return Digests(project.home).sha256(files[0]) if files else digest_of("no library")


LIBRARY = Source(
    asset="screen/library",
    by=WELLS,
    description="The table of barcodes that the project file names; never written.",
    load=_library_of,
    files=_library_file,
    digest=_digest_of_library,
    describe=lambda project, well: {"table": well.entry.settings.library or "none"},
    kinds=("table",),
)
