"""Sequenced cells found again among the stained ones, and put together with their measurements.

sbs/well_cells, phenotype/well_minimal -> transform, tiles, cells
cells, phenotype/well_features         -> merge/features
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cytopipe.defs.artifact import Check, CheckResult, Described, Nothing, artifact
from cytopipe.defs.screen_images import WELL_NAME
from cytopipe.defs.screen_sources import WELLS, settings_of
from cytopipe.project import DataSet
from cytopipe.storage.formats.document import JSON
from cytopipe.storage.formats.table import PARQUET, TSV

if TYPE_CHECKING:
    from pandas import DataFrame

    from cytopipe.project.screen.entry import Phenotype, Sequencing
    from cytopipe.screen.parameters import MergeSettings

__all__ = ["MEMBERS"]


def _one_to_one(cells: DataFrame) -> CheckResult:
    twice = [
        f"{int(number)} cells of the {name} images have several partners"
        for name, columns in (("phenotype", ["tile", "cell_0"]), ("sequencing", ["site", "cell_1"]))
        if (number := cells.duplicated(columns).sum())
    ]
    return CheckResult(tuple(twice), {"n_cells": len(cells)})


ONE_TO_ONE = Check(name="one_to_one", description="Every cell has one partner at most.", evaluate=_one_to_one)


def _rates(tiles: DataFrame) -> CheckResult:
    wrong = tiles.loc[(tiles["n_matched"] > tiles["n_cells"]), "tile"].tolist()
    return CheckResult(tuple(f"tile {tile} has more matches than cells" for tile in wrong))


def _similar(transform: Mapping) -> CheckResult:
    matrix = transform["matrix"]
    if matrix is None:
        return CheckResult()
    (a, b, _), (c, d, _) = matrix
    return CheckResult(() if abs(a * d - b * c) > 0 else ("turns all cells into a line",))


def _one_row_per_match(table: DataFrame) -> CheckResult:
    twice = int(table.duplicated(["tile", "cell_0"]).sum())
    return CheckResult((f"{twice} cells have two rows",) if twice else (), {"n_cells": len(table)})


RATES = Check(name="rates", description="No tile has more matches than cells.", evaluate=_rates)
SIMILAR = Check(name="similar", description="The similarity has a scale that is not zero.", evaluate=_similar)
ONE_ROW_PER_MATCH = Check(
    name="one_row_per_match", description="Every cell has one row.", evaluate=_one_row_per_match
)

MERGE_SETTINGS = settings_of(
    "screen/merge_settings",
    "How sequenced cells are found among the stained ones.",
    lambda screen: screen.merge,
)

_OF_SCREEN = {
    "sbs": "screen/sbs/well_cells",
    "phenotype": "screen/phenotype/well_minimal",
    "merge_settings": "screen/merge_settings",
    "sbs_acquisition": "screen/sbs/acquisition",
    "phenotype_acquisition": "screen/phenotype/acquisition",
}


@artifact(
    {"screen/merge/cells": PARQUET, "screen/merge/tiles": TSV, "screen/merge/transform": JSON},
    by=WELLS,
    version="3",
    inputs=_OF_SCREEN,
    place={
        "screen/merge/cells": f"screen/{{screen}}/merge/parquets/{WELL_NAME}__merge.parquet",
        "screen/merge/tiles": f"screen/{{screen}}/merge/tsvs/{WELL_NAME}__tiles.tsv",
        "screen/merge/transform": f"screen/{{screen}}/merge/tsvs/{WELL_NAME}__transform.json",
    },
    checks={
        "screen/merge/cells": (ONE_TO_ONE,),
        "screen/merge/tiles": (RATES,),
        "screen/merge/transform": (SIMILAR,),
    },
)
def merge(
    well: DataSet,
    sbs: DataFrame | None,
    phenotype: DataFrame | None,
    merge_settings: MergeSettings,
    sbs_acquisition: Sequencing,
    phenotype_acquisition: Phenotype,
) -> Mapping[str, object] | Nothing:
    """Cells of a well that were found in both acquisitions, by one similarity and the nearest neighbour.

    The similarity runs from px of the phenotype's well to px of the sequencing well.
    """
    from cytopipe.screen.merge import merge_cells
    from cytopipe.screen.thumbnails import density, png

    if sbs is None or phenotype is None:
        return Nothing("the well was not imaged twice")
    found = merge_cells(
        phenotype,
        sbs,
        merge_settings,
        sbs_pixel_um=sbs_acquisition.pixel_size_um,
        phenotype_pixel_um=phenotype_acquisition.pixel_size_um,
    )
    counts = {"n_matched": len(found.cells), "n_sbs": len(sbs), "n_phenotype": len(phenotype)}
    notes = {} if found.found else {"warning": "the two acquisitions could not be laid on each other"}
    drawn = png(density(found.cells["well_i_1"].to_numpy(), found.cells["well_j_1"].to_numpy()))
    transform = {
        "from": "px of the phenotype's well (row, column, 1)",
        "to": "px of the sequencing well (row, column)",
        "matrix": None if found.transform is None else found.transform.tolist(),
        "n_triangles": int(found.n_triangles),
    }
    return {
        "screen/merge/cells": Described(found.cells, counts, notes, drawn),
        "screen/merge/tiles": Described(found.tiles, counts, notes),
        "screen/merge/transform": Described(transform, counts, notes),
    }


@artifact(
    "screen/merge/features",
    PARQUET,
    by=WELLS,
    place=f"screen/{{screen}}/merge/parquets/{WELL_NAME}__merged_features.parquet",
    inputs={
        "cells": "screen/merge/cells",
        "barcodes": "screen/sbs/well_cells",
        "features": "screen/phenotype/well_features",
    },
    checks=(ONE_ROW_PER_MATCH,),
)
def features(
    well: DataSet, cells: DataFrame | None, barcodes: DataFrame | None, features: DataFrame | None
) -> Described | Nothing:
    """One row per cell that was found in both acquisitions: its barcodes and genes, and its measurements."""
    if cells is None or barcodes is None or features is None:
        return Nothing("the well was not imaged twice")
    keys = ["plate", "well", "tile", "cell_0", "site", "cell_1"]
    matched = cells[[*keys, "distance_um"]]
    called = barcodes.drop(columns=["plate", "well"]).rename(columns={"tile": "site", "cell": "cell_1"})
    own = [name for name in called.columns if name in ("site", "cell_1") or name not in features.columns]
    table = matched.merge(called[own], on=["site", "cell_1"], how="left", validate="one_to_one")
    measured = features.drop(columns=["plate", "well"]).rename(columns={"label": "cell_0"})
    table = table.merge(measured, on=["tile", "cell_0"], how="inner", validate="one_to_one")
    return Described(table, {"n_cells": len(table), "n_columns": table.shape[1]})


MEMBERS = (MERGE_SETTINGS, merge, features)
"""Sources and artifacts of the merge, in the order in which data flow."""
