"""The results of atlases over HTTP, for notebooks and browsers: read-only, on loopback, documented.

Requests name atlases, levels, genes, signatures and targets. Answers are pages of plain values, or problem
details (RFC 9457). `cytopipe.atlas.reading` turns files into values, `models` says what they look like,
`routes` which request gets which, `problems` what goes wrong, `app` puts them together.
"""

from __future__ import annotations

from cytopipe.serve.atlas_api.app import create_app, serve

__all__ = ["create_app", "serve"]
