"""Synthetic multiplexed tissue with the truth: fields of view with cells, and every layout they come in.

Data are a function of their seed, each field of its number, so that a field is the same whatever others there
are. Cells fill the field without overlap; each has a type, and regions of the field differ in their types.

    tissue = make_tissue(seed=7, n_fovs=2, shape=(512, 512))
    tissue[0].pixels                      # (channels, rows, columns) uint16
    tissue[0].labels["whole_cell"]        # (rows, columns) int32
    tissue[0].cells                       # fov, label, x, y, area, cell_type and true levels
    write_tissue(tissue, folder, "ark")   # as ark, OME-TIFF, steinbock, MCMICRO, OME-Zarr, plate, spatialdata
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from cytopipe.storage.formats.image import Image

__all__ = ["CELL_TYPES", "LAYOUTS", "MARKERS", "TissueField", "make_tissue", "write_tissue"]

#: Markers with the part of the cell they stain.
MARKERS = {
    "DNA": "nucleus", "PanCK": "cytoplasm", "CD45": "membrane", "CD3": "membrane", "CD8": "membrane",
    "CD20": "membrane", "CD68": "cytoplasm", "Ki67": "nucleus", "FoxP3": "nucleus", "CD31": "cytoplasm",
    "SMA": "cytoplasm", "PD-L1": "membrane",
}  # fmt: skip

#: Counts of each marker in a cell of each type, at its brightest pixel; a marker that is not named has none.
CELL_TYPES = {
    "tumour": {"PanCK": 420, "PD-L1": 90},
    "tumour, dividing": {"PanCK": 400, "Ki67": 380},
    "CD8 T cell": {"CD45": 280, "CD3": 240, "CD8": 310},
    "regulatory T cell": {"CD45": 260, "CD3": 220, "FoxP3": 260},
    "B cell": {"CD45": 250, "CD20": 350},
    "macrophage": {"CD45": 160, "CD68": 330, "PD-L1": 140},
    "endothelium": {"CD31": 360},
    "stroma": {"SMA": 260},
}
_SHARES = {  # of the types above: in nests of tumour, and in the stroma between them
    True: (0.70, 0.16, 0.05, 0.01, 0.01, 0.05, 0.01, 0.01),
    False: (0.03, 0.01, 0.18, 0.06, 0.16, 0.14, 0.12, 0.30),
}
_DNA, _BACKGROUND, _NEST_PX = 500.0, 4.0, 90.0

LAYOUTS = ("ark", "ome-tiff", "steinbock", "mcmicro", "ome-zarr", "ome-zarr-0.4", "plate", "spatialdata")
"""What `write_tissue` writes."""


@dataclass(frozen=True, eq=False)
class TissueField:
    """One field of view and its truth.

    Parameters
    ----------
    name : str
    channels : tuple of str
    pixels : ndarray of uint16
        (C, Y, X) counts.
    labels : dict of str to ndarray of int32
        (Y, X) ``whole_cell`` and ``nuclear``; a nucleus has the number of its cell.
    cells : DataFrame
        One row per cell: fov, label, x, y (centroid, px), area (px), cell_type.
    pixel_size_um : float
    """

    name: str
    channels: tuple[str, ...]
    pixels: np.ndarray
    labels: dict[str, np.ndarray]
    cells: pd.DataFrame
    pixel_size_um: float

    @property
    def image(self) -> Image:
        """Pixels with names and pixel size, and the masks as label images."""
        from cytopipe.storage.formats.image import Image

        size = (self.pixel_size_um, self.pixel_size_um)
        below = {
            name: Image(one, "YX", pixel_size_um=size, is_labels=True) for name, one in self.labels.items()
        }
        return Image(self.pixels, "CYX", self.channels, pixel_size_um=size, labels=below)


def make_tissue(
    seed: int = 0,
    *,
    n_fovs: int = 2,
    shape: tuple[int, int] = (256, 256),
    channels: Sequence[str] = tuple(MARKERS),
    cell_px: float = 14.0,
    pixel_size_um: float = 0.5,
) -> list[TissueField]:
    """Draw fields of view, ``fov1`` and so on.

    Parameters
    ----------
    seed : int
    n_fovs : int
    shape : (int, int)
        Rows and columns.
    channels : sequence of str
        Of `MARKERS`.
    cell_px : float
        Distance of neighbouring cells, pixels; 4 or more.
    pixel_size_um : float

    Raises
    ------
    InputError
        A channel is not known, or a size is too small.
    """
    if unknown := [name for name in channels if name not in MARKERS]:
        raise InputError(f"there is no marker {unknown[0]!r}", expected=f"one of {', '.join(MARKERS)}")
    if cell_px < 4 or min(shape) < cell_px or n_fovs < 1 or not channels:
        raise InputError(
            "no tissue of this size",
            expected="cells of 4 pixels or more in a field that holds one, and a channel",
            found=f"{n_fovs} fields of {shape[0]} x {shape[1]} px, cells of {cell_px:g} px",
        )
    return [
        _field([seed, n], f"fov{n + 1}", shape, tuple(channels), cell_px, pixel_size_um)
        for n in range(n_fovs)
    ]


def _field(
    seed: list[int],
    name: str,
    shape: tuple[int, int],
    channels: tuple[str, ...],
    cell_px: float,
    pixel_size_um: float,
) -> TissueField:
    import pandas as pd
    from scipy.spatial import KDTree

    rng = np.random.default_rng(seed)
    grid = np.mgrid[0 : shape[0] : cell_px, 0 : shape[1] : cell_px].reshape(2, -1).T
    centres = grid + rng.uniform(0.1, 0.9, grid.shape) * cell_px
    centres = centres[rng.random(len(centres)) < 0.92]
    radius = cell_px * rng.uniform(0.45, 0.7, len(centres))
    place = np.mgrid[: shape[0], : shape[1]].reshape(2, -1).T.astype(np.float64)
    (near, second), owner = (
        values.T if k == 0 else values[:, 0] for k, values in enumerate(KDTree(centres).query(place, k=2))
    )
    gap = second - near  # small on the border of two cells
    inside = (near < radius[owner]) & (gap > 0.8)
    counts = np.bincount(owner[inside], minlength=len(centres))
    number = np.zeros(len(centres), np.int32)
    number[counts > 0] = np.arange(1, np.count_nonzero(counts) + 1)
    whole = np.where(inside, number[owner], 0).astype(np.int32)
    nucleus = inside & (near < 0.5 * radius[owner])
    kinds = _types(rng, centres, shape)
    edge = np.minimum(gap, radius[owner] - near)
    parts = {
        "nucleus": nucleus * 1.0,
        "membrane": inside * np.exp(-np.maximum(edge, 0) / 2),
        "cytoplasm": inside * np.where(nucleus, 0.25, 1.0),
    }
    strength = rng.lognormal(0, 0.25, (len(centres), len(MARKERS)))
    pixels = np.empty((len(channels), *shape), np.uint16)
    for at, marker in enumerate(channels):
        levels = np.array([_DNA if marker == "DNA" else one.get(marker, 0.0) for one in CELL_TYPES.values()])
        peak = levels[kinds] * strength[:, list(MARKERS).index(marker)]
        light = _BACKGROUND + peak[owner] * parts[MARKERS[marker]]
        pixels[at] = rng.poisson(light).reshape(shape)
    kept = counts > 0
    sums = [np.bincount(owner[inside], place[inside, axis], len(centres))[kept] for axis in (0, 1)]
    cells = pd.DataFrame(
        {
            "fov": name,
            "label": number[kept],
            "x": sums[1] / counts[kept],
            "y": sums[0] / counts[kept],
            "area": counts[kept],
            "cell_type": np.array(list(CELL_TYPES))[kinds[kept]],
        }
    )
    labels = {"whole_cell": whole.reshape(shape), "nuclear": np.where(nucleus, whole, 0).reshape(shape)}
    return TissueField(name, channels, pixels, labels, cells, pixel_size_um)


def _types(rng: np.random.Generator, centres: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The type of each cell, as a row of CELL_TYPES; nests of tumour are discs."""
    n_nests = max(1, round(shape[0] * shape[1] / (5 * _NEST_PX**2)))
    nests = rng.uniform(0, 1, (n_nests, 2)) * shape
    away = np.linalg.norm(centres[:, None] - nests, axis=2).min(axis=1)
    shares = np.array([_SHARES[bool(one)] for one in away < _NEST_PX])
    drawn = (rng.random(len(centres))[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    return np.minimum(drawn, shares.shape[1] - 1)


# ---------------------------------------------------------------------- layouts


def write_tissue(tissue: Sequence[TissueField], folder: Path, layout: str = "ark") -> Path:
    """Write fields of view as other programs do, and ``cells.csv`` beside them.

    Parameters
    ----------
    tissue : sequence of TissueField
    folder : Path
        Made where it is absent.
    layout : str
        One of `LAYOUTS`.

    Returns
    -------
    Path
        What `cytopipe.export.sources.open_source` takes.
    """
    import pandas as pd

    if layout not in LAYOUTS:
        raise InputError(f"there is no layout {layout!r} to write", expected=", ".join(LAYOUTS))
    folder.mkdir(parents=True, exist_ok=True)
    cells = pd.concat([one.cells for one in tissue], ignore_index=True)
    cells.to_csv(folder / "cells.csv", index=False)
    write = {
        "ark": _ark,
        "ome-tiff": _ome_tiff,
        "steinbock": _steinbock,
        "mcmicro": _mcmicro,
        "ome-zarr": _ome_zarr,
        "ome-zarr-0.4": _ome_zarr_04,
        "plate": _plate,
        "spatialdata": _spatialdata,
    }[layout]
    return write(tissue, folder)


def _tiff(path: Path, image: Image) -> None:
    from cytopipe.storage.formats.tiff import TIFF

    path.parent.mkdir(parents=True, exist_ok=True)
    TIFF.write(path, image)


def _plain(field: TissueField) -> Image:
    """The channels without the masks."""
    from dataclasses import replace

    return replace(field.image, labels={})


def _ark(tissue: Sequence[TissueField], folder: Path) -> Path:
    from dataclasses import replace

    for field in tissue:
        image = _plain(field)
        for name, plane in zip(field.channels, field.pixels, strict=True):
            one = replace(image, pixels=plane, axes="YX", channel_names=(name,))
            _tiff(folder / "image_data" / field.name / f"{name}.tiff", one)
        for name, mask in field.image.labels.items():
            _tiff(folder / "segmentation/deepcell_output" / f"{field.name}_{name}.tiff", mask)
    return folder


def _ome_tiff(tissue: Sequence[TissueField], folder: Path) -> Path:
    for field in tissue:
        _tiff(folder / f"{field.name}.ome.tif", _plain(field))
        for name, mask in field.image.labels.items():
            _tiff(folder / "masks" / f"{field.name}_{name}.ome.tif", mask)
    return folder


def _steinbock(tissue: Sequence[TissueField], folder: Path) -> Path:
    from dataclasses import replace

    lines = [f"Xx{at},{name},1,1" for at, name in enumerate(tissue[0].channels)]
    lines.insert(1, "Ar80,,0,0")  # a channel that was acquired and not kept
    (folder / "panel.csv").write_text("\n".join(["channel,name,keep,deepcell", *lines]) + "\n")
    for field in tissue:
        _tiff(folder / "img" / f"{field.name}.tiff", replace(_plain(field), channel_names=()))
        _tiff(folder / "masks" / f"{field.name}.tiff", field.image.labels["whole_cell"])
        _tiff(folder / "masks_nuclear" / f"{field.name}.tiff", field.image.labels["nuclear"])
    return folder


def _mcmicro(tissue: Sequence[TissueField], folder: Path) -> Path:
    lines = [f"{at},{1 + (at - 1) // 4},{name}" for at, name in enumerate(tissue[0].channels, 1)]
    (folder / "markers.csv").write_text("\n".join(["channel_number,cycle_number,marker_name", *lines]) + "\n")
    for field in tissue:
        _tiff(folder / "registration" / f"{field.name}.ome.tif", _plain(field))
        masks = folder / "segmentation" / f"unmicst-{field.name}"
        for name, file in (("whole_cell", "cell"), ("nuclear", "nuclei")):
            _tiff(masks / f"{file}.ome.tif", field.image.labels[name])
    return folder


def _ome_zarr(tissue: Sequence[TissueField], folder: Path, ngff: str = "0.5") -> Path:
    from cytopipe.storage.formats.ome_zarr import OmeZarr

    for field in tissue:
        OmeZarr(ngff=ngff, chunk_shape=(64, 64)).write(folder / f"{field.name}.ome.zarr", field.image)
    return folder


def _ome_zarr_04(tissue: Sequence[TissueField], folder: Path) -> Path:
    return _ome_zarr(tissue, folder, "0.4")


def _plate(tissue: Sequence[TissueField], folder: Path) -> Path:
    """Field n in well A/n."""
    from cytopipe.storage.formats.plate import OME_ZARR_PLATE, Plate

    path = folder / "plate.ome.zarr"
    OME_ZARR_PLATE.write(
        path, Plate("synthetic", {f"A/{n}/0": field.image for n, field in enumerate(tissue, 1)})
    )
    return path


def _spatialdata(tissue: Sequence[TissueField], folder: Path) -> Path:
    """Every field in a coordinate system of its own, as the MIBI-TOF example of spatialdata has it."""
    from dataclasses import replace

    from cytopipe.storage.formats.zarr_array import group_files, write_documents

    root = folder / "tissue.zarr"
    said = {"spatialdata_attrs": {"version": "0.2", "spatialdata_software_version": "0.5.0"}}
    write_documents(root, group_files(said, 3))
    for kind in ("images", "labels"):
        write_documents(root / kind, group_files({}, 3))
    for field in tissue:
        image = field.image
        _element(root / "images" / f"{field.name}_image", replace(image, labels={}), field.name)
        for name, mask in image.labels.items():
            _element(root / "labels" / f"{field.name}_{name}", mask, field.name)
    return root


def _element(path: Path, image: Image, space: str) -> None:
    from dataclasses import replace

    from cytopipe.storage.formats.ome_zarr import OmeZarr
    from cytopipe.storage.formats.zarr_array import write_documents
    from cytopipe.storage.state import read_json

    OmeZarr(chunk_shape=(64, 64)).write(path, replace(image, pixel_size_um=None))
    document = read_json(path / "zarr.json")
    multiscale = document["attributes"]["ome"]["multiscales"][0]
    axes = multiscale["axes"]
    multiscale["coordinateTransformations"] = [
        {
            "type": "identity",
            "input": {"name": "".join(one["name"] for one in axes), "axes": axes},
            "output": {"name": space, "axes": axes},
        }
    ]
    write_documents(path, {"zarr.json": document})
