"""From declarations to Dagster: partitions definitions and mappings, sources, and one operation per set of
partitions.

Mappings are Dagster's own, so that its lineage, backfills and stale marks are those of
`cytopipe.defs.relations`: static ones between sets of keys, and the one from two dimensions to one where a
set is dense.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from collections.abc import Iterator
from functools import cached_property

from dagster import (
    AssetCheckSpec,
    AssetDep,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    BackfillPolicy,
    DimensionPartitionMapping,
    IdentityPartitionMapping,
    MultiPartitionMapping,
    MultiPartitionsDefinition,
    MultiToSingleDimensionPartitionMapping,
    PartitionMapping,
    PartitionsDefinition,
    StaticPartitionMapping,
    StaticPartitionsDefinition,
    multi_asset,
    multi_observable_source_asset,
)

from cytopipe.defs.artifact import Artifact, Graph, Partitions, Source
from cytopipe.defs.batch import Batch
from cytopipe.defs.history import History, asset_key
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.relations import Relations
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.selection import operations
from cytopipe.project import Project

__all__ = ["OWNERS", "POOL", "GraphAssets"]

OWNERS = ["team:cytopipe"]
POOL = "cytopipe.cpu"


class GraphAssets:
    """The assets of a graph over the partitions that a project declares.

    A project whose file cannot be read has none: `project` is then one without data sets.
    """

    def __init__(self, project: Project, graph: Graph) -> None:
        self.project, self.graph = project, graph
        self.relations = Relations(project, graph)

    # ------------------------------------------------------------------ partitions

    @cached_property
    def definitions(self) -> dict[Partitions, PartitionsDefinition]:
        """Dagster's definition of every set of partitions."""
        found: dict[Partitions, PartitionsDefinition] = {}
        for by in self.graph.partitions:
            keys = self.relations.keys(by)
            if by.dimensions is None:
                found[by] = StaticPartitionsDefinition(list(keys))
                continue
            parts = zip(*(key.split("|") for key in keys), strict=True) if keys else ((), ())
            # A dimension that is a set itself has all of its keys: Dagster maps only between equals.
            sets = {coarser.name: self.relations.keys(coarser) for coarser in by.within}
            found[by] = MultiPartitionsDefinition(
                {
                    name: StaticPartitionsDefinition(list(sets.get(name) or dict.fromkeys(part)))
                    for name, part in zip(by.dimensions, parts, strict=True)
                }
            )
        return found

    def partitions_of(self, by: Partitions | None) -> PartitionsDefinition | None:
        return self.definitions[by] if by is not None else None

    def mapping(self, step: Artifact, name: str) -> PartitionMapping | None:
        """The relation of an edge as a mapping of Dagster's own; None where its default says the same."""
        of, upstream = step.by, self.graph.by_asset[step.inputs[name]].by
        if of is None or upstream is None:
            return None
        if name in step.chosen:
            return self._static(step, name)
        if of is upstream:
            return None
        finer, coarser = (of, upstream) if upstream in of.within else (upstream, of)
        if finer.dimensions is not None and finer.dimensions == coarser.dimensions:
            return MultiPartitionMapping(
                {
                    name: DimensionPartitionMapping(name, IdentityPartitionMapping())
                    for name in finer.dimensions
                }
            )
        if finer.dimensions is not None and coarser.name in finer.dimensions:
            return MultiToSingleDimensionPartitionMapping(partition_dimension_name=coarser.name)
        if finer.dimensions is not None:
            return None
        return self._static(step, name)

    def _static(self, step: Artifact, name: str) -> StaticPartitionMapping:
        upstream = self.graph.by_asset[step.inputs[name]].by
        children: dict[str, list[str]] = {}
        for key in self.relations.keys(step.by):
            for parent in self.relations.parents(step, name, key):
                children.setdefault(parent, []).append(key)
        declared = self.relations.declared[upstream]
        return StaticPartitionMapping(
            {parent: some for parent, some in children.items() if parent in declared}
        )

    # ------------------------------------------------------------------ assets

    def assets(self) -> list[AssetsDefinition]:
        """Every artifact that the settings of some entry use, and the sources of these: what is never made
        would look forever missing, and a source that nothing reads would stand alone.

        Of an artifact that some entries use and others do not, Dagster has the whole set of partitions: a run
        needs one set for all of its assets, and a grid has gaps anyway.
        """
        operated = [
            self._operation(name, by, used)
            for name, by, steps in operations(self.graph)
            if (used := tuple(step for step in steps if self.relations.is_used(step)))
        ]
        return [*self._sources(), *operated]

    def _operation(self, name: str, by: Partitions | None, steps: tuple[Artifact, ...]) -> AssetsDefinition:
        graph, partitions = self.graph, self.partitions_of(by)

        @multi_asset(
            name=name,
            specs=[spec for step in steps for spec in self._specs(step)],
            check_specs=[
                AssetCheckSpec(
                    check.name,
                    asset=asset_key(asset),
                    description=check.description,
                    blocking=check.blocking,
                    partitions_def=partitions,
                )
                for step in steps
                for asset in step.makes
                for check in step.checks.get(asset, ())
            ],
            can_subset=True,
            partitions_def=partitions,
            backfill_policy=BackfillPolicy.multi_run(by.per_run) if by else None,
            required_resource_keys={"project", *(one.name for step in steps for one in step.makes.values())},
            pool=POOL,
        )
        def operation(context: AssetExecutionContext):
            project = context.resources.project.read(context.instance)
            ledger = Ledger(project, graph, History(context.instance))
            yield from Batch(context, ledger, steps).events()

        return operation

    def _specs(self, step: Artifact) -> Iterator[AssetSpec]:
        for asset, format in step.makes.items():
            yield AssetSpec(
                asset_key(asset),
                deps=[
                    AssetDep(asset_key(upstream), partition_mapping=self.mapping(step, name))
                    for name, upstream in step.inputs.items()
                    if self.relations.is_used(self.graph.by_asset[upstream])
                ],
                description=step.description,
                group_name=step.domain,
                code_version=step.code_version,
                owners=OWNERS,
                kinds={*(format.kinds or (format.name,))},
                metadata={"expected_minutes": step.minutes} if step.minutes else None,
                partitions_def=self.partitions_of(step.by),
                skippable=True,
            ).with_io_manager_key(format.name)

    def _sources(self) -> Iterator[AssetsDefinition]:
        groups: dict[tuple[str, Partitions | None], list[Source]] = {}
        for source in filter(self.relations.is_used, self.graph.sources.values()):
            groups.setdefault((source.asset.split("/")[0], source.by), []).append(source)
        for (domain, by), sources in groups.items():
            name = f"{domain}_{by.name.removeprefix(f'{domain}_') if by else 'project'}_sources"
            yield self._observation(name, by, sources)

    def _observation(self, name: str, by: Partitions | None, sources: list[Source]) -> AssetsDefinition:
        graph, partitions = self.graph, self.partitions_of(by)

        @multi_observable_source_asset(
            name=name,
            specs=[
                AssetSpec(
                    asset_key(source.asset),
                    description=source.description,
                    group_name=source.asset.split("/")[0],
                    owners=OWNERS,
                    kinds=set(source.kinds),
                    partitions_def=partitions,
                    skippable=True,
                )
                for source in sources
            ],
            partitions_def=partitions,
            can_subset=True,
            description="Look at the inputs and note what changed.",
        )
        def look(context: AssetExecutionContext, project: ProjectResource):
            for change in Ledger(project.read(context.instance), graph, History(context.instance)).refresh():
                context.log.info(f"{change.asset} [{change.key}]: {change.what}")
            return
            yield

        return look
