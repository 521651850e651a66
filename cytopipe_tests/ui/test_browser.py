"""What a person does in the browser: look at the graph, make a data set, see what came of it."""

from __future__ import annotations

import importlib.util
import os
import zipfile
from pathlib import Path

import pytest

from cytopipe.cli import run
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
WIDTH = "picture => picture.decode().then(() => picture.naturalWidth)"
PICTURES = os.environ.get("CYTOPIPE_UI_PICTURES")  # a folder that keeps what the test saw


def keep(page, name: str) -> None:
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))


def test_a_data_set_is_made_in_the_browser_and_its_metadata_show(tmp_path):
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
        keep(page, "metadata")
        assert refused == []


def test_a_newcomer_finds_the_results_from_the_first_page_and_takes_them_home(tmp_path):
    project = make_project(tmp_path / "project", "meadow").directory
    assert run(["--project", str(project), "materialize", "--all", "--quiet"]) == 0
    with served(project) as address, browser_page() as page:
        complaints = []

        def note(said) -> None:
            # A file is shown in a sandbox, which may not even load the icon of this server.
            if said.type == "error" and not said.location["url"].endswith("/favicon.ico"):
                complaints.append(said.text)

        page.on("console", note)
        page.on("response", lambda answer: complaints.append(answer.url) if answer.status >= 400 else None)

        page.goto(address)
        page.get_by_text("all made, and up to date").wait_for()
        keep(page, "start")
        page.get_by_role("link", name="decompose/meadow/").first.click()
        with page.expect_download() as started:
            page.get_by_role("link", name="Download this folder").click()
        with zipfile.ZipFile(started.value.path()) as archive:
            assert "meadow/cluster_001.fasta" in archive.namelist()
        page.get_by_role("link", name="cluster_001.fasta").click()
        assert page.inner_text("pre").startswith(">")

        page.go_back()
        page.get_by_role("link", name="report/").click()
        page.get_by_role("link", name="final/").click()
        small = page.locator("figure img").first
        small.wait_for()
        assert small.evaluate(WIDTH) == 480
        keep(page, "results")
        small.click()
        page.wait_for_url("**.png")
        assert page.locator("img").evaluate(WIDTH) > 480

        page.goto(address)
        page.get_by_role("link", name="done").first.click()
        page.get_by_text("n_clusters", exact=True).first.wait_for()

        page.goto(f"{address}/assets/decompose/report?view=partitions&partition=meadow")
        page.locator(PICTURE).first.wait_for()
        page.wait_for_function("picture => document.querySelector(picture).naturalWidth > 100", arg=PICTURE)
        keep(page, "picture")
        assert complaints == []
