"""Images of a tree of the field's reference pipeline written as OME-Zarr; nothing in the tree is written.

What is wrong with a file is told with all the rest at the end, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cytopipe.errors import CytopipeError, Finding
from cytopipe.provenance import Input, Provenance, sha256_file
from cytopipe.screen.omezarr import labelled_image, stacked
from cytopipe.screen.tree import Group, Tree
from cytopipe.screen.tree_values import open_image
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.image import Image
from cytopipe.storage.formats.ome_zarr import LaidOut, OmeZarr

__all__ = ["Exported", "export_tree"]

_VERSION = "1"


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
    opened = {cycle: open_image(path, stage, names, size) for cycle, path in group.images.items()}
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
