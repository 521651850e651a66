"""What live runs work on, as partitions of assets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from cytopipe.defs.ledger import Ledger

__all__ = ["live_places"]

_LIVE = [DagsterRunStatus.STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING]


def live_places(instance: DagsterInstance, ledger: Ledger) -> dict[tuple[str, str], str]:
    """(asset, key) of everything that a live run has selected, with the run's id."""
    found = {}
    for run in instance.get_runs(RunsFilter(statuses=_LIVE), limit=200):
        assets = {"/".join(key.path) for key in run.asset_selection or ()} & set(ledger.graph.makers)
        for asset in assets:
            keys = ledger.relations.keys(ledger.graph.makers[asset].by)
            found |= {(asset, key): run.run_id for key in _keys_of(run, keys)}
    return found


def _keys_of(run: DagsterRun, keys: Sequence[str]) -> Iterable[str]:
    if single := run.tags.get("dagster/partition"):
        return [single]
    begin = run.tags.get("dagster/asset_partition_range_start")
    end = run.tags.get("dagster/asset_partition_range_end")
    if begin in keys and end in keys:
        return keys[keys.index(begin) : keys.index(end) + 1]
    return [key for key in keys if key == ""]
