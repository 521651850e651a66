"""Where a project's history lies. Nothing here imports Dagster."""

from __future__ import annotations

import os
from pathlib import Path

from cytopipe.project import Project

__all__ = ["HOME_VARIABLE", "dagster_home"]

HOME_VARIABLE = "CYTOPIPE_DAGSTER_HOME"


def dagster_home(project: Project) -> Path:
    """The project's own DAGSTER_HOME, or the one that CYTOPIPE_DAGSTER_HOME names for several projects.

    (DAGSTER_HOME is left alone: it may belong to another platform.)
    """
    return Path(os.environ.get(HOME_VARIABLE) or project.dagster_home)
