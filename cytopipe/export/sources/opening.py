"""Which layout a path has, and the source that reads it."""

from __future__ import annotations

from pathlib import Path

from cytopipe.errors import InputError, ParameterError
from cytopipe.export.sources.source import ImageSource

__all__ = ["KINDS", "open_source"]

KINDS = {
    "steinbock": "img/*.tiff with panel.csv and masks/*.tiff",
    "mcmicro": "registration/*.ome.tif with markers.csv and segmentation/<method>-<sample>/cell.ome.tif",
    "spatialdata": "a zarr store of spatialdata, with images and labels",
    "ome-zarr": "an OME-Zarr image or plate, or a folder of them",
    "ome-tiff": "<fov>.ome.tif with all channels, one or a folder of them; masks in masks/<fov>_<mask>.tiff",
    "ark": "a folder for each field of view with a TIFF for each marker; masks in a segmentation folder",
}
"""Layouts that are read, with what they look like."""


def open_source(
    path: Path | str,
    kind: str = "auto",
    pixel_size_um: float | None = None,
    masks: Path | str | None = None,
) -> ImageSource:
    """Open a folder or a file with images.

    Parameters
    ----------
    path : Path or str
    kind : str
        One of `KINDS`; ``auto`` looks at what is there.
    pixel_size_um : float, optional
        Micrometres; by default what the files say.
    masks : Path or str, optional
        Folder of the masks, where it is not in its usual place.

    Raises
    ------
    InputError
        There is nothing, or nothing that is read here.
    ParameterError
        `kind` is not known, or the pixel size is not possible.
    """
    path = Path(path)
    if kind not in ("auto", *KINDS):
        raise ParameterError(
            f"the layout {kind!r} is not known", expected=f"auto, {', '.join(KINDS)}", where="kind"
        )
    if not path.exists():
        raise InputError("does not exist", where=str(path), next="Give the folder or file with the images.")
    chosen = _found(path) if kind == "auto" else kind
    masks = None if masks is None else Path(masks)
    try:
        return _class(chosen)(path, pixel_size_um=pixel_size_um, masks=masks)
    except InputError:
        if _class(chosen).is_at(path):
            raise
        raise InputError(
            f"is not laid out as {kind}",
            where=str(path),
            expected=KINDS[kind],
            next="Leave out kind, or give the folder that holds this.",
        ) from None


def _class(kind: str) -> type[ImageSource]:
    from cytopipe.export.sources import ark, stacks, zarrs

    classes = (
        ark.ArkSource,
        stacks.McmicroSource,
        stacks.OmeTiffSource,
        stacks.SteinbockSource,
        zarrs.OmeZarrSource,
        zarrs.SpatialDataSource,
    )
    return next(one for one in classes if one.kind == kind)


def _found(path: Path) -> str:
    for kind in KINDS:
        if _class(kind).is_at(path):
            return kind
    raise InputError(
        "holds no images in a layout that is read here",
        where=str(path),
        expected="; or ".join(f"{kind}: {looks}" for kind, looks in KINDS.items()),
        next="Give the folder that holds all fields of view.",
    )
