"""Zarr: OME-Zarr images, folders and plates of them, and spatialdata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from cytopipe.errors import CytopipeError, InputError
from cytopipe.export.sources.folders import folders_in, natural
from cytopipe.export.sources.planes import Plane, open_image, planes_of
from cytopipe.export.sources.source import ImageSource, Planes
from cytopipe.storage.formats.ome_zarr import read_group, read_plate_fields

__all__ = ["OmeZarrSource", "SpatialDataSource"]

_ENDINGS = (".ome.zarr", ".zarr")
_MOST_SERIES = 10_000
_SERIES = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


class OmeZarrSource(ImageSource):
    """An OME-Zarr image, a plate, several images of one file (bioformats2raw), or a folder with any of them.

    Fields of view are named as their folder without ``.ome.zarr``; those of a plate ``A/1/0``; where a folder
    has several plates, ``plate/A/1/0``; images of one file as it numbers them, a single one as its store.
    Masks are the label images below the image.
    """

    kind = "ome-zarr"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        super().__init__(path, pixel_size_um=pixel_size_um)
        if masks is not None:
            raise InputError(
                "masks of OME-Zarr lie below the image", where=str(masks), next="Leave them out."
            )
        self._images = _images_below(path)
        self._names = tuple(self._images)
        if not self._names:
            raise InputError("holds no OME-Zarr image", where=str(path))

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        try:
            return path.is_dir() and bool(_images_below(path))
        except CytopipeError:
            return _is_group(path)  # the opening says what is wrong with it

    def fov_names(self) -> tuple[str, ...]:
        return self._names

    def _planes(self, fov: str) -> Planes:
        path = self._images[fov]
        labels = open_image(path).labels
        return Planes(planes_of(path), {name: Plane(path / "labels" / name) for name in labels})


def _images_below(path: Path) -> dict[str, Path]:
    """Images by field of view."""
    if _is_group(path):
        return {name or _plain(path.name): one for name, one in _images_of_group(path).items()}
    found: dict[str, Path] = {}
    folders = {_plain(name): one for name, one in folders_in(path).items() if name.endswith(_ENDINGS)}
    for name in natural(folders):
        images = _images_of_group(folders[name])
        for inner, one in images.items():
            inside = inner if len(folders) == 1 and inner else f"{name}/{inner}".rstrip("/")
            found[inside] = one
    return found


def _images_of_group(path: Path) -> dict[str, Path]:
    """Images of one store; the name of a store that is one image is empty."""
    attributes = _ngff(path)
    if "multiscales" in attributes:
        return {"": path}
    if "plate" in attributes:
        return {field: path / field for field in read_plate_fields(path)}
    found = {name: path / name for name in _series(path)}
    return {"": next(iter(found.values()))} if len(found) == 1 else found


def _series(path: Path) -> list[str]:
    """Images of one file, as bioformats2raw lays them out: those that its group OME lists, else 0, 1, ..."""
    listed = _ngff(path / "OME").get("series") if _is_group(path / "OME") else None
    if listed is None:
        numbers = (str(n) for n in range(_MOST_SERIES))
        return list(takewhile(lambda name: _is_group(path / name), numbers))
    if not isinstance(listed, list) or not all(
        isinstance(one, str) and _SERIES.fullmatch(one) for one in listed
    ):
        raise InputError(
            "lists images that cannot be used",
            where=f"{path}: OME",
            expected='"series": ["0", "1"], paths below the store',
            found=repr(listed)[:80],
        )
    if missing := [name for name in listed if not _is_group(path / name)]:
        raise InputError(
            f"lists the image {missing[0]!r}, which is not there",
            where=f"{path}: OME",
            next="Copy the whole store again.",
        )
    return list(dict.fromkeys(listed[:_MOST_SERIES]))


def _is_group(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _ngff(path: Path) -> Mapping[str, Any]:
    """What NGFF says in a group, of version 0.5 or 0.4."""
    attributes = read_group(path)
    inner = attributes.get("ome", attributes)
    return inner if isinstance(inner, Mapping) else {}


def _plain(name: str) -> str:
    for ending in _ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


class SpatialDataSource(ImageSource):
    """A spatialdata store: every image is a field of view.

    Its masks are the labels of the same height and width that are placed in the same coordinate system in the
    same way; where there are several images, without the words that begin the image's name, too. spatialdata
    does not say how large a pixel is; declare it.
    """

    kind = "spatialdata"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        super().__init__(path, pixel_size_um=pixel_size_um)
        if masks is not None:
            raise InputError("masks of spatialdata are its labels", where=str(masks), next="Leave them out.")
        self._images = {name: one for name, one in _elements(path, "images").items() if _is_group(one)}
        self._labels = _elements(path, "labels")
        self._names = natural(self._images)
        if not self._names:
            raise InputError("holds no image", where=str(path), expected="images/<name>")

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        try:
            return _is_group(path) and "spatialdata_attrs" in read_group(path)
        except CytopipeError:
            return False

    def fov_names(self) -> tuple[str, ...]:
        return self._names

    def _planes(self, fov: str) -> Planes:
        image = self._images[fov]
        placed, shape = _placed(image), open_image(image).levels[0].shape[-2:]
        masks = {}
        for name, path in self._labels.items():
            if _placed(path) == placed and open_image(path).levels[0].shape[-2:] == shape:
                masks[name] = Plane(path)
        if len(self._names) > 1:  # one name of a mask for all fields: fov1_cells beside fov1_image is `cells`
            short = {_without_field(name, fov): plane for name, plane in masks.items()}
            masks = short if len(short) == len(masks) else masks
        return Planes(planes_of(image), masks)


def _without_field(label: str, image: str) -> str:
    """A name of labels without the words with which the name of the image begins, too."""
    n_shared = next((n for n, pair in enumerate(zip(label, image, strict=False)) if len({*pair}) > 1), 0)
    return label[max(map(label[:n_shared].rfind, "_-. ")) + 1 :] or label


def _elements(path: Path, kind: str) -> dict[str, Path]:
    return folders_in(path / kind) if (path / kind).is_dir() else {}


def _placed(path: Path) -> list[tuple[str, str]]:
    """Coordinate systems of an element, with the way into each, as text that can be compared."""
    from cytopipe.storage.state import format_json

    multiscales = _ngff(path).get("multiscales") or [{}]
    found = []
    for one in multiscales[0].get("coordinateTransformations") or ():
        output = one.get("output") or {}
        way = {key: value for key, value in one.items() if key not in ("input", "output")}
        found.append((str(output.get("name", "")), format_json(_spatial(way)).decode()))
    return sorted(found)


def _spatial(way: Any) -> Any:
    """A transformation without what it says about channels, which labels do not have."""
    if isinstance(way, Mapping):
        return {key: _spatial(value) for key, value in way.items() if key not in ("input", "output")}
    if isinstance(way, list) and way and all(isinstance(one, int | float) for one in way):
        return [float(one) for one in way[-2:]]
    return [_spatial(one) for one in way] if isinstance(way, list) else way
