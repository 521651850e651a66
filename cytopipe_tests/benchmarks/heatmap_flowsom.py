"""FlowSOM: time, memory and agreement with known populations beside the Python package `flowsom`.

Cells are those of `cytopipe.testing.cytometry`, arcsinh with cofactor 5, float64; 20 metaclusters, seed 42.
CPU seconds are those of a second call in the process, without compilation; `compile` is what the first call
of a process adds, with an empty cache and with the cache of an earlier process. Memory is the peak beyond the
process that has imported everything and loaded the cells. ARI compares metaclusters with the true populations
of single cells. `same` says whether the nodes of all cells, and their metaclusters, are those of `FlowSOM()`.
The peer is measured where the Python of an environment that has it is named. The second table is the mean and
standard deviation of the ARI over seeds, with as many metaclusters as populations; `average` is what the peer
computes, `consensus` the default, `float32` the fast mode, trained on a fifth of the cells.

    python -m cytopipe_tests.benchmarks.heatmap_flowsom [--flowsom-python PYTHON] [--shapes 500000x20x10 ...]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHAPES = ("100000x20x10", "500000x20x10", "1000000x15x10", "500000x20x20")
OURS = {
    "cytopipe, average linkage": {"metaclustering": "average"},
    "cytopipe, default": {},
    "cytopipe, float32": {"precision": "float32"},
    "cytopipe, float32, trained on a tenth": {"precision": "float32", "train_cells": 0},
}

# Runs in either environment: needs NumPy, and what is measured.
_MEASURE = """
import json, resource, sys
import numpy as np
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
def memory(line):
    return next(int(one.split()[1]) / 1000 for one in open("/proc/self/status") if one.startswith(line))
what, cells, grid, out = json.loads(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
if "peer" in what:
    import warnings; warnings.filterwarnings("ignore")
    import anndata, flowsom
    from loguru import logger; logger.remove()
    from flowsom.models import FlowSOMEstimator
    given = dict(n_clusters=20, xdim=grid, ydim=grid, seed=42)
    def run(values):
        if what["peer"] == "estimator":
            model = FlowSOMEstimator(**given); model.fit_predict(values)
        else:
            model = flowsom.FlowSOM(anndata.AnnData(values), **given).model
        return np.asarray(model.cluster_labels), np.asarray(model.metacluster_labels)
else:
    from cytopipe.heatmap import FlowSOMSettings, cluster_cells
    from cytopipe.heatmap.flowsom import clustering
    import sklearn.cluster, scipy.spatial.distance
    settings = FlowSOMSettings(x_dim=grid, y_dim=grid, seed=42, **what)
    if what.get("precision") == "float32":
        cells = cells.astype(np.float32)
    def run(values):
        found = cluster_cells(values, settings)
        return found.node, found.cell_metacluster
small = cells[: 4 * grid * grid]
began = cpu(); run(small.copy()); first = cpu() - began
began = cpu(); run(small.copy()); compiling = first - (cpu() - began)
before = memory("VmRSS"); began = cpu()
node, metacluster = run(cells)
told = {"cpu": cpu() - began, "compile": compiling, "memory": max(memory("VmHWM") - before, 0)}
np.savez(out, node=node, metacluster=metacluster)
print(json.dumps(told))
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--flowsom-python", default="", help="the Python of an environment with flowsom 0.2.2"
    )
    parser.add_argument(
        "--shapes", nargs="+", default=list(SHAPES), help="cells x markers x side of the grid"
    )
    parser.add_argument("--seeds", type=int, default=8, help="seeds of the second table")
    given = parser.parse_args()
    columns = "cells x markers, grid", "method", "CPU s", "faster", "compile s, cold / cached", "memory MB"
    print(f"| {' | '.join((*columns, 'ARI', 'same'))} |\n|{'---|' * 8}")
    with tempfile.TemporaryDirectory() as folder:
        for shape in given.shapes:
            _one_shape(*map(int, shape.split("x")), given.flowsom_python, Path(folder))
    print("\n| cells | metaclusters | average | consensus | float32 |\n|---|---|---|---|---|")
    for name, cells, populations in _labelled():
        _over_seeds(name, cells, populations, given.seeds)


