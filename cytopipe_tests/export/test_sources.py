"""Sources of images: every layout gives the same pixels, whatever is asked for and in whichever order."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from cytopipe.errors import InputError, ParameterError
from cytopipe.export.sources import open_source


def write(path, pixels):
    import tifffile

    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, compression="zlib")


@pytest.fixture
def ark(tmp_path):
    random = np.random.default_rng(1)
    for fov in ("fov1", "fov1_b", "fov10", "fov2"):
        for marker in ("CD8", "CD3"):
            write(tmp_path / f"image_data/{fov}/{marker}.tiff", random.random((41, 50), "f4"))
    masks = tmp_path / "segmentation/deepcell_output"
    write(masks / "fov1_whole_cell.tiff", np.arange(41 * 50, dtype="i4").reshape(1, 41, 50))
    write(masks / "fov1_b_nuclear.tiff", np.ones((41, 50), "f4"))
    return tmp_path


def test_an_ark_folder_has_its_fields_channels_and_masks(ark):
    source = open_source(ark, pixel_size_um=0.39)
    info = source.describe("fov1")
    assert source.kind == "ark"
    assert source.fov_names() == ("fov1", "fov1_b", "fov2", "fov10")
    assert (info.channels, info.masks, info.shape) == (("CD3", "CD8"), ("whole_cell",), (41, 50))
    assert (info.pixel_size_um, info.dtype) == (0.39, np.float32)
    assert source.describe("fov1_b").masks == ("nuclear",)


def test_a_region_is_every_nth_pixel_of_the_channels_that_are_asked_for(ark):
    source = open_source(ark)
    whole = source.read("fov2", ["CD8", "CD3"])
    part = source.read("fov2", ["CD3"], (3, 20, 5, 31), 4)
    np.testing.assert_array_equal(part[0], whole[1, 3:20:4, 5:31:4])
    mask = source.mask("fov1", "whole_cell", (3, 20, 5, 31), 4)
    np.testing.assert_array_equal(mask, np.arange(41 * 50).reshape(41, 50)[3:20:4, 5:31:4])
    assert mask.dtype == np.int32


def test_what_does_not_exist_is_an_error_that_names_what_does(ark):
    source = open_source(ark)
    with pytest.raises(InputError, match="fov1, fov1_b, fov2, fov10"):
        source.read("fov3", ["CD3"])
    with pytest.raises(InputError, match=r"'CD4'.*CD3, CD8"):
        source.read("fov1", ["CD4", "CD3"])
    with pytest.raises(InputError, match=r"no mask 'nuclear'.*whole_cell"):
        source.mask("fov1", "nuclear")


def test_a_corrupt_channel_fails_alone_and_names_the_others(ark):
    (ark / "image_data/fov1/CD8.tiff").write_bytes(b"II*\0garbage")
    source = open_source(ark)
    assert source.read("fov1", ["CD3"]).shape == (1, 41, 50)
    with pytest.raises(InputError, match=r"channel 'CD8' of 'fov1'.*other channels are CD3"):
        source.read("fov1", ["CD8"])


def test_a_box_outside_of_the_field_is_refused(ark):
    source = open_source(ark)
    for box in [(0, 42, 0, 50), (-1, 5, 0, 5), (5, 5, 0, 5)]:
        with pytest.raises(ParameterError, match="rows within 0 to 41"):
            source.read("fov1", ["CD3"], box)
    with pytest.raises(ParameterError, match="1 or more"):
        source.read("fov1", ["CD3"], None, 0)


def test_probabilities_are_no_mask(ark):
    write(ark / "segmentation/deepcell_output/fov2_whole_cell.tiff", np.full((41, 50), 0.25, "f4"))
    with pytest.raises(InputError, match=r"is no mask of cells.*found 0.25"):
        open_source(ark).mask("fov2", "whole_cell")


def test_the_stamp_changes_with_the_files_it_is_asked_about_and_no_others(ark):
    source = open_source(ark)
    before = source.identity("fov1", ["CD3"]), source.identity("fov1", ["CD8"], ["whole_cell"])
    write(ark / "image_data/fov1/CD3.tiff", np.zeros((41, 50), "f4"))
    after = source.identity("fov1", ["CD3"]), source.identity("fov1", ["CD8"], ["whole_cell"])
    assert before[0] != after[0]
    assert before[1] == after[1]
    assert source.read("fov1", ["CD3"]).max() == 0


def test_a_source_can_be_sent_to_another_process(ark):
    source = open_source(ark)
    source.read("fov1", ["CD3"])
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.read("fov1", ["CD3"]), source.read("fov1", ["CD3"]))
