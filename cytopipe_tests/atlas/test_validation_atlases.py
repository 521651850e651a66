"""Cell types in one vocabulary, and what atlases agree on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cytopipe.atlas.agreement import classify, compare_atlases, consistency_score, type_activity
from cytopipe.atlas.expression import Resamples, compare_expression, expression_of_targets
from cytopipe.atlas.harmonise import default_harmonisation, joined_harmonisation, read_harmonisation
from cytopipe.atlas.quality import (
    biological_concordance,
    gene_fold_stability,
    known_biology,
    quality_score,
    sample_r_squared,
)
from cytopipe.atlas.signatures import Signature
from cytopipe.errors import InputError

# --------------------------------------------------------------------------- one vocabulary


def test_the_vocabulary_has_8_lineages_and_32_fine_types():
    table = default_harmonisation()
    assert len(table.types("coarse")) == 8
    assert len(table.types("fine")) == 32


@pytest.mark.parametrize(
    ("label", "coarse", "fine"),
    [
        ("CD14+ Monocyte", "Myeloid", "Monocyte_classical"),
        ("CD19+ B", "B_cell", None),
        ("CD34+", "Progenitor", "HSPC"),
        ("CD4+/CD25 T Reg", "T_cell", "Treg"),
        ("CD4+/CD45RA+/CD25- Naive T", "T_cell", "CD4_naive"),
        ("CD4+/CD45RO+ Memory", "T_cell", "CD4_memory"),
        ("CD56+ NK", "NK_ILC", None),
        ("CD8+ Cytotoxic T", "T_cell", "CD8_effector"),
        ("CD8+/CD45RA+ Naive Cytotoxic", "T_cell", "CD8_naive"),
        ("Dendritic", "Myeloid", None),
        ("Non-classical monocytes", "Myeloid", "Monocyte_nonclassical"),
        ("plasmacytoid dendritic cell", "Myeloid", "pDC"),
        ("Plasma cell", "B_cell", "Plasma"),
        ("CD56_bright_NK", "NK_ILC", "NK_CD56_bright"),
        ("γδ T", "T_cell", "Gamma_delta_T"),
        ("Regulatory T cells", "T_cell", "Treg"),
        ("Smooth muscle", "Stromal", "Pericyte_smooth_muscle"),
        ("Blood_CD8_naive", "T_cell", "CD8_naive"),
        ("cluster 17", None, None),
    ],
)
def test_labels_of_real_atlases_find_their_place(label, coarse, fine):
    table = default_harmonisation()
    assert (table.of("any", label, "coarse"), table.of("any", label, "fine")) == (coarse, fine)


def test_an_atlas_may_have_rows_of_its_own(tmp_path):
    path = tmp_path / "types.tsv"
    path.write_text("atlas\tpattern\tcoarse\tfine\nmine\tc17\tB_cell\tB_memory\n*\tc17\tMyeloid\t\n")
    table = read_harmonisation(path)
    assert table.of("mine", "C17", "fine") == "B_memory"
    assert table.of("other", "C17", "coarse") == "Myeloid" and table.of("other", "C17", "fine") is None


def test_joined_tables_speak_each_for_its_own_atlas(tmp_path):
    tables = {}
    for atlas, lineage in (("aa", "B_cell"), ("bb", "Myeloid")):
        (tmp_path / atlas).write_text(
            f"atlas\tpattern\tcoarse\tfine\n*\tc17\t{lineage}\t\nother\tc18\tT_cell\t\n"
        )
        tables[atlas] = read_harmonisation(tmp_path / atlas)
    joined = joined_harmonisation(tables)
    assert [joined.of(atlas, "c17") for atlas in ("aa", "bb", "cc")] == ["B_cell", "Myeloid", None]
    assert joined.of("aa", "c18") is None
    assert tables["aa"].sha256 != tables["bb"].sha256 == read_harmonisation(tmp_path / "bb").sha256


def test_all_faults_of_a_users_table_come_with_their_lines(tmp_path):
    path = tmp_path / "types.tsv"
    path.write_text(
        "# comment\natlas\tpattern\tcoarse\tfine\n*\tb\tB_cell\tB_naive\n*\tb\tB_cell\t\n"
        "*\tx\tMyeloid\tB_naive\n*\t*\tMyeloid\t\n*\n"
    )
    with pytest.raises(InputError) as caught:
        read_harmonisation(path)
    assert [finding.where.rpartition(":")[2] for finding in caught.value.findings] == ["4", "5", "6", "7"]


@pytest.mark.parametrize("content", [b"", b"pattern\tcoarse\n", b"\xff\xfe\x00", b"# only a comment\n"])
def test_what_is_no_table_of_cell_types_is_refused(tmp_path, content):
    path = tmp_path / "types.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"types\.tsv"):
        read_harmonisation(path)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_label_gets_an_answer_from_the_vocabulary(label):
    table = default_harmonisation()
    assert table.of("any", label, "fine") in {None, *table.types("fine")}


# --------------------------------------------------------------------------- across atlases

LABELS = ["B cells", "CD4 T", "NK cells", "Monocytes", "HSPC"]


def atlas(name: str, columns: dict[str, list[float]], labels=LABELS):
    return type_activity(name, pd.DataFrame(columns, index=labels))


def test_groups_of_one_type_are_averaged_and_strangers_reported():
    frame = pd.DataFrame({"IFNG": [1.0, 3.0, 10.0, 7.0]}, index=["CD4 T", "CD8 T", "NK", "cluster 9"])
    found = type_activity("a", frame)
    assert found.values["IFNG"].to_dict() == {"NK_ILC": 10.0, "T_cell": 2.0}
    assert found.members["T_cell"] == ("CD4 T", "CD8 T")
    assert found.unmapped == ("cluster 9",)


def test_three_atlases_agree_on_one_target_and_not_on_another():
    up = [1.0, 2, 3, 4, 5]
    found = compare_atlases(
        [
            atlas("c", {"IFNG": up, "IL4": [5.0, 1, 4, 2, 3]}),
            atlas("a", {"IFNG": up, "IL4": [1.0, 2, 3, 4, 5]}),
            atlas("b", {"IFNG": [1.1, 2.2, 2.9, 4.5, 5.2], "IL4": [5.0, 4, 3, 2, 1]}),
        ]
    )
    assert found.pairs[["atlas_a", "atlas_b"]].values.tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    conserved = found.conserved.set_index("target")
    assert conserved.loc["IFNG", "conservation"] == "highly_conserved"
    assert conserved.loc["IL4", "conservation"] == "atlas_specific"
    consistency = found.consistency.set_index("target")
    assert consistency.loc["IFNG", "kendall_w"] == 1.0
    assert consistency.loc["IFNG", "mean_r"] == pytest.approx(1.0)
    means = np.array([3.0, 3.18, 3.0])
    cv = means.std() / means.mean()
    assert consistency.loc["IFNG", "consistency"] == pytest.approx(0.4 + 0.3 * (1 - cv) + 0.3)


def test_overall_and_per_target_correlations_equal_scipys():
    rng = np.random.default_rng(0)
    first = {name: rng.normal(size=5).tolist() for name in ("IFNG", "IL4", "TNFA")}
    second = {name: rng.normal(size=5).tolist() for name in ("IFNG", "IL4", "IL6")}
    found = compare_atlases([atlas("a", first), atlas("b", second)])
    x = np.array([first["IFNG"], first["IL4"]]).T.ravel()
    y = np.array([second["IFNG"], second["IL4"]]).T.ravel()
    pair = found.pairs.iloc[0]
    assert (pair["n_types"], pair["n_targets"]) == (5, 2)
    assert pair["pearson_r"] == pytest.approx(stats.pearsonr(x, y)[0])
    assert pair["spearman_rho"] == pytest.approx(stats.spearmanr(x, y)[0])
    row = found.targets.set_index("target").loc["IL4"]
    assert row["rho"] == pytest.approx(stats.spearmanr(first["IL4"], second["IL4"])[0])
    assert found.conserved["conservation"].tolist() == ["insufficient_data"] * 2


def test_two_shared_types_determine_no_correlation():
    found = compare_atlases(
        [
            atlas("a", {"IFNG": [1.0, 2, 3]}, ["B", "T", "NK"]),
            atlas("b", {"IFNG": [1.0, 2, 3]}, ["B", "T", "Monocyte"]),
        ]
    )
    assert found.targets["n_types"].tolist() == [2] and found.targets["rho"].isna().all()
    assert found.consistency["consistency"].isna().all()


@pytest.mark.parametrize(
    ("correlations", "expected"),
    [
        ([], "insufficient_data"),
        ([0.99], "insufficient_data"),
        ([0.99, np.nan], "insufficient_data"),
        ([0.71, 0.71], "highly_conserved"),
        ([0.7, 0.71], "moderately_conserved"),
        ([0.71, 0.51, -0.9], "moderately_conserved"),
        ([0.5, 0.9], "atlas_specific"),
        ([0.9, 0.9, -1.0], "highly_conserved"),
    ],
)
def test_conservation_follows_its_thresholds(correlations, expected):
    assert classify(correlations) == expected


@given(st.floats(-1, 1), st.floats(0, 100), st.floats(0, 1))
def test_consistency_lies_between_0_and_1_and_grows_with_agreement(r, cv, w):
    found = consistency_score(r, cv, w)
    assert 0 <= found <= 1
    assert consistency_score(1.0, cv, w) >= found and consistency_score(r, 0.0, 1.0) >= found


@settings(max_examples=30, deadline=None)
@given(st.permutations(["a", "b", "c"]), st.integers(0, 99))
def test_order_of_atlases_does_not_reach_the_tables(names, seed):
    rng = np.random.default_rng(seed)
    made = {name: atlas(name, {"IFNG": rng.normal(size=5).tolist()}) for name in "abc"}
    first = compare_atlases(list(made.values()))
    second = compare_atlases([made[name] for name in names])
    for table in ("pairs", "targets", "conserved", "consistency"):
        pd.testing.assert_frame_equal(getattr(first, table), getattr(second, table))


def test_what_cannot_be_compared_is_refused_with_all_reasons():
    with pytest.raises(InputError, match="two atlases"):
        compare_atlases([atlas("a", {"IFNG": [1.0] * 5})])
    with pytest.raises(InputError, match="named twice"):
        compare_atlases([atlas(name, {"IFNG": [1.0] * 5}) for name in "aab"])
    strangers = atlas("b", {"IFNG": [1.0, 2.0]}, ["c1", "c2"])
    with pytest.raises(InputError, match="no cell type of this atlas"):
        compare_atlases([atlas("a", {"IFNG": [1.0] * 5}), strangers])


# --------------------------------------------------------------------------- expression


def test_a_target_is_compared_with_its_own_gene():
    values = np.array([[1.0, 5.0, 2.0], [3.0, 6.0, 4.0]])
    found = expression_of_targets(values, ["TNF", "IL12A", "IL12B"], ["TNFA", "IL12", "IL6"])
    np.testing.assert_allclose(found, [[1.0, 3.5, np.nan], [3.0, 5.0, np.nan]])


def test_rho_and_its_interval_equal_a_plain_loop():
    rng = np.random.default_rng(2)
    groups, targets = [f"g{i}" for i in range(7)], ["TNFA", "IL6", "IL99"]
    expression, z = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    expression[:, 2] = np.nan
    resamples = Resamples(
        groups=tuple(groups[1:]),
        expression=expression[1:] + rng.normal(0, 0.3, size=(40, 6, 3)),
        z=z[1:] + rng.normal(0, 0.3, size=(40, 6, 3)),
    )
    found = compare_expression(groups, targets, expression, z, resamples)
    for i, target in enumerate(targets[:2]):
        row = found.targets.set_index("target").loc[target]
        plain = [stats.spearmanr(resamples.expression[b, :, i], resamples.z[b, :, i])[0] for b in range(40)]
        assert (row["rho"], row["pvalue"]) == pytest.approx(tuple(stats.spearmanr(expression[:, i], z[:, i])))
        assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])))
        assert row["n_resamples"] == 40 and row["n_groups"] == 7
    missing = found.targets.set_index("target").loc["IL99"]
    assert np.isnan(missing["rho"]) and np.isnan(missing["fdr"]) and missing["n_resamples"] == 0
    points = found.points.set_index(["target", "group"])
    assert np.isnan(points.loc[("TNFA", "g0"), "activity_low"])
    assert points.loc[("TNFA", "g3"), "activity_low"] == pytest.approx(
        np.percentile(resamples.z[:, 2, 0], 2.5)
    )


def test_resamples_of_another_level_are_refused():
    resamples = Resamples(groups=("x",), expression=np.zeros((2, 1, 1)), z=np.zeros((2, 1, 1)))
    with pytest.raises(InputError, match="groups that the profiles have not"):
        compare_expression(["g"], ["IL6"], np.zeros((1, 1)), np.zeros((1, 1)), resamples)


# --------------------------------------------------------------------------- quality


def test_quality_is_the_mean_of_five_equal_parts():
    whole = quality_score(
        sample_r2=0.1, cell_type_r=0.2, gene_coverage=0.3, cv_stability=0.4, biological_concordance=1.0
    )
    assert whole.score == pytest.approx(0.4) and whole.missing == ()
    part = quality_score(gene_coverage=2.0, cell_type_r=-0.5, cv_stability=float("nan"))
    assert part.score == pytest.approx(0.2)
    assert part.missing == ("sample_r2", "cv_stability", "biological_concordance")


def test_stability_is_high_for_a_planted_signal_and_low_for_noise():
    rng = np.random.default_rng(1)
    genes = tuple(sorted(f"G{i:04d}" for i in range(400)))
    signature = Signature("mine", genes, ("A", "B"), rng.normal(size=(400, 2)))
    planted = rng.normal(size=(8, 2)) @ signature.weights.T
    noise = rng.normal(size=(8, 400))
    assert gene_fold_stability(planted + 0.1 * noise, genes, signature) > 0.99
    assert gene_fold_stability(noise, genes, signature) < 0.95
    assert np.isnan(gene_fold_stability(noise[:, :110], genes[:110], signature))


def test_sample_r_squared_is_the_mean_squared_correlation():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    x[:, 2] = np.nan
    expected = np.mean([stats.pearsonr(x[:, i], y[:, i])[0] ** 2 for i in range(2)])
    assert sample_r_squared(x, y) == pytest.approx(expected)


def test_concordance_asks_whether_the_most_active_type_is_expected():
    coarse = pd.DataFrame(
        {
            "IFNG": [0.0, 9.0, 1.0],
            "IL22": [5.0, 1.0, 0.0],
            "XYZ": [1.0, 2.0, 3.0],
            "B__CD40L": [7.0, 1.0, 1.0],
        },
        index=["B_cell", "Myeloid", "T_cell"],
    )
    share, table = biological_concordance({"coarse": coarse}, known_biology())
    assert table["target"].tolist() == ["B__CD40L", "IFNG"]  # IL22's epithelium is not here: not judged
    assert share == 1.0
    coarse.loc["T_cell", "IFNG"] = 99.0
    assert biological_concordance({"coarse": coarse}, known_biology())[0] == 0.5


def test_known_biology_speaks_the_vocabulary():
    table = default_harmonisation()
    spoken = {*table.types("coarse"), *table.types("fine")}
    assert {name for types in known_biology().values() for name in types} <= spoken


def test_a_users_known_biology_is_checked(tmp_path):
    path = tmp_path / "known.tsv"
    path.write_text("target\ttypes\tbasis\nIFNG\tNK_ILC\tx\nIFNG\tT_cell\tx\nIL2\t;\tx\n")
    with pytest.raises(InputError) as caught:
        known_biology(path)
    assert [finding.where.rpartition(":")[2] for finding in caught.value.findings] == ["3", "4"]
