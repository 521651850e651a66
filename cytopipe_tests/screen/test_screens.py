"""The synthetic screen: its images are a function of the seed and agree with its truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.testing.screens import CHANNELS, PRESETS, make_library, make_screen, score_calls, write_screen

SMALL = {"tile_grid": (1, 2), "tile_size": 160, "cycles": 5, "n_barcodes": 40}


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others():
    first, again, other = (make_screen("mixed", seed, **SMALL) for seed in (1, 1, 2))
    assert np.array_equal(first.sbs_tile("A1", 1), again.sbs_tile("A1", 1))
    assert np.array_equal(first.phenotype_tile("A1", 0), again.phenotype_tile("A1", 0))
    assert not np.array_equal(first.sbs_tile("A1", 1), other.sbs_tile("A1", 1))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_draws_cells_with_barcodes_of_the_library(preset):
    screen = make_screen(preset, 3, **SMALL)
    truth = screen.cells_of_tile("A1", 0)
    assert truth["callable"].sum() >= 3
    assert set(truth["barcode_0"].dropna()) <= set(screen.library["barcode"])
    assert screen.aligned_tile("A1", 0).shape == (5, len(CHANNELS), 160, 160)


def test_the_brightest_channel_at_a_spot_is_the_base_of_its_barcode():
    screen = make_screen("easy", 4, **SMALL, spots_per_cell=1.5, with_two_barcodes=0.0)
    aligned = screen.aligned_tile("A1", 0).astype(float)
    corner = screen.tiles.loc[0, ["y", "x"]].to_numpy(float)
    at = np.rint(screen.spots[["y", "x"]].to_numpy() - corner).astype(int)
    inside = ((at > 3) & (at < 156)).all(axis=1)
    barcode = screen.cells.set_index("cell")["barcode_0"][screen.spots["cell"]].to_numpy()
    dark = np.median(aligned, axis=(2, 3))
    agree = [
        CHANNELS[1:][np.argmax(aligned[t, 1:, y, x] - dark[t, 1:])] == letters[t]
        for (y, x), letters in zip(at[inside], barcode[inside], strict=True)
        for t in range(5)
    ]
    assert np.mean(agree) > 0.85


def test_a_cell_in_the_overlap_is_the_same_cell_in_both_tiles():
    screen = make_screen("easy", 5, **SMALL, overlap=0.3)
    both = [screen.cells_of_tile("A1", tile) for tile in (0, 1)]
    shared = both[0].merge(both[1], on="cell")
    corners = screen.tiles.set_index("tile")[["y", "x"]]
    whole = (shared["area_x"] == shared["area_y"]).to_numpy()
    moved = shared[["i_x", "j_x"]].to_numpy() - shared[["i_y", "j_y"]].to_numpy()
    assert whole.any()
    assert np.allclose(moved[whole], corners.loc[1].to_numpy() - corners.loc[0].to_numpy())


def test_a_library_has_homopolymers_and_neighbours_at_distance_one():
    barcodes = make_library(200, 8, seed=1)["barcode"]
    assert barcodes.is_unique and {"A" * 8, "C" * 8, "G" * 8, "T" * 8} <= set(barcodes)
    letters = np.array([list(one) for one in barcodes])
    distance = (letters[:, None] != letters[None]).sum(axis=2)
    assert (distance == 1).sum() >= 4


def test_written_files_are_what_the_screen_gives(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    screen = make_screen("shifts", 6, **SMALL)
    write_screen(tmp_path, screen)
    cycle = tifffile.imread(tmp_path / "sbs" / "P-1_W-A1_T-1_C-3__image.tiff")
    assert np.array_equal(cycle, screen.sbs_tile("A1", 1)[2])
    assert (tmp_path / "phenotype" / "P-1_W-A1_T-0__image.tiff").exists()
    cells = pd.read_csv(tmp_path / "truth" / "cells_of_tiles.tsv", sep="\t")
    labels = tifffile.imread(tmp_path / "truth" / "P-1_W-A1_T-1__cells.tiff")
    assert labels.max() == (cells["tile"] == 1).sum()


def test_a_perfect_caller_scores_a_hundred_and_a_forced_one_is_wrong():
    screen = make_screen("easy", 7, **SMALL)
    truth = screen.cells_of_tile("A1", 0)
    called = truth.rename(columns={"barcode_0": "cell_barcode_0", "barcode_1": "cell_barcode_1"})
    called = called.drop(columns="cell").rename(columns={"label": "cell"})
    assert score_calls(called, truth)["right"] == 100.0
    forced = called.assign(cell_barcode_0="NNNNN")
    assert score_calls(forced, truth)["wrong"] == 100.0


def test_an_unknown_preset_is_one_clear_error():
    with pytest.raises(InputError, match="no such screen"):
        make_screen("esay")
