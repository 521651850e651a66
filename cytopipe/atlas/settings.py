"""What decides the bytes of a pseudobulk file, besides the cells.

The same fields stand in an atlas entry of ``cytopipe.yaml``, in the options of the command line and in the
provenance of every file, under the same names and with the same defaults.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cytopipe.errors import Finding, ParameterError

__all__ = ["BOOTSTRAPS", "COMPRESSIONS", "Settings"]

BOOTSTRAPS = ("samples", "cells", "parity")
COMPRESSIONS = ("gzip", "none")
_LOWEST = {"n_bootstrap": 0, "seed": 0, "min_cells": 1, "min_counts": 0, "min_samples": 1}
_HIGHEST = (1 << 62) - 1


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the outputs, besides the cells.

    Parameters
    ----------
    n_bootstrap : int
        Resamples per group; 0 writes none.
    bootstrap : {"samples", "cells", "parity"}
        Poisson weights on samples (the default) or on single cells, or the draws of the reference
        implementation, which average CPM of samples.
    seed : int
        Of the weights; parity has its own fixed one.
    min_cells : int
        Groups with fewer cells are left out.
    min_counts : int
        Groups with fewer counts are left out.
    min_samples : int
        Groups with fewer samples are not resampled.
    sample_profiles : bool
        Also write one profile per sample x group.
    resampled_zscore : bool
        Also store z-scores of the resamples, which :func:`cytopipe.atlas.zscore` derives on demand.
    carry : "auto" or tuple of str
        obs columns to carry into obs of the profiles where they are constant within every group; "auto"
        tries every categorical and boolean one.
    compression : {"gzip", "none"}
        Of the matrices written. gzip can be read anywhere.
    """

    n_bootstrap: int = 100
    bootstrap: str = "samples"
    seed: int = 0
    min_cells: int = 10
    min_counts: int = 0
    min_samples: int = 5
    sample_profiles: bool = False
    resampled_zscore: bool = False
    carry: str | tuple[str, ...] = "auto"
    compression: str = "gzip"

    def __post_init__(self) -> None:
        findings = [
            Finding(what=f"{name} is out of range", expected=f"a whole number >= {low}", found=repr(value))
            for name, low in _LOWEST.items()
            if type(value := getattr(self, name)) is not int or not low <= value <= _HIGHEST
        ]
        findings += [
            Finding(what=f"{name} is neither true nor false", found=repr(getattr(self, name)))
            for name in ("sample_profiles", "resampled_zscore")
            if type(getattr(self, name)) is not bool
        ]
        if not isinstance(self.carry, (str, tuple)) or (isinstance(self.carry, str) and self.carry != "auto"):
            expected = "auto, or a list of obs columns"
            findings.append(Finding(what="carry is wrong", expected=expected, found=repr(self.carry)))
        for name, choices in (("bootstrap", BOOTSTRAPS), ("compression", COMPRESSIONS)):
            if getattr(self, name) not in choices:
                found = repr(getattr(self, name))
                findings.append(Finding(what=f"unknown {name}", expected=", ".join(choices), found=found))
        if findings:
            raise ParameterError(findings)

    def as_json(self) -> dict[str, object]:
        """All fields as JSON values."""
        fields = asdict(self)
        return fields | {"carry": self.carry if isinstance(self.carry, str) else list(self.carry)}
