"""The decompose domain through the graph: made, edited by hand, stopped, equal to the plain command."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance

from cytopipe.defs.decompose import DECOMPOSE
from cytopipe_tests.graph.barcode_lab import BarcodeProject
from cytopipe_tests.graph.examples.lab import Lab

STAGES = [f"decompose/{one}" for one in ("initial", "deconflicted", "refined", "final", "report")]


@pytest.fixture
def lab(tmp_path) -> Lab:
    (tmp_path / "history").mkdir()
    with DagsterInstance.local_temp(str(tmp_path / "history")) as instance:
        yield Lab(tmp_path / "barcodes", DECOMPOSE, BarcodeProject(), instance)


def test_a_data_set_is_made_through_all_its_stages(lab):
    lab.make_all()
    ledger = lab.ledger()
    print([(s.asset, s.state, s.reasons) for s in ledger.statuses(STAGES)])
    assert {one.state for one in ledger.statuses(STAGES)} == {"done"}
    folder = ledger.project.output / "decompose" / "meadow"
    print(sorted(p.name for p in folder.rglob("*")))
    assert len(list(folder.glob("cluster_*.fasta"))) == 6
