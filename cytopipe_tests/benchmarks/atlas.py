"""How fast atlases are aggregated, beside others on the same file in the same run.

    python -m cytopipe_tests.benchmarks.atlas [--cells 50000 200000 ...] [--only NAME ...] [--folder FOLDER]

A seeded atlas (20,000 genes, about 1,036 non-zeros per cell, gzip, four levels of 144 groups, no label
missing, since scanpy refuses those) is written once per size, with columns of 100 and 1,000 samples, each
once in the order of the file and once in none, and of 1,000 and 3,000 groups. Each contender is a process of
its own, ours the command `cytopipe atlas aggregate`, and what is told is the whole of it: imports, reading,
compressing, flushing to the disk. Kernels and Python's bytecode were compiled before, by a run that is not
told. CPU seconds are those of all threads, memory is the peak that
was resident. Ratios are of CPU seconds, since other work on a machine changes them least. On the CPU: no GPU
was at hand.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COLUMNS = [f"cell_type_l{number}" for number in range(1, 5)]
_PIECE = 3_000_000
OURS = "cytopipe, "


def main() -> None:
    """Run the table, or one contender of it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--folder", type=Path, help="Keep the atlases here, and use those that are.")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        CONTENDERS[given.one[0]](Path(given.one[1]))
        print(peak_bytes())
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        for n_cells in given.cells:
            path = atlas_of(folder, n_cells)
            rows = {}
            for name in given.only:
                if name.startswith(OURS) and n_cells == min(given.cells):
                    in_a_process(name, path)  # compiles what this contender needs
                if name not in SLOW or n_cells == min(given.cells):
                    rows[name] = {"cells": n_cells, "contender": name} | in_a_process(name, path)
                    print(line(rows[name]), flush=True)
            print(*ratios(rows), sep="\n", flush=True)


def atlas_of(folder: Path, n_cells: int) -> Path:
    """The atlas of that size, drawn if it is not there."""
    import h5py
    import numpy as np

    from cytopipe.atlas import SyntheticAtlas, write_synthetic_atlas
    from cytopipe.storage.h5ad_elements import Categories, write_elements

    path = folder / f"benchmark_{n_cells}.h5ad"
    if path.exists():
        return path
    write_synthetic_atlas(path, SyntheticAtlas(n_cells=n_cells, n_genes=20_000, missing=0))
    generator = np.random.default_rng(0)
    columns = {}
    for n in (100, 1_000):
        samples = np.sort(generator.integers(0, n, n_cells))
        columns[f"sorted_{n}"], columns[f"mixed_{n}"] = samples, generator.permutation(samples)
    for n in (1_000, 3_000):
        columns[f"groups_{n}"] = generator.integers(0, n, n_cells)
    with h5py.File(path, "r+") as file:
        made = {
            name: Categories(codes, [f"{n:04d}" for n in range(int(codes.max()) + 1)])
            for name, codes in columns.items()
        }
        write_elements(file, "made", made)
        for name in made:
            file.move(f"made/{name}", f"obs/{name}")
        del file["made"]
        order = [*file["obs"].attrs["column-order"], *columns]
        file["obs"].attrs["column-order"] = np.array(order, object)
    return path


def in_a_process(name: str, path: Path) -> dict[str, float | str]:
    """Run one contender alone; the file is in the page cache by then."""
    with path.open("rb") as stream:
        while stream.read(1 << 24):
            pass
    command = [sys.executable, "-m", "cytopipe_tests.benchmarks.atlas", "--one", name, str(path)]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as told:
        actions = [(os.POSIX_SPAWN_DUP2, told.fileno(), number) for number in (1, 2)]
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        child = os.posix_spawn(command[0], command, kept, file_actions=actions)
        _, status, used = os.wait4(child, 0)
        told.seek(0)
        last = (told.read().decode().strip().splitlines() or ["killed"])[-1]
    if status:
        return {"error": last[:200]}
    return {
        "wall_s": time.perf_counter() - started,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_gb": int(last) / 1e9,
    }


