"""Partitions: a dynamic dimension per domain, whose keys are the data sets of the project file, and one for
the parts of data sets, where a domain has them.

Dagster accepts any text as a dynamic key; ours come from a project file that has been read, so every
key has passed `cytopipe.storage.check_key`. Keys are only ever added: a data set that leaves the file
keeps its history. New keys go in by sorted chunks, so that what belongs together stands together and a
range of keys means something.
"""

from __future__ import annotations

from collections.abc import Iterator

from dagster import AddDynamicPartitionsRequest, DagsterInstance, DynamicPartitionsDefinition

from cytopipe.project import DOMAINS, PARTS, Project

__all__ = ["missing_partitions", "partitions_of", "register", "registration_requests"]

_CHUNK = 10_000  # larger batches of keys lock the database for seconds

_BY_NAME = {name: DynamicPartitionsDefinition(name=name) for name in (*DOMAINS, *PARTS.values())}


def partitions_of(name: str) -> DynamicPartitionsDefinition:
    """A set of partitions: that of a domain's data sets, or of their parts."""
    return _BY_NAME[name]


def missing_partitions(project: Project, instance: DagsterInstance) -> Iterator[tuple[str, list[str]]]:
    """Yield ``(set of partitions, keys)`` that the file declares and Dagster does not know, in chunks."""
    for name, data_sets in project.data_sets.items():
        known = set(instance.get_dynamic_partitions(name))
        new = [key for key in data_sets if key not in known]
        for begin in range(0, len(new), _CHUNK):
            yield name, new[begin : begin + _CHUNK]


def register(project: Project, instance: DagsterInstance) -> dict[str, list[str]]:
    """Add every data set and part that is not known yet; returns the new keys by set of partitions."""
    added: dict[str, list[str]] = {}
    for name, keys in missing_partitions(project, instance):
        instance.add_dynamic_partitions(name, keys)
        added.setdefault(name, []).extend(keys)
    return added


def registration_requests(project: Project, instance: DagsterInstance) -> list[AddDynamicPartitionsRequest]:
    """The same as requests, for a sensor."""
    return [
        partitions_of(name).build_add_request(keys) for name, keys in missing_partitions(project, instance)
    ]
