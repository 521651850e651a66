"""Phenotype channels: the source comes onto the target, riders go with it, known shifts are made first."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import ParameterError
from cytopipe.screen.alignment import apply_offsets
from cytopipe.screen.parameters import PhenotypeAlignmentSettings
from cytopipe.screen.phenotype_alignment import (
    align_phenotype,
    align_phenotype_channels,
    apply_custom_offsets,
)
from cytopipe_tests.screen.test_alignment import cells


def two_rounds():
    """Channel 0 and 1 of one round; 2 shows what 0 shows, and 3 what 1 shows, 4 px up and 6 px left."""
    base = np.stack([cells(seed=1), cells(seed=2)]).astype(np.uint16)
    return np.concatenate([base, apply_offsets(base, [(4, 6)] * 2)])


def test_the_source_and_its_riders_come_onto_the_target():
    aligned = align_phenotype_channels(two_rounds(), 0, 2, [3], window=1)
    inside = np.s_[8:-8, 8:-8]
    np.testing.assert_array_equal(aligned[2][inside], aligned[0][inside])
    np.testing.assert_array_equal(aligned[3][inside], aligned[1][inside])


@pytest.mark.parametrize(("target", "source"), [(0, 2), (2, 0), (1, 3), (3, 1)])
def test_the_source_takes_the_place_of_a_target_that_is_removed(target, source):
    image = two_rounds()
    whole = align_phenotype_channels(image, target, source, window=1)
    order = [source if one == target else one for one in range(4) if one != source]
    found = align_phenotype_channels(image, target, source, window=1, remove_channel="target")
    np.testing.assert_array_equal(found, whole[order])
    found = align_phenotype_channels(image, target, source, window=1, remove_channel="source")
    np.testing.assert_array_equal(found, np.delete(whole, source, axis=0))


def test_a_stack_is_compared_by_its_maximum_and_moved_plane_by_plane():
    image = two_rounds()
    stack = np.stack([image, np.zeros_like(image)])
    expected = align_phenotype_channels(image, 0, 2, window=1)
    np.testing.assert_array_equal(align_phenotype_channels(stack, 0, 2, window=1)[0], expected)


def test_settings_make_custom_offsets_first_and_then_each_step():
    image = two_rounds()
    settings = PhenotypeAlignmentSettings(
        custom_channel_offsets={"1": [2, -3]},
        steps=[
            {"target": 0, "source": 2, "window": 1, "remove_channel": "source"},
            {"target": 1, "source": 2},
        ],
    )
    expected = apply_custom_offsets(image, {1: (2, -3)})
    expected = align_phenotype_channels(expected, 0, 2, window=1, remove_channel="source")
    np.testing.assert_array_equal(align_phenotype(image, settings), align_phenotype_channels(expected, 1, 2))
    assert PhenotypeAlignmentSettings(**settings.as_json()) == settings
    np.testing.assert_array_equal(align_phenotype(image, PhenotypeAlignmentSettings()), image)


@pytest.mark.parametrize(
    "options",
    [
        {"target": 4},
        {"source": -1},
        {"riders": [9]},
        {"source": 0},
        {"riders": [0]},
        {"remove_channel": "both"},
    ],
)
def test_channels_that_do_not_fit_are_refused(options):
    with pytest.raises(ParameterError):
        align_phenotype_channels(two_rounds(), **{"target": 0, "source": 2} | options)


def test_an_offset_for_no_channel_is_refused():
    with pytest.raises(ParameterError):
        apply_custom_offsets(two_rounds(), {4: (1, 1)})
    with pytest.raises(ParameterError, match="custom_channel_offsets"):
        PhenotypeAlignmentSettings(custom_channel_offsets={1: [2]})
