"""A disk that is full, and a limit on file size: told as what they are, and the old version stands.

In processes of their own: HDF5 is left damaged by a file that it could not write.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
from pathlib import Path

import pytest

from cytopipe.errors import StorageError
from cytopipe.storage import Store
from cytopipe.testing import CONTRACTS, warm_apart

PAGE = 4096


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "cytopipe-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"mount cannot be run: {error}")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, leave_bytes: int) -> Path:
    ballast = folder / "ballast"
    room = os.statvfs(folder)
    with ballast.open("wb") as stream:
        stream.write(b"x" * max(0, room.f_bavail * room.f_frsize - leave_bytes))
    return ballast


@warm_apart
def _publish_with_less_and_less_room(name: str, disk: Path) -> int:
    """How often a full disk was told."""
    contract, told, version = CONTRACTS[name], 0, 1
    contract.publish(Store(disk / "out"), version)
    for pages in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128):
        ballast = _fill(disk, pages * PAGE)
        try:
            contract.publish(Store(disk / "out"), version + 1)
            version += 1
        except StorageError as error:
            assert "the disk is full" in str(error)
            told += 1
        ballast.unlink()
        found = contract.read(Store(disk / "out"))
        assert found in (version, version + 1)
        version = found
        assert Store(disk / "out").verify() == []
        Store(disk / "out").sweep(0)
    return told


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_full_disk_is_told_and_the_old_version_stands(name, small_disk):
    """With every amount of room left, from none to enough."""
    assert _publish_with_less_and_less_room(name, small_disk) > 0


@warm_apart
def _publish_limited(name: str, root: Path, limit: int) -> int | None:
    writer = multiprocessing.get_context("fork").Process(target=_publish_within, args=(name, root, limit))
    writer.start()
    writer.join()
    return writer.exitcode


def _publish_within(name: str, root: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        CONTRACTS[name].publish(Store(root), 2)
    except StorageError as error:
        os._exit(10 if "larger than it may be" in str(error) else 11)
    os._exit(0)


@pytest.mark.parametrize("limit", [0, 700, 3000])
@pytest.mark.parametrize("name", CONTRACTS)
def test_a_limit_on_file_size_is_told_and_the_old_version_stands(name, limit, tmp_path):
    contract = CONTRACTS[name]
    contract.publish(Store(tmp_path), 1)
    exit_code = _publish_limited(name, tmp_path, limit)
    assert exit_code in (0, 10)
    assert exit_code == 10 or limit > 0
    assert contract.read(Store(tmp_path)) == (2 if exit_code == 0 else 1)


def test_a_read_only_place_can_be_read_and_says_so_when_written(small_disk):
    Store(small_disk).publish_bytes("out/a.json", b"1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = Store(small_disk / "out")
    assert store.filesystem is None
    assert store.read_bytes("a.json") == b"1"
    assert store.verify() == []
    with pytest.raises(StorageError, match="read-only"):
        store.publish_bytes("a.json", b"2")
