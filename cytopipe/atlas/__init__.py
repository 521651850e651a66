"""atlas: from single cells to comparable profiles, activities and their agreement across atlases.

An atlas is one h5ad or zarr of 10^5 to 10^7 annotated cells. One streaming pass makes, for every annotation
level, profiles of its groups and bootstrap resamples of them; signatures then give activities, and atlases
are compared with one another. Functions take values and give values; the same cells give the same bytes
whatever their batches, threads and order. `cytopipe.commands.atlas_profiles` and
`cytopipe.commands.atlas_files` do the same from files to files.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: numba, anndata and SciPy take longer to import than `--help` may take.
_DOOR = {
    # what is known about an atlas
    "AtlasEntry": "registry",
    "Level": "registry",
    "load_registry": "registry",
    # from cells to profiles
    "open_cells": "cells",
    "plan_pass": "plan",
    "Pass": "pseudobulk",
    "Sums": "pseudobulk",
    "add_up": "pseudobulk",
    "level_profiles": "pseudobulk",
    "level_resamples": "pseudobulk",
    "level_samples": "pseudobulk",
    "resample_weights": "bootstrap",
    "Settings": "settings",
    "zscore": "profiles",
    "SyntheticAtlas": "synthetic",
    "write_synthetic_atlas": "synthetic",
    # from profiles to activity
    "Signature": "signatures",
    "load_signature": "signatures",
    "ActivitySettings": "activity",
    "infer_activity": "inference",
    "read_activity": "inference",
    # what atlases agree on
    "read_harmonisation": "harmonise",
    "validate": "validation_tables",
    "compare": "validation_tables",
    "meta_analyse": "meta",
    "Catalogue": "catalogue",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
