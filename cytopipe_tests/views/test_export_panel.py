"""The export panel of a notebook: its answers, and its buttons in a real JupyterLab."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

pytest.importorskip("anywidget", reason="the extra 'notebook' is not installed")

from PIL import Image

from cytopipe.errors import ParameterError
from cytopipe.views import ExportPanel
from cytopipe_tests.export.layout import CELLS, write_images, write_job
from cytopipe_tests.ui.browser import find_browser
from cytopipe_tests.ui.jupyterlab import has_jupyterlab, notebook_page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "Bilder und mehr"
    root.mkdir()
    write_images(root)
    return root


def test_the_form_shows_the_settings_of_the_job_in_the_words_of_their_declaration(root):
    form = {one["name"]: one for one in ExportPanel(write_job(root, CELLS)).form}
    assert form["mode"]["choices"] == ["fov", "cells", "rois"]
    assert form["mode"]["value"] == "cells"
    assert form["where"]["value"] == ""
    assert form["dpi"]["kind"] == "number"
    assert form["scale_bar"]["kind"] == "switch"
    assert "pixels per inch" in form["dpi"]["help"]


def test_regions_are_shown_as_they_were_seen_or_alike_as_the_panel_says(root):
    (root / "rois.csv").write_text("fov,name,x_min,x_max,y_min,y_max,marker_set\nfov1,a,1,59,1,49,gone\n")
    panel = ExportPanel(write_job(root, "mode: rois\nrois: {file: rois.csv}\n"))
    (control,) = [one for one in panel.form if one["name"] == "settings"]
    assert (control["choices"], control["value"], control["label"]) == (
        ["own", "shared"],
        "own",
        "rois settings",
    )
    for chosen, state in ({}, "failed"), ({"settings": "shared"}, "exported"):
        job = panel.start(**chosen)
        assert job.wait(60)
        assert [one.state for one in job.results()] == [state]


def test_an_export_started_in_the_panel_takes_its_options_and_tells_its_end(root):
    panel = ExportPanel(write_job(root, CELLS))
    job = panel.start(where="phenotype == 'T cell'", file_format="jpeg", output=str(root / "T cells"))
    assert job.wait(60)
    panel._following.shutdown(wait=True)
    assert panel.progress["phase"] == "done"
    assert panel.progress["done"] == panel.progress["total"] == 10
    assert len(list((root / "T cells").rglob("*.jpg"))) == 10
    assert {one["state"] for one in panel.log} == {"exported"}
    assert not (root / "pictures").exists()


def test_a_preview_is_a_picture_and_writes_nothing(root):
    panel = ExportPanel(write_job(root))
    with Image.open(io.BytesIO(panel.preview(downsample=2))) as image:
        assert image.size == (60, 60)
    assert not (root / "pictures").exists()


def test_options_that_are_wrong_are_told_and_nothing_starts(root):
    panel = ExportPanel(write_job(root))
    with pytest.raises(ParameterError, match="downsample"):
        panel.start(downsample=0)
    with pytest.raises(ParameterError, match="no option 'source'"):
        panel.start(source="/etc")
    with pytest.raises(ParameterError, match="immune"):
        panel.start(marker_set="neurons")
    assert panel.job is None
    assert panel.progress["phase"] == "new"


def test_a_question_of_the_page_is_answered_with_its_number(root):
    panel, told = ExportPanel(write_job(root)), []
    panel.send = told.append
    for number, values in enumerate(({"downsample": 0}, {"downsample": 2})):
        panel._asked(None, {"number": number, "what": "preview", "values": values}, None)
    panel._asked(None, {"number": 7, "what": "delete"}, None)
    panel._beside.shutdown(wait=True)
    by_number = {one["number"]: one for one in told}
    assert sorted(by_number) == [0, 1]
    assert "downsample" in by_number[0]["error"]
    assert by_number[1]["value"].startswith("iVBOR")


def test_cancel_acts_at_once_while_previews_are_made(root):
    path = write_job(root, "fovs_per_s: 1\n")
    panel, told, gate = ExportPanel(path), [], threading.Event()
    panel.send = told.append
    for _ in range(2):  # as two previews of large images
        panel._beside.submit(gate.wait, 60)
    job = panel.start()
    panel._asked(None, {"number": 3, "what": "cancel"}, None)
    assert told == [{"number": 3, "value": ""}]
    assert job.wait(60)
    assert job.status().phase == "cancelled"
    assert not gate.is_set()
    gate.set()


@pytest.mark.skipif(find_browser() is None, reason="no chromium on this machine")
@pytest.mark.skipif(not has_jupyterlab(), reason="no JupyterLab")
@pytest.mark.timeout(300)
def test_in_jupyterlab_a_person_previews_starts_watches_and_opens_the_folder(root):
    path = write_job(root, CELLS)
    code = f"from cytopipe.views import ExportPanel\npanel = ExportPanel({str(path)!r})\npanel"
    with notebook_page(root, code) as page:
        form = page.locator(".cep-form")
        form.wait_for()
        form.get_by_role("button", name="Preview").click()
        page.locator(".cep img").wait_for()
        form.locator("input[name=downsample]").fill("0")
        form.get_by_role("button", name="Start").click()
        page.locator(".cep-bad").wait_for()
        form.locator("input[name=downsample]").fill("1")
        form.locator("input[name=where]").fill("phenotype == 'B cell'")
        form.get_by_role("button", name="Start").click()
        page.get_by_text("Done: 8 of 8").wait_for()
        assert page.locator(".cep-exported").count() == 8
        link = page.get_by_role("link", name="Open pictures")
        assert link.get_attribute("href") == "/lab/tree/pictures"
    assert len(list((root / "pictures").rglob("*.png"))) == 8
