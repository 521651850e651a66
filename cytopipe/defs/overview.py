"""One table per domain over all of its data sets: what was made, and how much of what.

It has no partitions; its input is every partition that stands.
"""

from __future__ import annotations

from collections.abc import Mapping

from cytopipe.defs.artifact import Artifact, Described, artifact
from cytopipe.storage.archive import Handle
from cytopipe.storage.formats import FORMATS

__all__ = ["is_overview", "overview_of"]

_ROWS_SHOWN = 200


def overview_of(asset: str) -> Artifact:
    """The table over all partitions of an asset: ``domain/overview``."""

    def overview(made: Mapping[str, Handle]) -> Described:
        table = _table(made)
        return Described(table, counts={"n_data_sets": len(table)}, notes={"table": _markdown(table)})

    overview.__doc__ = f"One row per data set: what {asset} holds of each."
    domain = asset.split("/")[0]
    return artifact(f"{domain}/overview", FORMATS["tsv"], inputs={"made": asset}, optional=("made",))(
        overview
    )


def is_overview(asset: str) -> bool:
    """Whether an asset is the table of a domain."""
    return asset.endswith("/overview")


def _table(made: Mapping[str, Handle]):
    """Columns are ``data_set``, the counts (in the order of the first that has them) and ``sha256``."""
    import pandas

    receipts = {key: made[key].receipt for key in sorted(made)}
    facts = {key: one.provenance.facts if one.provenance else {} for key, one in receipts.items()}
    names = list(dict.fromkeys(name for one in facts.values() for name in one))
    rows = [
        {"data_set": key, **{name: facts[key].get(name) for name in names}, "sha256": one.version}
        for key, one in receipts.items()
    ]
    table = pandas.DataFrame(rows, columns=["data_set", *names, "sha256"])
    # Counts that some data sets lack would become floats: 11.0
    return table.convert_dtypes()


def _markdown(table) -> str:
    shown = table.head(_ROWS_SHOWN).drop(columns="sha256").astype(object).where(table.notna(), "")
    head = "| " + " | ".join(shown.columns) + " |"
    rule = "|" + " --- |" * len(shown.columns)
    rows = ["| " + " | ".join(map(str, row)) + " |" for row in shown.itertuples(index=False)]
    return "\n".join([head, rule, *rows])
