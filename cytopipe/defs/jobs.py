"""One job per set of partitions, and one for care; what schedules start and people find by name."""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job

from cytopipe.defs import books
from cytopipe.defs.graph import Chain, Graph
from cytopipe.defs.overview import overview_key

__all__ = ["CARE_JOB", "chain_job_name", "jobs_of"]

CARE_JOB = "verify_and_sweep"


def chain_job_name(chain: Chain) -> str:
    """The job of a chain: ``decompose_all``."""
    return f"{chain.partitions}_all"


def jobs_of(graph: Graph) -> list:
    """The job of every chain, with what gathers its partitions, and the care of the archive.

    Dagster's jobs have one set of partitions each.
    """
    return [
        *(
            define_asset_job(
                chain_job_name(chain),
                selection=AssetSelection.assets(*map(books.asset_key, _assets_of(chain))),
                description=f"{chain.description} Every asset of these partitions, for one or many of them.",
            )
            for chain in graph.chains
        ),
        define_asset_job(
            CARE_JOB,
            selection=AssetSelection.groups("care"),
            description="Compare every artifact with its manifest, then remove dead drafts and old versions.",
        ),
    ]


def _assets_of(chain: Chain) -> list[str]:
    steps = (step.asset for step in chain.steps)
    return [*steps, overview_key(chain.domain), *(one.asset for one in chain.gathered)]
