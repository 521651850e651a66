"""Synthetic cytometry: a function of its seed, with the truth, and readable as a cytometer's files are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from cytopipe.errors import InputError
from cytopipe.heatmap import CellTable, FlowSOMSettings, TransformSettings, cluster_cells, read_cells
from cytopipe.testing.cytometry import POPULATIONS, make_cytometry, write_cytometry


def test_a_sample_depends_on_the_seed_and_not_on_the_number_of_samples():
    one, two = make_cytometry(5, n_samples=1), make_cytometry(5, n_samples=2)
    assert np.array_equal(one.table.values, two.table.values[: len(one.table)])
    assert not np.array_equal(one.table.values, make_cytometry(6, n_samples=1).table.values)


@pytest.mark.parametrize("technology", ["mass", "flow"])
@pytest.mark.parametrize("kind", ["fcs", "csv", "parquet"])
def test_written_files_give_the_cells_back(tmp_path, technology, kind):
    data = make_cytometry(1, n_samples=2, cells_per_sample=400, technology=technology)
    cells = read_cells(write_cytometry(data, tmp_path, kind), compensate=False)
    assert cells.markers == data.table.markers
    assert np.allclose(cells.values, data.table.values, rtol=1e-5, atol=1e-4)
    assert list(cells.cells["sample"]) == list(data.truth["sample"])
    assert {"Time", "Event_length", "DNA1"} <= {*cells.cells}
    assert len(pd.read_csv(tmp_path / "truth.csv")) == 800


def test_files_are_the_same_bytes_twice(tmp_path):
    data = make_cytometry(1, n_samples=1, cells_per_sample=100)
    first = write_cytometry(data, tmp_path / "a")[0].read_bytes()
    assert write_cytometry(data, tmp_path / "b")[0].read_bytes() == first


def test_compensation_separates_what_dyes_mix(tmp_path):
    """CD4 spills into CD8 beside it: without compensation, CD4 cells look a little like CD8 cells."""
    data = make_cytometry(2, n_samples=1, cells_per_sample=3_000, technology="flow", doublets=0)
    files = write_cytometry(data, tmp_path)
    cd4 = (data.truth["population"] == "CD4 naive").to_numpy()
    place = data.table.markers.index("CD8")
    mixed, apart = (read_cells(files, compensate=one).values[cd4, place] for one in (False, True))
    assert np.median(mixed) > 300
    assert abs(np.median(apart)) < 60


def test_doublets_carry_the_markers_of_both_cells():
    data = make_cytometry(3, n_samples=2, cells_per_sample=4_000, doublets=0.2)
    doublet = data.truth["doublet"].to_numpy()
    assert (data.truth["lineage"][doublet] == "mixed").all()
    assert data.truth["population"][doublet].str.contains(r" \+ ").all()
    assert data.table.cells["DNA1"][doublet].median() > 1.7 * data.table.cells["DNA1"][~doublet].median()


def test_clusters_of_the_cells_are_their_lineages():
    data = make_cytometry(4, n_samples=2, cells_per_sample=4_000, doublets=0)
    values = data.table.transformed(TransformSettings()).values
    found = cluster_cells(values, FlowSOMSettings(n_metaclusters=len(POPULATIONS)))
    lineage = pd.Series(found.cell_metacluster).map(
        pd.crosstab(found.cell_metacluster, data.truth["lineage"]).idxmax(axis=1)
    )
    assert adjusted_rand_score(data.truth["lineage"], lineage) > 0.95


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(InputError, match="there is no marker CD999"):
        make_cytometry(markers=["CD3", "CD999"])
    with pytest.raises(InputError, match="technology mass or flow"):
        make_cytometry(technology="imaging")


def test_a_table_takes_cells_and_markers_by_position_and_name():
    data = make_cytometry(1, n_samples=1, cells_per_sample=50).table
    rows = np.arange(49, 0, -7)
    part = data.subset(rows).select(["CD8", "Er170Di"])
    assert part.markers == ("CD8", "CD3")
    expected = data.values[rows][:, [data.markers.index("CD8"), data.markers.index("CD3")]]
    assert np.array_equal(part.values, expected)
    assert list(part.cells["Time"]) == list(data.cells["Time"].iloc[rows])
    assert len(data.subset(data.values[:, 0] > 20)) == (data.values[:, 0] > 20).sum()
    with pytest.raises(InputError, match=r"(?s)no marker 'X'.*named 2 times"):
        data.select(["CD3", "X", "Er170Di"])


def test_a_table_whose_parts_do_not_fit_tells_everything_at_once():
    with pytest.raises(InputError) as told:
        CellTable(np.zeros((3, 2)), ("CD3", "CD3"), ("a",), pd.DataFrame(index=[5, 6]))
    assert len(told.value.findings) == 4
