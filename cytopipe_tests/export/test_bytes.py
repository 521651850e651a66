"""Many crops in one go, files as they are encoded, and memory: faster, and the same to the last bit."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cytopipe.errors import BudgetError
from cytopipe.export import (
    ArrayField,
    CellColours,
    ChannelStyle,
    MarkerSet,
    MaskStyle,
    draw_scale_bar,
    encode,
    encoding,
    render_crop_to_array,
    render_fov_to_array,
    scale_bar,
    scale_bars,
)
from cytopipe.export.drawing import draw, drawn_together
from cytopipe.export.items import AroundPoint, Item
from cytopipe.export.job import Job
from cytopipe.export.job_file import read_job
from cytopipe.export.parameters import PictureSettings
from cytopipe.export.render import pictures
from cytopipe.export.sources import FovInfo, open_source
from cytopipe_tests.export.layout import CELLS, write_images, write_job

MARKERS = MarkerSet(
    "two",
    (ChannelStyle("DNA", (0.0, 0.2, 1.0), 3.0, 700.0), ChannelStyle("CD3", (1.0, 0.5, 0.0), 0.0, 900.0)),
)


def noise(shape: tuple[int, ...], dtype: type = np.uint8, below: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, below, shape).astype(dtype)


@pytest.fixture
def field() -> ArrayField:
    labels = np.repeat(np.repeat(np.arange(1, 31).reshape(5, 6), 20, 0), 20, 1).astype(np.int32)
    labels[::7] = 0
    images = dict(zip(("DNA", "CD3"), noise((2, 100, 120), np.uint16, 1000), strict=True))
    return ArrayField("fov1", images, {"cell": labels})


# ---------------------------------------------------------------------- crops


@pytest.mark.parametrize("pad", [True, False])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_crops_cut_out_of_one_picture_are_those_rendered_one_by_one(field, step, pad):
    info = FovInfo("fov1", 100, 120, ("DNA", "CD3"), 0.5, ("cell",), np.dtype("u2"))
    settings = PictureSettings(scale_bar=False)
    centres = [(60.0, 50.0), (1.5, 2.5), (119.0, 99.0), (33.2, 97.9), (7.0, 50.0)]
    items = [
        Item(f"{n}", "fov1", f"{n}.png", AroundPoint(x, y, 32, pad), MARKERS, (), step)
        for n, (x, y) in enumerate(centres)
    ]
    found = dict(drawn_together(field, info, items, lambda held, one: draw(held, info, one, settings)))
    for item, (x, y) in zip(items, centres, strict=True):
        alone = render_crop_to_array(field, MARKERS, (x, y), 32, step, padding=(0, 0, 0) if pad else None)
        np.testing.assert_array_equal(found[item].picture, alone)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("region", [None, (3, 98, 5, 111)])
def test_a_picture_read_in_pieces_is_that_read_at_once(field, monkeypatch, step, region):
    colours = {label: (label / 30, 0.5, 0.1) for label in range(1, 31, 2)}
    overlays = [MaskStyle("cell", (1.0, 1.0, 1.0), 0.6, "outline", 3), CellColours("cell", colours)]
    whole = render_fov_to_array(field, MARKERS, step, overlays=overlays, region=region)
    monkeypatch.setattr(pictures, "_READ_BYTES", 9000)
    asked = []
    reading = ArrayField.read_channels

    def told(self, names, box, by):
        asked.append(box)
        return reading(self, names, box, by)

    monkeypatch.setattr(ArrayField, "read_channels", told)
    np.testing.assert_array_equal(
        render_fov_to_array(field, MARKERS, step, overlays=overlays, region=region), whole
    )
    assert len(asked) > 1


def test_a_picture_larger_than_memory_is_refused_before_anything_is_read():
    class Endless(ArrayField):
        shape = (1 << 30, 1 << 30)
        channels = ("DNA", "CD3")

        def read_channels(self, names, region, step):
            raise AssertionError("it was read")

    with pytest.raises(BudgetError, match="a picture needs more memory"):
        render_fov_to_array(Endless("huge", {}), MARKERS)


# ---------------------------------------------------------------------- bytes


def test_images_that_were_touched_give_the_same_bytes(tmp_path: Path) -> None:
    write_images(tmp_path)
    Job(read_job(write_job(tmp_path, CELLS))).run()
    before = {one: one.read_bytes() for one in (tmp_path / "pictures").glob("fov*/*.png")}
    for image in (tmp_path / "data").rglob("*.tiff"):
        os.utime(image, (1_000_000_000, 1_000_000_000))
    results = Job(read_job(write_job(tmp_path, CELLS))).run()
    assert {one.state for one in results} == {"exported"}  # a time of change is all that is looked at
    assert {one: one.read_bytes() for one in (tmp_path / "pictures").glob("fov*/*.png")} == before


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (64, 64), (333, 70)])
@pytest.mark.parametrize("band", [200, 4 << 20])
def test_a_png_is_read_by_others_as_it_was(monkeypatch, shape, band):
    import cv2

    monkeypatch.setattr(encoding, "_BAND_BYTES", band)
    picture = noise((*shape, 3))
    data = encode(picture[:, ::-1], "png", dpi=254, pixel_size_um=0.5)  # of any layout in memory
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(image), picture[:, ::-1])
        assert round(image.info["dpi"][0]) == 254
        assert image.info["Description"] == '{"pixel_size_um": 0.5}'
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(other[..., ::-1], picture[:, ::-1])


def test_a_picture_of_one_colour_is_a_small_png():
    assert len(encode(np.full((512, 512, 3), 90, np.uint8), "png")) < 8_000


# ---------------------------------------------------------------------- scale bars


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 400), (101, 100), (500, 1000), (1000, 500)])
@pytest.mark.parametrize("fraction", [0.1, 0.6])
def test_a_bar_that_is_kept_is_the_one_that_pillow_draws(height, width, fraction):
    picture = noise((height, width, 3))
    given = picture.copy()
    bar = scale_bar(width, 0.5, largest_fraction=fraction)
    drawn = draw_scale_bar(picture, bar)
    np.testing.assert_array_equal(picture, given)
    apart = np.abs(drawn.astype(int) - by_pillow(picture, bar))
    assert apart.max() <= 1  # of a letter's edge, which is blended once and not twice


def by_pillow(picture: np.ndarray, bar) -> np.ndarray:
    height, width = picture.shape[:2]
    smaller = min(height, width)
    thickness, margin = max(1, round(smaller / 150)), max(1, round(smaller / 30))
    right, bottom = width - margin, height - margin
    left, top = right - max(1, int(bar.length_px + 1e-9)), bottom - thickness
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    if smaller >= 100:
        edge = max(1, thickness // 3)
        pen.rectangle((left - edge, top - edge, right - 1 + edge, bottom - 1 + edge), fill=(0, 0, 0))
    pen.rectangle((left, top, right - 1, bottom - 1), fill=(255, 255, 255))
    font = scale_bars._font(max(9, round(smaller / 28)))
    x0, y0, x1, y1 = pen.textbbox((0, 0), bar.label, font=font)
    if x1 - x0 <= width - 2 * margin and (y1 - y0) * 8 <= height:
        x = min((left + right - (x1 - x0)) / 2, right - (x1 - x0)) - x0
        y = top - margin / 2 - (y1 - y0) - y0
        pen.text((x, y), bar.label, font=font, fill="white", stroke_width=1, stroke_fill="black")
    return np.asarray(image).astype(int)


# ---------------------------------------------------------------------- memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is counted on Linux")
def test_files_that_were_read_do_not_stay_in_memory(tmp_path: Path) -> None:
    import tifffile

    side = 1500
    image = noise((side, side), np.uint16, 1000)
    for number in range(8):
        folder = tmp_path / "image_data" / f"fov{number}"
        folder.mkdir(parents=True)
        tifffile.imwrite(folder / "DNA.tiff", image)
    source = open_source(tmp_path)
    before = mapped_bytes()
    for name in source.fov_names():
        np.testing.assert_array_equal(source.read(name, ["DNA"])[0], image)
    assert mapped_bytes() - before < 2 * image.nbytes


def mapped_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))


def test_a_field_whose_rows_lie_in_the_file_is_rendered_from_pieces_and_one_that_is_packed_at_once(
    tmp_path: Path, monkeypatch
) -> None:
    import tifffile

    image = noise((300, 200), np.uint16, 1000)
    for name, packed in (("plain", None), ("packed", "zlib")):
        for channel in ("DNA", "CD3"):
            file = tmp_path / "image_data" / name / f"{channel}.tiff"
            file.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(file, image, compression=packed)
    source = open_source(tmp_path)
    whole = render_fov_to_array(source.field("packed"), MARKERS)
    monkeypatch.setattr(pictures, "_PART_BYTES", 50_000)
    boxes: dict[str, list] = {"plain": [], "packed": []}
    reading = type(source).read

    def told(self, fov, channels, box=None, downsample=1):
        boxes[fov].append(box)
        return reading(self, fov, channels, box, downsample)

    monkeypatch.setattr(type(source), "read", told)
    for name in ("plain", "packed"):
        np.testing.assert_array_equal(render_fov_to_array(source.field(name), MARKERS), whole)
    assert len(boxes["plain"]) > 5
    assert len(boxes["packed"]) == 1
