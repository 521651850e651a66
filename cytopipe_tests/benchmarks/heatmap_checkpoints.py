"""Heat map checkpoints, from the state to the file and back, beside anndata alone.

    python -m cytopipe_tests.benchmarks.heatmap_checkpoints [--files 1000]

Saving is from the state in memory to the published file: written, read again and checked whole, flushed to
the disk, with its manifest. The peer is anndata's own `write_h5ad` and `read_h5ad` of the same AnnData, which
check nothing. A list of checkpoints is opened without the manifest of its folder (every file is read) and
with it. A history of a root, ten revisions and a subset of 100,000 cells is kept as files and in a run
folder. CPU seconds are of this process, imports before, the least of three.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np

from cytopipe.heatmap.artifact import (
    KEY,
    canonical_json,
    document_of,
    load_heatmap_state,
    save_heatmap_state,
    serialize_heatmap_state,
)
from cytopipe.heatmap.colours import colours_of
from cytopipe.heatmap.diff import diff_states
from cytopipe.heatmap.folder import RunFolder
from cytopipe.heatmap.format import CHECKPOINT, read_document
from cytopipe.heatmap.index import MANIFEST, open_history
from cytopipe.heatmap.linkage import merged_into
from cytopipe.heatmap.matrix import cluster_medians
from cytopipe.heatmap.render import render_heatmap
from cytopipe.heatmap.state import HeatmapState, id_of_recipe
from cytopipe_tests.heatmap.states import make_state


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    files = parser.parse_args().files
    with tempfile.TemporaryDirectory() as folder:
        save_heatmap_state(make_state(), Path(folder) / "warm.h5ad")
        one_file(Path(folder))
        print()
        many_files(Path(folder) / "many", files)
        print()
        shared(Path(folder))
        print()
        others()


def one_file(folder: Path) -> None:
    head = ("clusters x markers", "metaclusters", "cells", "KiB", "save CPU s", "load", "document alone")
    print(f"| {' | '.join((*head, 'anndata writes', 'anndata reads'))} |")
    print("|---|---|---|---|---|---|---|---|---|")
    million = 1_000_000
    sizes = ((100, 20, 20, 0), (100, 20, 20, million), (400, 40, 30, million), (2000, 40, 30, million))
    for n, m, metaclusters, cells in (*sizes, (2000, 40, 0, million)):
        state = make_state(n, m, n_cells=cells)
        if metaclusters:  # without a number: as the default cut of random medians gives them, hundreds
            merged = merged_into(state.linkage, metaclusters)
            state = state.replace(metacluster=merged, colours=colours_of(range(-1, metaclusters)))
        if not cells:
            state = state.replace(cell_cluster=None)
        path, plain = folder / "x.h5ad", folder / "plain.h5ad"
        adata = serialize_heatmap_state(state)
        times = [
            cpu(lambda: save_heatmap_state(state, path)),  # noqa: B023
            cpu(lambda: load_heatmap_state(path)),  # noqa: B023
            cpu(lambda: read_document(path)),  # noqa: B023
            cpu(lambda: adata.write_h5ad(plain)),  # noqa: B023
            cpu(lambda: anndata.read_h5ad(plain)),  # noqa: B023
        ]
        size = path.stat().st_size >> 10
        shown = " | ".join(f"{one:.3f}" for one in times)
        print(f"| {n} x {m} | {len(set(state.metacluster.tolist()))} | {cells:,} | {size:,} | {shown} |")


def many_files(folder: Path, files: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    states: list[HeatmapState] = [make_state(100, 20).replace(cell_cluster=None)]
    CHECKPOINT.write(folder / "0000.h5ad", states[0])
    first = (folder / "0000.h5ad").read_bytes()
    for number in range(1, files):  # a tree as people grow it: made from any of those before
        parent = states[int(rng.integers(number))]
        states.append(parent.child(2, id=id_of_recipe(str(number)), description=f"revision {number}"))
        path = folder / f"{number:04d}.h5ad"
        path.write_bytes(first)
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:  # a list reads nothing else
            del file[f"uns/{KEY}"]
            file[f"uns/{KEY}"] = canonical_json(document_of(states[-1]))
    print("| checkpoints | files read | with the manifest, CPU s | without it | manifest KiB |")
    print("|---|---|---|---|---|")
    for count in sorted({500, files}):
        for path in sorted(folder.glob("*.h5ad"))[count:] if count < files else ():
            path.rename(path.with_suffix(".away"))

        def anew() -> None:
            (folder / MANIFEST).unlink(missing_ok=True)
            assert len(open_history(folder).ids) == count  # noqa: B023

        slow, fast = cpu(anew), cpu(lambda: open_history(folder).ids)
        size = (folder / MANIFEST).stat().st_size >> 10
        print(f"| {count:,} | {count:,} | {fast:.3f} | {slow:.3f} | {size:,} |")
        for path in folder.glob("*.away"):
            path.rename(path.with_suffix(".h5ad"))


def shared(folder: Path) -> None:
    root = make_state(100, 20, n_cells=100_000)
    states, rng = [root], np.random.default_rng(0)
    for number in range(10):
        revision = states[-1].revision.copy()
        revision[rng.integers(0, 100, 5)] = number
        states.append(states[-1].child(2, id=id_of_recipe(str(number)), revision=revision))
    run, files = RunFolder(folder / "run"), 0
    for number, state in enumerate(states):
        run.put(state)
        files += save_heatmap_state(state, folder / f"shared{number}.h5ad").stat().st_size
        assert run.get(state.id).unlike(state) == ()
    print("| history | as files, KiB | in a run folder | share |")
    print("|---|---|---|---|")
    size = run.size_bytes()
    told = f"{len(states)} checkpoints, 100,000 cells"
    print(f"| {told} | {files >> 10:,} | {size >> 10:,} | {100 * size / files:.0f} % |")


def others() -> None:
    print("| what | size | CPU s |")
    print("|---|---|---|")
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(500_000, 20)).astype("f4"), rng.integers(0, 100, 500_000)
    took = cpu(lambda: cluster_medians(values, labels))
    print(f"| medians | 500,000 cells x 20 markers, 100 clusters | {took:.2f} |")
    state = make_state(100, 20, n_cells=1_000_000)
    other = state.child(2, revision=rng.integers(0, 9, 100), median=state.median + 1)
    print(f"| diff | 100 clusters, 1,000,000 cells | {cpu(lambda: diff_states(state, other)):.2f} |")
    for n, m, kinds in ((100, 20, ("png", "svg", "pdf")), (2000, 40, ("png",))):
        state = make_state(n, m)
        for kind in kinds:
            print(f"| picture, {kind} | {n} x {m} | {cpu(lambda: render_heatmap(state, kind), 1):.1f} |")  # noqa: B023


def cpu(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds of this process, the least of several."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


if __name__ == "__main__":
    main()
