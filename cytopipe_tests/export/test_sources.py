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
    "spatialdata": ("whole_cell", "nuclear"),
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


# ---------------------------------------------------------------------- pyramids, cycles, memory


def pyramid_of_others(path, pixels, levels, **how):
    import tifffile

    told = {"axes": "CYX", "Channel": {"Name": ["DNA", "CD3"]}}
    told |= {f"PhysicalSize{axis}": 0.65 for axis in "XY"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=len(levels), metadata=told, photometric="minisblack", tile=(64, 64), **how)
        for level in levels:
            file.write(level, subfiletype=1, photometric="minisblack", tile=(64, 64), **how)


def test_a_downsampled_image_is_read_from_the_level_that_suffices(tmp_path):
    """The levels here hold other numbers than the image, to tell where a pixel came from."""
    image = np.full((2, 201, 160), 1, "u2")
    levels = [np.full((2, 201 // n, 160 // n), n, "u2") for n in (2, 4)]  # incomplete blocks are left out
    pyramid_of_others(tmp_path / "slide.ome.tif", image, levels)
    source = open_source(tmp_path)
    assert source.describe("slide").pixel_size_um == 0.65
    for step, used in ((1, 1), (2, 2), (3, 1), (4, 4), (6, 2), (8, 4)):
        read = source.read("slide", ["CD3"], None, step)
        assert read.shape == (1, -(-201 // step), -(-160 // step))
        assert np.unique(read).tolist() == [used]
    for corner, used in ((4, 4), (2, 2), (1, 1)):  # coarser pixels would lie beside those that are asked for
        assert np.unique(source.read("slide", ["DNA"], (corner, 100, 0, 100), 4)).tolist() == [used]


def test_a_region_of_a_slide_takes_the_memory_of_its_tiles(tmp_path):
    import tracemalloc

    side = 9_000  # 162 MB a channel
    pixels = np.zeros((2, side, side), "u2")
    pixels[1, 5_000:5_100, 7_000:7_100] = np.arange(100)
    pyramid_of_others(tmp_path / "slide.ome.tif", pixels, [], compression="zlib")
    expected = pixels[1:, 4_990:5_110, 6_990:7_110].copy()
    del pixels
    source = open_source(tmp_path)
    source.describe("slide")
    tracemalloc.start()
    read = source.read("slide", ["CD3"], (4_990, 5_110, 6_990, 7_110))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(read, expected)
    assert peak < 8 << 20


def test_the_cycles_of_a_screen_are_channels(tmp_path):
    from cytopipe.storage.formats.image import Image
    from cytopipe.storage.formats.ome_zarr import OME_ZARR

    pixels = np.random.default_rng(0).integers(0, 999, (3, 2, 40, 50), dtype="u2")
    OME_ZARR.write(tmp_path / "tile.ome.zarr", Image(pixels, "TCYX", ("DAPI", "G")))
    source = open_source(tmp_path)
    assert source.describe("tile").channels == ("T1 DAPI", "T1 G", "T2 DAPI", "T2 G", "T3 DAPI", "T3 G")
    np.testing.assert_array_equal(source.read("tile", ["T3 DAPI", "T2 G"]), [pixels[2, 0], pixels[1, 1]])


def test_a_folder_of_plates_and_images_names_each_field_once(tissue, tmp_path):
    import shutil

    plate = write_tissue(tissue, tmp_path / "a", "plate")
    write_tissue(tissue[:1], tmp_path / "b", "ome-zarr")
    shutil.copytree(tmp_path / "b/fov1.ome.zarr", tmp_path / "a/fov1.ome.zarr")
    shutil.copytree(plate, tmp_path / "a/second.ome.zarr")
    source = open_source(tmp_path / "a")
    expected = ("fov1", "plate/A/1/0", "plate/A/2/0", "second/A/1/0", "second/A/2/0")
    assert source.fov_names() == expected
    np.testing.assert_array_equal(source.read("second/A/2/0", ["DNA"])[0], tissue[1].pixels[0])


def test_masks_beside_the_stacks_are_masks_and_no_fields(tissue, tmp_path):
    import shutil

    write_tissue(tissue, tmp_path, "ome-tiff")
    for name in ("fov1_whole_cell", "fov2_whole_cell"):
        shutil.move(tmp_path / f"masks/{name}.ome.tif", tmp_path / f"{name}.tif")
    shutil.rmtree(tmp_path / "masks")
    source = open_source(tmp_path)
    assert source.fov_names() == ("fov1", "fov2")
    np.testing.assert_array_equal(source.mask("fov2", "whole_cell"), tissue[1].labels["whole_cell"])
    alone = open_source(tmp_path / "fov1.ome.tif")
    assert (alone.fov_names(), alone.describe("fov1").masks) == (("fov1",), ("whole_cell",))


def series_store(root, tissue, order):
    """Images of one file as bioformats2raw lays them out: numbered groups, and OME beside them."""
    import json
    import shutil

    for number in order:
        written = write_tissue(tissue, root.parent / f"one{number}", "ome-zarr")
        (image, *_) = sorted(written.glob("*.zarr"))
        root.mkdir(exist_ok=True)
        shutil.copytree(image, root / number)
    group = {"zarr_format": 3, "node_type": "group"}
    layout = {"ome": {"version": "0.5", "bioformats2raw.layout": 3}}
    (root / "zarr.json").write_text(json.dumps(group | {"attributes": layout}))
    (root / "OME").mkdir()
    listed = {"ome": {"version": "0.5", "series": list(order)}}
    (root / "OME/zarr.json").write_text(json.dumps(group | {"attributes": listed}))
    return root


def test_images_of_one_file_are_those_that_it_lists(tissue, tmp_path):
    import json

    root = series_store(tmp_path / "slide.zarr", tissue, ("2", "0"))
    assert open_source(root).fov_names() == ("2", "0")
    assert open_source(root).describe("0").channels == tissue[0].channels
    meta = json.loads((root / "OME/zarr.json").read_text())
    for listed, said in ((["../x"], "cannot be used"), (["0", "1"], "'1', which is not there")):
        meta["attributes"]["ome"]["series"] = listed
        (root / "OME/zarr.json").write_text(json.dumps(meta))
        with pytest.raises(InputError, match=said):
            open_source(root)
    meta["attributes"]["ome"]["series"] = ["0"]
    (root / "OME/zarr.json").write_text(json.dumps(meta))
    assert open_source(root).fov_names() == ("slide",)


def test_cores_of_a_microarray_are_fields_of_view(tmp_path):
    root = tmp_path / "exemplar-002"  # as MCMICRO leaves it: the slide, its cores, a segmentation of each
    pixels = np.random.default_rng(3).integers(0, 900, (2, 40, 50), "u2")
    write(root / "registration/exemplar-002.ome.tif", pixels)
    for core in ("1", "2", "11"):
        write(root / f"dearray/{core}.tif", pixels)
        write(root / f"dearray/masks/{core}_mask.tif", np.ones((40, 50), "u1"))
        write(root / f"segmentation/unmicst-{core}/cell.ome.tif", np.full((40, 50), int(core), "i4"))
    (root / "markers.csv").write_text("cycle,marker_name\n1,DNA_1\n1,CD3\n")
    source = open_source(root)
    assert (source.kind, source.fov_names()) == ("mcmicro", ("1", "2", "11"))
    assert (source.describe("1").channels, source.describe("1").masks) == (("DNA_1", "CD3"), ("cell",))
    assert source.mask("11", "cell").max() == 11
    (root / "markers.csv").write_text("cycle,marker_name\n1,DNA_1\n")
    with pytest.raises(InputError, match=r"another number of channels.*expected 1, as in .*markers.csv"):
        open_source(root).describe("1")


def test_a_store_that_spatialdata_wrote_is_read_as_it_was_written(tmp_path):
    spatialdata = pytest.importorskip("spatialdata", reason="spatialdata is not installed")
    from spatialdata.models import Image2DModel, Labels2DModel
    from spatialdata.transformations import Identity, Scale

    pixels = np.random.default_rng(4).integers(0, 900, (2, 40, 50), "u2")
    labels = np.zeros((40, 50), "i4")
    labels[5:20, 5:30] = 7
    ways = {"fov1": Identity(), "fov2": Scale([0.5, 0.5], axes=("y", "x"))}
    named = {"dims": ("c", "y", "x"), "c_coords": ["DNA", "CD3"], "scale_factors": [2]}
    spatialdata.SpatialData(
        images={f"{fov}_image": Image2DModel.parse(pixels, transformations={fov: way}, **named)
                for fov, way in ways.items()},
        labels={f"{fov}_cells": Labels2DModel.parse(labels, dims=("y", "x"), transformations={fov: way})
                for fov, way in ways.items()},
    ).write(tmp_path / "tissue.zarr")  # fmt: skip
    source = open_source(tmp_path / "tissue.zarr")
    assert (source.kind, source.fov_names()) == ("spatialdata", ("fov1_image", "fov2_image"))
    for fov in source.fov_names():
        np.testing.assert_array_equal(source.read(fov, ["DNA", "CD3"]), pixels)
        np.testing.assert_array_equal(source.mask(fov, "cells"), labels)


@pytest.fixture
def slide(tmp_path):
    """An OME-TIFF with three images of other sizes and channels, one of them a pyramid, two of one name."""
    import tifffile

    random = np.random.default_rng(2)
    images = [random.integers(0, 900, (2, *shape), "u2") for shape in ((64, 96), (48, 40), (32, 32))]
    with tifffile.TiffWriter(tmp_path / "slide.ome.tif", ome=True) as file:
        for at, (name, pixels) in enumerate(zip(("core A", "core B", "core B"), images, strict=True)):
            metadata = {"Name": name, "axes": "CYX", "Channel": {"Name": ["DNA", f"CD{at}"]}}
            metadata |= {"PhysicalSizeX": 0.5 + at, "PhysicalSizeY": 0.5 + at}
            file.write(pixels, metadata=metadata, subifds=1 if at == 0 else 0, tile=(32, 32))
            if at == 0:
                file.write(pixels[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    return tmp_path / "slide.ome.tif", images


def test_the_images_of_an_ome_tiff_are_fields_of_view(slide):
    path, images = slide
    write(path.parent / "masks/core A_cell.tiff", np.ones((64, 96), "i4"))
    source = open_source(path)
    assert source.fov_names() == ("core A", "core B", "core B (2)")
    for at, (name, pixels) in enumerate(zip(source.fov_names(), images, strict=True)):
        info = source.describe(name)
        assert (info.channels, info.shape, info.pixel_size_um) == (
            ("DNA", f"CD{at}"),
            pixels.shape[1:],
            0.5 + at,
        )
        np.testing.assert_array_equal(source.read(name, ["DNA", f"CD{at}"]), pixels)
        np.testing.assert_array_equal(source.read(name, ["DNA"], None, 2)[0], pixels[0, ::2, ::2])
    assert source.describe("core A").masks == ("cell",)
    assert len({source.identity(name, ["DNA"]) for name in source.fov_names()}) == 3


def test_a_folder_says_how_a_file_of_several_images_is_read(slide):
    path, _ = slide
    source = open_source(path.parent)
    with pytest.raises(InputError, match=r"(?s)holds 3 images.*give the file by itself"):
        source.describe("slide")


def test_a_tiff_of_several_images_without_their_names_is_one_clear_error(tmp_path):
    import tifffile

    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(np.zeros((9, 9), "u1"))
        file.write(np.zeros((5, 5), "u2"))
    with pytest.raises(InputError, match="holds 2 images"):
        open_source(tmp_path / "x.tif").describe("x")


def test_labels_of_64_bits_are_read(ark):
    import tifffile

    labels = np.arange(41 * 50, dtype="i8").reshape(41, 50)
    tifffile.imwrite(ark / "segmentation/deepcell_output/fov2_whole_cell.tiff", labels)
    np.testing.assert_array_equal(open_source(ark).mask("fov2", "whole_cell"), labels)


def test_many_threads_read_the_same_pixels(written, tissue):
    from concurrent.futures import ThreadPoolExecutor

    _, path = written
    source = open_source(path)
    fov = source.fov_names()[0]
    boxes = [(y, y + 50, x, x + 40) for y in range(0, 100, 25) for x in range(0, 120, 40)]
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda box: source.read(fov, ["CD45", "DNA"], box), boxes))
    for (y0, y1, x0, x1), part in zip(boxes, parts, strict=True):
        np.testing.assert_array_equal(part, tissue[0].pixels[[2, 0], y0:y1, x0:x1])


# ---------------------------------------------------------------------- the synthetic tissue itself


def test_synthetic_tissue_is_a_function_of_its_seed_and_knows_its_cells():
    first, again, other = (
        make_tissue(seed=s, n_fovs=n, shape=(120, 90)) for s, n in ((1, 2), (1, 1), (2, 1))
    )
    np.testing.assert_array_equal(first[0].pixels, again[0].pixels)
    assert not np.array_equal(first[0].pixels, other[0].pixels)
    field = first[0]
    numbers, areas = np.unique(field.labels["whole_cell"], return_counts=True)
    assert numbers.tolist() == [0, *field.cells["label"]]
    assert areas[1:].tolist() == field.cells["area"].tolist()
    nuclei = field.labels["nuclear"]
    assert (field.labels["whole_cell"][nuclei > 0] == nuclei[nuclei > 0]).all()
    tumour = field.cells[field.cells["cell_type"].str.startswith("tumour")]["label"]
    keratin = field.pixels[field.channels.index("PanCK")]
    inside = np.isin(field.labels["whole_cell"], tumour)
    assert keratin[inside].mean() > 10 * keratin[~inside].mean()
    with pytest.raises(InputError, match="no marker 'CD999'"):
        make_tissue(channels=("CD999",))
