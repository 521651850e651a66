"""The renderers against a slow plain twin, on borders, and with what is not there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.errors import InputError
from cytopipe.export import (
    ArrayField,
    CellColours,
    ChannelStyle,
    MarkerSet,
    MaskStyle,
    render_crop_to_array,
    render_fov_to_array,
)
from cytopipe.export.render.pictures import painted_layers

RED, GREEN, YELLOW = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0)
MARKERS = MarkerSet("two", (ChannelStyle("DNA", RED, 10, 200), ChannelStyle("CD3", (0.2, 0.9, 0.4), 0, 300)))


def field(seed: int, height: int = 40, width: int = 50) -> ArrayField:
    random = np.random.default_rng(seed)
    images = {name: random.integers(0, 400, (height, width)).astype(np.uint16) for name in ("DNA", "CD3")}
    labels = np.kron(random.integers(0, 6, (height // 5, width // 5)), np.ones((5, 5), int)).astype(np.int32)
    return ArrayField("fov1", images, {"cell": labels})


def plain_outline(labels: np.ndarray, of: int, thickness: int) -> np.ndarray:
    """Pixels of one label beside another one, spread to four neighbours pixel by pixel."""
    height, width = labels.shape
    near = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def inside(y, x):
        return 0 <= y < height and 0 <= x < width

    drawn = {
        (y, x)
        for y in range(height)
        for x in range(width)
        if labels[y, x] == of
        and any(inside(y + dy, x + dx) and labels[y + dy, x + dx] != of for dy, dx in near)
    }
    for _ in range(thickness - 1):
        drawn |= {
            (y, x)
            for y in range(height)
            for x in range(width)
            if any(one in drawn for one in reached_from(y, x, height, width))
        }
    shown = np.zeros(labels.shape, bool)
    for y, x in drawn:
        shown[y, x] = True
    return shown


def reached_from(y: int, x: int, height: int, width: int) -> list[tuple[int, int]]:
    """Neighbours from which an outline spreads to a pixel: four, and on the border only those inside."""
    inward = []
    if y in (0, height - 1):
        inward.append((1 if y == 0 else height - 2, x))
    if x in (0, width - 1):
        inward.append((y, 1 if x == 0 else width - 2))
    return inward or [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), thickness=st.integers(1, 3))
def test_outlines_of_cells_are_those_of_a_plain_loop_and_the_higher_label_wins(seed, thickness):
    labels = field(seed).labels["cell"]
    cells = [1, 2, 4]
    style = CellColours("cell", dict.fromkeys(cells, RED), thickness_px=thickness)
    (layer,) = painted_layers(labels, style, 1)
    expected = np.zeros(labels.shape, int)
    for number, of in enumerate(cells, 1):
        expected[plain_outline(labels, of, thickness)] = number
    assert np.array_equal(layer.index, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), step=st.integers(1, 4))
def test_channels_add_up_as_in_plain_numpy(seed, step):
    fov = field(seed)
    total = np.zeros((*fov.shape, 3), np.float32)
    for one in MARKERS.channels:
        level = (fov.images[one.channel].astype(np.float32) - np.float32(one.low)) / np.float32(
            one.high - one.low
        )
        total += np.clip(level, 0, 1)[..., None] * np.asarray(one.colour, np.float32)
    expected = np.clip(total, 0, 1)[::step, ::step]
    made = render_fov_to_array(fov, MARKERS, step, dtype=np.float32)
    assert np.array_equal(made, expected)
    assert np.array_equal(render_fov_to_array(fov, MARKERS, step), (expected * 255).astype(np.uint8))


@settings(max_examples=30, deadline=None)
@given(x=st.integers(-30, 80), y=st.integers(-30, 70), half=st.integers(1, 20), step=st.integers(1, 3))
def test_a_padded_crop_always_has_its_size(x, y, half, step):
    made = render_crop_to_array(field(1), MARKERS, (x, y), 2 * half, step, padding=(0, 0, 0))
    side = -(-2 * half // step)
    assert made.shape == (side, side, 3)


def test_image_and_mask_of_a_downsampled_crop_are_sampled_at_the_same_pixels():
    """The reference starts the mask elsewhere, so that outlines shift."""
    fov = field(2)
    style = MaskStyle("cell", YELLOW, mode="fill")
    whole = render_fov_to_array(fov, MARKERS, overlays=[style])
    crop = render_crop_to_array(fov, MARKERS, (21, 17), 20, 3, overlays=[style])
    assert np.array_equal(crop, whole[7:27:3, 11:31:3])


def test_a_missing_channel_or_mask_names_those_that_are_there():
    other = MarkerSet("x", (ChannelStyle("CD8", RED, 0, 1),))
    with pytest.raises(InputError, match=r"no channel 'CD8'.*DNA, CD3"):
        render_fov_to_array(field(0), other)
    with pytest.raises(InputError, match=r"no mask 'nucleus'.*cell"):
        render_fov_to_array(field(0), MARKERS, overlays=[MaskStyle("nucleus", RED)])


def test_equal_limits_show_everything_above_them():
    flat = MarkerSet("flat", (ChannelStyle("DNA", GREEN, 50, 50),))
    fov = field(3)
    made = render_fov_to_array(fov, flat)[..., 1]
    assert np.array_equal(made == 255, fov.images["DNA"] > 50)
