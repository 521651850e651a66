"""What assets are given: the project, found from where its history lies."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dagster import ConfigurableResource, DagsterInstance

from cytopipe.defs.stamps import stamp_of_file
from cytopipe.errors import CytopipeError
from cytopipe.project import PROJECT_FILE, Project, find_project, read_project
from cytopipe.project.settings import Settings

__all__ = ["ProjectResource", "project_here", "project_of", "read_once"]

_read: dict[Path, tuple[str, Project]] = {}


@contextlib.contextmanager
def read_once(project: Project) -> Iterator[None]:
    """Within the block, runs of this process take the project as it was read, unless its file changes: a
    screen is found on disk by its hundred thousand images.
    """
    file = project.file.resolve()
    _read[file] = (stamp_of_file(file), project)
    try:
        yield
    finally:
        del _read[file]


class ProjectResource(ConfigurableResource):
    """The project that a run works on.

    `file` names its project file. Empty (the rule): the project whose ``.cytopipe`` folder holds this
    Dagster history, else the one at or above the working directory.
    """

    file: str = ""

    def read(self, instance: DagsterInstance) -> Project:
        """Read the project file as it is now; a `ProjectError` says what is wrong with it."""
        if not self.file:
            return project_of(instance)
        file = Path(self.file).resolve()
        stamp, project = _read.get(file, ("", None))
        return project if project and stamp == stamp_of_file(file) else read_project(file)


def project_of(instance: DagsterInstance) -> Project:
    """The project to which an instance belongs.

    Raises
    ------
    ProjectError
        If there is none, or its file makes no sense.
    """
    file = Path(instance.root_directory).parent.parent / PROJECT_FILE
    return read_project(file if file.is_file() else find_project())


def project_here() -> Project:
    """The project to which this process belongs; one without data sets where its file cannot be read."""
    home = os.environ.get("DAGSTER_HOME")
    file = Path(home).parent.parent / PROJECT_FILE if home else None
    try:
        return read_project(file if file is not None and file.is_file() else find_project())
    except CytopipeError:
        return Project(file=Path.cwd() / PROJECT_FILE, settings=Settings())
