"""Images of a screen as OME-Zarr, beside the TIFFs that computation reads; and both read alike.

The pyramids are made by `cytopipe.storage.formats.ome_zarr`: local means without darkened edges for
intensities, the nearest pixel for labels, published whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cytopipe.errors import InputError

if TYPE_CHECKING:
    from cytopipe.storage.formats.image import Image

__all__ = ["export_tiff_to_omezarr", "labelled_image", "read_image", "stacked"]


def export_tiff_to_omezarr(
    tiff_path: Path | str,
    output_dir: Path | str,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    chunk_shape: tuple[int, ...] = (1, 512, 512),
    coarsening_factor: int = 2,
    max_levels: int | None = None,
    channel_labels: Sequence[str] | None = None,
    label_metadata: Mapping[str, Path | str | np.ndarray] | None = None,
    *,
    is_labels: bool | None = None,
    ngff_version: str = "0.5",
    shard: int | None = None,
) -> Path:
    """Write a TIFF as an OME-Zarr image with a pyramid, atomically.

    Parameters
    ----------
    tiff_path : Path or str
        TIFF, OME-TIFF or ImageJ hyperstack: (Y, X), which gains a channel axis; (C, Y, X); (Y, X, C), which
        is reordered; (T, C, Y, X). It may be larger than memory: strips of rows are read one at a time.
    output_dir : Path or str
        The OME-Zarr image; its name ends in ``.ome.zarr``. An older version of ours is replaced.
    pixel_size : (float, float)
        Height and width of a pixel, micrometres.
    chunk_shape : tuple of int
        Pixels of a chunk along the last axes.
    coarsening_factor : int
        How much coarser each level is along Y and X.
    max_levels : int, optional
        Levels at most, level 0 included; by default until one chunk holds a plane.
    channel_labels : sequence of str, optional
        A name for each channel; by default those of the TIFF.
    label_metadata : mapping of str to Path, str or array, optional
        Label images (Y, X) to lay below the image, by name: ``{"nuclei": "..__nuclei.tiff"}``. They get as
        many levels as the image, and are never averaged.
    is_labels : bool, optional
        Whether the TIFF itself holds object numbers; by default what the file says.
    ngff_version : {'0.5', '0.4'}
        0.4 for Bio-Formats, OMERO and other Java readers.
    shard : int, optional
        Rows and columns that one file holds; fewer files. NGFF 0.5 only.

    Returns
    -------
    Path
        `output_dir`.

    Raises
    ------
    InputError
        The file cannot be read, the names or labels do not fit it, or a setting is out of range.
    """
    from cytopipe.storage.archive import Archive, Place
    from cytopipe.storage.formats.ome_zarr import OmeZarr
    from cytopipe.storage.formats.tiff import read_tiff

    target = Path(output_dir)
    if not target.name.endswith(".ome.zarr"):
        raise InputError("is no name of an OME-Zarr image", where=str(target), expected="NAME.ome.zarr")
    image = read_tiff(Path(tiff_path))
    if channel_labels is not None:
        image = replace(image, channel_names=tuple(channel_labels))
    if is_labels is not None:
        image = replace(image, is_labels=is_labels)
    image = replace(image, pixel_size_um=(float(pixel_size[0]), float(pixel_size[1])))
    format = OmeZarr(
        ngff=ngff_version,
        chunk_shape=tuple(chunk_shape),
        factor=coarsening_factor,
        max_levels=max_levels,
        shard=shard,
    )
    Archive(target.absolute().parent).put(
        Place(target.name), format, labelled_image(image, label_metadata or {})
    )
    return target


def labelled_image(image: Image, labels: Mapping[str, Path | str | np.ndarray]) -> Image:
    """`image` with label images below it, given as arrays (Y, X) or as TIFFs.

    Raises
    ------
    InputError
        A label image has another size, more than two dimensions, or no whole numbers.
    """
    from cytopipe.storage.formats.image import Image
    from cytopipe.storage.formats.tiff import read_tiff

    below = {}
    for name, given in labels.items():
        pixels = given if isinstance(given, np.ndarray) else read_tiff(Path(given)).pixels
        if len(pixels.shape) == 3 and pixels.shape[0] == 1:
            pixels = np.asarray(pixels)[0]
        if len(pixels.shape) != 2:
            raise InputError(
                "is no label image", where=name, expected="one plane (Y, X)", found=f"shape {pixels.shape}"
            )
        below[name] = Image(pixels, "YX", pixel_size_um=image.pixel_size_um, is_labels=True)
    return replace(image, labels=below) if below else image


def stacked(images: Mapping[str, Image], channels: tuple[str, ...]) -> Image:
    """Cycles over each other as one image, (T, C, Y, X), its channels named `channels`; of different shapes,
    their channels behind each other, (C, Y, X). Pixels are read when they are written.
    """
    import dask.array as da

    from cytopipe.storage.formats.image import Image

    some = list(images.values())
    lazy = [da.from_array(one.pixels, chunks=(1, *one.shape[-2:]), asarray=False, name=False) for one in some]
    if len({one.shape for one in some}) == 1:
        pixels, axes, names = da.stack(lazy), "TCYX", channels
    else:
        pixels, axes = da.concatenate(lazy), "CYX"
        names = tuple(f"cycle {k} {name}" for k, one in enumerate(some, 1) for name in one.channel_names)
    return Image(pixels, axes, names, pixel_size_um=some[0].pixel_size_um)


def read_image(path: Path | str, *, level: int = 0) -> np.ndarray:
    """Read a TIFF or an OME-Zarr image.

    Parameters
    ----------
    path : Path or str
        A directory is read as OME-Zarr, a file as TIFF.
    level : int
        Of an OME-Zarr pyramid; 0 has all pixels.

    Returns
    -------
    ndarray
        (C, Y, X) in the file's dtype; (T, C, Y, X) where it has cycles. A plane gets a channel axis.
    """
    from cytopipe.storage.formats.ome_zarr import read_ome_zarr
    from cytopipe.storage.formats.tiff import read_tiff

    path = Path(path)
    image = read_ome_zarr(path, level=level) if path.is_dir() else read_tiff(path)
    pixels = image.load()
    return pixels if "C" in image.axes else np.expand_dims(pixels, -3)
