"""Pydantic's errors in the words of the project file: line, field, expected, found, and what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from cytopipe.errors import Finding
from cytopipe.storage.strict_yaml import Document

__all__ = ["did_you_mean", "explain"]

# Pydantic's own sentences speak of Python types; these speak of YAML.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list, such as [0.005, 0.01]",
    "dict_type": "a mapping",
    "int_from_float": "a whole number",
}


def explain(
    error: Mapping[str, Any], source: Document, place: tuple[str, ...], model: type[BaseModel]
) -> Finding:
    """One of ``ValidationError.errors()`` as a finding.

    Parameters
    ----------
    error : mapping
        The error, with ``type``, ``loc``, ``msg``, ``input`` and ``ctx``.
    source : Document
        The file it was found in.
    place : tuple of str
        Where in the file the validated value begins.
    model : type
        The model that was validated, whose field names are what may be meant.
    """
    known, model = _placed(error["loc"], model) if place else ((), model)
    loc = known or tuple(error["loc"][:1])
    field = ".".join(map(str, (*place, *loc)))
    where = source.at((*place, *loc))
    kind, context = error["type"], error.get("ctx", {})
    if kind == "contradiction":
        return Finding(what=error["msg"], where=where, **context["finding"])
    if kind == "missing":
        return Finding(what=f"'{field}' is missing", where=where, expected=_field_words(model, loc))
    if kind == "extra_forbidden":
        name = str(error["loc"][-1])
        return Finding(
            what=f"unknown key '{name}' in {'.'.join(map(str, (*place, *known))) or 'the project file'}",
            where=source.at((*place, *error["loc"])),
            expected=f"one of {', '.join(model.model_fields)}",
            next=did_you_mean(name, model.model_fields),
        )
    if kind == "value_error":
        expected = str(context.get("error", error["msg"]))
        if expected.startswith("expected "):
            expected, _, next_step = expected.removeprefix("expected ").partition("; ")
            return _wrong(field, where, expected, error["input"], next_step)
        return Finding(what=f"{field}: {expected}", where=where, found=_found(error["input"]))
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return _wrong(
            field, where, " | ".join(choices), error["input"], did_you_mean(str(error["input"]), choices)
        )
    if kind in _EXPECTED:
        return _wrong(field, where, _EXPECTED[kind], error["input"])
    return Finding(what=f"{field}: {_plain(error['msg'])}", where=where, found=_found(error["input"]))


def _placed(
    loc: tuple[str | int, ...], model: type[BaseModel]
) -> tuple[tuple[str | int, ...], type[BaseModel]]:
    """The parts of an error's place that stand in the file, and the innermost model they lead into.

    Pydantic also names the members of unions that it tried; those nobody wrote.
    """
    kept: list[str | int] = []
    for part in loc:
        if isinstance(part, int):
            kept.append(part)
        elif part in model.model_fields:
            kept.append(part)
            model = _inner(model.model_fields[part].annotation) or model
    return tuple(kept), model


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or beside None."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [one for one in kinds if isinstance(one, type) and issubclass(one, BaseModel)]
    return models[0] if len(models) == 1 else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'min_split'?``, or nothing when no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else ""


def _wrong(field: str, where: str, expected: str, found: object, next: str = "") -> Finding:
    sentence = next[:1].upper() + next[1:]
    if sentence and not sentence.endswith(("?", ".")):
        sentence += "."
    return Finding(
        what=f"{field} is not usable", where=where, expected=expected, found=_found(found), next=sentence
    )


def _found(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:].replace("Input should be", "should be")


def _field_words(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    known = model.model_fields.get(str(loc[-1])) if loc else None
    return (known.description or "").split(":")[0].split(";")[0] if known else ""
