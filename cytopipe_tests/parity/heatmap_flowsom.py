"""Golden cases of FlowSOM: ``flowsom_input.npz`` (X) clustered by the Python package `flowsom`.

``s<seed>_<x>x<y>_k<k>_{codes,cl,meta,med}`` in ``flowsom_expected.npz`` is one case. So is
``batch_{codes,cl,meta}``, the batch estimator with seed 42, 10 x 10 nodes and 20 metaclusters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from cytopipe.heatmap import FlowSOMSettings, cluster_cells
from cytopipe.heatmap.matrix import cluster_medians
from cytopipe_tests.parity import Case, Verdict, agrees, fails

_NAME = re.compile(r"(?P<batch>batch)?_?(?:s(?P<seed>\d+))?_?(?:(?P<x>\d+)x(?P<y>\d+))?_?(?:k(?P<k>\d+))?")
_CLOSE = 1e-9


def cases(folder: Path) -> Iterator[Case]:
    """Every FlowSOM case of one ``heatmap`` golden folder."""
    for file in sorted(folder.glob("flowsom*_expected.npz")):
        cells = folder / file.name.replace("_expected", "_input")
        with np.load(file, allow_pickle=False) as archive:
            names = [name.removesuffix("_codes") for name in archive if name.endswith("_codes")]
        for name in names:
            yield Case(
                "heatmap",
                f"{file.stem.removesuffix('_expected')}_{name}",
                partial(_compare, cells, file, name),
            )


def settings_of(name: str) -> FlowSOMSettings:
    """The settings that the name of a case tells."""
    told = _NAME.fullmatch(name)
    if told is None:
        raise ValueError(f"the name {name} tells no seed, grid and number of metaclusters")
    return FlowSOMSettings(
        seed=int(told["seed"] or 42),
        x_dim=int(told["x"] or 10),
        y_dim=int(told["y"] or 10),
        n_metaclusters=int(told["k"] or 20),
        training="batch" if told["batch"] else "online",
        metaclustering="average",
    )


def _compare(cells: Path, file: Path, name: str) -> Verdict:
    with np.load(cells, allow_pickle=False) as archive:
        values = archive["X"]
    with np.load(file, allow_pickle=False) as archive:
        expected = {
            key.removeprefix(f"{name}_"): archive[key] for key in archive if key.startswith(f"{name}_")
        }
    found = cluster_cells(values, settings_of(name))
    apart = np.abs(found.codes - expected["codes"]).max()
    if apart > _CLOSE:
        return fails(f"a code is off by {apart:.3g}")
    for key, ours in (("cl", found.node), ("meta", found.cell_metacluster)):
        if key in expected and (wrong := np.count_nonzero(ours != expected[key])):
            return fails(f"{wrong} of {len(ours)} labels differ in {key}")
    if "med" in expected:
        medians = cluster_medians(values, found.node)
        theirs = expected["med"][np.asarray(medians.clusters, int)]
        apart_median = np.abs(np.asarray(medians.median) - theirs).max()
        if apart_median > _CLOSE:
            return fails(f"a median is off by {apart_median:.3g}")
    return agrees(f"codes to {apart:.1e}, {len(found.node)} labels")
