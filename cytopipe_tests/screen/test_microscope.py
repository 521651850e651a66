"""Files of a microscope become images and a table of what was acquired; what does not fit is told clearly."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tifffile

from cytopipe.errors import CytopipeError, InputError
from cytopipe.screen.microscope import MicroscopeFile, acquisitions, check_acquisitions, convert
from cytopipe_tests.screen.nd2_file import write_nd2

NAMES = ["DAPI", "G", "T", "A"]


@pytest.fixture
def pixels():
    """(P, Z, C, Y, X)"""
    return np.random.default_rng(0).integers(0, 65536, (3, 2, 4, 17, 23)).astype(np.uint16)


@pytest.fixture
def nd2(tmp_path, pixels):
    path = tmp_path / "run.nd2"
    write_nd2(path, pixels, [(10.0, -20.5), (11.0, 21.0), (12.25, 22.0)], 0.325, NAMES)
    return path


@pytest.fixture
def ome(tmp_path, pixels):
    path = tmp_path / "run.ome.tiff"
    n = pixels[0].shape[0] * pixels[0].shape[1]
    metadata = {
        "axes": "ZCYX",
        "Channel": {"Name": NAMES},
        "PhysicalSizeX": 0.5,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": 0.6,
        "PhysicalSizeYUnit": "µm",
        "Plane": {"PositionX": [1.5] * n, "PositionXUnit": ["mm"] * n, "PositionY": [-2.0] * n,
                  "PositionYUnit": ["µm"] * n},
    }  # fmt: skip
    tifffile.imwrite(path, pixels[0], metadata=metadata, ome=True, photometric="minisblack")
    return path


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_nd2_is_projected_over_depth(nd2, pixels, position):
    image = convert([MicroscopeFile(nd2, position=position)])
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, pixels[position].max(axis=0))


def test_an_ome_tiff_is_projected_over_depth(ome, pixels):
    np.testing.assert_array_equal(convert([MicroscopeFile(ome)]), pixels[0].max(axis=0))


@pytest.mark.parametrize("order", [[3, 0], ["A", "DAPI"], [3, "DAPI"]])
def test_channels_come_in_the_order_wanted(nd2, ome, pixels, order):
    for file, options in ((nd2, {"position": 0}), (ome, {})):
        image = convert([MicroscopeFile(file, channel_order=order, **options)])
        np.testing.assert_array_equal(image, pixels[0].max(axis=0)[[3, 0]])


@pytest.mark.parametrize(("flip", "axes"), [("y", 1), ("x", 2), ("yx", (1, 2)), ("", ())])
def test_a_mirrored_image_is_turned_back(ome, pixels, flip, axes):
    image = convert([MicroscopeFile(ome, flip=flip)])
    np.testing.assert_array_equal(image, np.flip(pixels[0].max(axis=0), axes))


def test_files_are_joined_channel_after_channel_each_in_its_own_way(tmp_path, pixels):
    paths = [tmp_path / f"{name}.tif" for name in NAMES]
    for path, plane in zip(paths, pixels[0, 0], strict=True):
        tifffile.imwrite(path, plane)
    files = [MicroscopeFile(path, flip="y" if at == 2 else "") for at, path in enumerate(paths)]
    expected = pixels[0, 0].copy()
    expected[2] = expected[2, ::-1]
    np.testing.assert_array_equal(convert(files), expected)


def test_8_bit_pixels_become_16_bit(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((5, 6), 200, np.uint8))
    assert convert([MicroscopeFile(tmp_path / "a.tif")]).dtype == np.uint16


def test_the_table_says_stage_and_pixel_size_where_files_have_them(nd2, ome, tmp_path):
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((17, 23), np.uint16))
    table = acquisitions(
        [
            MicroscopeFile(nd2, "1", "A1"),
            MicroscopeFile(nd2, "1", "A1", tile=7, cycle=2, position=1),
            MicroscopeFile(ome, "1", "A2", 0, 1),
            MicroscopeFile(tmp_path / "plain.tif", "1", "A3", 0, 1),
        ]
    )
    assert table["tile"].tolist() == [0, 1, 2, 7, 0, 0]
    assert table["stage_x_um"].tolist()[:5] == [10.0, 11.0, 12.25, 11.0, 1500.0]
    assert table["stage_y_um"].tolist()[:5] == [-20.5, 21.0, 22.0, 21.0, -2.0]
    assert table["pixel_size_y_um"].tolist()[:5] == [0.325] * 4 + [0.6]
    assert table["pixel_size_x_um"].tolist()[:5] == [0.325] * 4 + [0.5]
    assert table.loc[5, ["stage_x_um", "pixel_size_y_um"]].isna().all()
    assert table["channels"].tolist() == ["DAPI,G,T,A"] * 5 + ["0"]
    assert table["cycle"].isna().tolist() == [True] * 3 + [False] * 3


def test_a_whole_run_has_no_findings_and_every_fault_of_another_is_told(tmp_path):
    def file(tile, cycle, shape=(8, 9), dtype=np.uint16):
        path = tmp_path / f"{tile}_{cycle}.tif"
        tifffile.imwrite(path, np.zeros(shape, dtype))
        return MicroscopeFile(path, "1", "A1", tile, cycle)

    whole = [file(tile, cycle) for tile in (0, 1) for cycle in (1, 2, 4)]
    assert check_acquisitions(acquisitions([*whole, file(0, 3), file(1, 3)])) == []
    broken = [*whole[:-1], file(2, 1, (8, 8)), file(2, 2, dtype=np.uint8), file(2, 4)]
    told = [str(one) for one in check_acquisitions(acquisitions(broken))]
    assert len(told) == 4
    assert "plate 1 lacks whole cycles" in told[0] and "none of 3" in told[0]
    assert "tile 1 lacks cycles that other tiles have" in told[1] and "none of 4" in told[1]
    assert "2_1.tif" in told[2] and "another size" in told[2]
    assert "2_2.tif" in told[3] and "another type" in told[3]


def test_files_of_different_size_or_type_are_told_at_once(tmp_path):
    for name, image in (("a", (5, 6)), ("b", (5, 7)), ("c", (6, 6))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros(image, np.uint16))
    tifffile.imwrite(tmp_path / "d.tif", np.zeros((5, 6), np.uint8))
    with pytest.raises(InputError) as told:
        convert([MicroscopeFile(tmp_path / f"{name}.tif") for name in "abcd"])
    assert [one.where[-5:] for one in told.value.findings] == ["b.tif", "c.tif", "d.tif"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"position": 3},
        {"position": 0, "channel_order": [4]},
        {"position": 0, "channel_order": ["X"]},
        {"position": 0, "channel_order": [0, 0]},
        {"position": 0, "channel_order": []},
        {"position": 0, "flip": "z"},
    ],
)
def test_what_a_file_does_not_have_is_refused(nd2, options):
    with pytest.raises(InputError):
        convert([MicroscopeFile(nd2, **options)])


def test_hostile_files_are_refused_with_their_name(tmp_path, nd2):
    data = nd2.read_bytes()
    random = np.random.default_rng(0)
    hostile = {
        "absent.nd2": None,
        "text.png": b"x",
        "empty.nd2": b"",
        "text.nd2": b"no microscope wrote this" * 10,
        "short.nd2": data[: len(data) // 2],
        "empty.tif": b"",
        "text.tif": b"no microscope wrote this",
    }
    for name, content in hostile.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            convert([MicroscopeFile(path, position=0)])
        with pytest.raises(InputError, match=name):
            acquisitions([MicroscopeFile(path)])
    for at in random.integers(0, len(data), 40):  # a flipped byte gives an image or an error of ours
        (tmp_path / "flipped.nd2").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with contextlib.suppress(CytopipeError):
            convert([MicroscopeFile(tmp_path / "flipped.nd2", position=0)])


def test_an_acquisition_that_was_stopped_is_told(tmp_path, nd2):
    """Frames that the file announces and does not have would be read as black."""
    name = "uiSequenceCount\0".encode("utf-16-le")
    data = nd2.read_bytes()
    at = data.index(name) + len(name)
    (tmp_path / "stopped.nd2").write_bytes(data[:at] + b"\4\0\0\0" + data[at + 4 :])
    with pytest.raises(InputError, match="was stopped"):
        convert([MicroscopeFile(tmp_path / "stopped.nd2", position=0)])


def test_other_pixels_than_a_cameras_and_time_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "real.tif", np.zeros((5, 6), np.float32))
    tifffile.imwrite(
        tmp_path / "time.ome.tif", np.zeros((2, 5, 6), np.uint16), metadata={"axes": "TYX"}, ome=True
    )
    for name in ("real.tif", "time.ome.tif"):
        with pytest.raises(InputError, match=name):
            convert([MicroscopeFile(tmp_path / name)])
    with pytest.raises(InputError):
        convert([])
