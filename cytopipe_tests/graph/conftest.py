"""The example screen of which everything is made, and a copy of it for each test that changes something."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe_tests.graph.examples import screen
from cytopipe_tests.graph.examples.lab import Lab


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small screen and its history, all of it made; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "history").mkdir()
    with DagsterInstance.local_temp(str(folder / "history")) as instance:
        lab = Lab(folder / "screen", screen.GRAPH, screen.screen_project, instance)
        lab.make_all()
        lab.ledger()
    return folder


@pytest.fixture
def lab(finished_folder: Path, tmp_path: Path) -> Iterator[Lab]:
    """A copy of it, to change."""
    shutil.copytree(finished_folder, tmp_path / "copy", symlinks=True)
    with DagsterInstance.local_temp(str(tmp_path / "copy" / "history")) as instance:
        lab = Lab(tmp_path / "copy" / "screen", screen.GRAPH, screen.screen_project, instance)
        lab.ledger()  # copies have other inodes; their bytes are looked at once
        yield lab
