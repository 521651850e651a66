"""Every kind of edge between sets of partitions, asked of the ledger and of Dagster itself."""

import pytest
from dagster import DagsterInstance

from cytopipe_tests.graph.examples.lab import Lab
from cytopipe_tests.graph.examples.screen import GRAPH, screen_project


@pytest.fixture
def lab(tmp_path) -> Lab:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield Lab(tmp_path / "screen", GRAPH, screen_project, instance)


def test_a_screen_is_made_through_all_its_sets(lab):
    lab.make_all()
    counts = lab.ledger().counts()
    print(counts)
    assert counts["example/aligned"] == {"done": 9}
    assert counts["example/cells"] == {"done": 3}
    assert counts["example/summary"] == {"done": 2}
    assert counts["example/overview"] == {"done": 1}
