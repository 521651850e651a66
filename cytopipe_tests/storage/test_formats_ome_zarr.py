"""OME-Zarr: every chunk is whole, pyramids are right to the last pixel, three validators and zarr agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cytopipe.errors import CytopipeError, DamagedError, InputError
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_metadata import ensure_omero_channel_colors
from cytopipe.storage.formats.ome_zarr import OME_ZARR, OmeZarr, read_ome_zarr
from cytopipe.storage.formats.plate import OME_ZARR_PLATE, OmeZarrPlate, Plate, plate_documents
from cytopipe_tests.storage.test_formats_tiff import images, same

VARIANTS = {
    "0.5": OmeZarr(chunk_shape=(16, 16)),
    "0.5 shards": OmeZarr(chunk_shape=(8, 16), shard=32),
    "0.4": OmeZarr("0.4", chunk_shape=(1, 16, 12)),
    "factor 3": OmeZarr(chunk_shape=(2, 10, 9), factor=3, max_levels=3),
    "uneven": OmeZarr(chunk_shape=(7, 13)),
}


def plain_level(pixels: np.ndarray, factor: int, labels: bool) -> np.ndarray:
    """One coarser level, pixel by pixel: the slow twin."""
    height, width = (-(-n // factor) for n in pixels.shape[-2:])
    out = np.empty((*pixels.shape[:-2], height, width), pixels.dtype)
    for y in range(height):
        for x in range(width):
            block = pixels[..., y * factor : (y + 1) * factor, x * factor : (x + 1) * factor]
            if labels:
                rows, columns = (min((factor - 1) // 2, n - 1) for n in block.shape[-2:])
                out[..., y, x] = block[..., rows, columns]
            elif pixels.dtype.kind == "f":
                out[..., y, x] = block.astype(np.float64).mean(axis=(-2, -1))
            else:
                n = block.shape[-2] * block.shape[-1]
                out[..., y, x] = (2 * block.astype(object).sum(axis=(-2, -1)) + n) // (2 * n)
    return out


def with_labels(shape=(3, 75, 101), dtype=np.uint16) -> Image:
    rng = np.random.default_rng(1)
    nuclei, cells = (rng.integers(0, 70_000, shape[-2:], np.uint32) for _ in range(2))
    return Image(
        rng.integers(50, 4000, shape).astype(dtype),
        "CYX",
        ("DAPI", "G", "T")[: shape[0]],
        pixel_size_um=(0.325, 0.65),
        labels={
            name: Image(one, "YX", is_labels=True) for name, one in {"nuclei": nuclei, "cells": cells}.items()
        },
    )


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=st.one_of(images(), images(labels=True)))
def test_level_0_equals_the_input_and_every_level_its_plain_twin(variant, image, tmp_path):
    format = VARIANTS[variant]
    path = tmp_path / "x.ome.zarr"
    shutil.rmtree(path, ignore_errors=True)
    format.write(path, image)
    format.validate(path)
    read = format.read(path)
    expected = image.load()
    if not image.is_labels and "C" not in image.axes:
        at = image.axes.index("T") + 1 if "T" in image.axes else 0
        expected = np.expand_dims(expected, at)
    assert read.load().tobytes() == expected.tobytes()
    assert (read.dtype, read.is_labels) == (image.dtype, image.is_labels)
    assert read.pixel_size_um == image.pixel_size_um
    if image.channel_names:
        same(read, image)
    levels = format.describe(path)["levels"]
    for level in range(1, levels):
        expected = plain_level(expected, format.factor, image.is_labels)
        found = read_ome_zarr(path, level=level).load()
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        else:
            assert np.array_equal(found, expected)
    assert levels == format.max_levels or max(found.shape[-2:] if levels > 1 else read.shape[-2:]) <= 16


def assert_valid(image: Path, version: str = "0.5") -> None:
    """The three validators accept an image or a label image, and every chunk can be read."""
    import ngff_zarr

    assert_valid_group(image, version)
    ngff_zarr.from_ngff_zarr(str(image), validate=True, version=version)
    OmeZarr(ngff=version).validate(image)


def assert_valid_group(path: Path, version: str) -> None:
    import ome_zarr_models
    import yaozarrs

    yaozarrs.validate_zarr_store(str(path))
    found = ome_zarr_models.open_ome_zarr(zarr.open_group(path, mode="r"))
    assert found.ome_zarr_version == version


@pytest.mark.parametrize("variant", VARIANTS)
def test_three_validators_accept_an_image_with_labels_and_a_plate(variant, tmp_path):
    format = VARIANTS[variant]
    image, plate = tmp_path / "x.ome.zarr", tmp_path / "plate.ome.zarr"
    format.write(image, with_labels())
    OmeZarrPlate(format).write(plate, Plate("P-1", {"A/1/0": image, "A/1/2": with_labels(), "H/12/0": image}))
    for path in (image / "labels" / "nuclei", plate, plate / "A/1"):
        assert_valid_group(path, format.ngff)
    for path in (image, plate / "A/1/2", plate / "H/12/0"):
        assert_valid(path, format.ngff)
    OmeZarrPlate(format).validate(plate)


def test_what_viewers_need_is_said(tmp_path):
    path = tmp_path / "tile.ome.zarr"
    image = with_labels()
    OmeZarr(chunk_shape=(32, 32)).write(path, image)
    document = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    (multiscale,) = document["multiscales"]
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    assert (multiscale["name"], multiscale["type"]) == ("tile", "local mean")
    transforms = multiscale["datasets"][2]["coordinateTransformations"]
    assert transforms == [
        {"type": "scale", "scale": [1.0, 1.3, 2.6]},
        {"type": "translation", "translation": [0.0, 1.5 * 0.325, 1.5 * 0.65]},
    ]
    channels = document["omero"]["channels"]
    assert [channel["label"] for channel in channels] == ["DAPI", "G", "T"]
    assert [channel["color"] for channel in channels] == ["0000FF", "00FF00", "FF0000"]
    low, high = np.percentile(image.pixels[1], (1, 99.8))
    assert abs(channels[1]["window"]["start"] - low) < 40 and abs(channels[1]["window"]["end"] - high) < 40
    assert (channels[1]["window"]["min"], channels[1]["window"]["max"]) == (0, 65535)
    assert zarr.open_array(path / "1", mode="r").metadata.dimension_names == ("c", "y", "x")
    label = json.loads((path / "labels/nuclei/zarr.json").read_text())["attributes"]["ome"]
    assert label["image-label"]["source"] == {"image": "../../"}
    assert len(label["multiscales"][0]["datasets"]) == len(multiscale["datasets"])
    assert json.loads((path / "labels/zarr.json").read_text())["attributes"]["ome"]["labels"] == [
        "nuclei",
        "cells",
    ]


def test_labels_are_read_with_their_image(tmp_path):
    image = with_labels()
    OME_ZARR.write(tmp_path / "x.ome.zarr", image)
    read = OME_ZARR.read(tmp_path / "x.ome.zarr")
    assert set(read.labels) == {"nuclei", "cells"}
    for name, labels in image.labels.items():
        assert np.array_equal(read.labels[name].load(), labels.load())
        assert read.labels[name].is_labels and read.labels[name].dtype == np.uint32


@pytest.mark.parametrize(
    ("omero", "colors"),
    [
        ({"channels": [{}]}, ["FFFFFF"]),
        ({"channels": [{}, {}]}, ["0000FF", "00FF00"]),
        ({"channels": [{"color": "#ff0000"}, {"color": 255}, {}]}, ["FF0000", "0000FF", "FF0000"]),
        ({}, []),
    ],
)
def test_missing_channel_colors_are_filled_in(omero, colors):
    assert [channel["color"] for channel in ensure_omero_channel_colors(omero)["channels"]] == colors


def test_a_color_that_is_none_is_refused():
    with pytest.raises(InputError, match="channel 0 has the colour 'red'"):
        ensure_omero_channel_colors({"channels": [{"color": "red"}]})


# --------------------------------------------------------------------------- the same bytes, flat memory


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bytes_depend_neither_on_chunks_of_the_input_nor_on_threads(variant, tmp_path):
    import dask.array as da

    image, made = with_labels(), []
    for n, (pixels, threads) in enumerate(
        [(image.pixels, 1), (image.pixels, 4), (da.from_array(image.pixels, (2, 30, 41)), 2)]
    ):
        path = tmp_path / str(n) / "x.ome.zarr"
        path.parent.mkdir()
        format = OmeZarr(**{**vars(VARIANTS[variant]), "threads": threads})
        format.write(path, Image(**{**vars(image), "pixels": pixels}))
        made.append(contents(path))
    assert made[0] == made[1] == made[2]


def test_the_bytes_do_not_depend_on_the_hash_seed(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from cytopipe_tests.storage.test_formats_ome_zarr import OME_ZARR, with_labels\n"
        "OME_ZARR.write(Path(sys.argv[1]) / 'x.ome.zarr', with_labels())"
    )
    for seed in "12":
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], check=True, env=environment)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize(("options", "limit"), [("", 100e6), ("shard=2048", 128e6)])
def test_an_image_larger_than_the_memory_it_takes_is_written(options, limit, tmp_path):
    """A lazy image of 4 planes of 128 MB; what the process holds more than before is measured."""
    code = f"""
