"""How long measurements of cells take, for all cells at once and one after the other.

    python -m cytopipe_tests.benchmarks.screen_features [--cells 1600] [--plain-cells 100]

A synthetic tile: disks with radii of 9 to 14 px as nuclei, 17 to 24 px as cells, textured channels, the
last one with foci. Nucleus, cell and cytoplasm are measured. *plain* measures each object by itself with
scikit-image, mahotas and SciPy (without foci and neighbours), on the first rows of the tile where it holds
more cells; *batched* is `cytopipe.screen.features.measure`, in one thread, kernels compiled. The last column
is the largest difference of any column that both measure, relative to its largest value; angles are compared
as directions, and which of equally distant corners a Feret diameter names is not compared.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cytopipe.screen.features import measure
from cytopipe.screen.parameters import FeatureSettings

PITCH = 52


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="*", default=[100, 1600])
    parser.add_argument("--channels", type=int, nargs="*", default=[2, 4, 5])
    parser.add_argument("--plain-cells", type=int, default=100)
    given = parser.parse_args()
    print("| cells | channels | columns | batched, ms per cell | plain, ms per cell | ratio | difference |")
    print("|---|---|---|---|---|---|---|")
    warm = tile(9, 2, seed=1)
    batched(*warm)
    for n_channels in given.channels:
        for n_cells in given.cells:
            image, nuclei, cells, cytoplasm = tile(n_cells, n_channels, seed=0)
            started = time.process_time()
            table = batched(image, nuclei, cells, cytoplasm)
            ours = (time.process_time() - started) / len(table) * 1000
            part = slice(0, (given.plain_cells // round(n_cells**0.5)) * PITCH)
            row = f"| {len(table)} | {n_channels} | {table.shape[1]} | {ours:.2f} |"
            print(
                row + plain(table, ours, image[:, part], nuclei[part], cells[part], cytoplasm[part]),
                flush=True,
            )


def plain(table, ours: float, image, nuclei, cells, cytoplasm) -> str:
    """The other columns of a row; blank where mahotas is absent."""
    try:
        from cytopipe_tests.screen.one_by_one import measure_one_by_one
    except ImportError:
        return "  |  |  |"
    names = channel_names(len(image))
    started = time.process_time()
    frames = {
        name: measure_one_by_one(image, labels, names)
        for name, labels in (("nucleus", nuclei), ("cell", cells), ("cytoplasm", cytoplasm))
    }
    theirs = (time.process_time() - started) / len(frames["cell"]) * 1000
    table, largest = table.set_index("label"), 0.0
    for name, frame in frames.items():
        for column in frame.columns:
            if "_feret_r" not in column and "_feret_c" not in column:
                one = table.loc[frame.index, f"{name}_{column}"].to_numpy(float)
                other = frame[column].to_numpy(float)
                if column == "orientation":
                    one, other = np.exp(2j * one), np.exp(2j * other)
                scale = max(np.nanmax(abs(other), initial=0), 1e-9)
                largest = max(largest, np.nanmax(abs(one - other), initial=0) / scale)
    return f" {theirs:.1f} | {theirs / ours:.0f} | {largest:.0e} |"


def batched(image, nuclei, cells, cytoplasm):
    """The table of `measure`, foci in the last channel."""
    names = channel_names(len(image))
    settings = FeatureSettings(foci_channels=(names[-1],))
    return measure(
        image,
        nuclei,
        cells,
        cytoplasm,
        channel_names=names,
        settings=settings,
        plate="1",
        well="A1",
        tile="1",
    )


def channel_names(n: int) -> list[str]:
    """DAPI and stains."""
    return ["DAPI", *(f"stain{one}" for one in range(1, n))]


def tile(n_cells: int, n_channels: int, seed: int) -> tuple[np.ndarray, ...]:
    """An image, CYX uint16, with nuclei, cells and cytoplasm on a square grid."""
    from scipy import ndimage as ndi

    rng = np.random.default_rng(seed)
    side = round(n_cells**0.5)
    nuclei = np.zeros((side * PITCH, side * PITCH), np.int32)
    cells = np.zeros_like(nuclei)
    for n in range(side * side):
        window = np.s_[n // side * PITCH : (n // side + 1) * PITCH, n % side * PITCH : (n % side + 1) * PITCH]
        rows, cols = np.indices((PITCH, PITCH)) - PITCH / 2 - rng.uniform(-1, 1, size=(2, 1, 1))
        out = np.hypot(rows, cols * rng.uniform(0.9, 1.1))
        cells[window][out < rng.uniform(17, 24)] = n + 1
        nuclei[window][out < rng.uniform(9, 14)] = n + 1
    smooth = ndi.gaussian_filter(rng.normal(size=(n_channels, *nuclei.shape)), (0, 3, 3))
    image = 6000 + 25000 * smooth + rng.normal(0, 30, size=smooth.shape)
    image[0] *= 0.3 + (nuclei > 0)
    spots = ndi.gaussian_filter((rng.random(nuclei.shape) < 0.002).astype(float), 1.5)
    image[-1] = 500 + 300 * (cells > 0) + 60000 * spots + rng.normal(0, 3, size=spots.shape)
    image = image.clip(0, 65535).astype(np.uint16)
    return image, nuclei, cells, np.where(nuclei > 0, 0, cells)


if __name__ == "__main__":
    main()
