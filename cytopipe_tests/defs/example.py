"""Small projects for tests: real sequences of known species, made by the script of the example project."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

from cytopipe.project import Project, load_project

__all__ = ["backfill_of", "edit_by_hand", "fasta", "job_of_one_asset", "make_project"]

_SCRIPT = Path(__file__).resolve().parents[2] / "data" / "make_example.py"
_SPEC = importlib.util.spec_from_file_location("make_example", _SCRIPT)
assert _SPEC is not None and _SPEC.loader is not None
_EXAMPLE = importlib.util.module_from_spec(_SPEC)
sys.modules["make_example"] = _EXAMPLE  # dataclasses look their module up
_SPEC.loader.exec_module(_EXAMPLE)


def fasta(name: str, specimens: tuple[int, ...] = (4, 3, 2)) -> str:
    """FASTA of a few species with so many specimens each."""
    return _EXAMPLE.fasta_of(_EXAMPLE.DataSet(name, name.capitalize(), specimens))


def make_project(
    folder: Path, *names: str, entries: str = "", specimens: tuple[int, ...] = (4, 3, 2)
) -> Project:
    """A project with a data set per name, and whatever `entries` adds below ``decompose:``."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["output: outputs", "engine: serial", "decompose:"]
    for name in names:
        (folder / f"{name}.fasta").write_text(fasta(name, specimens))
        lines += [
            f"  {name}:",
            f"    input: {name}.fasta",
            f"    truth: {name}.fasta",
            "    neighbours: kmer",
        ]
    (folder / "cytopipe.yaml").write_text("\n".join(lines) + "\n" + entries)
    return load_project(folder)


def edit_by_hand(folder: Path, stage: str = "initial") -> Path:
    """Move a record of a stage's largest cluster into a file of its own, as a person would; returns it."""
    source = max(folder.glob(f"{stage}.cluster_*.fasta"), key=lambda path: path.stat().st_size)
    records = source.read_text().split(">")[1:]
    source.write_text("".join(f">{one}" for one in records[:-1]))
    moved = folder / f"{stage}.cluster_0099.fasta"
    moved.write_text(f">{records[-1]}")
    return moved


def job_of_one_asset(opened):
    """A job over a single asset: creating a run of all of them writes down for each that it is planned."""
    from cytopipe.defs.history import asset_key

    job = opened.definitions.resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection={asset_key("decompose/overview")})


def backfill_of(instance, graph, name: str, assets: list[str], keys: list[str]):
    """What the browser's `launchPartitionBackfill` stores for these assets and partitions."""
    from dagster import AssetKey
    from dagster._core.execution.backfill import PartitionBackfill

    return PartitionBackfill.from_asset_partitions(
        backfill_id=name,
        asset_graph=graph,
        partition_names=keys,
        asset_selection=[AssetKey(one.split("/")) for one in assets],
        backfill_timestamp=time.time(),
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
