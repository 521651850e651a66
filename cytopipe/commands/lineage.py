"""``lineage``: from what an artifact was made, as a tree, as JSON, or as a report to keep beside a paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cytopipe.cli import Options
from cytopipe.commands.paths import FILE, absolute
from cytopipe.errors import UserError

if TYPE_CHECKING:
    from cytopipe.commands.opened import Opened

__all__ = ["lineage"]


@click.command()
@click.argument("what")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--html",
    type=FILE,
    help="Write a report: one HTML file that needs nothing.",
)
@click.pass_obj
def lineage(options: Options, what: str, as_json: bool, html: Path | None) -> None:
    """From what WHAT was made, back to the inputs, with the digests that were used then.

    WHAT is a file or folder of the output root, an asset's partition such as decompose/final:russula, or an
    asset without partitions such as atlas/cross_atlas. Each line says whether what lies on disk today is
    still the same.
    """
    from cytopipe.commands.opened import open_project
    from cytopipe.defs.ancestry import ancestry
    from cytopipe.defs.definitions import GRAPH

    with open_project(options, look=False) as opened:
        asset, partition = _meant(opened, what)
        root = ancestry(opened.project, opened.instance, GRAPH, asset, partition)
        if html is not None:
            from cytopipe.commands.provenance_report import provenance_report

            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_bytes(provenance_report(opened.project, root))
            click.echo(html)
            return
    if as_json:
        click.echo(json.dumps(root.as_json(), indent=2))
        return
    from cytopipe.defs.ancestry import walk

    for depth, node in walk(root):
        click.echo(_line(depth, node))


def _meant(opened: Opened, what: str) -> tuple[str, str]:
    """The asset and partition that a word on the command line means."""
    from cytopipe.defs.ancestry import asset_of_file
    from cytopipe.defs.definitions import GRAPH
    from cytopipe.project.findings import did_you_mean

    asset, colon, partition = what.partition(":")
    if what in GRAPH.gatherings:
        return what, ""
    known = {**GRAPH.sources, **GRAPH.steps}
    if asset in known:
        keys = opened.project.data_sets.get(GRAPH.chain_with(asset).partitions, {})
        if not colon and len(keys) == 1:
            return asset, next(iter(keys))
        if partition in keys:
            return asset, partition
        raise UserError(
            f"{asset} has no data set '{partition}'" if colon else f"{asset} has several data sets",
            expected=f"{asset}:NAME with one of {', '.join(keys)}",
            next=did_you_mean(partition, keys),
        )
    path = Path(what)
    if not path.exists():
        raise UserError(
            "neither a file nor an asset",
            where=what,
            expected="a file of the output root, or ASSET:DATA_SET",
            next=did_you_mean(asset, [*known, *GRAPH.gatherings]),
        )
    return asset_of_file(opened.project, GRAPH, absolute(path))


def _line(depth: int, node) -> str:
    from datetime import UTC, datetime

    from cytopipe.defs import books

    indent = "   " * (depth - 1) + "└─ " if depth else ""
    text = f"{indent}{books.named(node.asset, node.partition)}  {node.sha256[:12]}"
    record = node.record
    if record is not None:
        moment = datetime.fromtimestamp(record.timestamp, UTC).strftime("%Y-%m-%d %H:%M")
        run = f"run {record.run_id[:8]}" if record.run_id else "outside a run"
        text += f"  {record.metadata.get('path', '')}  {moment}, {run}"
    return text if node.now == "same" else f"{text}  ({node.now} since)"
