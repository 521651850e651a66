"""What a finished stage is for whoever asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["StageResult"]


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Parameters
    ----------
    stage : str
        ``initial``, ``deconflicted``, ``refined`` or ``final``.
    directory : Path
    files : tuple of str
        The FASTA files of the stage.
    sha256 : str
        Digest over their names and bytes: the data version.
    n_clusters, n_records, n_unassigned : int
        Clusters; records in clusters; records in none.
    metrics : mapping of str to number
        What the report measured.
    tables, figures : mapping of str to Path
        The files of the report.
    resumed : bool
        True if the stage was finished already and nothing was done again.
    """

    stage: str
    directory: Path
    files: tuple[str, ...]
    sha256: str
    n_clusters: int
    n_records: int
    n_unassigned: int
    metrics: Mapping[str, int | float | str] = field(default_factory=dict)
    tables: Mapping[str, Path] = field(default_factory=dict)
    figures: Mapping[str, Path] = field(default_factory=dict)
    resumed: bool = False
