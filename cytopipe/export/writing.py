"""One field of view of an export: its pictures are made, those that stand are kept, all are published whole.

This is what a worker does. A field is one file (`fov1.png`) or one directory (`fov1/cell_12.png`). Its
sidecar holds the recipe of every picture, by which the next run knows what is stale.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cytopipe.errors import CytopipeError
from cytopipe.export.drawing import drawn_together, file_of
from cytopipe.export.format import PICTURES
from cytopipe.export.items import CODE, Item, Whole
from cytopipe.export.parameters import JobSettings
from cytopipe.provenance import Input, Provenance
from cytopipe.storage.archive import Archive, Place

if TYPE_CHECKING:
    from cytopipe.export.sources import FovInfo, ImageSource

__all__ = ["Batch", "ExportResult", "drawn_files", "made_batch", "recipes_at"]

LOG = logging.getLogger("cytopipe.export")
LOG.addHandler(logging.NullHandler())  # a program that wants the log says where; failures are in the results

_TRANSIENT = {
    errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET,
    errno.ECONNREFUSED, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENFILE,
    errno.EMFILE, errno.EREMOTEIO,
}  # fmt: skip
"""What slow or shared storage reports and may not report again."""


@dataclass(frozen=True)
class ExportResult:
    """What became of an item. JSON values throughout (see `as_json`).

    Parameters
    ----------
    name, fov, file : str
        Of the item.
    state : {'planned', 'exported', 'kept', 'failed', 'cancelled'}
        A kept picture stood already and was made by the same recipe.
    path : str
        Of the file; empty where there is none.
    error_type, error, traceback : str
        Of a failed item.
    facts : mapping
        Size, region, pixel size, scale bar, number of tries.
    """

    name: str
    fov: str
    file: str
    state: str
    path: str = ""
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.state in ("exported", "kept")

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "ok": self.ok, "facts": dict(self.facts)}


@dataclass(frozen=True, eq=False)
class Batch:
    """Items of one field of view.

    Parameters
    ----------
    items : tuple of Item
        All of this field, in the order of the plan.
    info : FovInfo or None
        None where the field cannot be read; all items have a fault then.
    """

    source: ImageSource
    settings: JobSettings
    fov: str
    items: tuple[Item, ...]
    info: FovInfo | None


def recipes_at(settings: JobSettings, items: tuple[Item, ...]) -> dict[str, str]:
    """Recipes of the pictures of one field that stand in the output folder, by file."""
    place = _place(items)
    try:
        receipt = _archive(settings.output).receipt(Place(place))
    except CytopipeError:
        return {}  # what cannot be read is made again
    if receipt is None or receipt.provenance is None:
        return {}
    known = receipt.provenance.parameters.get("recipes")
    if not isinstance(known, Mapping):
        return {}
    there = _files_at(Path(settings.output, place), place)
    return {file: recipe for file, recipe in known.items() if file in there}


def _files_at(path: Path, place: str) -> set[str]:
    """The file itself, or the files of a directory, with one look at it."""
    try:
        with os.scandir(path) as entries:
            return {f"{place}/{one.name}" for one in entries if one.is_file()}
    except NotADirectoryError:
        return {place}
    except OSError:
        return set()


def made_batch(batch: Batch, stop: Callable[[], bool] | None = None) -> list[ExportResult]:
    """Make what is missing or stale of one field of view; publish all of it.

    Parameters
    ----------
    batch : Batch
    stop : callable, optional
        Asked before each picture; what is made by then is published.

    Raises
    ------
    StorageError
        The output folder cannot be written: no further item can succeed.
    """
    settings, items = batch.settings, batch.items
    standing = recipes_at(settings, items)
    root = str(Path(settings.output))
    results: dict[str, ExportResult] = {}
    todo: list[Item] = []
    for one in items:
        if one.fault:
            results[one.file] = _failed(one, "InputError", one.fault)
        elif standing.get(one.file) == one.recipe:
            path = f"{root}/{one.file}"
            results[one.file] = ExportResult(one.name, one.fov, one.file, "kept", path)
        else:
            todo.append(one)
    new: dict[str, bytes] = {}
    if todo and batch.info is not None:
        for item, made in drawn_files(batch, todo, stop):
            if isinstance(made, Exception):
                results[item.file] = _of_error(item, made)
            elif made is None:
                results[item.file] = ExportResult(item.name, item.fov, item.file, "cancelled")
            else:
                data, facts = made
                new[item.file] = data
                path = f"{root}/{item.file}"
                facts = {**facts, "bytes": len(data)}
                results[item.file] = ExportResult(
                    item.name, item.fov, item.file, "exported", path, facts=facts
                )
    planned = {one.file for one in items}
    if new or standing.keys() - planned:
        recipes = {one.file: one.recipe for one in items if one.file in new}
        kept = {file: recipe for file, recipe in standing.items() if file in planned and file not in new}
        if recipes or kept:
            _publish(batch, new, recipes | kept)
    return [results[one.file] for one in items]


def drawn_files(
    batch: Batch, todo: list[Item], stop: Callable[[], bool] | None = None
) -> Iterator[tuple[Item, Any]]:
    """Items with the bytes of their file and facts about it; in their place the error, or None after a stop.

    What fails for a reason that may pass is tried again, and fields follow each other, as the settings say.
    """
    info, settings = batch.info, batch.settings
    assert info is not None
    _wait_for_turn(settings.fovs_per_s)

    def make(field: Any, item: Item) -> Any:
        if stop is not None and stop():
            return None
        tries = 0
        while True:
            try:
                data, facts = file_of(field, info, item, settings)
                return data, facts | ({"tries": tries + 1} if tries else {})
            except Exception as error:
                if tries >= settings.retries or not _is_transient(error):
                    raise
                pause = settings.backoff * 2**tries
                tries += 1
                LOG.warning(
                    "try %d of %s failed, again in %g s: %s",
                    tries,
                    item.file,
                    pause,
                    error,
                    extra={"item": item.file},
                )
                time.sleep(pause)

    yield from drawn_together(batch.source.field(batch.fov), info, todo, make)


def _is_transient(error: BaseException | None) -> bool:
    """Whether an error has a cause that may be gone the next time."""
    while error is not None:
        if isinstance(error, TimeoutError | ConnectionError):
            return True
        if isinstance(error, OSError) and error.errno in _TRANSIENT:
            return True
        error = error.__cause__ or error.__context__
    return False


_turn = threading.Lock()
_last_turn = [0.0]


def _wait_for_turn(per_s: float | None) -> None:
    if per_s is None:
        return
    with _turn:  # threads of one worker begin one after the other
        pause = _last_turn[0] + 1 / per_s - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        _last_turn[0] = time.monotonic()


# ---------------------------------------------------------------------- publishing


@lru_cache(4)
def _archive(root: str) -> Archive:
    return Archive(root)


def _place(items: tuple[Item, ...]) -> str:
    """The file of a whole field, or the directory of its pictures."""
    file = items[0].file
    return file if isinstance(items[0].place, Whole) and "/" not in file else file.partition("/")[0]


def _publish(batch: Batch, new: Mapping[str, bytes], recipes: Mapping[str, str]) -> None:
    settings = batch.settings
    place = _place(batch.items)
    archive, format = _archive(settings.output), PICTURES[settings.file_format]
    provenance = _provenance(batch, recipes)
    if place in recipes:
        archive.put(Place(place), format.of, new[place], provenance)
        return
    old = Path(settings.output)

    def pictures() -> Iterator[tuple[str, bytes]]:
        for file in sorted(recipes):
            name = file.partition("/")[2].removesuffix(format.of.suffix)
            yield name, new[file] if file in new else (old / file).read_bytes()

    archive.put(Place(place), format, pictures(), provenance)


def _provenance(batch: Batch, recipes: Mapping[str, str]) -> Provenance:
    settings = batch.settings
    shown = [one for one in batch.items if one.file in recipes and one.marker_set is not None]
    sets = {one.marker_set.name: one.marker_set for one in shown if one.marker_set is not None}
    channels = tuple(dict.fromkeys(c.channel for one in sets.values() for c in one.channels))
    try:
        identity = batch.source.identity(batch.fov, channels)
    except CytopipeError:
        identity = ""
    return Provenance(
        what=f"pictures of {batch.fov}",
        parameters={
            "mode": settings.mode,
            "pixel_size_um": batch.info.pixel_size_um if batch.info else None,
            "marker_sets": {
                name: {c.channel: [*c.colour, c.low, c.high] for c in one.channels}
                for name, one in sorted(sets.items())
            },
            "overlays": [one.model_dump(mode="json") for one in settings.overlays],
            "picture": {
                name: getattr(settings, name)
                for name in (
                    "file_format",
                    "downsample",
                    "dpi",
                    "quality",
                    "scale_bar",
                    "bar_fraction",
                    "bar_um",
                )
            },
            "recipes": dict(sorted(recipes.items())),
        },
        inputs=(Input(path=f"{settings.source}: {batch.fov}", sha256=identity),),
        code_version=CODE,
    )


# ---------------------------------------------------------------------- failures


def _failed(item: Item, kind: str, words: str) -> ExportResult:
    return ExportResult(item.name, item.fov, item.file, "failed", error_type=kind, error=words)


def _of_error(item: Item, error: Exception) -> ExportResult:
    told = "".join(traceback.format_exception(error))[-8000:]
    LOG.error("%s failed: %s", item.file, error, extra={"item": item.file})
    return ExportResult(
        item.name,
        item.fov,
        item.file,
        "failed",
        error_type=type(error).__name__,
        error=str(error) or type(error).__name__,
        traceback=told,
    )
