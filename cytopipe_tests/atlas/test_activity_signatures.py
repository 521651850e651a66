"""Signature tables: found where they lie, read exactly, and refused with every fault named."""

from __future__ import annotations

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cytopipe.atlas.gene_names import cell_type_of_target, genes_of_target
from cytopipe.atlas.signatures import (
    Signature,
    SignatureSource,
    find_signature,
    list_signatures,
    load_signature,
    read_signature,
)
from cytopipe.errors import DamagedError, InputError, MissingToolError

TABLE = "IFNG\tTNFA\nSTAT1\t1.5\t0.1\nNFKB1\t-0.25\t2e-3\n"


def table(tmp_path: Path, text: str, name: str = "mine.tsv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def wheel(tmp_path: Path, data: bytes, *, record: str | None = None) -> Path:
    path = tmp_path / "secactpy-0.3.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("secactpy/data/CytoSig.tsv.gz", data)
        archive.writestr("secactpy/__init__.py", "raise RuntimeError('imported')")
        if record is not None:
            archive.writestr("secactpy-0.3.1.dist-info/RECORD", record)
    return path


def test_a_users_table_is_read_with_genes_in_order(tmp_path):
    found = load_signature("mine", table(tmp_path, TABLE))
    assert found.genes == ("NFKB1", "STAT1")
    assert found.targets == ("IFNG", "TNFA")
    np.testing.assert_array_equal(found.weights, [[-0.25, 0.002], [1.5, 0.1]])
    assert not found.weights.flags.writeable
    assert len(found.sha256) == 64


@pytest.mark.parametrize("header", ["\t", "gene\t", "\ufeffgene\t"])
def test_a_name_above_the_gene_column_is_no_target(tmp_path, header):
    assert load_signature("mine", table(tmp_path, header + TABLE)).targets == ("IFNG", "TNFA")


def test_windows_line_ends_and_gzip_change_nothing(tmp_path):
    plain = load_signature("mine", table(tmp_path, TABLE))
    windows = tmp_path / "windows.tsv"
    windows.write_bytes(TABLE.replace("\n", "\r\n").encode())
    packed = tmp_path / "packed.tsv.gz"
    packed.write_bytes(gzip.compress(TABLE.encode()))
    for path in (windows, packed):
        other = load_signature("mine", path)
        assert (other.genes, other.targets) == (plain.genes, plain.targets)
        np.testing.assert_array_equal(other.weights, plain.weights)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("ABCXYZ0189-.", min_size=1, max_size=8), st.floats(allow_nan=False, allow_infinity=False)
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda row: row[0],
    )
)
def test_every_float_survives_the_table(tmp_path_factory, rows):
    """A weight written with repr() is read back bit for bit."""
    path = tmp_path_factory.mktemp("table") / "t.tsv"
    path.write_text("IL6\n" + "".join(f"{gene}\t{weight!r}\n" for gene, weight in rows))
    expected = dict(rows)
    found = load_signature("t", path)
    assert found.genes == tuple(sorted(expected))
    assert found.weights[:, 0].tolist() == [expected[gene] for gene in found.genes]


def test_all_faults_of_a_table_come_at_once(tmp_path):
    broken = "IL6\tIL6\nSTAT1\t1\t\nSTAT1\tinf\t2\n"
    with pytest.raises(InputError) as caught:
        load_signature("mine", table(tmp_path, broken))
    said = str(caught.value)
    assert "gene 'STAT1' stands 2 times" in said
    assert "target 'IL6' stands 2 times" in said
    assert "mine.tsv:2" in said and "mine.tsv:3" in said
    assert len(caught.value.findings) == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "IL6\n",
        "just a line of prose\n",
        "IL6\tIL4\tIL2\nSTAT1\t1\n",
        "IL6\nSTAT1\tmuch\n",
        "IL6\nA\t1\nB\t1\t2\n",
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(tmp_path, text):
    with pytest.raises(InputError) as caught:
        load_signature("mine", table(tmp_path, text))
    assert len(caught.value.findings) == 1 and "mine.tsv" in str(caught.value)


def test_a_lincytosig_target_must_name_its_cell_type(tmp_path):
    good = load_signature("lincytosig", table(tmp_path, "CD4_T__IFNG\tB__IL4\nSTAT1\t1\t2\n"))
    assert good.targets == ("CD4_T__IFNG", "B__IL4")
    with pytest.raises(InputError) as caught:
        load_signature("lincytosig", table(tmp_path, "IFNG\tCD4__T__IL4\t__IL6\tB__IL4\nSTAT1\t1\t2\t3\t4\n"))
    assert len(caught.value.findings) == 3
    assert "CellType__Cytokine" in str(caught.value)


