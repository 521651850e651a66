"""``python -m cytopipe_tests.ui.pictures FOLDER``: the interface as the documentation shows it.

Taken of the example project, made and served on this machine, by a headless browser.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from cytopipe.cli import run
from cytopipe_tests.ui.browser import browser_page, find_browser, served

VIEWS = {
    "start": ("/", "meadow"),
    "results": ("/artifacts/decompose/meadow/report/final/", "clusters.tsv"),
    "graph": ("/locations/cytopipe/asset-groups/decompose/lineage", "final"),
    "atlas": ("/locations/cytopipe/asset-groups/atlas/lineage", "pseudobulk"),
    "partition": ("/assets/decompose/report?view=partitions&partition=meadow", "unique_sequences"),
}


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/pictures")
    if find_browser() is None:
        print("no chromium on this machine: no pictures were taken")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        project = Path(work) / "demo"
        if code := run(["demo", str(project)]):
            return code
        with served(project) as address, browser_page(1440, 960) as page:
            for name, (path, text) in VIEWS.items():
                page.goto(address + path)
                page.get_by_text(text, exact=True).first.wait_for()
                page.wait_for_timeout(3000)  # edges and health badges are drawn after the names
                page.screenshot(path=str(folder / f"{name}.png"))
                print(folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
