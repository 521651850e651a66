"""What the assets of both acquisitions of a screen share: places, images as values, tiles, pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Described
from cytopipe.defs.screen_sources import Files
from cytopipe.errors import InputError
from cytopipe.project import DataSet
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.image import Image

if TYPE_CHECKING:
    from pandas import DataFrame

    from cytopipe.project.screen.entry import Acquisition
    from cytopipe.screen.parameters import StitchingSettings
    from cytopipe.screen.segmentation import Segmentation

__all__ = [
    "TILE_NAME",
    "WELL_NAME",
    "as_labels",
    "as_like",
    "converted",
    "counted_once",
    "field_of",
    "fields_of",
    "image_place",
    "joined",
    "name_of",
    "noted",
    "segmented",
    "stitched",
    "table_place",
    "tiles_of",
    "told_of_field",
    "with_barcodes",
]

TILE_NAME = "P-{plate}_W-{well}_T-{tile}"
WELL_NAME = "P-{plate}_W-{well}"

_TOLD = 10
_N_BASES = 4


def image_place(of: str, info: str) -> str:
    """Where the image of a tile lies."""
    return f"screen/{{screen}}/{of}/images/{TILE_NAME}__{info}.tiff"


def table_place(of: str, info: str, name: str = TILE_NAME) -> str:
    """Where the table of a tile lies, or that of a well."""
    return f"screen/{{screen}}/{of}/parquets/{name}__{info}.parquet"


def name_of(part: DataSet, info: str, cycle: int = 0) -> str:
    """The name of a file of a tile or well, without its ending."""
    from cytopipe.screen.names import get_filename

    location = {"plate": part.entry.plate, "well": part.entry.well}
    location |= {"tile": part.entry.tile} if part.entry.tile >= 0 else {}
    location |= {"cycle": cycle} if cycle else {}
    return get_filename(location, info, "tiff").removesuffix(".tiff")


def converted(tile: DataSet, raw: Files, acquisition: Acquisition) -> Iterator[tuple[int, Image]]:
    """(cycle, image) of every cycle of a tile, (C, Y, X) uint16; cycle 0 where there is one alone.

    Raises
    ------
    InputError
        A file cannot be read, or has not the channels that are declared.
    """
    from cytopipe.screen.microscope import MicroscopeFile, convert

    order = {name: number for number, name in enumerate(acquisition.channels)}
    by_cycle: dict[int, list[tuple[str, Path]]] = {}
    for (cycle, channel), path in _in_order(raw, acquisition):
        # Rounds of the phenotype are one image, their channels behind each other.
        by_cycle.setdefault(cycle if acquisition.has_cycles else 0, []).append((channel, path))
    size = acquisition.pixel_size_um
    for cycle, files in sorted(by_cycle.items()):
        if strange := [channel for channel, _ in files if channel and channel not in order]:
            raise InputError(f"no channel is called {strange[0]!r}", expected=", ".join(order))
        files.sort(key=lambda one: order.get(one[0], 0))
        place = {name: tile.entry.wildcards[name] for name in ("plate", "well", "tile")}
        pixels = convert([MicroscopeFile(path, **place, cycle=cycle or None) for _, path in files])
        names = _channels_of(pixels, [channel for channel, _ in files], acquisition, files[0][1])
        yield cycle, Image(pixels, "CYX", names, pixel_size_um=(size, size))


def _in_order(raw: Files, acquisition: Acquisition) -> list[tuple[tuple[int, str], Path]]:
    """Files by cycle or round, rounds as the project file orders them."""
    rounds = getattr(acquisition, "rounds", [])
    rank = {number: at for at, number in enumerate(rounds)}
    return sorted(raw.items(), key=lambda one: (rank.get(one[0][0], one[0][0]), one[0][1]))


def _channels_of(
    pixels: np.ndarray, named: list[str], acquisition: Acquisition, path: Path
) -> tuple[str, ...]:
    """Names of the channels of an image; of a cycle without DAPI, those of its bases."""
    if all(named):
        return tuple(named)
    channels = tuple(acquisition.channels)
    if len(pixels) == len(channels):
        return channels
    if acquisition.has_cycles and len(pixels) == _N_BASES < len(channels):
        return channels[-_N_BASES:]
    raise InputError(
        f"has {len(pixels)} channels",
        where=str(path),
        expected=f"{len(channels)}: {', '.join(channels)}",
        next="Name the channels in the order of the images.",
    )


def as_like(pixels: np.ndarray, like: Image, axes: str, channels: tuple[str, ...] | None = None) -> Image:
    """Pixels as an image with the names and the pixel size of another one."""
    names = like.channel_names if channels is None else channels
    fits = "C" in axes and pixels.shape[axes.index("C")] == len(names)
    return Image(pixels, axes, names if fits else (), pixel_size_um=like.pixel_size_um)


def as_labels(labels: np.ndarray, like: Image) -> Image:
    """Labels as an image with the pixel size of another one; OME-TIFF has no integers of 64 bits."""
    if labels.dtype.itemsize == 8:
        labels = labels.astype(np.uint16 if labels.max(initial=0) < 1 << 16 else np.uint32)
    return Image(labels, "YX", pixel_size_um=like.pixel_size_um, is_labels=True)


def fields_of(well: DataSet, tiles: Mapping[int, Handle], settings) -> Iterator[tuple[str, Image]]:
    """The illumination field of every cycle of a well, one in memory at a time."""
    by_cycle: dict[int, list[Image]] = {}
    for one in tiles.values():
        for name, image in one.load().items():
            by_cycle.setdefault(int(name.partition("_C-")[2].partition("__")[0]), []).append(image)
    for cycle in sorted(by_cycle):
        yield name_of(well, "ic_field", cycle), field_of(by_cycle[cycle], settings)


def field_of(images: list[Image], settings) -> Image:
    """The illumination field of images of one kind, read one after the other."""
    from cytopipe.screen.illumination import calculate_ic_field

    field = calculate_ic_field(
        [image.load for image in images],
        smooth=settings.smooth,
        sample_fraction=settings.sample_fraction,
        seed=settings.seed,
        fewest_tiles=settings.fewest_tiles,
    )
    return as_like(field, images[0], images[0].axes)


def told_of_field(n_tiles: int, settings) -> dict[str, object]:
    """What to note of the illumination field of so many tiles."""
    from cytopipe.screen.illumination import n_sampled

    used = n_sampled(n_tiles, settings.sample_fraction)
    if used >= settings.fewest_tiles:
        return {}
    tiles = f"{used} tile{'s' * (used != 1)}"
    return {"field": f"1 everywhere: {tiles}, fewest_tiles is {settings.fewest_tiles}"}


def tiles_of(
    well: DataSet, of: str, made: Mapping[str, Handle]
) -> tuple[dict[int, Handle], dict[str, object]]:
    """The tiles of a well that stand, by number, and what to note of those that are missing.

    Parameters
    ----------
    well : DataSet
    of : {'sbs', 'phenotype'}
    made : mapping of key to Handle

    Raises
    ------
    InputError
        Tiles are missing, and the project file says to refuse such a well.
    """
    keys = {tile: f"{well.entry.well_key}|{tile}" for tile in well.entry.tiles.get(of, ())}
    found = {tile: made[key] for tile, key in keys.items() if key in made}
    missing = {tile: is_there for tile, is_there in well.entry.tiles.get(of, {}).items() if tile not in found}
    if not missing:
        return found, {}
    told = ", ".join(
        f"{tile}" + ("" if is_there else " (no image)") for tile, is_there in list(missing.items())[:_TOLD]
    )
    more = f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
    words = f"{len(missing)} of {len(keys)} tiles are missing: {told}{more}"
    if well.entry.settings.missing_tiles == "refuse" or not found:
        raise InputError(
            words,
            where=f"well {well.key}",
            next="Make them first (cytopipe status says why they are missing), or set missing_tiles: report.",
        )
    return found, {"warning": words, "missing_tiles": list(missing)}


def segmented(
    of: str, found: Segmentation, image: Image, dapi: np.ndarray, body: np.ndarray
) -> dict[str, object]:
    """Nuclei, cells and counts as artifacts of an acquisition; outlined on `dapi` and `body`, both (Y, X)."""
    from cytopipe.screen.thumbnails import outlined, png

    nuclei, cells = (as_labels(one, image) for one in (found.nuclei, found.cells))
    number = {"n_cells": int(found.cells.max(initial=0)), "n_nuclei": int(found.nuclei.max(initial=0))}
    drawn = png(outlined(body, [found.cells, found.nuclei]))
    return {
        f"screen/{of}/nuclei": Described(nuclei, number, picture=png(outlined(dapi, [found.nuclei]))),
        f"screen/{of}/cells": Described(cells, number, picture=drawn),
        f"screen/{of}/segmentation": Described(found.stats, number),
    }


def counted_once(
    cells: DataFrame,
    positions: DataFrame,
    tiles: Mapping[int, Handle],
    shape: tuple[int, int],
    settings: StitchingSettings,
    reads: str | None = None,
) -> tuple[DataFrame, dict[str, int], bytes]:
    """The cells of a well, one row for each; what there is to count; and where they lie, as a picture."""
    from cytopipe.screen.overlaps import count_cells_once
    from cytopipe.screen.thumbnails import density, png

    table, observations = count_cells_once(cells, positions, shape, settings, reads=reads)
    counts = {"n_tiles": len(tiles), "n_cells": len(table), "n_counted_once": len(observations) - len(table)}
    return table, counts, png(density(table["well_i"].to_numpy(), table["well_j"].to_numpy()))


def stitched(
    well: DataSet,
    of: str,
    made: Mapping[str, Handle],
    stage: DataFrame | None,
    settings: StitchingSettings,
    metadata: DataFrame | None = None,
) -> Described:
    """Where the tiles of a well that stand lie, from what their first channel shows in common; looked for
    where the stage was, as its table says, or else the files themselves.

    Raises
    ------
    InputError
        Tiles are missing and such a well is refused; or the stage says nothing of a tile, and no grid is
        declared.
    """
    from cytopipe.screen.stitching import stitch_tiles
    from cytopipe.screen.thumbnails import density, png

    tiles, missing = tiles_of(well, of, made)
    names = list(tiles)
    expected = None
    if settings.layout == "stage":
        pixel_um = well.entry.settings.acquisitions[of].pixel_size_um
        if stage is None and metadata is not None:
            stage = _stage_in(metadata)
        at = {} if stage is None else stage.set_index("tile")[["y_pos", "x_pos"]].to_dict("index")
        if lost := [tile for tile in names if tile not in at]:
            raise InputError(
                "neither a table nor the files say where the stage was for tiles "
                + ", ".join(map(str, lost[:_TOLD])),
                where=f"well {well.key}",
                next=f"Name a table: {of}: positions, or a grid: {of}: stitching: {{layout: row}}.",
            )
        expected = np.array([[at[tile]["y_pos"], at[tile]["x_pos"]] for tile in names]) / pixel_um
        expected -= expected.min(axis=0)
    opened = {tile: one.load() for tile, one in tiles.items()}

    def load(tile: int) -> np.ndarray:
        image = opened[tile]
        return np.asarray(image.pixels[(0,) * (len(image.axes) - 2)])

    found = stitch_tiles(names, load, expected, settings)
    table = found.positions
    counts = {"n_tiles": len(table), "n_located": int(table["located"].sum()), "n_pairs": len(found.pairs)}
    used = found.pairs[found.pairs["used"]]
    notes = {"residual_px": round(float(used["residual_px"].median()), 3)} if len(used) else {}
    drawn = density(table["i"].to_numpy(), table["j"].to_numpy())
    return Described(table, counts, {**notes, **missing}, png(drawn))


def _stage_in(metadata: DataFrame) -> DataFrame:
    """Where the stage was at the first image of each tile of which a file says it."""
    known = metadata[metadata[["stage_y_um", "stage_x_um"]].notna().all(axis=1)]
    known = known.drop_duplicates("tile").rename(columns={"stage_y_um": "y_pos", "stage_x_um": "x_pos"})
    return known[["tile", "y_pos", "x_pos"]].reset_index(drop=True)


def noted(well: DataSet, tiles: Mapping[int, Handle]) -> DataFrame:
    """Place, area and box of every label of the tiles of a well."""
    import pandas as pd

    from cytopipe.screen.features import extract_phenotype_minimal

    place = {"plate": well.entry.plate, "well": well.entry.well}
    tables = []
    for tile, one in tiles.items():
        labels = one.load().load()
        tables.append(extract_phenotype_minimal(labels, labels, place | {"tile": tile}))
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def with_barcodes(well_info: DataFrame, tiles: Mapping[int, Handle]) -> DataFrame:
    """The nuclei of a well with the barcodes that their tiles found; a cell without reads has none."""
    place = ["plate", "well", "tile", "cell"]
    return well_info.merge(joined(tiles), on=place, how="left", validate="one_to_one")


def joined(tiles: Mapping[int, Handle]) -> DataFrame:
    """The tables of all tiles, one below the other; empty ones keep only their columns."""
    import pandas as pd

    tables = [one.load() for one in tiles.values()]
    some = [table for table in tables if len(table)] or tables[:1]
    return pd.concat(some, ignore_index=True)
