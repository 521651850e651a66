"""The output folder of the field's reference pipeline, read as it lies, and its images written as OME-Zarr.

    TREE/preprocess/{images,ic_fields}/{sbs,phenotype}/P-1_W-A1_T-2_C-3__image.tiff
    TREE/{sbs,phenotype}/images/P-1_W-A1_T-2__aligned.tiff

Nothing in the tree is written. What is wrong with a file is told with all the rest at the end, and the others
go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.provenance import Input, Provenance, sha256_file
from cytopipe.screen.names import get_filename, parse_filename
from cytopipe.screen.omezarr import labelled_image, stacked
from cytopipe.screen.stages import STAGES, Stage
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import LaidOut, OmeZarr
from cytopipe.storage.formats.tiff import read_tiff

__all__ = ["Exported", "Group", "Tree", "export_tree", "read_tree"]

_VERSION = "1"
_ALIASES = {"identified_cytoplasms": "cytoplasm"}
_MASKS = {"segment_sbs": ("nuclei", "cells"), "segment_phenotype": ("nuclei", "cells")}
_ON = {"sbs": ("illumination_corrected", "aligned"), "phenotype": ("aligned", "illumination_corrected")}
"""On which image masks lie: what they were found on, or where that was removed, one of the same size."""
_ENDINGS = (".tif", ".tiff")
_N_BASES = 4
_LARGEST_TREE = 5_000_000

Location = tuple[str, str, int]
"""Plate, well, tile; tile -1 of a well."""


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
    groups : list of Group
        In the order of the stages, plates, wells and tiles.
    findings : list of Finding
        Everything that is wrong with its names and files.
    """

    folder: Path
    groups: list[Group] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_tree(folder: Path | str, stages: Sequence[str] = ()) -> Tree:
    """Find the images of a tree by their names; no image is opened.

    Parameters
    ----------
    folder : Path or str
        The output folder of the pipeline, with ``preprocess``, ``sbs`` or ``phenotype`` in it.
    stages : sequence of str
        Only these; none: every stage that makes images.

    Raises
    ------
    InputError
        It is no folder, or has none of these in it.
    """
    tree = Tree(Path(folder).absolute())
    if not any((tree.folder / one).is_dir() for one in ("preprocess", "sbs", "phenotype")):
        raise InputError(
            "is no output folder of the pipeline",
            where=str(folder),
            expected="a folder with preprocess, sbs or phenotype in it",
        )
    found: dict[tuple[str, str], dict[Location, dict[int, Path]]] = {}
    inside = tree.folder.resolve()
    for below, acquisition, infos in _folders():
        for path in _tiffs(tree, tree.folder / below, inside):
            _sort_in(tree, path, acquisition, infos, found)
    for stage in STAGES.values():
        if stage.is_image and (not stages or stage.name in stages):
            tree.groups += _grouped(tree, stage, found)
    return tree


def _folders() -> Iterator[tuple[str, str, set[str]]]:
    """(folder, acquisition, infos) of every place in which images lie."""
    for of in ("sbs", "phenotype"):
        own = [one for one in STAGES.values() if one.is_image and one.asset.split("/")[1] == of]
        yield f"preprocess/images/{of}", of, {"image"}
        yield f"preprocess/ic_fields/{of}", of, {"ic_field"}
        infos = {one.info for one in own if one.module != "preprocess"}
        yield f"{of}/images", of, infos | {"nuclei", "cells"}


