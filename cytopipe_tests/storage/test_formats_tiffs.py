"""Several TIFFs as one artifact: read as written, in the order of their numbers, damage found."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import DamagedError, InputError, UnsafeNameError
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.tiffs import TIFFS
from cytopipe_tests.storage.test_formats_tiff import same

PLACE = Place("tile.tiffs")


def images(n: int = 11) -> dict[str, Image]:
    rng = np.random.default_rng(0)
    shapes = [(5, 20, 30) if cycle == 0 else (4, 20, 30) for cycle in range(n)]
    return {
        f"T-1_C-{cycle + 1}__image": Image(rng.integers(0, 900, shape, np.uint16), "CYX")
        for cycle, shape in enumerate(shapes)
    }


def test_cycles_are_read_as_they_were_written_in_the_order_of_their_numbers(tmp_path):
    """They may differ in channels, and may come one after the other."""
    archive, written = Archive(tmp_path), images()
    first = archive.put(PLACE, TIFFS, written)
    again = archive.put(PLACE, TIFFS, reversed(written.items()))
    assert first.version == again.version
    found = archive.get(PLACE, TIFFS)
    assert list(found) == list(written)  # 2 before 10
    for name, image in written.items():
        same(found[name], image)
    assert TIFFS.describe(tmp_path / "tile.tiffs")["images"] == 11


def test_one_damaged_cycle_is_found(tmp_path):
    archive = Archive(tmp_path)
    archive.put(PLACE, TIFFS, images(3))
    path = archive.get(PLACE, TIFFS).folder / "T-1_C-2__image.tiff"
    path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with pytest.raises(DamagedError, match="C-2"):
        archive.get(PLACE, TIFFS)


def test_nothing_and_names_that_lead_elsewhere_are_refused(tmp_path):
    archive = Archive(tmp_path)
    with pytest.raises(InputError, match="at least one"):
        archive.put(PLACE, TIFFS, {})
    with pytest.raises(UnsafeNameError):
        archive.put(PLACE, TIFFS, {"../x": images(1)["T-1_C-1__image"]})
