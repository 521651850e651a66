"""Claiming the next number where order matters (lineage, versions): the first to link it has it.

In come a folder and the content of a numbered file; out goes the number. What must hold: no number is given
twice, none is overwritten, and the file is whole from the moment its name exists.
"""

from __future__ import annotations

import re
from pathlib import Path

from cytopipe.storage.draft import Draft
from cytopipe.storage.filesystem import Sync, flush_file, flush_folder
from cytopipe.storage.names import check_file_name

__all__ = ["claim"]


def claim(
    draft: Draft, folder: Path, data: bytes, *, prefix: str, suffix: str, sync: Sync, links: bool = True
) -> tuple[int, Path]:
    """Put `data` under the next free ``<prefix><number, six digits><suffix>``.

    ``link(2)`` fails where the name is taken, on every file system including NFS. Where there are no hard
    links, the name is created exclusively first and the content replaces it, so that a reader may see it
    empty for a moment.
    """
    check_file_name(f"{prefix}000001{suffix}")
    pattern = re.compile(re.escape(prefix) + r"(\d{6,})" + re.escape(suffix))
    staged = draft / "claim"
    staged.write_bytes(data)
    flush_file(staged, sync)
    number = 1 + max(
        (int(m.group(1)) for path in folder.iterdir() if (m := pattern.fullmatch(path.name))), default=0
    )
    while True:
        path = folder / f"{prefix}{number:06d}{suffix}"
        if _take(staged, path, links):
            flush_folder(folder, sync)
            return number, path
        number += 1


def _take(staged: Path, path: Path, links: bool) -> bool:
    try:
        if links:
            path.hardlink_to(staged)
        else:
            path.touch(exist_ok=False)
            staged.replace(path)
        return True
    except FileExistsError:
        # an answer lost on the network is repeated, and the repetition finds our own link
        return links and staged.stat().st_nlink == 2
