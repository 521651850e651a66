"""The history of a heat map as one HTML file that needs no server and no network.

Everything is inside: the script and the style (allowed by their digests, nothing else is), and the data as
JSON that no name in it can leave.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

from cytopipe.views.checkpoints.data import comparison_of, detail_of, node_of, palette
from cytopipe.views.panels import text_of
from cytopipe.views.policy import policy_digest

if TYPE_CHECKING:
    from cytopipe.heatmap.state import HeatmapState

__all__ = ["MOST_COMPARISONS", "history_page", "page_of", "script_digest"]

MOST_COMPARISONS = 300
"""Comparisons that a page holds at most: first of parents and children, then of the others in their order."""

_START = """
const data = JSON.parse(document.getElementById("data").textContent);
page(document.getElementById("browser"), data);
"""


def history_page(states: Sequence[HeatmapState], *, title: str, names: Sequence[str] = ()) -> str:
    """A page of checkpoints: their graph, heat maps, details, and comparisons.

    Parameters
    ----------
    states : sequence of HeatmapState
        In the order in which they were made.
    title : str
        Plain text: the data set.
    names : sequence of str, optional
        The file, or the branch and step, of each: what a person calls it.
    """
    from cytopipe.heatmap.artifact import document_of

    names = names or [""] * len(states)
    nodes = [node_of(document_of(state), name) for state, name in zip(states, names, strict=True)]
    data = {
        "nodes": nodes,
        "palette": palette(),
        "details": {state.id: detail_of(state) for state in states},
        "comparisons": {f"{one.id} {other.id}": comparison_of(one, other) for one, other in _pairs(states)},
    }
    return page_of(data, title=title)


def page_of(data: Mapping[str, Any], *, title: str) -> str:
    """The page of nodes, details and comparisons that are made already."""
    script, style = _script(), text_of("checkpoints/browser.css") + _FRAME
    policy = (
        f"default-src 'none'; script-src '{script_digest()}'; style-src '{policy_digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f'<body><h1>{escape(title)}</h1><div id="browser"></div>'
        f'<script type="application/json" id="data">{_inert(data)}</script>'
        f'<script type="module">{script}</script></body></html>\n'
    )


_FRAME = """
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color-scheme: light dark }
body > h1 { font-size: 1.2rem; margin: .6rem .9rem; overflow-wrap: anywhere }
"""


def script_digest() -> str:
    """Names the script of these pages in a Content-Security-Policy: a server may let it run, and no other."""
    return policy_digest(_script())


@cache
def _script() -> str:
    return text_of("checkpoints/browser.js") + _START


def _pairs(states: Sequence[HeatmapState]) -> list[tuple[HeatmapState, HeatmapState]]:
    """Both directions of parents and children, then of all others, as many as a page holds."""
    known = {state.id: state for state in states}
    near = [(known[parent], state) for state in states for parent in state.parents if parent in known]
    pairs = {
        (one.id, other.id): (one, other)
        for a, b in itertools.chain(near, itertools.combinations(states, 2))
        for one, other in ((a, b), (b, a))
    }
    return list(itertools.islice(pairs.values(), MOST_COMPARISONS))


def _inert(data: object) -> str:
    """JSON inside a script element: no name can end the element or open a comment."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
