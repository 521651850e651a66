"""Checks of a screen's artifacts before publication: what no image and no setting may break."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cytopipe.defs.artifact import Check, CheckResult, asking_for
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.tiffs import ImageFiles

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = [
    "ALIKE",
    "ALL_CYCLES",
    "BASES_IN_PLACE",
    "CONVERTED",
    "COUNTS_FALL",
    "FIELDS_USABLE",
    "FIELD_USABLE",
    "FINITE",
    "LABELS_CONSECUTIVE",
    "MODEL_READABLE",
    "ONE_ROW_PER_CELL",
    "ONE_ROW_PER_LABEL",
    "ONE_ROW_PER_READ",
    "PLACED",
    "READS_IN_PLACE",
    "each_once",
    "same_size",
]


def same_size(name: str) -> Check:
    """The check that an image has the rows and columns of the input `name`."""

    def evaluate(made: Image, **inputs: Image) -> CheckResult:
        of = inputs[name]
        same = made.shape[-2:] == of.shape[-2:]
        return CheckResult(() if same else (f"{made.shape[-2:]} px, {name} has {of.shape[-2:]}",))

    asking_for(evaluate, {name: "Image"})
    words = f"The image has as many rows and columns as {name}."
    return Check(name="same_size", description=words, evaluate=evaluate)


def _all_cycles(aligned: Image, images: ImageFiles) -> CheckResult:
    first = next(iter(images.values()))
    found = []
    if aligned.size("T") != len(images):
        found.append(f"{aligned.size('T')} cycles of {len(images)}")
    if aligned.shape[-2:] != first.shape[-2:]:
        found.append(f"{aligned.shape[-2:]} px instead of {first.shape[-2:]}")
    return CheckResult(tuple(found), {"cycles": aligned.size("T")})


def _labels_consecutive(labels: Image) -> CheckResult:
    found = np.unique(labels.load())
    found = found[found > 0]
    missing = len(found) and int(found[-1]) != len(found)
    words = (f"{len(found)} labels, the highest is {int(found[-1])}",) if missing else ()
    return CheckResult(words, {"n_labels": len(found)})


def _finite(image: Image) -> CheckResult:
    bad = sum(int((~np.isfinite(plane) | (plane < 0)).sum()) for plane in image.planes())
    return CheckResult((f"{bad} pixels are negative or not finite",) if bad else ())


def _fields_usable(fields: ImageFiles) -> CheckResult:
    return CheckResult(
        tuple(f"{name} {words}" for name, image in fields.items() for words in _field_usable(image).findings)
    )


def _field_usable(field: Image) -> CheckResult:
    usable = all(np.isfinite(plane).all() and plane.min() >= 1 for plane in field.planes())
    return CheckResult(() if usable else ("has values below 1, or not finite",))


def _converted(image: Image | ImageFiles) -> CheckResult:
    images = dict(image) if isinstance(image, ImageFiles) else {"the image": image}
    shape = next(iter(images.values())).shape[-2:]
    wrong = [
        f"{name} is {one.dtype} {one.shape}"
        for name, one in images.items()
        if one.dtype != np.uint16 or one.shape[-2:] != shape
    ]
    return CheckResult(tuple(wrong), {"rows": shape[0], "columns": shape[1]})


def _counts_fall(stats: DataFrame) -> CheckResult:
    (row,) = stats.to_dict("records")
    wrong = [f"{name}: {value}" for name, value in row.items() if value < 0]
    if row["final_nuclei"] > row["initial_nuclei"]:
        wrong.append(f"{row['final_nuclei']} nuclei of {row['initial_nuclei']} found first")
    return CheckResult(tuple(wrong))


def _alike(metadata: DataFrame) -> CheckResult:
    from cytopipe.screen.microscope import check_acquisitions

    return CheckResult(tuple(str(one) for one in check_acquisitions(metadata)), {"n_files": len(metadata)})


def _placed(positions: DataFrame) -> CheckResult:
    lost = positions.loc[~np.isfinite(positions[["i", "j"]]).all(axis=1), "tile"].tolist()
    twice = positions.loc[positions["tile"].duplicated(), "tile"].tolist()
    found = [f"tile {tile} has no place" for tile in lost] + [f"tile {tile} has two places" for tile in twice]
    return CheckResult(tuple(found), {"n_located": int(positions["located"].sum())})


def _can_be_used(document: dict) -> CheckResult:
    from cytopipe.screen.model import read_model_from_json

    try:
        read_model_from_json(document)
    except (ValueError, KeyError, TypeError) as error:
        return CheckResult((f"cannot be read back: {error}",))
    return CheckResult()


def _bases_in_place(bases: DataFrame, cells: Image) -> CheckResult:
    found = []
    shape = cells.shape[-2:]
    if len(bases):
        outside = int((~bases["i"].between(0, shape[0] - 1) | ~bases["j"].between(0, shape[1] - 1)).sum())
        if outside:
            found.append(f"{outside} rows lie outside of the image")
        if int(bases["cell"].max()) > int(cells.load().max()):
            found.append(f"cell {int(bases['cell'].max())} does not exist")
        per_read = bases.groupby("read").size()
        if per_read.nunique() > 1:
            found.append("reads have different numbers of rows")
    return CheckResult(tuple(found))


def _one_row(table: DataFrame, what: str) -> CheckResult:
    names = [name for name in ("plate", "well", "tile", what) if name in table]
    twice = int(table.duplicated(names).sum()) if len(table) else 0
    return CheckResult(
        (f"{twice} rows are a second one of their {what}",) if twice else (), {"rows": len(table)}
    )


def each_once(name: str, description: str, *columns: str, optional: tuple[str, ...] = ()) -> Check:
    """The check that a table has one row for each value of some columns, with the `optional` ones it has."""

    def evaluate(table: DataFrame) -> CheckResult:
        present = [*columns, *(one for one in optional if one in table)]
        twice = int(table.duplicated(present).sum())
        return CheckResult((f"{twice} rows are second ones",) if twice else (), {"rows": len(table)})

    return Check(name=name, description=description, evaluate=evaluate)


def _reads_in_place(reads: DataFrame, cells: Image) -> CheckResult:
    found = [*_one_row(reads, "read").findings]
    if len(reads):
        height, width = cells.shape[-2:]
        outside = int(
            (~reads["i"].between(-0.5, height - 0.5) | ~reads["j"].between(-0.5, width - 0.5)).sum()
        )
        known = np.unique(cells.load())
        strange = sorted(set(reads["cell"]) - set(known.tolist()) - {0})
        found += [f"{outside} reads lie outside of the image"] * bool(outside)
        found += [f"{len(strange)} cells of reads do not exist, such as {strange[0]}"] if strange else []
    return CheckResult(tuple(found), {"rows": len(reads)})


def _one_row_per_cell(cells: DataFrame) -> CheckResult:
    found = _one_row(cells, "cell")
    nowhere = int((cells["cell"] < 1).sum()) if "cell" in cells else 0
    words = (*found.findings, f"{nowhere} rows are of no cell") if nowhere else found.findings
    return CheckResult(words, found.facts)


ALL_CYCLES = Check(
    name="all_cycles",
    description="Every cycle that was imaged is there, with the rows and columns it was imaged with.",
    evaluate=_all_cycles,
)
CONVERTED = Check(
    name="converted",
    description="Pixels are uint16, and all cycles have as many rows and columns.",
    evaluate=_converted,
)
COUNTS_FALL = Check(
    name="counts_fall",
    description="No count is negative, and no more nuclei are left than were found.",
    evaluate=_counts_fall,
)
ALIKE = Check(
    name="alike",
    description="All files of a well are of one size, type and pixel size, and no cycle is absent.",
    evaluate=_alike,
    blocking=False,
)
PLACED = Check(name="placed", description="Every tile has one place in its well.", evaluate=_placed)
MODEL_READABLE = Check(
    name="model_readable", description="The model is read back as it was learned.", evaluate=_can_be_used
)
LABELS_CONSECUTIVE = Check(
    name="labels_consecutive",
    description="Objects are numbered from 1 without a gap.",
    evaluate=_labels_consecutive,
)
FINITE = Check(name="finite", description="No pixel is negative or not finite.", evaluate=_finite)
FIELDS_USABLE = Check(
    name="fields_usable",
    description="Every pixel of an illumination field is finite, and at least 1.",
    evaluate=_fields_usable,
)
BASES_IN_PLACE = Check(
    name="bases_in_place",
    description="Every read lies within the image, its cell exists, and it has all cycles and channels.",
    evaluate=_bases_in_place,
)
FIELD_USABLE = Check(
    name="field_usable",
    description="Every pixel of the illumination field is finite, and at least 1.",
    evaluate=_field_usable,
)
ONE_ROW_PER_LABEL = Check(
    name="one_row_per_label",
    description="Every label of a tile has one row.",
    evaluate=lambda table: _one_row(table, "label"),
)
ONE_ROW_PER_READ = Check(
    name="one_row_per_read",
    description="Every read of a tile has one row.",
    evaluate=lambda reads: _one_row(reads, "read"),
)
READS_IN_PLACE = Check(
    name="reads_in_place",
    description="Every read has one row, lies within the image, and its cell exists.",
    evaluate=_reads_in_place,
)
ONE_ROW_PER_CELL = Check(
    name="one_row_per_cell", description="Every cell of a tile has one row.", evaluate=_one_row_per_cell
)
