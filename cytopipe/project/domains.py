"""The domains whose entries a project file may hold: the one place where a domain adds its own.

Each line names the pydantic model of one entry, imported only when a project file is read. The model
lives with its domain (or here, for a domain that has none of its own), imports no Dagster, and derives
from :class:`cytopipe.project.entry.Entry`.
"""

from __future__ import annotations

from importlib import import_module

from cytopipe.project.entry import Entry

__all__ = ["DOMAINS", "entry_model"]

DOMAINS: dict[str, str] = {
    "decompose": "cytopipe.project.decompose:SequenceSet",
    "atlas": "cytopipe.project.atlas:Atlas",
}


def entry_model(domain: str) -> type[Entry]:
    """The model of one entry of `domain`; a `KeyError` for a domain that :data:`DOMAINS` lacks."""
    module, _, name = DOMAINS[domain].partition(":")
    return getattr(import_module(module), name)
