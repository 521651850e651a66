"""Activity files: made from pseudobulk files, published whole, refused when hostile."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cytopipe.atlas.activity import ActivitySettings, score
from cytopipe.atlas.catalogue import Catalogue, NotFoundError
from cytopipe.atlas.inference import infer_activity, read_activity
from cytopipe.atlas.matrix_file import open_matrix
from cytopipe.atlas.signatures import load_signature
from cytopipe.commands.atlas_files import infer_activities
from cytopipe.errors import BudgetError, CytopipeError, InputError, RefusedError, UnsafeNameError
from cytopipe.provenance import sha256_file
from cytopipe.storage import Store, Sync
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.formats.h5ad import H5AD
from cytopipe_tests.atlas.made_results import LABELS, N_RESAMPLES, TARGETS, write_pseudobulk, write_signature

QUICK = ActivitySettings(n_permutations=50)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A results root with atlas ``aa`` and a signature table; not written to by tests."""
    folder = tmp_path_factory.mktemp("made")
    write_pseudobulk(folder / "results", "aa")
    return folder / "results", write_signature(folder / "mine.tsv")


@pytest.fixture
def root(made, tmp_path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "results"))


def profiles(root: Path, kind: str = "") -> Path:
    return Catalogue(root).pseudobulk("aa", "l1", kind)


def test_an_activity_file_holds_z_and_its_layers(made, tmp_path):
    root, table = made
    inferred = infer_activity(profiles(root), load_signature("mine", table), QUICK)
    published = Archive(tmp_path, sync=Sync.NONE).put(Place("a/activity.h5ad"), H5AD, inferred)
    found = anndata.read_h5ad(published.path)
    assert found.shape == (len(LABELS), len(TARGETS))
    assert set(found.layers) == {"beta", "se", "pvalue", "fdr"}
    assert found.obs["cell_type"].tolist() == list(LABELS) and "n_cells" in found.obs
    np.testing.assert_array_equal(found.X, inferred.X)
    assert found.uns["settings"]["regularization"] == 1e4
    assert found.uns["overlap"]["n_common"] == 240
    assert read_activity(published.path, "fdr").loc["CD4 T", "IL6"] == inferred.layers["fdr"][1, 2]


def test_a_file_and_a_matrix_give_the_same_numbers(made):
    root, table = made
    signature = load_signature("mine", table)
    whole = anndata.read_h5ad(profiles(root))
    expected = score(whole.X, list(whole.var_names), signature, QUICK)
    found = infer_activity(profiles(root), signature, QUICK, workers=3)
    np.testing.assert_array_equal(found.X, expected.z)
    for name in ("beta", "se", "pvalue", "fdr"):
        np.testing.assert_array_equal(found.layers[name], getattr(expected, name))
    overlap = found.uns["overlap"]
    assert tuple(overlap["genes"]) == expected.overlap.common
    assert tuple(overlap["ambiguous"]) == expected.overlap.ambiguous
    assert overlap["n_profile_genes"] == expected.overlap.n_profile_genes
    assert found.uns["signature"]["n_genes"] == expected.overlap.n_signature_genes


@pytest.mark.parametrize("expression", ["scaled", "row_centred_scaled"])
def test_resamples_are_scored_one_resample_at_a_time(made, expression):
    root, table = made
    signature = load_signature("mine", table)
    settings = ActivitySettings(expression=expression)
    whole = anndata.read_h5ad(profiles(root, "resampled"))
    found = infer_activity(profiles(root, "resampled"), signature, settings)
    assert not found.layers and found.shape == (len(LABELS) * N_RESAMPLES, len(TARGETS))
    for number in (0, 7):
        rows = (whole.obs["bootstrap_idx"] == number).to_numpy()
        plain = score(whole.X[rows], list(whole.var_names), signature, settings)
        np.testing.assert_array_equal(found.X[rows], plain.z.astype(np.float32))
    main = infer_activity(profiles(root), signature, settings)
    rows = (whole.obs["bootstrap_idx"] == 0).to_numpy()  # the first resample is the main file
    np.testing.assert_allclose(found.X[rows], main.X, rtol=1e-6)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix])
def test_sparse_profiles_give_the_same_numbers(made, tmp_path, make):
    root, table = made
    signature = load_signature("mine", table)
    data = anndata.read_h5ad(profiles(root))
    data.X = make(data.X)
    data.write_h5ad(tmp_path / "sparse.h5ad")
    found = infer_activity(tmp_path / "sparse.h5ad", signature, QUICK)
    np.testing.assert_array_equal(found.X, infer_activity(profiles(root), signature, QUICK).X)


