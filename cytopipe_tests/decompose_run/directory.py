"""What a decomposition's directory holds, for comparing two of them."""

from __future__ import annotations

import json
from pathlib import Path

from cytopipe.decompose.layout import STAGES
from cytopipe.storage.fasta import read_fasta

__all__ = ["clusters_in", "contents", "move_record", "state_apart_from_times"]

_OF_A_MOMENT = ("timestamp", "start_time", "last_checkpoint", "made_at", "command", "run_id")


def contents(directory: Path) -> dict[str, bytes]:
    """Every file that must be the same bytes in two runs that did the same: FASTA, tables, figures."""
    found = {path.name: path.read_bytes() for path in directory.glob("*.fasta")}
    for path in sorted((directory / "report").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found[path.relative_to(directory).as_posix()] = path.read_bytes()
    return found


def state_apart_from_times(directory: Path) -> object:
    """state.json without times and the history of commands."""

    def stripped(value: object) -> object:
        if isinstance(value, dict):
            return {
                name: stripped(one)
                for name, one in value.items()
                if name not in (*_OF_A_MOMENT, "command_history")
            }
        return [stripped(one) for one in value] if isinstance(value, list) else value

    return stripped(json.loads((directory / "state.json").read_text()))


def clusters_in(directory: Path, stage: str) -> dict[str, list[str]]:
    """Record ids of every cluster file of a stage."""
    pattern = next(one for one in STAGES if one.asset == stage).cluster_file_pattern
    return {
        path.name: [record.id for record in read_fasta(path, allow_empty=True)]
        for path in sorted(directory.glob(pattern))
    }


def move_record(record: str, source: Path, target: Path) -> None:
    """Cut a record out of one file and append it to another, as a person with an editor would."""
    blocks = source.read_text().split(">")[1:]
    taken = next(block for block in blocks if block.split()[0] == record)
    source.write_text("".join(f">{block}" for block in blocks if block is not taken))
    with target.open("a") as stream:
        stream.write(f">{taken}")
