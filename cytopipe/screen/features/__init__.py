"""Measurements of cells: intensity, texture, shape, colocalization, foci and neighbours, all cells at once.

Each family of measurements is a file; `catalogue` says what each is, `table` puts them together.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: numba and SciPy take longer to import than `--help` may take.
_DOOR = {
    "as_profiles": "table",
    "count_foci": "foci",
    "extract_phenotype_cp_emulator": "table",
    "extract_phenotype_minimal": "table",
    "features_page": "catalogue",
    "find_foci": "foci",
    "measure": "table",
    "objects_in": "objects",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
