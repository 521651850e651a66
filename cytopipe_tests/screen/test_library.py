"""A library that cannot be used is refused with everything that is wrong with it."""

from __future__ import annotations

import pandas as pd
import pytest

from cytopipe.errors import InputError
from cytopipe.screen.library import check_barcodes, library_prefixes, near_neighbours, read_library
from cytopipe.screen.parameters import LibrarySettings


def write(folder, text: str, name: str = "library.tsv"):
    path = folder / name
    path.write_text(text)
    return path


def test_tabs_and_commas_give_the_same_library(tmp_path):
    rows = ["sgRNA,gene_symbol,gene_id", "ACGT,NAN,7", "TTTT,,8"]
    comma = read_library(write(tmp_path, "\n".join(rows), "library.csv"))
    tab = read_library(write(tmp_path, "\n".join(rows).replace(",", "\t")))
    pd.testing.assert_frame_equal(comma, tab)
    assert comma["gene_symbol"].tolist()[0] == "NAN"  # a gene's name, no missing value
    assert comma["gene_symbol"].isna().tolist() == [False, True]


def test_all_faults_are_told_at_once_with_their_rows(tmp_path):
    path = write(tmp_path, "sgRNA\tgene_symbol\nACGT\ta\nacgt\tb\nACG\tc\nACGT\td\n\te\n")
    with pytest.raises(InputError) as caught:
        read_library(path)
    told = [str(one) for one in caught.value.findings]
    assert len(told) == 4
    assert "lacks barcodes" in told[0] and "row 5" in told[0]
    assert "'acgt' in row 2" in told[1]
    assert "unequal length" in told[2] and "'ACG' in row 3" in told[2]
    assert "'ACGT' in rows 1, 4" in told[3]
    assert all(str(path) in one for one in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no table"),
        ("sgRNA\tgene\n", "library is empty"),
        ("guide\tgene\nACGT\ta\n", "no column 'sgRNA'"),
        ("sgRNA\tgene\nACGT\ta\tb\tc\nAC\n", "no table"),
    ],
)
def test_no_table_no_rows_and_no_column_are_told(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        read_library(write(tmp_path, text))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "library.tsv"
    path.write_bytes("sgRNA\tgene\nACGT\tM\xfcller\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_library(path)


def test_barcodes_must_differ_in_the_letters_that_are_read():
    library = pd.DataFrame({"sgRNA": ["ACGTA", "ACGTC", "TTTTT"]})
    assert library_prefixes(library, 5).tolist() == library["sgRNA"].tolist()
    with pytest.raises(InputError, match=r"not unique in their first 4 letters.*'ACGT' in rows 1, 2"):
        library_prefixes(library, 4)
    with pytest.raises(InputError, match="shorter than reads"):
        check_barcodes(library, "sgRNA", length=6)


def test_a_prefix_column_is_taken_whole():
    library = pd.DataFrame({"sgRNA": ["ACGTA", "ACGTC"], "read": ["AT", "AC"]})
    assert library_prefixes(library, 4, LibrarySettings(prefix_column="read")).tolist() == ["AT", "AC"]


def test_near_neighbours_are_told_once_per_pair():
    barcodes = pd.Series(["AAAA", "AAAC", "TTTT", "AACC"])
    found = near_neighbours(barcodes, max_distance=2)
    assert found.values.tolist() == [["AAAA", "AAAC", 1], ["AAAA", "AACC", 2], ["AAAC", "AACC", 1]]
    assert near_neighbours(barcodes[:0]).columns.tolist() == ["barcode", "neighbour", "distance"]
