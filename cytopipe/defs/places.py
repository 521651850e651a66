"""Where every artifact lies: (asset, partition) <-> path, one bijection.

An artifact's template says it: ``atlas/{atlas}/pseudobulk/{atlas}_pseudobulk_{level}.h5ad``;
``decompose/{key}#final`` is the set `final` in a folder. Each name in braces is filled with the slug of the
partition's name, so that no two partitions share a path and none leaves the output root. Paths are relative
to the output root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from cytopipe.defs.artifact import Graph
from cytopipe.defs.relations import Relations
from cytopipe.errors import UserError
from cytopipe.project import DataSet, Project
from cytopipe.storage.archive import Place
from cytopipe.storage.names import slug

__all__ = ["Places"]


class Places:
    """The places of a project's artifacts."""

    def __init__(self, project: Project, graph: Graph, relations: Relations | None = None) -> None:
        self.project, self.graph = project, graph
        self.relations = relations or Relations(project, graph)

    def place(self, asset: str, key: str) -> Place:
        """Where the partition `key` of an asset lies (the empty key: of one without partitions)."""
        step = self.graph.makers[asset]
        data = self.project.data_set(step.by.name, key) if step.by is not None else None
        return _filled(step.places[asset], data)

    def artifact(self, path: PurePosixPath) -> tuple[str, str]:
        """The asset and the key to which a path belongs: the artifact itself, or a file inside of it.

        A folder that holds several sets stands for the last of them.

        Raises
        ------
        UserError
            It belongs to none that the project file declares.
        """
        sets: list[tuple[str, str]] = []
        for asset, step in self.graph.makers.items():
            if not _matches(step.places[asset], step.makes[asset].layout, path):
                continue
            for key in self.relations.made_keys(step):
                place, layout = self.place(asset, key), step.makes[asset].layout
                if _holds(place, layout, path, step.makes[asset]):
                    return asset, key
                if layout == "set" and path.as_posix() == place.path:
                    sets.append((asset, key))
        if sets:
            return sets[-1]
        raise UserError(
            "belongs to no artifact of this project",
            where=str(path),
            expected=f"a file below {self.project.relative(self.project.output)}",
            next="See which there are with: cytopipe status",
        )


def _filled(template: str, data: DataSet | None) -> Place:
    names: Mapping[str, str] = data.names if data is not None else {}
    path, _, name = re.sub(r"\{(\w+)\}", lambda found: slug(names[found[1]]), template).partition("#")
    return Place(path, name)


def _matches(template: str, layout: str, path: PurePosixPath) -> bool:
    """Whether a path may belong to an artifact of this template, whatever its names."""
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template.partition("#")[0]))
    end = "(/.*)?" if layout == "directory" else "(/[^/]+)?" if layout == "set" else ""
    return re.fullmatch(pattern + end, path.as_posix()) is not None


def _holds(place: Place, layout: str, path: PurePosixPath, format) -> bool:
    if layout == "set":
        owns = format.owns(place.set_name)
        return path.parent.as_posix() == place.path and any(path.match(pattern) for pattern in owns)
    return path.as_posix() == place.path or (layout == "directory" and path.is_relative_to(place.path))
