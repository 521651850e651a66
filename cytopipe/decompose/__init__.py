"""Cluster DNA barcodes into species-like units, in resumable stages a person can look at and edit.

A FASTA file becomes a flat directory of FASTA files, one per cluster, with `state.json` beside them. The
names below are in reading order: a decomposition and its result, the parameters, then the parts it is made
of, for use on their own.
"""

from __future__ import annotations

from cytopipe.on_demand import names_on_demand

# Names are resolved on first use: the command line must answer `--help` before numba could be imported.
_DOOR = {
    "Decomposition": "directory.decomposition",
    "StageResult": "directory.decomposition",
    "Parameters": "parameters",
    "Requests": "state",
    "State": "state",
    "state_schema": "state",
    # what a person does with a directory
    "Edits": "hand_edits",
    "FileEdit": "hand_edits",
    "Added": "extend",
    "add_sequences": "directory.adding",
    "rebuild": "directory.repair",
    "restore": "directory.repair",
    "rollback": "directory.repair",
    # comparison and other programs
    "Agreement": "compare",
    "compare_partitions": "compare",
    "read_assignment": "compare",
    "format_spart": "exports",
    "format_uc": "exports",
    "parse_spart": "exports",
    "parse_uc": "exports",
    # the parts
    "SequenceSet": "sequences",
    "Distances": "distance",
    "open_neighbours": "neighbours",
    "grow_all": "growth",
    "GapResult": "gap",
    "gap_core": "gap",
    "resolve_conflicts": "conflicts",
    "refine_close": "refinement",
}

__all__ = list(_DOOR)
__getattr__, __dir__ = names_on_demand(__name__, _DOOR)
