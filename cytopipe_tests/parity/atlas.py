"""Golden cases of `atlas`: pseudobulk of every level, parity resamples, refusal, activity.

``manifest.json`` names each case with its levels and keywords; ``<case>.npz`` holds the reference's
arrays. Sums, log CPM, z-scores and statistics agree to 1e-4 (the reference computes in float32). Its
resampled files depend on its batch size and on the order of the cells: the parity bootstrap is held
against their mean and spread, and against single resamples where they agree.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import tempfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from cytopipe.atlas.activity import ActivitySettings, score
from cytopipe.atlas.cells import open_cells
from cytopipe.atlas.plan import Settings
from cytopipe.atlas.registry import Level
from cytopipe.atlas.signatures import load_signature
from cytopipe.commands.atlas_profiles import Aggregation, aggregate
from cytopipe.errors import InputError, MissingToolError
from cytopipe_tests.parity import Case, Verdict, agrees, fails, unevaluated

TOLERANCE = 1e-4
EXPRESSION = {"raw": "raw", "colscale": "scaled", "rowcenter": "row_centred", "bothscaled": "scaled"}


def cases(folder: Path) -> Iterator[Case]:
    """Every case of one ``atlas`` golden folder, in the order of its manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, case in manifest.items():
        archive = folder / (name if name.endswith(".npz") else f"{name}.npz")
        if "levels" in case:
            for level in case["levels"]:
                for what in (profiles_agree, resamples_agree):
                    label = f"{name} {level} {what.__name__.split('_')[0]}"
                    yield Case("atlas", label, partial(what, folder, name, case, level))
        elif "activity" in name and archive.exists():
            with np.load(archive) as arrays:
                labels = sorted({found[1] for key in arrays if (found := re.match(r"(.+)_beta$", key))})
            for label in labels:
                yield Case(
                    "atlas", f"{archive.name} {label}", partial(activity_agrees, folder, archive, label)
                )
    for path in sorted(folder.glob("*lognorm*.h5ad")):
        yield Case("atlas", path.name, partial(normalised_is_refused, path))


def profiles_agree(folder: Path, name: str, case: dict, level: str) -> Verdict:
    """Groups, cells, counts, log CPM, z-scores and atlas statistics of one level."""
    import anndata

    made = anndata.read_h5ad(_files(folder, name, level)["profiles"])
    with np.load(folder / f"{name}.npz") as expected:
        at = _prefix(expected, level)
        order = [made.obs["cell_type"].tolist().index(group) for group in expected[f"{at}/cell_type"]]
        if len(order) != made.n_obs or made.var_names.tolist() != expected["var_names"].tolist():
            return fails(f"{made.n_obs} groups of {made.n_vars} genes, expected {len(order)} groups")
        statistics = made.uns["atlas_stats"]
        pairs = {
            "n_cells": made.obs["n_cells"].to_numpy()[order],
            "counts": made.layers["counts"][order],
            "X": made.X[order],
            "zscore": made.layers["zscore"][order],
            "gene_mean": np.asarray(statistics["gene_mean"]),
            "gene_std": np.asarray(statistics["gene_std"]),
        }
        for what, ours in pairs.items():
            off = _relative(ours, expected[f"{at}/{what}"])
            if off > TOLERANCE:
                return fails(f"{what} is off by {off:.1e}, at most {TOLERANCE:.0e} allowed")
    return agrees(f"{made.n_obs} groups")


def resamples_agree(folder: Path, name: str, case: dict, level: str) -> Verdict:
    """Mean, spread and the first three resamples of every group, by the parity bootstrap."""
    import anndata

    path = _files(folder, name, level).get("resampled")
    with np.load(folder / f"{name}.npz") as expected:
        at = f"{_prefix(expected, level)}_resampled"
        if f"{at}/mean" not in expected:
            return unevaluated("the reference wrote no resamples")
        if path is None:
            return fails("no resampled file was written")
        made = anndata.read_h5ad(path)
        groups, X = made.obs["cell_type"].to_numpy(), np.asarray(made.X)
        if sorted(set(groups)) != sorted(expected[f"{at}/cell_type"].tolist()):
            return fails("other groups are resampled than by the reference")
        for k, group in enumerate(expected[f"{at}/cell_type"]):
            rows = X[groups == group]
            for what, ours in (("mean", rows.mean(0)), ("std", rows.std(0, ddof=1)), ("first3", rows[:3])):
                theirs = expected[f"{at}/{what}"]
                off = _relative(ours, theirs[3 * k : 3 * k + 3] if what == "first3" else theirs[k])
                if off > TOLERANCE:
                    return fails(f"{what} of {group} is off by {off:.1e}, at most {TOLERANCE:.0e} allowed")
    return agrees(f"{made.n_obs} resamples")


