"""Fields of a domain's own dataclass as fields of its entry in the project file.

A parameter that a domain gains is thereby one that a project file can set: same name, same default, described
by the paragraph of the numpydoc section that describes it to programmers. So file, command line and library
cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping

from pydantic import Field

__all__ = ["fields_of"]


def fields_of(cls: type, stricter: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """What :func:`pydantic.create_model` needs to take every field of a dataclass.

    Parameters
    ----------
    cls : type
        A dataclass whose docstring has a numpydoc ``Parameters`` section.
    stricter : mapping of str to type
        Types to use in place of the annotated ones: units, choices, ranges.
    """
    types, words = typing.get_type_hints(cls), _documented(cls)
    return {
        field.name: (
            stricter.get(field.name, types[field.name]),
            Field(default=field.default, description=words.get(field.name)),
        )
        for field in dataclasses.fields(cls)
    }


def _documented(cls: type) -> dict[str, str]:
    """Field name to its paragraph in the class's numpydoc ``Parameters`` section."""
    section = re.search(
        r"Parameters\n\s*-+\n(.*?)(?:\n\s*\n\s*\w+\n\s*-{3,}|\Z)", cls.__doc__ or "", re.DOTALL
    )
    text: dict[str, str] = {}
    name = ""
    for line in (section[1] if section else "").splitlines():
        if head := re.fullmatch(r" {4}(\w+) : .*", line):
            name = head[1]
            text[name] = ""
        elif name:
            text[name] = f"{text[name]} {line.strip()}".strip()
    return {field: re.sub(r"\s*\[\d+\]_", "", words) for field, words in text.items()}
