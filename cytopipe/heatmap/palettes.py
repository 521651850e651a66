"""Names and colours of metaclusters as a theme of its own: exported, imported, kept over saves and merges."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cytopipe.errors import Finding, InputError
from cytopipe.heatmap.state import UNASSIGNED, HeatmapState

__all__ = ["Palette", "export_palette", "palette_of", "parse_palette", "read_palette", "with_palette"]

_FORMAT = "cytopipe palette"
_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Palette:
    """Names and colours by number of the metacluster.

    Parameters
    ----------
    names : mapping of int to str
    colours : mapping of int to str
        ``#rrggbb``.
    """

    names: Mapping[int, str]
    colours: Mapping[int, str]


def palette_of(*states: HeatmapState) -> Palette:
    """The palette of a state, or of several: where they differ, the first that names a metacluster wins."""
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    for state in states:
        names = {**state.names, **names}
        colours = {**state.colours, **colours}
    return Palette(dict(sorted(names.items())), dict(sorted(colours.items())))


def export_palette(palette: Palette) -> bytes:
    """The palette as a JSON document."""
    from cytopipe.storage.state import format_json

    numbers = sorted({*palette.names, *palette.colours})
    rows = [
        {
            "metacluster": number,
            **({"name": palette.names[number]} if number in palette.names else {}),
            **({"colour": palette.colours[number]} if number in palette.colours else {}),
        }
        for number in numbers
    ]
    return format_json({"format": _FORMAT, "version": 1, "metaclusters": rows})


def read_palette(path: Path | str) -> Palette:
    """The palette in a JSON file, or that of a checkpoint (``.h5ad``); errors as `parse_palette`."""
    from cytopipe.heatmap.artifact import load_heatmap_state
    from cytopipe.storage.guard.budget import read_limited

    path = Path(path)
    if path.suffix in (".h5ad", ".zarr"):
        return palette_of(load_heatmap_state(path))
    return parse_palette(read_limited(path, _MAX_BYTES), where=str(path))


def parse_palette(data: bytes, *, where: str = "") -> Palette:
    """The palette in a JSON document.

    Also a plain mapping of numbers to colours is taken: ``{"0": "#d8a282"}``.

    Raises
    ------
    InputError
        With everything that is wrong.
    """
    from cytopipe.storage.state import parse_json

    document = parse_json(data, where=where, max_bytes=_MAX_BYTES)
    rows = document
    if isinstance(document, dict) and "format" not in document:
        rows = [{"metacluster": _number(key), "colour": value} for key, value in document.items()]
    elif isinstance(document, dict):
        if (document.get("format"), document.get("version")) != (_FORMAT, 1):
            expected = f'"format": "{_FORMAT}", "version": 1'
            raise InputError("is no palette", where=where, expected=expected, found=json.dumps(document)[:80])
        rows = document.get("metaclusters")
    if not isinstance(rows, list):
        raise InputError("is no palette: it has no list of metaclusters", where=where)
    names: dict[int, str] = {}
    colours: dict[int, str] = {}
    findings: list[Finding] = []
    for place, row in enumerate(rows):
        at = f"{where}: metaclusters[{place}]"
        if not isinstance(row, dict) or not _is_number(row.get("metacluster")):
            findings.append(Finding(what="has no number", where=at, expected='"metacluster": -1, 0, 1 ...'))
            continue
        number, name, colour = row["metacluster"], row.get("name"), row.get("colour")
        if number in names or number in colours:
            findings.append(Finding(what=f"metacluster {number} stands twice", where=at))
        if name is not None and not (isinstance(name, str) and name):
            findings.append(Finding(what="has a name that is no text", where=at, found=repr(name)[:80]))
        elif name is not None:
            names[number] = name
        if colour is not None and not (isinstance(colour, str) and re.fullmatch("#[0-9a-fA-F]{6}", colour)):
            findings.append(
                Finding(what="has no colour", where=at, expected="#rrggbb", found=repr(colour)[:80])
            )
        elif colour is not None:
            colours[number] = colour.lower()
    if findings:
        raise InputError(findings)
    return Palette(names, colours)


def with_palette(
    state: HeatmapState, palette: Palette, by: Literal["name", "number"] = "name"
) -> tuple[HeatmapState, tuple[str, ...]]:
    """A state in the colours of a palette, and the metaclusters that it does not have.

    Parameters
    ----------
    state : HeatmapState
    palette : Palette
    by : {'name', 'number'}
        name: colours go to metaclusters of the same name, wherever they have another number. number: names
        and colours go to metaclusters of the same number. Unassigned is always matched by its number.

    Returns
    -------
    state : HeatmapState
    absent : tuple of str
        Names of metaclusters of the state that the palette has no colour for; they keep theirs.
    """
    present: list[int] = sorted({*state.label.tolist(), *state.colours})
    if by == "number":
        names = {one: palette.names[one] for one in present if one in palette.names and one != UNASSIGNED}
        colours = {one: palette.colours[one] for one in present if one in palette.colours}
    else:
        of_name = {
            palette.names.get(number, f"Metacluster {number}"): colour
            for number, colour in reversed(palette.colours.items())
            if number != UNASSIGNED
        }
        names = {}
        colours = {one: of_name[state.name_of(one)] for one in present if state.name_of(one) in of_name}
        if UNASSIGNED in palette.colours and UNASSIGNED in present:
            colours[UNASSIGNED] = palette.colours[UNASSIGNED]
    absent = tuple(state.name_of(one) for one in sorted(set(state.label.tolist())) if one not in colours)
    changed = state.replace(names={**state.names, **names}, colours={**state.colours, **colours})
    return changed, absent


def _number(key: str) -> Any:
    return int(key) if re.fullmatch(r"-1|\d{1,9}", key) else key


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and UNASSIGNED <= value < 1 << 31
