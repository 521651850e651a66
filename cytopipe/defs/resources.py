"""What assets are given: the project, found from where its history lies."""

from __future__ import annotations

from pathlib import Path

from dagster import ConfigurableResource, DagsterInstance

from cytopipe.project import PROJECT_FILE, Project, find_project, read_project

__all__ = ["ProjectResource", "project_of"]


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
