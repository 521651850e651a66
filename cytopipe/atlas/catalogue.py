"""What lies under a results root, and where what is to come will lie.

    {root}/{atlas}/pseudobulk/{atlas}_pseudobulk_{level}[_resampled|_samples].h5ad
    {root}/{atlas}/activity/{atlas}_{signature}_{level}[_resampled].h5ad
    {root}/validation/{atlas}/{atlas}_{signature}_{level}_*.{tsv,parquet,json,png}
    {root}/validation/cross_atlas/{signature}_{granularity}_*.{tsv,png}

A name is one of a small alphabet before it becomes part of a path, and what exists is found by listing
directories, so that no name leads outside the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cytopipe.errors import InputError, UnsafeNameError
from cytopipe.storage.archive import Place
from cytopipe.storage.formats.files import FilesFormat

__all__ = ["COMPARISON", "GRANULARITIES", "PLACES", "VALIDATION", "Catalogue", "NotFoundError", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CROSS = "cross_atlas"
_PROFILES = "{atlas}/pseudobulk/{atlas}_pseudobulk_{level}"
_ACTIVITY = "{atlas}/activity/{atlas}_{signature}_{level}"

PLACES = {
    "pseudobulk": f"{_PROFILES}.h5ad",
    "resampled": f"{_PROFILES}_resampled.h5ad",
    "sample_profiles": f"{_PROFILES}_samples.h5ad",
    "quality": f"{_PROFILES}_groups.tsv",
    "activity": f"{_ACTIVITY}.h5ad",
    "activity_resampled": f"{_ACTIVITY}_resampled.h5ad",
    "validation": "validation/{atlas}#{atlas}_{signature}_{level}",
    "cross_atlas": f"validation/{_CROSS}#{_CROSS}",
}
"""Where each artifact lies below the results root; after ``#`` the name of a set of files in the folder."""

GRANULARITIES = ("coarse", "fine")
VALIDATION = FilesFormat(
    "atlas_validation", ("expression.tsv", "points.parquet", "biology.tsv", "quality.json", "scatter_*.png")
)
COMPARISON = FilesFormat(
    "atlas_comparison",
    tuple(
        f"*_{granularity}_{what}"
        for granularity in GRANULARITIES
        for what in (
            *(f"{one}.tsv" for one in ("pairs", "targets", "conserved", "consistency", "meta")),
            *("types.tsv", "labels.tsv", "heat_map.png", "forest.png"),
        )
    ),
    prefixed=False,
)


class NotFoundError(InputError):
    """A result that was asked for is not there; the message lists those that are."""


