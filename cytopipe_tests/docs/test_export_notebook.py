"""The example notebook of exports, run in a kernel of its own."""

from __future__ import annotations

import pytest

from cytopipe_tests.conftest import REPOSITORY


@pytest.mark.timeout(300)
def test_the_example_notebook_makes_every_picture_that_it_plans(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="JupyterLab is not installed")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(REPOSITORY / "docs" / "export.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3", resources=resources).execute()
    told = "".join(
        out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()) if "text" in out
    )
    n_planned = int(told.split(" pictures, the first is")[0].splitlines()[-1])
    made = list((tmp_path / "pictures").glob("fov*/cell_*.png"))
    assert len(made) == n_planned > 10
    assert f"done={n_planned}, total={n_planned}" in told
    shown = [
        out
        for cell in notebook.cells
        for out in cell.get("outputs", ())
        if "image/png" in out.get("data", {})
    ]
    assert len(shown) == 2
