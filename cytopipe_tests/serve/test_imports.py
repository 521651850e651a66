"""Which rooms may import what: Dagster stays in `defs`, servers stay in `serve`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cytopipe

ROOT = Path(cytopipe.__file__).parent
SERVERS = {"fastapi", "starlette", "uvicorn", "h11"}
STARTS_DAGSTER = ROOT / "serve" / "web_ui.py"


def imported(path: Path) -> Iterator[str]:
    """Top-level packages that a file imports, wherever in it; for type checkers only does not count."""
    tree = ast.parse(path.read_text())
    only_for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


FILES = sorted(ROOT.rglob("*.py"))


def test_the_one_file_that_starts_dagsters_web_server_imports_no_more_of_it():
    found = {name for name in imported(STARTS_DAGSTER) if name.startswith("dagster")}
    assert found == {"dagster_webserver"}


@pytest.mark.parametrize("room", sorted({path.relative_to(ROOT).parts[0] for path in FILES} - {"defs"}))
def test_no_room_but_defs_imports_dagster(room):
    files = [path for path in FILES if path.relative_to(ROOT).parts[0] == room and path != STARTS_DAGSTER]
    assert [path.name for path in files if any(name.startswith("dagster") for name in imported(path))] == []


@pytest.mark.parametrize("room", sorted({path.relative_to(ROOT).parts[0] for path in FILES} - {"serve"}))
def test_no_room_but_serve_imports_a_server(room):
    files = [path for path in FILES if path.relative_to(ROOT).parts[0] == room]
    assert [path.name for path in files if SERVERS & set(imported(path))] == []
