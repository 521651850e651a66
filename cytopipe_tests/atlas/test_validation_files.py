"""Validation from files to tables and figures, over three small atlases with a planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cytopipe.atlas import figures
from cytopipe.atlas.activity import ActivitySettings
from cytopipe.atlas.catalogue import Catalogue, NotFoundError
from cytopipe.atlas.harmonise import read_harmonisation
from cytopipe.atlas.inference import read_activity
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.atlas.meta import meta_analyse_correlations
from cytopipe.atlas.signatures import load_signature
from cytopipe.commands.atlas_files import compare_atlases, infer_activities, validate_atlas
from cytopipe.errors import InputError
from cytopipe.storage import Store, Sync
from cytopipe.storage.formats.figure import figure_bytes
from cytopipe.storage.formats.table import read_parquet, read_tsv
from cytopipe.storage.state import read_json
from cytopipe_tests.atlas.made_results import ATLASES, LABELS, TARGETS, write_pseudobulk, write_signature


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Activities and validations of three atlases: (store, signature, per atlas, across)."""
    folder = tmp_path_factory.mktemp("validated")
    table = write_signature(folder / "mine.tsv")
    store = Store(folder / "results", sync=Sync.NONE)
    signature = load_signature("mine", table)
    single = {}
    for atlas in ATLASES:
        write_pseudobulk(store.root, atlas)
        infer_activities(
            store.root, atlas, None, ("mine",), ActivitySettings(n_permutations=50), source=table
        )
        single[atlas] = validate_atlas(store.root, atlas, "L1", signature)
    across = compare_atlases(store.root, dict.fromkeys(ATLASES, "L1"), "mine")
    return store, signature, single, across


def test_rho_equals_scipys_on_the_files_themselves(done):
    store, _, single, _ = done
    catalogue = Catalogue(store.root)
    z = read_activity(catalogue.activity("aa", "l1", "mine"))
    with open_matrix(catalogue.pseudobulk("aa", "l1")) as file:
        tnf = file.read("X", np.array([file.columns.index("TNF")]))[:, 0]
    table = single["aa"].expression.targets.set_index("target")
    assert table.loc["TNFA", "rho"] == pytest.approx(stats.spearmanr(tnf, z["TNFA"])[0])
    assert table.loc["TNFA", "genes"] == "TNF"
    assert table.loc["TNFA", "rho"] > 0.7  # the planted truth
    assert 0.5 < table.loc["TNFA", "ci_low"] <= table.loc["TNFA", "ci_high"] <= 1
    assert np.isnan(table.loc["GDF99", "rho"]) and table.loc["GDF99", "genes"] == ""


def test_tables_on_disk_are_the_tables_returned(done):
    store, _, single, across = done
    at = Catalogue(store.root)
    table = read_tsv(at.validation("bb", "l1", "mine", "expression.tsv"), text=["target", "genes"])
    pd.testing.assert_frame_equal(
        table.fillna({"genes": ""}), single["bb"].expression.targets, check_dtype=False
    )
    points = read_parquet(at.validation("bb", "l1", "mine", "points.parquet"))
    assert len(points) == len(LABELS) * len(TARGETS)
    assert read_json(at.validation("bb", "l1", "mine", "quality.json"))["score"] == single["bb"].quality.score
    for name in ("pairs", "targets", "conserved", "consistency"):
        found = read_tsv(at.comparison("mine", "coarse", f"{name}.tsv"))
        pd.testing.assert_frame_equal(found, getattr(across.comparison, name), check_dtype=False)
    assert store.verify() == []


def test_quality_has_all_its_parts(done):
    _, signature, single, _ = done
    found = single["aa"].quality
    assert found.missing == ()
    assert found.gene_coverage == 1.0 and len(signature.genes) == 240
    assert found.cv_stability > 0.9
    parts = [found.sample_r2, found.cell_type_r, found.gene_coverage, found.cv_stability]
    assert found.score == pytest.approx((sum(parts) + found.biological_concordance) / 5)


def test_conserved_targets_are_those_planted(done):
    _, _, _, across = done
    classes = across.comparison.conserved.set_index("target")["conservation"]
    assert classes[["IFNG", "TNFA", "IL6"]].tolist() == ["highly_conserved"] * 3
    assert classes["IL4"] == "atlas_specific"
    assert across.types[0].unmapped == ("cluster 9",)


def test_pooled_correlations_stand_on_the_atlases_own(done):
    _, _, single, across = done
    rows = [one.expression.targets.set_index("target").loc["IL6"] for one in single.values()]
    expected = meta_analyse_correlations([row["rho"] for row in rows], [8, 8, 8])
    found = across.meta.set_index("target").loc["IL6"]
    assert found["effect"] == pytest.approx(expected.effect)
    assert (found["n"], found["atlases"]) == (3, "aa;bb;cc")
    assert "GDF99" not in set(across.meta["target"])


