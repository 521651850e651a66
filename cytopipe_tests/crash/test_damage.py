"""Damage of every kind, aimed at random: verification finds all of it, and no reader takes it for whole."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from cytopipe.errors import CytopipeError
from cytopipe.storage import Store, Sync
from cytopipe.testing import CONTRACTS, DAMAGES

TRIALS = 12


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    """One published artifact of each kind, to be copied and damaged."""
    roots = {}
    for name, contract in CONTRACTS.items():
        roots[name] = tmp_path_factory.mktemp("whole")
        contract.publish(Store(roots[name], sync=Sync.NONE), 7)
    return roots


def _targets(name: str, root: Path, kind: str) -> list[Path]:
    """The files that may be hit: all, except that only a part can be missing, doubled or linked."""
    data = {
        "json": root.glob("state/state.json"),
        "h5ad": root.glob("cells/cells.h5ad"),
        "checkpoint": root.glob("run/x.h5ad"),
        "tiff": root.glob("tiles/tile.tiff"),
        "zarr": (path for path in root.glob("plates/.plate.zarr.versions/*/**/*") if path.is_file()),
        "fasta set": root.glob("run/*.fasta"),
    }[name]
    parts = sorted(data)
    if kind in ("flip_bit", "truncate", "zeros"):
        parts += sorted(root.rglob("*.manifest.json"))
    return parts


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", CONTRACTS)
def test_damage_is_found_and_never_read_as_whole(name, kind, published, tmp_path):
    _damage_and_look(name, kind, published, tmp_path, TRIALS)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("name", CONTRACTS)
def test_a_hundred_damages_of_a_kind_are_all_found(name, kind, published, tmp_path):
    _damage_and_look(name, kind, published, tmp_path, 100)
    print(f"\n{name}, {kind}: 100 of 100 found")


def _damage_and_look(name: str, kind: str, published: dict[str, Path], tmp_path: Path, trials: int) -> None:
    """Damage a copy, verify it, and read it as a user would; `trials` times."""
    if kind == "extra" and name in ("json", "h5ad", "checkpoint", "tiff"):
        pytest.skip("a single file has no parts to which one could be added")
    for trial in range(trials):
        rng = random.Random(f"{name} {kind} {trial}")
        root = tmp_path / str(trial)
        shutil.copytree(published[name], root, symlinks=True)
        done = DAMAGES[kind].apply(rng.choice(_targets(name, root, kind)), rng)
        store = Store(root, sync=Sync.NONE)
        assert store.verify(), f"not found: {done}"
        with pytest.raises(CytopipeError):
            CONTRACTS[name].read(store)
        shutil.rmtree(root)


def test_a_whole_copy_has_no_differences(published, tmp_path):
    for name, root in published.items():
        shutil.copytree(root, tmp_path / name, symlinks=True)
        store = Store(tmp_path / name, sync=Sync.NONE)
        assert store.verify() == []
        assert CONTRACTS[name].read(store) == 7
