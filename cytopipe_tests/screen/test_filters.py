"""Filters equal SciPy's and NumPy's to the last bit, at any size, and refuse what cannot be filtered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.filters import compute_standard_deviation, find_peaks, log_filter, max_filter

SHAPES = [(3, 5, 61, 47), (2, 1, 1, 9), (1, 2, 7, 1), (2, 3, 4, 3), (2, 2, 64, 64)]


def pictures(shape, seed=0):
    """Images of every kind: noise, constant, zero, saturated, one bright pixel."""
    random = np.random.default_rng(seed)
    bright = np.zeros(shape, np.uint16)
    bright[..., shape[-2] // 2, shape[-1] // 2] = 65535
    yield random.gamma(2, 300, shape).astype(np.uint16)
    yield random.integers(0, 65536, shape).astype(np.uint16)
    yield from (np.full(shape, value, np.uint16) for value in (0, 123, 65535))
    yield bright


def plain_log(image, sigma=1.0):
    out = np.empty(image.shape, np.uint16)
    for index in np.ndindex(image.shape[:-2]):
        found = -ndimage.gaussian_laplace(image[index].astype(float), sigma)
        out[index] = np.rint(np.clip(found, 0, 65535) / 65535 * 65535)
    return out


def plain_peaks(image, width):
    highest, lowest = (f(image, size=width) for f in (ndimage.maximum_filter, ndimage.minimum_filter))
    peaks = highest - lowest
    peaks[image < highest] = 0
    inside = np.zeros(image.shape, bool)
    inside[width:-width, width:-width] = True
    return np.where(inside, peaks, 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_laplacian_equals_scipys(shape):
    for image in pictures(shape):
        for sigma in (1, 0.6, 2.3):
            np.testing.assert_array_equal(log_filter(image, sigma), plain_log(image, sigma))


def test_channels_that_are_skipped_stay_raw():
    image = next(pictures((2, 4, 20, 20)))
    found = log_filter(image, skip_index=[0, -1])
    np.testing.assert_array_equal(found[:, [0, 3]], image[:, [0, 3]])
    np.testing.assert_array_equal(found[:, 1:3], plain_log(image[:, 1:3]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_deviation_equals_numpys(shape):
    for image in pictures(shape):
        np.testing.assert_array_equal(compute_standard_deviation(image), image.std(axis=0).mean(axis=0))
        if shape[1] > 1:
            expected = image[:, 1:].std(axis=0).mean(axis=0)
            np.testing.assert_array_equal(compute_standard_deviation(image, 0), expected)
            np.testing.assert_array_equal(compute_standard_deviation(image[0], [0]), image[0, 1:].std(axis=0))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_peaks_equal_scipys_for_every_type(width):
    for image in pictures((40, 31)):
        for dtype in (np.float64, np.uint16, np.int64, np.float32):
            found = find_peaks(image.astype(dtype), width)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, plain_peaks(image.astype(dtype), width))


def test_an_image_no_larger_than_its_border_has_no_peaks():
    assert not find_peaks(np.random.default_rng(0).random((10, 9)), 5).any()


@pytest.mark.parametrize("width", [1, 2, 3, 6, 101])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_maximum_filter_equals_scipys(shape, width):
    for image in pictures(shape):
        expected = ndimage.maximum_filter(image, size=(1, 1, width, width))
        np.testing.assert_array_equal(max_filter(image, width), expected)


def test_the_maximum_filter_leaves_channels_out_and_always_has_cycles():
    image = next(pictures((2, 5, 20, 20)))
    np.testing.assert_array_equal(max_filter(image, 3, [0]), max_filter(image, 3)[:, 1:])
    np.testing.assert_array_equal(max_filter(image, 3, [2]), max_filter(image, 3)[:, [0, 1, 3, 4]])
    assert max_filter(image[0, 0]).shape == (1, 1, 20, 20)


def test_a_single_frame_and_the_other_byte_order_are_filtered_alike():
    image = next(pictures((1, 2, 30, 21)))
    np.testing.assert_array_equal(log_filter(image[0, 0]), log_filter(image)[0, 0])
    swapped = image.astype(">u2")
    for function in (log_filter, compute_standard_deviation, max_filter, find_peaks):
        np.testing.assert_array_equal(function(swapped), function(image))


def test_a_view_that_is_not_contiguous_is_filtered_like_its_copy():
    image = next(pictures((2, 3, 40, 60)))[..., ::2, ::-3]
    np.testing.assert_array_equal(log_filter(image), log_filter(image.copy()))
    np.testing.assert_array_equal(max_filter(image), max_filter(image.copy()))
    np.testing.assert_array_equal(compute_standard_deviation(image), compute_standard_deviation(image.copy()))


@pytest.mark.parametrize(
    "image",
    [np.zeros((0, 4)), np.zeros(4), np.zeros((3, 3), complex), np.array([["a"]]), np.zeros((3, 3), "f2")],
)
def test_what_is_no_image_is_refused(image):
    for function in (log_filter, find_peaks, max_filter, compute_standard_deviation):
        with pytest.raises(InputError, match="cannot be filtered"):
            function(image)


def test_parameters_out_of_range_are_refused():
    image = np.zeros((2, 3, 8, 8), np.uint16)
    for call in (
        lambda: log_filter(image, 0),
        lambda: log_filter(image, skip_index=3),
        lambda: max_filter(image, 0),
        lambda: find_peaks(image, 2.5),
        lambda: compute_standard_deviation(image, [0, 1, 2]),
    ):
        with pytest.raises(ParameterError):
            call()
