"""From the name of a signature's target to the gene that encodes it.

Cytokine signatures are named as immunologists speak (TNFA, GMCSF, CD40L), expression matrices by HGNC symbols
(TNF, CSF2, CD40LG). `genes_of_target` gives the approved symbols whose expression an activity may be compared
with. A cell-type specific target has the cell type in front (``CD4_T__IFNG``). A name that is a symbol
already stays itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["GENES_OF_TARGET", "cell_type_of_target", "cytokine_of_target", "genes_of_target"]

CELL_TYPE_SEPARATOR = "__"

GENES_OF_TARGET: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ACTIVIN A": ("INHBA",),
        "CD40L": ("CD40LG",),
        "GCSF": ("CSF3",),
        "GMCSF": ("CSF2",),
        "MCSF": ("CSF1",),
        "IFN1": ("IFNB1", "IFNA1"),  # type I interferon: one receptor, many genes
        "IFNA": ("IFNA1",),
        "IFNB": ("IFNB1",),
        "IFNL": ("IFNL1",),
        "IL8": ("CXCL8",),
        "IL12": ("IL12A", "IL12B"),  # the two chains of the heterodimer
        "IL23": ("IL23A", "IL12B"),
        "IL27": ("IL27", "EBI3"),
        "IL36": ("IL36A", "IL36B", "IL36G"),
        "MCP1": ("CCL2",),
        "NO": ("NOS2",),  # nitric oxide: the inducible synthase stands for it
        "RANKL": ("TNFSF11",),
        "RANTES": ("CCL5",),
        "TNFA": ("TNF",),
        "TRAIL": ("TNFSF10",),
        "TWEAK": ("TNFSF12",),
    }
)
"""Spoken names (upper case) and the HGNC symbols that encode them."""


def genes_of_target(target: str, aliases: Mapping[str, tuple[str, ...]] = GENES_OF_TARGET) -> tuple[str, ...]:
    """HGNC symbols of the gene or genes that encode a signature's target.

    Parameters
    ----------
    target : str
        A target's name, ``CellType__`` in front allowed.
    aliases : mapping, optional
        Spoken name in upper case to symbols.

    Returns
    -------
    tuple of str
        At least one symbol; `target` itself where no alias is known.

    Examples
    --------
    >>> genes_of_target("TNFA"), genes_of_target("CD4_T__GMCSF"), genes_of_target("IL6")
    (('TNF',), ('CSF2',), ('IL6',))
    """
    name = cytokine_of_target(target)
    return aliases.get(name.upper().replace("-", ""), (name,))


def cytokine_of_target(target: str) -> str:
    """The cytokine of ``CellType__Cytokine``; a plain target is its own cytokine."""
    return target.rpartition(CELL_TYPE_SEPARATOR)[2]


def cell_type_of_target(target: str) -> str:
    """The cell type of ``CellType__Cytokine``; empty for a plain target."""
    return target.rpartition(CELL_TYPE_SEPARATOR)[0]
