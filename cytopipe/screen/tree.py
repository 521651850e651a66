"""The output folder of the field's reference pipeline (Brieflow), found as it lies; nothing in it is written.

    TREE/preprocess/{images,ic_fields}/{sbs,phenotype}/P-1_W-A1_T-2_C-3__image.tiff
    TREE/preprocess/metadata/{sbs,phenotype}/P-1_W-A1__combined_metadata.parquet
    TREE/{sbs,phenotype}/{images,tsvs,parquets}/P-1_W-A1_T-2__aligned.tiff
    TREE/merge/parquets/P-1_W-A1__merge_final.parquet

Files are found by their names; none is opened. `cytopipe.screen.tree_values` reads them as values of our
assets, `cytopipe.screen.tree_export` writes the images as OME-Zarr.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from cytopipe.errors import Finding, InputError
from cytopipe.screen.names import get_filename, parse_filename
from cytopipe.screen.stages import STAGES, Stage

__all__ = ["ACQUISITIONS", "HELD", "Group", "Held", "Location", "Tree", "find_files", "read_tree"]

ACQUISITIONS = ("sbs", "phenotype")
_ALIASES = {"identified_cytoplasms": "cytoplasm"}
_MASKS = {"segment_sbs": ("nuclei", "cells"), "segment_phenotype": ("nuclei", "cells")}
_ON = {"sbs": ("illumination_corrected", "aligned"), "phenotype": ("aligned", "illumination_corrected")}
"""On which image masks lie: what they were found on, or where that was removed, one of the same size."""
_TIFFS, _TSVS, _PARQUETS = (".tif", ".tiff"), (".tsv",), (".parquet",)
_LARGEST_TREE = 5_000_000
_NAMED = 5

Location = tuple[str, str, int]
"""Plate, well, tile; tile -1 of a well."""


class Held(NamedTuple):
    """Files that hold the value of an asset: those in `folder` with `info` in their names.

    `of_well`: the files are those of whole wells. An asset of tiles then takes the rows of its tile.
    """

    folder: str
    info: str
    of_well: bool = False


def _held() -> dict[str, tuple[Held, ...]]:
    found: dict[str, tuple[Held, ...]] = {}
    for stage in STAGES.values():
        of = stage.asset.split("/")[1]
        if stage.module == "preprocess":
            folder = "images" if stage.info == "image" else "ic_fields"
            found[stage.asset] = (Held(f"preprocess/{folder}/{of}", stage.info, stage.by == "screen_wells"),)
        elif stage.is_image:
            for asset in stage.assets if stage.name in _MASKS else stage.assets[:1]:
                info = asset.split("/")[2] if stage.name in _MASKS else stage.info
                found[asset] = (Held(f"{of}/images", info),)
    for of in ACQUISITIONS:
        found[f"screen/{of}/segmentation"] = (Held(f"{of}/tsvs", "segmentation_stats"),)
    return found | {
        "screen/sbs/bases": (Held("sbs/tsvs", "bases"),),
        "screen/sbs/reads": (Held("sbs/tsvs", "reads"), Held("sbs/parquets", "reads", of_well=True)),
        "screen/sbs/cell_barcodes": (Held("sbs/tsvs", "cells"), Held("sbs/parquets", "cells", of_well=True)),
        "screen/sbs/well_reads": (Held("sbs/parquets", "reads", of_well=True),),
        "screen/sbs/well_info": (Held("sbs/parquets", "sbs_info", of_well=True),),
        "screen/phenotype/features": (
            Held("phenotype/tsvs", "phenotype_cp"),
            Held("phenotype/parquets", "phenotype_cp", of_well=True),
        ),
        "screen/phenotype/well_features": (Held("phenotype/parquets", "phenotype_cp", of_well=True),),
        "screen/merge/cells": (Held("merge/parquets", "merge_deduplicated", of_well=True),),
        "screen/merge/features": (Held("merge/parquets", "merge_final", of_well=True),),
    }


HELD: Mapping[str, tuple[Held, ...]] = _held()
"""For each asset that a tree may hold, where; the first that is there counts."""

_STAGE = {of: Held(f"preprocess/metadata/{of}", "combined_metadata", of_well=True) for of in ACQUISITIONS}


@dataclass(frozen=True)
class Group:
    """The files that become one OME-Zarr image.

    Parameters
    ----------
    stage : Stage
    location : (str, str, int)
        Plate, well, tile; tile -1 where it is of a whole well.
    images : mapping of int to Path
        By cycle, 0 where there is one alone; of masks, the image on which they lie.
    masks : mapping of str to Path
        Label images by name.
    """

    stage: Stage
    location: Location
    images: Mapping[int, Path]
    masks: Mapping[str, Path] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where its OME-Zarr lies, below the output folder."""
        plate, well, tile = self.location
        return self.stage.omezarr_place.format(plate=plate, well=well, tile=tile)

    @property
    def files(self) -> list[Path]:
        return [*self.images.values(), *self.masks.values()]


