"""Folders, TIFFs and masks by field of view, as they lie on disk. Hidden names are passed over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cytopipe.errors import Finding, InputError

__all__ = ["entries", "folders_in", "mask_folder", "masks_by_field", "natural", "stem_of", "tiffs_in"]

MASK_FOLDERS = (
    "segmentation/deepcell_output",
    "segmentation/cellpose_output",
    "segmentation",
    "deepcell_output",
    "masks",
)
"""Where masks are looked for, beside the images or below them."""

_TIFF = re.compile(r"(.+?)(?:\.ome)?\.tiff?", re.IGNORECASE)


def stem_of(name: str) -> str | None:
    """A file name without ``.tiff``, ``.tif`` or ``.ome.tif``; None where it is no TIFF."""
    found = _TIFF.fullmatch(name)
    return found[1] if found and not name.startswith(".") else None


def folders_in(folder: Path) -> dict[str, Path]:
    """Folders by name, sorted."""
    return {one.name: one for one in entries(folder) if one.is_dir()}


def tiffs_in(folder: Path) -> dict[str, Path]:
    """TIFFs by their name without the ending, sorted.

    Raises
    ------
    InputError
        Two files differ in the ending alone.
    """
    found: dict[str, Path] = {}
    faults = []
    for one in entries(folder):
        stem = stem_of(one.name)
        if stem is None or one.is_dir():
            continue
        if stem in found:
            faults.append(
                Finding(
                    what=f"there are two files named {stem!r}",
                    where=str(folder),
                    found=f"{found[stem].name} and {one.name}",
                    next="Rename or remove one of them.",
                )
            )
        found[stem] = one
    if faults:
        raise InputError(faults)
    return found


def mask_folder(places: Sequence[Path], given: Path | None) -> Path | None:
    """The folder of the masks: `given`, or the first of `MASK_FOLDERS` in `places` that holds a TIFF."""
    if given is not None:
        if not given.is_dir():
            raise InputError("is no folder of masks", where=str(given))
        return given
    found = (place / name for place in places for name in MASK_FOLDERS)
    return next((folder for folder in found if folder.is_dir() and tiffs_in(folder)), None)


def masks_by_field(folder: Path | None, fovs: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Masks ``<fov>_<mask>.tiff`` of each field; ``<fov>.tiff`` is named ``cell``.

    Where a name begins with two fields of view (``fov1`` and ``fov1_b``) the longer one has it.
    """
    found: dict[str, dict[str, Path]] = {fov: {} for fov in fovs}
    longest_first = sorted(fovs, key=len, reverse=True)
    for stem, file in (tiffs_in(folder) if folder is not None else {}).items():
        for fov in longest_first:
            if stem == fov or stem.startswith(f"{fov}_"):
                found[fov][stem[len(fov) + 1 :] or "cell"] = file
                break
    return found


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted."""
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(folder)) from None


def natural(names: Sequence[str] | dict[str, Path]) -> tuple[str, ...]:
    """Sorted so that fov2 stands before fov10."""

    def key(name: str) -> list[tuple[int, int | str]]:
        return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.findall(r"\d+|\D+", name)]

    return tuple(sorted(names, key=lambda name: (key(name), name)))
