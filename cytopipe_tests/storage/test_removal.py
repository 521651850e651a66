"""Taking a publication back: whole or gone at every moment, nothing foreign touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytopipe.errors import RefusedError
from cytopipe.storage import Store, Sync, removal


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "root", sync=Sync.NONE)


def published(store: Store, kind: str) -> Path:
    """An artifact in its second version."""
    for version in (b"one", b"two"):
        if kind == "file":
            store.publish_bytes("a/image.tiff", version)
        else:
            store.publish_directory("a/image.tiff", lambda draft, version=version: _tree(draft, version))
    return store.root / "a/image.tiff"


def _tree(draft: Path, data: bytes) -> None:
    (draft / "0").mkdir(parents=True)
    (draft / "0/chunk").write_bytes(data)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_removed_leaves_nothing_and_may_be_published_again(store: Store, kind: str) -> None:
    path = published(store, kind)
    store.publish_bytes("a/other.tiff", b"stays")
    assert path in removal.files_of(path) or kind == "directory"
    store.remove("a/image.tiff")
    assert sorted(one.name for one in path.parent.iterdir()) == [".other.tiff.manifest.json", "other.tiff"]
    assert store.verify() == [] and removal.files_of(path) == []
    store.remove("a/image.tiff")
    assert published(store, kind).exists() and store.verify() == []


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_kill_between_any_two_steps_leaves_all_or_nothing(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        (removal, "put_sidecar"),
        (removal, "retire"),
        (removal, "flush_folder"),
        (Path, "unlink"),
        (removal, "flush_commit"),
        (Path, "rename"),
        (removal, "remove_tree"),
    ]
    outcomes = set()
    for before in range(1, 12):
        path = published(store, kind)
        calls = [0]

        def counted(real, calls=calls, before=before):
            def call(*args, **kwargs):
                calls[0] += 1
                if calls[0] == before:
                    raise Killed
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for owner, name in steps:
                patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                store.remove("a/image.tiff")
            except Killed:
                pass
            else:
                break
        assert store.verify() == [], f"killed before call {before}"
        outcomes.add(path.exists())
        if path.exists():
            file = path if kind == "file" else store.open_directory("a/image.tiff") / "0/chunk"
            assert file.read_bytes() == b"two"
        store.remove("a/image.tiff")
        assert removal.files_of(path) == [] and not path.exists()
    assert before > 3 and outcomes == {True, False}


def test_what_was_not_published_here_is_left(store: Store) -> None:
    folder = store.root / "a"
    (folder / "theirs.zarr").mkdir(parents=True)
    (folder / "theirs.tiff").write_bytes(b"x")
    (folder / "link.tiff").symlink_to(folder / "theirs.tiff")
    for name in ("theirs.zarr", "theirs.tiff", "link.tiff"):
        with pytest.raises(RefusedError):
            store.remove(f"a/{name}")
    assert len(list(folder.iterdir())) == 3


def test_a_link_that_was_lost_is_still_a_difference(store: Store) -> None:
    published(store, "directory").unlink()
    assert [one.kind for one in store.verify()] == ["missing"]
