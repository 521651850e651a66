"""Partitions: one dynamic dimension per domain, whose keys are the data sets of the project file.

Dagster accepts any text as a dynamic key; ours come from a project file that has been read, so every
key has passed `cytopipe.storage.check_key`. Keys are only ever added: a data set that leaves the file
keeps its history. New keys go in by sorted chunks, so that what belongs together stands together and a
range of keys means something.
"""

from __future__ import annotations

from collections.abc import Iterator

from dagster import AddDynamicPartitionsRequest, DagsterInstance, DynamicPartitionsDefinition

from cytopipe.project import DOMAINS, Project

__all__ = ["missing_partitions", "partitions_of", "register"]

_CHUNK = 10_000  # larger batches of keys lock the database for seconds

_BY_DOMAIN = {domain: DynamicPartitionsDefinition(name=domain) for domain in DOMAINS}


def partitions_of(domain: str) -> DynamicPartitionsDefinition:
    """The partitions of a domain's assets."""
    return _BY_DOMAIN[domain]


def missing_partitions(project: Project, instance: DagsterInstance) -> Iterator[tuple[str, list[str]]]:
    """Yield ``(domain, keys)`` of data sets that the file declares and Dagster does not know, in chunks."""
    for domain, data_sets in project.data_sets.items():
        known = set(instance.get_dynamic_partitions(domain))
        new = [key for key in data_sets if key not in known]
        for begin in range(0, len(new), _CHUNK):
            yield domain, new[begin : begin + _CHUNK]


def register(project: Project, instance: DagsterInstance) -> dict[str, list[str]]:
    """Add every data set that is not known yet; returns the new keys by domain."""
    added: dict[str, list[str]] = {}
    for domain, keys in missing_partitions(project, instance):
        instance.add_dynamic_partitions(domain, keys)
        added.setdefault(domain, []).extend(keys)
    return added


def registration_requests(project: Project, instance: DagsterInstance) -> list[AddDynamicPartitionsRequest]:
    """The same as requests, for a sensor."""
    return [
        partitions_of(domain).build_add_request(keys)
        for domain, keys in missing_partitions(project, instance)
    ]
