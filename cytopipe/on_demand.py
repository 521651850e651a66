"""Names of a package that are imported when they are first used: numba, SciPy or pydantic take longer to
import than `--help` may take.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["names_on_demand"]


def names_on_demand(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names stand in its modules.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    modules : mapping of str to str
        For each name, the module below the package that holds it.
    """

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(modules)
