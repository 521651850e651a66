"""What Dagster loads: every domain's chain as assets, with checks, jobs, schedules, sensors, resources.

A domain joins by its chains in `GRAPH`. Nothing heavy is imported here: each run pays for what this
module imports, and a web server waits for it.
"""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from cytopipe.defs.atlas import ATLAS_LEVELS, ATLAS_SIGNATURES
from cytopipe.defs.care import archive_health
from cytopipe.defs.chain import OWNERS, chain_assets
from cytopipe.defs.chain_values import ArtifactIOManager
from cytopipe.defs.checks import standing_checks
from cytopipe.defs.cross_atlas import cross_atlas_asset
from cytopipe.defs.decompose_chain import DECOMPOSE
from cytopipe.defs.graph import Graph
from cytopipe.defs.jobs import jobs_of
from cytopipe.defs.overview import overview_assets
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.schedules import schedules_of
from cytopipe.defs.sensors import sensors_of
from cytopipe.defs.source_assets import source_assets

__all__ = ["GRAPH", "definitions"]

GRAPH = Graph((DECOMPOSE, ATLAS_LEVELS, ATLAS_SIGNATURES))

project = ProjectResource()

definitions = Definitions(
    assets=[
        *(source_assets(GRAPH, chain, OWNERS) for chain in GRAPH.chains),
        *(chain_assets(GRAPH, chain) for chain in GRAPH.chains),
        *overview_assets(GRAPH),
        cross_atlas_asset(GRAPH, OWNERS),
        archive_health,
    ],
    asset_checks=[check for chain in GRAPH.chains for check in standing_checks(chain)],
    jobs=jobs_of(GRAPH),
    schedules=schedules_of(GRAPH),
    sensors=sensors_of(GRAPH),
    resources={"project": project, "io_manager": ArtifactIOManager(GRAPH, project)},
    # One process per run: a process per step would triple what a run costs (measured: 50 runs in 163 s
    # against 52 s), and heavy work goes through the engine anyway.
    executor=in_process_executor,
)