def test_every_label_is_accounted_for(done):
    store = done[0]
    table = read_tsv(Catalogue(store.root).comparison("mine", "coarse", "labels.tsv"))
    assert len(table) == len(ATLASES) * len(LABELS)
    assert set(table[table["cell_type"].isna()]["label"]) == {"cluster 9"}


def test_a_second_validation_gives_the_same_bytes(done):
    store, signature, _, _ = done
    folder = store.root / "validation"
    files = [path for path in folder.rglob("*_*.*") if not path.name.startswith(".")]
    before = {path: path.read_bytes() for path in files}
    assert {path.suffix for path in files} == {".tsv", ".parquet", ".json", ".png"}
    assert len(files) == 3 * (4 + 4) + 7 + 2  # four targets have a measured gene
    validate_atlas(store.root, "aa", "l1", signature)
    compare_atlases(store.root, dict.fromkeys(reversed(ATLASES), "l1"), "mine")
    assert {path: path.read_bytes() for path in files} == before


def test_without_resamples_and_samples_less_is_said_and_nothing_invented(tmp_path):
    table = write_signature(tmp_path / "mine.tsv")
    store = Store(tmp_path / "results", sync=Sync.NONE)
    write_pseudobulk(store.root, "aa")
    at = Catalogue(store.root)
    for kind in ("resampled", "samples"):
        at.pseudobulk("aa", "l1", kind).unlink()
    infer_activities(store.root, "aa", None, ("mine",), ActivitySettings(n_permutations=0), source=table)
    found = validate_atlas(store.root, "aa", "l1", "mine", source=table, draw=False)
    assert found.expression.targets["ci_low"].isna().all()
    assert (found.expression.targets["n_resamples"] == 0).all()
    assert found.quality.missing == ("sample_r2",)
    assert not list(store.root.rglob("*.png"))


def test_activity_of_older_profiles_is_refused(tmp_path):
    table = write_signature(tmp_path / "mine.tsv")
    store = Store(tmp_path / "results", sync=Sync.NONE)
    write_pseudobulk(store.root, "aa")
    infer_activities(store.root, "aa", None, ("mine",), ActivitySettings(n_permutations=0), source=table)
    import anndata

    path = Catalogue(store.root).pseudobulk("aa", "l1")
    anndata.read_h5ad(path)[:5].copy().write_h5ad(path)
    with pytest.raises(InputError, match="Infer the activity again"):
        validate_atlas(store.root, "aa", "l1", "mine", source=table)


def test_what_was_not_inferred_is_asked_for_by_name(done):
    store = done[0]
    with pytest.raises(NotFoundError, match="found mine"):
        validate_atlas(
            store.root, "aa", "l1", load_signature("other", write_signature(store.root.parent / "other.tsv"))
        )
    with pytest.raises(NotFoundError, match="no results of atlas zz"):
        compare_atlases(store.root, {"aa": "l1", "zz": "l1"}, "mine")


def test_provenance_names_everything_that_was_read(done):
    store = done[0]
    manifest = store.manifest("validation/aa", "aa_mine_l1")
    assert {one["asset"] for one in manifest.provenance["inputs"]} == {
        f"atlas/{name}"
        for name in (
            *("pseudobulk", "resampled", "sample_profiles", "activity", "activity_resampled"),
            *("signatures", "inference", "cell_types"),
        )
    }


def test_another_table_of_cell_types_is_another_recipe(done, tmp_path):
    """What a user edits decides the result, so the manifest knows it."""
    store = done[0]
    table = tmp_path / "types.tsv"
    table.write_text(
        "atlas\tpattern\tcoarse\tfine\n" + "".join(f"*\t{word}\t{word}\t\n" for word in ("b", "nk", "t"))
    )

    def recipe() -> str:
        made = store.manifest("validation/cross_atlas", "cross_atlas").provenance
        return next(one["sha256"] for one in made["inputs"] if one["asset"] == "atlas/cell_types")

    before, path = recipe(), Catalogue(store.root).comparison("mine", "coarse", "pairs.tsv")
    levels = dict.fromkeys(ATLASES, "l1")
    compare_atlases(store.root, levels, "mine", harmonisation=read_harmonisation(table), draw=False)
    assert recipe() != before
    assert read_tsv(path)["n_types"].tolist() == [3, 3, 3]
    compare_atlases(store.root, levels, "mine")
    assert recipe() == before


