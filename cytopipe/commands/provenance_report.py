"""The provenance of one artifact as a page of HTML that needs nothing else: to keep beside a paper.

For every step back to the inputs: when, by which run and code, with which parameters, from which digests,
and whether the bytes on disk are still those.
"""

from __future__ import annotations

import html
import json
from datetime import UTC, datetime

from cytopipe.defs.event import named
from cytopipe.defs.lineage import Node, walk
from cytopipe.project import Project
from cytopipe.provenance import Provenance, library_versions

__all__ = ["provenance_report"]

_LIBRARIES = ("dagster", "numpy", "scipy", "numba", "edlib", "adjusted-identity", "anndata", "pandas")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
body {{ color: #222; background: #fff }}
h1 {{ font-size: 1.5rem }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .3rem }}
code, td.mono {{ font: 13px ui-monospace, monospace; word-break: break-all }}
table {{ border-collapse: collapse; width: 100% }}
td {{ vertical-align: top; padding: .1rem .8rem .1rem 0 }}
td:first-child {{ color: #666; white-space: nowrap; width: 11rem }}
.tree {{ white-space: pre-wrap; background: #f6f6f6; padding: 1rem }}
.tree {{ font: 13px/1.6 ui-monospace, monospace }}
.changed, .gone {{ color: #b00020 }} .same {{ color: #1b6e3c }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #181818; color: #ddd }} .tree {{ background: #242424 }} td:first-child {{ color: #999 }}
  .changed, .gone {{ color: #ff7b7b }} .same {{ color: #6fcf97 }} }}
</style></head><body>
<h1>{title}</h1>
<p>{intro}</p>
<div class="tree">{tree}</div>
{sections}
<h2>Software</h2><table>{software}</table>
</body></html>
"""


def provenance_report(project: Project, root: Node) -> bytes:
    """The report of an artifact and all it was made from, as UTF-8 HTML."""
    title = f"Provenance of {named(root.asset, root.key)}"
    seen: dict[tuple[str, str, str], Node] = {}
    for _, node, _ in walk(root):
        seen.setdefault((node.asset, node.key, node.version), node)
    changed = [node for node in seen.values() if node.now != "same"]
    intro = f"Project <code>{_text(project.directory.name)}</code>. " + (
        f"{len(changed)} of {len(seen)} artifacts are no longer on disk as they were used."
        if changed
        else f"All {len(seen)} artifacts and inputs are on disk as they were used, by SHA-256."
    )
    page = _PAGE.format(
        title=_text(title),
        intro=intro,
        tree="\n".join(_tree_line(len(above), node) for above, node, _ in walk(root)),
        sections="\n".join(_section(node) for node in seen.values()),
        software=_software(),
    )
    return page.encode()


def _tree_line(depth: int, node: Node) -> str:
    return (
        f"{'    ' * depth}{_text(named(node.asset, node.key))}  {node.version[:12]}  "
        f'<span class="{node.now}">{node.now}</span>'
    )


def _section(node: Node) -> str:
    rows: list[tuple[str, object]] = [("SHA-256", node.version), ("on disk today", node.now)]
    if node.made_at:
        rows += [
            ("path", node.path),
            ("time", datetime.fromtimestamp(node.made_at, UTC).isoformat(timespec="seconds")),
            ("run", node.run_id or "outside a run"),
            ("code version", node.code_version),
        ]
    rows += list((node.parameters or {}).items())
    rows += [(f"input {named(one.asset, one.key)}", one.version) for one in node.inputs]
    cells = "".join(
        f'<tr><td>{_text(name)}</td><td class="mono">{_text(value)}</td></tr>' for name, value in rows
    )
    return f"<h2>{_text(named(node.asset, node.key))}</h2><table>{cells}</table>"


def _software() -> str:
    mine = Provenance(what="report")
    rows = {"cytopipe": mine.cytopipe_version, "python": mine.python, "platform": mine.platform}
    rows |= library_versions(_LIBRARIES)
    return "".join(
        f'<tr><td>{_text(name)}</td><td class="mono">{_text(value)}</td></tr>' for name, value in rows.items()
    )


def _text(value: object) -> str:
    """Anything as text that HTML cannot take for markup: names and headers come from users' files."""
    return html.escape(value if isinstance(value, str) else json.dumps(value, default=str))
