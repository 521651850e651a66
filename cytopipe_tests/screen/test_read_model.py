"""The read model: chemistry is learned, cells are called, and what is no read is not."""

from __future__ import annotations

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
