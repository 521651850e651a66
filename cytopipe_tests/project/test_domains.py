"""A domain is one registration: its command, entries, schema and starter text follow from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe.project import DOMAINS
from cytopipe_tests.conftest import REPOSITORY

TOY = {
    "toy/__init__.py": """
from cytopipe.project.domain import Domain
DOMAIN = Domain(
    name="toy", help="Count things.", package=__name__, entry="toy.entry:Things", commands="toy.commands:toy",
    parameters=("toy.parameters:Counting",),
)
""",
    "toy/parameters.py": '''
from cytopipe.parameters import ParameterSet
from cytopipe.units import Fraction
class Counting(ParameterSet):
    """How things are counted."""
    share: Fraction = 0.5
    """Share of the things that are counted."""
''',
    "toy/entry.py": '''
from typing import ClassVar
from cytopipe.project.entry import Entry, FilePath
from toy.parameters import Counting
class Things(Entry, Counting):
    domain: ClassVar[str] = "toy"
    path: FilePath
    """Where the things are."""
    @classmethod
    def found(cls, directory):
        yield from ((path.stem, {"path": path.name}) for path in sorted(directory.glob("*.toy")))
''',
    "toy/commands.py": '''
import click
from cytopipe.commands.options import parameter_options, said
from toy.parameters import Counting
@click.group()
def toy():
    """Count things."""
@toy.command()
@parameter_options(Counting)
def count(**given):
    """Count them."""
    click.echo(said(Counting, given))
''',
    "toy/starter.yaml": "# Things to count.\ntoy:\n#  mine:\n#    path: mine.toy\n",
    "with_toy.py": """
import sys
import toy
from cytopipe.project.domains import DOMAINS
DOMAINS["toy"] = toy.DOMAIN  # the one line
from cytopipe.cli import main
main()
""",
}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    for name, text in TOY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/marbles.toy").write_text("")
    return tmp_path


def cytopipe(lab: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, lab / "with_toy.py", *words],
        cwd=lab / "lab", capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{lab}{os.pathsep}{os.environ.get('PYTHONPATH') or REPOSITORY}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_domain_is_added_by_one_line(lab):
    assert re.search(r"^  toy +Count things\.$", cytopipe(lab, "--help"), re.MULTILINE)
    assert "{'share': 0.3}" in cytopipe(lab, "toy", "count", "--share", "30 %")
    cytopipe(lab, "init")
    text = (lab / "lab/cytopipe.yaml").read_text()
    assert '# Things to count.\ntoy:\n  "marbles":\n    path: "marbles.toy"\n#  mine:' in text
    assert "toy  marbles" in cytopipe(lab, "check")
    assert "Share of the things that are counted." in cytopipe(lab, "schema")


@pytest.mark.parametrize("name", list(DOMAINS))
def test_every_registration_is_whole(name):
    domain = DOMAINS[name]
    assert domain.entry_model().domain == name
    assert domain.starter().startswith("# ") and f"\n{name}:\n" in domain.starter()
    for model in domain.parameter_sets():
        assert model.__doc__ and model.model_fields


def test_listing_the_domains_imports_nothing_heavy():
    heavy = ("pydantic", "yaml", "numpy", "dagster")
    code = f"import sys, cytopipe.project.domains; print([one for one in {heavy!r} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
