"""The fast pass against the plain one: every number of every file, in every form of the input."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from cytopipe.atlas import Settings
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe_tests.atlas.atlases import FORMS, LEVELS, bytes_of, labels, small_cells, write
from cytopipe_tests.twins import plain_pseudobulk as plain

SETTINGS = Settings(n_bootstrap=7, seed=3, sample_profiles=True)


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return small_cells()


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory):
    """Files of all levels, made from the CSR form."""
    folder = tmp_path_factory.mktemp("csr")
    path = write(cells, folder / "input.h5ad")
    aggregate(path, LEVELS, folder / "out", atlas="a", sample="sample", settings=SETTINGS, use_gpu=False)
    return folder / "out"


def _labels_of(cells, level) -> list[str | None]:
    parts = [labels(cells, column) for column in level.columns]
    return [None if None in one else "_".join(one) for one in zip(*parts, strict=True)]


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_profiles_equal_the_plain_ones(cells, folder, level):
    """Counts equal; X, z-scores, standard errors and statistics within rounding of float32."""
    sums = plain.group_sums(cells.X, of_cell := _labels_of(cells, level))
    kept = [name for name in sums if of_cell.count(name) >= 10]
    mean, std = plain.atlas_statistics(cells.X)
    made = ad.read_h5ad(folder / f"a_pseudobulk_{level.file_part}.h5ad")
    assert list(made.obs_names) == kept
    counts = np.array([sums[name] for name in kept])
    assert np.array_equal(made.layers["counts"], counts)
    X = plain.log_cpm(counts.astype(float))
    np.testing.assert_allclose(made.X, X, 1e-6)
    np.testing.assert_allclose(made.layers["zscore"], (X - mean) / std, 2e-6, 1e-5)
    np.testing.assert_allclose(made.uns["atlas_stats"]["gene_mean"], mean, 1e-10, 1e-12)
    np.testing.assert_allclose(made.uns["atlas_stats"]["gene_std"], std, 1e-9)
    sample = labels(cells, "sample")
    for row, name in enumerate(kept):
        chosen = np.array([label == name for label in of_cell])
        assert made.obs["n_cells"].iloc[row] == chosen.sum()
        assert np.array_equal(made.layers["n_expressing"][row], (cells.X[chosen] > 0).sum(axis=0))
        np.testing.assert_allclose(
            made.layers["se"][row], plain.delta_se(cells.X, sample, chosen), 1e-4, 1e-6
        )


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
def test_resamples_equal_the_plain_ones(cells, folder, level):
    """One weight per sample and resample, hashed in plain integers; every group, every resample."""
    of_cell, sample = _labels_of(cells, level), labels(cells, "sample")
    made = ad.read_h5ad(folder / f"a_pseudobulk_{level.file_part}_resampled.h5ad")
    for name in made.obs["cell_type"].cat.categories:
        chosen = np.array([label == name for label in of_cell])
        expected = plain.resampled(cells.X, sample, chosen, 7, seed=3)
        np.testing.assert_allclose(made.X[made.obs["cell_type"] == name], expected, 1e-6, err_msg=name)


def test_resamples_of_cells_equal_the_plain_ones(cells, tmp_path):
    """Weights of single cells come from their names; the standard error is the one over cells."""
    path, level = write(cells, tmp_path / "input.h5ad"), LEVELS[0]
    settings = Settings(n_bootstrap=5, bootstrap="cells", seed=9)
    aggregate(path, [level], tmp_path, atlas="a", settings=settings, use_gpu=False)
    made = ad.read_h5ad(tmp_path / "a_pseudobulk_fine_resampled.h5ad")
    main = ad.read_h5ad(tmp_path / "a_pseudobulk_fine.h5ad")
    of_cell, names = labels(cells, "fine"), list(cells.obs_names)
    for name in main.obs_names:
        chosen = np.array([label == name for label in of_cell])
        expected = plain.resampled(cells.X, names, chosen, 5, seed=9)
        np.testing.assert_allclose(made.X[made.obs["cell_type"] == name], expected, 1e-6, err_msg=name)
        se = plain.delta_se(cells.X, names, chosen)
        np.testing.assert_allclose(main[name].layers["se"][0], se, 1e-4, 1e-6)


def test_sample_profiles_are_whole_counts_with_the_metadata_of_their_sample(cells, folder):
    """Input for DESeq2: one row per sample and type, integer counts, the donor carried along."""
    made = ad.read_h5ad(folder / "a_pseudobulk_coarse_samples.h5ad")
    assert made.X.dtype == np.int64
    assert list(made.obs["donor"]) == [f"d{int(sample[1:]) // 2}" for sample in made.obs["sample"]]
    assert "tissue" not in made.obs, "cells of one sample come from two tissues here"
    coarse, sample = labels(cells, "coarse"), labels(cells, "sample")
    for row, (cell_type, one) in enumerate(zip(made.obs["cell_type"], made.obs["sample"], strict=True)):
        chosen = [c == cell_type and s == one for c, s in zip(coarse, sample, strict=True)]
        assert np.array_equal(made.X[row], cells.X[chosen].sum(axis=0))
        assert made.obs["n_cells"].iloc[row] == sum(chosen)


STORAGES = [
    *(("csr", dtype, "gzip") for dtype in ("float64", "int32", "int64", "uint16", "uint8")),
    *(("csr", "float32", compression) for compression in ("lzf", None)),
    *((form, "float32", "gzip") for form in ("csc", "dense")),
    *((form, "int32", None) for form in ("csc", "dense")),
]


@pytest.mark.parametrize(("form", "dtype", "compression"), STORAGES)
def test_every_form_of_the_same_cells_gives_the_same_bytes(cells, folder, tmp_path, form, dtype, compression):
    """CSR, CSC, dense; whole or floating numbers; compressed or not."""
    if dtype == "uint8":  # which cannot hold the largest counts: other cells, so only that they are read
        cells, folder = _clipped(cells, tmp_path)
    path = write(cells, tmp_path / "other.h5ad", form, dtype, compression)
    aggregate(path, LEVELS, tmp_path, atlas="a", sample="sample", settings=SETTINGS, use_gpu=False)
    made, expected = bytes_of(tmp_path), bytes_of(folder)
    assert [name for name, content in expected.items() if made[name] != content] == []


def _clipped(cells, tmp_path):
    cells = cells.copy()
    cells.X = np.minimum(cells.X, 255)
    path = write(cells, tmp_path / "clipped.h5ad")
    aggregate(
        path, LEVELS, tmp_path / "clipped", atlas="a", sample="sample", settings=SETTINGS, use_gpu=False
    )
    return cells, tmp_path / "clipped"


@pytest.mark.parametrize("form", FORMS)
def test_batches_threads_and_the_order_of_cells_do_not_show_in_a_byte(cells, folder, tmp_path, form):
    """Batches of 1, 37 and 10^6 cells, one thread and five, cells shuffled: the same files."""
    shuffled = cells[np.random.default_rng(1).permutation(cells.n_obs)].copy()
    ordered, mixed = (write(one, tmp_path / f"{n}.h5ad", form) for n, one in enumerate((cells, shuffled)))
    for number, (path, batch, threads) in enumerate(
        [(ordered, 1, 1), (ordered, 37, 5), (ordered, 10**6, 2), (mixed, 50, 3)]
    ):
        out = tmp_path / f"out{number}"
        aggregate(
            path, LEVELS, out, atlas="a", sample="sample", settings=SETTINGS, use_gpu=False,
            batch_size=batch, threads=threads,
        )  # fmt: skip
        assert bytes_of(out) == bytes_of(folder), (batch, threads, path.name)


@pytest.mark.parametrize("layout", ["units", "entries", "entries summed per unit"])
@pytest.mark.parametrize("form", FORMS)
def test_both_layouts_of_the_counts_give_the_same_bytes(cells, folder, tmp_path, monkeypatch, form, layout):
    """Sums per unit, and the counts of all cells, added up by entry or by unit: the same files."""
    from cytopipe.atlas import group_rows, plan

    monkeypatch.setattr(plan, "_layouts", lambda settings: [layout if layout == "units" else "entries"])
    if layout == "entries summed per unit":
        monkeypatch.setattr(group_rows, "_MANY", 0)
        monkeypatch.setattr(group_rows, "SUMS_BYTES", 1)  # some genes at a time
    path = write(cells, tmp_path / "input.h5ad", form)
    out = tmp_path / "out"
    aggregate(path, LEVELS, out, atlas="a", sample="sample", settings=SETTINGS, use_gpu=False, threads=3)
    assert bytes_of(out) == bytes_of(folder)


@pytest.mark.parametrize("layout", ["units", "entries"])
def test_samples_of_one_and_two_cells_give_the_plain_errors(tmp_path, monkeypatch, layout):
    """Cells alone in their sample, dense and sparse ones, take ways of their own through the sums."""
    from cytopipe.atlas import plan

    monkeypatch.setattr(plan, "_layouts", lambda settings: [layout])
    cells = small_cells(300, 50, seed=4)
    rng = np.random.default_rng(2)
    cells.X = np.where(rng.random((300, 1)) < 0.5, cells.X, cells.X * (rng.random(cells.X.shape) < 0.1))
    cells.obs["sample"] = [None if n % 9 == 0 else f"s{n // 3 if n < 200 else n}" for n in range(300)]
    path, level = write(cells, tmp_path / "input.h5ad"), LEVELS[2]
    settings = Settings(n_bootstrap=3, min_samples=2)
    aggregate(path, [level], tmp_path, atlas="a", sample="sample", settings=settings, use_gpu=False)
    made = ad.read_h5ad(tmp_path / "a_pseudobulk_coarse.h5ad")
    of_cell, sample = _labels_of(cells, level), labels(cells, "sample")
    resampled = ad.read_h5ad(tmp_path / "a_pseudobulk_coarse_resampled.h5ad")
    for row, name in enumerate(made.obs_names):
        chosen = np.array([label == name for label in of_cell])
        se = plain.delta_se(cells.X, sample, chosen)
        np.testing.assert_allclose(made.layers["se"][row], se, 1e-5, 1e-7)
        expected = plain.resampled(cells.X, sample, chosen, 3, seed=0)
        np.testing.assert_allclose(resampled.X[resampled.obs["cell_type"] == name], expected, 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_sums_per_resample_give_the_same_resamples(cells, folder, tmp_path, monkeypatch, form):
    """Sums per leaf and resample, for atlases of very many samples, weigh as sums per sample do."""
    from cytopipe.atlas import plan

    monkeypatch.setattr(plan, "_layouts", lambda settings: ["resamples"])
    path = write(cells, tmp_path / "input.h5ad", form)
    settings = Settings(n_bootstrap=7, seed=3)
    aggregate(path, LEVELS, tmp_path, atlas="a", sample="sample", settings=settings, use_gpu=False, threads=3)
    for level in LEVELS:
        name = f"a_pseudobulk_{level.file_part}_resampled.h5ad"
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), level


def test_the_array_module_path_equals_the_compiled_one(cells, folder, tmp_path, monkeypatch):
    """What a GPU runs, run on NumPy: counts equal, profiles and resamples to the byte, z-scores to 1e-5."""
    from cytopipe.atlas import device

    monkeypatch.setattr(device, "usable_gpu", lambda needed_bytes: np)
    path = write(cells, tmp_path / "input.h5ad")
    done = aggregate(path, LEVELS, tmp_path, atlas="a", sample="sample", settings=SETTINGS)
    assert done.device == "arrays"
    for level in LEVELS:
        stem = f"a_pseudobulk_{level.file_part}"
        assert (tmp_path / f"{stem}_resampled.h5ad").read_bytes() == (
            folder / f"{stem}_resampled.h5ad"
        ).read_bytes()
        mine, other = (ad.read_h5ad(place / f"{stem}.h5ad") for place in (tmp_path, folder))
        assert np.array_equal(mine.layers["counts"], other.layers["counts"])
        np.testing.assert_allclose(mine.layers["zscore"], other.layers["zscore"], 1e-5, 1e-5)


def test_the_array_module_path_resamples_cells_as_the_compiled_one(cells, tmp_path, monkeypatch):
    """The weights of single cells and the sums of squares agree as well."""
    from cytopipe.atlas import device

    path = write(cells, tmp_path / "input.h5ad")
    settings = Settings(n_bootstrap=5, bootstrap="cells")
    made = []
    for module in (None, np):
        monkeypatch.setattr(device, "usable_gpu", lambda needed_bytes, module=module: module)
        out = tmp_path / str(module is None)
        aggregate(path, LEVELS[:1], out, atlas="a", settings=settings)
        made.append([ad.read_h5ad(file) for file in sorted(out.glob("*.h5ad"))])
    for compiled, arrays in zip(*made, strict=True):
        np.testing.assert_array_equal(compiled.X, arrays.X)
        if "se" in compiled.layers:
            np.testing.assert_allclose(compiled.layers["se"], arrays.layers["se"], 1e-6)
