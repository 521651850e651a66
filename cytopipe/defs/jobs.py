"""One job per domain, and one for care; what schedules start and people find by name."""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job

from cytopipe.defs.graph import Graph

__all__ = ["CARE_JOB", "domain_job_name", "jobs_of"]

CARE_JOB = "verify_and_sweep"


def domain_job_name(domain: str) -> str:
    """The job of a domain: ``decompose_all``."""
    return f"{domain}_all"


def jobs_of(graph: Graph) -> list:
    """The jobs of every domain, and the care of the archive."""
    return [
        *(
            define_asset_job(
                domain_job_name(chain.domain),
                selection=AssetSelection.groups(chain.domain),
                description=f"{chain.description} Every asset of the domain, for one or many data sets.",
            )
            for chain in graph.chains
        ),
        define_asset_job(
            CARE_JOB,
            selection=AssetSelection.groups("care"),
            description="Compare every artifact with its manifest, then remove dead drafts and old versions.",
        ),
    ]
