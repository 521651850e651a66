"""TIFF: what is written is read again, by us and by strangers; what strangers write is read by us."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import BudgetError, CytopipeError, InputError
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.tiff import TIFF, Tiff, read_tiff, read_tiff_levels

AXES = ["YX", "CYX", "TYX", "ZYX", "TCYX", "CZYX", "TCZYX"]
DTYPES = ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64"]


@st.composite
def images(draw, labels=False) -> Image:
    """Images of every type, axes and a small, odd size, with lengths of 1 among them."""
    axes = draw(st.sampled_from([axes for axes in AXES if not labels or "C" not in axes]))
    shape = [draw(st.integers(1, 3)) for _ in axes[:-2]] + [draw(st.integers(1, 40)) for _ in "YX"]
    dtype = np.dtype(draw(st.sampled_from(["uint8", "uint16", "int32"] if labels else DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    pixels = (rng.random(shape) * 200).astype(dtype)
    n = shape[axes.index("C")] if "C" in axes else 0
    names = tuple(f"channel <{i}> é" for i in range(n)) if draw(st.booleans()) else ()
    size = draw(st.sampled_from([None, (0.325, 0.5), (1.0, 1.0)]))
    return Image(pixels, axes, names, ("00FF80",) * n if names else (), size, is_labels=labels)


def same(one: Image, other: Image) -> None:
    """Both say and hold the same."""
    assert (one.axes, one.shape, one.dtype) == (other.axes, other.shape, other.dtype)
    assert one.load().tobytes() == other.load().tobytes()
    assert (one.channel_names, one.channel_colors) == (other.channel_names, other.channel_colors)
    assert (one.pixel_size_um, one.is_labels) == (other.pixel_size_um, other.is_labels)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=st.one_of(images(), images(labels=True)), compression=st.sampled_from(["zlib", "zstd", None]))
def test_an_image_is_read_as_it_was_written(image, compression, tmp_path):
    path = tmp_path / "x.tiff"
    path.unlink(missing_ok=True)
    Tiff(compression).write(path, image)
    TIFF.validate(path)
    same(read_tiff(path), image)
    stranger = tifffile.imread(path)
    assert stranger.squeeze().tobytes() == image.load().tobytes()


def test_a_lazy_image_gives_the_same_bytes_as_one_in_memory_with_any_number_of_threads(tmp_path):
    import dask.array as da

    pixels = np.random.default_rng(0).integers(0, 4000, (3, 700, 600), np.uint16)
    for n, (values, threads) in enumerate(
        [(pixels, 1), (pixels, 4), (da.from_array(pixels, (1, 100, 600)), 2)]
    ):
        (tmp_path / str(n)).mkdir()
        Tiff(threads=threads).write(tmp_path / str(n) / "x.tiff", Image(values, "CYX", ("a", "b", "c")))
    first, *others = [path.read_bytes() for path in sorted(tmp_path.glob("*/x.tiff"))]
    assert all(other == first for other in others)


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from cytopipe.storage.formats.image import Image; from cytopipe.storage.formats.tiff import TIFF\n"
        "TIFF.write(Path(sys.argv[1], 'x.tiff'), Image(np.arange(600, dtype='u2').reshape(2, 20, 15), 'CYX'))"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / seed], check=True, env={"PYTHONHASHSEED": seed, **_path()}
        )
    assert (tmp_path / "1/x.tiff").read_bytes() == (tmp_path / "2/x.tiff").read_bytes()


def _path() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}


def test_any_part_is_read_without_the_rest_and_survives_pickling(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 3, 30, 40), np.uint16)
    TIFF.write(tmp_path / "x.tiff", Image(pixels, "TCYX"))
    lazy = pickle.loads(pickle.dumps(read_tiff(tmp_path / "x.tiff").pixels))
    for key in (
        1,
        (0, 2),
        (slice(None), 1, slice(3, 9)),
        (Ellipsis, slice(5, 7)),
        (1, Ellipsis, 0),
        (0, 0, -1, -1),
    ):
        assert np.array_equal(lazy[key], pixels[key])


def test_memory_stays_flat_while_a_lazy_image_is_written(tmp_path):
    """40 planes of 2 MiB, each made when it is asked for."""
    import dask.array as da

    plane = np.random.default_rng(0).integers(0, 99, (1, 1024, 1024), np.uint16)
    planes = da.concatenate([da.from_array(plane, (1, 1024, 1024))] * 40)
    Tiff(threads=1).write(tmp_path / "warm.tiff", Image(planes[:1], "CYX"))
    tracemalloc.start()
    try:
        Tiff(threads=1).write(tmp_path / "x.tiff", Image(planes, "CYX"))
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.long
def test_more_than_four_gigabytes_are_written_as_bigtiff(tmp_path):
    class Zeros:
        shape, dtype = (140, 4096, 4096), np.dtype("uint16")

        def __getitem__(self, key):
            return np.zeros((4096, 4096), np.uint16)

    Tiff("zstd").write(tmp_path / "x.tiff", Image(Zeros(), "ZYX"))
    assert (tmp_path / "x.tiff").read_bytes()[:4] == b"II+\0"
    assert read_tiff(tmp_path / "x.tiff").shape == (140, 4096, 4096)


# --------------------------------------------------------------------------- files of others


@pytest.mark.parametrize(
    ("shape", "options", "axes"),
    [
        ((40, 50), {}, "YX"),
        ((5, 40, 50), {}, "CYX"),
        ((5, 40, 50), {"metadata": {"axes": "ZYX"}}, "ZYX"),
        ((40, 50, 3), {}, "CYX"),
        ((40, 50, 5), {}, "CYX"),
        ((40, 50, 3), {"photometric": "rgb", "compression": "lzw", "tile": (16, 16)}, "CYX"),
        ((3, 40, 50), {"photometric": "rgb", "planarconfig": "separate"}, "CYX"),
        ((4, 3, 40, 50), {"imagej": True, "metadata": {"axes": "ZCYX"}}, "CZYX"),
        ((2, 4, 3, 40, 50), {"imagej": True, "metadata": {"axes": "TZCYX"}, "byteorder": ">"}, "TCZYX"),
        ((4, 3, 40, 50), {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zstd"}, "CZYX"),
        ((3, 40, 50), {"bigtiff": True, "byteorder": ">", "compression": "zlib"}, "CYX"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_file_of_others_is_read_with_its_axes_in_our_order(shape, options, axes, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, shape, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, **options)
    image = read_tiff(tmp_path / "x.tif")
    assert image.axes == axes
    found = {(40, 50, 3): "YXC", (40, 50, 5): "YXC"}.get(shape, options.get("metadata", {}).get("axes", axes))
    assert np.array_equal(image.load(), np.transpose(pixels, [found.index(axis) for axis in axes]))


def test_pixels_of_the_other_byte_order_are_written_as_ours(tmp_path):
    """An uncompressed ImageJ file may be big-endian, and is mapped into memory as it lies."""
    from cytopipe.storage.formats.ome_zarr import OME_ZARR

    pixels = np.random.default_rng(0).integers(0, 60_000, (3, 40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, imagej=True, byteorder=">", metadata={"axes": "CYX"})
    image = read_tiff(tmp_path / "x.tif")
    assert (image.pixels.dtype.str, image.dtype) == (">u2", np.dtype("uint16"))
    for format in (TIFF, Tiff(None), OME_ZARR):
        path = tmp_path / f"{format.name}{len(format.version)}"
        format.write(path, image)
        assert np.array_equal(format.read(path).load(), pixels)


def test_the_pixel_size_of_an_imagej_file_is_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "x.tif", np.zeros((9, 8), "u1"), imagej=True, resolution=(4, 2), metadata={"unit": "um"}
    )
    assert read_tiff(tmp_path / "x.tif").pixel_size_um == (0.5, 0.25)


def test_axes_can_be_told_and_wrong_ones_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((5, 40, 50), "u1"))
    assert read_tiff(tmp_path / "x.tif", axes="ZYX").axes == "ZYX"
    with pytest.raises(InputError, match="axes that are not read here"):
        read_tiff(tmp_path / "x.tif", axes="QYX")


def test_a_file_with_several_images_is_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(np.zeros((9, 9), "u1"))
        file.write(np.zeros((5, 5), "u2"))
    with pytest.raises(InputError, match="holds 2 images"):
        read_tiff(tmp_path / "x.tif")


def test_an_ome_file_that_points_to_another_file_reads_only_itself(tmp_path):
    tifffile.imwrite(tmp_path / "x.ome.tif", np.zeros((2, 9, 8), "u2"), metadata={"axes": "CYX"})
    raw = (tmp_path / "x.ome.tif").read_bytes()
    (tmp_path / "secret.ome.tif").write_bytes(raw)
    uuid = raw[raw.index(b"urn:uuid") :][:45]
    (tmp_path / "x.ome.tif").write_bytes(
        raw.replace(uuid, b"urn:uuid:00000000-0000-0000-0000-000000000000", 1)
    )
    assert read_tiff(tmp_path / "x.ome.tif").shape == (2, 9, 8)


@pytest.mark.parametrize("seed", range(40))
def test_damage_never_ends_in_anything_but_a_clear_error_or_pixels(seed, tmp_path):
    """Bytes inverted at random, in the head above all: refused or read, with bounded memory."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4000, (3, 60, 50), np.uint16)
    TIFF.write(tmp_path / "x.tiff", Image(pixels, "CYX"))
    raw = bytearray((tmp_path / "x.tiff").read_bytes())
    for at in rng.integers(0, [300, len(raw)][seed % 2], 3):
        raw[at] ^= 1 << rng.integers(8)
    (tmp_path / "x.tiff").write_bytes(raw)
    tracemalloc.start()
    try:
        read_tiff(tmp_path / "x.tiff", budget=64 << 20).load()
    except CytopipeError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 256 << 20


