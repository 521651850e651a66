"""What the atlases of a project agree on: the fan-in at the end of the atlas domain.

In come the activities of every atlas at the level that stands for it (`compare_at`), for each signature that
two atlases share; out go the tables and figures of `cytopipe atlas compare`, for lineages and for fine types.
What was compared already, from the same activities with the same tables of cell types, is vouched for again.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSpec,
    DataVersion,
    Failure,
    MaterializeResult,
    multi_asset,
)

from cytopipe.defs import books
from cytopipe.defs.graph import Graph
from cytopipe.defs.observing import observe
from cytopipe.defs.plan import Place, judge_gathering
from cytopipe.defs.resources import ProjectResource
from cytopipe.defs.standing_atlases import (
    CODE,
    catalogue_of,
    digest_of,
    published,
    standing_activity,
    vocabulary_of,
)
from cytopipe.defs.steps import Gathering, Made
from cytopipe.errors import CytopipeError
from cytopipe.project import PARTS, DataSet, Project

__all__ = ["CROSS_ATLAS", "cross_atlas_asset"]

TABLES = ("pairs", "targets", "conserved", "consistency", "meta", "types", "labels")
GRANULARITIES = ("coarse", "fine")
_LEAST_TYPES = 3
_LEAST_PLACED = 0.5


def cross_atlas_asset(graph: Graph, owners: list[str]) -> AssetsDefinition:
    """The asset over all atlases."""
    key = books.asset_key(CROSS_ATLAS.asset)

    @multi_asset(
        name="cross_atlas",
        specs=[
            AssetSpec(
                key,
                deps=[books.asset_key(asset) for asset in _AFTER],
                description="Atlases compared with one another: correlation of activity per pair and per "
                "target, which targets are conserved, how consistent they are, and correlations with "
                "expression, pooled over atlases. Nothing is made while fewer than two atlases share one.",
                group_name="atlas",
                code_version=CODE,
                owners=owners,
                kinds={"python", "table"},
                skippable=True,
            )
        ],
        check_specs=[
            AssetCheckSpec(
                "types_shared",
                asset=key,
                description=f"Every pair of atlases shares at least {_LEAST_TYPES} cell types.",
            ),
            AssetCheckSpec(
                "labels_placed",
                asset=key,
                description="At least half of every atlas's labels have a place in the vocabulary.",
            ),
        ],
        can_subset=True,
        description="Compare the atlases of the project.",
    )
    def cross_atlas(context: AssetExecutionContext, project: ProjectResource):
        found, instance = project.read(context.instance), context.instance
        comparisons = list(_standing_ones(_comparisons(found)))
        if not comparisons:
            context.log.info("fewer than two atlases have an activity of the same signature")
            return
        parts = [data for one in comparisons for data in one.atlases.values()]
        looked_at = {PARTS["atlas"]: {one.key for one in parts}, "atlas": {one.parent for one in parts}}
        observe(found, instance, graph, looked_at, run=context)
        began = time.monotonic()
        inputs, judgement = judge_gathering(found, instance, graph, CROSS_ATLAS, _places(comparisons))
        made, refused = _described(comparisons) if judgement.state == "done" else None, {}
        if made is None:
            made, refused = _compare(comparisons, context)
        how = "vouched for again" if made.reused else "made"
        yield MaterializeResult(
            asset_key=key,
            metadata=books.describe(
                found,
                replace(made, notes={**made.notes, **refused}),
                code_version=CODE,
                inputs=inputs,
                duration_s=time.monotonic() - began,
                how=how,
            ),
            data_version=DataVersion(made.sha256),
            check_results=list(_checks(key, comparisons)),
        )

    return cross_atlas


@dataclass(frozen=True)
class _Comparison:
    """One signature in the atlases that share it: in each, at the level that stands for the atlas."""

    signature: str
    atlases: Mapping[str, DataSet]

    @property
    def levels(self) -> dict[str, str]:
        return {atlas: data.entry.level.name for atlas, data in self.atlases.items()}

    @property
    def vocabulary(self):
        from cytopipe.atlas.harmonise import joined_harmonisation

        return joined_harmonisation({atlas: vocabulary_of(data) for atlas, data in self.atlases.items()})

    def path(self, granularity: str, what: str) -> Path:
        return catalogue_of(next(iter(self.atlases.values()))).comparison(self.signature, granularity, what)


def _comparisons(project: Project) -> Iterator[_Comparison]:
    """Every signature that at least two atlases of the project share."""
    sharing: dict[str, dict[str, DataSet]] = {}
    for data in project.data_sets.get(PARTS["atlas"], {}).values():
        if data.entry.level.name == data.entry.compared_level:
            sharing.setdefault(data.entry.signature, {})[data.entry.atlas] = data
    for signature, atlases in sharing.items():
        if len(atlases) >= 2:
            yield _Comparison(signature, dict(sorted(atlases.items())))


def _standing_ones(comparisons: Iterator[_Comparison]) -> Iterator[_Comparison]:
    """The comparisons over the atlases whose activity stands, where there are two."""
    for one in comparisons:
        there = {atlas: data for atlas, data in one.atlases.items() if _stands(data)}
        if len(there) >= 2:
            yield replace(one, atlases=there)


def _stands(data: DataSet) -> bool:
    try:
        return standing_activity(data) is not None
    except CytopipeError:
        return False  # damaged, as the plan says of the activity itself


def _places(comparisons: list[_Comparison]) -> tuple[Place, ...]:
    """What the comparisons are made from."""
    parts = [data for one in comparisons for data in one.atlases.values()]
    return (
        *(("atlas/activity", data.key) for data in parts),
        *(("atlas/validation", data.key) for data in parts),
        *(("atlas/cell_types", key) for key in dict.fromkeys(data.parent for data in parts)),
    )


def _compare(comparisons: list[_Comparison], context: AssetExecutionContext) -> tuple[Made, dict[str, str]]:
    """Compare, and tell which comparisons were refused and why; all of them refused is a failure."""
    from cytopipe.atlas.validation_tables import cross_atlas
    from cytopipe.storage import Store

    refused = {}
    for one in comparisons:
        data = next(iter(one.atlases.values()))
        for granularity in GRANULARITIES:
            try:
                cross_atlas(
                    Store(data.folder),
                    one.levels,
                    one.signature,
                    granularity=granularity,
                    harmonisation=one.vocabulary,
                    of_run={"asset": CROSS_ATLAS.asset, "run_id": context.run.run_id},
                )
            except CytopipeError as error:
                refused[f"refused_{one.signature}_{granularity}"] = str(error)
    made = _described(comparisons) if len(refused) < len(comparisons) * len(GRANULARITIES) else None
    if made is None:
        why = "\n".join(refused.values())
        context.log_event(books.failure_note(CROSS_ATLAS.asset, "", why))
        raise Failure(description=why, allow_retries=False)
    return replace(made, reused=False), refused


def _standing(comparisons: list[_Comparison]) -> Made | None:
    """The tables of the comparisons that stand; None where there is none."""
    digests, size, tables = {}, 0, {}
    for one in comparisons:
        data = next(iter(one.atlases.values()))
        for granularity in GRANULARITIES:
            files = {path.name: path for path in (one.path(granularity, f"{what}.tsv") for what in TABLES)}
            manifests = {name: published(data, path) for name, path in files.items()}
            if None in manifests.values():
                continue
            digests |= {name: manifest.sha256 for name, manifest in manifests.items()}
            size += sum(manifest.size_bytes for manifest in manifests.values())
            tables |= files
    if not digests:
        return None
    return Made(
        path=next(iter(tables.values())).parent,
        sha256=digest_of(digests),
        size_bytes=size,
        counts={
            "n_atlases": len({atlas for one in comparisons for atlas in one.atlases}),
            "n_signatures": len(comparisons),
        },
        parameters={one.signature: one.levels for one in comparisons},
        tables=tables,
        reused=True,
    )


def _described(comparisons: list[_Comparison]) -> Made | None:
    """The comparisons that stand, as the asset's value: how many targets are conserved, and the pictures."""
    from cytopipe.storage.formats.table import read_tsv

    made = _standing(comparisons)
    if made is None:
        return None
    classes: dict[str, int] = {}
    pictures = []
    for one in comparisons:
        conserved = one.path("coarse", "conserved.tsv")
        if conserved.name in made.tables:
            found = read_tsv(conserved, columns=["conservation"], text=["target"])
            for name, count in found["conservation"].value_counts().items():
                classes[f"n_{name}"] = classes.get(f"n_{name}", 0) + int(count)
        for granularity in GRANULARITIES:
            pictures += [one.path(granularity, what) for what in ("forest.png", "heat_map.png")]
    present = {path.name: path for path in pictures if path.is_file()}
    return replace(
        made,
        counts={**made.counts, **dict(sorted(classes.items()))},
        tables={**made.tables, **present},
        picture=next(iter(present.values()), None),
    )


