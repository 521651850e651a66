"""Every output of an atlas with its shape, or with what is wrong with it.

A folder comes in; for each pseudobulk file that stands there, or that the registry says should, one line
leaves: whole and of which shape, or missing, damaged, or not what its name says. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from cytopipe.errors import CytopipeError
from cytopipe.storage import Store

__all__ = ["OutputState", "verify_outputs"]


@dataclass(frozen=True)
class OutputState:
    """One output.

    Parameters
    ----------
    path : Path
    shape : tuple of int or None
        Profiles x genes; None where the file is not sound.
    error : str
        Empty where the file is sound.
    """

    path: Path
    shape: tuple[int, ...] | None
    error: str


def verify_outputs(folder: str | Path, expected: Sequence[Path] = ()) -> list[OutputState]:
    """Check every pseudobulk file below a folder against its manifest and open it.

    Parameters
    ----------
    folder : str or Path
    expected : sequence of Path, optional
        Files that should be there.

    Returns
    -------
    list of OutputState
        Sorted by path.
    """
    folder = Path(folder)
    found = set(folder.rglob("*_pseudobulk_*.h5ad")) if folder.is_dir() else set()
    found = {
        path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    return [_state(path) for path in sorted(found | set(expected))]


def _state(path: Path) -> OutputState:
    if not path.is_file():
        return OutputState(path, None, "missing")
    try:
        differences = Store(path.parent).verify(path)
        if differences:
            return OutputState(path, None, "; ".join(str(difference) for difference in differences))
        with h5py.File(path, "r") as file:
            shape = tuple(int(n) for n in file["X"].shape)
            n_obs, n_var = file["obs"][file["obs"].attrs["_index"]].shape[0], file["var"]["_index"].shape[0]
    except (CytopipeError, OSError, KeyError) as error:
        return OutputState(path, None, str(error))
    if shape != (n_obs, n_var):
        return OutputState(path, None, f"X is {shape}, obs and var say {(n_obs, n_var)}")
    return OutputState(path, shape, "")