@dataclass
class Tree:
    """What was found in a tree.

    Parameters
    ----------
    folder : Path
        Absolute.
    files : mapping of (folder, info) to mapping of location to mapping of int to Path
        By cycle, 0 where there is one alone.
    groups : list of Group
        Images to export, in the order of the stages, plates, wells and tiles.
    findings : list of Finding
        Everything that is wrong with its names and files.
    """

    folder: Path
    files: dict[tuple[str, str], dict[Location, dict[int, Path]]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def lying(self, asset: str, location: Location) -> tuple[Held, Mapping[int, Path]] | None:
        """The files that hold an asset of a tile or well, by cycle; None where the tree has none."""
        plate, well, _ = location
        for held in HELD.get(asset, ()):
            at = (plate, well, -1) if held.of_well else location
            if files := self.files.get((held.folder, held.info), {}).get(at):
                return held, files
        return None

    def stage_table(self, of: str, plate: str, well: str) -> Path | None:
        """The table of where the stage stood for the tiles of a well."""
        held = _STAGE[of]
        return self.files.get((held.folder, held.info), {}).get((plate, well, -1), {}).get(0)

    def tiles(self, of: str) -> list[Location]:
        """Every tile of which an acquisition has an image or a table, sorted."""
        folders = {held.folder for asset, some in HELD.items() if asset.split("/")[1] == of for held in some}
        return sorted(
            {
                at
                for (folder, _), files in self.files.items()
                if folder in folders
                for at in files
                if at[2] >= 0
            }
        )

    def kinds(self, of: str) -> dict[str, list[Location]]:
        """For each asset of ``sbs``, ``phenotype`` or ``merge`` that it holds at all, the tiles or wells of
        which it does.
        """
        found = {}
        for asset, some in HELD.items():
            if asset.split("/")[1] != of:
                continue
            if there := [one for one in self._places(asset, some) if self.lying(asset, one)]:
                found[asset] = there
        return found

    def told(self, of: str) -> Iterator[tuple[str, str, str]]:
        """For each asset that it holds: its name, of how many tiles or wells, and which it lacks."""
        for asset, there in self.kinds(of).items():
            places, known = self._places(asset, HELD[asset]), set(there)
            absent = [_told(one) for one in places if one not in known]
            more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
            what = "tiles" if there[0][2] >= 0 else "wells"
            yield asset, f"{len(there):,} of {len(places):,} {what}", ", ".join(absent[:_NAMED]) + more

    def _places(self, asset: str, held: tuple[Held, ...]) -> list[Location]:
        """The tiles or wells of which there could be an asset."""
        of = asset.split("/")[1]
        tiles = self.tiles(of) if of in ACQUISITIONS else [one for a in ACQUISITIONS for one in self.tiles(a)]
        if not all(one.of_well for one in held):
            return tiles
        return list(dict.fromkeys((plate, well, -1) for plate, well, _ in tiles))


def _told(location: Location) -> str:
    plate, well, tile = location
    return f"{plate}-{well}" + (f"|{tile}" if tile >= 0 else "")


def find_files(folder: Path | str) -> Tree:
    """Find the files of a tree by their names; none is opened.

    Raises
    ------
    InputError
        It is no folder, or has neither ``preprocess`` nor ``sbs`` nor ``phenotype`` in it.
    """
    tree = Tree(Path(folder).absolute())
    if not any((tree.folder / one).is_dir() for one in ("preprocess", *ACQUISITIONS)):
        raise InputError(
            "is no output folder of the pipeline",
            where=str(folder),
            expected="a folder with preprocess, sbs or phenotype in it",
        )
    inside = tree.folder.resolve()
    for below, endings, infos in _folders():
        for path in _listed(tree, tree.folder / below, endings, inside):
            _sort_in(tree, path, below, infos, is_table=endings is not _TIFFS)
    return tree


def read_tree(folder: Path | str, stages: Sequence[str] = ()) -> Tree:
    """Find the files of a tree, and group the images that are exported together.

    Parameters
    ----------
    folder : Path or str
        The output folder of the pipeline, with ``preprocess``, ``sbs`` or ``phenotype`` in it.
    stages : sequence of str
        Only these; none: every stage that makes images.

    Raises
    ------
    InputError
        As :func:`find_files`.
    """
    tree = find_files(folder)
    for stage in STAGES.values():
        if stage.is_image and (not stages or stage.name in stages):
            tree.groups += _grouped(tree, stage)
    return tree


def _folders() -> Iterator[tuple[str, tuple[str, ...], set[str]]]:
    """(folder, endings, infos) of every place in which files lie."""
    infos: dict[str, set[str]] = {}
    for held in (*(one for some in HELD.values() for one in some), *_STAGE.values()):
        infos.setdefault(held.folder, set()).add(held.info)
    for folder, known in infos.items():
        is_table = folder.rpartition("/")[2] in ("tsvs", "parquets") or "/metadata/" in folder
        endings = _TIFFS if not is_table else _TSVS if folder.endswith("tsvs") else _PARQUETS
        yield folder, endings, known


def _listed(tree: Tree, folder: Path, endings: tuple[str, ...], inside: Path) -> Iterator[Path]:
    """The files of a folder with these endings; of links, those that lead to a file of the tree."""
    if not folder.is_dir():
        return
    if not folder.resolve().is_relative_to(inside):
        tree.findings.append(Finding(what="leads out of the tree, and is left", where=str(folder)))
        return
    with os.scandir(folder) as entries:
        names = sorted(
            (one.name, one.is_file(follow_symlinks=False), one.is_symlink())
            for one in entries
            if one.name.lower().endswith(endings) and not one.name.startswith(".")
        )
    if len(names) > _LARGEST_TREE:
        tree.findings.append(Finding(what=f"holds more than {_LARGEST_TREE:,} files", where=str(folder)))
        return
    for name, is_file, is_link in names:
        path = folder / name
        if is_link and not path.resolve().is_relative_to(inside):
            tree.findings.append(Finding(what="leads out of the tree, and is left", where=str(path)))
        elif not is_file and not (is_link and path.is_file()):
            kind = "TIFF" if endings is _TIFFS else "table"
            what = "a folder" if path.is_dir() else "no file"
            tree.findings.append(
                Finding(what=f"is no {kind}", where=str(path), expected="a file", found=what)
            )
        else:
            yield path


def _sort_in(tree: Tree, path: Path, folder: str, infos: set[str], *, is_table: bool) -> None:
    try:
        parts, info, _ = parse_filename(path.name)
    except InputError as error:
        tree.findings += [replace(one, where=str(path)) for one in error.findings]
        return
    info = _ALIASES.get(info, info)
    if info not in infos:
        if not is_table:  # of tables the pipeline leaves more kinds than are used here
            expected = ", ".join(sorted(infos))
            what = f"is of no stage that leaves images here: {info}"
            tree.findings.append(Finding(what=what, where=str(path), expected=expected))
        return
    of_well = "ic_fields" in folder or folder.endswith("parquets") or "/metadata/" in folder
    needed = ("plate", "well") if of_well else ("plate", "well", "tile")
    if lacking := [one for one in needed if one not in parts]:
        what = f"does not say its {' and '.join(lacking)}"
        ending = path.suffix.removeprefix(".")
        tree.findings.append(
            Finding(what=what, where=str(path), expected=get_filename(_EXAMPLE, info, ending))
        )
        return
    tile = int(parts["tile"]) if "tile" in parts else -1
    location = (str(parts["plate"]), str(parts["well"]), tile)
    files = tree.files.setdefault((folder, info), {}).setdefault(location, {})
    cycle = int(parts.get("cycle", 0))
    if cycle in files:  # T-2 and T-02: the one that is written as the pipeline writes it counts
        usual = get_filename(parts, info, "tiff").partition("__")[0]
        path, other = sorted((path, files[cycle]), key=lambda one: not one.name.startswith(f"{usual}__"))
        what = "is a second file of the same image, and is left"
        tree.findings.append(Finding(what=what, where=str(other), found=path.name))
    files[cycle] = path


_EXAMPLE = {"plate": 1, "well": "A1", "tile": 2}


def _grouped(tree: Tree, stage: Stage) -> Iterator[Group]:
    of = stage.asset.split("/")[1]
    if stage.channels != "mask":
        (held,) = HELD[stage.asset]
        for location, files in sorted(tree.files.get((held.folder, held.info), {}).items()):
            yield Group(stage, location, dict(sorted(files.items())))
        return
    names = _MASKS.get(stage.name, (stage.info,))
    masks = {name: tree.files.get((f"{of}/images", name), {}) for name in names}
    for location in sorted({one for some in masks.values() for one in some}):
        own = {name: next(iter(some[location].values())) for name, some in masks.items() if location in some}
        under = next(
            (
                some[location]
                for info in _ON[of]
                if location in (some := tree.files.get((f"{of}/images", info), {}))
            ),
            None,
        )
        if under is None:
            path = next(iter(own.values()))
            expected = " or ".join(f"__{info}.tiff" for info in _ON[of])
            what = "has no image beside it on which it could lie"
            tree.findings.append(Finding(what=what, where=str(path), expected=expected))
            continue
        yield Group(stage, location, under, own)
