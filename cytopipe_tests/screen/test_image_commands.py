"""``cytopipe screen export`` and ``view``: what is no image is refused in one sentence; nothing is left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from cytopipe_tests.cli.conftest import cytopipe, spawned

PIXELS = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "good.tiff", PIXELS, photometric="minisblack")
    whole = (tmp_path / "good.tiff").read_bytes()
    (tmp_path / "cut.tiff").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.tiff").write_bytes(whole[:8])
    (tmp_path / "empty.tiff").write_bytes(b"")
    (tmp_path / "text.tiff").write_text("hello\n")
    (tmp_path / "folder.ome.zarr").mkdir()
    (tmp_path / "folder.ome.zarr" / "note.txt").write_text("of somebody")
    os.mkfifo(tmp_path / "pipe.tiff")
    return tmp_path


NO_IMAGES = {
    "cut.tiff": "is cut off: pixels lie beyond its end; expected at least 8448 bytes; found 8",
    "head.tiff": "is cut off: a page lies beyond its end",
    "empty.tiff": "is not a TIFF; expected a file that begins with II*, MM*, II+ or MM+; found an empty file",
    "text.tiff": "is not a TIFF; expected a file that begins with II*, MM*, II+ or MM+; found 'hell'",
    "pipe.tiff": "is not a TIFF; expected a file; found a pipe",
    "missing.tiff": "",
    "folder.ome.zarr": "",
}


def test_view_of_a_text_file_ends_instead_of_serving_a_page_with_the_error(folder):
    said = spawned("screen", "view", "text.tiff", "--browser", at=folder)
    assert said.code == 2 and said.out == "" and NO_IMAGES["text.tiff"] in said.err


@pytest.mark.parametrize("name", NO_IMAGES)
def test_view_refuses_what_is_no_image_before_it_serves(folder, name, monkeypatch):
    monkeypatch.setattr("cytopipe.serve.listener.free_port", lambda port: pytest.fail("it would serve"))
    said = cytopipe("screen", "view", name, "--browser", at=folder)
    assert said.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and name in said.err and NO_IMAGES[name] in said.err


@pytest.mark.parametrize("name", NO_IMAGES)
def test_export_refuses_what_is_no_image_and_leaves_nothing(folder, name):
    said = cytopipe("screen", "export", name, "out.ome.zarr", at=folder)
    assert said.code == 2 and said.out == ""
    assert said.err.count("\n") == 1 and name in said.err and NO_IMAGES[name] in said.err
    assert not list(folder.glob("*out.ome.zarr*"))


def test_export_replaces_its_own_output_and_refuses_to_replace_that_of_others(folder):
    first = cytopipe("screen", "export", "good.tiff", "out.ome.zarr", at=folder)
    again = cytopipe(
        "screen", "export", "good.tiff", "out.ome.zarr", "--channel", "A", "--channel", "B", at=folder
    )
    assert (first.code, again.code) == (0, 0) and "channels A, B" in again.out
    said = cytopipe("screen", "export", "good.tiff", "folder.ome.zarr", at=folder)
    assert said.code == 3 and "something else stands" in said.err and "Move it away first" in said.err
    assert [path.name for path in (folder / "folder.ome.zarr").iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("export", "good.tiff", "o.ome.zarr", "--pixel-size-um", "0"), "--pixel-size-um"),
        (("export", "good.tiff", "o.ome.zarr", "--pixel-size-um", "nan"), "--pixel-size-um"),
        (("view", "good.tiff", "--port", "99999"), "--port"),
        (("view", "good.tiff", "--port", "0"), "--port"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_option(folder, options, what):
    said = cytopipe("screen", *options, at=folder)
    assert said.code == 2 and said.err.count("\n") == 1 and what in said.err and "expected" in said.err
