"""A project of an example domain with its history open, and the verbs that tests use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dagster import AssetSelection, DagsterInstance, Definitions, define_asset_job, in_process_executor
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from cytopipe.defs.artifact import Graph
from cytopipe.defs.assets import GraphAssets
from cytopipe.defs.event import Event
from cytopipe.defs.history import History, asset_key
from cytopipe.defs.io_managers import io_managers
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.relations import Relations
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.selection import choose, operations, plan_runs
from cytopipe.project import Project


@dataclass
class Lab:
    """An example project: `declare` makes it anew from a directory, as its file says now."""

    directory: Path
    graph: Graph
    declare: Callable[[Path], Project]
    instance: DagsterInstance
    changes: list[str] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return self.declare(self.directory)

    def definitions(self) -> Definitions:
        declare = self.declare

        class ExampleProject(ProjectResource):
            def read(self, instance: DagsterInstance) -> Project:
                return declare(Path(self.file))

        resource = ExampleProject(file=str(self.directory))
        assets = GraphAssets(self.project, self.graph)
        return Definitions(
            assets=assets.assets(),
            jobs=[define_asset_job("everything", AssetSelection.all())],
            resources={"project": resource, **io_managers(self.graph, resource)},
            executor=in_process_executor,
        )

    def ledger(self) -> Ledger:
        """The ledger, refreshed; what was noticed outside stands in `changes`."""
        ledger = Ledger(self.project, self.graph, History(self.instance))
        self.changes = [f"{one.asset} [{one.key}] {one.what}" for one in ledger.refresh()]
        return ledger

    def states(self, asset: str) -> dict[str, str]:
        return {one.key: one.state for one in self.ledger().statuses([asset])}

    def reasons(self, asset: str, key: str) -> tuple[str, ...]:
        return self.ledger().status(asset, key).reasons

    def stale(self, *assets: str) -> dict[str, list[str]]:
        """The partitions that Dagster itself calls stale, in their order, of those assets (all, if none is
        named) that have any. Ask for many at once: the graph is built anew for each look.
        """
        graph = self.definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        relations = Relations(self.project, self.graph)
        found = {
            asset: [
                key
                for key in relations.made_keys(self.graph.by_asset[asset])
                if resolver.get_status(asset_key(asset), key or None) is StaleStatus.STALE
            ]
            for asset in assets or self.graph.makers
        }
        return {asset: keys for asset, keys in found.items() if keys}

    def events(self, asset: str, key: str | None = None) -> list[Event]:
        """What happened to an asset, oldest first."""
        return History(self.instance).events(asset, key, limit=1000)[::-1]

    def make(self, *assets: str, keys: list[str] | None = None):
        """One run over the assets (of one set of partitions) for a range of keys; its result."""
        job = self.definitions().resolve_implicit_global_asset_job_def()
        chosen = job.get_subset(asset_selection={asset_key(one) for one in assets})
        tags = {}
        if keys and len(keys) == 1:
            tags = {"dagster/partition": keys[0]}
        elif keys:
            tags = {
                "dagster/asset_partition_range_start": keys[0],
                "dagster/asset_partition_range_end": keys[-1],
            }
        return chosen.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def make_wanted(self) -> None:
        """What the ledger wants, as `cytopipe materialize --all` plans it."""
        ledger = self.ledger()
        for run in plan_runs(ledger, choose(ledger)):
            self.make(*run.assets, keys=list(run.keys))

    def make_all(self) -> None:
        """Everything, also what is done, one operation after the other, as a backfill would."""
        relations = Relations(self.project, self.graph)
        for _, by, steps in operations(self.graph):
            keys = by.keys(self.project) if by else None
            used = [asset for step in steps if relations.is_used(step) for asset in step.makes]
            if used and (by is None or keys):
                self.make(*used, keys=keys)
