"""Measurements of cells: intensity, texture, shape, colocalization, foci and neighbours, all cells at once.

Each family of measurements is a file; `catalogue` says what each is, `table` puts them together.
"""

from __future__ import annotations

from importlib import import_module

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


def __getattr__(name: str) -> object:
    if name not in _DOOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_DOOR[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
