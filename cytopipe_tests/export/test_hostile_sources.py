"""Images of others never take more memory than they may, lead nowhere else, and tell what is wrong."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
import tifffile

from cytopipe.errors import BudgetError, CytopipeError, InputError, ParameterError, RefusedError
from cytopipe.export.sources import KINDS, open_source
from cytopipe.testing.tissue import make_tissue, write_tissue


@pytest.fixture(scope="module")
def tissue():
    return make_tissue(seed=5, n_fovs=1, shape=(150, 130), channels=("DNA", "CD3"))


def written(tissue, folder, layout):
    return write_tissue(tissue, folder, layout)


@pytest.mark.parametrize("codec", ["gzip", "zstd", "blosc", "none"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_that_inflates_without_bound_is_stopped(tissue, tmp_path, codec, zarr_format):
    import json

    import zarr
    from numcodecs import Blosc, GZip, Zstd

    made = {
        ("gzip", 2): GZip(), ("zstd", 2): Zstd(), ("blosc", 2): Blosc(), ("none", 2): None,
        ("gzip", 3): zarr.codecs.GzipCodec(), ("zstd", 3): zarr.codecs.ZstdCodec(),
        ("blosc", 3): zarr.codecs.BloscCodec(), ("none", 3): None,
    }[codec, zarr_format]  # fmt: skip
    root = tmp_path / "x.ome.zarr"
    pixels = zarr.create_array(
        root / "0",
        shape=(2, 64, 64),
        chunks=(1, 32, 32),
        dtype="u2",
        compressors=made,
        zarr_format=zarr_format,
    )
    pixels[:] = np.arange(2 * 64 * 64).reshape(2, 64, 64)
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    multiscales = [{"axes": [{"name": one} for one in "cyx"],
                    "datasets": [{"path": "0", "coordinateTransformations": scale}]}]  # fmt: skip
    if zarr_format == 3:
        head = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"multiscales": multiscales}}}
        (root / "zarr.json").write_text(json.dumps(head))
    else:
        (root / ".zgroup").write_text('{"zarr_format": 2}')
        (root / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))
    source = open_source(root)
    np.testing.assert_array_equal(source.read("x", ["channel 2"], (3, 60, 30, 64)), pixels[1:, 3:60, 30:64])
    of = {"gzip": GZip(), "zstd": Zstd(), "blosc": Blosc(), "none": None}[codec]
    bomb = np.zeros(64 << 20, "u1")
    chunk = root / ("0/c/1/0/0" if zarr_format == 3 else "0/1.0.0")
    chunk.write_bytes(bomb.tobytes() if of is None else bytes(of.encode(bomb)))
    tracemalloc.start()
    with pytest.raises(BudgetError, match="channel 'channel 2' of 'x'"):
        source.read("x", ["channel 2"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert source.read("x", ["channel 1"]).shape == (1, 64, 64)


def test_a_damaged_chunk_fails_its_channel_alone(tissue, tmp_path):
    path = written(tissue, tmp_path, "ome-zarr")
    (tmp_path / "fov1.ome.zarr/0/c/1/0/0").write_bytes(b"damaged chunk, longer than a header")
    source = open_source(path)
    with pytest.raises(CytopipeError, match=r"channel 'CD3' of 'fov1'.*other channels are DNA"):
        source.read("fov1", ["CD3"])
    np.testing.assert_array_equal(source.read("fov1", ["DNA"])[0], tissue[0].pixels[0])


def test_a_link_inside_of_a_store_is_refused(tissue, tmp_path):
    path = written(tissue, tmp_path, "ome-zarr")
    chunk = tmp_path / "fov1.ome.zarr/0/c/0/0/0"
    chunk.unlink()
    chunk.symlink_to("/etc/passwd")
    with pytest.raises(RefusedError, match="symbolic link"):
        open_source(path).read("fov1", ["DNA"])


def test_labels_that_lead_out_of_the_store_are_refused(tissue, tmp_path):
    path = written(tissue, tmp_path, "ome-zarr")
    head = tmp_path / "fov1.ome.zarr/labels/zarr.json"
    head.write_text(head.read_text().replace('"nuclear"', '"../../.."'))
    with pytest.raises(CytopipeError, match="names the path"):
        open_source(path).describe("fov1")


@pytest.mark.parametrize("name", ["..", "../fov1", "/etc", "fov1/../fov1", "fov1\0", ""])
@pytest.mark.parametrize("layout", ["ark", "ome-zarr", "steinbock"])
def test_a_name_that_is_no_field_of_view_opens_nothing(tissue, tmp_path, layout, name):
    source = open_source(written(tissue, tmp_path, layout))
    with pytest.raises(InputError, match="no field of view"):
        source.read(name, ["DNA"])


def test_a_tiff_that_declares_a_tile_of_terabytes_is_refused(tissue, tmp_path):
    path = written(tissue, tmp_path, "ark")
    file = tmp_path / "image_data/fov1/CD3.tiff"
    with tifffile.TiffFile(file) as tiff:
        tags = [
            tiff.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength", "RowsPerStrip")
        ]
        order = tiff.byteorder
    data = bytearray(file.read_bytes())
    for at in tags:
        data[at : at + 2] = (60_000).to_bytes(2, "little" if order == "<" else "big")
    file.write_bytes(data)
    source = open_source(path)
    with pytest.raises(CytopipeError, match="'CD3'"):
        source.read("fov1", ["CD3"])
    with pytest.raises(CytopipeError, match="another size"):
        source.read("fov1", ["DNA", "CD3"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_image_and_does_not_block(tissue, tmp_path):
    path = written(tissue, tmp_path, "ark")
    os.mkfifo(tmp_path / "image_data/fov1/CD8.tiff")
    with pytest.raises(CytopipeError, match="'CD8'"):
        open_source(path).read("fov1", ["CD8"])


def test_a_table_that_does_not_fit_the_image_is_told(tissue, tmp_path):
    path = written(tissue, tmp_path, "steinbock")
    panel = tmp_path / "panel.csv"
    panel.write_text(panel.read_text() + "Xx9,CD8,1,1\n")
    with pytest.raises(InputError, match=r"another number of channels.*expected 3.*found 2"):
        open_source(path).describe("fov1")


def test_a_mask_of_another_size_is_told(tissue, tmp_path):
    path = written(tissue, tmp_path, "ark")
    tifffile.imwrite(tmp_path / "segmentation/deepcell_output/fov1_nuclear.tiff", np.ones((9, 9), "u2"))
    with pytest.raises(InputError, match=r"another size.*expected 150 x 130 px.*found 9 x 9 px"):
        open_source(path).mask("fov1", "nuclear")


def test_a_stack_where_one_channel_is_expected_is_told(tissue, tmp_path):
    path = written(tissue, tmp_path, "ark")
    tifffile.imwrite(tmp_path / "image_data/fov1/CD8.tiff", np.ones((3, 150, 130), "u2"))
    with pytest.raises(InputError, match="more than one channel"):
        open_source(path).read("fov1", ["CD8"])


def test_pixels_that_are_not_square_are_told(tmp_path):
    told = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 1.0}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.ones((2, 30, 30), "u2"), metadata=told, photometric="minisblack"
    )
    with pytest.raises(InputError, match="not square"):
        open_source(tmp_path).describe("a")


def test_what_is_no_source_is_told_with_what_is_read(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match=r"steinbock.*ome-zarr.*ark"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "absent")
    with pytest.raises(ParameterError, match="'czi' is not known"):
        open_source(tmp_path, "czi")
    with pytest.raises(ParameterError, match="pixel size"):
        open_source(tmp_path, "ark", pixel_size_um=-1)
    for kind in ("ark", "ome-tiff", "steinbock", "mcmicro", "ome-zarr", "spatialdata"):
        with pytest.raises(CytopipeError):
            open_source(tmp_path, kind)
        with pytest.raises(CytopipeError):
            open_source(tmp_path / "notes.txt", kind)


@pytest.mark.parametrize("kind", ["steinbock", "mcmicro", "spatialdata", "ome-zarr", "ark"])
def test_a_layout_that_is_not_there_is_told_with_what_it_looks_like(tmp_path, kind):
    (tmp_path / "fov1.tif").write_bytes(b"")
    with pytest.raises(InputError, match=f"is not laid out as {kind}; expected ") as caught:
        open_source(tmp_path, kind)
    assert KINDS[kind] in str(caught.value)
