"""The graph of every domain, as plain values; Dagster sees it in `cytopipe.defs.definitions`.

A domain joins by its registration (`cytopipe.project.domains`).
"""

from __future__ import annotations

from importlib import import_module

from cytopipe.defs.artifact import Graph
from cytopipe.project import DOMAINS

__all__ = ["GRAPH"]


def _graph(target: str) -> Graph:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


_GRAPHS = [_graph(one.graph) for one in DOMAINS.values() if one.graph]

GRAPH = Graph(
    *(member for one in _GRAPHS for member in one.members),
    jobs={name: below for one in _GRAPHS for name, below in one.jobs.items()},
)