def _tiffs(tree: Tree, folder: Path, inside: Path) -> Iterator[Path]:
    """The TIFFs of a folder; of links, those that lead to a file of the tree."""
    if not folder.is_dir():
        return
    if not folder.resolve().is_relative_to(inside):
        tree.findings.append(Finding(what="leads out of the tree, and is left", where=str(folder)))
        return
    with os.scandir(folder) as entries:
        names = sorted(one.name for one in entries)
    if len(names) > _LARGEST_TREE:
        tree.findings.append(Finding(what=f"holds more than {_LARGEST_TREE:,} files", where=str(folder)))
        return
    for name in names:
        path = folder / name
        if name.startswith(".") or not name.lower().endswith(_ENDINGS):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            tree.findings.append(Finding(what="leads out of the tree, and is left", where=str(path)))
        elif not path.is_file():
            what = "a folder" if path.is_dir() else "no file"
            tree.findings.append(Finding(what="is no TIFF", where=str(path), expected="a file", found=what))
        else:
            yield path


def _sort_in(
    tree: Tree,
    path: Path,
    acquisition: str,
    infos: set[str],
    found: dict[tuple[str, str], dict[Location, dict[int, Path]]],
) -> None:
    try:
        parts, info, _ = parse_filename(path.name)
    except InputError as error:
        tree.findings += [replace(one, where=str(path)) for one in error.findings]
        return
    info = _ALIASES.get(info, info)
    if info not in infos:
        expected = ", ".join(sorted(infos))
        what = f"is of no stage that leaves images here: {info}"
        tree.findings.append(Finding(what=what, where=str(path), expected=expected))
        return
    needed = ("plate", "well") if info == "ic_field" else ("plate", "well", "tile")
    if lacking := [one for one in needed if one not in parts]:
        what = f"does not say its {' and '.join(lacking)}"
        tree.findings.append(
            Finding(what=what, where=str(path), expected=get_filename(_EXAMPLE, info, "tiff"))
        )
        return
    location = (str(parts["plate"]), str(parts["well"]), -1 if info == "ic_field" else int(parts["tile"]))
    files = found.setdefault((acquisition, info), {}).setdefault(location, {})
    cycle = int(parts.get("cycle", 0))
    if cycle in files:  # T-2 and T-02: the one that is written as the pipeline writes it counts
        usual = get_filename(parts, info, "tiff").partition("__")[0]
        path, other = sorted((path, files[cycle]), key=lambda one: not one.name.startswith(f"{usual}__"))
        what = "is a second file of the same image, and is left"
        tree.findings.append(Finding(what=what, where=str(other), found=path.name))
    files[cycle] = path


_EXAMPLE = {"plate": 1, "well": "A1", "tile": 2}


def _grouped(
    tree: Tree, stage: Stage, found: Mapping[tuple[str, str], Mapping[Location, Mapping[int, Path]]]
) -> Iterator[Group]:
    of = stage.asset.split("/")[1]
    if stage.channels != "mask":
        for location, files in sorted(found.get((of, stage.info), {}).items()):
            yield Group(stage, location, dict(sorted(files.items())))
        return
    names = _MASKS.get(stage.name, (stage.info,))
    masks = {name: found.get((of, name), {}) for name in names}
    for location in sorted({one for some in masks.values() for one in some}):
        own = {name: next(iter(some[location].values())) for name, some in masks.items() if location in some}
        under = next(
            (some[location] for info in _ON[of] if location in (some := found.get((of, info), {}))), None
        )
        if under is None:
            path = next(iter(own.values()))
            expected = " or ".join(f"__{info}.tiff" for info in _ON[of])
            what = "has no image beside it on which it could lie"
            tree.findings.append(Finding(what=what, where=str(path), expected=expected))
            continue
        yield Group(stage, location, under, own)


@dataclass(frozen=True)
class Exported:
    """What became of one group: ``written``, ``kept`` (it was there, made from the same) or ``failed``."""

    group: Group
    outcome: str
    findings: tuple[Finding, ...] = ()


