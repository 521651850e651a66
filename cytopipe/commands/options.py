"""Options of the command line out of a set of parameters: name, range, default and help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any

import click
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from cytopipe.errors import ParameterError
from cytopipe.parameters import allowed, choices, default_words, findings_of, is_list, metavar
from cytopipe.units import Duration_s, Fraction

__all__ = [
    "DURATION_S",
    "FRACTION",
    "LENGTH_UM",
    "LIMIT",
    "PORT",
    "AllFaultsCommand",
    "Value",
    "parameter_options",
    "said",
]


_FAULTS = "cytopipe.faults"


class AllFaultsCommand(click.Command):
    """A command whose function gets the faults of all its options as `faults`, to tell them with its own."""

    def invoke(self, ctx: click.Context) -> Any:
        ctx.params["faults"] = ctx.meta.pop(_FAULTS, [])
        return super().invoke(ctx)


class Value(click.ParamType):
    """A value of a parameter, read with its units and checked against its range."""

    name = "value"

    def __init__(self, field: FieldInfo) -> None:
        self._field = field

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        flag = param.opts[0] if param else "value"
        model = create_model("Option", value=(Annotated[self._field.annotation, self._field], ...))
        try:
            return model.model_validate_strings({"value": value}, strict=True).value  # type: ignore[attr-defined]
        except ValidationError as error:
            (finding,) = findings_of(error, model)
            finding = replace(finding, where=flag)
            if ctx is None or not isinstance(ctx.command, AllFaultsCommand):
                raise ParameterError(finding) from error
            ctx.meta.setdefault(_FAULTS, []).append(finding)
            return None


def parameter_options(
    model: type[BaseModel], also: Mapping[str, str] | None = None, *, only: Collection[str] = ()
) -> Callable[[Callable], Callable]:
    """A decorator that gives a command one option per field of `model`.

    An option that is not given is None, so that a project's entry or a stored value stays as it is.

    Parameters
    ----------
    model : type
        A `cytopipe.parameters.ParameterSet`.
    also : mapping of field to flag, optional
        Second names of options: ``{"regularization": "--lambda"}``.
    only : collection of str, optional
        These fields alone.
    """

    def decorate(command: Callable) -> Callable:
        for name, field in reversed(model.model_fields.items()):
            if only and name not in only:
                continue
            command = _option(name, field, (also or {}).get(name))(command)
        return command

    return decorate


def said(model: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `model` that were given on the command line; takes all of them out of `given`."""
    taken = {name: given.pop(name) for name in model.model_fields if name in given}
    return {name: value for name, value in taken.items() if value is not None}


FRACTION = Value(FieldInfo.from_annotation(Fraction))
"""A fraction or percent, for options that are no field of a set of parameters."""

LIMIT = Value(FieldInfo.from_annotation(Annotated[int, Field(ge=0)]))
"""A whole number from 0."""

LENGTH_UM = Value(FieldInfo.from_annotation(Annotated[float, Field(gt=0, allow_inf_nan=False)]))
"""A length, micrometres."""

PORT = Value(FieldInfo.from_annotation(Annotated[int, Field(ge=1, le=65535)]))
"""A port of this machine."""

DURATION_S = Value(FieldInfo.from_annotation(Duration_s))
"""A time, in seconds."""


def _option(name: str, field: FieldInfo, other: str | None) -> Callable:
    flag = f"--{name.replace('_', '-')}"
    words = " ".join((field.description or "").split())
    if field.annotation is bool:
        flags = [f"{flag}/--no-{flag[2:]}"]
        kind: dict[str, Any] = {"default": None}
    elif is_list(field):
        flags = [flag]
        kind = {"multiple": True, "metavar": "NAME", "callback": _several, "type": str}
        words += " May be given many times."
    else:
        flags = [flag]
        taken = choices(field)
        kind = {"type": click.Choice(taken) if taken else Value(field)}
        if not taken:
            kind["metavar"] = metavar(field)
            words += f" Takes {allowed(field)}."
    return click.option(
        *flags, *([other] if other else []), name, help=f"{words} [default: {default_words(field)}]", **kind
    )


def _several(context: click.Context, option: click.Parameter, value: tuple[str, ...]) -> object:
    """Nothing where nothing was given, the word ``auto`` for itself, else all names."""
    return None if not value else "auto" if value == ("auto",) else value
