"""Peaks become rows of intensities, each with the cell it lies in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.bases import extract_bases, labels_near, threshold_of
from cytopipe.screen.cells import cells_of
from cytopipe.screen.filters import compute_standard_deviation, find_peaks, log_filter, max_filter
from cytopipe.screen.parameters import LibrarySettings
from cytopipe.screen.reads import call_reads
from cytopipe.testing.screens import make_screen, score_calls

PLACE = {"well": "A1", "tile": 2, "plate": 1}


def tile(shape=(12, 15), cycles=3, seed=0):
    random = np.random.default_rng(seed)
    peaks = np.where(random.random(shape) < 0.1, random.uniform(50, 500, shape), 0)
    maxed = random.integers(0, 1000, (cycles, 4, *shape)).astype(np.uint16)
    return peaks, maxed, random.integers(0, 3, shape).astype(np.uint16)


def row_by_row(peaks, maxed, cells, threshold, bases):
    rows = []
    for read, (i, j) in enumerate(np.argwhere(peaks > threshold)):
        for cycle in range(len(maxed)):
            rows += [
                (read, cycle + 1, base, maxed[cycle, c, i, j], cells[i, j], i, j)
                for c, base in enumerate(bases)
            ]
    table = pd.DataFrame(rows, columns=["read", "cycle", "channel", "intensity", "cell", "i", "j"])
    return table.sort_values(["cell", "read", "cycle"], kind="stable").reset_index(drop=True)


def test_rows_are_those_of_a_plain_loop():
    peaks, maxed, cells = tile()
    made = extract_bases(peaks, maxed, cells, 100, PLACE, "GTAC")
    expected = row_by_row(peaks, maxed, cells, 100, "GTAC")
    assert made.columns.tolist() == [*expected.columns, "plate", "tile", "well"]
    pd.testing.assert_frame_equal(made[expected.columns], expected, check_dtype=False)
    assert made["cell"].dtype == np.uint16 and made["intensity"].dtype == np.uint16


def test_a_peak_at_the_threshold_is_no_read():
    peaks, maxed, cells = tile()
    assert extract_bases(peaks, maxed, cells, peaks.max(), PLACE)["read"].nunique() == 0


def test_no_peak_gives_the_same_columns_without_rows():
    peaks, maxed, cells = tile()
    none, some = (extract_bases(one, maxed, cells, 100, PLACE) for one in (peaks * 0, peaks))
    assert len(none) == 0 and none.columns.tolist() == some.columns.tolist()
    assert none.dtypes.drop(["plate", "tile"]).equals(some.dtypes.drop(["plate", "tile"]))


def test_one_cycle_may_come_without_its_axis():
    peaks, maxed, cells = tile(cycles=1)
    left, right = (extract_bases(peaks, one, cells, 100, PLACE) for one in (maxed, maxed[0]))
    pd.testing.assert_frame_equal(left, right)


def test_images_that_do_not_fit_are_told_at_once():
    peaks, maxed, cells = tile()
    with pytest.raises(InputError) as caught:
        extract_bases(peaks, maxed[:, :3], cells[:5].astype(float), 100, PLACE)
    assert [one.what.split()[0] for one in caught.value.findings] == ["intensities", "images", "labels"]


@pytest.mark.parametrize("margin", [0, 1, 2, 5])
def test_a_read_beside_a_cell_belongs_to_the_nearest_one_within_the_margin(margin):
    random = np.random.default_rng(margin)
    labels = np.where(random.random((20, 25)) < 0.03, random.integers(1, 9, (20, 25)), 0)
    i, j = np.indices(labels.shape).reshape(2, -1)
    found = labels_near(labels, i, j, margin)
    at = np.argwhere(labels > 0)
    for y, x, label in zip(i, j, found, strict=True):
        square = ((at - (y, x)) ** 2).sum(axis=1)
        near = at[square == square.min()]
        assert label in ({labels[tuple(one)] for one in near} if square.min() <= margin**2 else {0})


def test_the_threshold_is_the_one_that_parts_logarithms_of_heights_best():
    random = np.random.default_rng(3)
    image = np.zeros((20, 20))
    image.flat[:60] = random.permutation(np.r_[random.uniform(1, 9, 45), random.uniform(40, 900, 15)])
    height = np.log(np.sort(image[image > 0]))

    def apart(k: int) -> float:
        return k * (60 - k) * (height[k:].mean() - height[:k].mean()) ** 2

    found = threshold_of(image)
    assert np.isclose(np.log(found), height[max(range(1, 60), key=apart) - 1])
    assert (image > found).sum() == 15
    assert threshold_of(image[:, ::-1]) == threshold_of(image.T) == found


def test_the_threshold_goes_with_the_brightness_of_the_image():
    peaks, _, _ = tile()
    assert threshold_of(8 * peaks) == 8 * threshold_of(peaks) > 0


@pytest.mark.parametrize("height", [0, 7])
def test_an_image_with_no_two_heights_has_no_threshold(height):
    peaks = np.zeros((9, 9))
    peaks[2::4, 2::4] = height
    assert threshold_of(peaks) == 0


def test_the_threshold_finds_dim_spots_that_a_fixed_one_loses():
    """Of the median path, in a dim and in a bright screen: from which peaks cells are read right."""
    right = {}
    for preset in ("easy", "dim"):
        screen = make_screen(preset, 41, tile_grid=(1, 1), tile_size=256, n_barcodes=150)
        images, (_, labels) = screen.aligned_tile("A1", 0), screen.label_tile("A1", 0)
        filtered = log_filter(images, sigma=1, skip_index=[0])
        peaks = find_peaks(compute_standard_deviation(filtered, remove_index=[0]))
        for threshold in (400.0, threshold_of(peaks)):
            maxed = max_filter(filtered, remove_index=[0])
            reads = call_reads(extract_bases(peaks, maxed, labels, threshold, PLACE), peaks, cycles=9)
            cells = cells_of(reads, screen.library, None, LibrarySettings(barcode_column="barcode"))
            cells["cell_barcode_0"] = cells["cell_barcode_0"].where(cells["mapped_0"], None)
            score = score_calls(cells.assign(tile=0), screen.cells_of_tile("A1", 0))
            right[preset, threshold == 400.0] = score["right"]
    assert right["easy", False] >= max(98, right["easy", True])
    assert right["dim", False] >= 70 > 5 >= right["dim", True]
