"""One entry of a project's history, as the ledger and the command line read it.

`cytopipe.defs.history` makes entries of Dagster's events, and events of entries; nothing here imports
Dagster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CHECKPOINT", "EDITED", "FAILED", "MADE", "REMOVED", "SEEN", "Event", "named"]

MADE, SEEN, FAILED, CHECKPOINT = "made", "seen", "failed", "checkpoint"
EDITED = "edited by hand"
"""How the telling of an edit begins, in the ``how`` of its metadata."""
REMOVED = "removed after use"
"""How a removal is told: a materialization of the same version without files, ``removed`` in its metadata."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to one partition of one asset.

    Parameters
    ----------
    asset, key : str
        The key is empty for an asset without partitions.
    kind : {'made', 'seen', 'failed', 'checkpoint'}
        A materialization; a source seen in a version; an attempt that failed; a checkpoint of long work.
    storage_id : int
        Its place in Dagster's event log; 0 before it was written.
    version : str
        Digest of the content.
    code_version : str
    inputs : mapping of asset to str
        The version of each input; of many partitions, the digest over theirs.
    cursors : mapping of asset to int
        The highest storage id among the entries that were read of each input.
    stamp : str
        Sizes and times of the files as they were published; they tell a later change without reading.
    words : str
        What to say of it: why it failed, how it came to be.
    metadata : mapping of str to JSON value
    """

    asset: str
    key: str
    kind: str
    storage_id: int = 0
    run_id: str = ""
    timestamp: float = 0.0
    version: str = ""
    code_version: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    cursors: Mapping[str, int] = field(default_factory=dict)
    stamp: str = ""
    words: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


def named(asset: str, key: str) -> str:
    """A partition in words: ``decompose/initial [meadow]``; of an asset without partitions, its name."""
    return f"{asset} [{key}]" if key else asset
