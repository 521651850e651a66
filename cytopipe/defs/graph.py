"""The whole graph as plain values: every domain's sources and steps, before Dagster sees them.

The plan, the command line and the sensors ask this; `cytopipe.defs.chain` makes assets of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from cytopipe.defs.steps import Gathering, Source, Step
from cytopipe.project import DataSet, Project

__all__ = ["Chain", "Graph"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Sources and steps of a domain, in the order the data flows, over one set of partitions.

    A domain has a chain over its data sets, and may have one after it over the parts of its data sets.

    Parameters
    ----------
    partitions : str
        The set of partitions: the domain's own name for its data sets, that of `PARTS` for their parts.
    partitions_per_run : int
        How many partitions a backfill gives to one run: one to ten minutes of work, since a run costs 2-4 CPU
        seconds and an event a few milliseconds.
    asset_of : callable
        To which asset a file in a data set's folder belongs, if to one; its path is relative to that folder.
    belongs : callable
        Whether a file in a data set's folder belongs to this partition, where several share a folder.
    counted : str
        The asset whose counts the overview of the domain shows; the last one, if left out.
    gathered : tuple of Gathering
        What has no partitions and gathers these, besides the overview.
    """

    domain: str
    partitions: str
    description: str
    sources: tuple[Source, ...]
    steps: tuple[Step, ...]
    partitions_per_run: int
    asset_of: Callable[[PurePath], str | None] = lambda path: None
    belongs: Callable[[DataSet, PurePath], bool] = lambda data, path: True
    counted: str = ""
    gathered: tuple[Gathering, ...] = ()

    @property
    def of_parts(self) -> bool:
        """Whether its partitions are parts of data sets."""
        return self.partitions != self.domain


@dataclass(frozen=True)
class Graph:
    """Every chain of the house; a chain over parts stands after that over their data sets."""

    chains: tuple[Chain, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.domain for chain in self.chains))

    @cached_property
    def sources(self) -> dict[str, Source]:
        return {source.asset: source for chain in self.chains for source in chain.sources}

    @cached_property
    def steps(self) -> dict[str, Step]:
        return {step.asset: step for chain in self.chains for step in chain.steps}

    @cached_property
    def gatherings(self) -> dict[str, Gathering]:
        return {one.asset: one for chain in self.chains for one in chain.gathered}

    def chains_of(self, domain: str) -> tuple[Chain, ...]:
        return tuple(chain for chain in self.chains if chain.domain == domain)

    def steps_of(self, domain: str) -> tuple[Step, ...]:
        return tuple(step for chain in self.chains_of(domain) for step in chain.steps)

    def chain_with(self, asset: str) -> Chain:
        """The chain to which a source or a step belongs."""
        return self._chains_by_asset[asset]

    def input_key(self, step: Step, asset: str, data: DataSet) -> str:
        """The key of the partition of `asset` from which `step` makes `data`: its own, or its parent's."""
        same = self.chain_with(asset) is self.chain_with(step.asset)
        return data.key if same else data.parent

    def inputs_of(self, project: Project, asset: str, key: str) -> tuple[tuple[str, str], ...]:
        """Asset and key of every partition from which a partition is made."""
        if asset in self.gatherings:
            return self.gatherings[asset].inputs(project)
        data = project.data_sets.get(self.chain_with(asset).partitions, {}).get(key)
        if asset not in self.steps or data is None:
            return ()
        step = self.steps[asset]
        return tuple((one, self.input_key(step, one, data)) for one in step.after)

    @cached_property
    def _chains_by_asset(self) -> dict[str, Chain]:
        return {one.asset: chain for chain in self.chains for one in (*chain.sources, *chain.steps)}
