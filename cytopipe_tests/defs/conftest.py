"""What the tests of this room share: a project that is materialized once, and copies of it to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterInstance, Definitions

from cytopipe.defs.definitions import definitions_of
from cytopipe.defs.event import MADE, Event
from cytopipe.defs.everything import GRAPH
from cytopipe.defs.history import History
from cytopipe.defs.instance import open_instance
from cytopipe.defs.ledger import Ledger, Status
from cytopipe.defs.running import Finished, run_assets
from cytopipe.defs.selection import Run, broken, choose, plan_runs
from cytopipe.project import Project, load_project
from cytopipe_tests.defs.atlas_example import Passes, make_atlas_project, open_lab, states_of
from cytopipe_tests.defs.example import make_project
from cytopipe_tests.graph.examples.lab import Lab


@dataclass
class ProjectContext:
    """A project with its instance open, and the verbs tests use."""

    project: Project
    instance: DagsterInstance

    def again(self) -> ProjectContext:
        """The same with the project file read again."""
        self.project = load_project(self.project.file)
        return self

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.project, GRAPH, History(self.instance))

    @property
    def definitions(self) -> Definitions:
        return definitions_of(self.project, file=str(self.project.file))

    def look(self) -> list[str]:
        """Take up what happened outside; what was noticed, as text."""
        return [f"{one.asset} [{one.key}]" for one in self.ledger.refresh()]

    def judged(self) -> dict[tuple[str, str], Status]:
        ledger = self.ledger
        ledger.refresh()
        return {(one.asset, one.key): one for one in (*ledger.statuses(GRAPH.makers), *broken(ledger))}

    def states(self, partition: str) -> list[str]:
        """States of a data set's assets, in the order the data flows."""
        return [one.state for (_, key), one in self.judged().items() if key == partition]

    def latest(self, asset: str, key: str) -> Event:
        """The newest materialization of a partition."""
        return next(one for one in History(self.instance).events(asset, key) if one.kind == MADE)

    def make(self) -> list[Finished]:
        """Run whatever the ledger wants of data sets."""
        ledger = self.ledger
        ledger.refresh()
        chosen = [one for one in choose(ledger) if one.key]
        return [self.run(*run.assets, keys=run.keys) for run in plan_runs(ledger, chosen)]

    def run(self, *assets: str, keys: tuple[str, ...] = ()) -> Finished:
        """One run over assets and partitions, whatever the ledger says of them."""
        return run_assets(self.instance, self.definitions, Run("", assets, tuple(keys)))


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory) -> Path:
    """A project of two data sets, all of it made; not to be changed."""
    project = make_project(tmp_path_factory.mktemp("finished"), "meadow", "forest")
    with open_instance(project) as instance:
        outcomes = ProjectContext(project, instance).make()
    assert [one.outcome for one in outcomes] == ["success"], outcomes
    return project.directory


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> Iterator[ProjectContext]:
    """A copy of the finished project, moved: to change and to damage."""
    shutil.copytree(finished_folder, tmp_path / "project", symlinks=True)
    project = load_project(tmp_path / "project")
    with open_instance(project) as instance:
        yield ProjectContext(project, instance)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., ProjectContext]]:
    """Make and open a fresh project: ``begin("meadow", entries=...)``."""
    instances = []

    def open_one(*names: str, **options) -> ProjectContext:
        project = make_project(tmp_path / "project", *names, **options)
        instance = open_instance(project)
        instances.append(instance)
        return ProjectContext(project, instance)

    yield open_one
    for instance in instances:
        instance.dispose()


# ------------------------------------------------------------------------------------------- atlases


@pytest.fixture
def passes(monkeypatch) -> Passes:
    """Counts every pass over the cells of an atlas while it happens."""
    from cytopipe.atlas import pseudobulk

    counted, run_pass = Passes(), pseudobulk._run_pass

    def counting(cells, plan, how):
        counted.levels.append([level.name for level in plan.levels])
        found = run_pass(cells, plan, how)
        counted.resumed_at.append(found[2])
        return found

    monkeypatch.setattr(pseudobulk, "_run_pass", counting)
    return counted


@pytest.fixture(scope="session")
def atlases_folder(tmp_path_factory) -> Path:
    """A project of two atlases of two levels, all of it made; not to be changed."""
    folder = tmp_path_factory.mktemp("atlases")
    make_atlas_project(folder / "project", "a", "b")
    lab = open_lab(folder)
    lab.make_all()
    assert states_of(lab) == {"done"}
    lab.instance.dispose()
    return folder


@pytest.fixture
def atlases(atlases_folder: Path, tmp_path: Path) -> Iterator[Lab]:
    """A copy of the finished project, moved: to change and to damage."""
    shutil.copytree(atlases_folder, tmp_path / "copy", symlinks=True)
    shutil.rmtree(tmp_path / "copy/project/.cytopipe", ignore_errors=True)
    lab = open_lab(tmp_path / "copy")
    yield lab
    lab.instance.dispose()


@pytest.fixture
def begin_atlases(tmp_path: Path) -> Iterator[Callable[..., Lab]]:
    begun = []

    def open_one(*names: str, **options) -> Lab:
        make_atlas_project(tmp_path / "project", *names, **options)
        begun.append(open_lab(tmp_path))
        return begun[-1]

    yield open_one
    for lab in begun:
        lab.instance.dispose()