def activity_agrees(folder: Path, archive: Path, label: str) -> Verdict:
    """beta, se and z to 1e-9, p to rounding, with the reference's generators and preprocessing."""
    expression, _, stream = label.partition("_")
    if expression not in EXPRESSION:
        return unevaluated(f"no setting of ours is known for {label}")
    try:
        signature = load_signature("cytosig")
    except MissingToolError as error:
        return unevaluated(str(error))
    both = expression == "bothscaled"
    settings = ActivitySettings(
        regularization=None if both else 5e5,
        scale_signature=both,
        expression=EXPRESSION[expression],
        moments="sampled",
        n_permutations=1000,
        seed=0 if both else 42,
        null="student" if stream == "ttest" else "permutation",
        **({"stream": "srand" if both else stream} if stream != "ttest" else {}),
    )
    level = re.search(r"_(l\d)\b", archive.stem)
    with np.load(folder / "g1_default.npz") as profiles:
        prefix = level[1] if level else "l2"
        found = score(profiles[f"{prefix}/X"], profiles["var_names"].tolist(), signature, settings)
    if list(found.targets) != _names(archive, "features"):
        return fails("other targets, or another order, than the reference's")
    with np.load(archive) as expected:
        for what in ("beta", "se", "z", "pvalue"):
            theirs = expected[f"{label}_{'zscore' if what == 'z' else what}"]
            off = np.abs(getattr(found, what).T - theirs).max() / np.abs(theirs).max()
            if off > 1e-9:
                return fails(f"{what} is off by {off:.1e} of its largest value, at most 1e-09 allowed")
    return agrees(f"{len(found.targets)} targets")


def normalised_is_refused(path: Path) -> Verdict:
    """Log-normalised X, with no counts in layers or raw, is refused with what was found."""
    with tempfile.TemporaryDirectory() as output:
        try:
            settings = Settings(n_bootstrap=0)
            aggregate(path, [Level("L1", ("cell_type_l1",))], output, settings=settings)
        except InputError as error:
            return agrees(str(error).splitlines()[0])
    return fails("normalised input was aggregated as if it were counts")


_OUTPUTS: list[tempfile.TemporaryDirectory] = []  # removed when the process ends


def _files(folder: Path, name: str, level: str) -> dict[str, Path]:
    aggregation = _aggregated(folder, name)
    return next(dict(one.files) for one in aggregation.levels if one.level.name == level)


@lru_cache(maxsize=8)
def _aggregated(folder: Path, name: str) -> Aggregation:
    case = json.loads((folder / "manifest.json").read_text())[name]
    asked = case.get("kwargs", {})
    sample = asked.get("sample_col", "sample")
    with open_cells(folder / case["input"]) as cells:
        if sample not in cells.columns:  # the reference resamples nothing then
            sample = None
    n_bootstrap = asked.get("n_bootstrap", 100) if sample else 0
    levels = [Level(level, tuple(columns.split("+"))) for level, columns in case["levels"].items()]
    _OUTPUTS.append(tempfile.TemporaryDirectory())
    return aggregate(
        folder / case["input"],
        levels,
        _OUTPUTS[-1].name,
        atlas="synth",
        sample=sample,
        settings=Settings(bootstrap="parity", n_bootstrap=n_bootstrap, seed=asked.get("seed", 0)),
    )


def _prefix(arrays, level: str) -> str:
    """The reference writes level names in lower case."""
    return level if f"{level}/X" in arrays else level.lower()


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, relative to a value where that is above 1."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        return float("inf")
    return float((np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))).max(initial=0.0))


class _NamesOnly(pickle.Unpickler):
    """Reads an array of names that was saved as objects, and nothing that could act."""

    def find_class(self, module: str, name: str) -> object:
        module = module.replace("numpy.core", "numpy._core")
        allowed = {
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)


def _names(archive: Path, member: str) -> list[str]:
    with zipfile.ZipFile(archive) as files:
        stream = io.BytesIO(files.read(f"{member}.npy"))
    np.lib.format.read_magic(stream)
    _, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if not dtype.hasobject:
        with np.load(archive) as arrays:
            return arrays[member].tolist()
    return [str(name) for name in _NamesOnly(stream).load()]
