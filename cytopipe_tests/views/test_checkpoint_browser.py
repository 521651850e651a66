"""The checkpoint browser of a notebook: its answers, and its buttons in a real JupyterLab."""

from __future__ import annotations

import pytest

pytest.importorskip("anywidget", reason="the extra 'notebook' is not installed")

from cytopipe.errors import InputError
from cytopipe.heatmap import load_heatmap_state, save_heatmap_state
from cytopipe.views import CheckpointBrowser
from cytopipe_tests.ui.browser import find_browser
from cytopipe_tests.ui.jupyterlab import has_jupyterlab, notebook_page
from cytopipe_tests.views.histories import small_history


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "Läufe und mehr"
    place.mkdir()
    for number, state in enumerate(small_history()):
        save_heatmap_state(state, place / f"{number}.h5ad")
    return place


def test_every_checkpoint_of_a_folder_is_a_node_after_its_parents(folder):
    browser = CheckpointBrowser(folder)
    seen = set()
    for node in browser.nodes:
        assert seen.issuperset(node["parents"])
        seen.add(node["id"])
    assert len(seen) == 7


def test_a_deleted_checkpoint_stays_in_the_graph_and_says_so_when_it_is_asked_for(folder):
    gone = small_history()[3]
    (folder / "3.h5ad").unlink()
    browser = CheckpointBrowser(folder)
    node = next(one for one in browser.nodes if one["id"] == gone.id)
    assert node["badges"][0]["text"] == "deleted"
    with pytest.raises(InputError, match="not there"):
        browser.load(gone.id)


def test_what_is_reloaded_and_saved_again_is_its_child_with_the_same_colours(folder):
    first = small_history()[1]
    browser = CheckpointBrowser(folder)
    heard = []
    browser.on_load = heard.append
    assert browser.load(first.id).startswith("Reloaded 1.h5ad: 20 clusters x 6 markers")
    assert heard == [browser.display]
    assert browser.display.state.unlike(first) == ()
    said = browser.save("5", "looked at", name="mine.h5ad")
    assert said == "Saved mine.h5ad."
    saved = load_heatmap_state(folder / "mine.h5ad")
    assert saved.parents == (first.id,)
    assert saved.colours == first.colours
    assert saved.id in [one["id"] for one in browser.nodes]


def test_saving_with_nothing_on_display_says_what_to_do(folder):
    with pytest.raises(InputError, match="nothing is on display"):
        CheckpointBrowser(folder).save("5", "")


def test_a_branch_begun_in_the_panel_is_computed_and_stands_in_the_recipe(tmp_path):
    from cytopipe.heatmap.workspace import Recipe, Workspace
    from cytopipe_tests.heatmap.blood import blood

    recipe = Recipe.model_validate(
        {"flowsom": {"x_dim": 4, "y_dim": 4, "n_metaclusters": 6}, "branches": {"main": {"steps": [1, 2]}}}
    )
    workspace = Workspace(tmp_path, recipe)
    workspace.put_cells(blood(600))
    workspace.save_recipe()
    assert [one.how for one in workspace.run()] == ["made", "made"]
    browser = CheckpointBrowser(tmp_path)
    at = next(node["id"] for node in browser.nodes if node["title"].startswith("main 2"))
    said = browser.branch(at, "t_cells", ["6"], {"subset": {"gates": {"CD3": {"above": 2.5}}}})
    assert said == "Branch t_cells: 1 checkpoint made."
    assert Workspace.open(tmp_path).recipe.branches["t_cells"]["from"] == "main.2"
    child = next(node for node in browser.nodes if node["title"].startswith("t_cells"))
    assert child["parents"] == [at]


@pytest.fixture
def project(tmp_path):
    """A project with steps 1 and 2 of its main branch made, its branches in a file of their own."""
    from cytopipe_tests.cli.conftest import cytopipe
    from cytopipe_tests.heatmap.blood import write_csv

    write_csv(tmp_path / "blood.csv")
    (tmp_path / "branches.yaml").write_text("main:\n  steps: [1, 2]\n  revise: {}\n")
    (tmp_path / "cytopipe.yaml").write_text(
        "engine: serial\nheatmap:\n  blood:\n    cells: blood.csv\n    branches: branches.yaml\n"
        "    flowsom: {x_dim: 5, y_dim: 5, n_metaclusters: 6}\n"
    )
    assert cytopipe("materialize", "heatmap", "-q", at=tmp_path).code == 0
    return tmp_path


