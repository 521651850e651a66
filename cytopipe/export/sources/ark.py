"""Folders of ark-analysis and MIBI: one folder for each field of view, in it one TIFF for each marker.

    image_data/fov1/CD3.tiff  CD8.tiff            (or the folders of the fields directly)
    segmentation/deepcell_output/fov1_whole_cell.tiff  fov1_nuclear.tiff

The TIFFs of a field may also lie in a single folder below it, such as ``TIFs``.
"""

from __future__ import annotations

from pathlib import Path

from cytopipe.errors import InputError
from cytopipe.export.sources.folders import folders_in, mask_folder, masks_by_field, natural, tiffs_in
from cytopipe.export.sources.planes import Plane
from cytopipe.export.sources.source import ImageSource, Planes

__all__ = ["ArkSource"]

_IMAGE_FOLDERS = ("image_data", "images", "fovs")


class ArkSource(ImageSource):
    """A folder of ark or MIBI.

    Parameters
    ----------
    path : Path
        With the folders of the fields of view, or with ``image_data`` that has them.
    masks : Path, optional
        Folder of ``<fov>_<mask>.tiff``; by default ``segmentation``, ``segmentation/deepcell_output`` or
        ``masks`` beside the images.
    """

    kind = "ark"

    def __init__(self, path: Path, *, pixel_size_um: float | None = None, masks: Path | None = None) -> None:
        super().__init__(path, pixel_size_um=pixel_size_um)
        images = _images(self.path)
        self._folders = {
            name: folder for name, folder in folders_in(images).items() if _tiffs_of_field(folder)
        }
        self._names = natural(self._folders)
        if not self._names:
            raise InputError(
                "holds no field of view", where=str(self.path), expected="folders with a TIFF for each marker"
            )
        places = [self.path] if images != self.path else [self.path, self.path.parent]
        self._masks = masks_by_field(mask_folder(places, masks), self._names)

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Whether a path looks like it."""
        return path.is_dir() and any(_tiffs_of_field(one) for one in folders_in(_images(path)).values())

    def fov_names(self) -> tuple[str, ...]:
        return self._names

    def _planes(self, fov: str) -> Planes:
        files = _tiffs_of_field(self._folders[fov])
        channels = {name: Plane(files[name]) for name in natural(files)}
        return Planes(channels, {name: Plane(file) for name, file in self._masks[fov].items()})


def _images(path: Path) -> Path:
    return next((path / name for name in _IMAGE_FOLDERS if (path / name).is_dir()), path)


def _tiffs_of_field(folder: Path) -> dict[str, Path]:
    """TIFFs by marker: of the folder, or of the only folder below it."""
    if (files := tiffs_in(folder)) or len(below := folders_in(folder)) != 1:
        return files
    return tiffs_in(*below.values())
