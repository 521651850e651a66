"""File names of a screen: ``P-{plate}_W-{well}_T-{tile}_C-{cycle}__{info}.{ext}``, written and read.

What does not apply is left out: an illumination field has no tile, ``P-1_W-A1_C-3__ic_field.tiff``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cytopipe.errors import Finding, InputError
from cytopipe.storage.names import check_file_name

__all__ = ["get_filename", "parse_filename"]

_LETTERS = {"plate": "P", "well": "W", "tile": "T", "cycle": "C"}
_NUMBERS = ("tile", "cycle")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_INFO = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]|_(?!_))*")
#: Endings of two parts; every other one is what follows the last dot.
_LONG_ENDINGS = (".ome.zarr", ".ome.tiff", ".ome.tif")


def get_filename(data_location: Mapping[str, str | int], info_type: str, file_type: str) -> str:
    """The name of a file.

    Parameters
    ----------
    data_location : mapping
        Any of plate, well, tile and cycle; the last two are whole numbers.
    info_type : str
        What the file holds, such as ``aligned``.
    file_type : str
        Its ending, such as ``tiff`` or ``ome.zarr``.

    Raises
    ------
    InputError
        A part that could not be read back from the name, such as a well ``A_1``.
    UnsafeNameError
        A name that no file system should see.

    Examples
    --------
    >>> get_filename({"plate": 1, "well": "A1", "tile": 2}, "aligned", "tiff")
    'P-1_W-A1_T-2__aligned.tiff'
    """
    findings = [
        Finding(what=f"a file name has no {name}", expected=", ".join(_LETTERS))
        for name in data_location
        if name not in _LETTERS
    ]
    for name, value in data_location.items():
        if name in _NUMBERS:
            usable, expected = re.fullmatch(r"\d+", str(value)), "a whole number"
        else:
            usable, expected = _VALUE.fullmatch(str(value)), "letters, digits, '.' and '-'"
        if name in _LETTERS and not usable:
            findings.append(
                Finding(what=f"this {name} cannot be in a file name", expected=expected, found=repr(value))
            )
    for what, text in (("info", info_type), ("ending", file_type)):
        if not _INFO.fullmatch(text):
            expected = "letters, digits, '.', '-' and single '_'"
            findings.append(
                Finding(what=f"this {what} cannot be in a file name", expected=expected, found=repr(text))
            )
    if findings:
        raise InputError(findings)
    parts = [f"{letter}-{data_location[name]}" for name, letter in _LETTERS.items() if name in data_location]
    name = f"{'_'.join(parts)}__{info_type}.{file_type}" if parts else f"{info_type}.{file_type}"
    check_file_name(name)
    return name


def parse_filename(filename: str) -> tuple[dict[str, str | int], str, str]:
    """Location, info and ending of a file name; tile and cycle are numbers.

    Raises
    ------
    InputError
        The name is not one of ours.

    Examples
    --------
    >>> parse_filename("P-1_W-A1_C-3__ic_field.tiff")
    ({'plate': '1', 'well': 'A1', 'cycle': 3}, 'ic_field', 'tiff')
    """
    long = next((one for one in _LONG_ENDINGS if filename.lower().endswith(one)), None)
    base, ending = (
        (filename[: -len(long)], filename[-len(long) + 1 :]) if long else filename.rpartition(".")[::2]
    )
    place, mark, info = base.rpartition("__")
    location = _located(place) if mark else {}
    if location is None or not base or not ending or not info:
        raise InputError(
            "is not the name of a file of a screen",
            where=filename,
            expected="P-{plate}_W-{well}_T-{tile}_C-{cycle}__{info}.{ext}, or parts of it in this order",
        )
    return location, info, ending


def _located(place: str) -> dict[str, str | int] | None:
    """Names and values of ``P-1_W-A1``; None where it is no such text."""
    location: dict[str, str | int] = {}
    letters = {letter: name for name, letter in _LETTERS.items()}
    for part in place.split("_"):
        letter, _, value = part.partition("-")
        name = letters.get(letter)
        if name is None or name in location or not _VALUE.fullmatch(value):
            return None
        if name in _NUMBERS and not re.fullmatch(r"[0-9]{1,18}", value):
            return None
        location[name] = int(value) if name in _NUMBERS else value
    return location if list(location) == [one for one in _LETTERS if one in location] else None
