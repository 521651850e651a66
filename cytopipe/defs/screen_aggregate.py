"""From merged cells to perturbations: profiles of a screen, and pictures of cells of a plate.

merge/features (wells) -> aggregate/perturbations, profiles, skipped (screen)
merge/cells, sbs/well_cells (wells), phenotype/aligned (tiles) -> montage/perturbations (plate)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cytopipe.defs.artifact import Check, CheckResult, Described, Nothing, artifact
from cytopipe.defs.screen_checks import each_once
from cytopipe.defs.screen_sources import PLATES, SCREENS, settings_of
from cytopipe.project import DataSet
from cytopipe.screen.quality.files import MONTAGES
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.table import PARQUET, TSV

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from cytopipe.screen.parameters import AggregateSettings, MontageSettings
    from cytopipe.storage.formats.files import ResultFiles

__all__ = ["MEMBERS"]

SOURCES = (
    settings_of(
        "screen/aggregate_settings",
        "How features of cells become profiles of perturbations.",
        lambda screen: screen.aggregation,
        without=("omezarr_export_overlays",),
    ),
    settings_of(
        "screen/montage_settings",
        "How pictures of single cells are put together.",
        lambda screen: screen.montage,
    ),
)


def _each_once(what: str, *columns: str) -> Check:
    return each_once(f"each_{what}_once", f"Every {what} has one row.", optional=columns)


def _pictures_complete(found: ResultFiles) -> CheckResult:
    names = [name.removesuffix(".tiff") for name in found if name.endswith(".tiff")]
    lost = [name for name in names if f"{name}.png" not in found]
    return CheckResult(tuple(f"{name} has no picture" for name in lost), {"montages": len(names)})


PICTURES_COMPLETE = Check(
    name="pictures_complete",
    description="Every montage has a TIFF and a picture.",
    evaluate=_pictures_complete,
)


@artifact(
    {
        "screen/aggregate/perturbations": PARQUET,
        "screen/aggregate/profiles": PARQUET,
        "screen/aggregate/skipped": TSV,
    },
    by=SCREENS,
    optional=("cells",),
    inputs={"cells": "screen/merge/features", "aggregate_settings": "screen/aggregate_settings"},
    place={
        "screen/aggregate/perturbations": "screen/{screen}/aggregate/parquets/perturbations.parquet",
        "screen/aggregate/profiles": "screen/{screen}/aggregate/parquets/profiles.parquet",
        "screen/aggregate/skipped": "screen/{screen}/aggregate/tsvs/skipped_wells.tsv",
    },
    checks={
        "screen/aggregate/perturbations": (_each_once("perturbation", "perturbation"),),
        "screen/aggregate/profiles": (_each_once("profile", "plate", "well", "perturbation", "replicate"),),
        "screen/aggregate/skipped": (_each_once("well", "plate", "well"),),
    },
)
def aggregate(
    screen: DataSet, cells: Mapping[str, Handle], aggregate_settings: AggregateSettings
) -> dict[str, object] | Nothing:
    """One profile per perturbation of a screen, in robust standard deviations of its control cells, with the
    probability that controls look like it; profiles of every well and guide; wells that could not be used.
    """
    from cytopipe.screen.aggregate import aggregate_screen

    if not cells:
        return Nothing("no well was imaged twice")
    found = aggregate_screen((one.load() for one in cells.values()), aggregate_settings)
    table = found.perturbations
    counts = {
        "n_perturbations": len(table),
        "n_profiles": len(found.profiles),
        "n_cells": int(table["n_cells"].sum()),
        "n_wells_skipped": len(found.skipped),
    }
    told = [f"{row.plate}-{row.well}: {row.reason}" for row in found.skipped.head(10).itertuples()]
    notes = {"skipped": told} if told else {}
    return {
        "screen/aggregate/perturbations": Described(table, counts, notes, _strengths(screen, table)),
        "screen/aggregate/profiles": Described(found.profiles, counts, notes),
        "screen/aggregate/skipped": Described(found.skipped, counts, notes),
    }


def _strengths(screen: DataSet, table: pd.DataFrame) -> bytes:
    """Perturbations by their cells and the strength of their profile, controls apart, the strongest named."""
    from cytopipe.storage.formats.figure import figure_bytes, literal, new_figure

    figure = new_figure(5.0, 3.6)
    axes = figure.subplots()
    for is_control, color, label in ((False, "#2557c7", "perturbations"), (True, "#a15c00", "controls")):
        some = table[table["is_control"].astype(bool) == is_control]
        axes.plot(some["n_cells"], some["strength"], "o", ms=4, color=color, label=label)
    for row in table.nlargest(5, "strength").itertuples():
        axes.annotate(literal(row.perturbation), (row.n_cells, row.strength), fontsize=8)
    axes.set(xlabel="cells", ylabel="strength of the profile (robust SD)", title=literal(screen.key))
    axes.legend(fontsize=8, frameon=False)
    return figure_bytes(figure, dpi=110)


@artifact(
    "screen/montage/perturbations",
    MONTAGES,
    by=PLATES,
    optional=("cells", "barcodes", "aligned"),
    inputs={
        "cells": "screen/merge/cells",
        "barcodes": "screen/sbs/well_cells",
        "aligned": "screen/phenotype/aligned",
        "aggregate_settings": "screen/aggregate_settings",
        "montage_settings": "screen/montage_settings",
    },
    place="screen/{screen}/montage#P-{plate}_",
    checks=(PICTURES_COMPLETE,),
)
def montages(
    plate: DataSet,
    cells: Mapping[str, Handle],
    barcodes: Mapping[str, Handle],
    aligned: Mapping[str, Handle],
    aggregate_settings: AggregateSettings,
    montage_settings: MontageSettings,
) -> Described | Nothing:
    """Some cells of each perturbation as the phenotype shows them: a TIFF of all channels with intensities as
    they are, a PNG with each channel from its minimum to its maximum, and a table of the cells.

    Of the perturbations with most cells, so many cells are drawn by a seed. Only their tiles are read.
    """
    from cytopipe.screen.montage import choose_cells, create_montage, montage_picture
    from cytopipe.screen.thumbnails import png
    from cytopipe.storage.names import slug

    column = aggregate_settings.perturbation_column
    table = _with_barcodes(cells, barcodes, column)
    if table is None:
        return Nothing("no well was imaged twice, or no library names perturbations")
    chosen = choose_cells(table, column, montage_settings)
    crops, channels, pixel_size = _crops(chosen, aligned, montage_settings.crop_px)
    files: dict[str, Any] = {"cells.tsv": chosen.drop(columns="key").reset_index(drop=True)}
    first = None
    for name, rows in chosen.groupby(column, sort=False):
        some = [crops[row] for row in rows.index if row in crops]
        if not some:
            continue
        montage = create_montage(some)
        picture = png(montage_picture(montage, channels), most_bytes=None)
        first = first or png(montage_picture(montage, channels))
        files[f"{slug(str(name))}.png"] = picture
        files[f"{slug(str(name))}.tiff"] = _tiff(montage, channels, pixel_size)
    counts = {"n_perturbations": (len(files) - 1) // 2, "n_cells": len(crops)}
    return Described(files, counts, picture=first)


def _with_barcodes(
    cells: Mapping[str, Handle], barcodes: Mapping[str, Handle], column: str
) -> pd.DataFrame | None:
    """Cells that were found in both acquisitions, with their perturbation; `key` is that of the well."""
    import pandas as pd

    tables = []
    for key, one in cells.items():
        if key not in barcodes:
            continue
        called = barcodes[key].load().rename(columns={"tile": "site", "cell": "cell_1"})
        if column not in called:
            continue
        merged = one.load()[["plate", "well", "tile", "cell_0", "i_0", "j_0", "site", "cell_1"]]
        merged = merged.merge(called[["site", "cell_1", column]], on=["site", "cell_1"])
        tables.append(merged[merged[column].notna()].assign(key=key))
    return pd.concat(tables, ignore_index=True) if tables else None


def _crops(
    chosen: pd.DataFrame, aligned: Mapping[str, Handle], side: int
) -> tuple[dict[int, np.ndarray], tuple[str, ...], Any]:
    """The square around each cell, (C, Y, X), by its row; each tile is read once."""
    from cytopipe.screen.montage import subimage

    crops: dict[int, np.ndarray] = {}
    channels: tuple[str, ...] = ()
    pixel_size = None
    for (key, tile), rows in chosen.groupby(["key", "tile"], sort=True):
        handle = aligned.get(f"{key}|{tile}")
        if handle is None:
            continue
        image = handle.load()
        pixels, pixel_size = image.load(), image.pixel_size_um
        channels = image.channel_names or tuple(f"channel {k + 1}" for k in range(len(pixels)))
        for row in rows.itertuples():
            top, left = round(row.i_0) - side // 2, round(row.j_0) - side // 2
            crops[row.Index] = subimage(pixels, (top, left, top + side, left + side))
    return crops, channels, pixel_size


def _tiff(montage: np.ndarray, channels: tuple[str, ...], pixel_size: Any) -> bytes:
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from cytopipe.storage.formats.image import Image
    from cytopipe.storage.formats.tiff import TIFF

    with TemporaryDirectory() as folder:
        path = Path(folder) / "montage.tiff"
        TIFF.write(path, Image(montage, "CYX", channels, pixel_size_um=pixel_size))
        return path.read_bytes()


MEMBERS = (*SOURCES, aggregate, montages)
"""Sources and artifacts of perturbations, in the order in which data flow."""