import sys, numpy as np
from pathlib import Path
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OmeZarr

class Pixels:
    shape, dtype = (4, 8192, 8192), np.dtype("uint16")
    def __getitem__(self, key):
        c, rows, columns = key
        ramp = np.arange(*rows.indices(8192), dtype=np.uint16)
        return np.broadcast_to(ramp[:, None] + np.uint16(c.start), (1, len(ramp), 8192))

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

format = OmeZarr({options})
format.write(Path(sys.argv[1]) / "warm.ome.zarr", Image(np.zeros((2, 600, 600), "u2"), "CYX"))
before = peak()
format.write(Path(sys.argv[1]) / "x.ome.zarr", Image(Pixels(), "CYX"))
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) < limit


# --------------------------------------------------------------------------- damage


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_absent_chunk_is_an_error_and_never_read_as_zeros(variant, tmp_path):
    path = tmp_path / "x.ome.zarr"
    VARIANTS[variant].write(path, with_labels())
    chunks = [
        file for file in path.rglob("*") if file.is_file() and "json" not in file.name and file.name[0] != "."
    ]
    for chunk in np.random.default_rng(0).permutation(chunks)[:10]:
        data = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(DamagedError, match="1 chunks are absent"):
            OME_ZARR.read(path)
        chunk.write_bytes(data)
    OME_ZARR.read(path)


