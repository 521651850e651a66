"""Sources of images: every layout gives the same pixels, whatever is asked for and in whichever order."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from cytopipe.errors import InputError, ParameterError
from cytopipe.export.sources import open_source
from cytopipe.testing.tissue import LAYOUTS, make_tissue, write_tissue


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


# ---------------------------------------------------------------------- every layout

MASKS = {
    "ark": ("whole_cell", "nuclear"),
    "ome-tiff": ("whole_cell", "nuclear"),
    "steinbock": ("cell", "nuclear"),
    "mcmicro": ("cell", "nuclei"),
    "ome-zarr": ("whole_cell", "nuclear"),
    "ome-zarr-0.4": ("whole_cell", "nuclear"),
    "plate": ("whole_cell", "nuclear"),
    "spatialdata": ("fov{n}_whole_cell", "fov{n}_nuclear"),
}
NAMES = {"plate": "A/{n}/0", "spatialdata": "fov{n}_image"}
KIND = {"ome-zarr-0.4": "ome-zarr", "plate": "ome-zarr"}
WITHOUT_SIZE = ("spatialdata",)


@pytest.fixture(scope="module")
def tissue():
    return make_tissue(seed=3, n_fovs=2, shape=(150, 170), channels=("DNA", "PanCK", "CD45"))


@pytest.fixture(scope="module", params=LAYOUTS)
def written(request, tissue, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, write_tissue(tissue, folder, request.param)


def test_every_layout_is_recognised_and_describes_the_same_tissue(written, tissue):
    layout, path = written
    source = open_source(path)
    assert source.kind == KIND.get(layout, layout)
    assert source.fov_names() == tuple(NAMES.get(layout, "fov{n}").format(n=n) for n in (1, 2))
    for n, (fov, field) in enumerate(zip(source.fov_names(), tissue, strict=True), 1):
        info = source.describe(fov)
        assert set(info.channels) == set(field.channels)
        assert info.shape == field.pixels.shape[1:]
        assert info.dtype == np.uint16
        assert set(info.masks) == {name.format(n=n) for name in MASKS[layout]}
        assert info.pixel_size_um == (None if layout in WITHOUT_SIZE else 0.5)
        assert open_source(path, pixel_size_um=0.39).describe(fov).pixel_size_um == 0.39


def test_every_layout_gives_the_pixels_and_masks_that_were_written(written, tissue):
    layout, path = written
    source = open_source(path)
    for n, (fov, field) in enumerate(zip(source.fov_names(), tissue, strict=True), 1):
        read = source.read(fov, ["CD45", "DNA"])
        np.testing.assert_array_equal(read, field.pixels[[2, 0]])
        part = source.read(fov, ["PanCK"], (7, 100, 3, 41))
        np.testing.assert_array_equal(part, field.pixels[1:2, 7:100, 3:41])
        for name, truth in zip(MASKS[layout], ("whole_cell", "nuclear"), strict=True):
            mask = source.mask(fov, name.format(n=n))
            np.testing.assert_array_equal(mask, field.labels[truth])
            assert mask.dtype == np.int32


def test_masks_of_a_downsampled_region_are_the_same_in_every_layout(written, tissue):
    """Coarser levels of labels hold pixels of the image, so a pyramid changes nothing."""
    layout, path = written
    source = open_source(path)
    fov, name = source.fov_names()[0], MASKS[layout][0].format(n=1)
    for box in [(0, 150, 0, 170), (8, 101, 4, 59), (3, 50, 1, 170)]:
        for step in (1, 2, 3, 4, 5, 8):
            truth = tissue[0].labels["whole_cell"][box[0] : box[1] : step, box[2] : box[3] : step]
            np.testing.assert_array_equal(source.mask(fov, name, box, step), truth)
            assert source.read(fov, ["DNA"], box, step).shape[1:] == truth.shape


def test_every_layout_is_rendered_alike(written, tissue):
    from cytopipe.export import ArrayField, ChannelStyle, MarkerSet, MaskStyle, render_fov_to_array

    layout, path = written
    source = open_source(path)
    shown = MarkerSet("m", (ChannelStyle("DNA", (0, 0, 1), 0, 500), ChannelStyle("CD45", (0, 1, 0), 0, 300)))
    name = MASKS[layout][0].format(n=1)
    truth = tissue[0]
    images = dict(zip(truth.channels, truth.pixels, strict=True))
    held = ArrayField("fov1", images, {name: truth.labels["whole_cell"]})
    for_both = {"overlays": [MaskStyle(name, (1.0, 1.0, 1.0))]}
    drawn = render_fov_to_array(source.field(source.fov_names()[0]), shown, **for_both)
    np.testing.assert_array_equal(drawn, render_fov_to_array(held, shown, **for_both))


def test_the_stamp_of_every_layout_holds_until_pixels_change(written, tissue, tmp_path):
    import shutil

    _, path = written
    copy = tmp_path / path.name
    shutil.copytree(path, copy, copy_function=shutil.copy2)
    source = open_source(copy)
    fov = source.fov_names()[0]
    before = source.identity(fov, ["DNA"])
    assert before == open_source(copy).identity(fov, ["DNA"])
    assert before != source.identity(fov, ["CD45"])
    changed = source._of(fov).channels["DNA"].path
    if changed.is_dir():
        changed = next(one for one in sorted(changed.rglob("*")) if one.is_file() and "json" not in one.name)
    changed.write_bytes(changed.read_bytes() + b" ")
    assert source.identity(fov, ["DNA"]) != before
