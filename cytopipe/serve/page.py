"""The frame of our own pages: a heading, links, one style sheet, no script.

The Content-Security-Policy allows our style sheet by its digest, pictures of this server, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from starlette.responses import HTMLResponse

from cytopipe.views.policy import policy_digest

__all__ = ["bytes_in_words", "counted", "html_page", "message_page"]

_STYLE = files("cytopipe.serve").joinpath("page.css").read_text(encoding="utf-8")
_POLICY = (
    f"default-src 'none'; img-src 'self'; style-src '{policy_digest(_STYLE)}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LINKS = (("/start", "Start"), ("/artifacts/", "Results"), ("/asset-groups", "Graph"), ("/runs", "Runs"))


def html_page(title: str, body: Iterable[str], *, site: str, status: int = 200) -> HTMLResponse:
    """A page of ours.

    Parameters
    ----------
    title : str
        Plain text, for the browser's tab.
    body : iterable of str
        HTML; whatever came from outside is escaped already.
    site : str
        Plain text: what the project is called.
    """
    links = " ".join(f'<a href="{address}">{name}</a>' for address, name in _LINKS)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><header><b>{escape(site)}</b>{links}</header>"
        f"<main>{''.join(body)}</main></body></html>"
    )
    headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
    # A file name that is not UTF-8 is shown with marks in the place of its bytes.
    return HTMLResponse(page.encode("utf-8", "replace"), status_code=status, headers=headers)


def message_page(title: str, text: str, *, site: str, status: int) -> HTMLResponse:
    """A page that says one thing, such as that there is no such file."""
    return html_page(title, [f"<h1>{escape(title)}</h1><p>{escape(text)}</p>"], site=site, status=status)


def counted(number: int, noun: str, nouns: str = "") -> str:
    """``1 file``, ``2 files``, ``1,234 files``."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def bytes_in_words(size: int) -> str:
    """A size as people say it: ``812 B``, ``1.4 kB``, ``23 MB``."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"
