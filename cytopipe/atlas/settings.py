"""The parameters of the atlas domain: of profiles and resamples, and of activities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cytopipe.parameters import ParameterSet, contradiction

if TYPE_CHECKING:
    from cytopipe.atlas.signatures import Signature

__all__ = ["ActivitySettings", "Settings"]

_HIGHEST = (1 << 62) - 1
_FromZero = Annotated[int, Field(ge=0, le=_HIGHEST)]
_FromOne = Annotated[int, Field(ge=1, le=_HIGHEST)]


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


class Settings(ParameterSet):
    """What decides the bytes of the profiles and resamples, besides the cells."""

    n_bootstrap: _FromZero = 100
    """Resamples per group; 0 writes none."""

    bootstrap: Literal["samples", "cells", "parity"] = "samples"
    """Poisson weights on samples (the default) or on single cells, or the draws of the reference
    implementation, which average CPM of samples."""

    seed: _FromZero = 0
    """Seed of the resamples. Under parity 0 stands for the seed of the reference, 42."""

    min_cells: _FromOne = 10
    """Groups with fewer cells are left out."""

    min_counts: _FromZero = 0
    """Groups with fewer counts are left out."""

    min_samples: _FromOne = 5
    """Groups with fewer samples are not resampled."""

    sample_profiles: bool = False
    """Also write one profile of whole counts per sample x group."""

    resampled_zscore: bool = False
    """Also store z-scores of the resamples, which `cytopipe.atlas.zscore` derives on demand."""

    carry: Annotated[Literal["auto"] | tuple[str, ...], BeforeValidator(_as_tuple)] = "auto"
    """obs columns to carry into obs of the profiles where they are constant within every group; auto tries
    every categorical and boolean one."""

    compression: Literal["gzip", "none"] = "gzip"
    """Compression of the matrices written; gzip can be read anywhere."""


class ActivitySettings(ParameterSet):
    """How an activity is inferred; every value decides the result."""

    method: Literal["ridge", "ulm", "mlm"] = "ridge"
    """Ridge regression with a permutation null, or a univariate or multivariate linear model."""

    regularization: Annotated[float, Field(ge=0)] | None = None
    """Ridge penalty lambda; none: the one the signature was made for."""

    expression: Literal["scaled", "raw", "row_centred", "row_centred_scaled"] = "scaled"
    """How profiles are prepared: each group to mean 0 and standard deviation 1 over genes (ddof 1), not at
    all, each gene centred over groups, or centred over groups and then scaled over genes."""

    scale_signature: bool = True
    """Scale each target to mean 0 and standard deviation 1 over the common genes (ddof 1). Without it the
    weights are so small that a lambda of 5e5 swamps X'X and ridge becomes plain correlation."""

    null: Literal["permutation", "student"] = "permutation"
    """Permuted gene labels, or the analytical t of the reference."""

    moments: Literal["exact", "sampled"] = "exact"
    """Whether z stands on the exact moments of the permutation null or on those of the permutations drawn, as
    in the reference."""

    n_permutations: Annotated[int, Field(ge=0, le=10_000_000)] = 1000
    """Permutations behind p; 0 takes p from the normal tail of the exact moments."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the permutations."""

    stream: Literal["counter", "numpy", "srand"] = "counter"
    """Generator of the permutations; srand is the one of the reference."""

    @model_validator(mode="after")
    def _enough_to_sample(self) -> Self:
        if self.moments == "sampled" and self.n_permutations < 2:
            raise contradiction(
                "n_permutations is too small for sampled moments",
                "n_permutations",
                expected="at least 2",
                found=str(self.n_permutations),
            )
        return self

    def of_resamples(self) -> ActivitySettings:
        """How resamples are scored: as the profiles are, but without permutations, since only z is kept."""
        return self.replace(n_permutations=0, moments="exact")

    def for_signature(self, signature: Signature) -> ActivitySettings:
        """These settings with the signature's own penalty where none was chosen."""
        if self.method != "ridge" or self.regularization is not None:
            return self
        return self.replace(regularization=signature.regularization)
