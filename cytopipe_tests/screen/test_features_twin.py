"""Measurements of all objects at once equal those of one object after the other, whatever the objects."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest

from cytopipe.screen.features import measure
from cytopipe_tests.parity import Outcome
from cytopipe_tests.parity.screen import GoldenCase
from cytopipe_tests.parity.screen_features import COMPARE
from cytopipe_tests.screen.label_images import INTENSITIES, SHAPES, image_of, labels_of

pytest.importorskip("mahotas")

CHANNELS = ["DNA", "ER", "actin"]


@pytest.mark.parametrize(("shapes", "intensities"), list(itertools.product(SHAPES, INTENSITIES)))
def test_all_at_once_equals_one_after_the_other(shapes, intensities):
    labels = labels_of(shapes, 7)
    assert_equals_its_twin(image_of(intensities, labels.shape, 8), labels, CHANNELS)


def test_real_nuclei_are_measured_as_one_after_the_other(real_data):
    import tifffile

    image, labels = (
        tifffile.imread(real_data / f"screen/stardist_nuclei_{one}2d.tif") for one in ("img", "mask")
    )
    assert_equals_its_twin(image[None].astype(np.uint16), labels, ["DNA"])


@pytest.mark.parametrize(
    "column",
    ["nucleus_zernike_2_0", "cell_DAPI_weighted_hu_moments_0", "cell_WGA_haralick_5_3", "cell_max_feret_r0"],
)
def test_the_comparison_with_the_reference_finds_a_value_that_is_off_by_3_millionths(
    golden, tmp_path, column
):
    import pandas as pd

    folder = golden / "screen"
    cases = json.loads((folder / "manifest.json").read_text())["cases"]
    entry = next(one for one in cases if one["case"] == "phenotype_cp")
    table = pd.read_parquet(folder / entry["tables"]["out_t"]).astype({column: float})
    table.loc[3, column] *= 1 + 3e-6
    shutil.copy(folder / "phenotype_cp.npz", tmp_path)
    table.to_parquet(tmp_path / entry["tables"]["out_t"])
    case = GoldenCase.of(tmp_path, entry)
    verdict = COMPARE[case.function](case)
    assert verdict.outcome is Outcome.FAILS
    assert column in verdict.detail


def assert_equals_its_twin(image, labels, channels):
    from cytopipe_tests.screen.one_by_one import measure_one_by_one

    ours = measured(image, labels, channels)
    plain = measure_one_by_one(image, labels, channels)
    beside = [name for name in ours if "neighbor" in name or "touching" in name]
    assert list(ours.drop(columns=beside)) == list(plain)
    assert list(ours.index) == list(plain.index)
    for name in plain:
        one, other = ours[name].to_numpy(float), plain[name].to_numpy(float)
        if "_feret_r" in name or "_feret_c" in name:
            continue
        if name == "orientation":  # a quarter turn has either sign
            one, other = np.exp(2j * one), np.exp(2j * other)
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9, err_msg=name)
    assert_corners_are_at_the_feret_diameters(ours)


def assert_corners_are_at_the_feret_diameters(table):
    """Several pairs of corners may be equally far apart; the named one is at that distance."""
    apart = np.hypot(table.max_feret_r0 - table.max_feret_r1, table.max_feret_c0 - table.max_feret_c1)
    np.testing.assert_allclose(apart, table.max_feret_diameter)
    across = np.hypot(table.min_feret_r0 - table.min_feret_r1, table.min_feret_c0 - table.min_feret_c1)
    assert (across.dropna() >= table.min_feret_diameter.dropna() * (1 - 1e-12)).all()


def measured(image, labels, channel_names, **settings):
    """The table of one compartment, by label, without its name."""
    table = measure(
        image, labels, None, channel_names=channel_names, plate="1", well="A1", tile="1", **settings
    )
    table = table.set_index("label").drop(columns=["plate", "well", "tile"])
    return table.rename(columns=lambda name: name.removeprefix("nucleus_"))
