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
from cytopipe.screen.features.hull import enclosing_circles, hulls_of
from cytopipe.screen.features.objects import objects_in
from cytopipe_tests.parity import Verdict, agrees, differs, fails
from cytopipe_tests.parity.screen import GoldenCase, Source, equal

TOLERANCE = 1e-6
_FERET = tuple(
    f"{kind}_feret_{one}" for kind in ("min", "max") for one in ("diameter", "r0", "c0", "r1", "c1")
)
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
    masks = {"nucleus": given.get("nuclei"), "cell": given.get("cells"), "cytoplasm": given.get("cytoplasms")}
    whole = {name: _whole(labels) for name, labels in masks.items() if labels is not None}
    for name in expected.columns.difference([*_IDENTITY, "label"], sort=False):
        theirs, mine = expected[name].to_numpy(float), ours[name].to_numpy(float)
        unlike = ~np.isclose(mine, theirs, rtol=TOLERANCE, atol=_noise(name), equal_nan=True)
        if unlike.any():
            reason = _reason(name, mine[unlike], theirs[unlike], ours[unlike], expected[unlike], whole)
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
    if "haralick" in name or name.endswith("_eccentricity"):  # roots of differences
        return 1e-7
    if re.search(r"hu_moments_[1-6]", name):
        return 1e-42 if "weighted" in name else 1e-18
    return 1e-10 if "zernike" in name or "mass_displacement" in name else 1e-12


def _whole(labels: np.ndarray) -> set[int]:
    """Labels whose smallest enclosing circle has a whole number of pixels as diameter."""
    objects = objects_in(labels)
    diameters = enclosing_circles(hulls_of(objects))[:, 2]
    return set(objects.labels[np.isclose(diameters, np.rint(diameters), rtol=1e-9, atol=0)].tolist())


def _reason(name, ours, theirs, our_rows, their_rows, whole) -> str:
    """Why a column differs on purpose; "" where it should not."""
    compartment = name.split("_")[0]
    if "zernike" in name and set(our_rows["label"]) <= whole[compartment]:
        return "Zernike moments: the reference's radius of a whole diameter depends on the place in the image"
    if re.search(r"_feret_[rc][01]$", name):
        return (
            "Feret diameters: other corners at the same distance"
            if _at(their_rows, our_rows, compartment)
            else ""
        )
    if name.endswith("_orientation") and np.allclose([abs(ours), abs(theirs)], np.pi / 2):
        return "orientation: a quarter turn has either sign"
    if name.endswith("angle_between_neighbors") and np.isnan(theirs).all() and set(ours) <= {0.0, 180.0}:
        return "angle of neighbours in one line: the reference has NaN"
    return ""


def _at(theirs, ours, compartment) -> bool:
    """Whether both have the same diameters, and the other corners are pixels at that distance."""
    at = {part: theirs[f"{compartment}_{part}"].to_numpy(float) for part in _FERET}
    for one in ("min_feret_diameter", "max_feret_diameter"):
        if not np.allclose(at[one], ours[f"{compartment}_{one}"], rtol=TOLERANCE):
            return False
    apart = np.hypot(at["max_feret_r0"] - at["max_feret_r1"], at["max_feret_c0"] - at["max_feret_c1"])
    halves = [2 * at[name] for name in _FERET if name[-1].isdigit()]  # the middle of an edge, or a pixel
    return np.allclose(apart, at["max_feret_diameter"], rtol=1e-9) and np.array_equal(halves, np.rint(halves))
