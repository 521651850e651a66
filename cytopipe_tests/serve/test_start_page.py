"""The first page of the web UI says what there is, what is to be done and why, and where results are."""

from __future__ import annotations

import re
from html import unescape

import pytest

from cytopipe.defs.instance import open_instance
from cytopipe.defs.ledger import Ledger
from cytopipe.defs.running import LOCATION as CODE_LOCATION
from cytopipe.serve import project_state
from cytopipe.serve.project_state import ArtifactState, ProjectState, state_reader
from cytopipe.serve.start_page import LOCATION, start_page
from cytopipe_tests.defs.example import make_project


def text_of(state: ProjectState) -> str:
    """The words of the page, without its style sheet and marks."""
    page = start_page(state).body.decode().partition("</style>")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def page_of(*artifacts: ArtifactState, **more) -> str:
    return start_page(ProjectState("lab", "/data/lab", artifacts, {}, **more)).body.decode()


def test_a_project_without_data_sets_says_what_to_do():
    assert "Add some to cytopipe.yaml" in text_of(ProjectState("lab", "/data/lab", (), {}))


def test_every_result_is_shown_with_its_state_and_its_folder():
    artifacts = (
        ArtifactState("decompose/initial", "meadow", "done", (), "decompose/meadow"),
        ArtifactState("decompose/final", "meadow", "stale", ("input changed",), "decompose/meadow"),
        ArtifactState("atlas/pseudobulk", "blood.l1", "done", (), "atlas/blood/pseudobulk/b.h5ad"),
        ArtifactState("atlas/cross_atlas", "", "missing", ("never made",)),
    )
    state = ProjectState("lab", "/data/lab", artifacts, {("decompose", "meadow"): "60 barcodes"})
    text, page = text_of(state), start_page(state).body.decode()
    assert "4 results of 2 domains: 1 stale , 1 missing , 2 done ." in text
    assert "60 barcodes" in text and "over all data sets" in text
    assert "stale decompose/final [meadow] input changed" in text
    assert "missing atlas/cross_atlas never made" in text
    assert (
        'href="/artifacts/decompose/meadow/"' in page and 'href="/artifacts/atlas/blood/pseudobulk/"' in page
    )
    assert 'href="/assets/decompose/final?view=partitions&amp;partition=meadow"' in page
    assert "cytopipe materialize --all" in text


def test_where_all_is_done_nothing_is_to_do():
    state = ProjectState("lab", "/data/lab", (ArtifactState("a/b", "c", "done"),), {})
    assert "all made, and up to date" in text_of(state) and "To do" not in text_of(state)


def test_words_of_the_project_file_are_escaped():
    bad = "<script>alert(1)</script>"
    page = page_of(ArtifactState(f"a/{bad}", bad, "failed", (bad,), f"x/{bad}"), faults=(bad,))
    assert "<script" not in page


def test_of_many_data_sets_those_with_something_to_do_come_first():
    states = ["done"] * 3000 + ["failed"]
    page = page_of(*(ArtifactState("a/b", f"d{number}", state) for number, state in enumerate(states)))
    assert len(page) < 200_000 and ">d3000<" in page and "and 2,801 more" in page


def test_addresses_name_the_code_location_as_it_is_called():
    assert LOCATION == CODE_LOCATION


@pytest.fixture
def project(tmp_path):
    project = make_project(tmp_path / "lab", "meadow")
    with open_instance(project) as instance:
        yield project, instance


def test_the_state_is_that_of_the_ledger(project):
    state = state_reader(*project)()
    assert state.name == "lab" and state.faults == ()
    states = {(one.asset, one.partition): one.state for one in state.artifacts}
    assert states[("decompose/initial", "meadow")] == "missing"


def test_an_asset_with_many_partitions_is_told_in_numbers_and_nothing_is_lost(project, monkeypatch):
    listed = text_of(state_reader(*project)())
    monkeypatch.setattr(project_state, "_MOST_LISTED", 0)
    monkeypatch.setattr(project_state, "_MOST_OPEN", 1)
    state = state_reader(*project)()
    assert len(state.large) > 3 and len(state.artifacts) <= len(state.large)
    told = text_of(state)
    summary = re.search(r"[\d,]+ results? of .*?\.", listed)[0]
    assert summary in told
    for one in state.large:
        assert f"{one.asset.partition('/')[2]} {sum(one.counts.values())} missing" in " ".join(told.split())


def test_a_project_file_that_is_being_edited_is_told_and_breaks_no_page(project):
    project[0].file.write_text("decompose: [")
    state = state_reader(*project)()
    assert state.faults and "needs a correction" in text_of(state)


def test_the_state_is_worked_out_once_for_many_visitors(project, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    asked = []
    refresh = Ledger.refresh
    monkeypatch.setattr(Ledger, "refresh", lambda *given: asked.append(1) or refresh(*given))
    read = state_reader(*project)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(state) for state in pool.map(lambda _: read(), range(20))}) == 1
    assert len(asked) == 1


def test_data_sets_with_many_steps_are_told_by_step_with_counts():
    artifacts = [
        ArtifactState(
            f"screen/sbs/step_{step}", f"s.1-A1|{tile}", "failed" if step == tile == 0 else "done", ()
        )
        for step in range(12)
        for tile in range(3)
    ]
    page = page_of(*artifacts)
    assert page.count("<b>sbs/step_") == 12
    assert "1 failed" in page and "2 done" in page and "3 done" in page
    assert "s.1-A1|2" not in page.partition("<h2>To do")[0]
