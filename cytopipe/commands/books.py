"""``status`` and ``history``: what history says, and whether it is still true."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime

import click

from cytopipe.cli import Options
from cytopipe.errors import UserError

__all__ = ["history", "status"]

_COLOURS = {"done": "green", "stale": "yellow", "missing": "cyan", "failed": "red", "broken": "red"}
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.command()
@click.argument("assets", nargs=-1)
@click.option(
    "-p", "--partition", "partitions", multiple=True, help="Only these data sets, or ranges FIRST..LAST."
)
@_JSON
@click.pass_obj
def status(options: Options, assets: tuple[str, ...], partitions: tuple[str, ...], as_json: bool) -> int:
    """What is done, stale, missing, interrupted, running or failed, and why.

    Inputs and hand edits that changed outside are taken up first. Exit code 1 if anything failed.
    """
    from cytopipe.commands.carrying import select
    from cytopipe.commands.opened import open_project

    with open_project(options) as opened:
        judged = select(opened, assets, partitions)
        noticed = opened.noticed
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in judged], indent=2))
    else:
        for one in noticed:
            click.echo(f"noticed  {one.asset} [{one.partition}]: {one.what}")
        _table(judged)
    return int(any(one.state in ("failed", "broken") for one in judged))


@click.command()
@click.argument("asset", default="")
@click.option("-p", "--partition", help="One data set.")
@click.option(
    "-n", "--limit", default=30, show_default=True, type=click.IntRange(1, 100_000), help="Newest so many."
)
@_JSON
@click.pass_obj
def history(options: Options, asset: str, partition: str | None, limit: int, as_json: bool) -> None:
    """Every event of ASSET (default: of all), newest first: made, seen, checkpoint, failed; by which run."""
    from cytopipe.commands.opened import open_project
    from cytopipe.defs import books
    from cytopipe.defs.definitions import GRAPH
    from cytopipe.project.findings import did_you_mean

    known = [*GRAPH.sources, *GRAPH.steps, *GRAPH.gatherings]
    chosen = [one for one in known if asset in ("", one, one.split("/")[0])]
    if not chosen:
        raise UserError(f"no asset '{asset}'", expected=", ".join(known), next=did_you_mean(asset, known))
    with open_project(options, look=False) as opened:
        found = [
            one for name in chosen for one in books.records(opened.instance, name, partition, limit=limit)
        ]
    found = sorted(found, key=lambda one: -one.storage_id)[:limit]
    if as_json:
        click.echo(json.dumps([_event_json(one) for one in found], indent=2))
        return
    for one in found:
        moment = datetime.fromtimestamp(one.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
        run = one.run_id[:8] or "outside"
        name = books.named(one.asset, one.partition)
        click.echo(f"{moment}  {one.kind:11}{name}  {_words(one)}  {run}")
    if not found:
        click.echo("nothing yet")


def _table(judged: Iterable) -> None:
    from cytopipe.defs import books

    rows = list(judged)
    if not rows:
        click.echo("no data sets yet: add some to cytopipe.yaml")
        return
    names = [books.named(one.asset, one.partition) for one in rows]
    width = max(map(len, names))
    for one, name in zip(rows, names, strict=True):
        state = click.style(f"{one.state:12}", fg=_COLOURS.get(one.state))
        click.echo(f"{state}{name:{width}}  {'; '.join(one.reasons)}".rstrip())
    counts = {
        state: sum(one.state == state for one in rows) for state in dict.fromkeys(one.state for one in rows)
    }
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))


def _as_json(judgement) -> dict[str, object]:
    record = judgement.record
    return {
        "asset": judgement.asset,
        "partition": judgement.partition,
        "state": judgement.state,
        "reasons": list(judgement.reasons),
        "sha256": record.version if record else None,
        "path": record.metadata.get("path") if record else None,
        "run_id": record.run_id if record else None,
        "made_at": datetime.fromtimestamp(record.timestamp, UTC).isoformat(timespec="seconds")
        if record
        else None,
    }


def _event_json(record) -> dict[str, object]:
    return {
        "asset": record.asset,
        "partition": record.partition,
        "event": record.kind,
        "storage_id": record.storage_id,
        "run_id": record.run_id,
        "time": datetime.fromtimestamp(record.timestamp, UTC).isoformat(timespec="seconds"),
        "sha256": record.version,
        "code_version": record.code_version,
        "metadata": dict(record.metadata),
    }


def _words(record) -> str:
    if record.kind == "failed":
        return str(record.metadata.get("error", "")).splitlines()[0]
    if record.kind == "checkpoint":
        facts = record.metadata
        return f"{facts.get('step')}: {facts.get('done')} of {facts.get('total')}"
    return f"{record.version[:12]}  {record.metadata.get('how', '')}".rstrip()
