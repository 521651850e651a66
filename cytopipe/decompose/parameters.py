"""The parameters of a decomposition.

Two equal `Parameters` on the same sequences give the same clusters, whatever machine or thread count.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cytopipe.parameters import ParameterSet, contradiction, excluded
from cytopipe.units import Fraction, Percent, Percentile

__all__ = ["NEIGHBOUR_KINDS", "SHAPING", "BarcodeGap", "Parameters"]

NeighbourKind = Literal["auto", "blast", "kmer", "exhaustive"]
NEIGHBOUR_KINDS: tuple[str, ...] = get_args(NeighbourKind)

#: The fields that decide which clusters are made: they may not change while the initial clustering runs.
SHAPING = ("min_split", "max_lump", "target_percentile", "gap_method", "gap_alpha", "parity")

_SHAH_2019 = (
    "Shah N. et al. (2019) Misunderstood parameter of NCBI BLAST impacts the correctness of bioinformatics "
    "workflows. Bioinformatics 35(9):1613-1614."
)


#: Distance that usually divides species of fungi by their ITS, and is near what divides animals by COI.
USUAL_LUMP = 0.02

_SPLIT_ABOVE_LUMP = "min_split exceeds max_lump"


def _compared(min_split: float, max_lump: float) -> dict[str, str]:
    return {"expected": "min_split <= max_lump", "found": f"{min_split!r} > {max_lump!r}"}


class BarcodeGap(ParameterSet):
    """Where a set is cut, found on the set itself."""

    divides: Fraction
    """Median distance from which a barcode gap divides two clusters."""

    joins: Fraction
    """Median distance up to which two clusters are joined where no gap divides them."""


class Parameters(ParameterSet):
    """How a set of barcodes is split into species-like clusters."""

    min_split: Fraction = 0.005
    """Distance below which two sequences are never separated (fraction of scored positions)."""

    max_lump: Fraction | None = None
    """Distance beyond which two clusters are never joined (fraction of scored positions); none: found on the
    set itself, from how its distances fall into those within and those between species (local, global and
    parity: 0.02)."""

    target_percentile: Percentile = 95.0
    """Percentile that stands for "the" distance within a cluster and, mirrored, between clusters: 95
    tolerates one odd read in twenty."""

    gap_method: Literal["median", "local", "global"] = "median"
    """Median: clusters are joined while the median is within max_lump, unless they are divided by a barcode
    gap wider than four times the usual distance within species of the set. Local or global: of the permitted
    joins those are made that leave the widest gap, of every cluster to its nearest one or of all pairs
    pooled."""

    gap_alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Power of the number of clusters by which the local gap is divided (0: a plain sum)."""

    neighbours: NeighbourKind = "auto"
    """Who finds similar sequences; auto is the embedded k-mer index."""

    blast_max_hits: Annotated[int, Field(ge=1)] = Field(
        default=1000, json_schema_extra={"reference": _SHAH_2019}
    )
    """Hits wanted per query. BLAST itself is asked for more than the set holds, because it applies its own
    limit before ranking."""

    blast_evalue: Annotated[float, Field(gt=0, le=1e6)] = 1e-5
    """Expectation value above which a hit is not reported."""

    blast_threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of blastn; none: the engine's worker count."""

    min_identity: Percent | None = None
    """Identity in percent below which a hit is not reported; none: 90, or less for a large max_lump."""

    parity: bool = False
    """Follow the reference implementation step by step (target growth with conflicts, global gap, triangle
    filter) instead of the default, which is better."""

    @field_validator("max_lump")
    @classmethod
    def _lump_above_split(cls, max_lump: float | None, info: ValidationInfo) -> float | None:
        if max_lump is not None and info.data.get("min_split", 0.0) > max_lump:
            raise excluded(_SPLIT_ABOVE_LUMP, **_compared(info.data["min_split"], max_lump))
        return max_lump

    @model_validator(mode="after")
    def _split_below_default_lump(self) -> Self:
        # Pydantic does not validate a default by itself.
        if self.min_split > self.lump:
            raise contradiction(_SPLIT_ABOVE_LUMP, "min_split", **_compared(self.min_split, self.lump))
        return self

    @property
    def lump(self) -> float:
        """`max_lump`, or 0.02 where none is given: what searches and refinements reach for."""
        return USUAL_LUMP if self.max_lump is None else self.max_lump

    @property
    def asks_the_set(self) -> bool:
        """Whether the set itself tells up to which distance clusters are joined."""
        return self.max_lump is None and not self.gap_decides

    @property
    def gap_decides(self) -> bool:
        """Whether the width of the barcode gap decides how clusters are cut, not the median distance."""
        return self.parity or self.gap_method != "median"

    @property
    def search_identity_percent(self) -> float:
        """Identity in percent below which a search reports nothing.

        90, as in the reference, unless said otherwise; less where `lump` reaches further, but not below
        70, where neither k-mers nor megablast find much any more (an exhaustive search does).
        """
        if self.min_identity is not None:
            return self.min_identity
        return max(70.0, min(90.0, 100.0 * (1.0 - 3.0 * self.lump)))

    def shaping(self) -> dict[str, object]:
        """The fields that may not change while the initial clustering is unfinished."""
        return {name: getattr(self, name) for name in SHAPING}