@pytest.mark.timeout(300)
def test_a_branch_begun_in_the_panel_of_a_project_is_made_by_its_graph(project):
    from cytopipe_tests.cli.conftest import cytopipe

    browser = CheckpointBrowser(project / "outputs/heatmap/blood")
    at = next(node["id"] for node in browser.nodes if node["title"].startswith("main 2"))
    with pytest.raises(InputError, match=r"(?s)the branch was not made: .*CD99.*branch wrong stays in"):
        browser.branch(at, "wrong", ["6"], {"subset": {"gates": {"CD99": {"above": 2.5}}}})
    said = browser.branch(at, "t_cells", ["6", "9"], {"subset": {"gates": {"CD3": {"above": 2.5}}}})
    assert said == "Branch t_cells: 2 checkpoints made."
    child = next(node for node in browser.nodes if node["title"].startswith("t_cells 6"))
    assert child["parents"] == [at]
    assert "from: main.2" in (project / "branches.yaml").read_text()
    state = cytopipe("status", "heatmap", at=project).out
    assert "done        heatmap/step_09_lineage_finalize [blood.t_cells]" in state
    with pytest.raises(InputError, match="there is a branch 't_cells' already"):
        browser.branch(at, "t_cells", ["6"], {})


def test_where_branches_stand_in_the_project_file_the_panel_says_what_to_write_there(project):
    text = (project / "cytopipe.yaml").read_text()
    text = text.replace("branches: branches.yaml", "branches: {main: {steps: [1, 2], revise: {}}}")
    (project / "cytopipe.yaml").write_text(text)
    browser = CheckpointBrowser(project / "outputs/heatmap/blood")
    at = next(node["id"] for node in browser.nodes if node["title"].startswith("main 2"))
    with pytest.raises(InputError, match=r"(?s)Add there:\nb_cells:\n  subset:.*from: main.2"):
        browser.branch(at, "b_cells", ["6"], {"subset": {"gates": {"CD19": {"above": 2.5}}}})
    assert (project / "cytopipe.yaml").read_text() == text


@pytest.mark.skipif(find_browser() is None, reason="no chromium on this machine")
@pytest.mark.skipif(not has_jupyterlab(), reason="no JupyterLab")
@pytest.mark.timeout(300)
def test_in_jupyterlab_a_person_looks_compares_reloads_and_saves(folder):
    code = (
        f"from cytopipe.views import CheckpointBrowser\nbrowser = CheckpointBrowser({str(folder)!r})\nbrowser"
    )
    with notebook_page(folder.parent, code) as page:
        cards = page.locator(".ccb-card")
        cards.first.wait_for()
        assert cards.count() == 7
        cards.filter(has_text="2 revise").click()
        page.get_by_role("heading", name="Metaclusters", exact=True).wait_for()
        cards.filter(has_text="5 finalize").click(modifiers=["Shift"])
        page.get_by_role("button", name="Other way round").wait_for()
        cards.filter(has_text="2 revise").click()
        page.get_by_role("button", name="Reload", exact=True).click()
        page.get_by_text("Reloaded 1.h5ad").wait_for()
        page.get_by_role("button", name="Save a checkpoint …").click()
        form = page.locator(".ccb-form")
        assert form.locator("input[name=step_id]").input_value() == "revise_metaclusters"
        form.locator("input[name=description]").fill("from the notebook")
        form.locator("input[name=name]").fill("saved.h5ad")
        form.get_by_role("button", name="Save").click()
        page.get_by_text("Saved saved.h5ad").wait_for()
        page.wait_for_function("document.querySelectorAll('.ccb-card').length === 8")
    assert load_heatmap_state(folder / "saved.h5ad").description == "from the notebook"