def test_a_comparison_leaves_those_of_others_beside_it(done):
    store = done[0]
    levels, at = dict.fromkeys(ATLASES, "l1"), Catalogue(store.root)
    coarse = at.comparison("mine", "coarse", "pairs.tsv").read_bytes()
    compare_atlases(store.root, levels, "mine", granularity="fine", draw=False)
    assert at.comparisons() == [("mine", "coarse"), ("mine", "fine")]
    assert at.comparison("mine", "coarse", "pairs.tsv").read_bytes() == coarse
    assert store.verify() == []


# --------------------------------------------------------------------------- figures


def drawn(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def test_a_figure_is_the_same_bytes_each_time(done):
    meta = done[3].meta
    assert figure_bytes(figures.forest(meta, "x")) == figure_bytes(figures.forest(meta, "x"))


def test_the_forest_keeps_the_largest_and_counts_the_rest():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"target": [f"T{i:03d}" for i in range(200)], "effect": rng.uniform(-1, 1, 200)})
    table = table.assign(ci_low=table["effect"] - 0.1, ci_high=table["effect"] + 0.1, n=3, i_squared=0.5)
    figure = figures.forest(table, "many")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[-1] == table.loc[table["effect"].idxmax(), "target"] and len(labels) == figures.MAX_ROWS
    assert "140 weaker rows not shown" in figure.axes[0].get_title()


def test_a_missing_cell_of_a_heat_map_is_grey():
    matrix = pd.DataFrame([[1.0, np.nan], [-1.0, 0.0]], index=["a", "b"], columns=["x", "y"])
    image = figures.heat_map(matrix).axes[0].images[0].get_array()
    assert image.mask.tolist() == [[False, True], [False, False]]


def test_a_scatter_without_intervals_still_shows_its_points(done):
    points = done[2]["aa"].expression.points.query("target == 'IL6'")
    bare = points.assign(
        **{f"{side}_{end}": np.nan for side in ("expression", "activity") for end in ("low", "high")}
    )
    figure = figures.scatter(bare, "IL6", rho=0.5)
    assert len(figure.axes[0].collections[-1].get_offsets()) == len(LABELS)
    assert (drawn(figure) != drawn(figures.scatter(points, "IL6", rho=0.5, ci=(0.1, 0.9)))).any()


def test_a_table_that_cannot_be_drawn_says_what_is_missing():
    with pytest.raises(InputError, match="without effect"):
        figures.forest(pd.DataFrame({"target": []}))
    with pytest.raises(InputError, match="nothing to draw"):
        figures.heat_map(pd.DataFrame())


HOSTILE = [
    "$x_{$",
    "a$b$c",
    r"\frac{1}{0}$ $",
    r"a\$b$c$",
    "$",
    "{}%#&_^~",
    "<b>&</b>",
    "line\nbreak",
    "日本$語$",
]


def test_labels_are_drawn_as_they_are_whatever_they_hold():
    """Two dollar signs are no TeX: every figure of the room renders names that TeX could not, as written."""
    from cytopipe.atlas.group_sizes import group_size_figure
    from cytopipe.storage.formats.figure import figure_bytes

    n = len(HOSTILE)
    low, high = np.linspace(-0.5, 0.1, n), np.linspace(0.2, 0.9, n)
    forest = pd.DataFrame({"target": HOSTILE, "effect": (low + high) / 2, "ci_low": low, "ci_high": high})
    sides = {f"{side}{end}": high for side in ("expression", "activity") for end in ("", "_low", "_high")}
    drawn = [
        figures.forest(forest.assign(n=2, i_squared=0.5), title=HOSTILE[0], label=HOSTILE[1]),
        figures.heat_map(pd.DataFrame(np.eye(n), HOSTILE, HOSTILE), title=HOSTILE[2], label=HOSTILE[0]),
        figures.scatter(pd.DataFrame({"group": HOSTILE} | sides), title=HOSTILE[1]),
    ]
    for figure in drawn:
        assert figure_bytes(figure).startswith(b"\x89PNG")
    ticks = drawn[1].axes[0].get_yticklabels()
    assert [figures.literal(name) for name in HOSTILE] == [tick.get_text() for tick in ticks]
    table = pd.DataFrame({"kept": True, "n_cells": 20, "total_counts": 500}, index=HOSTILE)
    table.iloc[::2, 0] = False
    assert figure_bytes(group_size_figure(table, HOSTILE[0])).startswith(b"\x89PNG")


def test_the_picture_of_group_sizes_names_the_groups_that_were_left_out():
    """A cross without a name does not say which type is missing from every later result."""
    from cytopipe.atlas import group_sizes

    sizes = pd.DataFrame(
        {"kept": [True, False], "n_cells": [20, 3], "total_counts": [500, 30]}, index=["B", "rare"]
    )
    figure = group_sizes.group_size_figure(sizes, "a")
    assert "rare" in [text.get_text() for text in figure.axes[0].texts]
