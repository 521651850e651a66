"""Sources as assets: what a chain begins with, observed and never made.

Observing is also done by the sensor and by every run; here it is what the browser's *Observe* does.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from dagster import AssetExecutionContext, AssetsDefinition, AssetSpec, multi_observable_source_asset

from cytopipe.defs import books
from cytopipe.defs.graph import Chain, Graph
from cytopipe.defs.observing import observe
from cytopipe.defs.partitions import partitions_of
from cytopipe.defs.resources import ProjectResource

__all__ = ["source_assets"]


def source_assets(graph: Graph, chain: Chain, owners: list[str]) -> AssetsDefinition:
    """The observable assets of the sources of a chain of the graph."""

    @multi_observable_source_asset(
        name=f"{chain.partitions}_sources",
        specs=[
            AssetSpec(
                books.asset_key(source.asset),
                description=source.description,
                group_name=chain.domain,
                owners=owners,
                kinds=set(source.kinds),
                partitions_def=partitions_of(chain.partitions),
                skippable=True,
            )
            for source in chain.sources
        ],
        partitions_def=partitions_of(chain.partitions),
        can_subset=True,
        description=f"Look at the inputs of {chain.domain} and note what changed.",
    )
    def look(context: AssetExecutionContext, project: ProjectResource):
        keys = {chain.partitions: list(context.partition_keys)}
        for one in observe(project.read(context.instance), context.instance, graph, keys, run=context):
            context.log.info(f"{one.asset} [{one.partition}]: {one.what}")
        return
        yield

    return look
