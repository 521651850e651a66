"""Cycles and channels are brought onto each other to a fraction of a pixel, and pixels interpolated once."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.interpolation import moments, sums_at, warp_cubic, warp_linear
from cytopipe.screen.parameters import CycleAlignmentSettings
from cytopipe.screen.registration import register_cycles, resample
from cytopipe.testing.screens import make_screen


def true_transforms(screen, well="A1", tile=0):
    """(T, 4, 2, 3), from the first base channel of the first cycle to each base plane."""
    centre, apart = (screen.tile_size - 1) / 2, screen.chemistry["chromatic"]
    cycles = screen.cycles[(screen.cycles["well"] == well) & (screen.cycles["tile"] == tile)]
    out = np.zeros((len(cycles), 4, 2, 3))
    for t, (dy, dx, degrees, scale) in enumerate(cycles[["dy", "dx", "degrees", "scale"]].to_numpy()):
        turn = np.deg2rad(degrees)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        for b in range(4):
            out[t, b, :, :2] = matrix
            out[t, b, :, 2] = matrix @ (-centre - apart[1]) + centre + (dy, dx) + apart[1 + b]
    return out


def errors(transforms, truth, size):
    """Distances in px, (planes, places)."""
    line = np.linspace(20, size - 20, 6)
    places = np.array([(row, col, 1) for row in line for col in line])
    off = (transforms - truth).reshape(-1, 2, 3) @ places.T
    return np.hypot(off[:, 0], off[:, 1])


@pytest.fixture(scope="module")
def shifted():
    screen = make_screen("shifts", seed=31, tile_grid=(1, 1), tile_size=320, cycles=6, n_barcodes=100)
    return screen.sbs_tile("A1", 0), true_transforms(screen)


@pytest.mark.parametrize("preset", ["mixed", "shifts"])
def test_planes_lie_on_each_other_to_a_tenth_of_a_pixel(preset):
    screen = make_screen(preset, seed=57, tile_grid=(1, 1))
    found = register_cycles(screen.sbs_tile("A1", 0))
    off = errors(found.transforms[:, 1:], true_transforms(screen), screen.tile_size)
    assert found.registered.all()
    assert np.median(off) <= 0.10
    assert np.percentile(off, 95) <= 0.25
    assert np.median(off, axis=1).max() < 0.5


def test_rotation_and_scale_of_a_seated_plate_are_found():
    screen = make_screen(
        "easy",
        seed=3,
        tile_grid=(1, 1),
        tile_size=320,
        cycles=4,
        n_barcodes=100,
        rotation=0.4,
        scale=0.004,
        chromatic=0.8,
    )
    off = errors(register_cycles(screen.sbs_tile("A1", 0)).transforms[:, 1:], true_transforms(screen), 320)
    assert np.percentile(off, 95) <= 0.2


@pytest.mark.parametrize("dapi", ["everywhere", "first cycle only"])
def test_a_cycle_tens_of_pixels_away_is_found(dapi):
    screen = make_screen("easy", seed=5, tile_grid=(1, 1), tile_size=480, cycles=4, n_barcodes=100, shift=0.5)
    images, truth = screen.sbs_tile("A1", 0), true_transforms(screen)
    cycles = [one[:, 60:420, 60:420] for one in images]
    cycles[1] = images[1][:, 105:465, 8:368]
    corners = np.array([[60, 60], [105, 8], [60, 60], [60, 60]])
    truth[..., 2] += truth[..., :2] @ (60, 60) - corners[:, None]
    if dapi != "everywhere":
        cycles[1:] = [one[1:] for one in cycles[1:]]
    found = register_cycles(cycles)
    assert np.percentile(errors(found.transforms[:, 1:], truth, 360), 95) <= 0.2
    made = resample(cycles, found)
    assert made.shape == (4, 5, 360, 360)
    assert made.dtype == np.uint16
    if dapi != "everywhere":
        assert (made[:, 0] == cycles[0][0]).all()


def test_any_cycle_can_be_the_reference(shifted):
    images, truth = shifted
    found = register_cycles(images, CycleAlignmentSettings(reference_cycle=4))
    np.testing.assert_allclose(found.transforms[3, 1], np.eye(3)[:2], atol=1e-9)
    whole = np.concatenate([truth, np.broadcast_to([[[0, 0, 1.0]]], (6, 4, 1, 3))], axis=2)
    moved = (whole @ np.linalg.inv(whole[3, 0]))[:, :, :2]
    assert np.percentile(errors(found.transforms[:, 1:], moved, 320), 95) <= 0.2


def test_resampled_spots_lie_on_each_other(shifted):
    images, _ = shifted
    found = register_cycles(images)
    again = register_cycles(resample(images, found))
    identity = np.broadcast_to(np.eye(3)[:2], again.transforms[:, 1:].shape)
    assert np.median(errors(again.transforms[:, 1:], identity, 320)) < 0.05
    table = found.residuals[found.residuals["channel"] > 0]
    assert len(found.residuals) == 30
    assert table["median_px"].max() < 0.5
    inside = found.coverage((512, 320))
    assert 0.8 < inside.mean() < 1
    assert not inside[0].all()


def test_planes_that_move_alone_are_followed():
    screen = make_screen("easy", seed=8, tile_grid=(1, 1), tile_size=320, cycles=5, n_barcodes=100)
    images, truth = screen.sbs_tile("A1", 0), true_transforms(screen)
    rng = np.random.default_rng(1)
    for t in range(5):
        for b in range(t == 0, 4):
            move = rng.normal(0, 0.3, 2)
            matrix = np.eye(3)[:2] - np.c_[np.zeros((2, 2)), move]
            images[t, 1 + b] = np.rint(warp_cubic(images[t, 1 + b].astype(np.float32), matrix)).clip(0)
            truth[t, b, :, 2] += move
    off = errors(register_cycles(images).transforms[:, 1:], truth, 320)
    assert np.median(off) < 0.1
    assert np.median(off, axis=1).max() < 0.3


def test_translation_fits_shifts_only(shifted):
    found = register_cycles(shifted[0], CycleAlignmentSettings(model="translation"))
    np.testing.assert_array_equal(found.transforms[..., :2], np.broadcast_to(np.eye(2), (6, 5, 2, 2)))


@pytest.mark.parametrize("kind", ["noise", "zeros", "hot"])
def test_an_empty_tile_stays_where_it_is_and_says_so(kind):
    images = np.zeros((3, 5, 200, 220), np.uint16)
    if kind == "noise":
        images[:] = np.random.default_rng(0).poisson(300, images.shape)
    if kind == "hot":
        images[:, :, 100, 110] = 65535
    found = register_cycles(images)
    if kind != "hot":
        assert not found.registered[1:].any()
    np.testing.assert_allclose(found.transforms, np.broadcast_to(np.eye(3)[:2], (3, 5, 2, 3)), atol=0.1)
    if kind != "hot":
        assert (resample(images, found) == images).all()


def test_a_lost_cycle_does_not_harm_the_others(shifted):
    images, truth = shifted[0].copy(), shifted[1]
    images[2] = np.random.default_rng(0).poisson(400, images[2].shape)
    found = register_cycles(images)
    assert found.registered.tolist() == [True, True, False, True, True, True]
    rest = [0, 1, 3, 4, 5]
    assert np.percentile(errors(found.transforms[rest, 1:], truth[rest], 320), 95) <= 0.2


def test_the_same_images_give_the_same_bytes(shifted):
    one, two = register_cycles(shifted[0]), register_cycles(shifted[0])
    assert one.transforms.tobytes() == two.transforms.tobytes()


def test_a_single_cycle_is_its_own_reference(shifted):
    found = register_cycles(shifted[0][:1])
    assert (resample(shifted[0][:1], found) == shifted[0][:1]).all()


def test_all_faults_are_told_at_once():
    cycles = [
        np.zeros((5, 20, 20), np.uint16),
        np.zeros((3, 20, 21), np.uint16),
        np.zeros((4, 20), np.uint16),
    ]
    with pytest.raises(InputError) as caught:
        register_cycles(cycles, CycleAlignmentSettings(reference_cycle=9))
    assert len(caught.value.findings) == 4
    with pytest.raises(InputError, match="no DAPI"):
        register_cycles([np.ones((5, 40, 40)), np.ones((4, 40, 40))], CycleAlignmentSettings(method="DAPI"))


def cubic_plain(image, y, x):
    """Keys' cubic, tap by tap."""
    value = 0.0
    for r in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
        for c in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
            weight = 1.0
            for d in (abs(y - r), abs(x - c)):
                near = 1.5 * d**3 - 2.5 * d**2 + 1
                far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
                weight *= near if d <= 1 else far if d < 2 else 0.0
            value += weight * image[np.clip(r, 0, len(image) - 1), np.clip(c, 0, image.shape[1] - 1)]
    return value


