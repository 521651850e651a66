"""From cells to pooled correlations, through every file on the way."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import anndata
import numpy as np
import pytest

from cytopipe.atlas import Level, Settings
from cytopipe.atlas.activity import ActivitySettings
from cytopipe.atlas.catalogue import Catalogue
from cytopipe.atlas.inference import infer_activity, read_activity
from cytopipe.atlas.signatures import load_signature
from cytopipe.commands.atlas_files import compare_atlases, infer_activities, validate_atlas
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.errors import MissingToolError
from cytopipe.storage import Store, Sync


@pytest.fixture(scope="module")
def cytosig():
    try:
        return load_signature("cytosig")
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def pbmc68k():
    """700 blood cells that scanpy's wheel carries; counts recovered from their logarithms."""
    try:
        listed = files("scanpy") or []
    except PackageNotFoundError:
        pytest.skip("scanpy is not installed: pip install --no-deps scanpy")
    path = next(Path(one.locate()) for one in listed if one.name == "10x_pbmc68k_reduced.h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file was written by an anndata of 2019
        data = anndata.read_h5ad(path)
    logs = np.asarray(data.raw.X.todense() if hasattr(data.raw.X, "todense") else data.raw.X)
    counts = np.round(np.expm1(logs) * data.obs["n_counts"].to_numpy()[:, None] / 1e4)
    return anndata.AnnData(X=counts.astype(np.float32), obs=data.obs, var=data.raw.var[[]])


def test_golden_cells_give_the_references_activities(golden, cytosig, tmp_path):
    """Our pseudobulk and our ridge, against the reference's own on the same 2,000 cells."""
    root = tmp_path / "results"
    aggregate(
        golden / "atlas/input.h5ad",
        [Level.parse("L2=cell_type_l2")],
        root / "synth/pseudobulk",
        atlas="synth",
        sample="sample",
        settings=Settings(n_bootstrap=10, sample_profiles=True),
        use_gpu=False,
    )
    at = Catalogue(root)
    assert (at.atlases(), at.levels("synth")) == (["synth"], ["l2"])
    expected = np.load(golden / "atlas/activity_cytosig_l2.npz")
    settings = ActivitySettings(regularization=5e5, scale_signature=False, n_permutations=0)
    found = infer_activity(at.pseudobulk("synth", "L2"), cytosig, settings)
    np.testing.assert_allclose(found.layers["beta"].T, expected["colscale_srand_beta"], atol=1e-9)
    store = Store(root, sync=Sync.NONE)
    infer_activities(store.root, "synth", None, ("cytosig",), ActivitySettings(n_permutations=20))
    validated = validate_atlas(store.root, "synth", "L2", cytosig, draw=False)
    # its 500 genes hold no cytokine, and its labels are numbers: three parts have no data, and say so
    assert validated.quality.missing == ("sample_r2", "cell_type_r", "biological_concordance")
    assert validated.quality.gene_coverage == 500 / 4881
    assert store.verify() == []


def test_three_parts_of_one_blood_sample_agree(pbmc68k, cytosig, tmp_path):
    """Dealt into three atlases, 233 cells each must tell one story: overall r above 0.8."""
    root = tmp_path / "results"
    store = Store(root, sync=Sync.NONE)
    for part, atlas in enumerate(("first", "second", "third")):
        cells = pbmc68k[part::3].copy()
        cells.obs["bulk_labels"] = cells.obs["bulk_labels"].astype(str)
        cells.write_h5ad(tmp_path / f"{atlas}.h5ad")
        aggregate(
            tmp_path / f"{atlas}.h5ad",
            [Level.parse("labels=bulk_labels")],
            root / atlas / "pseudobulk",
            atlas=atlas,
            settings=Settings(n_bootstrap=20, bootstrap="cells"),
            use_gpu=False,
        )
        infer_activities(store.root, atlas, None, ("cytosig",), ActivitySettings(n_permutations=20))
        validate_atlas(store.root, atlas, "labels", cytosig, draw=False)
    found = compare_atlases(store.root, dict.fromkeys(("first", "second", "third"), "labels"), "cytosig")
    assert (found.comparison.pairs["pearson_r"] > 0.8).all()
    assert not any(one.unmapped for one in found.types)
    assert set(found.types[0].values.index) >= {"B_cell", "Myeloid", "NK_ILC", "T_cell"}
    classes = found.comparison.conserved["conservation"].value_counts()
    assert classes.get("highly_conserved", 0) >= 15
    z = read_activity(Catalogue(root).activity("first", "labels", "cytosig"))
    assert z.shape[1] == 43


def test_the_overlap_with_a_small_panel_is_reported(pbmc68k, cytosig, tmp_path):
    """765 genes of pbmc68k share 305 with CytoSig, as published."""
    from cytopipe.atlas.activity import find_overlap

    assert len(find_overlap(list(pbmc68k.var_names), cytosig).common) == 305
