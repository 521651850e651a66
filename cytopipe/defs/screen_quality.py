"""Quality of a screen: what is measured of every tile, what is wrong in every well, and the whole plate.

sbs/images -> sbs_planes -----+-> sbs_images (well) ------+
sbs/aligned -> sbs_alignment -+                           |
phenotype/images -> phenotype_planes -> phenotype_images -+-> plate
sbs/reads -> reads (well) --------------------------------+
sbs/segmentation, reads, cell_barcodes -> cells (well) ---+

A well takes the tiles that stand and names the others. No finding stops anything: checks warn, and the gate
(`cytopipe.defs.screen_gate`) waits for a person where the project file says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.defs.artifact import Check, CheckResult, Described, Nothing, Source, artifact
from cytopipe.defs.screen_checks import each_once
from cytopipe.defs.screen_images import joined
from cytopipe.defs.screen_sources import PHENOTYPE_TILES, PLATES, SBS_TILES, WELLS, settings_of
from cytopipe.errors import InputError
from cytopipe.project import DataSet
from cytopipe.screen.quality.faults import KINDS, Fault, fault_table
from cytopipe.screen.quality.files import CELLS, IMAGES, PLATE, READS
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.table import PARQUET
from cytopipe.storage.formats.tiffs import ImageFiles

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from cytopipe.screen.parameters import CycleAlignmentSettings, LibrarySettings, QualitySettings
    from cytopipe.storage.formats.files import ResultFiles

__all__ = ["MEMBERS"]

_SET = "screen/{{screen}}/qc/{}#P-{{plate}}_W-{{well}}_"
_READS_COMPARED = 50_000  # of a well, where every read is compared with every barcode
_TOLD = 20
_DPI = 110  # a figure of 5 inches is then as wide as the browser shows it


# ---------------------------------------------------------------------- what is wrong, as checks


def _check(kind: str) -> Check:
    """The check that a well or plate has no fault of a kind; it names the tiles, and stops nothing."""

    def evaluate(found: ResultFiles) -> CheckResult:
        faults = found["faults.tsv"]
        return CheckResult(tuple(faults.loc[faults["kind"] == kind, "words"]))

    return Check(name=kind, description=KINDS[kind], evaluate=evaluate, blocking=False)


def _checks(*kinds: str) -> tuple[Check, ...]:
    return tuple(_check(kind) for kind in kinds)


EACH_PLANE_ONCE = each_once("each_plane_once", "Every plane of a tile has one row.", "cycle", "channel")
EACH_CYCLE_ONCE = each_once("each_cycle_once", "Every cycle of a tile has one row.", "cycle")

# ---------------------------------------------------------------------- what it is made from


def _files_of(plate: DataSet) -> list[dict[str, Any]]:
    """For each acquisition and well of a plate, how many files are there, and what is absent."""
    rows = []
    for of in plate.entry.settings.acquisitions:
        own = _kinds_of_tiles(plate, of)
        kinds = list(dict.fromkeys(kind for some in own.values() for kind in some))
        tiles = sorted({tile for _, tile in own})
        for well in dict.fromkeys(well for well, _ in own):
            absent = [
                f"tile {tile}{kind}"
                for tile in tiles
                for kind in kinds
                if kind not in own.get((well, tile), ())
            ]
            expected = len(tiles) * len(kinds)
            row = {
                "acquisition": of,
                "well": well,
                "n_expected": expected,
                "n_present": expected - len(absent),
            }
            rows.append(row | {"absent": absent[:_TOLD]})
    return rows


def _kinds_of_tiles(plate: DataSet, of: str) -> dict[tuple[str, int], list[str]]:
    """For each well and tile of a plate, in words, which images of the microscope there are, and what a
    folder of Brieflow has.
    """
    settings, name = plate.entry.settings, plate.entry.plate
    repeated = settings.acquisitions[of].repeated
    found = {
        (well, tile): [
            (f", {repeated} {cycle}" if cycle else "") + (f", {channel}" if channel else "")
            for cycle, channel in sorted(files)
        ]
        for (of_plate, well, tile), files in settings.tiles(of, plate.base).items()
        if of_plate == name
    }
    tree = settings.tree(plate.base)
    for asset, there in tree.kinds(of).items() if tree is not None else ():
        for of_plate, well, tile in there:
            if of_plate == name and (well, tile) in found:
                found[well, tile].append(f", {asset.removeprefix(f'screen/{of}/')}")
    return found


SOURCES = (
    settings_of(
        "screen/quality_settings",
        "What is told as a fault of images, reads and cells.",
        lambda screen: screen.quality,
    ),
    Source(
        asset="screen/qc/files",
        by=PLATES,
        description="Image files of each well of a plate, and how many the other wells make expect.",
        load=_files_of,
        values=lambda plate: {"wells": _files_of(plate)},
        kinds=("table",),
    ),
)

# ---------------------------------------------------------------------- a tile


@artifact(
    "screen/qc/sbs_planes",
    PARQUET,
    by=SBS_TILES,
    inputs={"images": "screen/sbs/images"},
    checks=(EACH_PLANE_ONCE,),
)
def sbs_planes(tile: DataSet, images: ImageFiles) -> Described:
    """Sharpness, contrast and saturation of every plane of a tile, and a digest that tells planes apart."""
    import pandas as pd

    from cytopipe.screen.quality.images import measure_planes

    tables = [
        measure_planes(list(image.planes()), _channels(image), **tile.entry.wildcards, cycle=cycle)
        for cycle, image in zip(_cycles(images), images.values(), strict=True)
    ]
    return _planes(pd.concat(tables, ignore_index=True))


@artifact(
    "screen/qc/phenotype_planes",
    PARQUET,
    by=PHENOTYPE_TILES,
    inputs={"images": "screen/phenotype/images"},
    checks=(EACH_PLANE_ONCE,),
)
def phenotype_planes(tile: DataSet, images: Image) -> Described:
    """Sharpness, contrast and saturation of every channel of a tile, and a digest that tells planes apart."""
    from cytopipe.screen.quality.images import measure_planes

    return _planes(measure_planes(list(images.planes()), _channels(images), **tile.entry.wildcards, cycle=0))


@artifact(
    "screen/qc/sbs_alignment",
    PARQUET,
    by=SBS_TILES,
    inputs={
        "aligned": "screen/sbs/aligned",
        "images": "screen/sbs/images",
        "alignment_settings": "screen/sbs/alignment_settings",
    },
    checks=(EACH_CYCLE_ONCE,),
)
def sbs_alignment(
    tile: DataSet, aligned: Image, images: Handle, alignment_settings: CycleAlignmentSettings
) -> Described:
    """How far each cycle of a tile still is from the reference cycle after alignment, in px."""
    from cytopipe.screen.quality.alignment import measure_alignment

    table = measure_alignment(
        aligned.load(),
        _cycles(images.load()),
        n_bases=alignment_settings.n_bases,
        reference_cycle=alignment_settings.reference_cycle,
        **tile.entry.wildcards,
    )
    worst = table["residual_px"].max()
    return Described(table, notes={} if np.isnan(worst) else {"worst_residual_px": round(float(worst), 3)})


def _cycles(images: ImageFiles) -> list[int]:
    """The numbers of the cycles of a tile, as the names of its files tell them."""
    return [int(name.partition("_C-")[2].partition("__")[0]) for name in images]


def _channels(image: Image) -> tuple[str, ...]:
    return image.channel_names or tuple(f"channel {k + 1}" for k in range(image.n_channels))


def _planes(table: pd.DataFrame) -> Described:
    facts = {"lowest_contrast": round(float(table["contrast"].min()), 1)}
    return Described(table, {"n_planes": len(table)}, facts)


# ---------------------------------------------------------------------- images of a well


def _images(of: str, planes: str, alignment: str | None):
    """What the artifact of a well's images is declared with."""
    inputs = {"planes": f"screen/qc/{planes}", "stage": f"screen/{of}/stage"}
    inputs |= {"alignment": f"screen/qc/{alignment}"} if alignment else {}
    kinds = ["tiles_present", "not_blank", "not_saturated", "in_focus", "taken_once"]
    return {
        "by": WELLS,
        "optional": ("planes", "alignment") if alignment else ("planes",),
        "inputs": {**inputs, "quality_settings": "screen/quality_settings"},
        "place": _SET.format(f"{of}_images"),
        "checks": _checks(*kinds, *(["all_cycles", "cycles_in_place"] if alignment else [])),
    }


