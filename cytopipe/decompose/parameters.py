"""The numbers that shape a decomposition, as one frozen value.

What comes in are keywords from a user, a project file or a `state.json`; what leaves is a value whose
every field has been checked, so that no later step asks again. All faults are reported at once. Two
equal `Parameters` on the same sequences give the same clusters, whatever machine or thread count.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from cytopipe.errors import Finding, ParameterError

__all__ = ["GAP_METHODS", "NEIGHBOUR_KINDS", "SHAPING", "Parameters"]

GAP_METHODS = ("median", "local", "global")
NEIGHBOUR_KINDS = ("auto", "blast", "kmer", "exhaustive")

#: The fields that decide which clusters are made: they may not change while the initial clustering runs.
SHAPING = ("min_split", "max_lump", "target_percentile", "gap_method", "gap_alpha", "parity")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How a set of barcodes is split into species-like clusters.

    Parameters
    ----------
    min_split : float
        Distance below which two sequences are never separated (fraction of scored positions).
    max_lump : float
        Distance beyond which two clusters are never joined (fraction of scored positions).
    target_percentile : float
        Percentile, in percent, that stands for "the" distance within a cluster and, mirrored, between
        clusters: 95 tolerates one odd read in twenty.
    gap_method : {"median", "local", "global"}
        Median: clusters are joined while the median of their distances is within `max_lump`. Local or
        global: of the permitted joins those are made that leave the widest gap, of every cluster to its
        nearest one or of all pairs pooled.
    gap_alpha : float
        Power of the number of clusters by which the local gap is divided (0: a plain sum).
    neighbours : {"auto", "blast", "kmer", "exhaustive"}
        Who finds similar sequences. "auto" is the embedded k-mer index.
    blast_max_hits : int
        Hits wanted per query. BLAST itself is asked for more than the set holds, because it applies its
        own limit before ranking [1]_.
    blast_evalue : float
        Expectation value above which a hit is not reported.
    blast_threads : int or None
        Threads of blastn; None: the engine's worker count.
    min_identity : float or None
        Identity in percent below which a hit is not reported; None: 90, or less for a large `max_lump`.
    parity : bool
        Follow the reference implementation step by step (target growth with conflicts, global gap,
        triangle filter) instead of the default, which is better; see `cytopipe.decompose.targets`.

    Raises
    ------
    ParameterError
        With one finding per value that is out of its range or contradicts another.

    References
    ----------
    .. [1] Shah N. et al. (2019) Misunderstood parameter of NCBI BLAST impacts the correctness of
       bioinformatics workflows. Bioinformatics 35(9):1613-1614.
    """

    min_split: float = 0.005
    max_lump: float = 0.02
    target_percentile: float = 95.0
    gap_method: str = "median"
    gap_alpha: float = 0.5
    neighbours: str = "auto"
    blast_max_hits: int = 1000
    blast_evalue: float = 1e-5
    blast_threads: int | None = None
    min_identity: float | None = None
    parity: bool = False

    def __post_init__(self) -> None:
        findings = list(_findings(self))
        if findings:
            raise ParameterError(findings)
        for name in ("min_split", "max_lump", "target_percentile", "gap_alpha", "blast_evalue"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.min_identity is not None:
            object.__setattr__(self, "min_identity", float(self.min_identity))

    @classmethod
    def from_json(cls, fields: Mapping[str, object]) -> Parameters:
        """Parameters from a mapping such as `state.json` holds; unknown names are findings."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise ParameterError(
                Finding(what=f"unknown parameter {name!r}", expected=", ".join(sorted(known)))
                for name in unknown
            )
        return cls(**fields)  # type: ignore[arg-type]

    def as_json(self) -> dict[str, object]:
        """All fields as JSON values, in the order of their definition."""
        return dataclasses.asdict(self)

    @property
    def gap_decides(self) -> bool:
        """Whether the width of the barcode gap decides how clusters are cut, not the median distance."""
        return self.parity or self.gap_method != "median"

    @property
    def search_identity_percent(self) -> float:
        """Identity in percent below which a search reports nothing.

        90, as in the reference, unless said otherwise; less where `max_lump` reaches further, but not below
        70, where neither k-mers nor megablast find much any more (an exhaustive search does).
        """
        if self.min_identity is not None:
            return self.min_identity
        return max(70.0, min(90.0, 100.0 * (1.0 - 3.0 * self.max_lump)))

    def shaping(self) -> dict[str, object]:
        """The fields that may not change while the initial clustering is unfinished."""
        return {name: getattr(self, name) for name in SHAPING}


def _findings(parameters: Parameters):
    ranges = (
        ("min_split", 0.0, 1.0, "a distance between 0 and 1"),
        ("max_lump", 0.0, 1.0, "a distance between 0 and 1"),
        ("target_percentile", 50.0, 100.0, "a percentile from 50 to 100"),
        ("gap_alpha", 0.0, 1.0, "a number from 0 to 1"),
        ("blast_evalue", 0.0, 1e6, "a number above 0"),
    )
    for name, low, high, expected in ranges:
        value = getattr(parameters, name)
        if not _is_number(value) or not low <= value <= high or (name == "blast_evalue" and value <= 0):
            yield Finding(what=f"{name} is out of range", where=name, expected=expected, found=repr(value))
    if (
        _is_number(parameters.min_split)
        and _is_number(parameters.max_lump)
        and 0 <= parameters.max_lump < parameters.min_split <= 1
    ):
        yield Finding(
            what="min_split exceeds max_lump",
            where="min_split, max_lump",
            expected="min_split <= max_lump",
            found=f"{parameters.min_split!r} > {parameters.max_lump!r}",
        )
    for name, choices in (("gap_method", GAP_METHODS), ("neighbours", NEIGHBOUR_KINDS)):
        value = getattr(parameters, name)
        if value not in choices:
            yield Finding(
                what=f"{name} is unknown", where=name, expected=" | ".join(choices), found=repr(value)
            )
    if not _is_count(parameters.blast_max_hits):
        yield Finding(
            what="blast_max_hits is out of range",
            where="blast_max_hits",
            expected="a whole number above 0",
            found=repr(parameters.blast_max_hits),
        )
    if parameters.blast_threads is not None and not _is_count(parameters.blast_threads):
        yield Finding(
            what="blast_threads is out of range",
            where="blast_threads",
            expected="a whole number above 0, or null",
            found=repr(parameters.blast_threads),
        )
    identity = parameters.min_identity
    if identity is not None and not (_is_number(identity) and 0 < identity <= 100):
        yield Finding(
            what="min_identity is out of range",
            where="min_identity",
            expected="an identity in percent above 0 and up to 100, or null",
            found=repr(identity),
        )
    if not isinstance(parameters.parity, bool):
        yield Finding(
            what="parity is not a yes or no",
            where="parity",
            expected="true | false",
            found=repr(parameters.parity),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
