"""A job as a YAML file: read strictly, with the line of every fault; paths are relative to the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from cytopipe.errors import Finding, InputError, ParameterError
from cytopipe.export.parameters import JobSettings
from cytopipe.parameters import allowed
from cytopipe.storage.strict_yaml import Document, load_yaml

__all__ = ["job_settings", "read_job", "resolved"]


def read_job(path: Path, **changes: object) -> JobSettings:
    """The settings in a job file, all paths absolute.

    Parameters
    ----------
    path : Path
    **changes : object
        Settings that go before those of the file; a mapping changes what it names, ``cells={"where": ...}``.

    Raises
    ------
    InputError, ParameterError
        With everything that is wrong with it, with lines.
    """
    document = load_yaml(path, max_bytes=1 << 20)
    if not isinstance(document.data, dict):
        raise InputError(
            "a job is a mapping", where=str(path), expected="lines such as source: data and output: pictures"
        )
    written = document.data | {
        name: document.data[name] | value
        if isinstance(value, Mapping) and isinstance(document.data.get(name), Mapping)
        else value
        for name, value in changes.items()
    }
    return resolved(job_settings(written, document), path.absolute().parent)


def job_settings(written: dict, document: Document | None = None) -> JobSettings:
    """Settings out of written values.

    Raises
    ------
    ParameterError
        All faults; each with its line where they come from a document.
    """
    try:
        return JobSettings.model_validate(written)
    except ValidationError as error:
        raise ParameterError(_finding(one, document) for one in error.errors()) from None


def resolved(settings: JobSettings, base: Path) -> JobSettings:
    """The same settings with all paths absolute, seen from `base`."""

    def full(path: str) -> str:
        return str(base / Path(path).expanduser()) if path else ""

    changes: dict[str, object] = {
        name: full(getattr(settings, name)) for name in ("source", "output", "masks", "marker_set_file")
    }
    if settings.cells is not None:
        changes["cells"] = settings.cells.replace(
            table=full(settings.cells.table), checkpoint=full(settings.cells.checkpoint)
        )
    if settings.rois is not None:
        changes["rois"] = settings.rois.replace(
            file=full(settings.rois.file), palettes=full(settings.rois.palettes)
        )
    return settings.model_copy(update=changes)


def _finding(fault: dict, document: Document | None) -> Finding:
    loc = tuple(fault["loc"])
    name = ".".join(str(part) for part in loc)
    where = document.at(loc) if document is not None else name
    said = f"{name}: " if document is not None and name else ""
    kind = fault["type"]
    if kind == "contradiction":
        return Finding(what=said + str(fault["msg"]), where=where, **fault["ctx"]["finding"])
    known = _known(loc[:-1])
    if kind == "extra_forbidden":
        return Finding(
            what=f"unknown setting {name!r}", where=where, expected=", ".join(known) if known else ""
        )
    if kind == "missing":
        return Finding(what=f"{name} is missing", where=where)
    field = known.get(str(loc[-1])) if loc and known else None
    text = str(fault.get("ctx", {}).get("error", fault["msg"]))
    if kind == "value_error" and text.startswith("expected "):
        expected = text.removeprefix("expected ")
    else:
        expected = allowed(field) if field is not None else text
    return Finding(
        what=f"{said}is not usable", where=where, expected=expected, found=repr(fault["input"])[:200]
    )


def _known(loc: tuple) -> dict:
    """The fields of the model at a place of the document; empty where there is none."""
    from cytopipe.export import parameters

    models = {
        (): JobSettings,
        ("cells",): parameters.CellSettings,
        ("rois",): parameters.RoiSettings,
        ("gallery",): parameters.GallerySettings,
        ("overlays", 0): parameters.OverlaySetting,
        ("marker_sets", 0, 0): parameters.ChannelSetting,
    }
    plain = (loc[0], *(0 for _ in loc[1:])) if loc else ()
    return dict(models[plain].model_fields) if plain in models else {}
