"""Measurements of cells: intensity, texture, shape, colocalization, foci and neighbours, all cells at once.

Each family of measurements is a file; `catalogue` says what each is, `table` puts them together.
"""

from __future__ import annotations

from cytopipe.screen.features.foci import find_foci
from cytopipe.screen.features.table import (
    as_profiles,
    extract_phenotype_cp_emulator,
    extract_phenotype_minimal,
    measure,
)

__all__ = [
    "as_profiles",
    "extract_phenotype_cp_emulator",
    "extract_phenotype_minimal",
    "find_foci",
    "measure",
]