def export_tree(
    tree: Tree,
    output: Path | str,
    layout: OmeZarr,
    *,
    channels: Mapping[str, Sequence[str]] | None = None,
    pixel_size_um: Mapping[str, float] | None = None,
    digest: Callable[[Path], str] = sha256_file,
) -> Iterator[Exported]:
    """Write every group of a tree as an OME-Zarr image, one after the other, each whole.

    What was written before from the same files with the same settings is kept, so that an export that was
    stopped goes on.

    Parameters
    ----------
    tree : Tree
    output : Path or str
        Gets ``sbs/omezarr/aligned/P-1_W-A1_T-2__aligned.ome.zarr`` and the like; may be the tree itself.
    layout : OmeZarr
        How they are written.
    channels : mapping of {'sbs', 'phenotype'} to sequence of str, optional
        Names of the channels of an acquisition; an image that has another number of them keeps its own.
    pixel_size_um : mapping of {'sbs', 'phenotype'} to float, optional
        Side of a pixel, where the TIFFs do not say it, micrometres.
    digest : callable
        SHA-256 of a file; one that remembers them makes going on quick.

    Yields
    ------
    Exported
    """
    archive = Archive(Path(output).absolute())
    for group in tree.groups:
        of = group.stage.asset.split("/")[1]
        names, size = tuple((channels or {}).get(of, ())), (pixel_size_um or {}).get(of)
        place = Place(group.place)
        try:
            made = _provenance(tree, group, layout, names, size, digest)
            receipt = archive.receipt(place)
            before = receipt.provenance if receipt is not None else None
            if before is not None and before.recipe() == made.recipe():
                yield Exported(group, "kept")
                continue
            image, files = _image(group, names, size)
            archive.put(place, layout, LaidOut(image, layout, files), made)
        except CytopipeError as error:
            yield Exported(group, "failed", tuple(error.findings))
        except (OSError, ValueError, MemoryError) as error:
            where = ", ".join(path.name for path in group.files)
            yield Exported(group, "failed", (Finding(what=f"cannot be exported: {error}", where=where),))
        else:
            yield Exported(group, "written")


def _provenance(
    tree: Tree,
    group: Group,
    layout: OmeZarr,
    names: tuple[str, ...],
    size: float | None,
    digest: Callable[[Path], str],
) -> Provenance:
    return Provenance(
        what=f"OME-Zarr of {group.stage.name}",
        parameters={"layout": layout.version, "channels": list(names), "pixel_size_um": size},
        inputs=tuple(
            Input(path=path.relative_to(tree.folder).as_posix(), sha256=digest(path)) for path in group.files
        ),
        code_version=_VERSION,
    )


def _image(
    group: Group, names: tuple[str, ...], size: float | None
) -> tuple[Image, Mapping[str, tuple[str, ...]]]:
    """The image of a group, its pixels not read yet, and the files that it was put together from."""
    stage = group.stage
    opened = {cycle: _named(read_tiff(path), stage, names, size) for cycle, path in group.images.items()}
    files: Mapping[str, tuple[str, ...]] = {}
    if group.masks:
        image = next(iter(opened.values()))
        if "T" in image.axes:
            image = replace(image, pixels=image.pixels[0], axes=image.axes.replace("T", ""))
        return labelled_image(image, group.masks), files
    if len(opened) == 1 and 0 in opened:
        return opened[0], files
    by_name = {path.stem: opened[cycle] for cycle, path in group.images.items()}
    files = {name: image.channel_names for name, image in by_name.items()}
    return stacked(by_name, next(iter(files.values()))), files


def _named(image: Image, stage: Stage, names: tuple[str, ...], size: float | None) -> Image:
    if image.pixel_size_um is None and size is not None:
        image = replace(image, pixel_size_um=(size, size))
    wanted = names if stage.channels == "mask" else stage.channel_names(names)
    if image.n_channels == _N_BASES < len(wanted):
        wanted = wanted[-_N_BASES:]
    if "C" in image.axes and len(wanted) == image.n_channels:
        image = replace(image, channel_names=wanted)
    elif not image.channel_names and image.n_channels == 1:
        image = replace(image, channel_names=(stage.info,))
    return image
