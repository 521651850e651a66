"""``status`` and ``history``: what is fresh and why not, and every event behind it."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import click

from cytopipe.cli import Options
from cytopipe.commands.words import counted
from cytopipe.errors import UserError

__all__ = ["history", "status"]

_COLOURS = {"done": "green", "missing": "cyan", "held": "magenta"}
_COLOURS |= dict.fromkeys(("stale", "needed"), "yellow") | dict.fromkeys(("failed", "broken"), "red")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_ROWS = 200


@click.command()
@click.argument("assets", nargs=-1)
@click.option(
    "-p", "--partition", "partitions", multiple=True, help="Only these data sets, or ranges FIRST..LAST."
)
@click.option(
    "--all", "everything", is_flag=True, help=f"Every line, also where there are more than {_ROWS}."
)
@_JSON
@click.pass_obj
def status(
    options: Options, assets: tuple[str, ...], partitions: tuple[str, ...], everything: bool, as_json: bool
) -> int:
    """What is done, stale, missing, held, interrupted, running or failed, and why.

    Inputs and hand edits that changed outside are taken up first. Of a large project, what is done is counted
    and the rest is listed. Exit code 1 if anything failed, or if a check that does not block did.

    \b
      cytopipe status
      cytopipe status decompose -p meadow
      cytopipe status atlas --json
    """
    from cytopipe.commands.project_context import open_project

    with open_project(options) as opened:
        from cytopipe.defs.selection import broken, done_of, select

        # Where nobody wants every line, what is done is counted, not listed.
        done = {} if everything or as_json or partitions else done_of(opened.ledger, assets)
        if sum(done.values()) <= _ROWS:
            done = {}
        judged = opened.with_running(select(opened.ledger, assets, partitions, noted=bool(done)))
        if not partitions:
            named = {name.split("/")[0] for name in assets}
            judged += [one for one in broken(opened.ledger) if not named or one.asset.split("/")[0] in named]
        if as_json:
            click.echo(json.dumps([_as_json(opened.ledger, one) for one in judged], indent=2))
        else:
            for one in opened.noticed:
                click.echo(f"noticed  {_named(one.asset, one.key)}: {one.what}")
            _table(judged, sum(done.values()), everything=everything)
    return int(any(one.state in ("failed", "broken") or one.warns for one in judged))


@click.command()
@click.argument("asset", default="")
@click.option("-p", "--partition", help="One data set.")
@click.option(
    "-n", "--limit", default=30, show_default=True, type=click.IntRange(1, 100_000), help="Newest so many."
)
@_JSON
@click.pass_obj
def history(options: Options, asset: str, partition: str | None, limit: int, as_json: bool) -> None:
    """Every event of ASSET (default: of all), newest first: made, seen, checkpoint, failed; by which run.

    \b
      cytopipe history decompose/final -p meadow
      cytopipe history -n 100 --json
    """
    from cytopipe.commands.project_context import open_project
    from cytopipe.defs.everything import GRAPH
    from cytopipe.project.findings import did_you_mean

    known = list(GRAPH.by_asset)
    chosen = [one for one in known if asset in ("", one, one.split("/")[0])]
    if not chosen:
        raise UserError(f"no asset '{asset}'", expected=", ".join(known), next=did_you_mean(asset, known))
    with open_project(options, look=False) as opened:
        if partition is None and len(chosen) > 1:
            found = opened.ledger.events.newest_events(chosen, limit=limit)
        else:
            found = [
                one for name in chosen for one in opened.ledger.events.events(name, partition, limit=limit)
            ]
    found = sorted(found, key=lambda one: -one.storage_id)[:limit]
    if as_json:
        click.echo(json.dumps([_event_json(one) for one in found], indent=2))
        return
    if not found:
        click.echo("nothing yet")
        return
    names = [_named(one.asset, one.key) for one in found]
    width = max(map(len, names))
    click.echo(f"{'time (UTC)':19}  {'event':10}  {'what':{width}}  {'version or reason':24}  run")
    for one, name in zip(found, names, strict=True):
        moment = datetime.fromtimestamp(one.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(
            f"{moment}  {one.kind:10}  {name:{width}}  {_words(one):24}  {one.run_id[:8] or 'outside'}"
        )


def _named(asset: str, key: str) -> str:
    return f"{asset} [{key}]" if key else asset


def _table(judged: list, n_done: int, *, everything: bool) -> None:
    """Print states; `n_done` more are done and not among those `judged`."""
    if not judged and not n_done:
        click.echo("no data sets yet: add some to cytopipe.yaml")
        return
    shown = judged
    if len(judged) + n_done > _ROWS and not everything:
        shown = [one for one in judged if one.state != "done"][:_ROWS]
    names = [_named(one.asset, one.key) for one in shown]
    width = max(map(len, names), default=0)
    for one, name in zip(shown, names, strict=True):
        state = click.style(f"{one.state:12}", fg=_COLOURS.get(one.state))
        click.echo(f"{state}{name:{width}}  {'; '.join(one.reasons)}".rstrip())
    if hidden := len(judged) + n_done - len(shown):
        click.echo(f"{counted(hidden, 'line')} not shown; see them with --all or --json")
    counts = Counter(one.state for one in judged) + Counter(done=n_done)
    click.echo(", ".join(f"{count:,} {state}" for state, count in counts.items()))


def _as_json(ledger, status) -> dict[str, object]:
    from cytopipe.defs.event import MADE

    record = ledger.book.record(status.asset, status.key, MADE)
    return {
        "asset": status.asset,
        "partition": status.key,
        "state": status.state,
        "reasons": list(status.reasons),
        "sha256": record.version if record else None,
        "path": record.facts.get("path") if record else None,
        "run_id": record.run_id if record else None,
        "made_at": datetime.fromtimestamp(record.timestamp, UTC).isoformat(timespec="seconds")
        if record
        else None,
    }


def _event_json(event) -> dict[str, object]:
    return {
        "asset": event.asset,
        "partition": event.key,
        "event": event.kind,
        "storage_id": event.storage_id,
        "run_id": event.run_id,
        "time": datetime.fromtimestamp(event.timestamp, UTC).isoformat(timespec="seconds"),
        "sha256": event.version,
        "code_version": event.code_version,
        "metadata": dict(event.metadata),
    }


def _words(event) -> str:
    if event.kind in ("failed", "checkpoint"):
        return event.words.splitlines()[0] if event.words else ""
    how = str(event.metadata.get("how", ""))
    return f"{event.version[:12]}  {'' if how == event.kind else how}".rstrip()
