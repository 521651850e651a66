"""The first page of the web UI: what the project holds, what is done, where results are, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from urllib.parse import quote, urlencode

from starlette.responses import HTMLResponse

from cytopipe.serve.page import counted, html_page
from cytopipe.serve.project_state import ArtifactState, AssetState, ProjectState

__all__ = ["LOCATION", "start_page"]

LOCATION = "cytopipe"
"""The name of the code location, as it stands in addresses of Dagster's pages."""

_MOST_ROWS = 200
_MOST_COLUMNS = 8
_MOST_REASONS = 20
_MEANING = {
    "failed": "could not be made when last tried",
    "broken": "cannot be made as the project file describes it",
    "interrupted": "stopped at a checkpoint; materializing goes on from there",
    "running": "being made now",
    "stale": "made from something that has changed since",
    "needed": "removed after use, and needed again",
    "missing": "never made",
    "held": "waits for a person to approve",
    "done": "made, and up to date",
}


def start_page(state: ProjectState) -> HTMLResponse:
    """The page of a project's state."""
    return html_page(f"{state.name} - cytopipe", _body(state), site=f"cytopipe · {state.name}")


def _body(state: ProjectState) -> Iterator[str]:
    yield f"<h1>{escape(state.name)}</h1>"
    yield f'<p class="soft">{escape(state.directory)}</p>'
    yield f"<p>{_summary(state)}</p>"
    if state.faults:
        listed = "".join(f"<li>{escape(fault)}</li>" for fault in state.faults[:_MOST_REASONS])
        yield f'<h2 class="failed">The project file needs a correction</h2><ul>{listed}</ul>'
    yield _cards()
    if state.artifacts:
        yield '<p class="soft">A row is a data set and a column a step, or a row a step. A click shows '
        yield "what was made, from what, and when.</p>"
    for domain in dict.fromkeys(one.asset.partition("/")[0] for one in (*state.artifacts, *state.large)):
        yield from _domain(domain, [one for one in state.artifacts if one.domain == domain], state)
    n_untold = sum(
        one.counts[name] - one.n_told.get(name, 0)
        for one in state.large
        for name in one.counts
        if name != "done"
    )
    yield from _to_do(state.artifacts, n_untold)


def _counts(state: ProjectState) -> Counter[str]:
    """How many partitions of all assets are in each state."""
    counts = Counter(one.state for one in state.artifacts)
    for one in state.large:
        counts += Counter(one.counts)
        counts -= Counter(one.n_told)
    return counts


def _summary(state: ProjectState) -> str:
    data_sets = {(one.domain, one.partition) for one in state.artifacts if one.partition}
    data_sets |= {(one.asset.partition("/")[0], one.asset) for one in state.large}
    if not data_sets:
        return "There are no data sets yet. Add some to <code>cytopipe.yaml</code>; they appear here."
    counts = _counts(state)
    said = ", ".join(
        f'<span class="state {name}">{count:,} {name}</span>' for name in _MEANING if (count := counts[name])
    )
    if counts["done"] == counts.total():
        said = '<span class="state done">all made, and up to date</span>'
    domains = counted(len({domain for domain, _ in data_sets}), "domain")
    return f"{counted(counts.total(), 'result')} of {domains}: {said}."


def _cards() -> str:
    cards = (
        ("/artifacts/", "Results", "Look at every file that was made, and download it."),
        ("/asset-groups", "Graph", "How the results are made from each other; make them with Materialize."),
        ("/runs", "Runs", "What is running, what has run, and what went wrong."),
        ("/automation", "Automation", "What is looked after by itself: schedules and sensors."),
    )
    listed = "".join(
        f'<a class="card" href="{address}"><b>{name}</b><span class="soft">{text}</span></a>'
        for address, name, text in cards
    )
    return f'<div class="cards">{listed}</div>'


def _domain(domain: str, artifacts: Sequence[ArtifactState], state: ProjectState) -> Iterator[str]:
    graph = f"/locations/{LOCATION}/asset-groups/{quote(domain)}/lineage"
    yield f'<h2>{escape(domain)} <a class="aside" href="{graph}">graph</a></h2>'
    large = {one.asset: one for one in state.large if one.asset.startswith(f"{domain}/")}
    rows: dict[str, dict[str, ArtifactState]] = {}
    for artifact in artifacts:
        if artifact.asset not in large:
            rows.setdefault(artifact.partition, {})[artifact.asset] = artifact
    # Parts of different kinds (levels, levels with a signature) have steps of their own: a table for each.
    tables: dict[tuple[str, ...], list[str]] = {}
    for partition, row in rows.items():
        tables.setdefault(tuple(row), []).append(partition)
    wide = [assets for assets in tables if len(assets) > _MOST_COLUMNS]
    steps = {asset for assets in wide for asset in assets}
    if steps or large:
        yield from _steps([one for one in artifacts if one.asset in steps], large.values())
    for assets, partitions in tables.items():
        if assets not in wide:
            yield from _table(assets, partitions, rows, state)