def test_a_second_run_writes_nothing_and_a_changed_input_only_its_own(root, made):
    store = Store(root, sync=Sync.NONE)
    said: list[str] = []

    def run(**changes):
        said.clear()
        return infer_activities(
            store.root,
            "aa",
            None,
            ("mine",),
            changes.get("settings", QUICK),
            source=made[1],
            report=said.append,
        )

    first = run()
    assert [path.name for path in first] == ["aa_mine_l1.h5ad", "aa_mine_l1_resampled.h5ad"]
    assert [line.rpartition(" ")[2] for line in said] == ["written", "written"]
    before = [path.read_bytes() for path in first]
    run()
    assert [line.rpartition(" ")[2] for line in said] == ["unchanged", "unchanged"]
    run(settings=ActivitySettings(n_permutations=60))
    assert [line.rpartition(" ")[2] for line in said] == ["written", "unchanged"]
    run()
    assert [path.read_bytes() for path in first] == before  # the same bytes again
    damaged = bytearray(first[1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    first[1].write_bytes(damaged)
    run()
    assert [line.rpartition(" ")[2] for line in said] == ["unchanged", "written"]
    assert [path.read_bytes() for path in first] == before
    assert store.verify() == []


def test_the_manifest_names_the_inputs_by_digest(root, made):
    store = Store(root, sync=Sync.NONE)
    path = infer_activities(store.root, "aa", ["L1"], ("mine",), QUICK, source=made[1])[0]
    provenance = store.manifest(path).provenance
    assert (provenance["asset"], provenance["partition"]) == ("atlas/activity", "aa.l1.mine")
    assert provenance["parameters"]["regularization"] == 1e4
    inputs = {one["asset"]: one["sha256"] for one in provenance["inputs"]}
    assert set(inputs) == {"atlas/pseudobulk", "atlas/signatures", "atlas/inference"}
    assert inputs["atlas/pseudobulk"] == sha256_file(profiles(root))
    assert inputs["atlas/signatures"] == sha256_file(made[1])


def test_the_catalogue_lists_what_is_there(root, made):
    write_pseudobulk(root, "bb", "organ_celltype")
    write_pseudobulk(root, "bb", "celltype")
    store = Store(root, sync=Sync.NONE)
    infer_activities(store.root, "bb", ["organ_celltype"], ("mine",), QUICK, source=made[1])
    catalogue = Catalogue(root)
    assert catalogue.atlases() == ["aa", "bb"]
    assert catalogue.levels("bb") == ["celltype", "organ_celltype"]
    assert catalogue.signatures("bb", "organ_celltype") == ["mine"]
    assert catalogue.signatures("bb", "celltype") == []
    with pytest.raises(NotFoundError, match="found aa, bb"):
        catalogue.require_level("zz", "l1")
    with pytest.raises(NotFoundError, match="found l1"):
        catalogue.require_level("aa", "l9")


@pytest.mark.parametrize(
    "name", ["..", "../aa", "a/b", "", ".hidden", "a\0b", "a\nb", "x" * 101, "-rf", "a..b", "é"]
)
def test_no_name_leads_out_of_the_root(tmp_path, name):
    catalogue = Catalogue(tmp_path)
    for ask in (
        lambda: catalogue.pseudobulk(name, "l1"),
        lambda: catalogue.pseudobulk("aa", name),
        lambda: catalogue.activity("aa", "l1", name),
        lambda: catalogue.levels(name),
        lambda: catalogue.comparison(name, "coarse", "x.tsv"),
    ):
        with pytest.raises(UnsafeNameError):
            ask()


# --------------------------------------------------------------------------- files of others


def test_a_link_out_of_the_file_is_refused(made, tmp_path):
    path = tmp_path / "linked.h5ad"
    shutil.copy(profiles(made[0]), path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink(str(profiles(made[0])), "/X")
    with pytest.raises(RefusedError, match="external link"):
        infer_activity(path, load_signature("mine", made[1]))


def test_a_matrix_larger_than_memory_is_refused_before_it_is_read(made, monkeypatch):
    monkeypatch.setattr("cytopipe.storage.guard.budget.budget_bytes", lambda share=0.5: 7000)
    with pytest.raises(BudgetError, match="found 7,680 bytes"):
        infer_activity(profiles(made[0]), load_signature("mine", made[1]))


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.97])
def test_a_truncated_file_is_one_clear_error(made, tmp_path, keep):
    path = tmp_path / "torn.h5ad"
    whole = profiles(made[0]).read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"torn\.h5ad"):
        infer_activity(path, load_signature("mine", made[1]))


@pytest.mark.parametrize("part", ["X", "obs", "var", "obs/cell_type"])
def test_a_missing_part_is_named(made, tmp_path, part):
    path = tmp_path / "part.h5ad"
    shutil.copy(profiles(made[0]), path)
    with h5py.File(path, "r+") as file:
        del file[part]
    with pytest.raises(CytopipeError) as caught:
        infer_activity(path, load_signature("mine", made[1]))
    assert part.rpartition("/")[2] in str(caught.value) and "part.h5ad" in str(caught.value)


def test_a_matrix_of_another_shape_than_its_labels_is_refused(made, tmp_path):
    path = tmp_path / "shape.h5ad"
    shutil.copy(profiles(made[0]), path)
    with h5py.File(path, "r+") as file:
        del file["layers/counts"]
        file["layers/counts"] = np.zeros((3, 3))
    with pytest.raises(InputError, match=r"expected \(8, 264\); found \(3, 3\)"):
        infer_activity(path, load_signature("mine", made[1]))


def test_profiles_with_a_hole_are_refused_by_gene(made, tmp_path):
    data = anndata.read_h5ad(profiles(made[0]))
    data.X[2, list(data.var_names).index("G0007")] = np.nan
    data.write_h5ad(tmp_path / "hole.h5ad")
    with pytest.raises(InputError, match="profile 2 has no finite value for gene G0007"):
        infer_activity(tmp_path / "hole.h5ad", load_signature("mine", made[1]))


def test_columns_are_read_the_same_way_whatever_their_number(made):
    expected = anndata.read_h5ad(profiles(made[0])).X
    with open_matrix(profiles(made[0])) as file:
        for columns in ([], [5], [1, 3, 200], list(range(0, 264, 7))):
            found = file.read("X", np.array(columns, dtype=int))
            np.testing.assert_array_equal(found, expected[:, columns])
        np.testing.assert_array_equal(file.read(), expected)
        with pytest.raises(InputError, match="no layer 'zscore'"):
            file.read("zscore")
    assert isinstance(file.obs, pd.DataFrame)
