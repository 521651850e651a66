"""Profiles of perturbations tell what was put into them, and no more."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.aggregate import (
    aggregate_screen,
    combine_profiles,
    feature_columns,
    mean_average_precision,
    normalise_to_controls,
    principal_components,
    well_profiles,
)
from cytopipe.screen.parameters import AggregateSettings

FEATURES = [f"cell_DAPI_f{k}" for k in range(12)]
QUICK = AggregateSettings(bootstraps=200)


def well(name, seed, effect=2.0):
    """600 cells of 10 genes with 2 guides each; GENE0 shifts three features; wells differ in level."""
    rng = np.random.default_rng(seed)
    genes = np.array(["nontargeting"] * 4 + [f"GENE{k}" for k in range(10)])[rng.integers(0, 14, 600)]
    values = rng.normal(0, 1, (600, 12)) @ np.diag(rng.uniform(0.5, 3, 12))
    values[genes == "GENE0", :3] += effect * values.std(axis=0)[:3]
    values += rng.uniform(-50, 50, 12)
    table = pd.DataFrame(values, columns=FEATURES)
    return table.assign(
        plate=1, well=name, cell=range(600), cell_0=1, cell_i=3.0, gene_symbol_0=genes, gene_symbol_1=None,
        cell_barcode_0=[f"{gene}_{k}" for gene, k in zip(genes, rng.integers(0, 2, 600), strict=True)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def screen():
    return aggregate_screen((well(name, k) for k, name in enumerate(["A1", "A2", "A3"])), QUICK)


def test_only_measurements_are_features():
    assert feature_columns(well("A1", 0)) == FEATURES


def test_a_perturbation_that_acts_is_found_and_no_other(screen):
    table = screen.perturbations.set_index("perturbation")
    assert table.loc["GENE0", "q_value"] < 0.01
    assert table.loc["GENE0", "mean_average_precision"] > 0.9
    assert table.loc["GENE0", "map_q_value"] < 0.05
    rest = table.drop(["GENE0", "nontargeting"])
    assert (rest["q_value"] > 0.05).all()
    assert (rest["map_q_value"] > 0.05).all()
    np.testing.assert_allclose(table.loc["GENE0", FEATURES[:3]].to_numpy(float), 2, atol=0.7)
    assert np.abs(table.loc["nontargeting", FEATURES].to_numpy(float)).max() < 0.3


def test_cells_are_counted(screen):
    cells = pd.concat([well(name, k) for k, name in enumerate(["A1", "A2", "A3"])])
    table = screen.perturbations.set_index("perturbation")
    assert table["n_cells"].to_dict() == cells["gene_symbol_0"].value_counts().to_dict()
    assert table.loc["GENE3", "n_wells"] == 3
    assert table.loc["GENE3", "n_profiles"] == 6


def test_p_values_are_uniform_where_nothing_acts():
    p = [well_profiles(well("A1", seed, effect=0), QUICK)["p_value"] for seed in range(20, 24)]
    p = np.concatenate(p)
    assert 0.3 < np.median(p) < 0.7
    assert (p < 0.05).mean() < 0.12


def test_robust_z_equals_that_of_pycytominer():
    pycytominer = pytest.importorskip("pycytominer")
    cells = well("A1", 3)
    peer = pycytominer.normalize(
        cells, features=FEATURES, meta_features=["gene_symbol_0"],
        samples="gene_symbol_0 == 'nontargeting'", method="mad_robustize",
    )  # fmt: skip
    ours = normalise_to_controls(
        cells[FEATURES].to_numpy(), (cells["gene_symbol_0"] == "nontargeting").to_numpy()
    )
    np.testing.assert_allclose(ours, peer[FEATURES], rtol=1e-9)


def test_sphering_leaves_controls_uncorrelated():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 5)) @ rng.normal(size=(5, 5))
    control = np.arange(4000) < 2000
    plain, sphered = (
        normalise_to_controls(values, control, AggregateSettings(sphering=one)) for one in (False, True)
    )
    off = [np.abs(np.corrcoef(one[control].T) - np.eye(5)).max() for one in (plain, sphered)]
    assert off[1] < 0.75 * off[0]


def test_the_same_seed_gives_the_same_tables(screen):
    again = aggregate_screen((well(name, k) for k, name in enumerate(["A1", "A2", "A3"])), QUICK)
    pd.testing.assert_frame_equal(screen.perturbations, again.perturbations)
    shuffled = well_profiles(well("A1", 0).sample(frac=1, random_state=0), QUICK)
    pd.testing.assert_frame_equal(
        shuffled[["perturbation", "replicate", *FEATURES]],
        screen.profiles.query("well == 'A1'")[["perturbation", "replicate", *FEATURES]],
    )


def test_cells_with_two_perturbations_and_unknown_ones_are_left_out():
    cells = well("A1", 0)
    cells.loc[:99, "gene_symbol_1"] = "GENE5"
    cells.loc[100:149, "gene_symbol_0"] = None
    used = well_profiles(cells, QUICK)["n_cells"].sum()
    doubles = (cells["gene_symbol_1"].notna() & (cells["gene_symbol_0"] != "GENE5")).sum()
    assert used == 600 - 50 - doubles
    assert well_profiles(cells, QUICK.model_copy(update={"second_column": None}))["n_cells"].sum() == 550


def test_missing_and_constant_features_do_no_harm():
    cells = well("A1", 0)
    cells[FEATURES[0]] = np.nan
    cells[FEATURES[1]] = 7.0
    cells.loc[:19, FEATURES[2]] = np.inf
    profiles = well_profiles(cells, QUICK)
    assert profiles[FEATURES[:2]].isna().all().all()
    assert profiles[FEATURES[2:]].notna().all().all()
    assert profiles["n_cells"].sum() == 580
    assert mean_average_precision(profiles, QUICK)["mean_average_precision"].notna().all()


def test_a_well_without_controls_is_skipped_with_its_reason():
    lonely = well("A2", 1).query("gene_symbol_0 != 'nontargeting'")
    found = aggregate_screen([well("A1", 0), lonely, well("A3", 2).iloc[:0]], QUICK)
    assert found.skipped["well"].tolist() == ["A2", None]
    assert found.skipped["reason"].str.contains("control cells").all()
    with pytest.raises(InputError, match="no well can be aggregated"):
        aggregate_screen([lonely], QUICK)


def test_all_faults_of_a_table_are_told_at_once():
    cells = pd.DataFrame({"plate": [1, 1], "well": ["A1", "A2"], "cell": [1, 2]})
    with pytest.raises(InputError) as caught:
        well_profiles(cells)
    assert len(caught.value.findings) == 3


def test_a_weighted_median_counts_cells():
    profiles = pd.DataFrame(
        {"plate": 1, "well": ["A1", "A2", "A3"], "perturbation": "G", "replicate": "", "is_control": False,
         "n_cells": [10, 1, 1], "strength": 1.0, "p_value": np.nan, "cell_f": [1.0, 5.0, np.nan]}
    )  # fmt: skip
    assert combine_profiles(profiles)["cell_f"].tolist() == [1.0]
    mean = combine_profiles(profiles, AggregateSettings(statistic="mean"))
    np.testing.assert_allclose(mean["cell_f"], (10 + 5) / 11)


def test_components_hold_the_share_of_variance_asked_for(screen):
    table = principal_components(screen.perturbations, 0.8)
    parts = table.filter(like="pc_").to_numpy()
    values = screen.perturbations[FEATURES].to_numpy()
    total = ((values - values.mean(axis=0)) ** 2).sum()
    assert 0.8 <= (parts**2).sum() / total < 1
    assert "perturbation" in table
