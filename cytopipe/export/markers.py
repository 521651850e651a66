"""Marker sets as UELer keeps them: JSON, by name the channels that are shown and their colours and limits.

    {"immune": {
        "selected_channels": ["DNA", "CD3"],
        "channel_settings": {"DNA": {"color": "Blue", "contrast_min": 0.0, "contrast_max": 900.0}, ...}}}

Both ways: files of UELer are read, and UELer reads ours. Settings of channels that a set does not show are
passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cytopipe.errors import Finding, InputError
from cytopipe.export.styles import ChannelStyle, MarkerSet, colour_of

__all__ = ["format_marker_sets", "parse_marker_sets", "read_marker_sets", "revision_of"]

MAX_BYTES = 16 << 20
MAX_SETS = 10_000
_COLOURS = {
    "Red": "#ff0000", "Green": "#00ff00", "Blue": "#0000ff", "Yellow": "#ffff00", "Cyan": "#00ffff",
    "Magenta": "#ff00ff", "Orange": "#ffa500", "Purple": "#800080", "Brown": "#a52a2a", "Pink": "#ffc0cb",
    "Gray": "#808080", "Black": "#000000", "White": "#ffffff",
}  # fmt: skip
"""Colours to which UELer gives a name."""
_MOST_FINDINGS = 20


def read_marker_sets(path: Path | str) -> dict[str, MarkerSet]:
    """Marker sets of a file, by name; errors as :func:`parse_marker_sets`."""
    from cytopipe.storage.guard.budget import read_bounded

    return parse_marker_sets(read_bounded(Path(path), MAX_BYTES), where=str(path))


def parse_marker_sets(data: bytes, *, where: str = "") -> dict[str, MarkerSet]:
    """Marker sets of a JSON text, by name, in its order.

    Raises
    ------
    InputError
        With every finding: not JSON, a set without channels, a channel without settings, a colour or a limit
        that cannot be used, a channel that stands twice.
    """
    from cytopipe.storage.state import parse_json

    document = parse_json(data, where=where, max_bytes=MAX_BYTES)
    if not isinstance(document, Mapping):
        raise InputError("holds no marker sets", where=where, expected="an object with a key for each set")
    if len(document) > MAX_SETS:
        raise InputError(
            "holds too many marker sets",
            where=where,
            expected=f"at most {MAX_SETS:,}",
            found=f"{len(document):,}",
        )
    findings: list[Finding] = []
    found: dict[str, MarkerSet] = {}
    for name, one in document.items():
        faults, channels = _channels(
            one, f"{where}: marker set {name!r}" if where else f"marker set {name!r}"
        )
        if not name.strip():
            faults.append(Finding(what="a marker set has no name", where=where))
        findings += faults
        if not faults:
            found[name] = MarkerSet(name, channels)
    if findings:
        raise InputError(findings[:_MOST_FINDINGS])
    return found


def format_marker_sets(sets: Iterable[MarkerSet]) -> bytes:
    """JSON that UELer and :func:`parse_marker_sets` read, the same bytes for the same sets.

    Colours are written by their name where UELer has one, otherwise as ``#rrggbb``.

    Raises
    ------
    InputError
        Two sets have one name.
    """
    document: dict[str, Any] = {}
    for one in sets:
        if one.name in document:
            raise InputError(f"two marker sets are named {one.name!r}")
        document[one.name] = {
            "selected_channels": [style.channel for style in one.channels],
            "channel_settings": {
                style.channel: {
                    "color": _name_of(style.colour),
                    "contrast_min": float(style.low),
                    "contrast_max": float(style.high),
                }
                for style in one.channels
            },
        }
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def revision_of(marker_set: MarkerSet) -> str:
    """A digest of what a marker set shows; it changes when a picture of it would. Its name does not count."""
    import hashlib

    shown = [
        (one.channel, [float(part) for part in one.colour], float(one.low), float(one.high))
        for one in marker_set.channels
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def _channels(one: object, where: str) -> tuple[list[Finding], tuple[ChannelStyle, ...]]:
    if not isinstance(one, Mapping):
        return [Finding(what="is not an object", where=where, found=type(one).__name__)], ()
    names, settings = one.get("selected_channels"), one.get("channel_settings", {})
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        return [
            Finding(
                what="shows no channel",
                where=where,
                expected="selected_channels: a list of names",
                found=repr(names)[:80],
            )
        ], ()
    if not isinstance(settings, Mapping):
        return [Finding(what="channel_settings is not an object", where=where)], ()
    faults = [
        Finding(what=f"shows {name!r} twice", where=where)
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    styles = []
    for name in names:
        style = _style(name, settings.get(name), where)
        (faults if isinstance(style, Finding) else styles).append(style)
    return faults, tuple(styles)


def _style(name: str, setting: object, where: str) -> ChannelStyle | Finding:
    if not isinstance(setting, Mapping):
        return Finding(
            what=f"has no settings of channel {name!r}",
            where=where,
            expected="color, contrast_min and contrast_max",
        )
    low, high = setting.get("contrast_min"), setting.get("contrast_max")
    for limit in (low, high):
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
            return Finding(
                what=f"channel {name!r} has no limits",
                where=where,
                expected="contrast_min and contrast_max, two numbers",
                found=f"{low!r} and {high!r}"[:80],
            )
    colour = setting.get("color")
    try:
        rgb = colour_of(colour) if isinstance(colour, str) else None
    except InputError:
        rgb = None
    if rgb is None:
        return Finding(
            what=f"channel {name!r} has a colour that is not known",
            where=where,
            expected="a name such as Red, or #rrggbb",
            found=repr(colour)[:80],
        )
    return ChannelStyle(name, rgb, float(low), float(high))


def _name_of(colour: tuple[float, float, float]) -> str:
    from matplotlib.colors import to_hex

    code = to_hex(colour)
    return next((name for name, one in _COLOURS.items() if one == code), code)
