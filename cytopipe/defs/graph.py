"""The whole graph as plain values: every domain's sources and steps, before Dagster sees them.

The plan, the command line and the sensors ask this; `cytopipe.defs.chain` makes assets of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

from cytopipe.defs.steps import Source, Step
from cytopipe.project import DataSet

__all__ = ["Chain", "Graph"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A domain's sources and steps, in the order the data flows, over one set of partitions.

    Parameters
    ----------
    partitions_per_run : int
        How many data sets a backfill gives to one run: one to ten minutes of work, since a run costs 2-4 CPU
        seconds and an event a few milliseconds.
    asset_of : callable
        To which asset a file in a data set's folder belongs, if to one; its path is relative to that folder.
    belongs : callable
        Whether a file in a data set's folder belongs to this data set, where several share a folder.
    gathered : tuple of str
        Assets without partitions that gather all data sets, besides the overview; made after them.
    """

    domain: str
    description: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    partitions_per_run: int
    asset_of: Callable[[PurePath], str | None] = lambda path: None
    belongs: Callable[[DataSet, PurePath], bool] = lambda data, path: True
    gathered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Every chain of the house."""

    chains: tuple[Chain, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(chain.domain for chain in self.chains)

    @property
    def sources(self) -> dict[str, Source]:
        return {source.asset: source for chain in self.chains for source in chain.sources}

    @property
    def steps(self) -> dict[str, Step]:
        return {step.asset: step for chain in self.chains for step in chain.steps}

    def chain_of(self, domain: str) -> Chain:
        return next(chain for chain in self.chains if chain.domain == domain)

    def sources_of(self, domain: str) -> tuple[Source, ...]:
        return self.chain_of(domain).sources

    def steps_of(self, domain: str) -> tuple[Step, ...]:
        return self.chain_of(domain).steps
