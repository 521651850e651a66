"""What a person means by a folder, a data set or a checkpoint of heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cytopipe.cli import Options
from cytopipe.commands.paths import absolute
from cytopipe.errors import InputError, ProjectError

if TYPE_CHECKING:
    from cytopipe.heatmap.workspace import Workspace
    from cytopipe.project import DataSet, Project

__all__ = ["Target", "checkpoint_file", "find_target", "target_of"]


@dataclass(frozen=True)
class Target:
    """Where checkpoints lie: a folder of their own, or a data set of a project.

    Parameters
    ----------
    workspace : Workspace
    project : Project, optional
        None: a folder without one.
    data_set : DataSet, optional
        Of the project.
    """

    workspace: Workspace
    project: Project | None = None
    data_set: DataSet | None = None


def find_target(options: Options, text: str) -> Target | None:
    """The folder or data set that a text names; None where it names none.

    A data set of a project is named by its name, or by the folder of its checkpoints.
    """
    from cytopipe.heatmap.workspace import RECIPE, Workspace

    folder = absolute(Path(text))
    if (folder / RECIPE).is_file():
        return Target(Workspace.open(folder))
    try:
        from cytopipe.project import load_project

        project = load_project(options.project)
    except ProjectError:
        if options.project is not None:
            raise
        return None
    known = project.data_sets.get("heatmap", {})
    name = text if text in known else next((one for one in known if known[one].folder == folder), None)
    return None if name is None else _of_project(project, name)


def target_of(options: Options, text: str) -> Target:
    """The folder or data set that a text names.

    Raises
    ------
    InputError
        It names none; what there is, is told.
    """
    found = find_target(options, text)
    if found is not None:
        return found
    known: list[str] = []
    try:
        from cytopipe.project import load_project

        project = load_project(options.project)
        known = list(project.data_sets.get("heatmap", {}))
        project.data_set("heatmap", text)  # says itself why a broken entry cannot be used
    except ProjectError as error:
        if any(text in str(one) for one in error.findings) and known:
            raise
    raise InputError(
        "is no folder of checkpoints, and no data set of a project",
        where=text,
        expected="a folder that `cytopipe heatmap run` made" + (f", or {', '.join(known)}" if known else ""),
        next="Make one: cytopipe heatmap run CELLS -o FOLDER",
    )


def _of_project(project: Project, name: str) -> Target:
    from cytopipe.heatmap.workspace import Recipe, Workspace

    data = project.data_sets["heatmap"][name]
    entry = data.entry
    branches, _, _ = entry.read_branches(data.base)
    recipe = Recipe(
        data_set=name,
        description=entry.description,
        cells=list(entry.cells),
        markers=entry.markers,
        transform=entry.transform,
        flowsom=entry.flowsom,
        heatmap=entry.heatmap,
        branches={
            key: one.model_dump(mode="json", by_alias=True, exclude_unset=True)
            for key, one in branches.items()
        },
    )
    return Target(Workspace(data.folder, recipe), project, data)


def checkpoint_file(options: Options, text: str) -> Path:
    """The file of the checkpoint that a text names: a path, FOLDER/main.3, or (in a project) blood.main.3.

    Raises
    ------
    InputError
        There is no such file, folder, data set or checkpoint.
    """
    path = absolute(Path(text))
    if path.exists() and not (path.is_dir() and path.suffix != ".zarr"):
        return path
    if path.suffix in (".h5ad", ".zarr"):
        raise InputError("no such file", where=str(path), expected="a checkpoint")
    folder, _, name = text.rpartition("/")
    if folder and (found := find_target(options, folder)) is not None:
        return found.workspace.path(name)
    data_set, dot, name = text.partition(".")
    if dot and (found := find_target(options, data_set)) is not None:
        return found.workspace.path(name)
    raise InputError(
        "names no checkpoint",
        where=text,
        expected="a file such as main/step_03_identify_mixed.h5ad, FOLDER/main.3, or blood.main.3",
    )