def test_a_chunk_that_is_absent_inside_a_shard_is_an_error(tmp_path):
    path = tmp_path / "x.ome.zarr"
    OmeZarr(chunk_shape=(16, 16), shard=64).write(path, Image(np.ones((70, 70), np.uint16), "YX"))
    array = zarr.open_array(path / "0", mode="r+")
    array[0, :16, :16] = 0  # zarr leaves out a chunk of fill values
    with pytest.raises(DamagedError, match="1 chunks are absent"):
        OME_ZARR.read(path)


@pytest.mark.parametrize("variant", ["0.5", "0.5 shards", "factor 3", "uneven"])
def test_every_flipped_bit_of_a_chunk_is_found_by_a_stranger_too(variant, tmp_path):
    """Version 3 has a checksum in every chunk; zarr-python raises, whatever bit it is."""
    path = tmp_path / "x.ome.zarr"
    VARIANTS[variant].write(path, with_labels())
    chunks = sorted(file for file in (path / "0").rglob("*") if file.is_file() and "json" not in file.name)
    rng = np.random.default_rng(0)
    for chunk in rng.permutation(chunks)[:20]:
        data = bytearray(chunk.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        whole = chunk.read_bytes()
        chunk.write_bytes(data)
        with pytest.raises(Exception, match=r".*"):
            zarr.open_array(path / "0", mode="r")[:]
        with pytest.raises(CytopipeError):
            OME_ZARR.validate(path)
        chunk.write_bytes(whole)
    OME_ZARR.validate(path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_chunk_that_was_written_truncated_is_found(variant, tmp_path):
    """The reference's fault: edge chunks as small as what is left of the image."""
    from numcodecs import blosc

    path = tmp_path / "x.ome.zarr"
    OmeZarr("0.4", chunk_shape=(16, 16)).write(path, with_labels())
    chunk = path / "0/0/4/6"
    chunk.write_bytes(blosc.compress(blosc.decompress(chunk.read_bytes())[:100], b"zstd", 1, 2))
    with pytest.raises(DamagedError, match=r"a chunk is short; expected 512 bytes; found 100 bytes"):
        OME_ZARR.validate(path)


# --------------------------------------------------------------------------- plates


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_a_plate_lists_its_wells_in_their_order_and_shares_files_with_its_fields(version, tmp_path):
    format = OmeZarr(version, chunk_shape=(32, 32))
    format.write(tmp_path / "field.ome.zarr", with_labels())
    fields = {
        f"{row}/{column}/{field}": tmp_path / "field.ome.zarr"
        for row in "BA"
        for column in (10, 2)
        for field in (10, 2)
    }
    plate = OmeZarrPlate(format)
    plate.write(tmp_path / "p.ome.zarr", Plate("P-1", fields))
    read = plate.read(tmp_path / "p.ome.zarr")
    assert list(read)[:3] == ["A/2/2", "A/2/10", "A/10/2"]
    assert plate.describe(tmp_path / "p.ome.zarr") == {"wells": 4, "fields": 8}
    same(read["B/10/2"], format.read(tmp_path / "field.ome.zarr"))
    chunk = "0/c/0/0/0" if version == "0.5" else "0/0/0/0"
    assert (tmp_path / "field.ome.zarr" / chunk).stat().st_nlink == 9


def test_metadata_of_a_plate_goes_around_fields_that_are_published_one_by_one(tmp_path):
    from cytopipe.storage import Store, Sync

    store = Store(tmp_path, sync=Sync.NONE)
    fields = ("A/1/0", "A/1/1")
    for field in fields:
        store.publish_directory(f"p.ome.zarr/{field}", lambda draft: OME_ZARR.write(draft, with_labels()))
    for relative, data in plate_documents("P-1", fields).items():
        store.publish_bytes(f"p.ome.zarr/{relative}", data)
    assert list(OME_ZARR_PLATE.read(tmp_path / "p.ome.zarr")) == list(fields)
    assert store.verify() == []


@pytest.mark.parametrize("field", ["A/1/T-2", "A/1", "../1/0", "A/1/0/0", "A//0"])
def test_a_field_of_another_form_is_refused(field):
    with pytest.raises(InputError, match="cannot have the field"):
        plate_documents("P-1", [field])


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ngff": "0.3"}, "NGFF version '0.3'"),
        ({"chunk_shape": (512,)}, "a chunk shape"),
        ({"chunk_shape": (512, 0)}, "a chunk shape"),
        ({"factor": 1}, "coarsening factor"),
        ({"max_levels": 0}, "0 levels"),
        ({"shard": 700}, "shards of 700"),
        ({"shard": 1024, "ngff": "0.4"}, "shards of 1024"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, told):
    with pytest.raises(InputError, match=told):
        OmeZarr(**options)


def test_what_is_no_image_is_told(tmp_path):
    with pytest.raises(InputError, match="not a ndarray"):
        OME_ZARR.write(tmp_path / "x.ome.zarr", np.zeros((3, 3)))
    zarr.open_group(tmp_path / "plain.zarr", mode="w")
    with pytest.raises(InputError, match="no OME-Zarr"):
        OME_ZARR.read(tmp_path / "plain.zarr")
    with pytest.raises(InputError):
        OME_ZARR.read(tmp_path / "absent.zarr")


def test_a_store_of_another_writer_is_read_with_its_absent_chunks_as_fill_values(tmp_path):
    import ngff_zarr

    pixels = np.zeros((2, 64, 64), np.uint16)
    pixels[0, :5] = 7
    image = ngff_zarr.to_ngff_image(pixels, dims=("c", "y", "x"))
    scales = ngff_zarr.to_multiscales(image, scale_factors=[2], chunks=16)
    ngff_zarr.to_ngff_zarr(str(tmp_path / "x.ome.zarr"), scales, version="0.5")
    assert np.array_equal(read_ome_zarr(tmp_path / "x.ome.zarr", complete=False).load(), pixels)
