"""What a file may hold: every form has a defined result, every fault one clear error."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from cytopipe.atlas import Level, Settings, open_cells
from cytopipe.commands.atlas_profiles import aggregate
from cytopipe.errors import BudgetError, CytopipeError, DamagedError, InputError, ParameterError, RefusedError
from cytopipe_tests.atlas.atlases import FORMS, LEVELS, bytes_of, small_cells, write

SETTINGS = Settings(n_bootstrap=2)
OPTIONS = {"atlas": "a", "sample": "sample", "settings": SETTINGS, "use_gpu": False}


@pytest.fixture(scope="module")
def cells():
    return small_cells(120, 30)


@pytest.fixture
def run(tmp_path):
    def run(path, **options):
        return aggregate(path, options.pop("levels", LEVELS), tmp_path / "out", **(OPTIONS | options))

    yield run
    leftovers = [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".staging")]
    assert not any(any(path.iterdir()) for path in leftovers), "drafts were left behind"


def _expect(tmp_path, *parts):
    """Run must fail with a message that holds all parts, and leave no file."""

    def check(error):
        for part in parts:
            assert part in str(error.value), f"{part!r} not in {error.value}"
        assert bytes_of(tmp_path / "out") == {}

    return check


def test_every_absent_column_is_told_at_once_with_what_exists(cells, run, tmp_path):
    """Two levels and the sample are wrong: three findings, each listing the columns there are."""
    path = write(cells, tmp_path / "input.h5ad")
    with pytest.raises(InputError) as error:
        run(path, levels=[Level("x", ("nope",)), Level("y", ("tissue", "gone"))], sample="who")
    assert len(error.value.findings) == 3
    _expect(
        tmp_path,
        "'nope' is absent",
        "'gone' is absent",
        "'who' is absent",
        "coarse, donor, fine, sample, tissue",
    )(error)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("value", "what"), [(-1.0, "no count"), (0.5, "no count"), (np.nan, "no count")])
def test_one_bad_value_anywhere_is_found_while_streaming(
    cells, run, tmp_path, monkeypatch, form, value, what
):
    """The look at the start sees samples only; the pass sees every value and names the cell or gene."""
    from cytopipe.atlas import cells as room

    monkeypatch.setattr(room, "_sample_values", lambda matrix, path: np.ones(3))
    bad = cells.copy()
    bad.X[77, 12] = value
    with pytest.raises(InputError) as error:
        run(write(bad, tmp_path / "input.h5ad", form))
    _expect(tmp_path, what, "gene G12" if form == "csc" else "cell 77 (c77)")(error)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda X: np.log1p(X), "looks log-normalised"),
        (lambda X: X - X.mean(0), "looks scaled or centred"),
        (lambda X: X * np.float32(1.37), "whole numbers among"),
        (lambda X: np.where(X > 3, np.nan, X), "does not hold counts"),
    ],
)
def test_values_that_are_no_counts_are_refused_with_what_they_look_like(cells, run, tmp_path, change, found):
    """Log-normalised, scaled, multiplied, or not numbers."""
    bad = cells.copy()
    bad.X = change(cells.X).astype(np.float32)
    with pytest.raises(InputError) as error:
        run(write(bad, tmp_path / "input.h5ad", "dense"))
    _expect(tmp_path, "X does not hold counts", found, "whole numbers")(error)


@pytest.mark.parametrize("place", ["layers/counts", "layers/umi", "raw/X"])
def test_counts_are_found_in_layers_and_raw(cells, run, tmp_path, place):
    """X is normalised; auto finds the counts, and raw brings its own genes."""
    twin = ad.AnnData(np.log1p(cells.X), cells.obs.copy(), cells.var.copy())
    if place == "raw/X":
        twin.raw = ad.AnnData(sp.csr_matrix(cells.X), cells.obs.copy(), cells.var.copy())
        twin = twin[:, :20].copy()
    else:
        twin.layers[place.removeprefix("layers/")] = sp.csr_matrix(cells.X)
    twin.write_h5ad(tmp_path / "input.h5ad")
    with open_cells(tmp_path / "input.h5ad", counts="auto") as opened:
        assert (opened.matrix.where, opened.n_genes) == (place, 30)
    run(tmp_path / "input.h5ad", counts="auto")
    made = bytes_of(tmp_path / "out")
    run(write(cells, tmp_path / "plain.h5ad"), skip_existing=False)
    assert bytes_of(tmp_path / "out") == made


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_duplicate_genes_are_refused_summed_or_numbered_as_asked(cells, run, tmp_path):
    """Three columns share a name. Summed: per cell, before the log, in every form."""
    twice = cells.copy()
    names = list(cells.var_names)
    names[20], names[29] = names[3], names[3]
    twice.var_names = names
    path = write(twice, tmp_path / "input.h5ad")
    with pytest.raises(InputError) as error:
        run(path)
    _expect(tmp_path, "1 gene names occur more than once", "G3", "--duplicate-genes sum")(error)
    run(path, duplicate_genes="number")
    numbered = ad.read_h5ad(tmp_path / "out/a_pseudobulk_fine.h5ad")
    assert [numbered.var_names[i] for i in (3, 20, 29)] == ["G3", "G3-1", "G3-2"]
    summed = np.delete(cells.X, [20, 29], axis=1)
    summed[:, 3] += cells.X[:, 20] + cells.X[:, 29]
    kept = cells.var.drop(index=[f"G{i}" for i in (20, 29)])
    run(write(ad.AnnData(summed, cells.obs, kept), tmp_path / "summed.h5ad"), skip_existing=False)
    expected = bytes_of(tmp_path / "out")
    for form in FORMS:
        run(write(twice, tmp_path / "input.h5ad", form), duplicate_genes="sum", skip_existing=False)
        assert bytes_of(tmp_path / "out") == expected, form


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_unsorted_and_repeated_entries_of_a_sparse_matrix_are_read_as_their_sum(cells, run, tmp_path, form):
    """Sparse matrices need not be canonical: order is free, repeated entries add up, zeros may be stored."""
    run(write(cells, tmp_path / "plain.h5ad"))
    expected = bytes_of(tmp_path / "out")
    path = write(cells, tmp_path / "input.h5ad", form)
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        indptr, indices, data = (file["X"][part][...] for part in ("indptr", "indices", "data"))
        new_indices, new_data, pointers = [], [], [0]
        for begin, end in pairwise(indptr):
            i, d = indices[begin:end], data[begin:end]
            ones = np.minimum(d, 1)
            i, d = np.concatenate([i, i, [0]]), np.concatenate([d - ones, ones, [0]])
            order = rng.permutation(len(i))
            new_indices.append(i[order])
            new_data.append(d[order])
            pointers.append(pointers[-1] + len(i))
        for part, values in (("indices", np.concatenate(new_indices)), ("data", np.concatenate(new_data)),
                             ("indptr", np.array(pointers))):  # fmt: skip
            del file["X"][part]
            file["X"][part] = values
    run(path, skip_existing=False)
    assert bytes_of(tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["text", "numbers", "booleans", "nullable", "ordered", "mixed missing"])
def test_labels_are_read_whatever_way_they_are_stored(cells, tmp_path, kind):
    """Text, whole numbers, booleans, nullable integers, ordered categories, text with gaps."""
    twin = cells.copy()
    fine = cells.obs["coarse"].astype(str)
    code = fine.map({"B": 0, "NK": 1, "T": 2})
    column = {
        "text": fine.to_numpy(object),
        "numbers": code.to_numpy(np.int32),
        "booleans": (code > 0).to_numpy(),
        "nullable": pd.array(code.where(code != 2), dtype="Int64"),
        "ordered": pd.Categorical(fine, ["T", "NK", "B", "never"], ordered=True),
        "mixed missing": np.where(fine == "T", "", fine),
    }[kind]
    twin.obs["label"] = column
    with ad.settings.override(allow_write_nullable_strings=True):
        twin.write_h5ad(tmp_path / "input.h5ad")
    expected = {
        "text": ("B", "NK", "T"),
        "numbers": ("0", "1", "2"),
        "booleans": ("False", "True"),
        "nullable": ("0", "1"),
        "ordered": ("B", "NK", "T"),
        "mixed missing": ("B", "NK"),
    }[kind]
    with open_cells(tmp_path / "input.h5ad") as opened:
        labels = opened.level_labels(Level("x", ("label",)))
    assert labels.names == expected
    missing = (fine == "T").sum() if kind in ("nullable", "mixed missing") else 0
    assert (labels.codes < 0).sum() == missing


def test_joined_labels_that_would_read_the_same_are_refused(cells, run, tmp_path):
    """'a_b' + 'c' and 'a' + 'b_c' are two groups, not one."""
    twin = cells.copy()
    twin.obs["one"] = pd.Categorical(["a_b", "a"] * 60)
    twin.obs["two"] = pd.Categorical(["c", "b_c"] * 60)
    with pytest.raises(InputError) as error:
        run(write(twin, tmp_path / "input.h5ad"), levels=[Level("x", ("one", "two"))])
    _expect(tmp_path, "would both be called 'a_b_c'")(error)


def test_a_level_without_any_label_is_refused(cells, run, tmp_path):
    """All labels missing: an error, not an empty file."""
    twin = cells.copy()
    twin.obs["fine"] = pd.Categorical([None] * 120, ["x"])
    with pytest.raises(InputError) as error:
        run(write(twin, tmp_path / "input.h5ad"))
    _expect(tmp_path, "no cell has a label", "level fine")(error)


def test_groups_that_are_too_small_leave_empty_but_sound_files(cells, run, tmp_path):
    """min_cells above all groups: no profile, all groups listed as left out."""
    settings = Settings(n_bootstrap=2, min_cells=1000)
    done = run(write(cells, tmp_path / "input.h5ad"), settings=settings)
    assert len(done.warnings) == 3 and "level fine: none of its 7 groups has 1,000 cells" in done.warnings[0]
    made = ad.read_h5ad(tmp_path / "out/a_pseudobulk_coarse.h5ad")
    assert made.shape == (0, 30)
    assert list(made.uns["left_out"]["cell_type"]) == ["B", "NK", "T"]
    assert ad.read_h5ad(tmp_path / "out/a_pseudobulk_coarse_resampled.h5ad").shape == (0, 30)


def test_groups_of_too_few_samples_are_told_and_not_counted_as_resampled(cells, run, tmp_path):
    """Eight samples where nine are needed: groups in the main file, none in the resampled one, a warning."""
    path = write(cells, tmp_path / "input.h5ad")
    done = run(path, settings=Settings(n_bootstrap=2, min_samples=9))
    assert [(level.n_groups > 0, level.n_resampled) for level in done.levels] == [(True, 0)] * 3
    assert "at most 8" in done.warnings[-1]
    done = run(path, settings=SETTINGS, skip_existing=False)
    assert done.warnings == () and [level.n_resampled for level in done.levels][-1] == 3


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_a_sparse_matrix_that_does_not_begin_at_its_first_value_is_refused(cells, run, tmp_path, form):
    """indptr from 3: scipy calls it invalid too; the first three values would silently not be counted."""
    path = write(cells, tmp_path / "input.h5ad", form)
    with h5py.File(path, "r+") as file:
        file["X/indptr"][0] = 3
    with pytest.raises(InputError) as error:
        run(path)
    _expect(tmp_path, "indptr does not begin at 0")(error)


def test_one_nan_does_not_spoil_what_a_refusal_shows(cells, run, tmp_path):
    """The other values are still described."""
    bad = cells.copy()
    bad.X[3, 4] = np.nan
    with pytest.raises(InputError) as error:
        run(write(bad, tmp_path / "input.h5ad", "dense"))
    _expect(tmp_path, "100% whole numbers among 3,600 values, 0 to ", "1 of them NaN or infinite")(error)


def test_resamples_beyond_memory_are_refused_before_one_is_drawn(cells, run, tmp_path):
    """A hundred million of them: both numbers and the resamples are in the message, at once."""
    for bootstrap in ("samples", "cells", "parity"):
        with pytest.raises(BudgetError) as error:
            run(
                write(cells, tmp_path / "input.h5ad"),
                settings=Settings(n_bootstrap=10**8, bootstrap=bootstrap),
            )
        _expect(tmp_path, "at most ", "bytes projected", "100,000,000 resamples")(error)


def test_memory_that_the_system_refuses_is_one_clear_error(cells, run, tmp_path, monkeypatch):
    """The projection is in the message; no traceback of NumPy."""
    from cytopipe.atlas.accumulate import Accumulators

    def refuse(plan, *, n_totals=0):
        raise MemoryError("Unable to allocate 5.00 GiB")

    monkeypatch.setattr(Accumulators, "zeros", refuse)
    with pytest.raises(BudgetError) as error:
        run(write(cells, tmp_path / "input.h5ad"))
    _expect(tmp_path, "as projected", "Unable to allocate 5.00 GiB")(error)


def test_sums_that_outgrow_their_type_are_widened_exactly(cells, run, tmp_path):
    """Cells of 10^9 counts: sums of a unit pass 2^31 in the middle of a block, and stay exact."""
    from cytopipe_tests.twins import plain_pseudobulk as plain

    rich = cells.copy()
    rich.X = cells.X.copy()
    rich.X[:, 9] = 2.0**30
    for form in FORMS:
        run(write(rich, tmp_path / "input.h5ad", form), skip_existing=False, threads=3)
        made = ad.read_h5ad(tmp_path / "out/a_pseudobulk_coarse.h5ad")
        coarse = [str(label) for label in rich.obs["coarse"]]
        sums = plain.group_sums(np.asarray(rich.X, np.int64), coarse)
        assert np.array_equal(made.layers["counts"], np.array([sums[name] for name in made.obs_names]))


def test_samples_are_needed_to_resample_them_and_columns_are_suggested(cells, run, tmp_path):
    """No sample column: the error names the columns and the other bootstrap."""
    with pytest.raises(InputError) as error:
        run(write(cells, tmp_path / "input.h5ad"), sample=None)
    _expect(tmp_path, "no sample column", "--bootstrap cells", "donor")(error)


def test_a_pass_that_would_not_fit_is_refused_with_both_numbers(cells, run, tmp_path):
    """A budget of 1 MB: the projection and the limit are in the message, and nothing is written."""
    with pytest.raises(BudgetError) as error:
        run(write(cells, tmp_path / "input.h5ad"), memory_bytes=10**6)
    _expect(tmp_path, "at most 1,000,000 bytes", "bytes projected")(error)


ZARR_CHATTER = pytest.mark.filterwarnings("ignore:.*[zZ]arr")  # on defaults of releases to come


@ZARR_CHATTER
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_zarr_gives_the_same_bytes_as_h5ad(cells, run, tmp_path, form, version):
    """Both versions of the format, every form of the matrix."""
    run(write(cells, tmp_path / "input.h5ad"))
    expected = bytes_of(tmp_path / "out")
    with ad.settings.override(zarr_write_format=version):
        path = write(cells, tmp_path / "input.zarr", form)
    run(path, skip_existing=False)
    assert bytes_of(tmp_path / "out") == expected


@ZARR_CHATTER
def test_a_zarr_chunk_that_is_absent_is_found(cells, run, tmp_path):
    """Zarr itself would read it as zeros."""
    path = write(cells, tmp_path / "input.zarr")
    chunk = next(file for file in sorted((path / "X/data").rglob("*")) if file.name in ("0", "c0", "0.0"))
    chunk.unlink()
    with pytest.raises(InputError) as error:
        run(path)
    _expect(tmp_path, "chunks of data are absent")(error)


@ZARR_CHATTER
def test_a_zarr_store_with_a_link_is_refused(cells, run, tmp_path):
    """Links inside a store may lead anywhere."""
    path = write(cells, tmp_path / "input.zarr")
    (path / "layers" / "counts").symlink_to(tmp_path)
    with pytest.raises(RefusedError):
        run(path)


def _cut_chunk(file):
    offset, size = file["X/data"].id.get_chunk_info(0).byte_offset, file["X/data"].id.get_chunk_info(0).size
    return ("write", offset, b"\xff" * size)


DAMAGES = {
    "chunk overwritten": (_cut_chunk, DamagedError, "cannot be decoded"),
    "index outside": (lambda file: file["X/indices"].__setitem__(50, 30_000), InputError, "index outside"),
    "negative index": (lambda file: file["X/indices"].__setitem__(50, -1), InputError, "index outside"),
    "indptr falls": (
        lambda file: file["X/indptr"].__setitem__(5, 10**6),
        DamagedError,
        "indptr runs outside",
    ),
    "indptr ends early": (lambda file: file["X/indptr"].__setitem__(120, 3), InputError, "does not end"),
    "shape lies": (
        lambda file: file["X"].attrs.__setitem__("shape", [10**9, 30]),
        InputError,
        "wrong length",
    ),
    "codes outside": (
        lambda file: file["obs/fine/codes"].__setitem__(3, 100),
        InputError,
        "outside its categories",
    ),
    "obs missing": (lambda file: file.__delitem__("obs"), InputError, "no obs data frame"),
    "column too short": (lambda file: _shorten(file), InputError, "values for"),
}


def _shorten(file):
    codes = file["obs/fine/codes"][:50]
    del file["obs/fine/codes"]
    file["obs/fine/codes"] = codes


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_one_clear_error(cells, run, tmp_path, name):
    """Damage in chunks, pointers, shapes and labels: told with its place, nothing written."""
    harm, kind, message = DAMAGES[name]
    path = write(cells, tmp_path / "input.h5ad")
    with h5py.File(path, "r+") as file:
        patch = harm(file)
    if isinstance(patch, tuple):
        with path.open("r+b") as stream:
            stream.seek(patch[1])
            stream.write(patch[2])
    with pytest.raises(kind) as error:
        run(path)
    _expect(tmp_path, message)(error)


def test_a_truncated_file_and_files_that_are_no_atlas_are_clear_errors(cells, run, tmp_path):
    """Cut in half, empty, text, absent."""
    whole = write(cells, tmp_path / "whole.h5ad").read_bytes()
    for number, content in enumerate((whole[: len(whole) // 2], b"", b"cell\tgene\n")):
        path = tmp_path / f"{number}.h5ad"
        path.write_bytes(content)
        with pytest.raises(CytopipeError):
            run(path)
    with pytest.raises(InputError, match="does not exist"):
        run(tmp_path / "absent.h5ad")


def test_links_out_of_the_file_are_refused(cells, run, tmp_path):
    """An external link where counts should be: never followed."""
    path = write(cells, tmp_path / "input.h5ad")
    with h5py.File(path, "r+") as file:
        file["layers/counts"] = h5py.ExternalLink(str(write(cells, tmp_path / "other.h5ad")), "/X")
    with pytest.raises(RefusedError):
        run(path, counts="layers/counts")


def test_a_chunk_that_inflates_beyond_its_declared_size_is_stopped(tmp_path):
    """A bomb of zeros: decoding stops at the declared size."""
    import zlib

    from cytopipe.atlas.decode import inflate_exactly

    with pytest.raises(ValueError, match="more than"):
        inflate_exactly(zlib.compress(bytes(50_000_000)), np.empty(1000, np.uint8))


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_size", 0), ("threads", 0), ("checkpoint_every_s", -1.0), ("duplicate_genes", "x")],
)
def test_options_out_of_range_are_told(cells, run, tmp_path, option, value):
    """Zero cells per batch, zero threads, negative time."""
    with pytest.raises((ParameterError, InputError), match=option):
        run(write(cells, tmp_path / "input.h5ad"), **{option: value})


def test_settings_tell_all_their_faults_at_once():
    """Five wrong fields, five findings."""
    with pytest.raises(ParameterError) as error:
        Settings(n_bootstrap=-1, bootstrap="genes", seed=True, min_cells=0, compression="lzw")
    assert len(error.value.findings) == 5
