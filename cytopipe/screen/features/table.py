"""The table of measurements of a tile's cells, and the reference's functions of the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cytopipe.errors import Finding, InputError
from cytopipe.screen.features import catalogue
from cytopipe.screen.features.catalogue import CATALOGUE, Family, columns
from cytopipe.screen.features.colocalization import colocalization, correlation, least_norm_slopes
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

#: What comes before the measurements, compartment by compartment.
_PLACE = tuple(name for name, _ in columns(catalogue.PLACE, ()))


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
    frames = []
    for name in compartments:
        if name in found:
            chosen = getattr(settings, f"{name}_channels") or channel_names
            planes = image_cyx[[list(channel_names).index(one) for one in chosen]]
            frames.append(_frame(name, found[name], _own(found[name], planes, settings), chosen))
        if name == "cell":
            owners = found.get("cell", found["nucleus"])
            frames += [_foci(owners, image_cyx, channel_names, one) for one in settings.foci_channels]
        if name in found:
            frames.append(_frame(name, found[name], _beside(found[name]), channel_names))
    table = pd.concat(frames, axis=1, join="outer", sort=False).reset_index(names="label")
    places = [f"{name}_{one}" for name in found for one in _PLACE]
    rest = [column for column in table.columns[1:] if column not in set(places)]
    table = table[["label", *places, *rest]]
    for place, (column, value) in enumerate({"plate": plate, "well": well, "tile": tile}.items(), 1):
        kind = object if isinstance(value, str) else np.result_type(value)
        table.insert(place, column, pd.Series([value] * len(table), dtype=kind))
    return table


def extract_phenotype_cp_emulator(
    data_phenotype: np.ndarray,
    nuclei: np.ndarray,
    cells: np.ndarray | None,
    wildcards: Mapping[str, Any],
    cytoplasms: np.ndarray | None = None,
    nucleus_channels: Sequence[int] | Literal["all"] = "all",
    cell_channels: Sequence[int] | Literal["all"] = "all",
    cytoplasm_channels: Sequence[int] | Literal["all"] = "all",
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
    nucleus_channels, cell_channels, cytoplasm_channels : sequence of int, or "all"
        Indices of the channels that are measured in each.
    foci_channel : int or sequence of int, optional
        Index of the channels in which foci are counted.
    channel_names : sequence of str
        One name per channel; more are not used.

    Returns
    -------
    DataFrame
        Without columns of compartments that have no label. Where two channels are measured, the
        correlation's column has no channels in its name, as in the reference.
    """
    names = list(channel_names)[: len(data_phenotype)]
    cells, cytoplasms = (one if one is not None and one.any() else None for one in (cells, cytoplasms))
    chosen = {
        "nucleus": nucleus_channels,
        "cell": cell_channels,
        "cytoplasm": cytoplasm_channels,
        "foci": [] if foci_channel is None else np.atleast_1d(foci_channel).tolist(),
    }
    chosen = {
        name: tuple(names) if one == "all" else tuple(names[ch] for ch in one) for name, one in chosen.items()
    }
    settings = FeatureSettings(**{f"{name}_channels": one for name, one in chosen.items()}, parity=True)
    table = measure(
        data_phenotype,
        nuclei,
        cells,
        cytoplasms,
        channel_names=names,
        settings=settings,
        plate="",
        well="",
        tile="",
    ).drop(columns=["plate", "well", "tile"])
    ordered = [name for name in ("plate", "well", "tile") if name in wildcards]
    for place, name in enumerate([*ordered, *(one for one in wildcards if one not in ordered)], 1):
        table.insert(place, name, wildcards[name])
    pairs = {"_".join([name, "correlation", *two]): name for name, two in chosen.items() if len(two) == 2}
    return table.rename(columns={column: f"{name}_correlation" for column, name in pairs.items()})


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
    """The table with pycytominer's names: ``Metadata_`` before what is no measurement.

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
    is_feature = re.compile(
        "|".join(f"({one.expression})" for family in CATALOGUE for one in family.measurements)
    )
    renamed = {}
    for column in table.columns:
        compartment, _, rest = str(column).partition("_")
        known = compartment in compartments and is_feature.fullmatch(rest) and rest not in _PLACE
        renamed[column] = f"{compartments[compartment]}_{rest}" if known else f"Metadata_{column}"
    return table.rename(columns=renamed)


def _check(image, given, channel_names, settings):
    findings = []
    if image.ndim != 3 or image.dtype not in (np.uint8, np.uint16):
        found = f"{image.dtype} of shape {image.shape}"
        findings.append(
            Finding(what="not an image of channels", expected="uint8 or uint16, CYX", found=found)
        )
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
        Finding(what=f"no channel {name!r}", where=field, expected=", ".join(channel_names))
        for field in ("nucleus_channels", "cell_channels", "cytoplasm_channels", "foci_channels")
        for name in getattr(settings, field)
        if name not in channel_names
    ]
    pairs = [name for name, _ in columns(catalogue.CORRELATION, channel_names)]
    if len(set(pairs)) != len(pairs):
        findings.append(
            Finding(
                what="two pairs of channels make one name", found=", ".join(sorted(pairs)), next="Rename one."
            )
        )
    if findings:
        raise InputError(findings)


def _own(objects: Objects, image: np.ndarray, settings: FeatureSettings) -> dict[Family, np.ndarray]:
    """Place and measurements of the objects of one compartment, by family, in the order of the columns."""
    values, ordered = values_of(objects, image)
    interior = interior_of(objects)
    parity, distance = settings.parity, settings.texture_distance
    ceiling = settings.texture_ceiling or int(np.iinfo(image.dtype).max)
    correlations, slopes = correlation(objects, values)
    if parity:
        slopes = least_norm_slopes(objects, values, slopes)
    hulls = qhull_order(objects) if parity else hulls_of(objects)
    whole = intensity(objects, values, ordered, interior.edge, parity=parity)
    texture = haralick(objects, values, distance=distance, ceiling=ceiling, parity=parity)
    return {
        catalogue.PLACE: np.concatenate([centroids(objects), objects.bounds], axis=1),
        catalogue.INTENSITY: whole,
        catalogue.RADIAL: radial_distribution(objects, values, interior),
        catalogue.WEIGHTED_HU: weighted_hu_moments(objects, values),
        catalogue.PFTAS: pftas(objects, values, ordered),
        catalogue.haralick_family(distance): texture,
        catalogue.CORRELATION: correlations,
        catalogue.SLOPE: slopes,
        catalogue.COLOCALIZATION: colocalization(objects, values, ordered),
        catalogue.SHAPE: shape(objects),
        catalogue.RADIUS: interior.radii,
        catalogue.FERET: feret_diameters(hulls, parity=parity),
        catalogue.HU: hu_moments(objects),
        catalogue.ZERNIKE: zernike(objects, hulls),
    }


def _beside(objects: Objects) -> dict[Family, np.ndarray]:
    number, share = touching(objects)
    return {
        catalogue.NEIGHBOURS: np.stack([number, share], axis=1),
        catalogue.NEAREST: nearest(objects),
    }


def _foci(objects: Objects, image: np.ndarray, channel_names: Sequence[str], channel: str) -> pd.DataFrame:
    found = find_foci(image[list(channel_names).index(channel)], remove_border_foci=True)
    return _frame("cell", objects, {catalogue.FOCI: count_foci(objects, found)}, [channel])


def _frame(
    compartment: str, objects: Objects, blocks: dict[Family, np.ndarray], channel_names: Sequence[str]
) -> pd.DataFrame:
    import pandas as pd

    table = {}
    for family, values in blocks.items():
        width = int(np.prod(values.shape[1:]))
        flat = values.reshape(len(objects), width).T
        for (name, dtype), column in zip(columns(family, channel_names), flat, strict=True):
            table[f"{compartment}_{name}"] = column.astype(dtype)
    return pd.DataFrame(table, index=pd.Index(objects.labels, name="label"))