def _one_shape(n_cells: int, n_markers: int, grid: int, peer: str, folder: Path) -> None:
    from sklearn.metrics import adjusted_rand_score

    from cytopipe.heatmap import TransformSettings
    from cytopipe.testing.cytometry import MARKERS, make_cytometry

    data = make_cytometry(1, n_samples=10, cells_per_sample=n_cells // 10, markers=list(MARKERS)[:n_markers])
    np.save(folder / "cells.npy", data.table.transformed(TransformSettings()).values.astype(np.float64))
    single = ~data.truth["doublet"].to_numpy()
    population = data.truth["population"].to_numpy()[single]
    methods = (
        {"flowsom, FlowSOM()": {"peer": "class"}, "flowsom, its estimator": {"peer": "estimator"}}
        if peer
        else {}
    )
    reference: dict | None = None
    for name, what in (methods | OURS).items():
        if "train_cells" in what:
            what = what | {"train_cells": n_cells // 10}
        python = peer if "peer" in what else sys.executable
        told, labels = _measure(python, what, grid, folder)
        reference = reference or ({"cpu": told["cpu"], **labels} if peer else None)
        faster = f"{reference['cpu'] / told['cpu']:.1f} x" if reference else ""
        agree = adjusted_rand_score(population, labels["metacluster"][single])
        same = "/".join(
            "yes" if np.array_equal(labels[key], reference[key]) else "no" for key in ("node", "metacluster")
        ) if reference else ""  # fmt: skip
        print(
            f"| {n_cells:,} x {n_markers}, {grid} x {grid} | {name} | {told['cpu']:.2f} | {faster} "
            f"| {told['cold']:.1f} / {told['compile']:.1f} | {told['memory']:.0f} | {agree:.3f} | {same} |",
            flush=True,
        )


def _measure(python: str, what: dict, grid: int, folder: Path) -> tuple[dict, dict]:
    """One process that fills its cache of compiled code, and another one that is measured."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as cache:
        if "peer" not in what:
            environment |= {"NUMBA_CACHE_DIR": cache}
        few = folder / "few.npy"
        np.save(few, np.load(folder / "cells.npy", mmap_mode="r")[: 4 * grid * grid])
        told = []
        for cells in (few, folder / "cells.npy"):
            command = [
                python,
                "-c",
                _MEASURE,
                json.dumps(what),
                str(cells),
                str(grid),
                str(folder / "out.npz"),
            ]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{what}: {done.stderr.strip()[-500:]}")
            told.append(json.loads(done.stdout))
    with np.load(folder / "out.npz") as archive:
        return told[1] | {"cold": told[0]["compile"]}, dict(archive)


def _labelled() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Cells with a known population: synthetic ones, and those of the golden cases where they are at hand."""
    from cytopipe.heatmap import TransformSettings, read_cells
    from cytopipe.testing.cytometry import make_cytometry, write_cytometry
    from cytopipe_tests.conftest import SHARED

    for technology, cofactor in (("mass", 5.0), ("flow", 150.0)):
        data = make_cytometry(11, technology=technology)
        with tempfile.TemporaryDirectory() as folder:
            table = read_cells(write_cytometry(data, Path(folder)))  # compensated
        single = ~data.truth["doublet"].to_numpy()
        population = np.where(single, data.truth["population"].to_numpy(), None)
        yield (
            f"synthetic, {technology}",
            table.transformed(TransformSettings(cofactor=cofactor)).values,
            population,
        )
    golden = SHARED / "golden/heatmap/flowsom_input.npz"
    if golden.is_file():
        with np.load(golden, allow_pickle=False) as archive:
            yield "golden cases", archive["X"], archive["y"].astype(object)


def _over_seeds(name: str, cells: np.ndarray, population: np.ndarray, n_seeds: int) -> None:
    from sklearn.metrics import adjusted_rand_score

    from cytopipe.heatmap import FlowSOMSettings, cluster_cells

    known = np.array([one is not None for one in population])
    truth = population[known].astype(str)
    k = len(np.unique(truth))
    told = []
    for what in (
        {"metaclustering": "average"},
        {},
        {"precision": "float32", "train_cells": len(cells) // 5},
    ):
        scores = []
        for seed in range(n_seeds):
            values = cells.astype(np.float32 if what.get("precision") else np.float64)
            found = cluster_cells(values, FlowSOMSettings(seed=seed, n_metaclusters=k, **what))
            scores.append(adjusted_rand_score(truth, found.cell_metacluster[known]))
        told.append(f"{np.mean(scores):.3f} ± {np.std(scores):.3f}")
    print(f"| {name} | {k} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
