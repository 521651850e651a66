"""The read model: chemistry is learned, cells are called, and what is no read is not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from cytopipe.screen.model import (
    call_barcodes,
    detect_reads,
    estimate_read_model,
    read_model_from_json,
)
from cytopipe.testing.screens import make_screen, score_calls


def tiles_of(screen):
    well = screen.wells[0]
    return [
        (screen.aligned_tile(well, tile), screen.label_tile(well, tile)[1]) for tile in screen.tiles["tile"]
    ]


def truth_of(screen):
    return pd.concat([screen.cells_of_tile(screen.wells[0], tile) for tile in screen.tiles["tile"]])


@pytest.fixture(scope="module")
def screen():
    return make_screen(
        "mixed", 5, tile_grid=(1, 2), tile_size=320, n_barcodes=96, crosstalk=0.4, phasing=0.03
    )


@pytest.fixture(scope="module")
def called(screen):
    aligned, labels = zip(*tiles_of(screen), strict=True)
    return call_barcodes(aligned, labels, screen.library)


def test_cells_are_called_right_where_spots_are_dim_and_background_is_strong(screen, called):
    score = score_calls(called[1], truth_of(screen))
    assert score["right"] > 85 and score["wrong"] < 3


def test_phasing_prephasing_and_crosstalk_are_recovered(screen):
    model = estimate_read_model(tiles_of(screen), screen.library)
    assert abs(model.phasing - 0.03) < 0.008 and abs(model.prephasing - 0.01) < 0.008
    true = screen.chemistry["mix"] * screen.chemistry["gains"][:, :, None]
    found = model.mix * model.drift[:, :, None]
    relative = lambda one: one / np.diagonal(one, axis1=1, axis2=2)[:, None]  # noqa: E731
    assert np.abs(relative(found) - relative(true)).mean() < 0.08


def test_a_model_survives_json(screen):
    model = estimate_read_model(tiles_of(screen), screen.library)
    again = read_model_from_json(model.as_json())
    aligned, labels = tiles_of(screen)[0]
    assert again.as_json() == model.as_json()
    pd.testing.assert_frame_equal(detect_reads(aligned, labels, model), detect_reads(aligned, labels, again))


def test_the_order_of_tiles_changes_nothing(screen):
    tiles = tiles_of(screen)
    forward = estimate_read_model(tiles, screen.library)
    assert estimate_read_model(tiles[::-1], screen.library).as_json() == forward.as_json()


def test_noise_carries_no_barcode():
    rng = np.random.default_rng(1)
    screen = make_screen("easy", 2, tile_grid=(1, 1), tile_size=256, n_barcodes=48)
    labels = screen.label_tile("A1", 0)[1]
    noise = rng.poisson(500, (9, 5, 256, 256)).astype(np.uint16)
    _, cells = call_barcodes(noise, labels, screen.library)
    assert cells["cell_barcode_0"].notna().sum() <= 0.02 * labels.max()


def test_without_a_library_cells_get_the_sequences_of_their_reads(screen):
    aligned, labels = tiles_of(screen)[0]
    reads, cells = call_barcodes(aligned, labels)
    assert reads["barcode"].str.len().eq(9).all() and reads["Q_min"].between(0, 1).all()
    called = cells["cell_barcode_0"].isin(screen.library["barcode"])
    assert called.mean() > 0.4


def test_a_base_that_never_changes_is_read_and_debris_is_not():
    from cytopipe.testing.screens import make_library

    library = make_library(40, 9, seed=3)
    alone = library[library["barcode"] == "G" * 9]
    few = pd.concat([alone.assign(abundance=0.3), library.drop(alone.index)], ignore_index=True)
    few["abundance"] /= few["abundance"].sum()
    screen = make_screen(
        "easy", 8, tile_grid=(1, 1), tile_size=384, library=few, debris_per_megapixel=600.0, with_barcode=0.7
    )
    aligned, labels = zip(*tiles_of(screen), strict=True)
    _, cells = call_barcodes(aligned, labels, few)
    truth = truth_of(screen)
    same = truth[truth["callable"] & (truth["barcode_0"] == "G" * 9) & truth["barcode_1"].isna()]
    called = cells.set_index("cell")["cell_barcode_0"].reindex(same["label"])
    assert len(same) >= 5 and (called == "G" * 9).mean() >= 0.8
    score = score_calls(cells, truth)
    assert score["empty_called"] <= 5 and score["wrong"] <= 2


def test_two_barcodes_of_a_cell_are_both_found(screen, called):
    truth = truth_of(screen)
    many = truth[(truth["n_spots_0"] > 2) & (truth["n_spots_1"] > 2) & (truth["n_spots"] > 4)]
    cells = called[1].set_index(["tile", "cell"]).reindex(pd.MultiIndex.from_frame(many[["tile", "label"]]))
    both = [
        {one, two} == {three, four}
        for one, two, three, four in zip(
            cells["cell_barcode_0"],
            cells["cell_barcode_1"],
            many["barcode_0"],
            many["barcode_1"],
            strict=True,
        )
    ]
    assert len(both) >= 3 and np.mean(both) > 0.6


def test_a_cell_called_with_a_probability_is_right_as_often(screen, called):
    joined = called[1].merge(truth_of(screen), left_on=["tile", "cell"], right_on=["tile", "label"])
    sure = joined[joined["cell_barcode_probability_0"] > 0.9]
    best = sure["cell_barcode_best"]
    right = (best == sure["barcode_0"]) | (best == sure["barcode_1"])
    assert abs(right.mean() - sure["cell_barcode_probability_0"].mean()) < 0.03


def test_reads_do_not_depend_on_the_blocks_in_which_a_tile_is_worked_on(screen, monkeypatch):
    from cytopipe.screen.model import detection

    aligned, labels = tiles_of(screen)[0]
    model = estimate_read_model([(aligned, labels)], screen.library)
    whole = detect_reads(aligned, labels, model)
    monkeypatch.setattr(detection, "BLOCK", 100)
    parts = detect_reads(aligned, labels, model)
    order = ["i", "j"]
    whole, parts = (one.sort_values(order, ignore_index=True).drop(columns="read") for one in (whole, parts))
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-4)


def test_barcodes_of_dense_cells_are_calibrated_and_second_ones_are_found():
    screen = make_screen("dense", 302, tile_grid=(1, 1))
    aligned, labels = zip(*tiles_of(screen), strict=True)
    _, cells = call_barcodes(aligned, labels, screen.library)
    truth = truth_of(screen)
    score = score_calls(cells, truth)
    assert score["wrong"] <= 0.5 and score["empty_called"] <= 4 and score["both"] > 50
    joined = cells.merge(truth, left_on=["tile", "cell"], right_on=["tile", "label"])
    second = joined[joined["cell_barcode_1"].notna()]
    right = (second["cell_barcode_1"] == second["barcode_0"]) | (
        second["cell_barcode_1"] == second["barcode_1"]
    )
    assert len(second) >= 10 and right.mean() > 0.85


def test_dark_rings_around_many_wide_spots_are_no_second_barcode():
    """With strong crosstalk, what lies between spots changes against them: it looks like a barcode."""
    screen = make_screen(
        "crosstalk", 702, tile_grid=(1, 1), tile_size=420, with_two_barcodes=0.0, optics="third"
    )
    aligned, labels = zip(*tiles_of(screen), strict=True)
    _, cells = call_barcodes(aligned, labels, screen.library)
    assert score_calls(cells, truth_of(screen))["right"] >= 97
    assert cells["cell_barcode_1"].isna().all()


def test_the_nearest_two_other_cells_of_a_spot_are_known():
    from cytopipe.screen.model import kernels

    labels = np.zeros((9, 20), np.int64)
    labels[:, :6], labels[:, 8:12], labels[:, 13:] = 1, 2, 3
    found, away = kernels.owners(labels, np.array([4]), np.array([9]), 2, 6)
    assert found.tolist() == [[2, 1, 3]] or found.tolist() == [[2, 3, 1]]
    assert sorted(away[0, 1:]) == [4.0, 4.0]


def test_spots_are_freed_of_the_light_and_the_dark_rings_of_their_neighbours():
    from cytopipe.screen.model import detection

    rng = np.random.default_rng(4)
    place = np.array([[20.0, 20.0], [23.4, 20.2], [20.1, 25.3], [60.0, 60.0]])
    signal = rng.uniform(0, 1, (4, 5, 4)) * np.array([1000, 150, 300, 500])[:, None, None]
    rows, columns = np.indices((80, 80))
    away = (rows - place[:, :1, None]) ** 2 + (columns - place[:, 1:, None]) ** 2
    planes = np.einsum("stc,sij->tcij", signal, np.exp(-0.5 * away / 1.3**2)) + 400
    values, _ = detection.filtered(planes, 0.8, 3.0, np.ones((5, 4)))
    pixel = np.rint(place).astype(int)
    x = values[:, :, pixel[:, 0], pixel[:, 1]].transpose(2, 0, 1).astype(float)
    found = detection.separated(x, *pixel.T, place - pixel, 1.3, 0.8, 3.0)
    alone = found[3] / signal[3]
    assert np.abs(found / alone.mean() - signal).max() < 25
    assert np.abs(x / alone.mean() - signal).max() > 3 * 25


def test_bright_debris_is_no_barcode_of_one_base():
    from cytopipe.testing.screens import make_library

    library = make_library(24, 9, seed=3)
    screen = make_screen(
        "easy", 8, tile_grid=(1, 1), tile_size=384, library=library, with_barcode=0.5,
        debris_per_megapixel=1500.0, debris_amplitude=30000.0,
    )  # fmt: skip
    aligned, labels = zip(*tiles_of(screen), strict=True)
    score = score_calls(call_barcodes(aligned, labels, library)[1], truth_of(screen))
    assert score["empty_called"] <= 4 and score["wrong"] <= 2 and score["right"] > 85


def test_cells_at_a_border_that_some_cycles_do_not_show_are_called():
    screen = make_screen("easy", 6, tile_grid=(1, 1), tile_size=256, n_barcodes=96)
    aligned, labels = tiles_of(screen)[0]
    cut = aligned.copy()
    for t, width in ((2, 30), (5, 20), (6, 26)):
        cut[t, :, :width] = 0
    reads, cells = call_barcodes(cut, labels, screen.library)
    truth = truth_of(screen)
    top = truth[(truth["i"] < 22) & truth["callable"]]
    assert len(top) >= 3 and reads["x_3_G"].isna().any()
    assert score_calls(cells, top)["right"] == 100
    assert score_calls(cells, truth)["right"] >= 95 and score_calls(cells, truth)["wrong"] <= 1


def test_a_model_of_a_well_without_spots_is_written_as_json_and_read_again():
    screen = make_screen("easy", 5, tile_grid=(1, 1), tile_size=128, cycles=4, n_barcodes=20)
    tile = (screen.aligned_tile("A1", 0), screen.label_tile("A1", 0)[1])
    model = estimate_read_model([tile], screen.library).replace(threshold=np.inf)
    text = json.dumps(model.as_json(), allow_nan=False)
    again = read_model_from_json(json.loads(text))
    assert again.threshold == np.inf and len(detect_reads(*tile, again)) == 0
