"""Partition keys as runs take them: contiguous ranges in the order in which the keys were added."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["range_tags", "ranges_of"]

_BEGIN, _END, _ONE = (
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
    "dagster/partition",
)


def ranges_of(order: list[str], wanted: Iterable[str], longest: int | None = None) -> list[list[str]]:
    """Split `wanted` into runs of neighbours in `order`, none longer than `longest`."""
    chosen = set(wanted)
    ranges: list[list[str]] = []
    fresh = True
    for key in order:
        if key not in chosen:
            fresh = True
            continue
        if fresh or (longest is not None and len(ranges[-1]) >= longest):
            ranges.append([])
            fresh = False
        ranges[-1].append(key)
    return ranges


def range_tags(keys: list[str]) -> dict[str, str]:
    """The run tags that select a range of keys (or a single one)."""
    return {_ONE: keys[0]} if len(keys) == 1 else {_BEGIN: keys[0], _END: keys[-1]}
