"""Parameters, declared once: name, type, unit, range, default, description and reference in one model.

A set of parameters is a class of the domain that derives from `ParameterSet`. Entries of the project file
inherit it, options of the command line and the documentation's table are derived from it, and state
documents hold it, so a parameter is added in one place:

    class Parameters(ParameterSet):
        max_lump: Fraction = 0.02
        '''Distance beyond which two clusters are never joined.'''

A value of the class has been checked; a wrong one raises ParameterError with all findings at once.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from cytopipe.errors import Finding, ParameterError
from cytopipe.units import Words

__all__ = [
    "ParameterSet",
    "allowed",
    "choices",
    "contradiction",
    "default_words",
    "excluded",
    "findings_of",
    "is_list",
    "metavar",
    "parameter_table",
    "table_rows",
]


class ParameterSet(BaseModel):
    """Base of every set of parameters; frozen, and strict about types.

    Raises
    ------
    ParameterError
        With one finding per value that is out of its range, unknown, or contradicts another.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __init__(self, /, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise ParameterError(findings_of(error, type(self))) from error

    # As in pydantic's own RootModel: models that hold or inherit this one are validated without this
    # constructor, so that their errors keep the place in the whole document.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def replace(self, **changes: object) -> Self:
        """A copy with other values, checked like a new one."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)

    def as_json(self) -> dict[str, Any]:
        """All fields as JSON values, in the order of their declaration."""
        return self.model_dump(mode="json")

    @classmethod
    def of(cls, values: object) -> Self:
        """This set of parameters out of a value that has more, such as an entry that inherits it."""
        return cls(**{name: getattr(values, name) for name in cls.model_fields})


def contradiction(what: str, field: str, absent: tuple[str, ...] = (), **finding: str) -> ValidationError:
    """Two values that exclude each other, for a validator of a model to raise; placed at `field`.

    Parameters
    ----------
    what : str
    field : str
        The field whose line in a document is told; `what` names it.
    absent : tuple of str
        Fields that are missed: where one of them is written and cannot be used, that is told instead.
    **finding : str
        ``expected``, ``found`` and ``next`` of the finding.
    """
    told = PydanticCustomError("contradiction", what, {"finding": finding, "absent": absent})  # type: ignore[arg-type]
    return ValidationError.from_exception_data(field, [{"type": told, "loc": (field,), "input": None}])


def excluded(what: str, **finding: str) -> PydanticCustomError:
    """The same for a validator of a field to raise: it is told along with the faults of other fields."""
    return PydanticCustomError("contradiction", what, {"finding": finding})  # type: ignore[arg-type]


def findings_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Finding]:
    """Pydantic's errors about the fields of `model` as findings; the field's name stands in `where`."""
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        field = model.model_fields.get(name)
        if fault["type"] == "extra_forbidden":
            yield Finding(what=f"unknown parameter {name!r}", expected=", ".join(model.model_fields))
            continue
        text = str(fault.get("ctx", {}).get("error", fault["msg"]))
        if fault["type"] == "contradiction":
            yield Finding(what=text, **fault["ctx"]["finding"])
            continue
        if fault["type"] != "value_error":
            expected, hint = allowed(field) if field else text, ""
        elif text.startswith("expected "):
            expected, _, hint = text.removeprefix("expected ").partition("; ")
            expected = allowed(field) if field and not hint else expected
        else:
            yield Finding(what=text, where=name)
            continue
        next_step = f"{hint[:1].upper()}{hint[1:]}{'' if not hint or hint.endswith('?') else '.'}"
        yield Finding(
            what="is not usable", where=name, expected=expected, found=repr(fault["input"]), next=next_step
        )


# ---------------------------------------------------------------------- what a field allows, in words


def allowed(field: FieldInfo) -> str:
    """What a field takes: ``a whole number from 1, or none``."""
    return _words(field.annotation, tuple(field.metadata))


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words a field takes; empty where it takes anything else."""
    return typing.get_args(field.annotation) if typing.get_origin(field.annotation) is Literal else ()


def is_list(field: FieldInfo) -> bool:
    """Whether a field takes several values that are given one by one."""
    if any(isinstance(one, Words) for one in field.metadata):  # written as one, such as 1,512,512
        return False
    return any(typing.get_origin(one) in (list, tuple) for one in _members(field.annotation))


def metavar(field: FieldInfo) -> str:
    """What a value is called in help: FRACTION, N, NUMBER, TEXT."""
    for one in _members(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation):
        kind, metadata = _bare(one)
        for words in metadata:
            if isinstance(words, Words):
                return words.metavar
        if kind in (int, float):
            return "N" if kind is int else "NUMBER"
    return "TEXT"


def default_words(field: FieldInfo) -> str:
    """The default, as a person reads it."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        return "its own"
    return "none" if value is None or value in ("", (), [], {}) else f"{value}"


def _words(annotation: Any, metadata: Sequence[object] = ()) -> str:
    kind, inner = _bare(annotation)
    metadata = (*inner, *metadata)
    if found := next((one for one in metadata if isinstance(one, Words)), None):
        return found.expected
    members = _members(kind)
    if len(members) > 1:
        parts = [_words(one, metadata) for one in members if one is not type(None)]
        return " or ".join(parts) + (", or none" if type(None) in members else "")
    if typing.get_origin(kind) is Literal:
        return " | ".join(map(str, typing.get_args(kind)))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        return f"{'a whole number' if kind is int else 'a number'}{_range(metadata)}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a mapping of {kind.__name__}"
    return "a list of names" if typing.get_origin(kind) in (list, tuple) else "text"


def _range(metadata: Sequence[object]) -> str:
    text = ""
    for one in metadata:
        for limit in one if isinstance(one, annotated_types.GroupedMetadata) else (one,):
            for kind, word in (
                (annotated_types.Ge, "from"),
                (annotated_types.Gt, "above"),
                (annotated_types.Le, "to"),
                (annotated_types.Lt, "and below"),
            ):
                if isinstance(limit, kind):
                    number = getattr(limit, kind.__name__.lower())
                    if abs(number) >= 1 << 60:  # a limit of the machine, which no person meets
                        continue
                    text += f" {word} {number:,}" if isinstance(number, int) else f" {word} {number:g}"
    return text


def _members(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is Annotated and _is_union(typing.get_args(annotation)[0]):
        annotation = typing.get_args(annotation)[0]
    return typing.get_args(annotation) if _is_union(annotation) else (annotation,)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _bare(annotation: Any) -> tuple[Any, tuple[object, ...]]:
    if typing.get_origin(annotation) is Annotated:
        kind, *metadata = typing.get_args(annotation)
        inner, more = _bare(kind)
        flat = [part for one in metadata for part in (one.metadata if isinstance(one, FieldInfo) else (one,))]
        return inner, (*more, *flat)
    return annotation, ()


# ---------------------------------------------------------------------- documentation


def parameter_table(model: type[BaseModel], names: Sequence[str] | None = None) -> str:
    """A Markdown table of the fields of `model`, or of those `names`."""
    lines = ["| parameter | takes | default | meaning |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in table_rows(model.model_fields, names)]
    return "\n".join(lines) + "\n"


def table_rows(
    fields: Mapping[str, FieldInfo], names: Sequence[str] | None = None
) -> Iterator[tuple[str, ...]]:
    """Name, range, default and description of every field, as cells of a Markdown table."""
    for name in fields if names is None else names:
        field = fields[name]
        meaning = " ".join((field.description or "").split())
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "reference" in extra:
            meaning += f" Reference: {extra['reference']}"
        default = "required" if field.is_required() else default_words(field)
        cells = (f"`{name}`", allowed(field), default, meaning)
        yield tuple(cell.replace("|", "\\|") for cell in cells)