def _steps(artifacts: Sequence[ArtifactState], large: Iterable[AssetState]) -> Iterator[str]:
    """A row per step, for data sets that are too many, or go through more steps than a page is wide."""
    by_asset: dict[str, list[ArtifactState]] = {}
    for one in artifacts:
        by_asset.setdefault(one.asset, []).append(one)
    rows = [
        (asset, Counter(one.state for one in some), [one.result for one in some])
        for asset, some in by_asset.items()
    ]
    rows += [(one.asset, Counter(one.counts), [one.result]) for one in large]
    heads = "".join(f"<th>{name}</th>" for name in ("Step", "State", "Results"))
    yield f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>'
    for asset, counts, results in rows:
        page = f"/assets/{quote(asset)}?view=partitions"
        said = " ".join(
            f'<a class="state {name}" href="{page}">{counts[name]:,} {name}</a>'
            for name in _MEANING
            if counts[name]
        )
        name = f"<b>{escape(asset.partition('/')[2])}</b>"
        yield f'<tr><td class="name">{name}</td><td>{said}</td><td>{_results(results)}</td></tr>'
    yield "</tbody></table></div>"


def _table(
    assets: Sequence[str],
    partitions: Sequence[str],
    rows: dict[str, dict[str, ArtifactState]],
    state: ProjectState,
) -> Iterator[str]:
    heads = "".join(f"<th>{escape(asset.partition('/')[2])}</th>" for asset in assets)
    first = "<th>Data set</th>" if partitions != [""] else "<th></th>"
    yield f'<div class="scroll"><table><thead><tr>{first}{heads}<th>Results</th></tr></thead><tbody>'
    # Where there are too many to show, those with something to do come first.
    shown = partitions
    if len(partitions) > _MOST_ROWS:
        shown = sorted(partitions, key=lambda key: all(one.state == "done" for one in rows[key].values()))
    for partition in shown[:_MOST_ROWS]:
        row = rows[partition]
        domain = assets[0].partition("/")[0]
        text = state.descriptions.get((domain, partition), "")
        note = f'<br><span class="soft">{escape(text)}</span>' if text else ""
        name = escape(partition) if partition else "over all data sets"
        cells = "".join(f"<td>{_state(row[asset])}</td>" for asset in assets)
        results = _results(one.result for one in row.values())
        yield f'<tr><td class="name"><b>{name}</b>{note}</td>{cells}<td>{results}</td></tr>'
    yield "</tbody></table></div>"
    if len(partitions) > _MOST_ROWS:
        yield f'<p class="soft">and {len(partitions) - _MOST_ROWS:,} more: <code>cytopipe status</code></p>'


def _state(artifact: ArtifactState) -> str:
    why = "; ".join(artifact.reasons) or _MEANING.get(artifact.state, "")
    return (
        f'<a class="state {artifact.state}" href="{_address(artifact)}" title="{escape(why[:500])}">'
        f"{artifact.state}</a>"
    )


def _results(results: Iterable[str]) -> str:
    """Links to the folders of what was made."""
    paths = [one for one in results if one]
    folders = dict.fromkeys(_folder(path) if "." in path.rpartition("/")[2] else path for path in paths)
    return "<br>".join(f'<a href="/artifacts/{quote(path)}/">{escape(path)}/</a>' for path in folders if path)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _to_do(artifacts: Sequence[ArtifactState], n_untold: int) -> Iterator[str]:
    """What is not done; of `n_untold` more only the number."""
    open_ones = [one for one in artifacts if one.state not in ("done", "running")]
    if not open_ones:
        return
    order = list(_MEANING)
    open_ones.sort(key=lambda one: order.index(one.state) if one.state in order else 0)
    yield "<h2>To do</h2><p>In a terminal, <code>cytopipe materialize --all</code> makes what is missing, "
    yield "stale or failed. In the browser, open the graph and choose Materialize.</p>"
    yield '<div class="scroll"><table><tbody>'
    for one in open_ones[:_MOST_REASONS]:
        why = "; ".join(one.reasons) or _MEANING.get(one.state, "")
        name = f"{one.asset} [{one.partition}]" if one.partition else one.asset
        yield (
            f'<tr><td><span class="state {one.state}">{one.state}</span></td><td class="nowrap">'
            f'<a href="{_address(one)}">{escape(name)}</a></td>'
            f'<td class="name">{escape(why[:1000])}</td></tr>'
        )
    yield "</tbody></table></div>"
    if len(open_ones) + n_untold > _MOST_REASONS:
        n_more = max(len(open_ones) - _MOST_REASONS, 0) + n_untold
        yield f'<p class="soft">and {n_more:,} more: <code>cytopipe status</code></p>'


def _address(artifact: ArtifactState) -> str:
    """The artifact's page in Dagster's part of the web UI."""
    page = f"/assets/{quote(artifact.asset)}"
    query = {"view": "partitions", "partition": artifact.partition} if artifact.partition else {}
    return escape(f"{page}?{urlencode(query)}" if query else page)
