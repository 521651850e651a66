"""Domains hold science alone: no framework, no command line, no project file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cytopipe

ROOT = Path(cytopipe.__file__).parent
DOMAINS = ("decompose", "atlas", "screen", "heatmap", "export")
FRAMEWORKS = ("dagster", "click", "rich", "fastapi", "cytopipe.project", "cytopipe.commands", "cytopipe.defs")
# Serves results over HTTP; it leaves the domain for cytopipe/serve.
MOVING = ROOT / "atlas" / "api"


def modules_of(domain: str) -> list[Path]:
    return [file for file in sorted((ROOT / domain).rglob("*.py")) if not file.is_relative_to(MOVING)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_module_of_a_domain_names_a_framework(domain):
    """Imports inside functions count, too."""
    for file in modules_of(domain):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                wrong = [one for one in FRAMEWORKS if name == one or name.startswith(f"{one}.")]
                assert not wrong, f"{file.relative_to(ROOT)} imports {name}"


def test_no_module_of_the_atlas_domain_publishes_files():
    """Its functions give values; formats and the archive write them."""
    for file in modules_of("atlas"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cytopipe.storage"):
                assert not {"Store", "Archive"} & {one.name for one in node.names}, file.relative_to(ROOT)


@pytest.mark.parametrize("domain", DOMAINS)
def test_importing_every_module_of_a_domain_imports_no_framework(domain):
    names = [
        f"cytopipe.{'.'.join(file.relative_to(ROOT).with_suffix('').parts)}".removesuffix(".__init__")
        for file in modules_of(domain)
    ]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([one for one in {FRAMEWORKS!r} if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
