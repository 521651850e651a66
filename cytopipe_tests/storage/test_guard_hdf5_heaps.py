"""Damaged heaps of text in HDF5 files are refused before HDF5 walks them for ever."""

from __future__ import annotations

import h5py
import pytest

from cytopipe.errors import InputError
from cytopipe.storage.guard.hdf5 import open_hdf5
from cytopipe.storage.guard.hdf5_heaps import require_sound_heaps


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file["names"] = [f"name {number}" * (number % 7) for number in range(500)]
        file["names"].attrs["encoding-type"] = "string-array"
    return path


def test_whole_files_are_opened(texts):
    require_sound_heaps(texts)
    with open_hdf5(texts) as file:
        assert file["names"].attrs["encoding-type"] == "string-array"


def test_an_object_without_a_length_is_refused(texts):
    data = bytearray(texts.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 64 : heap + 576] = bytes(512)
    texts.write_bytes(data)
    with (
        pytest.raises(InputError, match=r"texts\.h5: is a damaged HDF5 file: its text at byte"),
        open_hdf5(texts),
    ):
        pass


@pytest.mark.parametrize("cut", [4, 20, 100])
def test_a_heap_beyond_the_end_is_refused(texts, cut):
    data = texts.read_bytes()
    texts.write_bytes(data[: data.index(b"GCOL") + 8 + cut])
    with pytest.raises(InputError, match="does not add up"):
        require_sound_heaps(texts)


def test_a_file_without_text_is_sound(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    require_sound_heaps(tmp_path / "empty")
    with h5py.File(tmp_path / "numbers.h5", "w") as file:
        file["x"] = [1, 2, 3]
    require_sound_heaps(tmp_path / "numbers.h5")


@pytest.mark.parametrize("place", [0, 1, 3, 8, 100_003])
def test_a_damaged_heap_is_found_wherever_it_begins(tmp_path, place):
    path = tmp_path / "heap"
    path.write_bytes(bytes(place) + b"GCOL\x01\0\0\0" + (1 << 40).to_bytes(8, "little"))
    with pytest.raises(InputError, match=rf"its text at byte {place:,} does not add up"):
        require_sound_heaps(path)
