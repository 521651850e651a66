"""Cluster DNA barcodes into species-like units, in resumable stages a person can look at and edit.

A FASTA file becomes a flat directory of FASTA files, one per cluster, with `state.json` beside them. The
names below are in reading order: a decomposition and its result, the parameters, then the parts it is made
of, for use on their own. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cytopipe.decompose.compare import Agreement, read_assignment
    from cytopipe.decompose.compare import compare as compare_partitions
    from cytopipe.decompose.conflicts import resolve_conflicts
    from cytopipe.decompose.directory.adding import add_sequences
    from cytopipe.decompose.directory.decomposition import Decomposition, StageResult
    from cytopipe.decompose.directory.repair import rebuild, restore, rollback
    from cytopipe.decompose.distance import Distances
    from cytopipe.decompose.exports import format_spart, format_uc, parse_spart, parse_uc
    from cytopipe.decompose.extend import Added
    from cytopipe.decompose.gap import GapResult, gap_core
    from cytopipe.decompose.growth import grow_all
    from cytopipe.decompose.hand_edits import Edits, FileEdit
    from cytopipe.decompose.neighbours import open_neighbours
    from cytopipe.decompose.parameters import Parameters
    from cytopipe.decompose.refinement import refine_close
    from cytopipe.decompose.sequences import SequenceSet
    from cytopipe.decompose.state import Requests, State, state_schema

__all__ = [
    "Added",
    "Agreement",
    "Decomposition",
    "Distances",
    "Edits",
    "FileEdit",
    "GapResult",
    "Parameters",
    "Requests",
    "SequenceSet",
    "StageResult",
    "State",
    "add_sequences",
    "compare_partitions",
    "format_spart",
    "format_uc",
    "gap_core",
    "grow_all",
    "open_neighbours",
    "parse_spart",
    "parse_uc",
    "read_assignment",
    "rebuild",
    "refine_close",
    "resolve_conflicts",
    "restore",
    "rollback",
    "state_schema",
]

_HOME = {
    "Decomposition": "directory.decomposition",
    "StageResult": "directory.decomposition",
    "Parameters": "parameters",
    "Requests": "state",
    "State": "state",
    "state_schema": "state",
    "Edits": "hand_edits",
    "FileEdit": "hand_edits",
    "Added": "extend",
    "add_sequences": "directory.adding",
    "rebuild": "directory.repair",
    "restore": "directory.repair",
    "rollback": "directory.repair",
    "Agreement": "compare",
    "compare_partitions": "compare:compare",
    "read_assignment": "compare",
    "format_spart": "exports",
    "format_uc": "exports",
    "parse_spart": "exports",
    "parse_uc": "exports",
    "SequenceSet": "sequences",
    "Distances": "distance",
    "open_neighbours": "neighbours",
    "grow_all": "growth",
    "GapResult": "gap",
    "gap_core": "gap",
    "resolve_conflicts": "conflicts",
    "refine_close": "refinement",
}


def __getattr__(name: str) -> object:
    # The command line must answer `--help` before numba and scipy could be imported.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
