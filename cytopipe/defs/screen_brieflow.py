"""An output folder of Brieflow as assets: what it holds lies outside, and counts as made.

A tile or well of which the folder has the file of a stage is never computed again; its file is read where it
lies, and neither written nor removed. What it lacks is made as ever, where its own inputs are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from cytopipe.defs.artifact import Artifact, Outside, Source, When
from cytopipe.defs.screen_phenotype import names_left
from cytopipe.defs.screen_sources import SCREENS, identity_of
from cytopipe.project import DataSet
from cytopipe.screen.tree import HELD
from cytopipe.screen.tree_values import TreeValue

__all__ = ["with_trees"]


def with_trees(members: Iterable[Artifact | Source]) -> list[Artifact | Source]:
    """The same sources and artifacts; of those that a folder of Brieflow may hold, it is looked for there."""
    return [_with_trees(one) if isinstance(one, Artifact) else one for one in members]


def _with_trees(one: Artifact) -> Artifact:
    held = {asset: partial(_lying, asset) for asset in one.makes if asset in HELD}
    return replace(one, outside=held, outside_when=_NAMED) if held else one


_NAMED = When(
    of=SCREENS,
    unused=lambda screen: "" if screen.entry.settings.brieflow else "no folder of Brieflow is named",
)


def _lying(asset: str, part: DataSet) -> Outside | None:
    settings = part.entry.settings
    if settings.brieflow is None:
        return None
    tree = settings.tree(part.base)
    found = tree and tree.lying(asset, part.entry.location)
    if found is None:
        return None
    held, files = found
    of = asset.split("/")[1]
    acquisition = settings.acquisitions.get("sbs" if of == "merge" else of)
    if acquisition is None:
        return None
    channels = tuple(acquisition.channels)
    if asset in ("screen/phenotype/aligned",):
        channels = names_left(channels, acquisition.alignment)
    value = TreeValue(asset, held, part.entry.location, files, channels, acquisition.pixel_size_um)
    paths = tuple(files[cycle] for cycle in sorted(files))
    return Outside(files=paths, load=value.load, digest=_digest(asset, paths))


def _digest(asset: str, paths: tuple[Path, ...]) -> Callable[[], str | None]:
    def digest() -> str | None:
        total = hashlib.sha256(f"{asset}\n".encode())
        try:
            for path in paths:
                total.update(f"{path.name} {identity_of(path)}\n".encode())
        except OSError:
            return None
        return total.hexdigest()

    return digest