def peak_bytes() -> int:
    """Peak resident memory of this program; `ru_maxrss` would count the program that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def line(row: dict) -> str:
    """One row as text."""
    head = f"{row['cells']:>8,}  {row['contender']:<46}"
    if "error" in row:
        return f"{head}{row['error']}"
    return f"{head}{row['wall_s']:8.2f} s wall{row['cpu_s']:8.2f} s CPU{row['peak_gb']:7.2f} GB"


def ratios(rows: dict[str, dict]) -> Iterator[str]:
    """CPU seconds of ours against those of the others, and against ours without samples."""
    for name, row in rows.items():
        for other, beside in rows.items():
            peer = not other.startswith(OURS) or (other == PLAIN and name != PLAIN)
            if name.startswith(OURS) and peer and "cpu_s" in row and "cpu_s" in beside:
                yield f"{'':10}{name}: {row['cpu_s'] / beside['cpu_s']:.2f} x {other}"


def h5py_floor(path: Path) -> None:
    """Read every stored value through HDF5 and do nothing with it."""
    import h5py

    with h5py.File(path) as file:
        for part in ("data", "indices"):
            for start in range(0, file["X"][part].shape[0], _PIECE):
                file["X"][part][start : start + _PIECE]


def ours(levels: list[str], sample: str | None, n_bootstrap: int = 0) -> Callable[[Path], None]:
    """``cytopipe atlas aggregate``, the whole of it: sums, statistics, z-scores, standard errors, resamples;
    written, synced, digested."""

    def run(path: Path) -> None:
        from cytopipe.cli import main

        named = [f"--level={column.rpartition('_')[2]}={column}" for column in levels]
        named += [f"--sample={sample}"] if sample else []
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            try:
                main(["atlas", "aggregate", str(path), *named, f"--n-bootstrap={n_bootstrap}", "--no-gpu",
                      "--output", folder])  # fmt: skip
            except SystemExit as ended:
                if ended.code:
                    raise

    return run


def scanpy_sums(path: Path) -> None:
    """scanpy.get.aggregate, sums of four levels of an atlas read into memory; nothing is written."""
    import scanpy as sc

    cells = sc.read_h5ad(path)
    for column in COLUMNS:
        sc.get.aggregate(cells, by=column, func="sum")


def decoupler_sums(path: Path) -> None:
    """decoupler.pp.pseudobulk, sums of four levels of an atlas read into memory; nothing is written."""
    import anndata as ad
    import decoupler as dc

    cells = ad.read_h5ad(path)
    cells.obs["all"] = "all"
    for column in COLUMNS:
        dc.pp.pseudobulk(cells, sample_col="all", groups_col=column, mode="sum", verbose=False)


PLAIN = "cytopipe, 4 levels"
CONTENDERS: dict[str, Callable[[Path], None]] = {
    "floor: h5py stream": h5py_floor,
    "scanpy aggregate, 4 levels": scanpy_sums,
    "decoupler pseudobulk, 4 levels": decoupler_sums,
    PLAIN: ours(COLUMNS, None),
    "cytopipe, 4 levels, 100 samples": ours(COLUMNS, "sorted_100"),
    "cytopipe, 4 levels, 100 samples, mixed": ours(COLUMNS, "mixed_100"),
    "cytopipe, 4 levels, 100 samples, 100 resamples": ours(COLUMNS, "sorted_100", 100),
    "cytopipe, 4 levels, 1,000 samples": ours(COLUMNS, "sorted_1000"),
    "cytopipe, 4 levels, 1,000 samples, mixed": ours(COLUMNS, "mixed_1000"),
    "cytopipe, 1,000 groups": ours(["groups_1000"], None),
    "cytopipe, 1,000 groups, 1,000 samples, mixed": ours(["groups_1000"], "mixed_1000"),
    "cytopipe, 3,000 groups, 1,000 samples, mixed": ours(["groups_3000"], "mixed_1000"),
    "cytopipe, 4 levels and 1,000 groups, 1,000 samples": ours([*COLUMNS, "groups_1000"], "sorted_1000"),
}
SLOW = {"decoupler pseudobulk, 4 levels"}


if __name__ == "__main__":
    main()
