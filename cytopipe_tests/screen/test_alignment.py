"""Shifts equal scikit-image's to the last bit; cycles come together; what does not fit is told at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation
from skimage.transform import SimilarityTransform, warp

from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.alignment import (
    align_cycles,
    apply_offsets,
    apply_window,
    calculate_offsets,
    filter_percentiles,
)

ORDER = ["DAPI", "G", "T", "A", "C"]


def cells(shape=(90, 101), seed=0, n=60):
    """Blurred points: a frame with structure everywhere."""
    random = np.random.default_rng(seed)
    frame = np.zeros(shape)
    frame[random.integers(0, shape[0], n), random.integers(0, shape[1], n)] = 4000
    return ndimage.gaussian_filter(frame, 1.5) * 20 + 200


def screen(shifts, seed=0):
    """Cycles of five channels, each cycle shifted."""
    planes = [cells(seed=seed + at) for at in range(5)]
    noise = np.random.default_rng(seed)
    stack = [[ndimage.shift(one, shift, order=1, mode="nearest") for one in planes] for shift in shifts]
    return (np.array(stack) + noise.normal(0, 5, np.shape(stack))).clip(0, 65535).astype(np.uint16)


def plain_shifts(frames, upsample_factor):
    found = [
        phase_cross_correlation(one, frames[0], upsample_factor=upsample_factor, normalization=None)[0]
        for one in frames[1:]
    ]
    return np.array([[0, 0], *found])


def plain_warp(frame, offset):
    if tuple(offset) == (0, 0):
        return frame
    return warp(frame, SimilarityTransform(translation=offset[::-1]), preserve_range=True).astype(frame.dtype)


@pytest.mark.parametrize("size", [(64, 64), (61, 67), (64, 33), (1, 40), (40, 1)])
@pytest.mark.parametrize("upsample_factor", [1, 2, 3, 10, 20])
def test_shifts_equal_those_of_scikit_image(size, upsample_factor):
    base = cells((100, 110)) + np.random.default_rng(3).integers(0, 500, (100, 110))
    moves = [(0, 0), (2, -3), (-1.5, 0.5), (7, 11), (-20, 4)]
    frames = [ndimage.shift(base, one, order=3, mode="wrap")[: size[0], : size[1]] for one in moves]
    frames = np.array(frames).clip(0).astype(np.uint16)
    np.testing.assert_allclose(
        calculate_offsets(frames, upsample_factor), plain_shifts(frames, upsample_factor), rtol=0, atol=1e-12
    )


def test_a_flat_frame_is_not_shifted():
    frames = np.stack(
        [cells().astype(np.uint16), np.full((90, 101), 500, np.uint16), np.zeros((90, 101), np.uint16)]
    )
    for factor in (1, 2, 10):
        assert not calculate_offsets(frames, factor).any()
        assert not calculate_offsets(frames[::-1], factor).any()


@pytest.mark.parametrize(
    "offset",
    [(0, 0), (1, 0), (0.5, 0), (0, -0.5), (-0.75, 0.25), (0.999, -0.999), (1.5, -2), (-3, 4), (0.3, 17.1),
     (29.5, 0), (30, 0), (31, 0), (0, -40.5), (100, 200), (0.1, 0.7), (1e-9, 0)],
)  # fmt: skip
def test_a_shift_equals_scikit_images_warp(offset):
    """The rule of its low end included: only a shift below one pixel is clipped to the frame's minimum."""
    random = np.random.default_rng(1)
    frames = [
        random.integers(50, 65536, (30, 41)).astype(np.uint16),
        np.full((30, 41), 7, np.uint16),
        np.full((30, 41), 65535, np.uint16),
        np.zeros((30, 41), np.uint16),
        random.integers(1, 256, (30, 41)).astype(np.uint8),
        random.integers(50, 65536, (30, 1)).astype(np.uint16),
        random.integers(50, 65536, (1, 2)).astype(np.uint16),
    ]
    for frame in frames:
        np.testing.assert_array_equal(apply_offsets(frame[None], [offset])[0], plain_warp(frame, offset))


@pytest.mark.parametrize("q", [(0, 90), (10, 50), (25, 100), (33.3, 66.6)])
def test_filled_percentiles_equal_numpys(q):
    random = np.random.default_rng(0)
    for image in (
        random.gamma(2, 300, (3, 31, 17)).astype(np.uint16),
        random.integers(0, 3, (2, 8, 9)).astype(np.uint8),
        np.full((1, 5, 5), 65535, np.uint16),
    ):
        expected = image.copy()
        for frame in expected:
            low, high = np.percentile(frame, q)
            outside = (frame < low) | (frame > high)
            frame[outside] = np.random.RandomState(0).uniform(low, high, outside.sum()).astype(frame.dtype)
        np.testing.assert_array_equal(filter_percentiles(image, *q), expected)


def test_the_window_is_the_centre():
    image = np.arange(63 * 64).reshape(63, 64)
    assert apply_window(image, 2).shape == (33, 32)
    np.testing.assert_array_equal(apply_window(image, 1), image)


@pytest.mark.parametrize("method", ["DAPI", "sbs_mean", None])
def test_cycles_come_onto_the_first_one(method):
    shifts = [(0, 0), (3, -2), (-4.5, 1)]
    found = align_cycles(
        screen(shifts), ORDER, method, window=1, use_align_within_cycle=False, return_shifts=True
    )
    np.testing.assert_allclose(found.between, shifts, atol=0.5)
    first, rest = found.image[0, :, 10:-10, 10:-10].astype(float), found.image[1:, :, 10:-10, 10:-10]
    assert np.abs(rest - first).mean() < 0.1 * first.std()


