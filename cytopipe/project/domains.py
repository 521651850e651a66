"""The domains: a domain is added by one line here. Nothing heavy is imported to list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cytopipe.project import atlas, decompose, export, heatmap, screen
from cytopipe.project.domain import Domain

if TYPE_CHECKING:
    from cytopipe.project.entry import Entry

__all__ = ["DOMAINS", "domain_of", "entry_model"]

DOMAINS: dict[str, Domain] = {
    one.name: one
    for one in (
        decompose.DOMAIN,
        atlas.DOMAIN,
        screen.DOMAIN,
        heatmap.DOMAIN,
        export.DOMAIN,
    )
}


def domain_of(partitions: str) -> str:
    """The domain to which a set of partitions belongs."""
    return next((one.name for one in DOMAINS.values() if partitions in one.all_sets), partitions)


def entry_model(domain: str) -> type[Entry]:
    """The model of one entry of `domain`; a `KeyError` for a domain that :data:`DOMAINS` lacks."""
    return DOMAINS[domain].entry_model()
