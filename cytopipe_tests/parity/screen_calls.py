"""Golden cases of `screen`: bases, reads, cells and segmentation.

Arrays agree in every value; tables in values (floats to 1e-9), columns and order of columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cytopipe.screen import bases, cells, reads
from cytopipe.screen.segmentation import cellpose, cytoplasm, reconcile, watershed
from cytopipe_tests.parity import Verdict, agrees, fails
from cytopipe_tests.parity.screen import GoldenCase, equal

#: Names of positional arguments, as the reference has them.
POSITIONAL = {
    "segment_nuclei": ("data", "threshold", "area_min", "area_max", "smooth", "radius"),
    "segment_cells": ("data", "nuclei", "threshold", "add_nuclei"),
    "prepare_cellpose": ("data", "dapi_index", "cyto_index", "helper_index", "logscale"),
    "reconcile_nuclei_cells": ("nuclei", "cells", "how"),
    "extract_bases": ("peaks_data", "maxed", "cells_data", "threshold_peaks", "wildcards", "bases"),
    "call_reads": ("bases_data", "peaks_data"),
    "call_cells": ("reads_data", "df_barcode_library", "q_min"),
}


def arguments(case: GoldenCase, *inputs: str) -> dict[str, Any]:
    """Arguments of the first call that are known, but for `inputs`, which are arrays or tables."""
    named = dict(zip(POSITIONAL.get(case.function, ()), case.positional, strict=False))
    return {name: value for name, value in (named | case.keywords).items() if name not in inputs}


def labels_agree(case: GoldenCase, *names_and_labels: tuple[str, np.ndarray]) -> str:
    """How labels differ from those expected; their dtype may be another integer."""
    found = (
        equal(name, np.asarray(ours).astype(case[f"out_{name}"].dtype), case[f"out_{name}"])
        for name, ours in names_and_labels
    )
    return next(filter(None, found), "")


def _image(case: GoldenCase) -> np.ndarray:
    return next(iter(case.inputs.values()))


def segment_watershed(case: GoldenCase) -> Verdict:
    """Nuclei, cells and counts."""
    words = arguments(case, "data") | {"return_counts": True}
    *labels, counts = watershed.segment_watershed(_image(case), **words)
    wrong = labels_agree(case, *zip(("nuclei", "cells"), labels, strict=False))
    if not wrong and case.has_table("out_counts"):
        wrong = tables_differ(counts, case.table("out_counts"))
    return fails(wrong) if wrong else agrees(f"{counts['nuclei'][0]} nuclei")


def segment_nuclei(case: GoldenCase) -> Verdict:
    """Nuclei alone."""
    nuclei = watershed.segment_nuclei(_image(case), **arguments(case, "data"))
    wrong = labels_agree(case, ("nuclei", nuclei))
    return fails(wrong) if wrong else agrees(f"{nuclei.max()} nuclei")


def segment_cells(case: GoldenCase) -> Verdict:
    """Cells around given nuclei."""
    words = arguments(case, "data", "nuclei")
    made = watershed.segment_cells(_image(case), case["in_nuclei"], **words)
    wrong = labels_agree(case, ("cells", made))
    return fails(wrong) if wrong else agrees()


def reconcile_nuclei_cells(case: GoldenCase) -> Verdict:
    """Reconciled labels."""
    nuclei, cells = reconcile.reconcile_nuclei_cells(
        case["in_nuclei"], case["in_cells"], **arguments(case, "nuclei", "cells")
    )
    wrong = labels_agree(case, ("nuclei", nuclei), ("cells", cells))
    return fails(wrong) if wrong else agrees(f"{cells.max()} cells")


def identify_cytoplasm(case: GoldenCase) -> Verdict:
    """Labels of cytoplasm."""
    made = cytoplasm.identify_cytoplasm(case["in_nuclei"], case["in_cells"])
    wrong = labels_agree(case, ("cyto", made))
    return fails(wrong) if wrong else agrees()


def prepare_cellpose(case: GoldenCase) -> Verdict:
    """The image that Cellpose is given."""
    wrong = equal("rgb", cellpose.prepare_cellpose(_image(case), **arguments(case, "data")), case["out_rgb"])
    return fails(wrong) if wrong else agrees()


def extract_bases(case: GoldenCase) -> Verdict:
    """Intensities at the peaks."""
    words = arguments(case, "peaks_data", "maxed", "cells_data")
    made = bases.extract_bases(case["in_peaks"], case["in_maxed"], case["in_cells"], **words)
    wrong = tables_differ(made, case.table("out_bases"))
    return fails(wrong) if wrong else agrees(f"{len(made):,} rows")


def call_reads(case: GoldenCase) -> Verdict:
    """Barcodes and qualities of reads."""
    words = arguments(case, "bases_data", "peaks_data")
    made = reads.call_reads(case.table("in_bases"), peaks_data=case.inputs.get("peaks"), **words)
    wrong = tables_differ(made, case.table("out_reads"))
    return fails(wrong) if wrong else agrees(f"{len(made):,} reads")


def call_cells(case: GoldenCase) -> Verdict:
    """Barcodes of cells; sorted by count, the order of rows of equal quality is the reference's accident."""
    library = case.table("in_library") if case.has_table("in_library") else None
    words = arguments(case, "reads_data", "df_barcode_library")
    made, expected = cells.call_cells(case.table("in_reads"), library, **words), case.table("out_cells")
    if words.get("sort_calls") == "count":
        made, expected = (one.sort_values(cells.CELL, kind="stable") for one in (made, expected))
    wrong = tables_differ(made, expected)
    return fails(wrong) if wrong else agrees(f"{len(made):,} cells")


