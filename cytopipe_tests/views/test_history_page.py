"""The history of a heat map in one HTML file, looked at in a browser without a server."""

from __future__ import annotations

import json
import re

import pytest

from cytopipe.views import history_page
from cytopipe_tests.ui.browser import browser_page, find_browser
from cytopipe_tests.views.histories import HOSTILE, small_history

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def html() -> str:
    return history_page(small_history(), title=HOSTILE)


def test_the_same_checkpoints_give_the_same_page(html):
    assert history_page(small_history(), title=HOSTILE) == html


def test_a_page_names_no_address_to_load_from(html):
    outside = html.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//cdn|@import|src=\"", outside.split('<script type="application/json"')[0])


def test_no_name_ends_the_data_of_a_page(html):
    data = html.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert {node["branch"] for node in json.loads(data)["nodes"]} == {"main", "lineage", "all"}


@needs_browser
def test_a_page_shows_compares_and_finds_checkpoints_and_runs_no_name(html, tmp_path):
    file = tmp_path / "Verlauf ä.html"
    file.write_text(html, encoding="utf-8")
    with browser_page() as page:
        said, asked = [], []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        cards = page.locator(".ccb-card")
        cards.first.wait_for()
        assert cards.count() == 7
        assert page.title() == HOSTILE
        cards.nth(1).click()
        page.get_by_role("heading", name="Metaclusters", exact=True).wait_for()
        panel = page.locator(".ccb-panel")
        assert HOSTILE in panel.inner_text()
        assert page.locator(".ccb-map canvas").evaluate("canvas => canvas.height") == 20
        cards.filter(has_text="5 finalize").click(modifiers=["Shift"])
        page.get_by_role("heading", name="→").wait_for()
        assert "both are about the same cells" in panel.inner_text()
        page.get_by_role("button", name="Other way round").click()
        page.get_by_role("heading", name="main 5 finalize → main 2").wait_for()
        page.get_by_role("searchbox").fill("lineage")
        assert page.get_by_role("status").inner_text() == "3 of 7"
        assert not said
        assert [one for one in asked if not one.startswith(("file:", "data:"))] == []


@needs_browser
def test_a_history_of_500_checkpoints_is_drawn_with_every_edge(tmp_path):
    """Laid out by the page itself: no two cards lie at one place."""
    first, *_ = small_history()
    from cytopipe.heatmap.artifact import document_of
    from cytopipe.views.checkpoints import page as module
    from cytopipe.views.checkpoints.data import node_of, palette

    node = node_of(document_of(first))
    nodes = [
        {**node, "id": str(at), "parents": [] if not at else [str((at - 1) // 2)], "title": str(at)}
        for at in range(500)
    ]
    data = {"nodes": nodes, "palette": palette(), "details": {"499": []}, "comparisons": {}}
    file = tmp_path / "many.html"
    file.write_text(module.page_of(data, title="many"), encoding="utf-8")
    with browser_page() as page:
        page.goto(file.as_uri())
        page.locator(".ccb-card").first.wait_for()
        places = page.evaluate(
            "[...document.querySelectorAll('.ccb-card')].map(card => card.style.left + card.style.top)"
        )
        assert len(set(places)) == 500
        assert page.locator(".ccb-graph path").count() == 499
