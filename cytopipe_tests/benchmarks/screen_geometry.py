"""Where planes, tiles and cells of synthetic screens are put, against the truth.

    python -m cytopipe_tests.benchmarks.screen_geometry [--seeds 211 212 213]

The first table: a tile of 9 cycles x 5 channels x 512 x 512 pixels of each seed, aligned by shifts in steps
of half a pixel (`align_cycles`, as Brieflow does) and by similarities (`register_cycles` and `resample`). The
error is the distance of a place in a base plane to where it should lie in the frame of the first base of the
first cycle, over a grid of places and all planes; the worst plane is that with the largest median. CPU
seconds are those of a tile, pixels resampled. The second table: wells of 3 x 3 tiles of 384 pixels put
together from where the stage says, by their DAPI images; rows of the table of cells with overlaps counted
once, from true labels and the positions found; and the cells of such a well found again in the phenotype.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from cytopipe.screen.alignment import align_cycles
from cytopipe.screen.merge import merge_cells
from cytopipe.screen.overlaps import count_cells_once
from cytopipe.screen.parameters import StitchingSettings
from cytopipe.screen.registration import register_cycles, resample
from cytopipe.screen.stitching import stitch_tiles
from cytopipe.testing.screens import Screen, make_screen


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[211, 212, 213])
    seeds = parser.parse_args().seeds
    warm = make_screen("easy", seed=1, tile_grid=(1, 1), tile_size=128, cycles=4, n_barcodes=100)
    shifts_of(warm.sbs_tile("A1", 0))
    similarities_of(warm.sbs_tile("A1", 0))
    print("| screen | aligned by | median px | p95 px | worst plane px | CPU s |")
    print("|---|---|---|---|---|---|")
    for preset in ("dim", "background", "mixed", "shifts"):
        screens = [make_screen(preset, seed=seed, tile_grid=(1, 1)) for seed in seeds]
        for name, method in (("shifts", shifts_of), ("similarities", similarities_of)):
            off, cpu = [], 0.0
            for screen in screens:
                images = screen.sbs_tile("A1", 0)
                start = time.process_time()
                found = method(images)
                cpu += time.process_time() - start
                off.append(errors(found, true_transforms(screen), screen.tile_size))
            every = np.concatenate(off)
            worst = np.median(every, axis=1).max()
            print(
                f"| {preset} | {name} | {np.median(every):.3f} | {np.percentile(every, 95):.3f} "
                f"| {worst:.3f} | {cpu / len(screens):.1f} |"
            )
    print()
    print("| screen | tiles off, most px | cells | rows | twice | lost | merged right | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    for preset in ("easy", "mixed", "dense"):
        wells = [well(make_screen(preset, seed=seed, tile_grid=(3, 3), tile_size=384)) for seed in seeds]
        off = max(one[0] for one in wells)
        cells, rows, twice, lost, right, wrong, both = np.array([one[1:] for one in wells]).sum(axis=0)
        print(
            f"| {preset} | {off:.2f} | {cells} | {rows} | {twice} | {lost} "
            f"| {100 * right / both:.1f} % | {100 * wrong / both:.1f} % |"
        )


def shifts_of(images: np.ndarray) -> np.ndarray:
    """(T, 4, 2, 3) of the alignment by shifts."""
    found = align_cycles(images, return_shifts=True)
    out = np.zeros((*found.within.shape[:2], 2, 3))
    out[..., :2] = np.eye(2)
    out[..., 2] = found.within + found.between[:, None]
    return out[:, 1:]


def similarities_of(images: np.ndarray) -> np.ndarray:
    """(T, 4, 2, 3) of the registration, pixels resampled."""
    found = register_cycles(images)
    resample(images, found)
    return found.transforms[:, 1:]


def true_transforms(screen: Screen) -> np.ndarray:
    """(T, 4, 2, 3), from the first base of the first cycle to each base plane."""
    centre, apart = (screen.tile_size - 1) / 2, screen.chemistry["chromatic"]
    out = np.zeros((len(screen.cycles), 4, 2, 3))
    for t, (dy, dx, degrees, scale) in enumerate(screen.cycles[["dy", "dx", "degrees", "scale"]].to_numpy()):
        turn = np.deg2rad(degrees)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        for b in range(4):
            out[t, b, :, :2] = matrix
            out[t, b, :, 2] = matrix @ (-centre - apart[1]) + centre + (dy, dx) + apart[1 + b]
    return out


def errors(transforms: np.ndarray, truth: np.ndarray, size: int) -> np.ndarray:
    """Distances in px, (planes, places)."""
    line = np.linspace(20, size - 20, 8)
    places = np.array([(row, col, 1) for row in line for col in line])
    off = (transforms - truth).reshape(-1, 2, 3) @ places.T
    return np.hypot(off[:, 0], off[:, 1])


def well(screen: Screen) -> tuple[float, ...]:
    """One row of the second table."""
    sbs = pd.concat([screen.cells_of_tile("A1", tile) for tile in screen.tiles["tile"]], ignore_index=True)
    sbs = sbs.rename(columns={"cell": "truth", "label": "cell"})
    images = {tile: screen.aligned_tile("A1", tile)[0, 0] for tile in screen.tiles["tile"]}
    off, once = placed(screen, screen.tiles, images, sbs, 1)
    images, parts = {}, []
    for tile in screen.phenotype_tiles["tile"]:
        images[tile] = screen.phenotype_tile("A1", tile)[0]
        labels, names = screen.phenotype_label_tile("A1", tile)[1:]
        area = np.bincount(labels.ravel())[1:]
        i, j = (np.bincount(labels.ravel(), one.ravel())[1:] / area for one in np.indices(labels.shape))
        parts.append(
            pd.DataFrame({"tile": tile, "cell": names["label"], "truth": names["cell"], "i": i, "j": j})
        )
    phenotype = placed(screen, screen.phenotype_tiles, images, pd.concat(parts, ignore_index=True), 2)[1]
    found = merge_cells(phenotype, once, sbs_pixel_um=1.3, phenotype_pixel_um=0.65).cells
    one = phenotype.set_index(["tile", "cell"])["truth"].loc[
        list(zip(found["tile"], found["cell_0"], strict=True))
    ]
    two = once.set_index(["tile", "cell"])["truth"].loc[
        list(zip(found["site"], found["cell_1"], strict=True))
    ]
    right = int((one.to_numpy() == two.to_numpy()).sum())
    n_cells, twice = sbs["truth"].nunique(), int(once["truth"].duplicated().sum())
    lost = len(set(sbs["truth"]) - set(once["truth"]))
    both = len(set(phenotype["truth"]) & set(once["truth"]))
    return off, n_cells, len(once), twice, lost, right, len(found) - right, both


def placed(
    screen: Screen, tiles: pd.DataFrame, images: dict, cells: pd.DataFrame, zoom: int
) -> tuple[float, pd.DataFrame]:
    """The largest error of a tile's position, and the cells counted once by the positions found."""
    found = stitch_tiles(list(tiles["tile"]), images.__getitem__, tiles[["stage_y", "stage_x"]].to_numpy())
    gap = found.positions[["i", "j"]].to_numpy() - tiles[["y", "x"]].to_numpy()
    settings = StitchingSettings(cell_radius_px=14.0 * zoom, same_cell_px=10.0 * zoom)
    size = (screen.tile_size, screen.tile_size)
    once = count_cells_once(cells, found.positions, size, settings)[0]
    return float(np.hypot(*(gap - np.median(gap, axis=0)).T).max()), once


if __name__ == "__main__":
    main()
