"""Golden cases of `screen`: features of cells.

Tables are compared column by column, to 1e-6 of the value. Three kinds of noise are no difference: a value
that a symmetric object makes zero, the sign of an angle of a quarter turn, and which of several equally
distant corners a Feret diameter names.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from cytopipe.screen.features import extract_phenotype_cp_emulator, extract_phenotype_minimal, find_foci
from cytopipe_tests.parity import Verdict, agrees, differs, fails
from cytopipe_tests.parity.screen import GoldenCase, Source, equal

TOLERANCE = 1e-6
_IDENTITY = ("plate", "well", "tile")


def _foci(case: GoldenCase) -> Verdict:
    ours = find_foci(next(iter(case.inputs.values())), **case.keywords)
    fault = equal("foci", ours, next(iter(case.outputs.values())))
    return fails(fault) if fault else agrees(f"{ours.max()} foci, pixel by pixel")


def _minimal(case: GoldenCase) -> Verdict:
    expected = case.table("out_t")
    labels = next(iter(case.inputs.values()))
    ours = extract_phenotype_minimal(labels, labels, _wildcards(expected))
    if list(ours) != list(expected):
        return fails(f"columns are {list(ours)}, expected {list(expected)}")
    unlike = [name for name in expected if list(map(str, ours[name])) != list(map(str, expected[name]))]
    return fails(f"other values of {', '.join(unlike)}") if unlike else agrees(f"{len(ours)} labels")


def _table(case: GoldenCase) -> Verdict:
    expected = case.table("out_t")
    call = case.calls[0]
    arrays = dict(
        zip(("data_phenotype", "nuclei", "cells", "wildcards", "cytoplasms"), call.positional, strict=False)
    )
    arrays = {name: value for name, value in (arrays | call.keywords).items() if isinstance(value, Source)}
    given = {name: case[value] for name, value in arrays.items() if name != "wildcards"}
    ours = extract_phenotype_cp_emulator(
        **{"cells": None} | given | case.keywords, wildcards=_wildcards(expected)
    )
    if list(ours) != list(expected):
        odd = sorted(set(ours) ^ set(expected)) or "the same in another order"
        return fails(f"{ours.shape[1]} columns, expected {expected.shape[1]}: {odd}")
    if list(ours["label"]) != list(expected["label"]):
        return fails(f"{len(ours)} labels, expected {len(expected)}")
    reasons, faults = set(), []
    for name in expected.columns.difference([*_IDENTITY, "label"], sort=False):
        theirs, mine = expected[name].to_numpy(float), ours[name].to_numpy(float)
        unlike = ~np.isclose(mine, theirs, rtol=TOLERANCE, atol=_noise(name), equal_nan=True)
        if unlike.any():
            reason = _reason(name, mine[unlike], theirs[unlike], ours[unlike], expected[unlike])
            (reasons.add(reason) if reason else faults.append(f"{name} in {unlike.sum()} rows"))
    if faults:
        return fails(f"{len(faults)} columns differ: {'; '.join(faults[:5])}")
    if reasons:
        return differs("; ".join(sorted(reasons)))
    return agrees(f"{len(ours)} cells, {ours.shape[1]} columns to {TOLERANCE:g}")


COMPARE: dict[str, Callable[[GoldenCase], Verdict]] = {
    "extract_phenotype_cp_emulator": _table,
    "extract_phenotype_minimal": _minimal,
    "find_foci": _foci,
}


def _wildcards(table):
    return {name: table[name].iloc[0] for name in _IDENTITY if name in table and len(table)}


def _noise(name: str) -> float:
    """What rounding leaves of a value that symmetry makes zero, or of a square root of it."""
    if "haralick" in name:  # the last one is the root of a difference of entropies
        return 1e-7
    if re.search(r"hu_moments_[1-6]", name):
        return 1e-30 if "weighted" in name else 1e-18
    return 1e-9


def _reason(name, ours, theirs, our_rows, their_rows) -> str:
    """Why a column differs on purpose; "" where it should not."""
    object_name = name.split("_")[0]
    if "zernike" in name:
        # rounding of a circle whose diameter is whole moves its radius by half a pixel, or loses its rim
        return "Zernike moments: the reference's radius of a whole diameter depends on the place in the image"
    if re.search(r"_feret_[rc][01]$", name):
        diameters = [f"{object_name}_{kind}_feret_diameter" for kind in ("min", "max")]
        same = np.allclose(our_rows[diameters], their_rows[diameters], rtol=TOLERANCE)
        return "Feret diameters: other corners at the same distance" if same else ""
    if (
        name.endswith("_orientation")
        and np.allclose(abs(ours), abs(theirs))
        and np.allclose(abs(ours), np.pi / 2)
    ):
        return "orientation: a quarter turn has either sign"
    if name.endswith("angle_between_neighbors") and np.isnan(theirs).all():
        return "angle of neighbours in one line: the reference has NaN"
    return ""
