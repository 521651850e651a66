"""What the web UI lets a page below the output root do."""

from __future__ import annotations

import pytest

from cytopipe.serve.artifacts import Artifacts
from cytopipe.views import history_page
from cytopipe_tests.ui.browser import find_browser
from cytopipe_tests.views.histories import small_history


def test_the_script_of_a_history_page_may_run_and_no_other_script(tmp_path):
    from starlette.testclient import TestClient

    (tmp_path / "history.html").write_text(history_page(small_history(), title="x"))
    policy = (
        TestClient(Artifacts(tmp_path, "lab"))
        .get("/artifacts/history.html")
        .headers["content-security-policy"]
    )
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert policy.count("script-src 'sha256-") == 1
    assert "allow-same-origin" not in policy
    assert "unsafe-inline'" not in policy.split("script-src")[1]


@pytest.mark.skipif(find_browser() is None, reason="no chromium on this machine")
def test_a_served_history_page_works_and_a_foreign_script_beside_it_does_not(tmp_path):
    import threading
    import time

    import uvicorn

    from cytopipe_tests.ui.browser import browser_page

    (tmp_path / "history.html").write_text(history_page(small_history(), title="history"))
    foreign = "<!doctype html><title>calm</title><script>document.title = 'acted'</script></html>\n"
    (tmp_path / "foreign.html").write_text(foreign)
    server = uvicorn.Server(uvicorn.Config(Artifacts(tmp_path, "lab"), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        with browser_page() as page:
            page.goto(f"http://127.0.0.1:{port}/artifacts/history.html")
            page.locator(".ccb-card").first.wait_for()
            assert page.locator(".ccb-card").count() == 7
            page.goto(f"http://127.0.0.1:{port}/artifacts/foreign.html")
            assert page.title() == "calm"
    finally:
        server.should_exit = True
        thread.join()
