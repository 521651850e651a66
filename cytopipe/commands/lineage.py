"""``lineage``: from what an artifact was made, as a tree, as JSON, or as a report to keep beside a paper."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from cytopipe.cli import Options
from cytopipe.commands.paths import FILE, absolute
from cytopipe.errors import UserError

if TYPE_CHECKING:
    from cytopipe.defs.ledger import Ledger
    from cytopipe.defs.lineage import Node

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
    from cytopipe.commands.project_context import open_project

    with open_project(options) as opened:
        from cytopipe.defs.lineage import lineage as lineage_of
        from cytopipe.defs.lineage import walk

        asset, key = _meant(opened.ledger, what)
        root = lineage_of(opened.ledger, asset, key)
        if html is not None:
            from cytopipe.commands.provenance_report import provenance_report

            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_bytes(provenance_report(opened.project, root))
            click.echo(html)
            return
    if as_json:
        click.echo(json.dumps(root.as_json(), indent=2))
        return
    for above, node, again in walk(root):
        click.echo(_line(above, node) + ("  (made from: see above)" if again else ""))


def _meant(ledger: Ledger, what: str) -> tuple[str, str]:
    """The asset and the key that a word on the command line means."""
    from cytopipe.project.findings import did_you_mean

    asset, colon, key = what.partition(":")
    known = ledger.graph.by_asset
    if asset in known:
        keys = ledger.relations.made_keys(known[asset])
        if key in keys or (not colon and len(keys) == 1):
            return asset, key if colon else keys[0]
        raise UserError(
            f"{asset} has no data set '{key}'" if colon else f"{asset} has several data sets",
            expected=f"{asset}:NAME with one of {', '.join(keys[:20])}",
            next=did_you_mean(key, keys),
        )
    path = Path(what)
    if not path.exists():
        raise UserError(
            "neither a file nor an asset",
            where=what,
            expected="a file of the output root, or ASSET:DATA_SET",
            next=did_you_mean(asset, known),
        )
    output = ledger.project.output
    full = absolute(path)
    if not full.is_relative_to(output):
        full, output = full.resolve(), output.resolve()
    if not full.is_relative_to(output):
        raise UserError(
            "lies outside of the output root of this project",
            where=str(path),
            expected=f"a file below {ledger.project.relative(ledger.project.output)}",
        )
    return ledger.places.artifact(PurePosixPath(full.relative_to(output)))


def _line(above: tuple[bool, ...], node: Node) -> str:
    """A node as a line of a tree: `above` says, for each level, whether more follow there."""
    from datetime import UTC, datetime

    indent = "".join("│  " if more else "   " for more in above[:-1])
    branch = ("├─ " if above[-1] else "└─ ") if above else ""
    name = f"{node.asset} [{node.key}]" if node.key else node.asset
    text = f"{indent}{branch}{name}  {node.version[:12]}"
    if node.made_at:
        moment = datetime.fromtimestamp(node.made_at, UTC).strftime("%Y-%m-%d %H:%M")
        run = f"run {node.run_id[:8]}" if node.run_id else "outside a run"
        text += f"  {node.path}  {moment}, {run}" if node.path else f"  {moment}, {run}"
    return text if node.now == "same" else f"{text}  ({node.now} since)"