@artifact("screen/qc/sbs_images", IMAGES, **_images("sbs", "sbs_planes", "sbs_alignment"))
def sbs_images(
    well: DataSet,
    planes: Mapping[str, Handle],
    alignment: Mapping[str, Handle],
    stage: DataFrame | None,
    quality_settings: QualitySettings,
) -> Described | Nothing:
    """What is wrong with the sequencing images of a well: blank, blurred, saturated and repeated planes,
    missing cycles, cycles out of place. Tables of tiles, and maps of the well.
    """
    return _image_quality(well, "sbs", planes, alignment, stage, quality_settings)


@artifact("screen/qc/phenotype_images", IMAGES, **_images("phenotype", "phenotype_planes", None))
def phenotype_images(
    well: DataSet, planes: Mapping[str, Handle], stage: DataFrame | None, quality_settings: QualitySettings
) -> Described | Nothing:
    """What is wrong with the phenotype images of a well: blank, blurred, saturated and repeated planes.
    Tables of tiles, and a map of the well.
    """
    return _image_quality(well, "phenotype", planes, None, stage, quality_settings)


def _image_quality(
    well: DataSet,
    of: str,
    planes: Mapping[str, Handle],
    alignment: Mapping[str, Handle] | None,
    stage: DataFrame | None,
    settings: QualitySettings,
) -> Described | Nothing:
    from cytopipe.screen.quality.figures import well_figure
    from cytopipe.screen.quality.images import image_faults, relative_focus

    if not well.entry.tiles.get(of):
        return Nothing(f"the well has no {of} images")
    found, faults = _standing(well, of, planes)
    table = joined(found)
    table["relative_focus"] = relative_focus(table)
    residuals = None
    if alignment is not None:
        aligned, lost = _standing(well, of, alignment, "aligned", need_one=False)
        residuals = joined(aligned) if aligned else None
        faults += [one for one in lost if one.tile in found]
    faults += image_faults(table, settings, residuals)
    by_tile = table.groupby("tile")
    tiles = by_tile.agg(
        n_planes=("channel", "size"),
        focus=("focus", "median"),
        relative_focus=("relative_focus", "min"),
        lowest_contrast=("contrast", "min"),
        most_saturated=("saturated", "max"),
    )
    if residuals is not None:
        tiles["worst_residual_px"] = residuals.groupby("tile")["residual_px"].max()
    tiles["n_faults"] = _per_tile(faults, tiles.index)
    tiles = tiles.reset_index()
    places = _places(well, of, stage)
    draw = {"focus.png": well_figure(
        dict(zip(tiles["tile"], tiles["relative_focus"], strict=True)),
        f"{well.key}, {of}: least sharp plane of each tile",
        "of the well's usual sharpness",
        places,
    )}  # fmt: skip
    files: dict[str, Any] = {"faults.tsv": fault_table(faults), "tiles.tsv": tiles}
    if residuals is not None:
        files["alignment.tsv"] = residuals
        draw["alignment.png"] = well_figure(
            dict(zip(tiles["tile"], tiles["worst_residual_px"], strict=True)),
            f"{well.key}, {of}: cycle farthest out of place",
            "px",
            places,
        )
    counts = {"n_tiles": len(tiles), "n_planes": len(table)}
    return _told(well, files, draw, faults, counts)


