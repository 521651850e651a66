"""The graph of every domain, as plain values; Dagster sees it in `cytopipe.defs.definitions`.

A domain joins by its graph, on one line.
"""

from __future__ import annotations

from cytopipe.defs.artifact import Graph
from cytopipe.defs.atlas import ATLAS
from cytopipe.defs.decompose import DECOMPOSE
from cytopipe.defs.overview import overview_of

__all__ = ["GRAPH"]

GRAPH = Graph(
    *DECOMPOSE.members,
    overview_of("decompose/final"),
    *ATLAS.members,
    overview_of("atlas/pseudobulk"),
)