def test_the_wheel_is_read_and_never_imported(tmp_path):
    path = wheel(tmp_path, gzip.compress(TABLE.encode()))
    found = load_signature("cytosig", path)
    assert found.targets == ("IFNG", "TNFA")
    assert found.regularization == 1e4
    assert load_signature("cytosig", tmp_path).sha256 == found.sha256
    assert "secactpy" not in sys.modules


def test_a_users_table_in_a_folder_goes_before_the_wheel(tmp_path, monkeypatch):
    wheel(tmp_path, gzip.compress(TABLE.encode()))
    table(tmp_path, "IL2\nSTAT5A\t1\n", "CytoSig.tsv")
    assert load_signature("cytosig", tmp_path).targets == ("IL2",)
    monkeypatch.setenv("CYTOPIPE_SIGNATURES", str(tmp_path))
    assert load_signature("cytosig").targets == ("IL2",)


def test_a_table_that_differs_from_the_wheels_record_is_damaged(tmp_path):
    path = wheel(
        tmp_path, gzip.compress(TABLE.encode()), record="secactpy/data/CytoSig.tsv.gz,sha256=AAAA,12\n"
    )
    with pytest.raises(DamagedError, match="differs from the wheel's own record"):
        load_signature("cytosig", path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_torn_wheel_or_table_is_damaged_not_a_traceback(tmp_path, keep):
    packed = gzip.compress(TABLE.encode() * 50)
    torn = tmp_path / "torn.tsv.gz"
    torn.write_bytes(packed[: max(int(len(packed) * keep), 3)])
    with pytest.raises(DamagedError):
        load_signature("mine", torn)
    path = wheel(tmp_path, packed)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(DamagedError):
        load_signature("cytosig", path)


def test_a_table_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("cytopipe.atlas.signatures.MAX_TABLE_BYTES", 1 << 20)
    bomb = tmp_path / "bomb.tsv.gz"
    bomb.write_bytes(gzip.compress(b"\0" * (8 << 20)))
    with pytest.raises(InputError, match="larger than any signature"):
        load_signature("mine", bomb)


def test_an_absent_table_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("cytopipe.atlas.signatures.DISTRIBUTION", "no-such-distribution")
    with pytest.raises(MissingToolError, match="pip install --no-deps"):
        load_signature("cytosig")
    with pytest.raises(MissingToolError, match="CellType__Cytokine"):
        load_signature("lincytosig")
    with pytest.raises(MissingToolError, match="choose one of cytosig"):
        load_signature("mine", tmp_path)
    assert [source for _, source in list_signatures(tmp_path)] == [None, None, None]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "x" * 65, "a\nb", "a\0b"])
def test_a_name_that_could_walk_the_file_system_is_refused(name):
    with pytest.raises(InputError, match="no name for a signature"):
        find_signature(name)


@pytest.mark.parametrize(("name", "shape"), [("cytosig", (4881, 43)), ("secact", (7919, 1170))])
def test_published_tables_have_their_published_shape(name, shape):
    """Read from the installed distribution's files; SecAct within seconds."""
    try:
        found: Signature = load_signature(name)
    except MissingToolError as error:
        pytest.skip(str(error))
    assert found.weights.shape == shape
    assert found.genes == tuple(sorted(found.genes))


def test_a_source_prints_as_file_and_member():
    assert str(SignatureSource(name="x", path=Path("a.whl"), member="b/c.tsv")) == "a.whl!b/c.tsv"
    with pytest.raises(DamagedError):
        read_signature(SignatureSource(name="x", path=Path("absent.tsv")))


@pytest.mark.parametrize(
    ("target", "genes"),
    [
        ("TNFA", ("TNF",)),
        ("GMCSF", ("CSF2",)),
        ("CD40L", ("CD40LG",)),
        ("TNF-a", ("TNF",)),
        ("Activin A", ("INHBA",)),
        ("IL6", ("IL6",)),
        ("CD4_T__TRAIL", ("TNFSF10",)),
    ],
)
def test_spoken_names_lead_to_symbols(target, genes):
    assert genes_of_target(target) == genes
    assert cell_type_of_target("CD4_T__TRAIL") == "CD4_T"


def test_every_spoken_name_of_cytosig_is_translated():
    """Of the 43 names, those that are no HGNC symbol are exactly those with an alias."""
    try:
        targets = load_signature("cytosig").targets
    except MissingToolError as error:
        pytest.skip(str(error))
    translated = {target for target in targets if genes_of_target(target) != (target,)}
    assert translated == {
        *("Activin A", "CD40L", "GCSF", "GMCSF", "IFN1", "IFNL", "IL12", "IL27", "IL36"),
        *("MCSF", "NO", "TNFA", "TRAIL", "TWEAK"),
    }