# ---------------------------------------------------------------------- reads of a well


@artifact(
    "screen/qc/reads",
    READS,
    by=WELLS,
    optional=("reads",),
    inputs={
        "reads": "screen/sbs/reads",
        "library": "screen/library",
        "library_settings": "screen/library_settings",
        "quality_settings": "screen/quality_settings",
    },
    place=_SET.format("reads"),
    checks=_checks("bases_as_in_library", "channels_in_order"),
)
def reads(
    well: DataSet,
    reads: Mapping[str, Handle],
    library: DataFrame | None,
    library_settings: LibrarySettings,
    quality_settings: QualitySettings,
) -> Described | Nothing:
    """The reads of a well against the library: bases in each cycle, the order of the bases over all 24, the
    share that maps against thresholds of peak and quality, errors by cycle, best against second distance; and
    barcodes of the library that are near to each other.
    """
    from cytopipe.screen.library import library_prefixes, near_neighbours
    from cytopipe.screen.quality import figures
    from cytopipe.screen.quality import reads as quality

    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    if library is None:
        return Nothing("the project file names no library to compare reads with")
    found, _ = _standing(well, "sbs", reads)
    table = _of_one_length(joined(found))
    barcodes = table["barcode"].tolist()
    prefixes = library_prefixes(library, len(barcodes[0]) if barcodes else None, library_settings)
    known = prefixes.tolist()
    some = barcodes[:: len(barcodes) // _READS_COMPARED + 1]
    bases, order = quality.base_frequencies(barcodes, known), quality.base_order(some, known)
    mismatches, distances = quality.mismatches_by_cycle(some, known), quality.distances(some, known)
    peak, least = _thresholds(table)
    by_peak = quality.mapping_by_threshold(table, known, peak)
    by_quality = quality.mapping_by_quality(table, known, least)
    faults = quality.base_faults(bases, order, quality_settings)
    files = {
        "faults.tsv": fault_table(faults),
        "bases.tsv": bases,
        "base_order.tsv": order,
        "mapping_by_peak.tsv": by_peak,
        "mapping_by_quality.tsv": by_quality,
        "mismatches.tsv": mismatches,
        "distances.tsv": distances,
        "near_neighbours.tsv": near_neighbours(prefixes, library_settings.near_distance),
    }
    draw = {
        "bases.png": figures.bases_figure(bases, f"{well.key}: bases of {len(table):,} reads"),
        "mapping_by_peak.png": figures.mapping_figure(by_peak, f"{well.key}: reads in cells, by peak"),
        "mapping_by_quality.png": figures.mapping_figure(
            by_quality, f"{well.key}: reads in cells, by quality"
        ),
        "mismatches.png": figures.mismatches_figure(
            mismatches, int(bases["cycle"].max()), len(some), f"{well.key}: wrong bases"
        ),
        "distances.png": figures.distances_figure(distances, f"{well.key}: reads against the library"),
    }
    all_in_cells = by_quality.iloc[0]
    counts = {
        "n_reads": len(table),
        "n_reads_in_cells": int(all_in_cells["n_reads"]),
        "n_reads_mapped": int(all_in_cells["n_mapped"]),
        "n_near_neighbours": len(files["near_neighbours.tsv"]),
    }
    return _told(well, files, draw, faults, counts)


def _of_one_length(reads: pd.DataFrame) -> pd.DataFrame:
    """Reads with the usual number of cycles; those of a tile that lacks one cannot be compared."""
    if reads.empty:
        return reads
    lengths = reads["barcode"].str.len()
    return reads[lengths == lengths.mode().iloc[0]]


def _thresholds(reads: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Peaks and qualities against which the share of mapped reads is drawn."""
    peaks = reads.loc[reads["cell"] > 0, "peak"].to_numpy(float)
    quantiles = np.quantile(peaks, np.linspace(0, 0.95, 20)) if len(peaks) else [0.0]
    return sorted({float(f"{one:.4g}") for one in quantiles}), [round(0.05 * k, 2) for k in range(20)]


# ---------------------------------------------------------------------- cells of a well


@artifact(
    "screen/qc/cells",
    CELLS,
    by=WELLS,
    optional=("segmentation", "reads", "cell_barcodes"),
    dispensable=("segmentation",),
    inputs={
        "segmentation": "screen/sbs/segmentation",
        "reads": "screen/sbs/reads",
        "cell_barcodes": "screen/sbs/cell_barcodes",
        "stage": "screen/sbs/stage",
        "library": "screen/library",
        "library_settings": "screen/library_settings",
        "quality_settings": "screen/quality_settings",
    },
    place=_SET.format("cells"),
    checks=_checks("tiles_present", "cells_called"),
)
def cells(
    well: DataSet,
    segmentation: Mapping[str, Handle],
    reads: Mapping[str, Handle],
    cell_barcodes: Mapping[str, Handle],
    stage: DataFrame | None,
    library: DataFrame | None,
    library_settings: LibrarySettings,
    quality_settings: QualitySettings,
) -> Described | Nothing:
    """Cells of every tile of a well, how many have a barcode of the library, and how many reads map: a table,
    and maps of the well.
    """
    from cytopipe.screen.library import library_prefixes
    from cytopipe.screen.quality.figures import well_figure
    from cytopipe.screen.quality.reads import cells_of_tiles, rate_faults

    if not well.entry.tiles.get("sbs"):
        return Nothing("the well was not sequenced")
    called, faults = _standing(well, "sbs", cell_barcodes)
    table = _of_one_length(joined(_standing(well, "sbs", reads)[0]))
    table = table[table["tile"].isin(list(called))]
    length = len(table["barcode"].iloc[0]) if len(table) else None
    known = [] if library is None else library_prefixes(library, length, library_settings).tolist()
    segmented, _ = _standing(well, "sbs", segmentation)
    tiles = cells_of_tiles(_all_cells(well, called, segmented), table, known)
    if known:
        faults += rate_faults(tiles, quality_settings)
    places = _places(well, "sbs", stage)

    def drawn(column: str, title: str, label: str, most: float | None = None) -> Figure:
        values = dict(zip(tiles["tile"], tiles[column], strict=True))
        return well_figure(values, f"{well.key}: {title}", label, places, most)

    draw = {
        "cells_called.png": drawn("called", "cells with a barcode of the library", "fraction of cells", 1),
        "cells.png": drawn("n_cells", "cells of each tile", "cells"),
        "reads_mapped.png": drawn("mapped", "reads in the library", "fraction of reads in cells", 1),
    }
    counts = {name: int(tiles[name].sum()) for name in ("n_cells", "n_with_reads", "n_called")}
    return _told(well, {"faults.tsv": fault_table(faults), "tiles.tsv": tiles}, draw, faults, counts)


def _all_cells(well: DataSet, called: Mapping[int, Handle], segmented: Mapping[int, Handle]) -> pd.DataFrame:
    """A row for each cell of a well: those of the tables, and those without reads."""
    import pandas as pd

    tables = []
    for tile, one in called.items():
        barcodes = one.load()["cell_barcode_0"].astype(object).tolist()
        if tile in segmented:
            barcodes += [None] * max(int(segmented[tile].load()["final_cells"].iloc[0]) - len(barcodes), 0)
        place = {"plate": well.entry.plate, "well": well.entry.well, "tile": tile}
        tables.append(pd.DataFrame({**place, "cell_barcode_0": pd.Series(barcodes, dtype=object)}))
    return pd.concat([one for one in tables if len(one)] or tables[:1], ignore_index=True)


# ---------------------------------------------------------------------- a plate


@artifact(
    "screen/qc/plate",
    PLATE,
    by=PLATES,
    optional=("sbs_images", "phenotype_images", "reads", "cells"),
    dispensable=("sbs_images", "phenotype_images", "reads", "cells"),
    inputs={"quality_settings": "screen/quality_settings"},
    place="screen/{screen}/qc/plate#P-{plate}_",
    checks=_checks("files_present", "cells_called"),
)
def plate(
    plate: DataSet,
    sbs_images: Mapping[str, Handle],
    phenotype_images: Mapping[str, Handle],
    reads: Mapping[str, Handle],
    cells: Mapping[str, Handle],
    files: list[dict[str, Any]],
    quality_settings: QualitySettings,
) -> Described:
    """A plate at a glance: cells, mapping rate and sharpness of every well on a map, files that are absent,
    and the tiles with most faults by name.
    """
    import pandas as pd

    from cytopipe.screen.quality.figures import plate_figure, stacked
    from cytopipe.screen.quality.layout import plate_wells
    from cytopipe.screen.thumbnails import png

    head = f"{plate.key}-"
    names = list(dict.fromkeys(row["well"] for row in files))
    found = {"sbs_images": sbs_images, "phenotype_images": phenotype_images, "reads": reads, "cells": cells}
    loaded = {
        name: {key.removeprefix(head): one.load() for key, one in some.items()}
        for name, some in found.items()
    }
    wells = plate_wells(names, loaded)
    present = pd.DataFrame(files)
    faults = [
        Fault("files_present", -1, f"well {row['well']}, {row['acquisition']}: no file of {_listed(row)}")
        for row in files
        if row["absent"]
    ]
    usual = wells["called"].dropna().median()
    for row in wells.itertuples():
        if len(wells) > 2 and row.called < quality_settings.least_of_usual * usual:
            words = f"{row.called:.0%} of the cells have a barcode, in the plate {usual:.0%}"
            faults.append(Fault("cells_called", -1, f"well {row.well}: {words}"))
    worst = _worst(loaded)
    maps = {
        "cells_called": ("cells with a barcode of the library", "fraction of cells"),
        "cells": ("cells", "cells"),
        "reads_mapped": ("reads in the library", "fraction of reads in cells"),
        "focus": ("sharpness of the sequencing images", "energy of fine structure"),
        "faults": ("faults", "faults that were found"),
    }
    columns = {"cells": "n_cells", "cells_called": "called", "reads_mapped": "mapped", "faults": "n_faults"}
    draw = {
        f"{name}.png": plate_figure(
            dict(zip(wells["well"], wells[columns.get(name, name)].astype(float), strict=True)),
            f"{plate.key}: {title}",
            label,
            1 if label.startswith("fraction") else None,
        )
        for name, (title, label) in maps.items()
        if wells[columns.get(name, name)].notna().any()
    }
    present["absent"] = [_listed(row) if row["absent"] else "" for row in files]
    tables = {
        "faults.tsv": fault_table(faults),
        "wells.tsv": wells,
        "files.tsv": present,
        "worst_tiles.tsv": worst,
    }
    counts = {
        "n_wells": len(wells),
        "n_files_expected": int(present["n_expected"].sum()),
        "n_files_present": int(present["n_present"].sum()),
        "n_cells": int(wells["n_cells"].sum()),
        "n_called": int(wells["n_called"].sum()),
        "n_faults": int(wells["n_faults"].sum()) + len(faults),
    }
    told = [f"{row.well}, tile {row.tile}: {row.words}" for row in worst.head(5).itertuples()]
    notes = {"worst_tiles": told} if told else {}
    drawn = _rendered(draw)
    picture = png(stacked(list(drawn.values())[:3])) if drawn else None
    return Described({**tables, **drawn}, counts, notes, picture)


def _listed(row: Mapping[str, Any]) -> str:
    number = row["n_expected"] - row["n_present"]
    more = f"; and {number - _TOLD} more" if number > _TOLD else ""
    return "; ".join(row["absent"]) + more


def _worst(loaded: Mapping[str, Mapping[str, ResultFiles]]) -> pd.DataFrame:
    """The tiles with most faults: ``acquisition, well, tile, n_faults, words``."""
    import pandas as pd

    tables = [
        found["faults.tsv"].assign(acquisition="phenotype" if of == "phenotype_images" else "sbs", well=well)
        for of, some in loaded.items()
        for well, found in some.items()
    ]
    names = ["acquisition", "well", "tile", "n_faults", "words"]
    faults = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*names, "kind"])
    faults = faults[faults["tile"].notna()]
    if not len(faults):
        return pd.DataFrame(columns=names)
    told = faults["words"].astype(str).str.replace(r"^tile \d+(, |: )", "", regex=True)
    grouped = faults.assign(words=told).groupby(["acquisition", "well", "tile"], sort=True)["words"]
    worst = grouped.agg(n_faults="size", words=lambda some: "; ".join(list(some)[:_TOLD])).reset_index()
    worst["tile"] = worst["tile"].astype(int)
    return worst.sort_values("n_faults", ascending=False, kind="stable", ignore_index=True)[names].head(50)


# ---------------------------------------------------------------------- what wells have in common


def _standing(
    well: DataSet, of: str, made: Mapping[str, Handle], verb: str = "made", *, need_one: bool = True
) -> tuple[dict[int, Handle], list[Fault]]:
    """The tiles of a well that stand, by number, and those that do not as faults.

    Raises
    ------
    InputError
        There is none.
    """
    tiles = well.entry.tiles[of]
    found = {tile: made[key] for tile in tiles if (key := f"{well.entry.well_key}|{tile}") in made}
    if not found and need_one:
        raise InputError(
            f"none of {len(tiles)} tiles stands", where=f"well {well.key}", next="Make tiles first."
        )
    faults = [
        Fault("tiles_present", tile, f"tile {tile}: " + (f"could not be {verb}" if is_there else "no image"))
        for tile, is_there in tiles.items()
        if tile not in found
    ]
    return found, faults


def _per_tile(faults: Iterable[Fault], tiles: Iterable[int]) -> list[int]:
    own = [fault.tile for fault in faults]
    return [own.count(tile) for tile in tiles]


def _places(well: DataSet, of: str, stage: DataFrame | None) -> pd.DataFrame | None:
    """Where tiles lie: as the stage says, or in the grid that is declared; ``tile, y, x``."""
    import pandas as pd

    if stage is not None and len(stage):
        return stage.rename(columns={"y_pos": "y", "x_pos": "x"})
    layout = well.entry.settings.acquisitions[of].stitching
    if layout.layout == "stage":
        return None
    from cytopipe.screen.stitching import grid_positions

    tiles = sorted(well.entry.tiles[of])
    corners = grid_positions(len(tiles), (1000, 1000), layout)
    return pd.DataFrame({"tile": tiles, "y": corners[:, 0], "x": corners[:, 1]})


def _told(
    well: DataSet,
    tables: Mapping[str, pd.DataFrame],
    draw: Mapping[str, Figure],
    faults: list[Fault],
    counts: Mapping[str, int],
) -> Described:
    """Tables and figures of a well, with its faults beside and the first two figures as its picture."""
    from cytopipe.screen.quality.figures import stacked
    from cytopipe.screen.thumbnails import png

    notes = {"faults": [fault.words for fault in faults[:_TOLD]]} if faults else {}
    drawn = _rendered(draw)
    picture = png(stacked(list(drawn.values())[:2]))
    return Described({**tables, **drawn}, {**counts, "n_faults": len(faults)}, notes, picture)


def _rendered(draw: Mapping[str, Figure]) -> dict[str, bytes]:
    """Figures as they are published, and as parts of a picture."""
    from cytopipe.storage.formats.figure import figure_bytes

    return {name: figure_bytes(figure, dpi=_DPI) for name, figure in draw.items()}


MEMBERS = (
    *SOURCES,
    sbs_planes,
    phenotype_planes,
    sbs_alignment,
    sbs_images,
    phenotype_images,
    reads,
    cells,
    plate,
)
"""Sources and artifacts of quality, in the order in which data flow."""