def plain_cycles(stack, method, upsample_factor, window, q_norm):
    """The alignment of equal cycles as scikit-image and NumPy do it, one call after the other."""
    aligned = stack.copy()
    for cycle in aligned:
        compared = filter_percentiles(apply_window(cycle[1:], window), 0, 90)
        shifts = plain_shifts(compared, upsample_factor)
        cycle[1:] = [plain_warp(*one) for one in zip(cycle[1:], shifts, strict=True)]
    compared = apply_window(aligned[:, 0], window)
    if method == "sbs_mean":
        brightest = apply_window(aligned[:, 1:], window).max(axis=1)
        compared = np.minimum(brightest / np.percentile(brightest, q_norm, axis=(1, 2))[:, None, None], 1)
    shifts = plain_shifts(compared, upsample_factor)
    for cycle, shift in zip(aligned, shifts, strict=True):
        cycle[:] = [plain_warp(plane, shift) for plane in cycle]
    return aligned


@pytest.mark.parametrize("seed", range(8))
def test_a_whole_alignment_equals_the_plain_one_bit_for_bit(seed):
    random = np.random.default_rng(seed)
    moves = [(0, 0), *(random.integers(-12, 13, (2, 2)) / random.choice([1, 2, 3]))]
    stack = screen(moves, seed)[..., : random.integers(50, 91), : random.integers(50, 102)]
    method = ("DAPI", "sbs_mean")[seed % 2]
    factor, window = int(random.choice([1, 2, 4, 10])), float(random.choice([1, 1.5, 2, 3]))
    q_norm = float(random.choice([50, 70, 95]))
    found = align_cycles(stack, ORDER, method, factor, window, q_norm=q_norm)
    np.testing.assert_array_equal(found, plain_cycles(stack, method, factor, window, q_norm))


def test_a_further_channel_of_one_cycle_is_given_to_all_with_its_own_shift():
    stack = screen([(0, 0), (2, -3), (4, 1)])
    cycles = [stack[0, 1:], stack[1], stack[2, 1:]]
    found = align_cycles(cycles, ORDER, window=1, use_align_within_cycle=False, return_shifts=True)
    assert found.method == "sbs_mean"
    expected = apply_offsets(stack[1, :1], found.between[1:2])[0]
    for cycle in found.image:
        np.testing.assert_array_equal(cycle[0], expected)


def test_a_cycle_is_skipped_with_its_names():
    stack = screen([(0, 0), (2, -3), (4, 1)])
    cycles = [stack[0], stack[1, 1:], stack[2, 1:]]
    names = [ORDER, ORDER[1:], ["C", "A", "T", "G"]]
    found = align_cycles(
        [cycles[0], cycles[1], cycles[2][::-1]],
        ORDER,
        skip_cycles=[1],
        manual_channel_mapping=names,
        manual_background_cycle=0,
    )
    expected = align_cycles(
        [cycles[0], cycles[2]],
        ORDER,
        manual_channel_mapping=[*names[:1], ORDER[1:]],
        manual_background_cycle=0,
    )
    np.testing.assert_array_equal(found, expected)


def test_without_dapi_bases_are_compared():
    stack = screen([(0, 0), (3, -2)])[:, 1:]
    found = align_cycles(stack, ORDER[1:], "DAPI", window=1, use_align_within_cycle=False, return_shifts=True)
    assert found.method == "sbs_mean"
    np.testing.assert_allclose(found.between[1], (3, -2), atol=0.5)


def test_black_and_saturated_cycles_stay_as_they_are():
    for value in (0, 65535):
        stack = np.full((3, 5, 32, 33), value, np.uint16)
        for method in ("DAPI", "sbs_mean"):
            np.testing.assert_array_equal(align_cycles(stack, ORDER, method), stack)


def test_input_is_not_changed():
    stack = screen([(0, 0), (3, -2)])
    before = stack.copy()
    align_cycles(stack, ORDER)
    align_cycles(list(stack), ORDER)
    np.testing.assert_array_equal(stack, before)


def test_all_cycles_that_do_not_fit_are_told_at_once():
    stack = screen([(0, 0)])[0]
    with pytest.raises(InputError) as told:
        align_cycles([stack, stack[:, 1:], stack.astype(float), stack.astype(np.uint8)], ORDER)
    assert [one.where for one in told.value.findings] == ["cycle 2", "cycle 3", "cycle 4"]


@pytest.mark.parametrize(
    "options",
    [
        {"method": "dapi"},
        {"skip_cycles": [0, 1]},
        {"skip_cycles": [5]},
        {"channel_order": ["DAPI", "G"]},
        {"manual_background_cycle": 7},
        {"manual_channel_mapping": [ORDER]},
        {"manual_channel_mapping": [ORDER, ORDER[1:]]},
        {"upsample_factor": 0},
        {"upsample_factor": 1.5},
        {"window": 0.5},
        {"q_norm": 120, "method": "sbs_mean"},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    stack = screen([(0, 0), (1, 1)])
    with pytest.raises((InputError, ParameterError)):
        align_cycles(stack, **{"channel_order": ORDER} | options)