def _checks(key, comparisons: list[_Comparison]) -> Iterator[AssetCheckResult]:
    """What makes a comparison weak: too few types in common, labels without a place."""
    from cytopipe.storage.formats.table import read_tsv

    few, placeless = [], []
    for one in comparisons:
        pairs, labels = one.path("coarse", "pairs.tsv"), one.path("coarse", "labels.tsv")
        if not pairs.is_file() or not labels.is_file():
            few.append(f"{one.signature}: nothing could be compared")
            continue
        for row in read_tsv(pairs, columns=["n_types"], text=["atlas_a", "atlas_b"]).itertuples():
            if row.n_types < _LEAST_TYPES:
                few.append(f"{one.signature}, {row.atlas_a} / {row.atlas_b}: {row.n_types} types")
        found = read_tsv(labels, columns=["cell_type"], text=["atlas", "label", "cell_type"])
        for atlas, part in found.groupby("atlas"):
            share = float((part["cell_type"].fillna("") != "").mean())
            if share < _LEAST_PLACED:
                placeless.append(f"{atlas}: {share:.0%} of {len(part)} labels")
    for name, findings in (("types_shared", few), ("labels_placed", placeless)):
        yield AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not findings,
            severity=AssetCheckSeverity.WARN,
            description="; ".join(findings) or "holds",
        )


_AFTER = ("atlas/activity", "atlas/validation", "atlas/cell_types")

CROSS_ATLAS = Gathering(
    asset="atlas/cross_atlas",
    inputs=lambda project: _places(list(_comparisons(project))),
    needs="two atlases that share a signature",
    standing=lambda project: _standing(list(_comparisons(project))),
    folder=lambda project: project.output / "atlas" / "validation" / "cross_atlas",
    code_version=CODE,
)