def error_correct_reads(case: GoldenCase) -> Verdict:
    """Corrected reads for each distance and metric of the document."""
    import pandas as pd

    given = {name: pd.Series(case.document[name]) for name in ("reads", "ref")}
    for name, expected in case.document.items():
        if name in given:
            continue
        distance, metric = name.split("_")
        made = cells.error_correct_reads(given["reads"], given["ref"], int(distance), metric)
        if made.tolist() != expected:
            return fails(f"{name}: {made.tolist()}, expected {expected}")
    return agrees(f"{len(case.document) - 2} settings")


def transforms(case: GoldenCase) -> Verdict:
    """Matrices, signals, qualities and bases."""
    signal, weights = reads.transform_medians(case["in_X"])
    shaped = signal.reshape(-1, 4, 4)
    made = {"Ym": signal, "Wm": weights, "q": reads.quality(shaped)}
    made |= dict(zip(("Yp", "Wp"), reads.transform_percentiles(case["in_X"]), strict=True))
    for name, ours in made.items():
        if ours.shape != case[f"out_{name}"].shape or np.abs(ours - case[f"out_{name}"]).max() > 1e-9:
            return fails(f"{name} differs")
    same = reads.call_bases(shaped, list("ACGT")).tolist() == case["out_calls"].tolist()
    return agrees() if same else fails("bases differ")


def tables_differ(ours: Any, expected: Any) -> str:
    """How a table differs from the one it should be; "" where it does not."""
    if list(ours.columns) != list(expected.columns) or len(ours) != len(expected):
        return (
            f"{len(ours)} rows of {list(ours.columns)}, expected {len(expected)} of {list(expected.columns)}"
        )
    for name in expected.columns:
        left, right = ours[name].reset_index(drop=True), expected[name].reset_index(drop=True)
        if left.dtype != right.dtype:
            return f"column {name} is {left.dtype}, expected {right.dtype}"
        both_missing = left.isna() & right.isna()
        if left.dtype.kind == "f":
            same = np.isclose(left, right, rtol=0, atol=1e-9)
        else:
            same = (left == right).fillna(False).to_numpy(dtype=bool)
        wrong = ~(same | both_missing.to_numpy())
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            found = f"{left[row]!r}, expected {right[row]!r}"
            return f"column {name}, row {row}: {found} ({wrong.sum()} rows differ)"
    return ""


COMPARE: dict[str, Callable[[GoldenCase], Verdict]] = {
    "extract_bases": extract_bases,
    "call_reads": call_reads,
    "call_cells": call_cells,
    "error_correct_reads": error_correct_reads,
    "transform_medians": transforms,
    "segment_watershed": segment_watershed,
    "segment_nuclei": segment_nuclei,
    "segment_cells": segment_cells,
    "reconcile_nuclei_cells": reconcile_nuclei_cells,
    "identify_cytoplasm_cellpose": identify_cytoplasm,
    "prepare_cellpose": prepare_cellpose,
}
