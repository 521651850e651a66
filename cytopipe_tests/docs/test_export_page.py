"""The commands of the page of exports, run in the order they are read, over the job that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cytopipe.cli import run
from cytopipe_tests.conftest import REPOSITORY
from cytopipe_tests.export.layout import write_images

PAGE = (REPOSITORY / "docs" / "export.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.timeout(300)
def test_every_command_of_the_page_runs_over_its_job(tmp_path: Path, monkeypatch, capfd) -> None:
    write_images(tmp_path)
    (tmp_path / "job.yaml").write_text(blocks("yaml")[0])
    (tmp_path / "roi_manager.csv").write_text("fov,name,x_min,x_max,y_min,y_max,tags\nfov1,a,1,9,1,9,fig1\n")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) == 9
    for command in commands:
        assert run(shlex.split(command)[1:]) == 0, f"{command}\n{capfd.readouterr().err}"
    assert len(list((tmp_path / "pictures").glob("fov*/cell_*.png"))) == 10
    exec(blocks("python")[0], {})  # the job is done: everything is kept
    assert "10 of 10" in capfd.readouterr().out
    pytest.importorskip("anywidget", reason="the extra 'notebook' is not installed")
    shown: dict = {}
    exec(blocks("python")[1], shown)
    assert shown["panel"].progress["phase"] == "new"
