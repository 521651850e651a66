"""Images in a browser: what is shown is what the file holds, and nothing outside the folder is opened."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from cytopipe.serve.viewer import Viewer
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import OmeZarr
from cytopipe.storage.formats.plate import OmeZarrPlate, Plate
from cytopipe.storage.formats.tiff import TIFF

HEIGHT, WIDTH = 300, 700


@pytest.fixture(scope="module")
def image() -> Image:
    pixels = np.zeros((2, HEIGHT, WIDTH), np.uint16)
    pixels[0, :100] = 1000
    pixels[1, :, 600:] = 500
    nuclei = np.zeros((HEIGHT, WIDTH), np.uint16)
    nuclei[10:20, 30:50] = 7
    labels = {"nuclei": Image(nuclei, "YX", is_labels=True)}
    return Image(pixels, "CYX", ("DAPI", "<b>G</b>"), ("0000FF", "00FF00"), (0.5, 0.5), labels=labels)


@pytest.fixture(scope="module")
def root(tmp_path_factory, image) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    archive = Archive(root)
    zarr = OmeZarr(chunk_shape=(1, 128, 128))
    archive.put(Place("screen/one.ome.zarr"), zarr, image)
    archive.put(Place("screen/ä b.tiff"), TIFF, Image(image.pixels, "CYX"))
    fields = {f"{row}/{column}/0": image for row in "AB" for column in (1, 10)}
    archive.put(Place("screen/plate.ome.zarr"), OmeZarrPlate(zarr), Plate("plate", fields))
    (root.parent / "outside.tiff").write_bytes((root / "screen" / "ä b.tiff").read_bytes())
    (root / "out.tiff").symlink_to(root.parent / "outside.tiff")
    (root / "broken.tiff").write_bytes(b"II*\0 no image")
    return root


@pytest.fixture(scope="module")
def client(root) -> TestClient:
    return TestClient(Viewer(root, "demo"), base_url="http://127.0.0.1:3000")


def told(page) -> dict:
    return json.loads(re.search(r'id="told">(.*?)</script>', page.text)[1])


def picture(answer) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(PIL.Image.open(io.BytesIO(answer.content)))


def test_the_page_of_an_image_says_its_levels_channels_and_labels(client):
    page = client.get("/view/screen/one.ome.zarr")
    found = told(page)
    assert found["levels"] == [[300, 700], [150, 350], [75, 175], [38, 88]]
    assert [one["color"] for one in found["channels"]] == ["0000FF", "00FF00"]
    assert found["labels"] == ["nuclei"] and found["pixel_size_um"] == [0.5, 0.5]
    assert "<b>G</b>" not in page.text


def test_a_tile_adds_the_channels_up_in_their_colours(client):
    address = "/view/screen/one.ome.zarr?tile=0,0,512&channels=0:0000FF:0:2000,1:00FF00:0:500"
    tile = picture(client.get(address))
    assert tile.shape == (300, WIDTH - 512, 3)
    assert tile[50, 0].tolist() == [0, 0, 127] and tile[50, 150].tolist() == [0, 255, 127]
    assert tile[200, 0].tolist() == [0, 0, 0] and tile[200, 150].tolist() == [0, 255, 0]


def test_a_tile_of_a_coarser_level_covers_the_whole_image(client):
    tile = picture(client.get("/view/screen/one.ome.zarr?tile=2,0,0&channels=0:FFFFFF:0:1000"))
    assert tile.shape == (75, 175, 3)
    assert tile[10, 0].tolist() == [255] * 3 and tile[60, 0].tolist() == [0] * 3


def test_outlines_follow_the_objects(client):
    tile = picture(client.get("/view/screen/one.ome.zarr?tile=0,0,0&labels=nuclei"))
    marked = tile.any(axis=-1)
    assert marked[10, 30:50].all() and marked[19, 30:50].all() and marked[10:20, 30].all()
    assert not marked[11:19, 31:49].any() and marked.sum() == 2 * 20 + 2 * 8


def test_a_tiff_is_shown_at_any_zoom(client):
    found = told(client.get("/view/screen/ä b.tiff"))
    assert found["levels"] == [[300, 700], [150, 350]]
    assert picture(client.get("/view/screen/ä b.tiff?tile=1,0,0&channels=0:FF0000:0:1000")).shape == (
        150,
        350,
        3,
    )


def test_a_plate_lists_its_fields_and_each_can_be_opened(client):
    assert told(client.get("/view/screen/plate.ome.zarr"))["fields"] == ["A/1/0", "A/10/0", "B/1/0", "B/10/0"]
    small = picture(client.get("/view/screen/plate.ome.zarr?field=B/10/0&small=1"))
    assert max(small.shape) <= 192 and small.any()
    assert told(client.get("/view/screen/plate.ome.zarr?field=B/10/0"))["levels"][0] == [300, 700]


@pytest.mark.parametrize(
    "path", ["../outside.tiff", "%2e%2e/outside.tiff", "out.tiff", "screen/none.tiff", "", ".staging"]
)
def test_what_lies_outside_or_is_absent_has_no_page(client, path):
    assert client.get(f"/view/{path}").status_code in (404, 422)


@pytest.mark.parametrize(
    "query",
    [
        "tile=0,0",
        "tile=9,0,0",
        "tile=0,999999,0",
        "tile=0,0,0&channels=7:FFFFFF:0:1",
        "tile=0,0,0&channels=0:FFFFFF:5:5",
        "tile=0,0,0&channels=0:FFFFFF:0:.",
        "tile=0,0,0&channels=0:red:0:1",
        "tile=0,0,0&labels=../nuclei",
    ],
)
def test_a_wrong_request_is_refused_in_words(client, query):
    answer = client.get(f"/view/screen/one.ome.zarr?{query}")
    assert answer.status_code == 422 and answer.json()["detail"]


def test_a_file_that_is_no_image_says_so(client):
    answer = client.get("/view/broken.tiff")
    assert answer.status_code == 422 and "cannot be shown" in answer.text


def test_images_are_only_read(client):
    assert client.post("/view/screen/one.ome.zarr").status_code == 405


def test_the_page_may_load_nothing_from_elsewhere(client):
    policy = client.get("/view/screen/one.ome.zarr").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