def test_a_file_that_declares_a_million_squared_is_refused_before_it_is_opened(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((16, 16), "u2"))
    raw = (tmp_path / "x.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        places = [file.pages[0].tags[name].valueoffset for name in ("ImageWidth", "ImageLength")]
    for place in places:
        raw = raw[:place] + b"\xff\xff" + raw[place + 2 :]
    (tmp_path / "x.tif").write_bytes(raw)
    with pytest.raises(BudgetError, match=r"declared"):
        read_tiff(tmp_path / "x.tif", budget=1 << 30)


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((3, 3)), "not a ndarray"),
        (Image(np.zeros((3, 3), "u8"), "YX", is_labels=True), "no uint64 pixels"),
        (
            Image(
                np.zeros((3, 3), "u2"),
                "YX",
                labels={"cells": Image(np.zeros((3, 3), "u2"), "YX", is_labels=True)},
            ),
            "holds one image",
        ),
    ],
    ids=["array", "uint64", "labels"],
)
def test_what_a_tiff_cannot_hold_is_refused_and_nothing_is_written(value, told, tmp_path):
    with pytest.raises(InputError, match=told):
        TIFF.write(tmp_path / "x.tiff", value)
    assert not (tmp_path / "x.tiff").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((np.zeros((3, 3), "u2"), "XY"), "are not a part of TCZYX"),
        ((np.zeros((3, 3), "u2"), "CYX"), "do not fit an array of 2 dimensions"),
        ((np.zeros((0, 3), "u2"), "YX"), "has no pixels"),
        ((np.zeros((3, 3), "c8"), "YX"), "complex64"),
        ((np.zeros((2, 3, 3), "u2"), "CYX", ("a",)), "1 channel names for 2 channels"),
        ((np.zeros((2, 3, 3), "u2"), "CYX", (), ("red", "0000FF")), "'red' is not six"),
        ((np.zeros((3, 3), "u2"), "YX", (), (), (0.0, 1.0)), "pixel size"),
        ((np.zeros((3, 3)), "YX", (), (), None, True), "labels of float64"),
        ((np.zeros((3, 3), "u2"), "YX", (), (), None, False, (5.0, 5.0)), "percentiles"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_image_whose_parts_do_not_fit_cannot_be_made(arguments, told):
    with pytest.raises(InputError, match=told):
        Image(*arguments)


@pytest.mark.parametrize(
    "how",
    [
        {"tile": (128, 256), "compression": "zlib", "predictor": True},
        {"rowsperstrip": 100, "compression": "zstd"},
        {"tile": (64, 64)},
        {},
    ],
)
@pytest.mark.parametrize("whole_page_bytes", [1000, 1 << 30])
def test_a_pyramid_of_others_is_read_in_parts_from_every_level(tmp_path, monkeypatch, how, whole_page_bytes):
    """Its levels are listed by the first page and are a chain, too: that is no cycle."""
    monkeypatch.setattr("cytopipe.storage.formats.tiff._WHOLE_PAGE_BYTES", whole_page_bytes)
    pixels = np.random.default_rng(0).integers(0, 60_000, (3, 300, 410), dtype=np.uint16)
    path = tmp_path / "pyramid.ome.tif"
    told = {"axes": "CYX", "Channel": {"Name": ["a", "b", "c"]}}
    for axis in "XY":
        told |= {f"PhysicalSize{axis}": 650.0, f"PhysicalSize{axis}Unit": "nm"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=2, metadata=told, photometric="minisblack", **how)
        for step in (2, 4):
            file.write(pixels[:, ::step, ::step], subfiletype=1, photometric="minisblack", **how)
    found = read_tiff_levels(path)
    assert found.told == {"channel_names": ("a", "b", "c"), "pixel_size_um": (0.65, 0.65)}
    assert [level.shape for level in found.levels] == [(3, 300, 410), (3, 150, 205), (3, 75, 103)]
    for step, level in zip((1, 2, 4), found.levels, strict=True):
        truth = pixels[:, ::step, ::step]
        whole = (0, truth.shape[1], 0, truth.shape[2])
        for y0, y1, x0, x1 in [whole, (63, 65, 20, 100), (70, 75, 99, 103)]:
            np.testing.assert_array_equal(np.asarray(level[1, y0:y1, x0:x1]), truth[1, y0:y1, x0:x1])
    np.testing.assert_array_equal(read_tiff(path).load(), pixels)
