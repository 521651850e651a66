"""TIFF and OME-Zarr made to harm: each a clear error, nothing outside opened, memory bounded."""

from __future__ import annotations

import json
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile

from cytopipe.errors import BudgetError, CytopipeError, DamagedError, RefusedError
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OmeZarr, read_ome_zarr, read_plate_fields
from cytopipe.storage.formats.plate import OmeZarrPlate, Plate
from cytopipe.storage.formats.tiff import read_tiff
from cytopipe_tests.hostile.test_binary import _tiff


def peak_of(function) -> tuple[str, int]:
    """How a call ended, and the most memory that Python held at once."""
    tracemalloc.start()
    try:
        function()
        told = ""
    except CytopipeError as error:
        told = type(error).__name__
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return told, peak


# --------------------------------------------------------------------------- TIFF


@pytest.mark.parametrize(
    "data",
    [
        _tiff(4, 2, following=24),
        _tiff(4, 2)[:40],
        _tiff(4, 2, start=10**6),
        b"II*\0\xff\xff\xff\xff",
        b"II*\0",
        b"",
    ],
    ids=["circle", "cut", "pixels outside", "directory outside", "header", "empty"],
)
def test_a_tiff_with_a_fault_is_told_before_tifffile_sees_it(data, tmp_path):
    (tmp_path / "x.tif").write_bytes(data)
    told, peak = peak_of(lambda: read_tiff(tmp_path / "x.tif"))
    assert told and peak < 4 << 20


def test_a_page_of_a_million_squared_is_refused(tmp_path):
    (tmp_path / "x.tif").write_bytes(_tiff(10**6, 10**6))
    with pytest.raises(BudgetError, match="a page needs more memory"):
        read_tiff(tmp_path / "x.tif")


def test_many_pages_that_share_their_pixels_cannot_be_loaded_at_once(tmp_path):
    """20,000 pages of 256 MB in 20 MB: opened lazily, a page may be read, all together are refused."""
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((20_000, 1, 1), "u1"), compression="zlib", metadata=None)
    raw = bytearray((tmp_path / "x.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        places = [
            page.tags[name].valueoffset
            for page in file.pages
            for name in ("ImageWidth", "ImageLength", "RowsPerStrip")
        ]
    for place in places:
        raw[place : place + 2] = (16_384).to_bytes(2, "little")
    (tmp_path / "x.tif").write_bytes(raw)
    image = read_tiff(tmp_path / "x.tif", axes="ZYX")
    with pytest.raises(BudgetError, match="a part needs more memory"):
        image.load()


def test_a_strip_that_inflates_beyond_its_page_is_bounded(tmp_path):
    bomb = zlib.compress(b"\0" * (512 << 20), 9)
    data = bytearray(_tiff(4, 2, data=bomb + b"\0" * (len(bomb) % 2)))
    at = len(data) - 2 - 4 - 6 * 12
    fields = (
        bytes(data[at : at + 36]) + b"\x03\x01\x03\0\x01\0\0\0\x08\0\0\0" + bytes(data[at + 36 : at + 72])
    )
    data[at - 2 :] = b"\x07\0" + fields + b"\0\0\0\0"
    (tmp_path / "x.tif").write_bytes(data)
    _, peak = peak_of(lambda: read_tiff(tmp_path / "x.tif").load())
    assert peak < 64 << 20


# --------------------------------------------------------------------------- OME-Zarr


@pytest.fixture
def image(tmp_path):
    """A store of 70 x 70 pixels with labels."""
    path = tmp_path / "x.ome.zarr"
    labels = Image(np.ones((70, 70), np.uint32), "YX", is_labels=True)
    format = OmeZarr(chunk_shape=(32, 32))
    format.write(path, Image(labels.pixels, "YX", labels={"cells": labels}))
    format.write(tmp_path / "secret.ome.zarr", Image(labels.pixels * 7, "YX"))
    return path


def rewrite(path, change) -> None:
    document = json.loads((path / "zarr.json").read_text())
    change(document)
    (path / "zarr.json").write_text(json.dumps(document))


OUTSIDE = ["../../secret.ome.zarr/0", "..", "/etc", "0/../../secret.ome.zarr/0", "", ".", 7, "0\0"]


@pytest.mark.parametrize("target", OUTSIDE, ids=repr)
def test_a_level_outside_of_the_store_is_refused(target, image):
    def change(document) -> None:
        document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = target

    rewrite(image, change)
    with pytest.raises(RefusedError, match="names the path"):
        read_ome_zarr(image)


@pytest.mark.parametrize("target", OUTSIDE, ids=repr)
def test_labels_outside_of_the_store_are_refused(target, image):
    rewrite(image / "labels", lambda document: document["attributes"]["ome"].update(labels=[target]))
    with pytest.raises(RefusedError, match="names the path"):
        read_ome_zarr(image)


@pytest.mark.parametrize("target", [target for target in OUTSIDE if target != 7], ids=repr)
def test_a_field_outside_of_a_plate_is_refused(target, image, tmp_path):
    path = tmp_path / "plate.ome.zarr"
    OmeZarrPlate().write(path, Plate("P", {"A/1/0": image}))

    def change(document) -> None:
        document["attributes"]["ome"]["well"]["images"][0]["path"] = target

    rewrite(path / "A/1", change)
    with pytest.raises(RefusedError, match="names the path"):
        read_plate_fields(path)


def test_an_array_of_a_trillion_chunks_is_told_at_once(image):
    rewrite(image / "0", lambda document: document.update(shape=[1, 10**7, 10**7]))
    with pytest.raises(DamagedError, match="at least 1000 chunks are absent"):
        read_ome_zarr(image)


@pytest.mark.parametrize(
    "change",
    [
        lambda ome: ome.pop("multiscales"),
        lambda ome: ome["multiscales"].clear(),
        lambda ome: ome["multiscales"][0].update(axes=[{"name": "q"}] * 3),
        lambda ome: ome["multiscales"][0].update(axes=7),
        lambda ome: ome["multiscales"][0]["datasets"][0].update(coordinateTransformations=[]),
        lambda ome: ome["omero"]["channels"][0].update(color="red"),
        lambda ome: ome["omero"]["channels"][0].pop("color"),
        lambda ome: ome["multiscales"][0]["datasets"][0].update(path="9"),
    ],
    ids=range(8),
)
def test_metadata_that_contradict_themselves_are_told(change, image):
    rewrite(image, lambda document: change(document["attributes"]["ome"]))
    with pytest.raises(CytopipeError):
        read_ome_zarr(image)


def test_a_chunk_that_inflates_without_bound_is_stopped(image):
    from numcodecs import blosc

    bomb = blosc.compress(b"\0" * (256 << 20), b"zstd", 9, 2)
    import google_crc32c

    (image / "0/c/0/0/0").write_bytes(bomb + google_crc32c.value(bomb).to_bytes(4, "little"))
    told, peak = peak_of(lambda: OmeZarr().validate(image))
    assert told == "BudgetError" and peak < 16 << 20
