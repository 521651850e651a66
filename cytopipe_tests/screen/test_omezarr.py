"""One TIFF as an OME-Zarr image: the same pixels, the levels and names asked for, valid to all readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from cytopipe.errors import CytopipeError
from cytopipe.screen.omezarr import export_tiff_to_omezarr, read_image
from cytopipe.storage.formats.ome_zarr import read_ome_zarr
from cytopipe_tests.storage.test_formats_ome_zarr import assert_valid


def written(folder: Path, pixels: np.ndarray, name: str = "in ä.tiff", **how) -> Path:
    tifffile.imwrite(folder / name, pixels, photometric="minisblack", **how)
    return folder / name


@pytest.mark.parametrize("dtype", [np.uint16, np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(70, 91), (3, 70, 91)])
def test_level_0_equals_the_input(tmp_path, shape, dtype):
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(dtype)
    made = export_tiff_to_omezarr(written(tmp_path, pixels), tmp_path / "o.ome.zarr", chunk_shape=(1, 32, 32))
    assert np.array_equal(read_image(made), pixels if pixels.ndim == 3 else pixels[None])
    assert_valid(made)


def test_channels_last_are_brought_to_the_front(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 9999, (40, 50, 4)).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "in.tiff", pixels, photometric="minisblack", planarconfig="contig", metadata=None
    )
    made = export_tiff_to_omezarr(tmp_path / "in.tiff", tmp_path / "o.ome.zarr")
    assert np.array_equal(read_image(made), pixels.transpose(2, 0, 1))


def test_levels_names_and_pixel_size_are_those_asked_for(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 9999, (2, 65, 129)).astype(np.uint16)
    made = export_tiff_to_omezarr(
        written(tmp_path, pixels),
        tmp_path / "o.ome.zarr",
        pixel_size=(0.5, 0.25),
        chunk_shape=(1, 16, 16),
        coarsening_factor=2,
        max_levels=3,
        channel_labels=["DAPI", "G"],
    )
    told = json.loads((made / "zarr.json").read_text())["attributes"]["ome"]
    scales = [one["coordinateTransformations"][0]["scale"] for one in told["multiscales"][0]["datasets"]]
    assert scales == [[1, 0.5, 0.25], [1, 1, 0.5], [1, 2, 1]]
    assert [one["label"] for one in told["omero"]["channels"]] == ["DAPI", "G"]
    assert [zarr.open_array(made / str(k)).shape for k in range(3)] == [
        (2, 65, 129),
        (2, 33, 65),
        (2, 17, 33),
    ]


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_labels_lie_below_the_image_and_are_never_averaged(tmp_path, version):
    image = np.random.default_rng(1).integers(0, 9999, (2, 64, 64)).astype(np.uint16)
    nuclei = np.where(np.indices((64, 64)).sum(0) % 2, 10, 501).astype(np.uint16)
    cells = np.full((64, 64), 3, np.int32)
    made = export_tiff_to_omezarr(
        written(tmp_path, image),
        tmp_path / "o.ome.zarr",
        chunk_shape=(1, 16, 16),
        label_metadata={"nuclei": written(tmp_path, nuclei, "nuclei.tiff"), "cells": cells},
        ngff_version=version,
    )
    assert set(read_ome_zarr(made).labels) == {"nuclei", "cells"}
    for level in range(3):
        assert set(np.unique(read_ome_zarr(made, level=level).labels["nuclei"].load())) <= {10, 501}
    assert_valid(made, version)


def test_a_tiff_of_object_numbers_alone_becomes_a_label_image(tmp_path):
    cells = np.zeros((50, 40), np.uint32)
    cells[10:30, 5:25] = 70_000
    made = export_tiff_to_omezarr(written(tmp_path, cells), tmp_path / "o.ome.zarr", is_labels=True)
    assert read_ome_zarr(made).is_labels and np.array_equal(read_image(made)[0], cells)


def test_an_older_version_is_replaced_whole(tmp_path):
    first = written(tmp_path, np.ones((2, 40, 40), np.uint16))
    second = written(tmp_path, np.full((3, 30, 30), 2, np.uint16), "second.tiff")
    export_tiff_to_omezarr(first, tmp_path / "o.ome.zarr")
    export_tiff_to_omezarr(second, tmp_path / "o.ome.zarr")
    assert read_image(tmp_path / "o.ome.zarr").shape == (3, 30, 30)


@pytest.mark.parametrize(
    "changed",
    [
        {"output_dir": "o.zip"},
        {"channel_labels": ["only one"]},
        {"chunk_shape": (0, 3)},
        {"coarsening_factor": 1},
        {"label_metadata": {"nuclei": np.zeros((3, 3), np.uint8)}},
        {"label_metadata": {"../nuclei": np.zeros((40, 40), np.uint8)}},
        {"label_metadata": {"nuclei": np.zeros((40, 40), np.float32)}},
        {"pixel_size": (0.0, 1.0)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path, changed):
    given = {"tiff_path": written(tmp_path, np.ones((2, 40, 40), np.uint16)), "output_dir": "o.ome.zarr"}
    given |= changed
    given["output_dir"] = tmp_path / given["output_dir"]
    with pytest.raises(CytopipeError):
        export_tiff_to_omezarr(**given)
    assert not given["output_dir"].exists()