def test_kernels_equal_their_plain_twins():
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng(4)
    image = rng.random((23, 19), np.float32)
    matrix = np.array([[1.01, -0.03, 1.7], [0.03, 1.01, -2.2]])
    rows, cols = np.indices(image.shape)
    at = np.stack([matrix[k, 0] * rows + matrix[k, 1] * cols + matrix[k, 2] for k in range(2)])
    inside = (at >= -0.5).all(axis=0) & (at[0] <= 22.5) & (at[1] <= 18.5)
    plain = np.array([[cubic_plain(image, *at[:, r, c]) for c in range(19)] for r in range(23)])
    np.testing.assert_allclose(warp_cubic(image, matrix), np.where(inside, plain, 0), atol=2e-6)
    linear = map_coordinates(image.astype(float), at, order=1, mode="nearest")
    np.testing.assert_allclose(warp_linear(image, matrix), np.where(inside, linear, 0), atol=1e-6)
    points, columns = rng.uniform(3, 15, (40, 2)), rng.normal(size=(40, 5))
    values = [cubic_plain(image, *(matrix @ (*point, 1))) for point in points]
    squares, sums = sums_at(image, matrix, points, columns)
    np.testing.assert_allclose(squares, np.square(values).sum())
    np.testing.assert_allclose(sums, columns.T @ values)
    np.testing.assert_allclose(moments(columns), columns.T @ columns)
