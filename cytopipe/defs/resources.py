"""What assets are given: the project, found from where its history lies."""

from __future__ import annotations

import os
from pathlib import Path

from dagster import ConfigurableResource, DagsterInstance

from cytopipe.errors import CytopipeError
from cytopipe.project import PROJECT_FILE, Project, find_project, read_project
from cytopipe.project.settings import Settings

__all__ = ["ProjectResource", "project_here", "project_of"]


class ProjectResource(ConfigurableResource):
    """The project that a run works on.

    `file` names its project file. Empty (the rule): the project whose ``.cytopipe`` folder holds this
    Dagster history, else the one at or above the working directory.
    """

    file: str = ""

    def read(self, instance: DagsterInstance) -> Project:
        """Read the project file as it is now; a `ProjectError` says what is wrong with it."""
        return read_project(Path(self.file)) if self.file else project_of(instance)


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
