"""What a person does in the browser: look at the graph, make a data set, see what came of it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from cytopipe_tests.defs.example import make_project
from cytopipe_tests.ui.browser import browser_page, find_browser, served

pytestmark = [
    pytest.mark.ui,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        find_browser() is None, reason="no chromium on this machine: the browser is not tested"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None,
        reason="playwright is not installed: the browser is not tested",
    ),
]

PICTURE = "img[src^='/artifacts/']"
PICTURES = os.environ.get("CYTOPIPE_UI_PICTURES")  # a folder that keeps what the test saw


def keep(page, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


def test_a_data_set_is_made_in_the_browser_and_its_metadata_and_picture_show(tmp_path):
    project = make_project(tmp_path / "project", "meadow").directory
    with served(project) as address, browser_page() as page:
        refused = []
        page.on("response", lambda answer: refused.append(answer.url) if answer.status >= 400 else None)

        page.goto(f"{address}/locations/cytopipe/asset-groups/decompose/lineage")
        for name in ("sequences", "initial", "deconflicted", "refined", "final", "overview"):
            page.get_by_text(name, exact=True).first.wait_for()
        keep(page, "graph")

        page.goto(f"{address}/assets/decompose/initial?view=partitions&partition=meadow")
        page.get_by_role("button", name="Materialize").first.click()
        launch = page.get_by_role("button", name="Launch 1 run")
        launch.wait_for()
        keep(page, "dialog")
        launch.click()
        page.get_by_role("dialog").wait_for(state="hidden")

        page.goto(f"{address}/runs")
        page.get_by_text("Success", exact=True).first.wait_for(timeout=240_000)
        keep(page, "runs")

        page.goto(f"{address}/assets/decompose/initial?view=partitions&partition=meadow")
        page.get_by_text("n_clusters", exact=True).first.wait_for()
        page.get_by_text("sha256", exact=True).first.wait_for()
        page.locator(PICTURE).first.wait_for()
        page.wait_for_function("picture => document.querySelector(picture).naturalWidth > 100", arg=PICTURE)
        keep(page, "metadata")
        assert refused == []
