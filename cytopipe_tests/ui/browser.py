"""A served project and a headless browser before it, for tests and for the pictures of the documentation."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["browser_page", "find_browser", "served", "ui_process"]

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """A browser of this machine; none is ever downloaded."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def served(project: Path, *options: str) -> Iterator[str]:
    """Serve a project with ``cytopipe ui OPTIONS``; yields its address, without a path."""
    with ui_process(project, *options) as (process, address):
        yield address.partition("?")[0].rstrip("/")
        process.send_signal(signal.SIGINT)


@contextlib.contextmanager
def ui_process(project: Path, *options: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """The process of ``cytopipe ui OPTIONS``, and the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cytopipe.cli", "--project", str(project), "ui", *options],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        address = next((line.split()[1] for line in process.stdout if line.startswith("open ")), "")
        assert address, f"cytopipe ui ended with {process.wait()}"
        yield process, address
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=90)


@contextlib.contextmanager
def browser_page(width: int = 1500, height: int = 900):
    """A page of a headless browser (Playwright over the machine's own chromium)."""
    from playwright.sync_api import sync_playwright

    executable = find_browser()
    assert executable is not None
    with sync_playwright() as play:
        # Containers run as root, where chromium's own sandbox cannot; the pages are ours.
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=1)
        page.set_default_timeout(60_000)
        yield page
        browser.close()
