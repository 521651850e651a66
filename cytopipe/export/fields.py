"""The pictures of one field of view of a job, all in memory: what one partition of the asset graph makes.

A picture that fails does not stop the others; where none could be made, the field of view fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cytopipe.errors import CytopipeError, Finding, InputError
from cytopipe.export.items import Plan, plan_items
from cytopipe.export.parameters import JobSettings
from cytopipe.export.writing import Batch, drawn_files
from cytopipe.storage.names import slug

if TYPE_CHECKING:
    from cytopipe.export.cells import Cells

__all__ = ["MadePictures", "make_pictures", "plan_field", "plan_fields"]


@dataclass(frozen=True)
class MadePictures:
    """What became of the pictures of a field of view.

    Parameters
    ----------
    pictures : mapping of str to bytes
        Files by name, in the order of the plan.
    failed : mapping of str to str
        Why the others could not be made, by file name.
    """

    pictures: Mapping[str, bytes]
    failed: Mapping[str, str]


def plan_field(settings: JobSettings, fov: str, cells: Cells | None = None) -> Plan:
    """The plan of one field of view; without items where the job asks nothing of it."""
    return plan_fields(settings.model_copy(update={"fovs": [fov]}), cells)


def plan_fields(settings: JobSettings, cells: Cells | None = None) -> Plan:
    """The plan of a job whose files lie in one folder for each field of view, whatever the mode.

    `cells` is its cell table, where it was read already.
    """
    plan = plan_items(settings, cells, may_be_empty=True)
    items = (
        one if "/" in one.file else replace(one, file=f"{slug(one.fov)}/{one.file}") for one in plan.items
    )
    return Plan(plan.settings, plan.source, tuple(items), plan.infos)


def make_pictures(plan: Plan, fov: str) -> MadePictures:
    """Make all pictures of one field of view.

    Raises
    ------
    InputError
        None could be made; with the reasons.
    """
    items = plan.by_fov.get(fov, ())
    failed = {one.file: one.fault for one in items if one.fault}
    usable = [one for one in items if not one.fault]
    found: dict[str, bytes] = {}
    if usable:
        batch = Batch(plan.source, plan.settings, fov, items, plan.infos[fov])
        for item, made in drawn_files(batch, usable):
            if isinstance(made, CytopipeError):
                failed[item.file] = str(made)
            elif isinstance(made, Exception):
                raise made
            else:
                found[item.file] = made[0]
    if items and not found:
        reasons = list(dict.fromkeys(failed.values()))
        raise InputError(Finding(what=one, where=fov) for one in reasons[:20])
    names = {one.file: one.file.rpartition("/")[2] for one in items}
    pictures = {names[one.file]: found[one.file] for one in items if one.file in found}
    return MadePictures(pictures, {names[file]: why for file, why in failed.items()})
