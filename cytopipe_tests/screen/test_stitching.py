"""Tiles of a well are put where their overlaps say, and the well is one image that is made slice by slice."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.correlation import shift_between, window_shifts
from cytopipe.screen.parameters import StitchingSettings
from cytopipe.screen.stitching import fuse_well, grid_positions, stitch_tiles
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OME_ZARR, read_ome_zarr

SIZE = 160


@pytest.fixture(scope="module")
def well():
    """One picture, cut into 3 x 3 tiles that miss their places: images, true corners, where the stage is."""
    rng = np.random.default_rng(2)
    import cv2

    spots = np.zeros((460, 470), np.float32)
    spots[rng.integers(0, 460, 1500), rng.integers(0, 470, 1500)] = rng.uniform(5e3, 5e4, 1500)
    picture = cv2.GaussianBlur(spots, (0, 0), 1.6) + rng.normal(100, 2, spots.shape)
    stage = np.array([(row, col) for row in range(3) for col in range(3)]) * 132.0 + 12
    true = np.rint(stage + rng.uniform(-8, 8, stage.shape)).astype(int)
    images = {
        f"t{k}": np.rint(picture[i : i + SIZE, j : j + SIZE] + rng.normal(0, 2, (SIZE, SIZE))).astype(
            np.uint16
        )
        for k, (i, j) in enumerate(true)
    }
    return images, true, stage


def off(stitching, true, which=slice(None)):
    found = stitching.positions[["i", "j"]].to_numpy() - true
    return np.hypot(*(found - np.median(found[which], axis=0))[which].T).max()


@pytest.mark.parametrize("how", ["stage", "row", "row_snake", "column", "column_snake"])
def test_tiles_are_found_from_the_stage_and_from_every_grid(well, how):
    images, true, stage = well
    line = np.arange(9).reshape(3, 3)
    if "snake" in how:
        line[1] = line[1, ::-1].copy()
    order = (line if how.startswith("row") else line.T.copy()).ravel() if how != "stage" else np.arange(9)
    if how == "column_snake":
        order = np.array([0, 3, 6, 7, 4, 1, 2, 5, 8])
    names = [f"t{k}" for k in order]
    settings = StitchingSettings(layout=how, overlap=0.175)
    found = stitch_tiles(names, images.__getitem__, stage if how == "stage" else None, settings)
    assert off(found, true[order]) < 0.2
    assert found.positions["located"].all()
    assert found.pairs["residual_px"].max() < 0.5


def test_an_empty_tile_stays_where_the_stage_says(well):
    images, true, stage = well
    noise = np.random.default_rng(0).normal(100, 2, (SIZE, SIZE)).astype(np.uint16)
    images = images | {"t4": noise, "t8": np.zeros_like(noise)}
    found = stitch_tiles(list(images), images.__getitem__, stage)
    assert found.positions["located"].tolist() == [True] * 4 + [False] + [True] * 3 + [False]
    rest = [0, 1, 2, 3, 5, 6, 7]
    assert off(found, true, rest) < 0.3
    assert off(found, true) < 16


@pytest.mark.parametrize("n", [1, 4])
def test_tiles_without_content_lie_in_the_grid(n):
    tiles = {k: np.zeros((64, 80), np.uint16) for k in range(n)}
    found = stitch_tiles(list(tiles), tiles.__getitem__, None, StitchingSettings(layout="row", overlap=0.25))
    np.testing.assert_allclose(
        found.positions[["i", "j"]], [[0, 0], [0, 60], [48, 0], [48, 60]][:n], atol=1e-6
    )
    assert not found.positions["located"].any()


def test_tiles_that_do_not_overlap_keep_their_distance(well):
    images, _, stage = well
    found = stitch_tiles(list(images), images.__getitem__, stage * 2)
    assert found.pairs.empty
    np.testing.assert_allclose(found.positions[["i", "j"]], (stage - stage[0]) * 2)


def test_swapped_tiles_are_not_believed(well):
    images, _, stage = well
    images = images | {"t0": images["t8"], "t8": images["t0"]}
    found = stitch_tiles(list(images), images.__getitem__, stage)
    assert not found.positions.set_index("tile").loc[["t0", "t8"], "located"].any()


def test_a_stage_turned_against_the_camera_is_followed(well):
    images, true, stage = well
    turned = (stage - 150) @ np.array([[1.01, 0.02], [-0.02, 1.01]]) + 150
    assert off(stitch_tiles(list(images), images.__getitem__, turned), true) < 0.3


def test_all_faults_of_a_well_are_told_at_once():
    tiles = {k: np.zeros((64, 64)) for k in "ab"}
    with pytest.raises(InputError) as caught:
        stitch_tiles(["a", "a", "b"], tiles.__getitem__, np.array([[0, 0], [np.nan, 0], [0, 50]]))
    assert len(caught.value.findings) == 2
    with pytest.raises(InputError, match="tile b"):
        stitch_tiles(["a", "b"], (tiles | {"b": np.zeros((64, 60))}).__getitem__, np.array([[0, 0], [0, 40]]))
    with pytest.raises(InputError, match="stage"):
        grid_positions(4, (64, 64), StitchingSettings())


def test_a_fused_well_equals_the_picture_and_every_slice_of_it(well):
    images, true, _ = well
    true = true - true.min(axis=0)
    fused = fuse_well(list(images), lambda name: np.stack([images[name]] * 2), true)
    whole = np.asarray(fused)
    assert whole.shape == fused.shape == (2, *(true.max(axis=0) + SIZE))
    assert whole.dtype == fused.dtype == np.uint16
    for (i, j), image in zip(true, images.values(), strict=True):
        inner = whole[0, i + 60 : i + 100, j + 60 : j + 100]
        assert np.abs(inner - image[60:100, 60:100].astype(float)).max() == 0
    np.testing.assert_array_equal(fused[1, 30:200, 17:230], whole[1, 30:200, 17:230])
    np.testing.assert_array_equal(fused[..., -40:, :], whole[..., -40:, :])
    assert fused[0, 5].shape == (fused.shape[2],)
    seam = np.abs(np.diff(whole[0, 20:-20, 20:-20].astype(float), axis=1)).max()
    assert seam <= 1.3 * max(np.abs(np.diff(one.astype(float), axis=1)).max() for one in images.values())


def test_a_fused_well_is_written_as_ome_zarr(well, tmp_path):
    images, true, _ = well
    fused = fuse_well(list(images), images.__getitem__, true)
    labels = fuse_well(
        ["t0", "t1"],
        lambda name: np.where(np.arange(SIZE) > 80, 2, 1) * np.ones((SIZE, 1), int),
        np.array([[0, 0], [0, fused.shape[1] - SIZE]]),
        labels=True,
        numbers={"t0": [0, 5, 6], "t1": [0, 7, 8]},
    )
    OME_ZARR.write(tmp_path / "well.ome.zarr", Image(fused, "YX"))
    OME_ZARR.validate(tmp_path / "well.ome.zarr")
    read = read_ome_zarr(tmp_path / "well.ome.zarr")
    np.testing.assert_array_equal(np.squeeze(read.load()), np.asarray(fused))
    assert set(np.unique(labels[:, :])) == {0, 5, 6, 7, 8}


def test_labels_are_taken_from_the_tile_whose_border_is_farthest():
    tiles = {"a": np.full((40, 40), 1), "b": np.full((40, 40), 1)}
    numbers = {"a": [0, 3], "b": [0, 9]}
    fused = fuse_well(["a", "b"], tiles.__getitem__, [[0, 0], [0, 30]], labels=True, numbers=numbers)
    assert fused.dtype == np.int32
    np.testing.assert_array_equal(fused[20], [3] * 35 + [9] * 35)
    with pytest.raises(InputError, match="numbers"):
        fuse_well(["a", "b"], tiles.__getitem__, [[0, 0], [0, 30]], labels=True)


def test_a_shift_is_found_across_the_wrap_and_in_noise_none_is_significant():
    rng = np.random.default_rng(0)
    picture = rng.normal(size=(150, 160)).astype(np.float32)
    shift = shift_between(picture[:100, :100], picture[30:130, 55:155])
    assert (shift.rows, shift.cols) == (-30, -55)
    assert shift.significance > 6
    assert shift_between(picture[:100, :100], rng.normal(size=(100, 100)).astype(np.float32)).significance < 6
    assert shift_between(np.zeros((20, 20), np.float32), picture[:20, :20]).significance == 0


def test_windows_find_parts_of_a_pixel():
    from scipy.ndimage import gaussian_filter, shift

    picture = gaussian_filter(np.random.default_rng(1).normal(size=(120, 120)), 2)
    moved = shift(picture, (2.3, -1.6), order=5, mode="reflect").astype(np.float32)
    found, scores = window_shifts(
        picture.astype(np.float32), moved, np.array([[60, 60], [5, 5]]), np.zeros((2, 2)), 24, 5
    )
    np.testing.assert_allclose(found[0], (2.3, -1.6), atol=0.05)
    assert scores[0] > 0.95
