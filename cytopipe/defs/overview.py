"""One table per domain over all of its data sets and their parts: what was made, and how much of what.

The fan-in at the end of a domain. It has no partitions; its input is every partition that stands.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of contexts and resources.
from collections.abc import Mapping

from dagster import (
    AssetExecutionContext,
    AssetIn,
    AssetsDefinition,
    AutomationCondition,
    DataVersion,
    MetadataValue,
    Output,
    asset,
)

from cytopipe.defs import books
from cytopipe.defs.chain_values import content_bytes
from cytopipe.defs.graph import Graph
from cytopipe.defs.steps import Made
from cytopipe.provenance import sha256_bytes

__all__ = ["overview_assets", "overview_key"]

OWNERS = ["team:cytopipe"]


def overview_key(domain: str) -> str:
    """The asset of a domain's table."""
    return f"{domain}/overview"


def overview_assets(graph: Graph) -> list[AssetsDefinition]:
    """A table for every domain."""
    return [_overview(graph, domain) for domain in graph.domains]


def _overview(graph: Graph, domain: str) -> AssetsDefinition:
    counted = [chain.counted or chain.steps[-1].asset for chain in graph.chains_of(domain)]

    @asset(
        key=books.asset_key(overview_key(domain)),
        ins={one.replace("/", "_"): AssetIn(key=books.asset_key(one)) for one in counted},
        group_name=domain,
        owners=OWNERS,
        kinds={"pandas", "table"},
        code_version="1",
        automation_condition=AutomationCondition.eager(),
        metadata={"format": "tsv"},
        description=f"One row per partition of {domain}, with the counts of {' and '.join(counted)}.",
    )
    def overview(context: AssetExecutionContext, **made: dict[str, Made]) -> Output:
        table = table_of({key: one for partitions in made.values() for key, one in partitions.items()})
        version = sha256_bytes(content_bytes(table, "tsv"))
        return Output(
            table,
            data_version=DataVersion(version),
            metadata={
                "n_data_sets": len(table),
                "table": MetadataValue.md(_markdown(table)),
            },
        )

    return overview


def table_of(made: Mapping[str, Made]):
    """A data frame with one row per data set or part, in the order of their names.

    Columns are ``data_set``, the counts (those of all data sets, in the order of the first that has them) and
    ``sha256``.
    """
    import pandas

    names = list(dict.fromkeys(name for one in made.values() for name in one.counts))
    rows = [
        {"data_set": key, **{name: one.counts.get(name) for name in names}, "sha256": one.sha256}
        for key, one in sorted(made.items())
    ]
    return pandas.DataFrame(rows, columns=["data_set", *names, "sha256"])


def _markdown(table) -> str:
    shown = table.head(200).drop(columns="sha256")
    head = "| " + " | ".join(shown.columns) + " |"
    rule = "|" + " --- |" * len(shown.columns)
    rows = ["| " + " | ".join(map(str, row)) + " |" for row in shown.itertuples(index=False)]
    return "\n".join([head, rule, *rows])
