"""The commands of the page of heat maps, run in the order they are read; the projects it shows are valid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cytopipe.heatmap.branches import read_branches
from cytopipe_tests.conftest import REPOSITORY
from cytopipe_tests.heatmap.blood import write_csv

PAGE = REPOSITORY / "docs" / "heatmap.md"
EXPECTED = {
    "cytopipe heatmap run": "1 made",
    "cytopipe heatmap load": "cluster_001",
    "cytopipe heatmap render": "first.png",
    "cytopipe heatmap branch": "3 made",
    "cytopipe heatmap diff": "first kind",
    "cytopipe heatmap merge": "1 made",
    "cytopipe heatmap show": "merged of named.5, t_cells.9",
    "cytopipe heatmap validate": "whole",
    "cytopipe heatmap pack": "get them back",
    "cytopipe heatmap unpack": "unpacked",
}


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.mark.timeout(600)
def test_every_command_of_the_page_says_what_it_did(tmp_path: Path) -> None:
    write_csv(tmp_path / "cells.csv")
    environment = os.environ | {"COLUMNS": "200"}
    for command in commands():
        line = f"{sys.executable} -m cytopipe.cli{command.removeprefix('cytopipe')}"
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        (words,) = (one for one in EXPECTED if command.startswith(one))
        assert EXPECTED[words] in done.stdout, f"$ {command}\n{done.stdout[-3000:]}"
    assert len(commands()) >= 9


def test_the_branches_of_the_page_have_no_fault() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    _, faults = read_branches(yaml.safe_load(block)["heatmap"]["patients"]["branches"])
    assert faults == []
