"""An entry of ``export:`` in the project file: a job, whose fields of view are partitions of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from cytopipe.errors import CytopipeError
from cytopipe.export.parameters import JobSettings
from cytopipe.project.entry import Entry, Problem, absent_file
from cytopipe.storage.names import slug

if TYPE_CHECKING:
    from cytopipe.export.sources import ImageSource

__all__ = ["ExportJob", "FieldPart"]

SETS = {"fov": "export_fovs", "cells": "export_cells", "rois": "export_rois"}
"""The set of partitions of the fields of view of a job, by its mode."""

_RESERVED = re.compile(r'[|,\[\]*"/\\\x00-\x1f]|\.\.\.')
"""What selections of partitions use."""


class ExportJob(Entry, JobSettings):
    """Pictures of multiplexed images: whole fields of view, single cells or regions of interest."""

    domain: ClassVar[str] = "export"

    _opened: dict[Path, ImageSource | CytopipeError] = PrivateAttr(default_factory=dict)

    def settings(self, base: Path) -> JobSettings:
        """The job, its paths absolute."""
        from cytopipe.export.job_file import resolved

        return resolved(JobSettings.of(self), base)

    def fov_names(self, base: Path) -> tuple[str, ...]:
        """The fields of view that are exported; none while the images cannot be listed."""
        if self.fovs:
            return tuple(self.fovs)
        opened = self._images(base)
        return () if isinstance(opened, CytopipeError) else opened.fov_names()

    def _images(self, base: Path) -> ImageSource | CytopipeError:
        """The images, looked up once for each reading of the project; or why they cannot be listed."""
        from cytopipe.export.sources import open_source

        settings = self.settings(base)
        if base not in self._opened:
            try:
                self._opened[base] = open_source(
                    settings.source, settings.kind, self.pixel_size_um, settings.masks or None
                )
            except CytopipeError as error:
                self._opened[base] = error
        return self._opened[base]

    def fields(self, base: Path) -> dict[str, str]:
        """The fields of view by what partitions call them: ``A/1/0`` of a plate is ``A-1-0``."""
        found: dict[str, str] = {}
        for fov in self.fov_names(base):
            plain, number = _RESERVED.sub("-", fov), 1
            name = plain
            while name in found:
                number += 1
                name = f"{plain}-{number}"
            found[name] = fov
        return found

    def declared_in(self, base: Path) -> Iterator[Path]:
        """What says which images and palettes are shown: where it changes, other files are watched."""
        from cytopipe.export.items import presets_of

        for (*_, name), path in self._files():
            if name in ("marker_set_file", "file"):
                yield base / Path(path).expanduser()
        if (presets := presets_of(self.settings(base))) is not None:
            yield from presets.files

    def problems(self, base: Path) -> Iterator[Problem]:
        if "output" in self.model_fields_set:
            yield Problem(
                ("output",),
                "a job of a project has no folder of its own",
                next="Remove the line: the pictures lie below the output root, in export.",
            )
        if isinstance(error := self._images(base), CytopipeError):
            for one in error.findings:
                yield Problem(("source",), one.what, one.expected, one.found or self.source, one.next)
        for loc, path in self._files():
            yield from absent_file(base, path, loc)

    def _files(self) -> Iterator[tuple[tuple[str, ...], str]]:
        if self.marker_set_file:
            yield ("marker_set_file",), self.marker_set_file
        if self.cells is not None:
            yield ("cells", "table"), self.cells.table
            if self.cells.checkpoint:
                yield ("cells", "checkpoint"), self.cells.checkpoint
        if self.rois is not None:
            yield ("rois", "file"), self.rois.file

    def sets(self, name: str, base: Path) -> Mapping[str, Iterable[tuple[str, ExportJob | FieldPart]]]:
        parts = [(f"{name}.{plain}", FieldPart(self, name, fov)) for plain, fov in self.fields(base).items()]
        return {"export": [(name, self)]} | {
            one: parts if one == SETS[self.mode] else [] for one in SETS.values()
        }


@dataclass(frozen=True)
class FieldPart:
    """A field of view of a job."""

    settings: ExportJob
    job: str
    fov: str

    @property
    def description(self) -> str:
        return self.settings.description

    @property
    def names(self) -> dict[str, str]:
        return {"job": self.job, "fov": self.fov}

    def place(self, key: str) -> str:
        return slug(key)
