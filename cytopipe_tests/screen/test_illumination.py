"""Light is measured on many tiles, in the memory of one, and divided out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from skimage.filters import rank
from skimage.morphology import disk

from cytopipe.defs.screen_images import told_of_field
from cytopipe.errors import InputError, ParameterError
from cytopipe.screen.illumination import (
    apply_ic_field,
    calculate_ic_field,
    combine_ic_images,
    rank_median,
    subtract_background,
)
from cytopipe.screen.parameters import IlluminationSettings


def lit(shape, light, random):
    return (light * random.gamma(4, 100, shape)).astype(np.uint16)


def vignette(height=80, width=90):
    y, x = np.mgrid[:height, :width]
    return 1.6 - ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2)


@pytest.mark.filterwarnings("ignore:Bad rank filter performance")
@pytest.mark.parametrize("radius", [1, 2, 5, 9, 40])
@pytest.mark.parametrize("shape", [(31, 47), (1, 20), (17, 1), (24, 24)])
def test_the_median_of_a_disk_equals_scikit_images(shape, radius):
    random = np.random.default_rng(radius)
    for image in (
        random.gamma(2, 300, shape).astype(np.uint16),
        random.integers(0, 65536, shape).astype(np.uint16),
        random.integers(0, 2, shape).astype(np.uint8),
        np.where(random.random(shape) < 0.5, 0, 65535).astype(np.uint16),
        np.full(shape, 65535, np.uint16),
        np.zeros(shape, np.uint16),
        (np.arange(shape[0] * shape[1]).reshape(shape) * 3).astype(np.uint16),
    ):
        np.testing.assert_array_equal(rank_median(image, radius), rank.median(image, disk(radius)))


def test_the_field_is_the_light_and_the_corrected_tiles_are_even():
    random, light = np.random.default_rng(0), vignette()
    tiles = [lit((2, 80, 90), light, random) for _ in range(60)]
    field = calculate_ic_field(tiles)
    inside = np.s_[:, 10:-10, 10:-10]
    expected = np.broadcast_to(light, field.shape)[inside]
    ratio = field[inside] / expected
    assert ratio.std() / ratio.mean() < 0.03
    assert field.min() == 1
    before = np.mean(tiles, axis=(0, 1))
    after = np.mean([apply_ic_field(one, field) for one in tiles], axis=(0, 1))
    corner, middle = np.s_[5:20, 5:20], np.s_[30:50, 35:55]
    assert before[middle].mean() / before[corner].mean() > 1.15
    assert 0.97 < after[middle].mean() / after[corner].mean() < 1.03


def test_one_tile_is_in_memory_at_a_time():
    size = 300

    def tile():
        return np.full((1, size, size), 1000, np.uint16)

    calculate_ic_field([tile], smooth=2)
    tracemalloc.start()
    calculate_ic_field([tile] * 50, smooth=2)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 25 * size * size * 2  # half of what the tiles would take


def test_the_same_seed_samples_the_same_tiles():
    random = np.random.default_rng(0)
    tiles = [lit((1, 20, 20), 1, random) for _ in range(20)]
    asked: list[int] = []

    def lazily(at):
        return lambda: (asked.append(at), tiles[at])[1]

    given = [lazily(at) for at in range(20)]
    fields = [calculate_ic_field(given, sample_fraction=0.3, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(fields[0], fields[1])
    assert asked[:6] == asked[6:12] != asked[12:]
    assert len(asked) == 18
    calculate_ic_field(given, sample_fraction=0.01)
    assert len(asked) == 19


def test_few_tiles_show_cells_and_have_an_even_field():
    random = np.random.default_rng(0)
    tiles = [lit((1, 60, 60), vignette(60, 60), random) for _ in range(5)]
    assert (calculate_ic_field(tiles[:4], fewest_tiles=5) == np.ones((1, 60, 60))).all()
    np.testing.assert_array_equal(calculate_ic_field(tiles, fewest_tiles=5), calculate_ic_field(tiles))


def test_what_is_noted_of_a_field_counts_the_tiles_that_it_is_measured_on():
    settings = IlluminationSettings(sample_fraction=0.25, fewest_tiles=5)
    assert told_of_field(20, settings) == {}
    assert told_of_field(19, settings) == {"field": "1 everywhere: 4 tiles, fewest_tiles is 5"}
    tiles = [np.full((1, 9, 9), 10 * row, np.uint16) for row in range(1, 20)]
    assert (calculate_ic_field(tiles, sample_fraction=0.25, fewest_tiles=5) == 1).all()


def test_black_tiles_have_an_even_field():
    assert (calculate_ic_field([np.zeros((2, 9, 9), np.uint16)] * 3) == 1).all()


def test_a_field_is_refused_that_does_not_fit():
    tile = np.ones((1, 9, 9), np.uint16)
    for tiles in ([], [tile, tile[:, 1:]], [tile, tile.astype(np.uint8)], [tile.astype(float)]):
        with pytest.raises(InputError):
            calculate_ic_field(tiles)
    with pytest.raises(InputError):
        apply_ic_field(np.full((1, 9, 9), -1), np.ones((1, 9, 9)))
    for fraction in (0, 1.1, float("nan")):
        with pytest.raises(ParameterError):
            calculate_ic_field([tile], sample_fraction=fraction)
    for field in (
        np.ones((1, 9, 8)),
        np.zeros((1, 9, 9)),
        np.full((1, 9, 9), np.nan),
        np.full((1, 9, 9), np.inf),
    ):
        with pytest.raises(InputError):
            apply_ic_field(tile, field)


def test_a_field_below_1_does_not_wrap_around():
    image = np.full((1, 4, 4), 60000, np.uint16)
    assert (apply_ic_field(image, np.full((1, 4, 4), 0.5)) == 65535).all()


def test_channels_of_two_images_are_combined_in_every_way():
    first, second = (
        np.arange(n)[:, None, None] * np.ones((1, 2, 2), int) + at for n, at in ((5, 0), (4, 10))
    )
    kinds = [
        ([[0], None], [0, 10, 11, 12, 13]),
        ([0, None], [0, 10, 11, 12, 13]),
        ([[0, 4], [1, 2]], [0, 4, 11, 12]),
        ([None, [3]], [0, 1, 2, 3, 4, 13]),
    ]
    for indices, expected in kinds:
        assert combine_ic_images([first, second], indices)[:, 0, 0].tolist() == expected
    assert combine_ic_images([first, first + 20], [[0], None])[:, 0, 0].tolist() == [0, 21, 22, 23, 24]
    with pytest.raises(InputError) as told:
        combine_ic_images([first, second], [[7], [9]])
    assert len(told.value.findings) == 2
    with pytest.raises(InputError):
        combine_ic_images([first, second[..., 1:]], [[0], None])


def test_a_rolling_ball_takes_the_background_and_leaves_what_is_narrow():
    y, x = np.mgrid[:120, :130]
    image = (2000 + x + y / 2).astype(np.uint16)
    image[60, 60] += 3000
    found = subtract_background(image, radius=20)
    assert found[60, 60] > 2500
    assert np.median(found[10:-10, 10:-10]) < 60
    corrected = apply_ic_field(image[None], np.ones((1, 120, 130)), rolling_ball=True, rolling_ball_radius=20)
    np.testing.assert_array_equal(corrected[0], found)
