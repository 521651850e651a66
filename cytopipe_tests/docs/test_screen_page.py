"""The commands of the how-to of screens, run in the order they are read; what they print is looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cytopipe_tests.conftest import REPOSITORY

EXPECTED = {
    "cytopipe screen synthetic": "cytopipe.yaml written",
    "cytopipe --project trial check": "no problems",
    "cytopipe --project trial materialize screen/sbs/well_cells --dry-run": "never made",
    "cytopipe --project trial materialize screen/sbs/well_cells": "done in",
    "cytopipe --project trial status": "screen/sbs/well_cells",
    "cytopipe --project trial lineage": "screen/sbs/raw",
    "cytopipe screen stages": "align_sbs",
    "cytopipe screen export": "ngff 0.",
    "cytopipe screen tree": "2 of 2 tiles",
    "cytopipe --project beside check": "no problems",
    "cytopipe --project beside materialize": "done in",
    "cytopipe --project beside status": "screen/sbs/omezarr/aligned",
}


def commands() -> list[str]:
    text = (REPOSITORY / "docs" / "screen.md").read_text()
    lines = [
        line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()
    ]
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def project_files() -> list[tuple[str, str]]:
    """Project files of the page that say in their first line where they lie."""
    text = (REPOSITORY / "docs" / "screen.md").read_text()
    return re.findall(r"^```yaml\n# (\S+/cytopipe\.yaml)\n(.*?)^```", text, re.M | re.S)


@pytest.mark.timeout(900)
def test_every_command_of_the_page_says_what_it_did(tmp_path: Path) -> None:
    python = Path(sys.executable)
    environment = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    ran = 0
    for path, block in project_files():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(block)
    for command in commands():
        line = f"{sys.executable} -m cytopipe.cli{command.removeprefix('cytopipe')}"
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        words = max((one for one in EXPECTED if command.startswith(one)), key=len)
        assert EXPECTED[words] in done.stdout, f"$ {command}\n{done.stdout[-3000:]}"
        ran += 1
    assert ran >= 9
