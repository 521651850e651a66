"""How bytes reach disk: one protocol for every artifact, and checks for what others wrote.

A publication is drafted out of sight, validated, measured, flushed, and then appears whole by one rename; a
reader gets the old version or the new one, proved against a SHA-256 manifest. What one kind of
artifact looks like is in `formats`; `guard` surveys files that others wrote.
"""

from cytopipe.storage.edits import FileState, SetState
from cytopipe.storage.filesystem import FileSystem, Sync
from cytopipe.storage.janitor import Swept
from cytopipe.storage.manifest import Difference, Entry, Manifest
from cytopipe.storage.names import case_collisions, check_file_name, check_key, key_of, slug
from cytopipe.storage.store import Published, Store

__all__ = [
    "Difference",
    "Entry",
    "FileState",
    "FileSystem",
    "Manifest",
    "Published",
    "SetState",
    "Store",
    "Swept",
    "Sync",
    "case_collisions",
    "check_file_name",
    "check_key",
    "key_of",
    "slug",
]
