"""How fast atlases are aggregated, beside others on the same file in the same run.

    python -m cytopipe_tests.benchmarks.atlas [--cells 50000 200000 ...] [--only NAME ...]

A seeded atlas (20,000 genes, about 1,036 non-zeros per cell, gzip, four levels of 144 groups, 24 samples, no
label missing, since scanpy refuses those) is written once per size; each contender then runs in a process of
its own, and its wall seconds, CPU seconds (all threads) and peak resident memory are printed, then the ratios
of wall seconds. Imports and compilation are not counted. What takes minutes at the smallest size runs there
alone. Machines differ: compare rows of one table, not tables. On the CPU: no GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COLUMNS = [f"cell_type_l{number}" for number in range(1, 5)]
_PIECE = 3_000_000


def main() -> None:
    """Run the table, or one contender of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 200_000, 400_000, 600_000])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--folder", type=Path, help="Keep the atlases here, and use those that are.")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(CONTENDERS[given.one[0]], Path(given.one[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for n_cells in given.cells:
            path = atlas_of(folder, n_cells)
            rows = {}
            for name in given.only:
                if name not in SLOW or n_cells == min(given.cells):
                    rows[name] = {"cells": n_cells, "contender": name} | in_a_process(name, path)
                    print(line(rows[name]), flush=True)
            print(*ratios(rows), sep="\n", flush=True)


def atlas_of(folder: Path, n_cells: int) -> Path:
    """The atlas of that size, drawn if it is not there."""
    from cytopipe.atlas import SyntheticAtlas, write_synthetic_atlas

    path = folder / f"atlas_{n_cells}.h5ad"
    if not path.exists():
        write_synthetic_atlas(path, SyntheticAtlas(n_cells=n_cells, n_genes=20_000, missing=0))
    return path


def in_a_process(name: str, path: Path) -> dict[str, float | str]:
    """Run one contender alone, so that its memory is its own; the file is in the page cache by then."""
    with path.open("rb") as stream:
        while stream.read(1 << 24):
            pass
    command = [sys.executable, "-m", "cytopipe_tests.benchmarks.atlas", "--one", name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])


def line(row: dict) -> str:
    """One row as text."""
    head = f"{row['cells']:>8,}  {row['contender']:<34}"
    if "error" in row:
        return f"{head}{row['error']}"
    return f"{head}{row['wall_s']:8.2f} s wall{row['cpu_s']:8.2f} s CPU{row['peak_gb']:7.2f} GB"


def ratios(rows: dict[str, dict]) -> Iterator[str]:
    """Wall seconds of ours against those of the others."""
    for name, row in rows.items():
        for other, beside in rows.items():
            ours_to_theirs = name.startswith("cytopipe") and not other.startswith("cytopipe")
            if ours_to_theirs and "wall_s" in row and "wall_s" in beside:
                yield f"{'':10}{name}: {row['wall_s'] / beside['wall_s']:.2f} x {other}"


def measured(prepare: Callable[[Path], Callable[[], object]], path: Path) -> dict[str, float]:
    """Seconds and memory of what `prepare` returns."""
    work = prepare(path)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_gb": peak_bytes() / 1e9,
    }


def peak_bytes() -> int:
    """Peak resident memory of this program; `ru_maxrss` would count the program that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def h5py_floor(path: Path) -> Callable[[], object]:
    """Read every stored value through HDF5 and do nothing with it."""
    import h5py

    def work() -> None:
        with h5py.File(path) as file:
            for part in ("data", "indices"):
                for start in range(0, file["X"][part].shape[0], _PIECE):
                    file["X"][part][start : start + _PIECE]

    return work


def chunk_floor(path: Path) -> Callable[[], object]:
    """Read every stored value as this package does and do nothing with it."""
    from cytopipe.atlas import open_cells
    from cytopipe.atlas.stream import open_stream
    from cytopipe.engine import available_cores

    def work() -> None:
        with open_cells(path) as cells, open_stream(cells, available_cores()) as stream:
            for _ in stream.blocks(0, cells.n_cells):
                pass

    return work


def ours(n_bootstrap: int) -> Callable[[Path], Callable[[], object]]:
    """The whole of it: sums, statistics, z-scores, standard errors, resamples; written, synced, digested."""

    def prepare(path: Path) -> Callable[[], object]:
        from cytopipe.atlas import Level, Settings, SyntheticAtlas, write_synthetic_atlas
        from cytopipe.commands.atlas_profiles import aggregate

        levels = [Level(column[-2:], (column,)) for column in COLUMNS]
        folder = tempfile.TemporaryDirectory(dir=path.parent)

        def run(file: Path) -> object:
            settings = Settings(n_bootstrap=n_bootstrap)
            return aggregate(file, levels, Path(folder.name) / file.stem, sample="sample", settings=settings,
                             use_gpu=False)  # fmt: skip

        warm = write_synthetic_atlas(Path(folder.name) / "warm.h5ad", SyntheticAtlas(n_cells=500, n_genes=50))
        run(warm)
        return lambda: (run(path), folder)

    return prepare


def scanpy_sums(path: Path) -> Callable[[], object]:
    """scanpy.get.aggregate, sums of four levels of an atlas read into memory."""
    import scanpy as sc

    def work() -> None:
        cells = sc.read_h5ad(path)
        for column in COLUMNS:
            sc.get.aggregate(cells, by=column, func="sum")

    return work


def decoupler_sums(path: Path) -> Callable[[], object]:
    """decoupler.pp.pseudobulk, sums of four levels of an atlas read into memory."""
    import anndata as ad
    import decoupler as dc

    def work() -> None:
        cells = ad.read_h5ad(path)
        cells.obs["all"] = "all"
        for column in COLUMNS:
            dc.pp.pseudobulk(cells, sample_col="all", groups_col=column, mode="sum", verbose=False)

    return work


CONTENDERS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "floor: h5py stream": h5py_floor,
    "floor: our chunk reader": chunk_floor,
    "cytopipe, 4 levels": ours(0),
    "cytopipe, 4 levels, 100 resamples": ours(100),
    "scanpy aggregate, 4 levels": scanpy_sums,
    "decoupler pseudobulk, 4 levels": decoupler_sums,
}
SLOW = {"decoupler pseudobulk, 4 levels"}


if __name__ == "__main__":
    main()
