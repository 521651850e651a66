"""What the tests of this room share: a project that is materialized once, and copies of it to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dagster import DagsterInstance

from cytopipe.defs.definitions import GRAPH
from cytopipe.defs.instance import open_instance
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import register
from cytopipe.defs.plan import Judgement, judge
from cytopipe.defs.running import Finished, plan_runs, run_assets
from cytopipe.project import Project, load_project
from cytopipe_tests.defs.example import make_project


@dataclass
class Opened:
    """A project with its instance open, and the verbs tests use."""

    project: Project
    instance: DagsterInstance

    def again(self) -> Opened:
        """The same with the project file read again."""
        self.project = load_project(self.project.file)
        return self

    def look(self) -> list[str]:
        """Take up what happened outside; what was noticed, as text."""
        register(self.project, self.instance)
        return [f"{one.asset} [{one.partition}]" for one in observe(self.project, self.instance, GRAPH)]

    def judged(self) -> dict[tuple[str, str], Judgement]:
        return {(one.asset, one.partition): one for one in judge(self.project, self.instance, GRAPH)}

    def states(self, partition: str) -> list[str]:
        """States of a data set's assets, in the order the data flows."""
        return [one.state for (_, key), one in self.judged().items() if key == partition]

    def make(self) -> list[Finished]:
        """Run whatever the plan wants."""
        self.look()
        wanted: dict[str, list[str]] = {}
        for one in self.judged().values():
            if one.wanted:
                wanted.setdefault(one.asset, []).append(one.partition)
        return [
            run_assets(self.instance, assets, keys) for _, assets, keys in plan_runs(self.instance, wanted)
        ]


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory) -> Path:
    """A project of two data sets, all of it made; not to be changed."""
    project = make_project(tmp_path_factory.mktemp("finished"), "meadow", "forest")
    with open_instance(project) as instance:
        outcomes = Opened(project, instance).make()
    assert [one.outcome for one in outcomes] == ["success"], outcomes
    return project.directory


@pytest.fixture
def finished(finished_folder: Path, tmp_path: Path) -> Iterator[Opened]:
    """A copy of the finished project, moved: to change and to damage."""
    shutil.copytree(finished_folder, tmp_path / "project", symlinks=True)
    project = load_project(tmp_path / "project")
    with open_instance(project) as instance:
        yield Opened(project, instance)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Make and open a fresh project: ``begin("meadow", entries=...)``."""
    instances = []

    def open_one(*names: str, **options) -> Opened:
        project = make_project(tmp_path / "project", *names, **options)
        instance = open_instance(project)
        instances.append(instance)
        return Opened(project, instance)

    yield open_one
    for instance in instances:
        instance.dispose()
