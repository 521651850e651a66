"""Scale bars, files and galleries of pictures."""

from __future__ import annotations

import io
from decimal import Decimal

import numpy as np
import pypdf
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cytopipe.errors import InputError
from cytopipe.export import (
    ChannelStyle,
    GalleryItem,
    MarkerSet,
    contact_sheet,
    draw_scale_bar,
    encode,
    encode_ome_tiff,
    pdf_gallery,
    scale_bar,
)

HOSTILE = "</b><script>alert(1)</script> ROI µ 'границы'"


def picture(height: int = 120, width: int = 160) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (height, width, 3)).astype(np.uint8)


@given(
    width=st.integers(1, 5000),
    pixel_um=st.floats(0.001, 100),
    step=st.integers(1, 16),
    fraction=st.floats(0.01, 1),
)
def test_a_bar_is_the_longest_round_length_that_fits(width, pixel_um, step, fraction):
    bar = scale_bar(width, pixel_um, step, largest_fraction=fraction)
    if bar is None:
        assert width * fraction < 2.5 * 1.001 or width * fraction * pixel_um * step < 0.001
        return
    assert 1 <= bar.length_px <= width * fraction * (1 + 1e-9)
    assert bar.length_um == pytest.approx(bar.length_px * pixel_um * step)
    digits = Decimal(str(bar.length_um)).normalize().as_tuple().digits
    assert digits in ((1,), (2,), (5,))
    next_um = bar.length_um * (2.5 if digits == (2,) else 2)
    assert next_um > width * fraction * pixel_um * step * (1 - 1e-9)


def test_a_bar_without_the_size_of_a_pixel_is_an_error_and_no_guess():
    with pytest.raises(InputError, match="needs the size of a pixel"):
        scale_bar(100, None)


def test_a_crop_of_32_pixels_has_a_bar_of_its_exact_length():
    black = np.zeros((32, 32, 3), np.uint8)
    bar = scale_bar(32, 0.5, largest_fraction=0.4)
    drawn = draw_scale_bar(black, bar)
    assert (drawn == 255).all(-1).any(0).sum() == int(bar.length_px) == 10
    assert not black.any()


@pytest.mark.parametrize("file_format", ["png", "jpeg", "tiff"])
def test_the_resolution_stands_in_the_file_and_the_bytes_are_the_same_again(file_format):
    made = encode(picture(), file_format, dpi=300, pixel_size_um=0.5, about={"fov": "µ"})
    assert made == encode(picture(), file_format, dpi=300, pixel_size_um=0.5, about={"fov": "µ"})
    image = Image.open(io.BytesIO(made))
    assert [round(float(one)) for one in image.info["dpi"]] == [300, 300]
    if file_format != "jpeg":
        assert np.array_equal(np.asarray(image), picture())


def test_a_pdf_page_is_as_large_as_the_picture_at_its_resolution():
    page = pypdf.PdfReader(io.BytesIO(encode(picture(), "pdf", dpi=144))).pages[0]
    assert [float(page.mediabox.width), float(page.mediabox.height)] == [80, 60]


def test_ome_tiff_holds_the_measured_channels_with_names_and_pixel_size():
    image = np.random.default_rng(1).integers(0, 60000, (2, 32, 40)).astype(np.uint16)
    markers = MarkerSet("x", (ChannelStyle("DNA", (0, 0, 1), 0, 1), ChannelStyle("CD3", (1, 0, 0), 0, 1)))
    made = encode_ome_tiff(image, markers, pixel_size_um=0.325, name="fov 1")
    assert made == encode_ome_tiff(image, markers, pixel_size_um=0.325, name="fov 1")
    with tifffile.TiffFile(io.BytesIO(made)) as file:
        assert np.array_equal(file.asarray(), image)
        assert all(one in file.ome_metadata for one in ('Name="DNA"', 'Name="CD3"', 'PhysicalSizeX="0.325"'))


def test_a_format_that_cannot_hold_a_picture_is_refused_with_those_that_can():
    with pytest.raises(InputError, match="png, jpeg, tiff or pdf"):
        encode(picture(), "gif")


def test_a_gallery_can_be_searched_for_every_name():
    items = [GalleryItem(f"ROI µ {at}", ("fov 1", "DNA, CD3"), picture()) for at in range(10)]
    made = pdf_gallery(items, title="Galerie ü", rows=2, columns=2)
    assert made == pdf_gallery(items, title="Galerie ü", rows=2, columns=2)
    pages = pypdf.PdfReader(io.BytesIO(made)).pages
    assert len(pages) == 3
    text = "".join(page.extract_text() for page in pages)
    assert all(item.name in text for item in items)


def test_a_contact_sheet_shows_hostile_names_as_text():
    page = "".join(contact_sheet([GalleryItem(HOSTILE, (HOSTILE,), picture())], title=HOSTILE))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3
