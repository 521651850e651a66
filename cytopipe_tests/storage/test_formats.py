"""All formats by name; tables, documents, figures and FASTA sets: written, read, told, refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cytopipe.errors import InputError, StorageError
from cytopipe.storage import Sync, formats
from cytopipe.storage.archive import Archive, Place
from cytopipe.storage.fasta import FastaRecord
from cytopipe.storage.formats import FORMATS, SetFormat
from cytopipe.storage.formats.document import JSON
from cytopipe.storage.formats.fasta_set import FASTA_SET
from cytopipe.storage.formats.figure import PDF, PNG, SVG, FigureFormat, new_figure
from cytopipe.storage.formats.table import PARQUET, TSV, Parquet, Tsv, format_parquet, format_tsv

TABLE = pd.DataFrame(
    {"id": ["007", "8", "é"], "x": [1.5, np.nan, 1e-300], "n": [1, 2, 3], "yes": [True, False, True]}
)


def test_every_format_has_a_name_a_suffix_and_at_most_two_kinds():
    for name, format in FORMATS.items():
        assert format.name == name
        assert getattr(formats, name.upper()) is format
        assert isinstance(format, SetFormat) or format.suffix.startswith(".")
        assert 1 <= len(format.kinds) <= 2 and format.version
    with pytest.raises(KeyError):
        FORMATS["gif"]
    with pytest.raises(AttributeError):
        formats.GIF  # noqa: B018


def test_options_that_change_the_bytes_are_part_of_the_version_and_threads_are_not():
    from cytopipe.storage.formats.h5ad import H5ad
    from cytopipe.storage.formats.ome_zarr import OmeZarr
    from cytopipe.storage.formats.plate import OmeZarrPlate
    from cytopipe.storage.formats.tiff import Tiff

    usual = [OmeZarr(threads=3), Tiff(threads=3), H5ad(threads=3, decode=False), FigureFormat("png")]
    assert [format.version for format in usual] == ["1"] * 4
    other = [OmeZarr("0.4", factor=3), Tiff("zstd"), H5ad(None), FigureFormat("png", dpi=72)]
    assert [format.version for format in other] == [
        "1 ngff=0.4 factor=3",
        "1 compression=zstd",
        "1 compression=None",
        "1 dpi=72",
    ]
    assert OmeZarrPlate(other[0]).version == other[0].version


def test_importing_the_formats_imports_no_library():
    script = (
        "import sys; from cytopipe.storage import formats; list(formats.FORMATS)\n"
        "heavy = {'numpy', 'pandas', 'h5py', 'anndata', 'zarr', 'tifffile', 'matplotlib', 'yaozarrs'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------------- tables


@pytest.mark.parametrize("format", [Tsv(text=["id"]), PARQUET], ids=lambda format: format.name)
def test_a_table_is_read_as_it_was_written_whole_or_in_pieces(format, tmp_path):
    pieces = (TABLE.iloc[start : start + 1] for start in range(3))
    for name, value in {"whole": TABLE, "pieces": pieces}.items():
        path = tmp_path / f"{name}{format.suffix}"
        format.write(path, value)
        format.validate(path)
        pd.testing.assert_frame_equal(format.read(path), TABLE)
        assert format.describe(path) == {"rows": 3, "columns": 4}


def test_a_tsv_has_the_same_bytes_whole_and_in_pieces(tmp_path):
    TSV.write(tmp_path / "whole.tsv", TABLE)
    TSV.write(tmp_path / "pieces.tsv", iter([TABLE[:2], TABLE[2:], TABLE[:0]]))
    assert (
        (tmp_path / "whole.tsv").read_bytes() == (tmp_path / "pieces.tsv").read_bytes() == format_tsv(TABLE)
    )


def test_a_parquet_has_the_bytes_of_the_plain_function(tmp_path):
    PARQUET.write(tmp_path / "x.parquet", TABLE)
    assert (tmp_path / "x.parquet").read_bytes() == format_parquet(TABLE)


@pytest.mark.parametrize("format", [TSV, PARQUET], ids=lambda format: format.name)
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "without pieces"),
        ([1], "made of DataFrames, not of int"),
        ([TABLE, TABLE[["id"]]], "piece 2 has other columns"),
    ],
    ids=["none", "numbers", "columns"],
)
def test_a_table_that_cannot_be_is_refused(format, value, told, tmp_path):
    with pytest.raises(InputError, match=told):
        format.write(tmp_path / "x", value)


@pytest.mark.parametrize("kind", [Tsv, Parquet])
def test_a_column_that_must_be_there_is_demanded_on_writing(kind, tmp_path):
    with pytest.raises(InputError, match="column 'donor' is absent"):
        kind(columns=["donor"]).write(tmp_path / "x", TABLE)


def test_a_piece_of_other_types_is_refused(tmp_path):
    with pytest.raises(InputError, match="other types than the first"):
        PARQUET.write(tmp_path / "x.parquet", [TABLE, TABLE.assign(n=["a", "b", "c"])])


# --------------------------------------------------------------------------- documents


def test_a_document_is_read_as_it_was_written(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"x": "é"}}
    JSON.write(tmp_path / "x.json", value)
    JSON.validate(tmp_path / "x.json")
    assert JSON.read(tmp_path / "x.json") == value
    assert list(JSON.read(tmp_path / "x.json")) == ["b", "a"]
    assert JSON.describe(tmp_path / "x.json") == {"entries": 2}
    with pytest.raises(InputError, match="JSON"):
        JSON.write(tmp_path / "y.json", {"x": float("nan")})


# --------------------------------------------------------------------------- figures


@pytest.mark.parametrize("format", [PNG, SVG, PDF], ids=lambda format: format.name)
def test_a_figure_is_the_same_bytes_twice_and_a_damaged_one_is_found(format, tmp_path):
    for name in "ab":
        figure = new_figure(2, 1)
        figure.subplots().plot([1, 2])
        format.write(tmp_path / name, figure)
        format.validate(tmp_path / name)
    whole = format.read(tmp_path / "a")
    assert whole == (tmp_path / "b").read_bytes()
    format.write(tmp_path / "c", whole)
    assert (tmp_path / "c").read_bytes() == whole
    (tmp_path / "c").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a whole"):
        format.validate(tmp_path / "c")
    assert format.describe(tmp_path / "a") == ({"width_px": 300, "height_px": 150} if format is PNG else {})


def test_names_with_dollar_signs_are_drawn_as_they_are_and_powers_of_ten_are_typeset(tmp_path):
    """`$\\x$` is no formula of TeX: matplotlib raised and there was no picture."""
    name = "T$\\x$ cells"
    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.bar([name, "B $1$"], [1, 1000], label=name)
    axes.set(title=name, xlabel=name, ylabel=name, yscale="log")
    axes.annotate(name, (0, 1))
    axes.legend()
    figure.suptitle(name)
    for format in (PNG, PDF, SVG):
        format.write(tmp_path / format.name, figure)
        format.validate(tmp_path / format.name)
    labels = [text.get_text() for text in axes.get_yticklabels() if "mathdefault" in text.get_text()]
    assert labels and all(text.get_parse_math() for text in axes.get_yticklabels())


def test_a_figure_of_another_kind_is_refused():
    with pytest.raises(InputError, match="no figure format 'gif'"):
        FigureFormat("gif")


# --------------------------------------------------------------------------- FASTA sets


def test_a_set_is_published_and_read_beside_another_one(tmp_path):
    archive = Archive(tmp_path, sync=Sync.NONE)
    value = {
        "refined.cluster_0001.fasta": [("a one", "ACGT"), FastaRecord("b", "", "GGCC")],
        "refined.unassigned.fasta": [],
    }
    for name in ("refined", "initial"):
        files = {file.replace("refined", name): one for file, one in value.items()}
        archive.put(Place("run", name), FASTA_SET, files)
    read = archive.get(Place("run", "refined"), FASTA_SET)
    assert [record.header for record in read["refined.cluster_0001.fasta"]] == ["a one", "b"]
    assert read["refined.unassigned.fasta"] == ()
    archive.put(Place("run", "refined"), FASTA_SET, {"refined.cluster_0001.fasta": None})
    assert list(archive.get(Place("run", "refined"), FASTA_SET)) == ["refined.cluster_0001.fasta"]


def test_a_file_that_a_set_does_not_own_is_refused():
    with pytest.raises(InputError, match=r"the set 'final' cannot have the file 'initial\.x\.fasta'"):
        FASTA_SET.files("final", {"initial.x.fasta": []})


def test_the_faults_of_all_files_of_a_set_are_told_at_once(tmp_path):
    contents = dict.fromkeys(("final.a.fasta", "final.b.fasta"), b">x\nAC1T\n")
    with pytest.raises(InputError) as caught:
        FASTA_SET.parse("final", contents, tmp_path)
    assert str(caught.value).count("digit '1' in a sequence") == 2


def test_a_set_that_was_never_published_cannot_be_read(tmp_path):
    with pytest.raises(StorageError):
        Archive(tmp_path, sync=Sync.NONE).get(Place("run", "refined"), FASTA_SET)
