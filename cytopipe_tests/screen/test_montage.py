"""Crops beyond the image are filled with 0; a grid holds every crop; noise is 0 on the logarithmic scale."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.montage import create_montage, image_log_scale, subimage


@pytest.mark.parametrize(
    "box",
    [(0, 0, 5, 5), (-3, -2, 4, 4), (6, 8, 20, 30), (-50, -50, -40, -40), (90, 0, 95, 3), (-5, -5, 99, 99)],
)
def test_a_crop_equals_the_crop_of_a_padded_image(box):
    image = np.random.default_rng(0).integers(1, 99, (2, 10, 12)).astype(np.uint16)
    padded = np.pad(image, ((0, 0), (100, 100), (100, 100)))
    top, left, foot, right = (one + 100 for one in box)
    np.testing.assert_array_equal(subimage(image, box), padded[:, top:foot, left:right])
    np.testing.assert_array_equal(
        subimage(image, box, 2), padded[:, top - 2 : foot + 2, left - 2 : right + 2]
    )


def test_a_crop_without_pixels_is_refused():
    with pytest.raises(ParameterError):
        subimage(np.zeros((4, 4)), (3, 3, 3, 5))


@pytest.mark.parametrize(
    ("n", "shape", "grid"),
    [
        (7, None, (3, 3)),
        (6, None, (2, 3)),
        (1, None, (1, 1)),
        (7, (-1, 2), (4, 2)),
        (7, (2, -1), (2, 4)),
        (3, (2, 3), (2, 3)),
    ],
)
def test_a_grid_holds_every_crop(n, shape, grid):
    crops = [np.full((2, 3, 4 - at % 2), at + 1, np.uint16) for at in range(n)]
    montage = create_montage(crops, shape)
    assert montage.shape == (2, grid[0] * 3, grid[1] * crops[0].shape[-1])
    for at in range(n):
        assert (montage == at + 1).sum() == crops[at].size


def test_crops_in_one_row_keep_their_width():
    crops = [np.ones((2, 3), np.uint8), np.full((4, 1), 2, np.uint8)]
    np.testing.assert_array_equal(create_montage(crops, (1, -1)), [[1, 1, 1, 2]] * 2 + [[0, 0, 0, 2]] * 2)
    np.testing.assert_array_equal(
        create_montage([one.T for one in crops], (2, 1)), create_montage(crops, (1, 2)).T
    )


def test_pictures_that_make_no_grid_are_refused():
    with pytest.raises(InputError):
        create_montage([])
    with pytest.raises(InputError, match="differ in their channels"):
        create_montage([np.zeros((2, 3, 3)), np.zeros((1, 3, 3))])
    for shape in ((0, 3), (-1, -1), (-2, 3)):
        with pytest.raises(ParameterError):
            create_montage([np.zeros((3, 3))] * 2, shape)


def test_noise_near_the_background_is_0_and_bright_pixels_keep_their_order():
    image = np.random.default_rng(0).integers(100, 120, (40, 40)).astype(np.uint16)
    image[3, 3], image[5, 5] = 1000, 65535
    scaled = image_log_scale(image)
    assert scaled[5, 5] > scaled[3, 3] > 0
    assert (scaled > 0).sum() == 2
    assert not image_log_scale(np.zeros((4, 4), np.uint16)).any()
