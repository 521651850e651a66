"""The browser loads the definitions again where the project file declares other data sets, and only then."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cytopipe.defs import serving
from cytopipe.defs.running import LOCATION
from cytopipe.project import load_project
from cytopipe_tests.defs.example import fasta, make_project

INTERVAL_S = 0.02


@dataclass
class Context:
    """In place of Dagster's workspace: writes down what was loaded again."""

    reloaded: list[str] = field(default_factory=list)

    def reload_code_location(self, name: str) -> None:
        self.reloaded.append(name)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every look at the project file; they follow each other quickly."""
    looked: list[Path] = []
    declared = serving._declared

    def counting(file: Path) -> str | None:
        found = declared(file)
        looked.append(file)
        return found

    monkeypatch.setattr(serving, "_SECONDS_BETWEEN_LOOKS", INTERVAL_S)
    monkeypatch.setattr(serving, "_declared", counting)
    return looked


def wait_for_looks(looks: list[Path]) -> None:
    """Until the file as it is now was looked at: the look in progress may have begun before."""
    wanted, deadline = len(looks) + 2, time.monotonic() + 60
    while len(looks) < wanted:
        assert time.monotonic() < deadline, "nobody looks"
        time.sleep(INTERVAL_S)
    time.sleep(2 * INTERVAL_S)  # what follows from the look


def rewrite(file: Path, text: str) -> None:
    """Replace a file as a whole: what is half written is never looked at."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


def test_another_data_set_in_the_project_file_loads_the_definitions_again_once(
    tmp_path: Path, looks: list[Path]
) -> None:
    file, context = make_project(tmp_path, "meadow").file, Context()
    (tmp_path / "forest.fasta").write_text(fasta("forest"))
    with serving.reloading(context, file):
        wait_for_looks(looks)
        assert context.reloaded == []
        before = file.read_text()
        rewrite(file, before + "  forest:\n    input: forest.fasta\n")
        wait_for_looks(looks)
        assert context.reloaded == [LOCATION]
        wait_for_looks(looks)
        assert context.reloaded == [LOCATION]
        rewrite(file, before)
        wait_for_looks(looks)
        assert context.reloaded == [LOCATION] * 2


def test_a_new_file_that_a_pattern_matches_loads_the_definitions_again(
    tmp_path: Path, looks: list[Path]
) -> None:
    project, context = (
        make_project(tmp_path, "meadow", entries="  plate:\n    input: in/*.fasta\n"),
        Context(),
    )
    with serving.reloading(context, project.file):
        wait_for_looks(looks)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "p1.fasta").write_text(fasta("p1"))
        wait_for_looks(looks)
        assert context.reloaded == [LOCATION]


def test_another_parameter_or_a_broken_project_file_loads_nothing_again(
    tmp_path: Path, looks: list[Path]
) -> None:
    file, context = make_project(tmp_path, "meadow").file, Context()
    before = file.read_text()
    with serving.reloading(context, file):
        wait_for_looks(looks)
        rewrite(file, before + "    max_lump: 3 %\n")
        wait_for_looks(looks)
        rewrite(file, "decompose: [")
        wait_for_looks(looks)
        rewrite(file, before)
        wait_for_looks(looks)
    assert list(load_project(file).data_sets["decompose"]) == ["meadow"]
    assert context.reloaded == []


def test_the_watch_ends_with_its_block(tmp_path: Path, looks: list[Path]) -> None:
    file, context = make_project(tmp_path, "meadow").file, Context()
    with serving.reloading(context, file):
        wait_for_looks(looks)
    assert "declared data sets" not in {one.name for one in threading.enumerate()}
