"""The domains whose entries a project file may hold: the one place where a domain adds its own.

Each line names the pydantic model of one entry, imported only when a project file is read. The model
lives with its domain (or here, for a domain that has none of its own), imports no Dagster, and derives
from :class:`cytopipe.project.entry.Entry`.
"""

from __future__ import annotations

from importlib import import_module

from cytopipe.project.entry import Entry

__all__ = ["DOMAINS", "PARTS", "domain_of", "entry_model"]

DOMAINS: dict[str, str] = {
    "decompose": "cytopipe.project.decompose:SequenceSet",
    "atlas": "cytopipe.project.atlas:Atlas",
}

PARTS: dict[str, str] = {"atlas": "atlas_signatures"}
"""Domains whose data sets have parts (:meth:`cytopipe.project.entry.Entry.parts`), and the name of the set of
partitions that all parts are; the data sets themselves are the set that is named like the domain."""


def domain_of(partitions: str) -> str:
    """The domain to which a set of partitions belongs."""
    return next((domain for domain, parts in PARTS.items() if parts == partitions), partitions)


def entry_model(domain: str) -> type[Entry]:
    """The model of one entry of `domain`; a `KeyError` for a domain that :data:`DOMAINS` lacks."""
    module, _, name = DOMAINS[domain].partition(":")
    return getattr(import_module(module), name)