def check_name(name: str, what: str = "name") -> str:
    """Return `name` if it may stand in a path.

    Raises
    ------
    UnsafeNameError
        If it holds anything but letters, digits, ``.``, ``-`` and ``_``, or begins otherwise.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise UnsafeNameError(
            f"this {what} cannot stand in a file name",
            where=what,
            expected="letters, digits, '.', '-' or '_', beginning with a letter or digit, at most 100",
            found=repr(name)[:120],
        )
    return name


@dataclass(frozen=True)
class Catalogue:
    """The results under one root.

    Parameters
    ----------
    root : Path
    """

    root: Path

    # what is there -------------------------------------------------------------------------------

    def atlases(self) -> list[str]:
        """Atlases with pseudobulk files, in order of name."""
        return [name for name in self._folders(self.root) if self.levels(name)]

    def levels(self, atlas: str) -> list[str]:
        """Levels of an atlas, as they stand in file names, in order of name."""
        head, tail = f"{atlas}_pseudobulk_", ".h5ad"
        return sorted(
            entry.name.removeprefix(head).removesuffix(tail)
            for entry in self._files(self.root / check_name(atlas, "atlas") / "pseudobulk")
            if entry.name.startswith(head)
            and entry.name.endswith(tail)
            and not entry.name.endswith(("_resampled.h5ad", "_samples.h5ad"))
        )

    def signatures(self, atlas: str, level: str) -> list[str]:
        """Signatures whose activity was inferred for a level."""
        head, tail = f"{atlas}_", f"_{self._part(level)}.h5ad"
        return sorted(
            entry.name.removeprefix(head).removesuffix(tail)
            for entry in self._files(self.root / check_name(atlas, "atlas") / "activity")
            if entry.name.startswith(head)
            and entry.name.endswith(tail)
            and len(entry.name) > len(head) + len(tail)
            # of levels a and b_a, only the one whose level is exactly this
            and not any(
                other != self._part(level)
                and entry.name.endswith(f"_{other}.h5ad")
                and len(other) > len(level)
                for other in self.levels(atlas)
            )
        )

    def comparisons(self) -> list[tuple[str, str]]:
        """(signature, granularity) of every cross-atlas comparison."""
        found = []
        for entry in self._files(self.root / "validation" / _CROSS):
            match = re.fullmatch(r"(.+)_(coarse|fine)_pairs\.tsv", entry.name)
            if match:
                found.append((match[1], match[2]))
        return sorted(found)

    # where it lies -------------------------------------------------------------------------------

    def place(self, artifact: str, atlas: str = "", level: str = "", signature: str = "") -> Place:
        """Where an artifact lies, relative to the root; `artifact` is a key of `PLACES`."""
        template, names = PLACES[artifact], {}
        if "{atlas}" in template:
            names["atlas"] = check_name(atlas, "atlas")
        if "{level}" in template:
            names["level"] = self._part(level)
        if "{signature}" in template:
            names["signature"] = check_name(signature, "signature")
        path, _, name = template.format(**names).partition("#")
        return Place(path, name)

    def pseudobulk(self, atlas: str, level: str, kind: str = "") -> Path:
        """Path of a pseudobulk file; `kind` is empty, ``resampled`` or ``samples``."""
        artifact = {"": "pseudobulk", "samples": "sample_profiles"}.get(kind, kind)
        return self.root / self.place(artifact, atlas, level).path

    def activity(self, atlas: str, level: str, signature: str, kind: str = "") -> Path:
        """Path of an activity file; `kind` is empty or ``resampled``."""
        artifact = f"activity_{kind}" if kind else "activity"
        return self.root / self.place(artifact, atlas, level, signature).path

    def validation(self, atlas: str, level: str, signature: str, what: str) -> Path:
        """Path of a validation file of one atlas; `what` is its end, such as ``expression.tsv``."""
        place = self.place("validation", atlas, level, signature)
        return self.root / place.path / f"{place.set_name}_{what}"

    def comparison(self, signature: str, granularity: str, what: str) -> Path:
        """Path of a cross-atlas file."""
        check_name(granularity, "granularity")
        name = f"{check_name(signature, 'signature')}_{granularity}_{what}"
        return self.root / self.place("cross_atlas").path / name

    # what must be there --------------------------------------------------------------------------

    def require_atlas(self, atlas: str) -> list[str]:
        """The levels of an atlas that has results.

        Raises
        ------
        NotFoundError
            If it has none; the atlases that have are listed.
        """
        if not (levels := self.levels(atlas)):
            raise NotFoundError(f"no results of atlas {atlas}", found=_listed(self.atlases()))
        return levels

    def require_level(self, atlas: str, level: str) -> str:
        """The level as it stands in file names.

        Raises
        ------
        NotFoundError
            If the atlas or the level has no results; those that have are listed.
        """
        part = self._part(level)
        if part not in (levels := self.require_atlas(atlas)):
            raise NotFoundError(f"no results of level {level}", where=f"atlas {atlas}", found=_listed(levels))
        return part

    def require(self, path: Path, what: str, others: list[str]) -> Path:
        """`path`, if it is there; else a NotFoundError that names what is."""
        if not path.is_file():
            raise NotFoundError(f"there is no {what}", where=path.name, found=_listed(others))
        return path

    @staticmethod
    def _part(level: str) -> str:
        return check_name(level, "level").lower()

    @staticmethod
    def _folders(folder: Path) -> list[str]:
        if not folder.is_dir():
            return []
        return sorted(
            entry.name for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and entry.is_dir()
        )

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        if folder.is_dir():
            yield from (
                entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name) and entry.is_file()
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"
