"""Stacks: one TIFF for each field of view, which holds all its channels.

OME-TIFF       slide1.ome.tif  slide2.ome.tif   masks/slide1_cell.tiff
steinbock      img/*.tiff  panel.csv  masks/*.tiff
MCMICRO        registration/*.ome.tif  markers.csv  segmentation/<method>-<sample>/cell.ome.tif
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cytopipe.errors import CytopipeError, InputError
from cytopipe.export.csv_rows import read_csv
from cytopipe.export.sources.folders import (
    folders_in,
    mask_folder,
    masks_by_field,
    natural,
    stem_of,
    tiffs_in,
)
from cytopipe.export.sources.planes import Plane, apart, planes_of
from cytopipe.export.sources.source import ImageSource, Planes

__all__ = ["McmicroSource", "OmeTiffSource", "SteinbockSource"]

_MASK_ENDINGS = ("mask", "masks", "cell", "cells", "whole_cell", "nuclear", "nuclei", "labels")


class _StackSource(ImageSource):
    """Files by field of view, and masks by field of view."""

    def __init__(
        self,
        path: Path,
        files: dict[str, Path],
        masks: dict[str, dict[str, Path]],
        *,
        names: tuple[str, ...] = (),
        table: str = "",
        numbers: Mapping[str, int] | None = None,
        pixel_size_um: float | None = None,
    ) -> None:
        super().__init__(path, pixel_size_um=pixel_size_um)
        self._numbers = numbers or {}
        if not files:
            raise InputError("holds no field of view", where=str(path), expected="a TIFF for each")
        self._files, self._masks = files, masks
        self._channel_names, self._table = names, table
        self._names = natural(files)

    def fov_names(self) -> tuple[str, ...]:
        return self._names

    def _planes(self, fov: str) -> Planes:
        number = self._numbers.get(fov)
        channels = planes_of(self._files[fov], self._channel_names, table=self._table, number=number)
        return Planes(channels, {name: Plane(file) for name, file in self._masks.get(fov, {}).items()})


class OmeTiffSource(_StackSource):
    """A folder of OME-TIFFs or other stacks, or one of them.

    Parameters
    ----------
    path : Path
        The file, whose images are fields of view where it holds several; or the folder with files of one
        image each, or with ``images`` that has them.
    masks : Path, optional
        Folder of ``<fov>_<mask>.tiff``; by default ``masks`` or ``segmentation`` beside the images, and
        ``<fov>_mask.tiff`` or ``<fov>_cell.tiff`` among them.
    """

    kind = "ome-tiff"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        folder = path.parent if path.is_file() else _stacks(path)
        found = tiffs_in(folder)
        beside = _masks_among(found)
        fovs = {name: file for name, file in found.items() if not _is_mask(name, found)}
        numbers: dict[str, int] = {}
        if path.is_file():
            stem = stem_of(path.name)
            fovs = {} if stem is None else {stem: path}
            if stem is not None and len(names := _image_names(path)) > 1:
                numbers = {name: at for at, name in enumerate(names)}
                fovs = dict.fromkeys(numbers, path)
        places = [folder] if folder == path else [folder, folder.parent]
        listed = masks_by_field(mask_folder(places, masks), tuple(fovs))
        joined = {fov: beside.get(fov, {}) | listed[fov] for fov in fovs}
        super().__init__(path, fovs, joined, numbers=numbers, pixel_size_um=pixel_size_um)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        return stem_of(path.name) is not None if path.is_file() else bool(tiffs_in(_stacks(path)))


def _image_names(path: Path) -> list[str]:
    """Names of the images of a file, each once; of a file that cannot be read one, whose opening says why."""
    from cytopipe.storage.formats.tiff import tiff_image_names

    try:
        return apart(tiff_image_names(path), "image")
    except CytopipeError:
        return [path.name]


def _stacks(path: Path) -> Path:
    return path / "images" if not tiffs_in(path) and (path / "images").is_dir() else path


def _is_mask(name: str, among: dict[str, Path]) -> bool:
    return any(name.endswith(f"_{one}") and name[: -len(one) - 1] in among for one in _MASK_ENDINGS)


def _masks_among(files: dict[str, Path]) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for name, file in files.items():
        for ending in sorted(_MASK_ENDINGS, key=len, reverse=True):
            fov = name.removesuffix(f"_{ending}")
            if fov != name and fov in files:
                found.setdefault(fov, {})[ending] = file
                break
    return found


class SteinbockSource(_StackSource):
    """A folder of steinbock: ``img``, ``panel.csv`` and ``masks``.

    The channels are the rows of the panel whose ``keep`` is 1, in their order; further folders of masks, such
    as ``masks_cellpose``, give masks of that name.
    """

    kind = "steinbock"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        files = tiffs_in(path / "img")
        panel = path / "panel.csv"
        folders = {"cell": masks} if masks is not None else _steinbock_masks(path)
        found: dict[str, dict[str, Path]] = {fov: {} for fov in files}
        for name, folder in folders.items():
            for stem, file in tiffs_in(folder).items():
                if stem in found:
                    found[stem][name] = file
        super().__init__(
            path, files, found, names=_panel(panel), table=str(panel), pixel_size_um=pixel_size_um
        )

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        return (path / "panel.csv").is_file() and (path / "img").is_dir()


def _steinbock_masks(path: Path) -> dict[str, Path]:
    return {
        "cell" if name == "masks" else name.removeprefix("masks_"): folder
        for name, folder in folders_in(path).items()
        if name == "masks" or name.startswith("masks_")
    }


def _panel(path: Path) -> tuple[str, ...]:
    """Names of the channels that steinbock kept; the metal where there is no name."""
    rows = read_csv(path, ["channel", "name"])
    kept = [row for row in rows if row.get("keep", "1").strip().lower() in ("1", "1.0", "true")]
    if not kept:
        raise InputError("keeps no channel", where=str(path), expected="rows whose keep is 1")
    return tuple(row["name"].strip() or row["channel"].strip() for row in kept)


class McmicroSource(_StackSource):
    """A folder of MCMICRO: ``registration`` (``dearray`` of a microarray), ``segmentation``, ``markers.csv``.

    Masks are named by their file, ``cell`` or ``nuclei``; with more than one method of segmentation by both,
    ``unmicst_cell``.
    """

    kind = "mcmicro"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        files = tiffs_in(_mcmicro_images(path))
        markers = path / "markers.csv"
        names: tuple[str, ...] = ()
        if markers.is_file():
            names = tuple(row["marker_name"] for row in read_csv(markers, ["marker_name"]))
        found = _mcmicro_masks(masks or path / "segmentation", tuple(files))
        super().__init__(path, files, found, names=names, table=str(markers), pixel_size_um=pixel_size_um)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        images = _mcmicro_images(path)
        return images.is_dir() and bool(tiffs_in(images))


def _mcmicro_images(path: Path) -> Path:
    cores = path / "dearray"
    return cores if cores.is_dir() and tiffs_in(cores) else path / "registration"


def _mcmicro_masks(folder: Path, samples: tuple[str, ...]) -> dict[str, dict[str, Path]]:
    by_method: dict[str, dict[str, dict[str, Path]]] = {sample: {} for sample in samples}
    for name, below in (folders_in(folder) if folder.is_dir() else {}).items():
        for sample in sorted(samples, key=len, reverse=True):
            if name.endswith(f"-{sample}"):
                by_method[sample][name[: -len(sample) - 1]] = tiffs_in(below)
                break
    return {
        sample: {
            one if len(methods) == 1 else f"{method}_{one}": file
            for method, files in methods.items()
            for one, file in files.items()
        }
        for sample, methods in by_method.items()
    }
