"""A cell that several tiles show is one row of the well."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.overlaps import count_cells_once, well_numbers
from cytopipe.screen.parameters import StitchingSettings
from cytopipe.screen.stitching import fuse_well
from cytopipe.testing.screens import make_screen


@pytest.fixture(scope="module")
def screen():
    return make_screen("mixed", seed=6, tile_grid=(2, 3), tile_size=256)


@pytest.fixture(scope="module")
def cells(screen):
    table = pd.concat([screen.cells_of_tile("A1", k) for k in screen.tiles["tile"]], ignore_index=True)
    return table.rename(columns={"cell": "truth", "label": "cell"})


@pytest.fixture(scope="module")
def positions(screen):
    return screen.tiles.rename(columns={"y": "i", "x": "j"})[["tile", "i", "j"]]


@pytest.mark.parametrize("reads", [None, "n_spots"])
def test_every_cell_of_a_well_is_one_row(cells, positions, reads):
    kept, observations = count_cells_once(cells, positions, (256, 256), reads=reads)
    assert len(cells) > 1.2 * cells["truth"].nunique()
    assert kept["truth"].duplicated().sum() <= 0.002 * len(kept)
    assert len(set(cells["truth"]) - set(kept["truth"])) <= 0.002 * len(kept)
    assert len(observations) == len(cells)
    truth = cells.set_index(["tile", "cell"])["truth"]
    known = observations[observations["kept_cell"] > 0]
    same = truth.loc[list(zip(known["tile"], known["cell"], strict=True))].to_numpy()
    kept_as = truth.loc[list(zip(known["kept_tile"], known["kept_cell"], strict=True))].to_numpy()
    assert (same == kept_as).mean() > 0.99


def test_positions_wrong_by_some_pixels_are_borne(cells, positions):
    moved = positions.copy()
    moved[["i", "j"]] += np.random.default_rng(0).uniform(-2, 2, (len(moved), 2))
    kept, _ = count_cells_once(cells, moved, (256, 256))
    assert abs(len(kept) - cells["truth"].nunique()) <= 0.01 * len(kept)


def test_the_observation_deeper_in_its_tile_or_with_more_reads_is_kept():
    cells = pd.DataFrame(
        {"tile": [0, 1, 0, 1], "cell": [1, 1, 2, 2], "i": [50] * 2 + [20] * 2, "j": [90.0, 30, 70, 10],
         "reads": [9, 1, 1, 9]}
    )  # fmt: skip
    positions = pd.DataFrame({"tile": [0, 1], "i": [0.0, 0.0], "j": [0.0, 60.0]})
    kept, _ = count_cells_once(cells, positions, (100, 100))
    assert list(zip(kept["tile"], kept["cell"], strict=True)) == [(1, 1), (0, 2)]
    assert kept["well_j"].tolist() == [90, 70]
    assert kept["n_tiles"].tolist() == [2, 2]
    whole = StitchingSettings(cell_radius_px=6.0)
    assert count_cells_once(cells, positions, (100, 100), whole, reads="reads")[0]["reads"].tolist() == [9, 9]


def test_the_cells_of_one_tile_are_never_one():
    cells = pd.DataFrame({"tile": 0, "cell": [1, 2], "i": [50.0, 50.0], "j": [50.0, 51.0]})
    kept, _ = count_cells_once(cells, pd.DataFrame({"tile": [0], "i": [0.0], "j": [0.0]}), (100, 100))
    assert len(kept) == 2


def test_no_cells_and_unknown_centres_are_survived():
    positions = pd.DataFrame({"tile": [0, 1], "i": [0.0, 0.0], "j": [0.0, 60.0]})
    empty = pd.DataFrame({"tile": [], "cell": [], "i": [], "j": []})
    kept, observations = count_cells_once(empty, positions, (100, 100))
    assert len(kept) == len(observations) == 0
    lost = pd.DataFrame({"tile": [0, 1], "cell": [1, 1], "i": [np.nan, 5], "j": [2.0, np.nan]})
    assert len(count_cells_once(lost, positions, (100, 100))[0]) == 2


def test_all_faults_of_the_tables_are_told_at_once():
    cells = pd.DataFrame({"well": ["A1", "A2"], "tile": 5, "cell": 1, "i": 0.0, "j": 0.0})
    positions = pd.DataFrame({"tile": [0, 0], "i": 0.0, "j": 0.0})
    with pytest.raises(InputError) as caught:
        count_cells_once(cells, positions, (100, 100))
    assert len(caught.value.findings) == 4
    with pytest.raises(InputError, match="absent"):
        count_cells_once(cells.drop(columns="i"), positions, (100, 100))


def test_labels_of_a_fused_well_are_one_number_per_cell(screen, cells, positions):
    kept, observations = count_cells_once(cells, positions, (256, 256))
    tiles = list(positions["tile"])
    labels = fuse_well(
        tiles,
        lambda tile: screen.label_tile("A1", tile)[1],
        positions[["i", "j"]].to_numpy(),
        labels=True,
        numbers=well_numbers(kept, observations),
    )
    whole = np.asarray(labels)
    at = np.rint(
        kept[["well_i", "well_j"]].to_numpy() - np.rint(positions[["i", "j"]].to_numpy()).min(axis=0)
    )
    at = at.astype(int)
    inside = (at >= 0).all(axis=1) & (at < whole.shape).all(axis=1)
    assert (whole[tuple(at[inside].T)] == np.flatnonzero(inside) + 1).mean() > 0.97
    assert len(np.unique(whole)) - 1 >= 0.99 * len(kept)
