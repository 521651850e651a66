"""FlowSOM: the reference's codes and labels, and what holds for any cells."""

from __future__ import annotations

import numpy as np
import pytest

from cytopipe.errors import InputError, ParameterError
from cytopipe.heatmap import FlowSOMSettings, cluster_cells


@pytest.fixture(scope="module")
def reference(golden):
    with (
        np.load(golden / "heatmap/flowsom_input.npz") as inputs,
        np.load(golden / "heatmap/flowsom_expected.npz") as expected,
    ):
        return inputs["X"], dict(expected)


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("s0_10x10_k20", {"seed": 0}),
        ("s42_7x5_k12", {"seed": 42, "x_dim": 7, "y_dim": 5, "n_metaclusters": 12}),
    ],
)
def test_codes_and_labels_are_those_of_the_reference(reference, case, settings):
    cells, expected = reference
    found = cluster_cells(cells, FlowSOMSettings(metaclustering="average", **settings))
    assert np.array_equal(found.codes, expected[f"{case}_codes"])
    assert np.array_equal(found.node, expected[f"{case}_cl"])
    assert np.array_equal(found.cell_metacluster, expected[f"{case}_meta"])


def test_all_that_makes_cells_unusable_is_told_at_once():
    cells = np.zeros((40, 3))
    cells[7, 2] = np.nan
    with pytest.raises(InputError) as told:
        cluster_cells(cells)
    assert len(told.value.findings) == 2
    assert "at least 10 x 10 = 100 cells; found 40" in str(told.value)
    assert "cell 7, marker 2" in str(told.value)


def test_more_metaclusters_than_nodes_are_refused():
    with pytest.raises(ParameterError, match="at most 4 x 4 = 16"):
        FlowSOMSettings(x_dim=4, y_dim=4)
