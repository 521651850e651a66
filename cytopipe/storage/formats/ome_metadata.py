"""What OME-Zarr says about an image, its labels and a plate, built and checked by the models of yaozarrs.

NGFF 0.5 (https://ngff.openmicroscopy.org/0.5) stands in ``attributes.ome`` of Zarr version 3, NGFF 0.4 in the
attributes of Zarr version 2. Both have the same models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from cytopipe.errors import InputError

__all__ = [
    "NGFF_VERSIONS",
    "axis_names",
    "ensure_omero_channel_colors",
    "image_attributes",
    "label_attributes",
    "labels_attributes",
    "plate_attributes",
    "well_attributes",
]

NGFF_VERSIONS = {"0.5": 3, "0.4": 2}
"""The Zarr version of each NGFF version that is written."""

PALETTE = ("0000FF", "00FF00", "FF0000", "FF00FF", "00FFFF", "FFFF00", "FF8000", "8000FF")
"""Colours of channels that have none: nuclear stains come first by custom, and are blue."""

_KINDS = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}
_METHODS = {
    "local mean": "Mean of the pixels of each block, rounded to the nearest whole number for integers.",
    "nearest": "The pixel at the middle of each block.",
}


def axis_names(axes: str) -> str:
    """Names of the axes in the store: lower case."""
    return axes.lower()


def _models(version: str) -> ModuleType:
    from yaozarrs import v04, v05

    return {"0.5": v05, "0.4": v04}[version]


def _multiscale(
    version: str,
    name: str,
    axes: str,
    pixel_size_um: tuple[float, float] | None,
    factor: int,
    levels: int,
    how: str,
) -> Any:
    models = _models(version)
    size_y, size_x = pixel_size_um or (1.0, 1.0)
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    listed = [{"name": axis.lower(), "type": _KINDS[axis], **(unit if axis in "YX" else {})} for axis in axes]
    datasets = []
    for level in range(levels):
        step = float(factor**level)
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": _per_axis(axes, 1.0, step * size_y, step * size_x)},
                    {
                        "type": "translation",  # of the centre of the first pixel
                        "translation": _per_axis(axes, 0.0, (step - 1) / 2 * size_y, (step - 1) / 2 * size_x),
                    },
                ],
            }
        )
    fields = {
        "name": name,
        "axes": listed,
        "datasets": datasets,
        "type": how,
        "metadata": {"description": _METHODS[how], "method": f"cytopipe {how}", "factor": factor},
    }
    return models.Multiscale.model_validate(fields)


def _per_axis(axes: str, other: float, y: float, x: float) -> list[float]:
    return [{"Y": y, "X": x}.get(axis, other) for axis in axes]


def image_attributes(
    version: str,
    *,
    name: str,
    axes: str,
    pixel_size_um: tuple[float, float] | None,
    factor: int,
    levels: int,
    channel_names: Sequence[str],
    channel_colors: Sequence[str],
    windows: Sequence[tuple[float, float, float, float]],
) -> dict:
    """Attributes of an image's group.

    Parameters
    ----------
    windows : sequence of (min, start, end, max)
        For each channel: the intensities it may have, and between them those that are shown.
    """
    channels = [
        {
            "label": channel_names[i] if channel_names else f"Channel {i}",
            "color": channel_colors[i] if channel_colors else None,
            "active": True,
            "coefficient": 1.0,
            "family": "linear",
            "inverted": False,
            "window": dict(zip(("min", "start", "end", "max"), window, strict=True)),
        }
        for i, window in enumerate(windows)
    ]
    omero = ensure_omero_channel_colors(
        {"channels": channels, "rdefs": {"defaultT": 0, "defaultZ": 0, "model": "color"}}
    )
    multiscale = _multiscale(version, name, axes, pixel_size_um, factor, levels, "local mean")
    return _attributes(
        version, _models(version).Image.model_validate({"multiscales": [multiscale], "omero": omero})
    )


def label_attributes(
    version: str,
    *,
    name: str,
    axes: str,
    pixel_size_um: tuple[float, float] | None,
    factor: int,
    levels: int,
    source: bool,
) -> dict:
    """Attributes of a label image's group; with `source`, its image stands two folders up."""
    multiscale = _multiscale(version, name, axes, pixel_size_um, factor, levels, "nearest")
    label = {"source": {"image": "../../"}} if source else {}
    model = _models(version).LabelImage
    return _attributes(version, model.model_validate({"multiscales": [multiscale], "image-label": label}))


def labels_attributes(version: str, names: Sequence[str]) -> dict:
    """Attributes of the group that holds the label images."""
    return _attributes(version, _models(version).LabelsGroup(labels=list(names)))


def plate_attributes(version: str, name: str, wells: Sequence[tuple[str, str]], fields: int) -> dict:
    """Attributes of a plate; `wells` are (row, column) names, `fields` the most that one well has."""
    rows = sorted({row for row, _ in wells}, key=_natural)
    columns = sorted({column for _, column in wells}, key=_natural)
    plate = {
        "name": name,
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": [
            {"path": f"{row}/{column}", "rowIndex": rows.index(row), "columnIndex": columns.index(column)}
            for row, column in sorted(wells, key=lambda well: (_natural(well[0]), _natural(well[1])))
        ],
        "field_count": fields,
    }
    return _attributes(
        version, _models(version).Plate.model_validate({"plate": plate | _inner_version(version)})
    )


def well_attributes(version: str, fields: Sequence[str]) -> dict:
    """Attributes of a well that has these fields of view."""
    well = {"images": [{"path": field} for field in sorted(fields, key=_natural)]}
    return _attributes(
        version, _models(version).Well.model_validate({"well": well | _inner_version(version)})
    )


def _inner_version(version: str) -> dict[str, str]:
    return {"version": version} if version == "0.4" else {}


def _natural(name: str) -> tuple[int, str]:
    """Shorter names first, so that 2 stands before 10 and Z before AA."""
    return len(name), name


def _attributes(version: str, model: Any) -> dict:
    document = model.model_dump(mode="json", exclude_none=True, by_alias=True)
    return {"ome": document} if version == "0.5" else document


def ensure_omero_channel_colors(omero: Mapping[str, Any]) -> dict[str, Any]:
    """Give every channel of an ``omero`` document a colour of six hexadecimal digits.

    A colour that is one already is kept (``#ff0000`` becomes ``FF0000``). An integer, as some writers leave
    it, is taken as 0xRRGGBB. What is missing comes from :data:`PALETTE`; a single channel is white.

    Raises
    ------
    InputError
        A colour that is neither.
    """
    channels = [dict(channel) for channel in omero.get("channels", ())]
    spare = ("FFFFFF",) if len(channels) == 1 else PALETTE
    for i, channel in enumerate(channels):
        color = channel.get("color")
        if color is None or color == "":
            channel["color"] = spare[i % len(spare)]
        elif isinstance(color, int) and not isinstance(color, bool) and 0 <= color <= 0xFFFFFF:
            channel["color"] = f"{color:06X}"
        else:
            text = str(color).removeprefix("#").upper()
            if len(text) != 6 or set(text) - set("0123456789ABCDEF"):
                raise InputError(f"channel {i} has the colour {color!r}", expected="six hexadecimal digits")
            channel["color"] = text
    return {**omero, "channels": channels}
