"""The flat folder of a decomposition: which file belongs to which stage.

Four stages follow each other, and each one owns its files by name alone, so that a person can merge,
split, rename or move records with any editor and the next stage still knows what is whose:

    initial.cluster_0001.fasta ...       initial.unassigned.fasta        one cluster per target, may overlap
    deconflicted.cluster_0001.fasta ...  deconflicted.unassigned.fasta   every record once
    refined.cluster_0001.fasta ...       refined.unassigned.fasta        close clusters looked at again
    cluster_001.fasta (largest) ...      unassigned.fasta                the result

`<stage>.deleted.fasta` holds the records a person took out, so that deleted is never lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cytopipe.errors import ParameterError

__all__ = [
    "CHECKPOINT_FOLDER",
    "DECONFLICTED",
    "DEFAULT_DIRECTORY",
    "FINAL",
    "INITIAL",
    "LOCK_FILE",
    "REFINED",
    "REPORT_FOLDER",
    "STAGES",
    "STATE_FILE",
    "Stage",
    "natural_order",
    "owner",
    "stage_named",
]

DEFAULT_DIRECTORY = "decompose_output"
STATE_FILE = "state.json"
LOCK_FILE = ".decompose.lock"
SEARCH_FOLDER = ".blast"
DISTANCE_FOLDER = ".distances"
CHECKPOINT_FOLDER = ".checkpoints"
REPORT_FOLDER = "report"
EXPORT_FOLDER = "exports"
SET_ASIDE_FOLDER = "set_aside"
GROWN_INPUT_FILE = "input.fasta"


@dataclass(frozen=True)
class Stage:
    """One of the four stages, and the names of its files.

    Parameters
    ----------
    name : str
        Its name in ``state.json``.
    asset : str
        Its short name: on the command line, in the tables, and as an asset.
    prefix : str
        What its file names begin with.
    digits : int
        Width of the cluster number.
    order : int
        0 for the first stage.
    """

    name: str
    asset: str
    prefix: str
    digits: int
    order: int

    @property
    def cluster_file_pattern(self) -> str:
        return f"{self.prefix}cluster_*.fasta"

    @property
    def unassigned_file(self) -> str:
        return f"{self.prefix}unassigned.fasta"

    @property
    def deleted_file(self) -> str:
        return f"{self.prefix}deleted.fasta"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Globs of all the file names this stage owns."""
        return (self.cluster_file_pattern, self.unassigned_file, self.deleted_file)

    @property
    def overlaps(self) -> bool:
        """Whether a record may be in several clusters: only before conflicts are resolved."""
        return self.order == 0

    def cluster_file(self, number: int) -> str:
        """File name of cluster `number`, counted from 1."""
        return f"{self.prefix}cluster_{number:0{self.digits}d}.fasta"

    def number_of(self, file: str) -> int | None:
        """The number in a cluster's file name; None where a person gave it another name."""
        match = re.fullmatch(re.escape(self.prefix) + r"cluster_(\d{1,9})\.fasta", file)
        return int(match[1]) if match else None

    def is_cluster(self, file: str) -> bool:
        return fnmatchcase(file, self.cluster_file_pattern)

    def owns(self, file: str) -> bool:
        return any(fnmatchcase(file, pattern) for pattern in self.patterns)


INITIAL = Stage("initial_clustering", "initial", "initial.", 4, 0)
DECONFLICTED = Stage("conflict_resolution", "deconflicted", "deconflicted.", 4, 1)
REFINED = Stage("close_cluster_refinement", "refined", "refined.", 4, 2)
FINAL = Stage("finalized", "final", "", 3, 3)
STAGES = (INITIAL, DECONFLICTED, REFINED, FINAL)


def stage_named(name: str) -> Stage:
    """The stage called `name`, by its name in ``state.json`` or its short one.

    Raises
    ------
    ParameterError
        If there is no such stage.
    """
    for stage in STAGES:
        if name in (stage.name, stage.asset):
            return stage
    raise ParameterError(
        "no such stage", expected=", ".join(stage.asset for stage in STAGES), found=repr(name)
    )


def owner(file: str) -> Stage | None:
    """The stage that owns a file of this name, if one does."""
    return next((stage for stage in STAGES if stage.owns(file)), None)


def natural_order(files: Iterable[str]) -> list[str]:
    """File names with their numbers in order of size: cluster_2 before cluster_10."""
    return sorted(files, key=_natural_key)


def _natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts], name
