"""The table of measurements of a tile's cells, and the reference's functions of the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.screen.features import catalogue
from cytopipe.screen.features.catalogue import Family, columns
from cytopipe.screen.features.colocalization import colocalization, correlation, slopes
from cytopipe.screen.features.foci import count_foci, find_foci
from cytopipe.screen.features.hull import feret_diameters, hulls_of, qhull_order
from cytopipe.screen.features.intensity import intensity, radial_distribution, weighted_hu_moments
from cytopipe.screen.features.interior import interior_of
from cytopipe.screen.features.neighbours import nearest, touching
from cytopipe.screen.features.objects import Objects, objects_in, values_of
from cytopipe.screen.features.shape import centroids, hu_moments, shape
from cytopipe.screen.features.texture import haralick, pftas
from cytopipe.screen.features.zernike import zernike
from cytopipe.screen.parameters import FeatureSettings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_profiles", "extract_phenotype_cp_emulator", "extract_phenotype_minimal", "measure"]

#: What comes before the measurements of each compartment.
_PLACE = ("i", "j", "bounds_0", "bounds_1", "bounds_2", "bounds_3")


def measure(
    image_cyx: np.ndarray,
    nuclei: np.ndarray,
    cells: np.ndarray | None,
    cytoplasm: np.ndarray | None = None,
    *,
    channel_names: Sequence[str],
    settings: FeatureSettings | None = None,
    plate: str,
    well: str,
    tile: str | int,
) -> pd.DataFrame:
    """Measure every nucleus, cell and cytoplasm of a tile.

    Parameters
    ----------
    image_cyx : ndarray of uint8 or uint16, CYX
    nuclei, cells, cytoplasm : ndarray of integers, YX
        Labels, 0 for background; one cell has the same label in all. None: no such columns.
    channel_names : sequence of str
        One name per channel.
    settings : FeatureSettings, optional
    plate, well, tile
        Columns of the table.

    Returns
    -------
    DataFrame
        One row per label, ascending in nuclei, then labels that only the others have; their missing values
        are NaN. Columns as in `cytopipe.screen.features.catalogue`, the same for every tile with these
        arguments, also where it has no cell.

    Raises
    ------
    InputError
        Shapes, dtypes or channel names do not fit together; all findings at once.
    """
    import pandas as pd

    settings = settings or FeatureSettings()
    compartments = {"nucleus": nuclei, "cell": cells, "cytoplasm": cytoplasm}
    given = {name: labels for name, labels in compartments.items() if labels is not None}
    _check(image_cyx, given, channel_names, settings)
    found = {name: objects_in(labels, name) for name, labels in given.items()}
    owner = "cell" if "cell" in found else "nucleus"
    foci = {
        name: count_foci(found[owner], find_foci(image_cyx[list(channel_names).index(name)], remove_border_foci=True))
        for name in settings.foci_channels
    }
    parts = []
    for name, objects in found.items():
        blocks = _blocks(objects, image_cyx, settings)
        blocks += _surroundings(objects, foci if name == owner else {})
        table = _as_table(objects, blocks, channel_names, image_cyx.dtype)
        foci_names = {column for column in table if column.endswith(("_foci_count", "_foci_area"))}
        # foci count as the cell's, also where nuclei stand in for cells
        prefixed = {one: f"{'cell' if one in foci_names else name}_{one}" for one in table}
        parts.append(pd.DataFrame(table, index=pd.Index(objects.labels, name="label")).rename(columns=prefixed))
    table = pd.concat(parts, axis=1, join="outer", sort=False).reset_index()
    places = [f"{name}_{one}" for name in found for one in _PLACE]
    places += [column for column in parts[0] if column.startswith("cell_")] if owner == "nucleus" else []
    others = [column for column in table if column != "label" and column not in set(places)]
    moved = places[len(_PLACE) * len(found) :]
    table = table[["label", *places[: len(_PLACE) * len(found)], *others, *moved]]
    for place, (column, value) in enumerate({"plate": plate, "well": well, "tile": tile}.items(), 1):
        table.insert(place, column, pd.Series([value] * len(table), dtype=object))
    return table


def extract_phenotype_cp_emulator(
    data_phenotype: np.ndarray,
    nuclei: np.ndarray,
    cells: np.ndarray | None,
    wildcards: Mapping[str, Any],
    cytoplasms: np.ndarray | None = None,
    *,
    foci_channel: int | Sequence[int] | None = None,
    channel_names: Sequence[str] = ("dapi", "tubulin", "gh2ax", "phalloidin"),
) -> pd.DataFrame:
    """The table of `measure` as the reference makes it, its conventions included (`FeatureSettings.parity`).

    Parameters
    ----------
    data_phenotype, nuclei, cells, cytoplasms
        As ``image_cyx``, ``nuclei``, ``cells`` and ``cytoplasm`` of `measure`.
    wildcards : mapping
        Further columns, by name.
    foci_channel : int or sequence of int, optional
        Index of the channels in which foci are counted.
    channel_names : sequence of str
        One name per channel.

    Returns
    -------
    DataFrame
        With two channels, the correlation's column has no channels in its name, as in the reference.
    """
    chosen = () if foci_channel is None else tuple(np.atleast_1d(foci_channel).tolist())
    settings = FeatureSettings(foci_channels=tuple(channel_names[one] for one in chosen), parity=True)
    table = measure(
        data_phenotype,
        nuclei,
        cells,
        cytoplasms,
        channel_names=channel_names,
        settings=settings,
        plate="",
        well="",
        tile="",
    ).drop(columns=["plate", "well", "tile"])
    ordered = [name for name in ("plate", "well", "tile") if name in wildcards]
    for place, name in enumerate([*ordered, *(one for one in wildcards if one not in ordered)], 1):
        table.insert(place, name, wildcards[name])
    if len(channel_names) == 2:
        pair = "_".join(["_correlation", *channel_names])
        table.columns = [name.removesuffix(pair) + "_correlation" if name.endswith(pair) else name for name in table]
    return table


def extract_phenotype_minimal(
    phenotype_data: np.ndarray, nuclei_data: np.ndarray, wildcards: Mapping[str, Any]
) -> pd.DataFrame:
    """Area, centroid and box of each label: all that matching cells to reads needs.

    Parameters
    ----------
    phenotype_data : ndarray
        Not used: the reference's signature.
    nuclei_data : ndarray of integers, YX
    wildcards : mapping
        Further columns, by name, sorted.

    Returns
    -------
    DataFrame
        `area` (px^2), `i`, `j` (centroid, px), `cell` (label), `bounds` (first row and column, last row and
        column plus one), and the wildcards.
    """
    import pandas as pd

    objects = objects_in(nuclei_data, "nuclei_data")
    centre = centroids(objects)
    bounds = pd.Series([tuple(map(int, box)) for box in objects.bounds], dtype=object)
    table = {"area": objects.area.astype(np.float64), "i": centre[:, 0], "j": centre[:, 1]}
    table = pd.DataFrame(table | {"cell": objects.labels, "bounds": bounds})
    for name in sorted(wildcards):
        table[name] = wildcards[name]
    return table


def as_profiles(table: pd.DataFrame) -> pd.DataFrame:
    """The table with pycytominer's names: ``Metadata_`` before what is no measurement, compartments capitalised.

    Parameters
    ----------
    table : DataFrame
        Of `measure`, also with columns of genes and barcodes added.

    Returns
    -------
    DataFrame
        ``Nuclei_DAPI_mean``, ``Cells_DAPI_mean``, ``Cytoplasm_DAPI_mean``: what
        ``pycytominer.cyto_utils.infer_cp_features`` takes for features; places of objects, such as
        ``nucleus_i``, become ``Metadata_nucleus_i``.
    """
    compartments = {"nucleus": "Nuclei", "cell": "Cells", "cytoplasm": "Cytoplasm"}
    measured = {name for family in catalogue.CATALOGUE for name in _endings(family)}
    renamed = {}
    for column in table.columns:
        compartment, _, rest = str(column).partition("_")
        is_feature = compartment in compartments and any(map(rest.__contains__, measured)) and rest not in _PLACE
        renamed[column] = f"{compartments[compartment]}_{rest}" if is_feature else f"Metadata_{column}"
    return table.rename(columns=renamed)


def _endings(family: Family) -> set[str]:
    return {one.names.split("{n}")[0].split("{first}")[0].removeprefix("{channel}") for one in family.measurements}


def _check(image, given, channel_names, settings):
    findings = []
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        found = f"{image.dtype} of shape {image.shape}"
        findings.append(Finding(what="not an image of channels", expected="uint8 or uint16, CYX", found=found))
    elif len(channel_names) != len(image):
        findings.append(
            Finding(
                what="names of channels do not fit the image",
                expected=f"{len(image)} names",
                found=", ".join(channel_names) or "none",
            )
        )
    if len(set(channel_names)) != len(channel_names):
        findings.append(Finding(what="two channels have one name", found=", ".join(channel_names)))
    findings += [
        Finding(
            what=f"labels of {name} do not fit the image",
            expected=f"YX {image.shape[-2:]}",
            found=f"{labels.shape}",
        )
        for name, labels in given.items()
        if labels.shape != image.shape[-2:]
    ]
    findings += [
        Finding(what=f"no channel {name!r} to count foci in", expected=", ".join(channel_names))
        for name in settings.foci_channels
        if name not in channel_names
    ]
    if findings:
        raise InputError(findings=findings)


def _blocks(objects: Objects, image: np.ndarray, settings: FeatureSettings) -> list[tuple[Family, np.ndarray]]:
    """Measurements of one compartment: families with values of shape (K, their columns)."""
    values, ordered = values_of(objects, image)
    interior = interior_of(objects)
    parity = settings.parity
    ceiling = settings.texture_ceiling or int(np.iinfo(image.dtype).max)
    texture = haralick(
        objects, values, distance=settings.texture_distance, ceiling=ceiling, parity=parity
    )
    correlations, found_slopes = correlation(objects, values)
    hulls = qhull_order(objects) if parity else hulls_of(objects)
    return [
        (catalogue.INTENSITY, intensity(objects, values, ordered, interior.edge, parity=parity)),
        (catalogue.RADIAL, radial_distribution(objects, values, interior)),
        (catalogue.WEIGHTED_HU, weighted_hu_moments(objects, values)),
        (catalogue.PFTAS, pftas(objects, values, ordered)),
        (catalogue.haralick_family(settings.texture_distance), texture),
        (catalogue.CORRELATION, correlations),
        (catalogue.SLOPE, slopes(objects, values, found_slopes) if parity else found_slopes),
        (catalogue.COLOCALIZATION, colocalization(objects, values, ordered)),
        (catalogue.SHAPE, shape(objects)),
        (catalogue.RADIUS, interior.radii),
        (catalogue.FERET, feret_diameters(hulls, parity=parity)),
        (catalogue.HU, hu_moments(objects)),
        (catalogue.ZERNIKE, zernike(objects, hulls)),
    ]


def _surroundings(objects: Objects, foci: dict[str, np.ndarray]) -> list[tuple[Family, Any]]:
    counted = [(catalogue.FOCI, foci)] if foci else []
    number, share = touching(objects)
    beside = np.stack([number, share], axis=1)
    return [*counted, (catalogue.NEIGHBOURS, beside), (catalogue.NEAREST, nearest(objects))]


def _as_table(objects, blocks, channel_names, image_dtype) -> dict[str, np.ndarray]:
    centre = centroids(objects)
    table = dict(zip(_PLACE, [*centre.T, *objects.bounds.T], strict=True))
    for family, values in blocks:
        if family is catalogue.FOCI:
            for channel, counted in values.items():
                names = [name for name, _ in columns(family, [channel])]
                table |= dict(zip(names, counted.T, strict=True))
            continue
        values = values.reshape(len(objects), -1)
        for (name, dtype), column in zip(columns(family, channel_names), values.T, strict=True):
            table[name] = column.astype(image_dtype if dtype == "image" else dtype)
    return table
