"""atlas: from single cells to comparable profiles, activities and their agreement across atlases.

An atlas of 10^5 to 10^7 annotated cells comes in as one h5ad or zarr. One streaming pass leaves, for
every annotation level, a pseudobulk file and its bootstrap resamples; signatures then give activities,
and the atlases are compared with one another. Every file is written whole or not at all, and the same
cells give the same bytes whatever their batches, threads or machine.
"""

from __future__ import annotations

from importlib import import_module

# Names are resolved on first use: numba, anndata and SciPy take longer to import than `--help` may take.
_DOOR = {
    # what is known about an atlas
    "AtlasEntry": "registry",
    "Level": "registry",
    "load_registry": "registry",
    # from cells to profiles
    "open_cells": "cells",
    "plan_pass": "plan",
    "aggregate": "pseudobulk",
    "aggregate_all_levels": "pseudobulk",
    "verify_outputs": "verify",
    "resample_weights": "bootstrap",
    "Settings": "plan",
    "zscore": "profiles",
    "SyntheticAtlas": "synthetic",
    "write_synthetic_atlas": "synthetic",
}

__all__ = list(_DOOR)


def __getattr__(name: str) -> object:
    if name not in _DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_DOOR[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
